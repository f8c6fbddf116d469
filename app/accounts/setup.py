"""Use case: create the first administrator with a code that only the server's log shows.

An installation without an administrator logs a link with the code at each start. The code is made
of the signing key and a nonce in the database, so all workers of all machines accept the same code,
and a reader of the database alone cannot make it. The first use deletes the row of the nonce; if
two people use the code at the same time, the second one waits for that row and is refused.
"""

import hmac
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, delete, select
from sqlalchemy.exc import SQLAlchemyError

from app.accounts.links import link_to
from app.accounts.models import SetupCode, User
from app.accounts.registration import create_user
from app.database.transactions import insert_once, reading, writing
from app.http.errors import BadInput, FieldErrors
from app.services import services

log = logging.getLogger(__name__)

_BYTES = 16  # of the code: nobody guesses 128 bits
_ROW = 1  # the id of the only row
_BAD_CODE: FieldErrors = {"code": [_("This code is unknown or used.")]}
_ADMINISTRATORS = select(User.id).where(User.is_admin, User.is_active).limit(1)
_NONCE = select(SetupCode.nonce).where(SetupCode.id == _ROW)


def announce() -> bool:
    """Log the link for the first administrator, if there is no administrator yet.

    Returns:
        Whether the database could be asked.
    """
    try:
        code = make_code()
    except SQLAlchemyError as error:
        log.warning("The link for the first administrator is not ready: %s", type(error).__name__)
        return False
    if code is not None:
        log.warning("There is no administrator yet. Create one at %s", link_to("setup", code))
    return True


def make_code() -> str | None:
    """Return the code for the first administrator, or None if there is an administrator."""
    with reading() as connection:
        is_done = connection.scalar(_ADMINISTRATORS) is not None
        nonce = connection.scalar(_NONCE)
    if is_done:
        if nonce is not None:
            with writing() as connection:
                delete_code(connection)
        return None
    if nonce is None:
        with writing() as connection:
            insert_once(connection, SetupCode, id=_ROW, nonce=secrets.token_hex(_BYTES))
            nonce = connection.scalar(_NONCE)  # another worker may have made it first
    return _code_of(str(nonce))


def create_first_administrator(
    code: str, username: str, email: str, password: str
) -> Mapping[str, Any]:
    """Create the account of the first administrator.

    Args:
        code: The value of `make_code`.
        username: A `normal_username`.
        email: A `normal_email`.
        password: A `strong_password`.

    Returns:
        The new user as the API shows it: id, username, email.

    Raises:
        BadInput: The code is wrong, or there is an administrator already; also raised by
            `create_user`.
    """
    if errors := find_code_errors(code):
        raise BadInput(errors)

    def redeem(connection: Connection, user_id: int) -> None:
        nonce = connection.scalar(_NONCE.with_for_update())
        earlier = connection.scalar(_ADMINISTRATORS.where(User.id != user_id))
        if not _is_right(code, nonce) or earlier is not None:
            raise BadInput(_BAD_CODE)
        delete_code(connection)

    return create_user(username, email, password, redeem, is_admin=True)


def find_code_errors(code: str) -> FieldErrors:
    """Return what is wrong with a code.

    Call it before `find_taken`: only the holder of the code may learn which names are taken.
    """
    with reading() as connection:
        nonce = connection.scalar(_NONCE)
        is_done = connection.scalar(_ADMINISTRATORS) is not None
    return {} if _is_right(code, nonce) and not is_done else _BAD_CODE


def delete_code(connection: Connection) -> None:
    """Make the code invalid, in the transaction that creates an administrator."""
    connection.execute(delete(SetupCode))


def _is_right(code: str, nonce: str | None) -> bool:
    # Without a nonce a dummy is compared, so the time tells nothing.
    expected = _code_of(nonce or secrets.token_hex(_BYTES))
    return (
        hmac.compare_digest(code.strip().encode(errors="surrogatepass"), expected.encode())
        and nonce is not None
    )


def _code_of(nonce: str) -> str:
    key = services().config.JWT_SECRET_KEY.get_secret_value().encode()
    return hmac.digest(key, f"setup {nonce}".encode(), "sha256").hex()[: 2 * _BYTES]
