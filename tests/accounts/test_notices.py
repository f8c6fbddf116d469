"""Letters after a change of password or address, to whoever may not have made it."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import mail
from app.accounts import resets
from app.mail import Mailer
from app.services import services
from config_urls import SmtpServer
from tests.factories import PASSWORD
from tests.mails import MailServer
from tests.visitors import Visitor, register


@pytest.fixture
def post(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """A mail server to which the application sends its e-mails."""
    monkeypatch.setattr(mail, "PAUSES_SECONDS", (0.05, 0.2))
    with MailServer() as server:
        setting = SmtpServer("127.0.0.1", server.port, False, "", "", "b@example.org", "")  # type: ignore[arg-type]
        monkeypatch.setattr(services(app), "mailer", Mailer(setting, app.app_context))
        yield server


@pytest.fixture
def ann(client: FlaskClient) -> Visitor:
    return register(client, "ann")


def test_new_password_is_mailed_to_the_owner(post: MailServer, ann: Visitor) -> None:
    body = {"old_password": PASSWORD, "new_password": PASSWORD + "!"}
    ann.headers["Accept-Language"] = "en"

    assert ann.post("/accounts/api/password/", body).status_code == 200

    (mail,) = post.wait(1)
    assert mail.to == [ann.email]
    assert "password of your account was changed" in mail.text
    assert PASSWORD not in mail.text


def test_reset_is_mailed_to_the_owner(app: Flask, post: MailServer, ann: Visitor) -> None:
    with app.app_context():
        token = resets.issue(ann.id)
    assert token
    body = {"token": token.secret, "new_password": PASSWORD + "!"}

    assert ann.http.post("/accounts/api/password/reset/confirm/", json=body).status_code == 200

    (mail,) = post.wait(1)
    assert mail.to == [ann.email]
    assert "Пароль" in mail.text
    assert token.secret not in mail.text


def test_change_of_address_is_mailed_to_the_old_one(post: MailServer, ann: Visitor) -> None:
    changed = {"email": "new@example.com", "password": PASSWORD}
    same = {"email": ann.email.upper(), "password": PASSWORD}

    assert ann.patch("/accounts/api/users/me/", same).status_code == 200
    assert ann.patch("/accounts/api/users/me/", changed).status_code == 200

    (mail,) = post.wait(1)
    assert [each.lower() for each in mail.to] == [ann.email]
    assert "new@example.com" not in mail.text  # whoever reads the old mailbox need not know it


def test_refused_change_is_not_mailed(post: MailServer, ann: Visitor) -> None:
    wrong = {"old_password": "wrong password", "new_password": PASSWORD + "!"}
    right = {"old_password": PASSWORD, "new_password": PASSWORD + "!"}

    assert ann.post("/accounts/api/password/", wrong).status_code == 400
    assert ann.post("/accounts/api/password/", right).status_code == 200

    assert len(post.wait(1)) == 1


def test_change_does_not_depend_on_the_mail_server(
    app: Flask, post: MailServer, ann: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services(app), "mailer", None)
    body = {"old_password": PASSWORD, "new_password": PASSWORD + "!"}

    assert ann.post("/accounts/api/password/", body).status_code == 200
