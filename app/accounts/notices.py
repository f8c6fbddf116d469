"""Sends e-mails about changes of an account, if this server sends mail.

An owner who did not make the change learns of it early. The change does not depend on the e-mail:
if the queue is full, only the log says so.
"""

import logging

from flask_babel import force_locale, gettext

from app.http.errors import Overloaded
from app.http.languages import preferred
from app.mail import Email
from app.services import services

log = logging.getLogger(__name__)


def tell_of_new_password(username: str, email: str) -> None:
    """Send an e-mail: the password was changed."""
    with force_locale(preferred()):
        _send(
            email,
            gettext("Your password was changed"),
            gettext("Hello, %(name)s!", name=username),
            gettext("The password of your account was changed a moment ago."),
            _what_to_do(),
        )


def tell_of_new_address(username: str, old_email: str) -> None:
    """Send an e-mail to the old address: the address was changed."""
    with force_locale(preferred()):
        _send(
            old_email,
            gettext("Your e-mail address was changed"),
            gettext("Hello, %(name)s!", name=username),
            gettext("Your account has another e-mail address since a moment ago."),
            _what_to_do(),
        )


def _what_to_do() -> str:
    return str(gettext("If it was not you, ask the operator of this server for help at once."))


def _send(to: str, subject: str, *paragraphs: str) -> None:
    mailer = services().mailer
    if mailer is None:
        return
    mail = Email(to, subject, "\n\n".join(paragraphs))
    try:
        mailer.submit(lambda: mail)
    except Overloaded:
        log.warning("an e-mail about a change of an account was not sent: too many are waiting")
