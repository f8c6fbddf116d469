"""Use cases of subscriptions: which browsers of a user are notified."""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, select

from app.accounts.models import Session
from app.database.transactions import insert_once, writing
from app.notifications.models import PushSubscription
from app.notifications.push_service import Browser
from app.notifications.reader import begin

DEVICES_MAX = 10  # of one user; a new one beyond that takes the place of the oldest


def subscribe(user_id: int, session_id: int, browser: Browser) -> bool:
    """Notify a browser from now on, as long as the session lasts.

    A known endpoint passes to the caller: a browser has one endpoint for all accounts.

    Args:
        user_id: The caller.
        session_id: The caller's session.
        browser: Where notifications go.

    Returns:
        Whether it is new to this user.
    """
    with writing() as connection:
        begin(connection)
        gone = connection.execute(
            delete(PushSubscription)
            .where(PushSubscription.endpoint == browser.endpoint)
            .returning(PushSubscription.user_id)
        ).all()
        insert_once(
            connection,
            PushSubscription,
            user_id=user_id,
            session_id=session_id,
            endpoint=browser.endpoint,
            p256dh=browser.p256dh,
            auth=browser.auth,
        )
        surplus = (
            select(PushSubscription.id)
            .where(PushSubscription.user_id == user_id)
            .order_by(PushSubscription.id.desc())
            .offset(DEVICES_MAX)
        )
        delete_all(connection, connection.scalars(surplus).all())
    return user_id not in {row.user_id for row in gone}


def unsubscribe(user_id: int, endpoint: str) -> None:
    """Notify a browser of the caller no more. Without a subscription nothing changes."""
    with writing() as connection:
        connection.execute(
            delete(PushSubscription).where(
                PushSubscription.user_id == user_id, PushSubscription.endpoint == endpoint
            )
        )


def delete_all(connection: Connection, ids: Iterable[int]) -> None:
    """Delete subscriptions."""
    connection.execute(delete(PushSubscription).where(PushSubscription.id.in_(list(ids))))


def delete_of_ended_sessions(connection: Connection) -> None:
    """Delete the subscriptions whose sessions are over; nothing was sent to them any more."""
    ended = select(Session.id).where(Session.revoked_at.is_not(None))
    connection.execute(delete(PushSubscription).where(PushSubscription.session_id.in_(ended)))


def erase_subscriptions(connection: Connection, user_id: int) -> None:
    """Delete a user's subscriptions, in the transaction that erases the account."""
    connection.execute(delete(PushSubscription).where(PushSubscription.user_id == user_id))
