"""Every setting: typed, read once from the environment, and refused loudly at the start."""

import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from sqlalchemy import make_url

from config_urls import (
    Bucket,
    SmtpServer,
    bucket,
    database_url,
    page_url,
    public_url,
    redis_url,
    smtp_server,
)

ROOT = Path(__file__).resolve().parent
INSTANCE = ROOT / "instance"  # what a fresh installation keeps of its own
SECRET_BYTES = 32  # of a key for HS256 at least (RFC 7518, section 3.2)

_SECRET_EXPECTED = f"at least {SECRET_BYTES} bytes, such as `openssl rand -hex 32` prints"

# Variables that tell a platform whose disk is empty after each restart.
_PLATFORMS = ("DYNO", "RENDER", "RAILWAY_ENVIRONMENT", "FLY_APP_NAME", "K_SERVICE")


class ConfigError(SystemExit):
    """Some settings are wrong; the text names all of them and what was expected.

    A `SystemExit`, so that gunicorn and flask stop with that text and without a traceback.
    """


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
    # As a browser writes it: a scheme (hybrid apps have their own), a host, perhaps a port.
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", text):
        raise ValueError(
            "origins such as https://example.com, separated by commas; no *, no path, and letters"
            " beyond ASCII in their xn-- form"
        )
    return text


def _seconds(text: Any) -> Any:
    is_number = isinstance(text, str) and re.fullmatch("[0-9]{1,12}", text)
    return timedelta(seconds=int(text)) if is_number else text


def _rate(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,6}/([1-9][0-9]{0,3} ?)?(second|minute|hour|day)s?", text):
        raise ValueError("how often in how long, such as 10/minute or 100/15 minutes")
    return text


def _upper(text: Any) -> Any:
    return text.upper() if isinstance(text, str) else text


def _lower(text: Any) -> Any:
    return text.lower() if isinstance(text, str) else text


