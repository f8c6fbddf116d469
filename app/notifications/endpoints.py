"""What an endpoint of a push service may be: its address is somebody's input.

An endpoint must not make this server talk to machines that its author cannot reach. What can be
seen in the address is refused when it comes in. What its name stands for is looked up when it is
sent to, once, and the connection goes to the address that was checked: a name that resolves
otherwise a moment later changes nothing.
"""

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Self
from urllib.parse import urlsplit

_HTTPS_PORT = 443
_CHARS = re.compile(r"[!-~]+")  # ASCII that is visible: anything else would be encoded first

# Names that stand for machines of the own network: RFC 6761, 6762, 8375, and ICANN on `.internal`.
_INNER_NAMES = ("localhost", "local", "internal", "home.arpa", "lan", "intranet", "onion")

# Addresses of IPv6 that carry one of IPv4, which a gateway may take out of them: 6to4 (RFC 3056),
# Teredo (RFC 4380), NAT64 (RFC 6052, RFC 8215).
_CARRIERS = tuple(
    IPv6Network(each) for each in ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48")
)


class EndpointRefused(Exception):
    """No notification may be sent to this endpoint."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a push service, with the secret name of one browser there.

    Attributes:
        is_https: Whether it is encrypted on its way.
        host: A name, or an address of IPv4 or IPv6 without brackets.
        port: The TCP port.
        target: The path and the question of the URL.
    """

    is_https: bool
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, url: str, *, allow_private: bool) -> Self:
        """Read an endpoint and refuse what can be refused without looking its name up.

        Args:
            url: As a browser gives it.
            allow_private: Whether inner addresses, other ports and plain HTTP are allowed.

        Raises:
            EndpointRefused: It is no URL, has parts that it must not have, or leads inside.
        """
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            raise EndpointRefused("no URL") from None
        if not _CHARS.fullmatch(url) or not host or "@" in parts.netloc or "#" in url:
            raise EndpointRefused("no URL of a push service")
        is_https = parts.scheme == "https"
        if not is_https and not (allow_private and parts.scheme == "http"):
            raise EndpointRefused("not https")
        if not allow_private:
            _refuse_inner(host, port)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(is_https, host, port or (_HTTPS_PORT if is_https else 80), target)

    @property
    def origin(self) -> str:
        """The scheme, host and port, as the key of the server is signed for (RFC 8292)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = _HTTPS_PORT if self.is_https else 80
        port = "" if self.port == usual else f":{self.port}"
        return f"{'https' if self.is_https else 'http'}://{host}{port}"

    def resolve(self, *, allow_private: bool) -> str:
        """Return the IP address to connect to.

        Args:
            allow_private: Whether it may be one that is not public.

        Raises:
            EndpointRefused: One of its addresses is not public.
            OSError: The name is unknown, or no server could be asked.
        """
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]).partition("%")[0] for each in found]
        if not allow_private and not all(map(_is_public, addresses)):
            raise EndpointRefused("its name stands for an inner address")
        return addresses[0]


def _refuse_inner(host: str, port: int | None) -> None:
    if port not in (None, _HTTPS_PORT):
        raise EndpointRefused("another port than that of https")
    last = host.rpartition(".")[2]
    if ":" in host or last.isdigit() or last.startswith("0x"):
        # All that a resolver takes for an address of IPv4 ends in a number (WHATWG URL, 3.5).
        if not _is_public(host):
            raise EndpointRefused("an inner address")
    elif last == host or any(host == name or host.endswith(f".{name}") for name in _INNER_NAMES):
        raise EndpointRefused("a name of the own network")


def _is_public(text: str) -> bool:
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return False  # such as 127.1 or 0x7f000001, which resolvers take for addresses
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return _is_public(str(address.ipv4_mapped))
        if any(address in each for each in _CARRIERS) or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved
