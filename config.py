"""Every setting: typed, read once from the environment, and refused loudly at the start."""

import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import parseaddr
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

ROOT = Path(__file__).resolve().parent
INSTANCE = ROOT / "instance"  # what a fresh installation keeps of its own
SECRET_BYTES = 32  # of a key for HS256 at least (RFC 7518, section 3.2)

_SECRET_EXPECTED = f"at least {SECRET_BYTES} bytes, such as `openssl rand -hex 32` prints"
_BUCKET_EXPECTED = (
    "s3://bucket/prefix?endpoint=https://host&region=name; all but the bucket may be left out, and"
    " keys stand in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)

_POSTGRESQL = "postgresql+psycopg"


class ConfigError(SystemExit):
    """Some settings are wrong; the text names all of them and what was expected.

    A `SystemExit`, so that gunicorn and flask stop with that text and without a traceback.
    """


def database_url(text: str) -> str:
    """Return the URL of a database as SQLAlchemy wants it.

    Raises:
        ValueError: It is none that we can use; the text says what was expected.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError("a URL of SQLite or PostgreSQL") from None
    if url.drivername in ("postgres", "postgresql", _POSTGRESQL):
        if not url.database:
            raise ValueError("a URL of PostgreSQL with the name of a database")
        url = url.set(drivername=_POSTGRESQL)
    elif url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
        url = _absolute(url)
    else:
        raise ValueError("sqlite:///path/of/a/file or postgresql://user:password@host/name")
    return url.render_as_string(hide_password=False)


def _absolute(url: URL) -> URL:
    return url.set(database=str(ROOT / (url.database or "")))


def _redis_url(text: str) -> str:
    if urlsplit(text).scheme not in ("redis", "rediss", "unix"):
        raise ValueError("a URL beginning with redis://, rediss:// or unix://")
    return text


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where an S3-compatible storage keeps pictures; who may is for its own variables to say.

    Attributes:
        prefix: What their names begin with there: empty, or with a slash at its end.
        endpoint: The URL of the storage; None is Amazon's.
    """

    name: str
    prefix: str
    endpoint: str | None
    region: str | None


def _bucket(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    parts = urlsplit(text)
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
    """Who takes our mail.

    Attributes:
        is_tls: Whether the connection begins with TLS; otherwise STARTTLS is asked for.
        sender: The address that letters are from.
        sender_name: What it is called, or nothing.
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


def _smtp_server(text: Any) -> Any:
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


def _page(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or "#" in text:
        raise ValueError("the address of a page, such as https://example.com/password; no #")
    return text


def _secret(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value().encode()) < SECRET_BYTES:
        raise ValueError(_SECRET_EXPECTED)
    return key


def _metrics_token(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]{16,}", token.get_secret_value()):
        raise ValueError("at least 16 characters of ASCII without spaces")
    return token


def _origins(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    return tuple(each.strip().lower() for each in text.split(",") if each.strip())


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or text != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("origins such as https://example.com, separated by commas; no *, no path")
    return text


def _seconds(text: Any) -> Any:
    return timedelta(seconds=int(text)) if isinstance(text, str) and text.isdecimal() else text


def _rate(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,6}/([1-9][0-9]{0,3} ?)?(second|minute|hour|day)s?", text):
        raise ValueError("how often in how long, such as 10/minute or 100/15 minutes")
    return text


def _upper(text: Any) -> Any:
    return text.upper() if isinstance(text, str) else text


def _lower(text: Any) -> Any:
    return text.lower() if isinstance(text, str) else text


Seconds = Annotated[timedelta, BeforeValidator(_seconds), Field(gt=timedelta(0))]
LogFormat = Annotated[Literal["json", "text"], BeforeValidator(_lower)]
Rate = Annotated[str, AfterValidator(_rate)]
Registration = Annotated[Literal["open", "invite", "closed"], BeforeValidator(_lower)]
OnOff = Annotated[Literal["on", "off"], BeforeValidator(_lower)]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
]


class Config(BaseModel):
    """The settings of one installation. Each field is the environment variable of its name."""

    model_config = ConfigDict(extra="ignore", frozen=True, validate_default=True)

    DATABASE_URL: Annotated[str, AfterValidator(database_url), Field(repr=False)] = (
        f"sqlite:///{INSTANCE / 'beseda.db'}"
    )
    DATABASE_POOL_SIZE: Annotated[int, Field(ge=1, le=1000)] = 10  # a worker
    REDIS_URL: Annotated[Annotated[str, AfterValidator(_redis_url)] | None, Field(repr=False)] = (
        None
    )
    JWT_SECRET_KEY: Annotated[SecretStr, AfterValidator(_secret)]
    JWT_ACCESS_TOKEN_EXPIRES: Seconds = timedelta(minutes=15)
    JWT_REFRESH_TOKEN_EXPIRES: Seconds = timedelta(days=30)
    PORT: Annotated[int, Field(ge=1, le=65535)] = 8000
    WEB_CONCURRENCY: Annotated[int, Field(ge=1, le=1000)] = 1
    SOCKETS_MAX: Annotated[int, Field(ge=1)] = 10_000  # open WebSockets a worker
    REQUEST_SECONDS: Annotated[int, Field(ge=1)] = 120  # a request and its answer, body included
    CORS_ORIGINS: Annotated[
        tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_origins)
    ] = ()
    MEDIA_ROOT: Path = INSTANCE / "media"
    MEDIA_URL: Annotated[Bucket | None, BeforeValidator(_bucket)] = None  # in place of MEDIA_ROOT
    RATELIMIT_ENABLED: bool = True
    RATELIMIT_LOGIN: Rate = "200/minute"
    RATELIMIT_LOGIN_ACCOUNT: Rate = "20/hour"
    RATELIMIT_REGISTRATION: Rate = "300/hour"
    RATELIMIT_RESET: Rate = "100/hour"
    RATELIMIT_RESET_ACCOUNT: Rate = "5/hour"
    RATELIMIT_SEARCH: Rate = "300/minute"
    RATELIMIT_PEOPLE: Rate = "60/minute"
    RATELIMIT_POSTS: Rate = "60/minute"
    RATELIMIT_UPLOADS: Rate = "60/hour"
    RATELIMIT_GROUPS: Rate = "20/day"
    RATELIMIT_MESSAGES: Rate = "300/minute"
    RATELIMIT_HANDSHAKES: Rate = "3000/minute"
    EDIT_SECONDS: Annotated[int, Field(ge=-1)] = 86_400  # after sending; 0: never, -1: always
    SOCKETS_PER_USER: Annotated[int, Field(ge=1)] = 100  # open WebSockets a worker
    REGISTRATION: Registration = "open"
    SMTP_URL: Annotated[
        Annotated[SmtpServer, BeforeValidator(_smtp_server)] | None, Field(repr=False)
    ] = None
    PASSWORD_RESET_URL: Annotated[str, AfterValidator(_page)] | None = None
    PROXY_HOPS: Annotated[int, Field(ge=0, le=10)] = 0
    WEB_CLIENT: OnOff = "on"  # off: no page at `/`
    LOG_LEVEL: LogLevel = "INFO"
    METRICS_TOKEN: Annotated[SecretStr, AfterValidator(_metrics_token)] | None = None
    LOG_FORMAT: LogFormat | None = None  # None: text on a terminal, else json

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read all settings. An empty variable counts as one that is not set.

        Raises:
            ConfigError: Some are wrong. No secret stands in its text.
        """
        settings: dict[str, Any] = {
            name: env[name] for name in cls.model_fields if env.get(name, "").strip()
        }
        try:
            if "JWT_SECRET_KEY" not in settings and _is_sqlite(settings):
                settings["JWT_SECRET_KEY"] = _kept_secret(kept_key())
            return cls(**settings)
        except ValidationError as error:
            raise ConfigError(_complaint(error, settings)) from None

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is one file, which one process writes."""
        return self.DATABASE_URL.startswith("sqlite")

    @property
    def workers(self) -> int:
        """How many worker processes may serve."""
        return 1 if self.is_sqlite else self.WEB_CONCURRENCY


def kept_key() -> Path:
    """Return the file with the signing key of an installation that was given none."""
    return INSTANCE / "jwt_secret_key"


def _is_sqlite(settings: Mapping[str, str]) -> bool:
    return settings.get("DATABASE_URL", "sqlite").startswith("sqlite")


_EXPECTED = {
    "bool_parsing": "true or false",
}


def _complaint(error: ValidationError, settings: Mapping[str, str]) -> str:
    lines = ["Beseda cannot start with these settings:"]
    for each in error.errors(include_url=False):
        name = str(each["loc"][0])
        if each["type"] == "missing":
            lines.append(
                f"  {name} is not set; a database other than SQLite needs {_SECRET_EXPECTED}"
            )
            continue
        expected = each["msg"].removeprefix("Input should be ")
        if cause := each.get("ctx", {}).get("error"):
            expected = str(cause)
        expected = _EXPECTED.get(each["type"], expected)
        lines.append(f"  {name}={_shown(name, settings)}: expected {expected}")
    return "\n".join(dict.fromkeys(lines))


def _shown(name: str, settings: Mapping[str, str]) -> str:
    # URLs may hold a password, so no more of them is shown than their beginning.
    value = settings.get(name, "")
    if name in ("JWT_SECRET_KEY", "METRICS_TOKEN"):
        return f"({len(value.encode())} bytes)"
    if name.endswith("_URL"):
        scheme, found, _ = value.partition("://")
        return repr(f"{scheme}://…") if found else "(not a URL)"
    return repr(value)


def _kept_secret(path: Path) -> str:
    """Return the key in a file, made at the first start and kept for its owner alone.

    Several processes may start at once: the file appears whole, by a link that only one
    of them can make, and all read it.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was quicker
                os.link(draft, path)
        finally:
            draft.unlink()
    return path.read_text().strip()
