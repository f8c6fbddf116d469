"""Secrets stand where they have to and nowhere else: not in what is printed, answered or listed.

What the log says is looked through after all tests: see tests/leaks.py. How settings are printed
is in tests/test_config.py as well.
"""

import stat
from pathlib import Path

import pytest
from flask import Flask
from pydantic import SecretStr

from app.accounts.credentials import WrongPassword
from app.accounts.schemas import (
    CredentialsIn,
    EmailChangeIn,
    PasswordChangeIn,
    RefreshIn,
    RegistrationIn,
    ResetConfirmIn,
    TokenIn,
)
from app.accounts.sessions import Device
from app.accounts.tokens import NoActiveAccount
from app.http.errors import ApiError, BadInput, as_api_error
from app.http.validation import Body
from app.privacy.schemas import ErasureIn
from config import Config, ConfigError
from tests.delivery.machines import children
from tests.factories import PASSWORD
from tests.servers import Server

SECRET = "a secret that nobody shall read anywhere"
ENV = {
    "DATABASE_URL": f"postgresql://ann:{SECRET.replace(' ', '-')}@host/name",
    "REDIS_URL": f"rediss://:{SECRET.replace(' ', '-')}@host",
    "JWT_SECRET_KEY": SECRET,
}


def is_silent(text: str) -> bool:
    """Tell whether a text says nothing of the secret."""
    return SECRET not in text and SECRET.replace(" ", "-") not in text


def test_settings_print_no_secret() -> None:
    config = Config.from_env(ENV)

    for printed in (repr(config), str(config), f"{config}", repr(config.JWT_SECRET_KEY)):
        assert is_silent(printed)
    assert SecretStr(SECRET) == config.JWT_SECRET_KEY


@pytest.mark.parametrize("wrong", ["PORT", "DATABASE_URL", "REDIS_URL"])
def test_wrong_settings_are_refused_without_a_secret(wrong: str) -> None:
    broken = ENV[wrong].replace("://", "+odd://", 1) if wrong in ENV else "no port"

    with pytest.raises(ConfigError) as refused:
        Config.from_env(ENV | {wrong: broken})

    assert wrong in str(refused.value)
    assert is_silent(str(refused.value))


BODIES: list[tuple[type[Body], dict[str, str]]] = [
    (CredentialsIn, {"username": "ann", "password": SECRET}),
    (RefreshIn, {"refresh": SECRET}),
    (TokenIn, {"token": SECRET}),
    (PasswordChangeIn, {"old_password": SECRET, "new_password": SECRET}),
    (EmailChangeIn, {"email": "ann@example.com", "password": SECRET}),
    (ErasureIn, {"password": SECRET}),
    (ResetConfirmIn, {"token": SECRET, "new_password": SECRET}),
    (RegistrationIn, {"username": "ann", "email": "ann@example.com", "password": SECRET}),
]


@pytest.mark.parametrize(
    ("body", "fields"), BODIES, ids=lambda value: getattr(value, "__name__", "")
)
def test_bodies_print_nothing_of_what_was_sent(body: type[Body], fields: dict[str, str]) -> None:
    parsed = body.model_validate(fields)

    for printed in (repr(parsed), str(parsed), f"{parsed!r}", repr([parsed])):
        assert is_silent(printed)
        assert body.__name__ in repr(parsed)


def test_refused_bodies_say_nothing_of_what_was_sent() -> None:
    with pytest.raises(BadInput) as refused:
        CredentialsIn.parse({"username": 1, "password": [SECRET]})

    error = refused.value
    for said in (
        repr(error),
        str(error),
        repr(error.errors),
        error.response().get_data(as_text=True),
    ):
        assert is_silent(said)
    assert error.__cause__ is None  # pydantic's, which quotes the input
    assert error.__suppress_context__


def test_errors_say_no_more_than_their_names(app: Flask) -> None:
    defect = RuntimeError(f"could not open {SECRET}")
    with app.test_request_context():
        for error in (as_api_error(defect), NoActiveAccount(), WrongPassword("password")):
            assert isinstance(error, ApiError)
            assert is_silent(error.response().get_data(as_text=True))
            assert is_silent(error.frame().decode())
            assert is_silent(repr(error))


def test_device_prints_no_more_than_its_owner_sees() -> None:
    assert repr(Device("192.0.2.7", "a browser")) == (
        "Device(address='192.0.2.7', client='a browser')"
    )


def test_no_secret_is_in_the_list_of_processes(server: Server) -> None:
    assert server.process
    for process in (server.process.pid, *children(server.process.pid)):
        line = Path(f"/proc/{process}/cmdline").read_bytes()
        title = Path(f"/proc/{process}/comm").read_bytes()

        assert b"gunicorn" in line
        for secret in (server.env["JWT_SECRET_KEY"], server.env["DATABASE_URL"], PASSWORD):
            assert secret.encode() not in line + title
        # What it was started with is in its environment, which is for its own user alone.
        assert not Path(f"/proc/{process}/environ").stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
