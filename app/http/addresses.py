"""The address of the client of a request, as the trusted proxies report it (`PROXY_HOPS`)."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from flask import request

UNKNOWN = "unknown"

# A household or a rented machine has at least a /64 of IPv6 (RFC 6177). The owner of an IPv4
# address has a whole /48 of 6to4 (RFC 3056).
_NETWORK_BITS = 64
_6TO4 = IPv6Network("2002::/16")
_6TO4_NETWORK_BITS = 48


def client_address() -> str:
    """Return the IP address of the client, or `UNKNOWN` if the proxy does not report one."""
    address = _parsed(request.remote_addr or "")
    return UNKNOWN if address is None else str(address)


def client_network() -> str:
    """Return the part that the client cannot easily change: its IPv4 address or IPv6 network."""
    address = _parsed(request.remote_addr or "")
    if address is None:
        return UNKNOWN
    if isinstance(address, IPv4Address):
        return str(address)
    bits = _6TO4_NETWORK_BITS if address in _6TO4 else _NETWORK_BITS
    return str(IPv6Network((int(address), bits), strict=False).network_address)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    # Some proxies add the port: `192.0.2.1:49152`, `[2001:db8::1]:49152`.
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
