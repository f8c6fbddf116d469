"""Letters go out behind everybody's back: in good order, encrypted, again if need be, and bounded."""

import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from app import mail
from app.database.errors import DatabaseUnavailable
from app.http.errors import Overloaded
from app.mail import Email, Mailer
from config import Config
from config_urls import SmtpServer
from tests.mails import PASSWORD, USERNAME, MailServer, wait_until
from tests.servers import free_port

EMAIL = Email("ann@example.com", "Новый пароль", "Здравствуйте!\n\nsecret-token")
CREDENTIALS = f"{USERNAME}:{quote(PASSWORD, safe='')}@"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "PAUSES_SECONDS", (0.05, 0.2))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a mail server needs that this machine trusts."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def post() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def smtp(
    port: int, scheme: str = "smtp", login: str = "", sender: str = "b@example.org"
) -> SmtpServer:
    env = {
        "JWT_SECRET_KEY": "s" * 32,
        "SMTP_URL": f"{scheme}://{login}127.0.0.1:{port}?from={quote(sender)}",
    }
    found = Config.from_env(env).SMTP_URL
    assert found is not None
    return found


def mailer_of(*arguments: object, **options: object) -> Mailer:
    return Mailer(smtp(*arguments, **options), nullcontext)  # type: ignore[arg-type]


def send(mailer: Mailer, mail: Email = EMAIL) -> threading.Event:
    """Have an e-mail sent; the event says that it was written."""
    is_written = threading.Event()

    def write() -> Email:
        is_written.set()
        return mail

    mailer.submit(write)
    return is_written


def wait_idle(mailer: Mailer) -> None:
    """Wait until all that was submitted before is sent or given up."""
    is_idle = threading.Event()
    mailer.submit(lambda: is_idle.set())  # type: ignore[func-returns-value]
    assert is_idle.wait(15)


def test_email_arrives_as_it_was_written(post: MailServer) -> None:
    send(mailer_of(post.port, sender="Беседа <b@example.org>"))

    (got,) = post.wait(1)
    assert (got.sender, got.to) == ("b@example.org", ["ann@example.com"])
    assert got.message["From"].addresses[0].display_name == "Беседа"
    assert got.message["From"].addresses[0].addr_spec == "b@example.org"
    assert got.message["To"] == "ann@example.com"
    assert got.message["Subject"] == "Новый пароль"
    assert got.message["Auto-Submitted"] == "auto-generated"
    assert got.message["Date"].datetime
    assert got.message.get_content_type() == "text/plain"
    assert got.text == EMAIL.text


def test_email_does_not_tell_what_this_machine_is_called(post: MailServer) -> None:
    send(mailer_of(post.port))

    (got,) = post.wait(1)
    assert got.greeting == "example.org"
    assert got.message["Message-ID"].endswith("@example.org>")


def test_domain_beyond_ascii_is_sent_in_the_form_that_all_servers_take(post: MailServer) -> None:
    send(mailer_of(post.port), Email("ann@почта.рф", "x", "y"))

    (got,) = post.wait(1)
    assert got.to == ["ann@xn--80a1acny.xn--p1ai"]


@pytest.mark.parametrize(
    "mail",
    [
        Email("ann@example.com\r\nBcc: eve@example.com", "x", "y"),
        Email("ann@example.com\nRCPT TO:<eve@example.com>", "x", "y"),
        Email("ann@example.com, eve@example.com", "x", "y"),
        Email("ann@example.com", "x\r\nBcc: eve@example.com", "y"),
    ],
)
def test_nothing_can_be_put_into_the_headers(post: MailServer, mail: Email) -> None:
    mailer = mailer_of(post.port)
    send(mailer, mail)
    send(mailer)

    assert [got.to for got in post.wait(1)] == [["ann@example.com"]]
    assert post.mails[0].message["Subject"] == EMAIL.subject


def test_lines_of_a_text_end_no_email(post: MailServer) -> None:
    text = "one\n.\nMAIL FROM:<eve@example.com>\r\n.\r\nFrom me"
    send(mailer_of(post.port), Email("ann@example.com", "x", text))

    (got,) = post.wait(1)
    assert got.text == text.replace("\r", "")


# TLS and passwords


def test_connection_is_encrypted_where_the_server_offers_it(tls: ssl.SSLContext) -> None:
    with MailServer(tls) as post:
        send(mailer_of(post.port, login=CREDENTIALS))

        (got,) = post.wait(1)
    assert got.is_encrypted
    assert got.login == USERNAME


def test_connection_is_encrypted_from_its_beginning(tls: ssl.SSLContext) -> None:
    with MailServer(tls, is_implicit=True) as post:
        send(mailer_of(post.port, "smtps", CREDENTIALS))

        (got,) = post.wait(1)
    assert got.is_encrypted
    assert got.login == USERNAME


