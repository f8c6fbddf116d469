"""Settings: what is taken, what is refused, and in which words."""

import multiprocessing
import os
import re
import sqlite3
import stat
import subprocess
import sys
from datetime import timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from redis import ConnectionPool
from sqlalchemy import make_url

import config
from config import Config, ConfigError
from tests.servers import ROOT

SECRET = "s" * 32
POSTGRESQL = "postgresql://someone:hidden@db.example/beseda"


@pytest.fixture(autouse=True)
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own in the place of `instance/`."""
    monkeypatch.setattr(config, "INSTANCE", tmp_path / "instance")
    return tmp_path / "instance"


def complaint(**env: str) -> str:
    with pytest.raises(ConfigError) as refused:
        Config.from_env(env)
    return str(refused.value)


def test_nothing_set_is_a_whole_installation_on_sqlite() -> None:
    settings = Config.from_env({})

    assert settings.is_sqlite
    assert f"sqlite:///{ROOT / 'instance' / 'beseda.db'}" == settings.DATABASE_URL
    assert settings.REDIS_URL is None
    assert settings.PORT == 8000
    assert settings.workers == 1
    assert timedelta(minutes=15) == settings.JWT_ACCESS_TOKEN_EXPIRES
    assert timedelta(days=30) == settings.JWT_REFRESH_TOKEN_EXPIRES


def test_an_empty_variable_is_not_set() -> None:
    assert Config.from_env({"PORT": "", "REDIS_URL": " "}).PORT == 8000


def test_every_wrong_variable_is_named_at_once_with_what_was_expected() -> None:
    wrong = {
        "DATABASE_URL": "mysql://someone:hidden@db/beseda",
        "DATABASE_POOL_SIZE": "0",
        "REDIS_URL": "http://:hidden@cache",
        "JWT_SECRET_KEY": "hidden",
        "JWT_ACCESS_TOKEN_EXPIRES": "-5",
        "JWT_REFRESH_TOKEN_EXPIRES": "soon",
        "PORT": "70000",
        "WEB_CONCURRENCY": "many",
        "SOCKETS_MAX": "0",
        "CORS_ORIGINS": "https://a.example/path",
        "MEDIA_URL": "s3://key:hidden@pictures",
        "RATELIMIT_ENABLED": "perhaps",
        "RATELIMIT_LOGIN": "often",
        "RATELIMIT_MESSAGES": "0/minute",
        "SOCKETS_PER_USER": "0",
        "REGISTRATION": "sometimes",
        "SMTP_URL": "smtp://beseda:hidden@mail.example",
        "PASSWORD_RESET_URL": "javascript:hidden",
        "PROXY_HOPS": "-1",
        "LOG_LEVEL": "LOUD",
        "LOG_FORMAT": "xml",
        "METRICS_TOKEN": "hidden",
    }

    message = complaint(**wrong)

    for name in wrong:
        assert re.search(rf"^  {name}\b.*expected ", message, re.M), name
    assert "hidden" not in message


@pytest.mark.parametrize(
    "url", ["postgres://u:p@h/d", "postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"]
)
def test_postgresql_by_any_of_its_names(url: str) -> None:
    settings = Config.from_env({"DATABASE_URL": url, "JWT_SECRET_KEY": SECRET})

    assert settings.DATABASE_URL == "postgresql+psycopg://u:p@h/d"
    assert not settings.is_sqlite


def test_a_database_other_than_sqlite_needs_a_key_of_its_own() -> None:
    message = complaint(DATABASE_URL=POSTGRESQL)

    assert "JWT_SECRET_KEY is not set" in message
    assert "at least 32 bytes" in message
    assert "hidden" not in message


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_that_forgets_is_refused(url: str) -> None:
    assert "DATABASE_URL" in complaint(DATABASE_URL=url)


def test_sqlite_has_one_worker_whatever_is_asked() -> None:
    assert Config.from_env({"WEB_CONCURRENCY": "4"}).workers == 1
    on_postgresql = {"DATABASE_URL": POSTGRESQL, "JWT_SECRET_KEY": SECRET, "WEB_CONCURRENCY": "4"}
    assert Config.from_env(on_postgresql).workers == 4


def test_origins_are_a_list() -> None:
    settings = Config.from_env({"CORS_ORIGINS": " https://A.example , http://localhost:3000,"})

    assert settings.CORS_ORIGINS == ("https://a.example", "http://localhost:3000")
    assert "no *" in complaint(CORS_ORIGINS="*")


@pytest.mark.parametrize(
    "origin", ["capacitor://localhost", "http://[::1]:3000", "https://xn--e1afmkfd.xn--p1ai"]
)
def test_origin_of_any_scheme_is_taken(origin: str) -> None:
    assert (origin,) == Config.from_env({"CORS_ORIGINS": origin}).CORS_ORIGINS


@pytest.mark.parametrize(
    "origin", ["https://*.example.com", "null", "https://пример.рф", "https://a.example:x"]
)
def test_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    assert "CORS_ORIGINS" in complaint(CORS_ORIGINS=origin)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        (
            "smtp://mail.example?from=b@c.example",
            ("mail.example", 587, False, "", "", "b@c.example", ""),
        ),
        (
            "smtps://u%40x:p%2F%25+@mail.example/?from=Беседа <b%2Ba@c.example>",
            ("mail.example", 465, True, "u@x", "p/%+", "b+a@c.example", "Беседа"),
        ),
        (
            "smtp://[::1]:2525?from=b@c.example",
            ("::1", 2525, False, "", "", "b@c.example", ""),
        ),
    ],
)
def test_a_mail_server_is_a_url(url: str, server: tuple[object, ...]) -> None:
    found = Config.from_env({"SMTP_URL": url}).SMTP_URL

    assert found is not None
    assert (
        found.host,
        found.port,
        found.is_tls,
        found.username,
        found.password.get_secret_value(),
        found.sender,
        found.sender_name,
    ) == server


@pytest.mark.parametrize(
    "url",
    [
        "mail.example",
        "http://mail.example:25?from=b@c.example",
        "smtp://?from=b@c.example",
        "smtp://mail.example",
        "smtp://mail.example?from=",
        "smtp://mail.example?from=b",
        "smtp://mail.example?from=@c.example",
        "smtp://mail.example?from=b@c.example&from=d@c.example",
        "smtp://mail.example?from=b@c.example&tls=no",
        "smtp://mail.example?from=b@почта.рф",
        "smtp://mail.example:x?from=b@c.example",
        "smtp://mail.example:70000?from=b@c.example",
        "smtp://u:hid/den@mail.example?from=b@c.example",
        "smtp://u:hid#den@mail.example?from=b@c.example",
        "smtp://u:hidден@mail.example?from=b@c.example",
    ],
)
def test_a_mail_server_that_cannot_be_used_is_refused(url: str) -> None:
    message = complaint(SMTP_URL=url)

    assert "SMTP_URL" in message
    assert "?from=beseda@example.com" in message
    assert "hid" not in message


@pytest.mark.parametrize(
    "url", ["chat.example", "/new", "ftp://chat.example", "https://", "https://a.example/#/new"]
)
def test_a_page_that_is_none_is_refused(url: str) -> None:
    assert "PASSWORD_RESET_URL" in complaint(PASSWORD_RESET_URL=url)


def test_registration_is_open_unless_it_is_said_otherwise() -> None:
    assert Config.from_env({}).REGISTRATION == "open"
    assert Config.from_env({"REGISTRATION": "Invite"}).REGISTRATION == "invite"


def test_secrets_are_not_in_its_representation() -> None:
    settings = Config.from_env(
        {
            "DATABASE_URL": POSTGRESQL,
            "REDIS_URL": "redis://:hidden@cache/0",
            "JWT_SECRET_KEY": "hidden" * 6,
            "SMTP_URL": "smtp://beseda:hidden@mail.example?from=beseda@example.com",
        }
    )

    assert "hidden" not in repr(settings)
    assert "hidden" not in str(settings)


def test_key_is_made_once_and_for_its_owner_alone(instance: Path) -> None:
    first, second = Config.from_env({}), Config.from_env({})

    assert first.JWT_SECRET_KEY == second.JWT_SECRET_KEY
    assert len(first.JWT_SECRET_KEY.get_secret_value()) >= 32
    (file,) = instance.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def _make_key(folder: Path, barrier: Barrier, found: "multiprocessing.Queue[str]") -> None:
    config.INSTANCE = folder
    barrier.wait()
    found.put(Config.from_env({}).JWT_SECRET_KEY.get_secret_value())


def test_processes_that_start_at_once_have_one_key(instance: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, found = context.Barrier(8), context.Queue()
    processes = [
        context.Process(target=_make_key, args=(instance, barrier, found)) for _ in range(8)
    ]
    for process in processes:
        process.start()
    keys = {found.get(timeout=30) for _ in processes}
    for process in processes:
        process.join()

    assert len(keys) == 1
    assert len(list(instance.iterdir())) == 1


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "config"],
        ["-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
        ["-m", "flask", "--app", "wsgi", "db", "upgrade"],
    ],
    ids=["check", "serve", "migrate"],
)
def test_a_wrong_setting_stops_the_start_with_one_message(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PORT": "x", "LOG_LEVEL": "y", "JWT_SECRET_KEY": SECRET},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "PORT='x': expected" in done.stderr
    assert "LOG_LEVEL='y': expected" in done.stderr
    assert "Traceback" not in done.stderr


def test_carriage_returns_at_the_end_of_values_do_no_harm() -> None:
    plain = {
        "DATABASE_URL": POSTGRESQL,
        "REDIS_URL": "redis://cache/0",
        "JWT_SECRET_KEY": SECRET,
        "JWT_ACCESS_TOKEN_EXPIRES": "60",
        "PORT": "8001",
        "CORS_ORIGINS": "https://a.example",
        "RATELIMIT_ENABLED": "false",
        "RATELIMIT_LOGIN": "5/minute",
        "REGISTRATION": "invite",
        "LOG_LEVEL": "warning",
        "METRICS_TOKEN": "t" * 16,
        "MEDIA_ROOT": "/media",
    }

    from_windows = {name: f"{value}\r" for name, value in plain.items()}

    assert Config.from_env(from_windows) == Config.from_env(plain)


@pytest.mark.parametrize(
    "setting",
    [
        *("JWT_ACCESS_TOKEN_EXPIRES", "JWT_REFRESH_TOKEN_EXPIRES", "DATABASE_POOL_SIZE", "PORT"),
        *("WEB_CONCURRENCY", "SOCKETS_MAX", "SOCKETS_PER_USER", "REQUEST_SECONDS", "PROXY_HOPS"),
        *("UPLOAD_BYTES", "UPLOAD_SECONDS", "RATELIMIT_LOGIN"),
    ],
)
@pytest.mark.parametrize("digits", [10, 15, 5000])
def test_every_number_has_an_upper_bound(setting: str, digits: int) -> None:
    value = "9" * digits

    assert setting in complaint(**{setting: value if "RATE" not in setting else f"{value}/day"})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:pa@ss:S3cret@h/d",
        "postgresql://u:S3cret@h:S3cret/d",
        "postgresql://u:S3cret@h:70000/d",
        "postgresql://u:S3cret@h/d?S3cret=1",
        "postgresql://u:S3cret@h/d?sslmode=S3cret",
        "postgresql://u:S3cret@h/d?connect_timeout=1",
        "S3cret",
        "//S3cret",
        "S3cret://u@h/d",
    ],
)
def test_database_that_the_driver_cannot_use_is_refused_without_a_part_of_its_url(url: str) -> None:
    message = complaint(DATABASE_URL=url, JWT_SECRET_KEY=SECRET)

    assert "DATABASE_URL" in message
    assert "S3cret" not in message


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0?ssl_cert_reqs=none",
        "redis://h:S3cret/0",
        "redis://h:0/0",
        "redis://h/S3cret",
        "redis://h/0?decode_responses=true",
        "redis://h/0?db=S3cret",
        "redis://h/0?S3cret",
        "redis://h/0?db=1&db=2",
        "redis:///0",
        "redis://h/0#S3cret",
        "rediss://h/0?ssl_cert_reqs=S3cret",
        "unix://",
    ],
)
def test_redis_that_the_driver_cannot_use_is_refused(url: str) -> None:
    message = complaint(REDIS_URL=url)

    assert "REDIS_URL" in message
    assert "S3cret" not in message


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://u:p%40s@h:6380/3?protocol=3",
        "rediss://h/0?ssl_cert_reqs=none&ssl_check_hostname=false&ssl_ca_certs=/ca.pem",
        "unix:///run/redis.sock?db=1",
    ],
)
def test_every_redis_that_is_taken_is_one_that_the_driver_takes(url: str) -> None:
    assert url == Config.from_env({"REDIS_URL": url}).REDIS_URL
    ConnectionPool.from_url(url).make_connection()  # raises for an option that it does not know


def test_password_means_the_same_to_us_and_to_the_driver() -> None:
    url = Config.from_env(
        {"DATABASE_URL": "postgres://u:a%20b+c%40@h/d", "JWT_SECRET_KEY": SECRET}
    ).DATABASE_URL

    assert make_url(url).password == "a b+c@"


def test_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))

    assert "SQLite 3.35 or newer" in complaint()
    assert Config.from_env({"DATABASE_URL": POSTGRESQL, "JWT_SECRET_KEY": SECRET})


def test_key_is_kept_where_the_file_system_has_no_hard_links(
    instance: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)

    first, second = Config.from_env({}), Config.from_env({})

    assert first.JWT_SECRET_KEY == second.JWT_SECRET_KEY
    assert [each.name for each in instance.iterdir()] == ["jwt_secret_key"]


def test_notifications_to_inner_addresses_are_warned_of() -> None:
    found = Config.from_env({"JWT_SECRET_KEY": SECRET, "PUSH_ALLOW_PRIVATE": "true"})

    (warning,) = found.warnings({})
    assert "PUSH_ALLOW_PRIVATE" in warning


@pytest.mark.parametrize(
    ("settings", "lost"),
    [
        ({}, ["accounts and messages", "uploaded files"]),
        ({"DATABASE_URL": POSTGRESQL}, ["uploaded files"]),
        ({"DATABASE_URL": POSTGRESQL, "MEDIA_URL": "s3://files"}, []),
    ],
)
def test_platform_that_empties_its_disk_is_warned_of(
    settings: dict[str, str], lost: list[str]
) -> None:
    found = Config.from_env({"JWT_SECRET_KEY": SECRET} | settings)

    warnings = list(found.warnings({"DYNO": "web.1"}))

    assert len(warnings) == len(lost)
    assert all(each in warning for each, warning in zip(lost, warnings, strict=True))
    assert not list(found.warnings({}))


def test_links_have_the_address_of_this_server() -> None:
    assert Config.from_env({"PORT": "8001"}).own_url == "http://127.0.0.1:8001"
    url = {"PUBLIC_URL": "https://chat.example.com/"}
    assert Config.from_env(url).own_url == "https://chat.example.com"
    assert "PUBLIC_URL" in complaint(PUBLIC_URL="https://chat.example.com/chat")


def test_every_setting_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    rates = {name for name in Config.model_fields if name.startswith("RATELIMIT_")}

    for name in Config.model_fields.keys() - rates:
        assert f"`{name}`" in readme, name
    limits = (ROOT / "docs" / "limits.md").read_text()
    for name in rates:
        assert f"`{name}" in limits, name