Seconds = Annotated[
    timedelta, BeforeValidator(_seconds), Field(gt=timedelta(0), le=timedelta(days=3650))
]
LogFormat = Annotated[Literal["json", "text"], BeforeValidator(_lower)]
Rate = Annotated[str, AfterValidator(_rate)]
Registration = Annotated[Literal["open", "invite", "closed"], BeforeValidator(_lower)]
Language = Annotated[Literal["ru", "en"], BeforeValidator(_lower)]
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
    REDIS_URL: Annotated[Annotated[str, AfterValidator(redis_url)] | None, Field(repr=False)] = None
    JWT_SECRET_KEY: Annotated[SecretStr, AfterValidator(_secret)]
    JWT_ACCESS_TOKEN_EXPIRES: Seconds = timedelta(minutes=15)
    JWT_REFRESH_TOKEN_EXPIRES: Seconds = timedelta(days=30)
    PORT: Annotated[int, Field(ge=1, le=65535)] = 8000
    WEB_CONCURRENCY: Annotated[int, Field(ge=1, le=1000)] = 1
    SOCKETS_MAX: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000  # open WebSockets a worker
    REQUEST_SECONDS: Annotated[int, Field(ge=1, le=86_400)] = (
        120  # a request, a piece of its response
    )
    KEEPALIVE_SECONDS: Annotated[int, Field(ge=1, le=3600)] = 75  # of an idle HTTP connection
    CORS_ORIGINS: Annotated[
        tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_origins)
    ] = ()
    MEDIA_ROOT: Path = INSTANCE / "media"
    MEDIA_URL: Annotated[Bucket | None, BeforeValidator(bucket)] = None  # in place of MEDIA_ROOT
    UPLOAD_BYTES: Annotated[int, Field(ge=1024, le=256 * 1024**2)] = 25 * 1024**2  # of one file
    UPLOAD_SECONDS: Annotated[int, Field(ge=1, le=86_400)] = 600  # 25 MB take 100 at 2 Mbit/s
    UPLOAD_TOTAL_BYTES: Annotated[int, Field(ge=1024, le=1024**5)] = 1024**3  # of a user's files
    RATELIMIT_ENABLED: bool = True
    RATELIMIT_LOGIN: Rate = "200/minute"
    RATELIMIT_LOGIN_ACCOUNT: Rate = "20/hour"
    RATELIMIT_REFRESHES: Rate = "1000/minute"  # and other requests that bring a refresh token
    RATELIMIT_PASSWORDS: Rate = "30/hour"  # of one's own, to change or erase the account
    RATELIMIT_REGISTRATION: Rate = "300/hour"
    RATELIMIT_RESET: Rate = "100/hour"
    RATELIMIT_RESET_ACCOUNT: Rate = "5/hour"
    RATELIMIT_SEARCH: Rate = "300/minute"
    RATELIMIT_PEOPLE: Rate = "60/minute"
    RATELIMIT_MESSAGE_SEARCH: Rate = "60/minute"
    RATELIMIT_POSTS: Rate = "60/minute"
    RATELIMIT_UPLOADS: Rate = "300/hour"
    RATELIMIT_FILES: Rate = "1000000/hour"  # kB of files in messages
    RATELIMIT_GROUPS: Rate = "20/day"
    RATELIMIT_PUSH: Rate = "60/hour"
    RATELIMIT_MESSAGES: Rate = "300/minute"
    RATELIMIT_CHANGES: Rate = "600/minute"  # of what exists: edits, deletions, read marks, members
    RATELIMIT_TEXT: Rate = "50000/day"  # kB of messages and posts
    RATELIMIT_HANDSHAKES: Rate = "3000/minute"
    EDIT_SECONDS: Annotated[int, Field(ge=-1, le=315_360_000)] = (
        86_400  # after sending; 0: never, -1: always
    )
    SOCKETS_PER_USER: Annotated[int, Field(ge=1, le=1_000_000)] = 100  # open WebSockets a worker
    REGISTRATION: Registration = "open"
    SMTP_URL: Annotated[
        Annotated[SmtpServer, BeforeValidator(smtp_server)] | None, Field(repr=False)
    ] = None
    PUBLIC_URL: Annotated[str, AfterValidator(public_url)] | None = None  # of links that we write
    PASSWORD_RESET_URL: Annotated[str, AfterValidator(page_url)] | None = None
    PUSH_ALLOW_PRIVATE: bool = False  # notifications to inner addresses, for closed networks
    PROXY_HOPS: Annotated[int, Field(ge=0, le=10)] = 0
    WEB_CLIENT: OnOff = "on"  # off: no page at `/`
    LANGUAGE: Language = "ru"  # of sentences where a request prefers none
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
            # Files that were written on Windows leave a carriage return at the end of each value.
            name: env[name].rstrip("\r\n")
            for name in cls.model_fields
            if env.get(name, "").strip()
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

    @property
    def own_url(self) -> str:
        """The URL of this server, for links that are written without a request."""
        return self.PUBLIC_URL or f"http://127.0.0.1:{self.PORT}"

    @property
    def contact_url(self) -> str | None:
        """How a push service reaches the operator of this server; None: no setting tells it."""
        if self.PUBLIC_URL and self.PUBLIC_URL.startswith("https:"):
            return self.PUBLIC_URL
        return f"mailto:{self.SMTP_URL.sender}" if self.SMTP_URL else None

    def warnings(self, env: Mapping[str, str]) -> Iterator[str]:
        """Say what an operator should know: what will be lost, and what is open."""
        if self.PUSH_ALLOW_PRIVATE:
            yield (
                "PUSH_ALLOW_PRIVATE is true: people may have notifications sent to any address that"
                " this machine reaches. Leave it off where strangers can register."
            )
        platform = next((name for name in _PLATFORMS if name in env), None)
        if platform is None:
            return
        folder = Path(make_url(self.DATABASE_URL).database or "").parent
        if self.is_sqlite and not _is_volume(folder):
            yield (
                f"{platform} is set: this platform empties its disk with each restart, and all"
                f" accounts and messages in {folder} with it. Set DATABASE_URL to a PostgreSQL."
            )
        if self.MEDIA_URL is None and not _is_volume(self.MEDIA_ROOT):
            yield (
                f"{platform} is set: this platform empties its disk with each restart, and all"
                f" uploaded files in {self.MEDIA_ROOT} with it. Set MEDIA_URL to an S3 bucket."
            )


def _is_volume(folder: Path) -> bool:
    """Tell whether a folder, or the one in which it will be made, is on a mounted disk."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return there.stat().st_dev != Path("/").stat().st_dev


def kept_key() -> Path:
    """Return the file with the signing key of an installation whose settings have none."""
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
    # A URL may hold a password, so only its scheme is shown.
    value = settings.get(name, "")
    if name in ("JWT_SECRET_KEY", "METRICS_TOKEN"):
        return f"({len(value.encode())} bytes)"
    if name.endswith("_URL"):
        scheme = re.match("[a-z0-9+]{1,20}://", value)
        return repr(f"{scheme[0]}…") if scheme else "(not a URL)"
    return repr(value)


def _kept_secret(path: Path) -> str:
    """Return the key in a file, made at the first start and kept for its owner alone.

    Several processes may start at once. The file appears whole, by a link that only one of them
    can make, and all read it.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        try:
            _write_secret(draft)
            try:
                os.link(draft, path)
            except FileExistsError:
                pass  # another process was faster
            except OSError:  # this file system has no hard links
                with suppress(FileExistsError):
                    _write_secret(path)
        finally:
            draft.unlink(missing_ok=True)
    for _ in range(50):
        if key := path.read_text().strip():
            break
        time.sleep(0.1)  # without hard links: another process has created it and not written yet
    return key


def _write_secret(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())


if (
    __name__ == "__main__"
):  # python -m config: check the settings, before gunicorn reads some itself
    Config.from_env(os.environ)