def test_no_password_goes_over_a_connection_that_others_can_read() -> None:
    with MailServer() as post:
        mailer = mailer_of(post.port, login=CREDENTIALS)
        send(mailer)
        wait_idle(mailer)

    assert (post.mails, post.logins, post.greeted) == ([], [], 1)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_nothing_is_sent_to_a_server_with_an_untrusted_certificate(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "another.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "another.pem"))

    with MailServer(tls, is_implicit=scheme == "smtps") as post:
        mailer = mailer_of(post.port, scheme, CREDENTIALS)
        send(mailer)
        wait_idle(mailer)

    assert (post.mails, post.logins) == ([], [])


def test_password_is_not_in_the_representation_of_a_server() -> None:
    assert "rd" not in repr(smtp(25, login=CREDENTIALS)).replace("password", "")


# Mail servers that are ill


def test_email_is_sent_again_when_the_server_asks_for_that(post: MailServer) -> None:
    post.answers = ["451 later", "421 later"]

    send(mailer_of(post.port))

    assert len(post.wait(1)) == 1


def test_email_that_is_refused_for_good_is_not_sent_again(post: MailServer) -> None:
    post.answers = ["554 no"]
    mailer = mailer_of(post.port)

    send(mailer)
    wait_idle(mailer)

    assert (post.mails, post.answers, post.greeted) == ([], [], 1)


def test_email_is_given_up_in_the_end_and_the_next_one_goes_out(post: MailServer) -> None:
    post.answers = ["451 later"] * 3
    mailer = mailer_of(post.port)

    send(mailer, Email("bob@example.com", "x", "y"))
    send(mailer)

    assert [got.to for got in post.wait(1)] == [["ann@example.com"]]


def test_email_is_written_once_however_often_it_is_sent(post: MailServer) -> None:
    post.answers = ["451 later", "451 later"]
    written = []

    def write() -> Email:
        written.append(EMAIL)
        return EMAIL

    mailer_of(post.port).submit(write)

    post.wait(1)
    assert len(written) == 1


def test_email_that_could_not_be_written_without_the_database_is_tried_again(
    post: MailServer,
) -> None:
    outcomes: list[Email | Exception] = [DatabaseUnavailable(), EMAIL]

    def write() -> Email:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    mailer_of(post.port).submit(write)

    assert len(post.wait(1)) == 1


def test_server_that_is_away_for_a_moment_costs_no_email(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "PAUSES_SECONDS", (0.2,) * 50)
    post = MailServer()
    is_written = send(mailer_of(post.port))
    assert is_written.wait(15)

    with post:
        assert len(post.wait(1)) == 1


def test_server_that_hangs_delays_nobody_without_end(
    post: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "SMTP_SECONDS", 0.2)
    post.is_hanging = True
    mailer = mailer_of(post.port)

    is_written = send(mailer)  # and this returned
    assert is_written.wait(15)
    wait_until(lambda: post.greeted >= 2)  # the first attempt was given up
    post.is_hanging = False

    assert post.wait(1)


def test_no_more_emails_wait_than_can_be_sent(
    post: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "SMTP_SECONDS", 30)
    post.is_hanging = True
    mailer = mailer_of(post.port)
    send(mailer)
    wait_until(lambda: post.greeted)  # from now on the others wait

    for _ in range(mail.WAITING_MAX):
        mailer.submit(lambda: None)
    with pytest.raises(Overloaded):
        mailer.submit(lambda: None)


def test_log_tells_neither_text_nor_address_nor_password(
    post: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "app")
    post.answers = ["554 spam: {text}", "451 spam: {text}"]
    mailer, away = mailer_of(post.port), mailer_of(free_port(), login=CREDENTIALS)

    send(mailer)
    send(mailer)
    send(away)
    send(mailer, Email("ann@example.com, x", "x", EMAIL.text))
    mailer.submit(lambda: {}[EMAIL.text])  # type: ignore[index]
    wait_idle(mailer)
    wait_idle(away)

    # The mail server, which is in this process, logs all that it hears.
    ours = [record for record in caplog.records if record.name != "mail.log"]
    said = " ".join(f"{record.getMessage()} {record.__dict__}" for record in ours)
    assert "an e-mail was given up: SMTPDataError 554" in said
    assert "an e-mail was not sent yet: SMTPDataError 451" in said
    assert "an e-mail was sent" in said
    for private in ("secret-token", "ann@", PASSWORD, quote(PASSWORD, safe="")):
        assert private not in said
    assert "secret-token" not in repr(EMAIL)


def test_defect_in_what_writes_an_email_is_logged_with_its_traceback_and_not_repeated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = []

    def write() -> Email:
        calls.append(1)
        raise KeyError("a defect")

    server = Config.from_env({"SMTP_URL": "smtp://127.0.0.1:1?from=b@c.example"}).SMTP_URL
    assert server is not None
    Mailer(server, nullcontext)._deliver(write)

    assert calls == [1]
    (record,) = caplog.records
    assert record.getMessage().startswith("an e-mail was given up: KeyError")
    assert "in write" in record.getMessage()  # where it is, and nothing of what it says
    assert "a defect" not in record.getMessage().replace('KeyError("a defect")', "")
