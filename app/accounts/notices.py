"""Letters that tell people of changes of their account, where this server sends mail.

An owner who did not make the change learns of it while it can still be undone. The change does
not depend on the letter: if too many letters wait already, the log says so.
"""

import logging

from flask_babel import force_locale, gettext

from app.http.errors import Overloaded
from app.http.languages import preferred
from app.mail import Letter
from app.services import services

log = logging.getLogger(__name__)


def tell_of_new_password(username: str, email: str) -> None:
    """Tell a user that their password was changed."""
    with force_locale(preferred()):
        _send(
            email,
            gettext("Your password was changed"),
            gettext("Hello, %(name)s!", name=username),
            gettext("The password of your account was changed a moment ago."),
            _what_to_do(),
        )


def tell_of_new_address(username: str, old_email: str) -> None:
    """Tell a user, at the old address, that their account has another one."""
    with force_locale(preferred()):
        _send(
            old_email,
            gettext("Your e-mail address was changed"),
            gettext("Hello, %(name)s!", name=username),
            gettext("Your account has another e-mail address since a moment ago."),
            _what_to_do(),
        )


def _what_to_do() -> str:
    return str(gettext("If it was not you, ask whoever runs this server for help at once."))


def _send(to: str, subject: str, *paragraphs: str) -> None:
    mailer = services().mailer
    if mailer is None:
        return
    letter = Letter(to, subject, "\n\n".join(paragraphs))
    try:
        mailer.submit(lambda: letter)
    except Overloaded:
        log.warning("a letter about a change of an account was not sent: too many are waiting")
