"""A real mail server for tests, which keeps what it gets, and can be ill in several ways."""

import asyncio
import ssl
import threading
import time
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.servers import free_port

WAIT_SECONDS = 15.0
USERNAME, PASSWORD = "beseda", "p@ss/word"


class Mail(NamedTuple):
    """An e-mail as it came in.

    Attributes:
        to: Whom its envelope is for.
        is_encrypted: Whether it came through TLS.
        login: Who sent it, if they said so.
        greeting: What the sender called their machine.
    """

    sender: str
    to: list[str]
    message: EmailMessage
    is_encrypted: bool
    login: str | None
    greeting: str

    @property
    def text(self) -> str:
        return "\n".join(self.message.get_content().splitlines())


class _Conversation(SMTP):
    """One connection to the server below."""

    def __init__(self, server: "MailServer", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            hostname="mail.test",  # or its own name would be looked up
            loop=loop,
            tls_context=None if server.is_implicit else server.tls,
            authenticator=server.authenticate,
            auth_require_tls=False,  # that no password is sent in the clear is our business
            enable_SMTPUTF8=False,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.event_handler.connections[self] = transport  # after STARTTLS it is another one
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.event_handler.connections.pop(self, None)


class MailServer:
    """Listens on the loopback.

    Args:
        tls: For STARTTLS, or for all of a connection if `is_implicit`.

    Attributes:
        answers: What it says to the next e-mails in the place of taking them.
        is_hanging: While it is true, it says nothing more to who greets it.
        greeted: How often it was greeted.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        is_implicit: bool = False,
    ) -> None:
        self.port = free_port()
        self.mails: list[Mail] = []
        self.answers: list[str] = []
        self.is_hanging = False
        self.greeted = 0
        self.logins: list[str] = []
        self.tls, self.is_implicit = tls, is_implicit
        self._came = threading.Condition()
        self.connections: dict[SMTP, asyncio.BaseTransport] = {}
        self._is_listening = threading.Event()
        self._is_leaving = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()))

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        all_tls = self.tls if self.is_implicit else None
        server = await loop.create_server(
            partial(_Conversation, self, loop), "127.0.0.1", self.port, ssl=all_tls
        )
        self._is_listening.set()
        while not self._is_leaving:
            await asyncio.sleep(0.02)
        server.close()
        # Or they would be found open when the loop is closed. asyncio does not always tell of the
        # end of one whose STARTTLS failed.
        for _ in range(50):
            for connection in tuple(self.connections.values()):
                connection.abort()  # type: ignore[attr-defined]
            await asyncio.sleep(0.02)
            if not self.connections:
                break

    def authenticate(
        self, _server: SMTP, session: Session, _envelope: Envelope, _how: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login.decode())
        is_right = (data.login.decode(), data.password.decode()) == (USERNAME, PASSWORD)
        return AuthResult(success=is_right, auth_data=data.login.decode())

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        session: Session,
        _envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        self.greeted += 1
        while self.is_hanging:
            await asyncio.sleep(0.02)
        session.host_name = hostname
        return responses

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        message = message_from_bytes(envelope.content or b"", policy=policy.default)
        if self.answers:
            return self.answers.pop(0).format(text=ascii(message.get_content()))
        with self._came:
            self.mails.append(
                Mail(
                    envelope.mail_from or "",
                    envelope.rcpt_tos,
                    message,
                    self.is_implicit or session.ssl is not None,
                    session.auth_data,
                    session.host_name or "",
                )
            )
            self._came.notify_all()
        return "250 OK"

    def wait(self, mails: int) -> list[Mail]:
        """Return all e-mails when there are as many."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.mails) >= mails, WAIT_SECONDS), self.mails
            return self.mails[:]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_listening.wait(WAIT_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.is_hanging = False
        self._is_leaving = True
        self._thread.join()


def wait_until(holds: Callable[[], object]) -> None:
    """Wait for a condition, until a deadline."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
