"""A new password for who has lost the old one: by mail or from an operator, once, and for an hour."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, func, select, update
from werkzeug.test import TestResponse

from app import mail
from app.accounts import one_time_tokens, operators, resets
from app.accounts.models import PasswordReset, User
from app.clock import utcnow
from app.database.transactions import reading
from app.mail import Mailer
from app.services import services
from config_urls import SmtpServer
from tests.apps import set_config
from tests.crowds import CROWD, all_at_once
from tests.factories import PASSWORD, make_person, new_name
from tests.leaks import remember
from tests.mails import MailServer, wait_until
from tests.problems import check_problem
from tests.rows import stored
from tests.servers import Server

ASK, CONFIRM = "/accounts/api/password/reset/", "/accounts/api/password/reset/confirm/"
NEW_PASSWORD = "another horse battery"


class Person(NamedTuple):
    id: int
    username: str
    email: str
    tokens: dict[str, str]


@pytest.fixture
def ann(client: FlaskClient) -> Person:
    return join(client)


@pytest.fixture
def post(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """A mail server to which the application sends its e-mails."""
    monkeypatch.setattr(mail, "PAUSES_SECONDS", (0.05, 0.2))
    with MailServer() as server:
        setting = SmtpServer("127.0.0.1", server.port, False, "", "", "b@example.org", "")  # type: ignore[arg-type]
        mailer = Mailer(setting, app.app_context)
        monkeypatch.setattr(services(app), "mailer", mailer)
        yield server
        wait_idle(mailer)  # or it would use the database of the next test


def wait_idle(mailer: Mailer) -> None:
    is_idle = threading.Event()
    mailer.submit(lambda: is_idle.set())  # type: ignore[func-returns-value]
    assert is_idle.wait(15)


def join(client: FlaskClient, **fields: str) -> Person:
    name = new_name()
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD} | fields
    created = client.post("/accounts/api/users/", json=body).json
    assert created is not None
    tokens = log_in(client, body["username"], PASSWORD).json
    return Person(created["id"], created["username"], created["email"], tokens)


def log_in(client: FlaskClient, username: str, password: str) -> TestResponse:
    body = {"username": username, "password": password}
    return client.post("/accounts/api/token/", json=body)


def ask(client: FlaskClient, email: str, **headers: str) -> TestResponse:
    return client.post(ASK, json={"email": email}, headers=headers)


def confirm(client: FlaskClient, token: str, password: str = NEW_PASSWORD) -> TestResponse:
    return client.post(CONFIRM, json={"token": token, "new_password": password})


def issue(app: Flask, person: Person, lifetime: timedelta = resets.LIFETIME) -> str:
    with app.app_context():
        token_row = resets.issue(person.id, lifetime)
    assert token_row is not None
    return token_row.secret


def count(app: Flask) -> int:
    with app.app_context(), reading() as connection:
        query = select(func.count()).select_from(PasswordReset)
        return connection.execute(query).scalar_one()


def change(app: Flask, person: Person, **values: Any) -> None:
    with services(app).engine.begin() as connection:
        connection.execute(update(User).where(User.id == person.id).values(values))


def is_valid(app: Flask, token: str) -> bool:
    with app.app_context():
        return not resets.find_token_errors(token)


def token_in(mail_text: str) -> str:
    (token,) = [line for line in mail_text.splitlines() if len(line) == 32]
    return remember(token)


# Confirming


def test_token_gives_its_owner_a_new_password(app: Flask, client: FlaskClient, ann: Person) -> None:
    answer = confirm(client, f"  {issue(app, ann)}\n")

    assert answer.status_code == 200
    assert answer.json == {"detail": "Пароль изменён. Войдите с новым паролем."}
    assert log_in(client, ann.username, PASSWORD).status_code == 401
    assert log_in(client, ann.username, NEW_PASSWORD).status_code == 200


def test_new_password_ends_every_session(app: Flask, client: FlaskClient, ann: Person) -> None:
    bob = join(client)

    confirm(client, issue(app, ann))

    for person, expected in ((ann, 401), (bob, 200)):
        bearer = {"Authorization": f"Bearer {person.tokens['access']}"}
        assert client.get("/profiles/api/profile/", headers=bearer).status_code == expected
        refreshed = client.post(
            "/accounts/api/token/refresh/", json={"refresh": person.tokens["refresh"]}
        )
        assert refreshed.status_code == expected


def test_token_works_once_and_takes_its_owners_others_with_it(
    app: Flask, client: FlaskClient, ann: Person
) -> None:
    bobs = issue(app, join(client))
    used, other = issue(app, ann), issue(app, ann)
    confirm(client, used)

    for token in (used, other):
        check_problem(confirm(client, token), 400, "invalid", {"token"})
    assert is_valid(app, bobs)


def test_token_that_is_not_good_is_refused_whatever_is_wrong_with_it(
    app: Flask, client: FlaskClient, ann: Person
) -> None:
    used = issue(app, ann)
    confirm(client, used)
    expired = issue(app, ann, timedelta(0))
    tokens = [
        "unknown",
        one_time_tokens.new(resets.LIFETIME).secret,
        used,
        expired,
        "я" * 1000,
        ann.tokens["access"],
    ]

    answers = [confirm(client, token, "yet another horse") for token in tokens]

    for answer in answers:
        check_problem(answer, 400, "invalid", {"token"})
    assert len({answer.text for answer in answers}) == 1


def test_token_is_good_for_an_hour(app: Flask, ann: Person) -> None:
    with app.app_context():
        token_row = resets.issue(ann.id)

    assert token_row is not None
    assert timedelta(minutes=59) < token_row.expires_at - utcnow() <= timedelta(hours=1)


def test_what_is_wrong_is_named_at_once_and_the_token_stays_good(
    app: Flask, client: FlaskClient, ann: Person
) -> None:
    token = issue(app, ann)

    for password in (
        "short",
        "12345678901",
        "password1",
        ann.username.upper(),
        ann.email,
        "\0" * 9,
    ):
        check_problem(confirm(client, token, password), 400, "invalid", {"new_password"})
        check_problem(
            confirm(client, "unknown", password),
            400,
            "invalid",
            # Whose name it is cannot be told without a token.
            {"token"} if ann.username in password.lower() else {"token", "new_password"},
        )
    check_problem(client.post(CONFIRM, json={}), 400, "invalid", {"token", "new_password"})
    assert confirm(client, token).status_code == 200


def test_one_of_many_with_the_same_token_sets_the_password(
    app: Flask, client: FlaskClient, ann: Person
) -> None:
    token = issue(app, ann)

    answers = all_at_once(
        [
            partial(confirm, app.test_client(), token, f"another horse {number}")
            for number in range(CROWD)
        ]
    )

    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: CROWD - 1}
    (number,) = [number for number, answer in enumerate(answers) if answer.status_code == 200]
    assert log_in(client, ann.username, f"another horse {number}").status_code == 200


def test_of_many_tokens_of_one_user_one_sets_the_password(app: Flask, ann: Person) -> None:
    tokens = [issue(app, ann) for _ in range(CROWD)]

    answers = all_at_once([partial(confirm, app.test_client(), token) for token in tokens])

    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: CROWD - 1}
    assert count(app) == 0


@pytest.mark.parametrize("values", [{"is_active": False}, {"deleted_at": utcnow()}])
def test_token_of_who_cannot_log_in_is_worth_nothing(
    app: Flask, client: FlaskClient, ann: Person, values: dict[str, Any]
) -> None:
    token = issue(app, ann)
    change(app, ann, **values)

    check_problem(confirm(client, token), 400, "invalid", {"token"})
    with app.app_context():
        assert resets.issue(ann.id) is None


def test_being_deactivated_for_a_moment_ends_tokens_too(
    app: Flask, client: FlaskClient, ann: Person
) -> None:
    token = issue(app, ann)
    with app.app_context():
        operators.deactivate(ann.id)
        operators.activate(ann.id)

    check_problem(confirm(client, token), 400, "invalid", {"token"})


def test_token_that_was_sent_to_an_address_is_worth_nothing_once_that_has_changed(
    app: Flask, client: FlaskClient, ann: Person
) -> None:
    token = issue(app, ann)
    changed = client.patch(
        "/accounts/api/users/me/",
        json={"email": f"{new_name()}@example.com", "password": PASSWORD},
        headers={"Authorization": f"Bearer {ann.tokens['access']}"},
    )

    assert changed.status_code == 200
    check_problem(confirm(client, token), 400, "invalid", {"token"})


def test_token_is_long_and_kept_nowhere_but_as_its_hash(app: Flask, ann: Person) -> None:
    tokens = {issue(app, ann) for _ in range(20)}

    assert len(tokens) == 20
    assert all(len(bytes.fromhex(token)) >= 16 for token in tokens)
    assert not any(token in stored(app) for token in tokens)
    assert all(one_time_tokens.hash_of(token) in stored(app) for token in tokens)


def test_expired_tokens_are_deleted(app: Flask, client: FlaskClient, ann: Person) -> None:
    issue(app, join(client), timedelta(0))
    issue(app, ann, timedelta(0))

    good = issue(app, ann)

    assert count(app) == 1
    assert is_valid(app, good)


# By mail


def test_email_brings_a_token(
    app: Flask, client: FlaskClient, post: MailServer, ann: Person
) -> None:
    answer = ask(client, ann.email.upper())

    assert answer.status_code == 202
    (mail,) = post.wait(1)
    assert mail.to == [ann.email]
    assert ann.username in mail.text
    assert confirm(client, token_in(mail.text)).status_code == 200
    assert log_in(client, ann.username, NEW_PASSWORD).status_code == 200


@pytest.mark.parametrize(
    ("language", "sentence"), [("ru", "Здравствуйте, "), ("en-GB,en;q=0.9", "Hello, ")]
)
def test_email_is_in_the_language_of_the_request(
    client: FlaskClient, post: MailServer, ann: Person, language: str, sentence: str
) -> None:
    ask(client, ann.email, **{"Accept-Language": language})

    (mail,) = post.wait(1)
    assert mail.text.startswith(sentence + ann.username)


def test_link_leads_to_the_page_of_the_operator_and_nowhere_else(
    app: Flask,
    client: FlaskClient,
    post: MailServer,
    ann: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forged = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "Origin": "http://evil.example",
    }
    ask(client, ann.email, **forged)
    post.wait(1)
    set_config(app, monkeypatch, PASSWORD_RESET_URL="https://chat.example/new?a=b")
    ask(client, ann.email, **forged)

    post.wait(2)
    set_config(app, monkeypatch, PASSWORD_RESET_URL=None, PUBLIC_URL="https://chat.example")
    ask(client, ann.email, **forged)

    bare, linked, own = post.wait(3)
    assert "https://chat.example/reset#" in own.text
    assert "http" not in bare.text
    assert "evil" not in bare.text + linked.text
    (link,) = [line for line in linked.text.splitlines() if "//" in line]
    assert link.startswith("https://chat.example/new?a=b#token=")
    assert is_valid(app, link.partition("#token=")[2])


def test_same_is_answered_whether_there_is_such_an_address_or_not(
    app: Flask, client: FlaskClient, post: MailServer, ann: Person
) -> None:
    bob, eve = join(client), join(client)
    change(app, bob, is_active=False)
    change(app, eve, deleted_at=utcnow())

    answers = [
        ask(client, email)
        for email in (ann.email, "nobody@example.com", bob.email, eve.email, ann.email)
    ]

    post.wait(2)
    wait_idle(services(app).mailer)
    assert [mail.to for mail in post.mails] == [[ann.email]] * 2
    seen = set()
    for answer in answers:
        headers = {name: value for name, value in answer.headers if name != "X-Request-ID"}
        seen.add((answer.status_code, answer.text, tuple(headers.items())))
    assert len(seen) == 1


def test_nothing_is_looked_up_while_the_answer_is_made(
    app: Flask, client: FlaskClient, post: MailServer, ann: Person
) -> None:
    asked: list[int] = []

    def note(*_: object) -> None:
        asked.append(threading.get_ident())

    event.listen(services(app).engine, "before_cursor_execute", note)
    try:
        ask(client, ann.email)
        ask(client, "nobody@example.com")
        wait_idle(services(app).mailer)
    finally:
        event.remove(services(app).engine, "before_cursor_execute", note)

    assert asked  # elsewhere
    assert threading.get_ident() not in asked


def test_email_goes_to_the_address_of_the_account_and_not_to_one_that_looks_like_it(
    client: FlaskClient, post: MailServer
) -> None:
    # Both fold to the same key, so this finds the account; but it is another mailbox.
    ann = join(client, email="ann.smith@example.com")

    assert ask(client, "ann.ſmith@example.com").status_code == 202

    (mail,) = post.wait(1)
    assert mail.to == [ann.email]
    assert mail.message["To"] == ann.email


def test_few_emails_go_to_one_mailbox(
    app: Flask, client: FlaskClient, post: MailServer, ann: Person
) -> None:
    answers = [ask(client, ann.email) for _ in range(resets.OPEN_MAX + 3)]

    wait_idle(services(app).mailer)
    assert {answer.status_code for answer in answers} == {202}
    assert len(post.mails) == resets.OPEN_MAX
    assert issue(app, ann)  # an operator still can


def test_without_a_mail_server_nobody_waits_for_an_email(client: FlaskClient, ann: Person) -> None:
    answers = [ask(client, email) for email in (ann.email, "nobody@example.com")]

    for answer in answers:
        check_problem(answer, 404, "no_mail")
    assert answers[0].text == answers[1].text


@pytest.mark.parametrize(
    "email",
    ["", "x", 5, None, "ann@example.com\r\nBcc: eve@example.com", "a@example.com,eve@example.com"],
)
def test_what_is_no_address_is_refused(
    client: FlaskClient, post: MailServer, email: object
) -> None:
    check_problem(client.post(ASK, json={"email": email}), 400, "invalid", {"email"})


def test_neither_the_log_nor_an_answer_tells_a_token(
    app: Flask,
    client: FlaskClient,
    post: MailServer,
    ann: Person,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "app")
    post.answers = ["554 spam: {text}", "451 spam: {text}"]
    asked = [ask(client, ann.email) for _ in range(2)]
    (mail,) = post.wait(1)
    token = token_in(mail.text)
    client.post(f"{CONFIRM}?token={quote(token)}", json={"token": token, "new_password": "x"})
    confirmed = confirm(client, token)

    told = [each for each in caplog.records if each.name != "mail.log"]
    said = " ".join(f"{each.getMessage()} {each.__dict__}" for each in told)
    assert "an e-mail was sent" in said
    for private in (token, one_time_tokens.hash_of(token), NEW_PASSWORD, ann.email):
        assert private not in said
    assert token not in confirmed.text + asked[0].text + asked[1].text


@pytest.mark.server
def test_worker_goes_on_while_the_mail_server_hangs(tmp_path: Path) -> None:
    with MailServer() as post:
        settings = {"SMTP_URL": f"smtp://127.0.0.1:{post.port}?from=b@example.org"}
        with Server(tmp_path, settings) as server:
            ann = make_person(server.url)
            post.is_hanging = True

            # It would be silent for as long as the mail server may take: 10 s.
            for _ in range(3):
                asked = ann.post(ASK, {"email": ann.email}, timeout=8)
                assert asked.status_code == 202
            wait_until(lambda: post.greeted)
            assert ann.get("/profiles/api/profile/", timeout=8).status_code == 200
            post.is_hanging = False

            token = token_in(post.wait(1)[0].text)
            done = httpx.post(
                f"{server.url}{CONFIRM}", json={"token": token, "new_password": NEW_PASSWORD}
            )
            assert done.status_code == 200
            assert ann.get("/profiles/api/profile/").status_code == 401
        log = server.log.read_text()
    assert "an e-mail was sent" in log
    assert token not in log
    assert ann.email not in log
