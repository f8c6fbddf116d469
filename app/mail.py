"""Sends e-mails from a thread of its own, so that no request waits for the mail server.

A caller passes a function that writes the e-mail. It runs in that thread too, so neither a response
nor its time tells what the function looks up. The queue is in memory: e-mails that a worker has not
sent when it stops are lost.
"""

import logging
import smtplib
import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import localtime, make_msgid
from queue import Full, Queue
from time import perf_counter, sleep
from traceback import format_tb

from email_validator import EmailNotValidError, validate_email
from sqlalchemy.exc import SQLAlchemyError

from app.http.errors import Overloaded
from config_urls import SmtpServer

log = logging.getLogger(__name__)

WAITING_MAX = 100  # queued e-mails; a slow mail server would take too long for more
SMTP_SECONDS = 10.0  # how long the mail server may take for each reply
PAUSES_SECONDS = (1.0, 5.0)  # between one attempt and the next


@dataclass(frozen=True, slots=True)
class Email:
    """An e-mail. Its text may hold a secret, so `repr` does not show it."""

    to: str = field(repr=False)
    subject: str
    text: str = field(repr=False)


class PlainConnectionError(Exception):
    """The mail server offers no encryption, so the password would be sent in plain text."""


# Errors of the network, the mail server or the database; anything else is a defect of ours.
_EXPECTED = (OSError, smtplib.SMTPException, PlainConnectionError, SQLAlchemyError)


class Mailer:
    """Sends the e-mails of one worker, one after the other.

    Args:
        server: The mail server.
        context: Returns the application context in which an e-mail is written.
    """

    def __init__(
        self, server: SmtpServer, context: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self._server = server
        self._context = context
        self._waiting: Queue[Callable[[], Email | None]] = Queue(WAITING_MAX)
        self._start_once = threading.Lock()
        self._is_started = False
        self._tls = ssl.create_default_context()  # slow, so it is made once

    def submit(self, write: Callable[[], Email | None]) -> None:
        """Queue an e-mail and return at once.

        Args:
            write: Returns the e-mail, or None if there is nothing to send.

        Raises:
            Overloaded: Too many e-mails are waiting.
        """
        self._start()
        try:
            self._waiting.put_nowait(write)
        except Full:
            raise Overloaded from None

    def _start(self) -> None:
        # Started at the first use, in the worker: a thread does not survive a fork.
        with self._start_once:
            if not self._is_started:
                self._is_started = True
                threading.Thread(target=self._send_forever, name="mail", daemon=True).start()

    def _send_forever(self) -> None:
        while True:
            self._deliver(self._waiting.get())

    def _deliver(self, write: Callable[[], Email | None]) -> None:
        mail = None
        for pause in (*PAUSES_SECONDS, None):
            began = perf_counter()
            try:
                if mail is None:
                    with self._context():
                        mail = write()
                if mail is not None:
                    self._send(mail)
                    _log("an e-mail was sent", began)
                return
            except _EXPECTED as error:
                # Never log the text of an error: a mail server may quote the e-mail in it.
                what = f"{type(error).__name__} {getattr(error, 'smtp_code', '')}".rstrip()
                if pause is None or _is_final(error):
                    _log(f"an e-mail was given up: {what}", began, logging.ERROR)
                    return
                _log(f"an e-mail was not sent yet: {what}", began, logging.WARNING)
            except Exception as error:  # a defect of ours: trying again would not help
                where = "".join(format_tb(error.__traceback__))
                _log(
                    f"an e-mail was given up: {type(error).__name__}\n{where}", began, logging.ERROR
                )
                return
            sleep(pause)

    def _send(self, mail: Email) -> None:
        server, message = self._server, self._composed(mail)
        smtp = self._connect()
        try:
            if server.username:
                smtp.login(server.username, server.password.get_secret_value())
            smtp.send_message(message, server.sender, [message["To"].addresses[0].addr_spec])
            with suppress(smtplib.SMTPException, OSError):  # it has the e-mail by now
                smtp.quit()
        finally:
            smtp.close()

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        # The domain of the sender, not the name of this machine: looking that up may take long.
        name = server.sender.rpartition("@")[2]
        if server.is_tls:
            return smtplib.SMTP_SSL(
                server.host, server.port, name, timeout=SMTP_SECONDS, context=self._tls
            )
        smtp = smtplib.SMTP(server.host, server.port, name, timeout=SMTP_SECONDS)
        try:
            smtp.ehlo()
            if smtp.has_extn("starttls"):
                smtp.starttls(context=self._tls)
            elif server.username:
                raise PlainConnectionError
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _composed(self, mail: Email) -> EmailMessage:
        server = self._server
        message = EmailMessage()
        message["From"] = Address(server.sender_name, addr_spec=server.sender)
        message["To"] = Address(addr_spec=_on_the_wire(mail.to))
        message["Subject"] = mail.subject
        message["Date"] = localtime()
        message["Message-ID"] = make_msgid(domain=server.sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic replies
        message.set_content(mail.text, cte="base64")  # so that no server changes its lines
        return message


def _on_the_wire(address: str) -> str:
    # Every mail server accepts the ASCII form of an internationalized domain.
    try:
        valid = validate_email(address, check_deliverability=False)
    except EmailNotValidError:
        return address
    return valid.ascii_email or address


def _is_final(error: Exception) -> bool:
    """Tell whether the mail server would refuse again (a 5xx reply: RFC 5321, section 4.2.1)."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code >= 500
    return isinstance(error, smtplib.SMTPNotSupportedError | PlainConnectionError)


def _log(message: str, began: float, level: int = logging.INFO) -> None:
    log.log(level, message, extra={"milliseconds": round((perf_counter() - began) * 1000, 1)})
