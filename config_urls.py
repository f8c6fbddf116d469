"""Settings that are URLs: of databases, a Redis, a storage of files, a mail server, pages.

Each reader refuses what its client could not use, in words that hold no part of the URL: it may
contain a password.
"""

import re
import sqlite3
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import parseaddr
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from pydantic import SecretStr
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

ROOT = Path(__file__).resolve().parent

# RETURNING and ON CONFLICT came with 3.35 (2021).
SQLITE_NEEDED = (3, 35)

_BUCKET_EXPECTED = (
    "s3://bucket/prefix?endpoint=https://host&region=name; all but the bucket may be left out, and"
    " keys stand in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)

_POSTGRESQL = "postgresql+psycopg"


# Parameters of libpq that a URL may bring (https://www.postgresql.org/docs/current/libpq-connect.html);
# the others are set by `app/database/engine.py`, or change what a connection returns.
_POSTGRESQL_OPTIONS = {
    *("host", "port", "passfile", "service", "options", "target_session_attrs"),
    *("load_balance_hosts", "channel_binding", "require_auth", "gssencmode", "krbsrvname"),
    *("sslmode", "sslnegotiation", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl"),
    *("sslcrldir", "sslsni", "ssl_min_protocol_version", "ssl_max_protocol_version"),
}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def database_url(text: str) -> str:
    """Return the URL of a database as SQLAlchemy takes it.

    Raises:
        ValueError: We cannot use it; the text says what was expected.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(
            "a URL of SQLite or PostgreSQL; in a password write %40 for @, %3A for :, %2F for /"
        ) from None
    if url.drivername in ("postgres", "postgresql", _POSTGRESQL):
        url = _checked_postgresql(url)
    elif url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
        if sqlite3.sqlite_version_info < SQLITE_NEEDED:
            needed = ".".join(map(str, SQLITE_NEEDED))
            raise ValueError(
                f"SQLite {needed} or newer, and this Python has {sqlite3.sqlite_version}:"
                " install a newer one, or use PostgreSQL"
            )
        url = _absolute(url)
    else:
        raise ValueError("sqlite:///path/of/a/file or postgresql://user:password@host/name")
    return url.render_as_string(hide_password=False)


def _checked_postgresql(url: URL) -> URL:
    if not url.database:
        raise ValueError("a URL of PostgreSQL with the name of a database")
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError("a URL of PostgreSQL with a port between 1 and 65535")
    if unknown := url.query.keys() - _POSTGRESQL_OPTIONS:
        raise ValueError(
            f"a URL of PostgreSQL without {len(unknown)} of its options after the ?; taken are "
            + ", ".join(sorted(_POSTGRESQL_OPTIONS))
        )
    if url.query.get("sslmode", "prefer") not in _SSL_MODES:
        raise ValueError(f"sslmode to be one of {', '.join(_SSL_MODES)}")
    return url.set(drivername=_POSTGRESQL)


def _absolute(url: URL) -> URL:
    return url.set(database=str(ROOT / (url.database or "")))


# Options of redis-py, each with the values that it takes.
_REDIS_OPTIONS = {"db": r"[0-9]{1,9}", "protocol": "[23]", "username": ".+", "password": ".+"}
_REDIS_TLS_OPTIONS = {
    "ssl_cert_reqs": "none|optional|required",
    "ssl_check_hostname": "(?i:true|false|yes|no|1|0)",
    **dict.fromkeys(("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"), ".+"),
}
_REDIS_EXPECTED = (
    "redis://:password@host:6379/0, rediss://… with TLS, or unix:///path/of/a/socket;"
    f" options after a ? are {', '.join(_REDIS_OPTIONS)}, and with rediss"
    f" {', '.join(_REDIS_TLS_OPTIONS)}"
)


def redis_url(text: str) -> str:
    """Return the URL of a Redis as it is.

    Raises:
        ValueError: redis-py could not connect by it.
    """
    try:
        parts = urlsplit(text)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(_REDIS_EXPECTED) from None
    known = _REDIS_OPTIONS | (_REDIS_TLS_OPTIONS if parts.scheme == "rediss" else {})
    if parts.scheme == "unix":
        is_whole = len(parts.path) > 1
    else:
        is_whole = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and has_port
        is_whole = is_whole and re.fullmatch("/?[0-9]{0,9}", parts.path) is not None
    is_known = all(name in known and re.fullmatch(known[name], value) for name, value in pairs)
    if not (is_whole and is_known) or len(dict(pairs)) < len(pairs) or parts.fragment:
        raise ValueError(_REDIS_EXPECTED)
    return text


@dataclass(frozen=True, slots=True)
class Bucket:
    """An S3 bucket for files; credentials come from boto3's own environment variables.

    Attributes:
        prefix: The beginning of every name there: empty, or with a slash at its end.
        endpoint: The URL of the storage; None: Amazon's.
    """

    name: str
    prefix: str
    endpoint: str | None
    region: str | None


def bucket(text: Any) -> Any:
    """Return a `Bucket`; raises `ValueError` for a URL that is none."""
    if not isinstance(text, str):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(_BUCKET_EXPECTED) from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    endpoint, region = options.pop("endpoint", None), options.pop("region", None)
    if (
        parts.scheme != "s3"
        or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc)
        or not re.fullmatch(r"[A-Za-z0-9!_.*'()/-]*", parts.path)
        or (endpoint is not None and not re.fullmatch(r"https?://[^\s@?#]+", endpoint))
        or region == ""
        or options
        or parts.fragment
    ):
        raise ValueError(_BUCKET_EXPECTED)
    if find_spec("boto3") is None:
        raise ValueError("boto3 to be installed for it: pip install -r requirements-s3.txt")
    prefix = parts.path.strip("/")
    return Bucket(parts.netloc, f"{prefix}/" if prefix else "", endpoint, region)


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The server that takes our mail.

    Attributes:
        is_tls: Whether the connection begins with TLS; otherwise STARTTLS is used if it is offered.
        sender: The address that letters come from.
        sender_name: The name beside that address, or nothing.
    """

    host: str
    port: int
    is_tls: bool
    username: str
    password: SecretStr
    sender: str
    sender_name: str


_SMTP_PORTS = {"smtp": 587, "smtps": 465}  # RFC 6409, RFC 8314
_SMTP_EXPECTED = (
    "smtp://user:password@host:587?from=beseda@example.com, or smtps://…:465…; in the password "
    "write %40 for @, %2F for / and so on"
)


def smtp_server(text: Any) -> Any:
    """Return an `SmtpServer`; raises `ValueError` for a URL that is none."""
    if not isinstance(text, str):
        return text
    try:
        parts = urlsplit(text)
        query = parse_qs(parts.query, strict_parsing=True)
        (sender,) = query["from"]
        name, address = parseaddr(sender)
        Address(name, addr_spec=address)  # refuses what is no address, and line breaks
        server = SmtpServer(
            host=parts.hostname or "",
            port=parts.port or _SMTP_PORTS[parts.scheme],
            is_tls=parts.scheme == "smtps",
            username=unquote(parts.username or ""),
            password=SecretStr(unquote(parts.password or "")),
            sender=address,
            sender_name=name,
        )
    except (ValueError, KeyError, IndexError, HeaderParseError):
        raise ValueError(_SMTP_EXPECTED) from None
    is_whole = (
        parts.scheme in _SMTP_PORTS
        and server.host
        and all(address.rpartition("@"))
        and set(query) == {"from"}
    )
    # smtplib (3.11) can send no other password, and not every mail server takes another sender.
    is_ascii = (address + server.username + server.password.get_secret_value()).isascii()
    if not (is_whole and is_ascii) or parts.path not in ("", "/") or parts.fragment:
        raise ValueError(_SMTP_EXPECTED)
    return server


def page_url(text: str) -> str:
    """Return the URL of a page as it is.

    Raises:
        ValueError: It is none.
    """
    if not _is_web_address(text):
        raise ValueError("the address of a page, such as https://example.com/password; no #")
    return text


def public_url(text: str) -> str:
    """Return the URL of this server, without a slash at its end.

    Raises:
        ValueError: It is none.
    """
    parts = urlsplit(text) if _is_web_address(text) else None
    if parts is None or parts.path not in ("", "/") or parts.query:
        raise ValueError("the address of this server, such as https://chat.example.com; no path")
    return text.rstrip("/")


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and has_host and not re.search(r"[#\s]", text)
