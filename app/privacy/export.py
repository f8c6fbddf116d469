"""Writes all data of one person as one JSON document (`schemas.ExportOut`).

It is written page by page, so a hundred thousand messages take the memory of one page, and no
database connection is held while a slow client reads.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from time import monotonic
from typing import Any, TypeAlias

from sqlalchemy import Engine, Row, bindparam, case, select

from app.accounts.models import Session, User
from app.accounts.sessions import SESSIONS
from app.accounts.settings import SETTINGS
from app.clock import utcnow
from app.database.keyset import KeysetQuery
from app.database.transactions import reading
from app.http.json import encode
from app.media.store import MediaStore, read_picture
from app.messenger.files.models import Upload
from app.messenger.files.shown import file_out
from app.messenger.models import Message, Room, RoomMember
from app.messenger.rooms import OWN_ROOMS, ROOMS_WRITTEN_IN, room_out
from app.notifications.models import PushSubscription
from app.profiles.models import Post, Profile
from app.profiles.services import POSTS
from app.social.models import Block, Friendship
from app.threads import give_way

PAGE_ROWS = 25  # a client that stops reading keeps one page in memory, up to 2 MB
EXPORT_SECONDS = 600.0  # the whole export may take

_SESSIONS = KeysetQuery(
    SESSIONS.add_columns(Session.expires_at, Session.revoked_at),
    Session.id,
    partition=Session.user_id,
)
_BROWSERS = KeysetQuery(
    select(
        PushSubscription.id,
        PushSubscription.session_id,
        PushSubscription.endpoint,
        PushSubscription.created_at,
    ),
    PushSubscription.id,
    partition=PushSubscription.user_id,
)
_BLOCKS = KeysetQuery(
    select(Block.blocked_id.label("id"), User.username, Block.created_at).join(
        User, User.id == Block.blocked_id
    ),
    Block.blocked_id,
    partition=Block.owner_id,
)
_MEMBERSHIPS = KeysetQuery(
    select(
        RoomMember.room_id,
        Room.name.label("room"),
        RoomMember.role,
        RoomMember.joined_at,
        RoomMember.left_id.is_(None).label("is_member"),
        RoomMember.muted,
        RoomMember.read_id,
    ).join(Room, Room.id == RoomMember.room_id),
    RoomMember.room_id,
    partition=RoomMember.user_id,
)
_POSTS = KeysetQuery(POSTS.add_columns(Post.client_id), Post.id, partition=Post.author_id)
# A page counts the messages of others too, and then leaves them out: there is no index on the
# author, so a query for one's own messages alone would read a whole long room.
_is_own = Message.user_id == bindparam("user_id")
_MESSAGES = KeysetQuery(
    select(
        Message.id,
        Message.user_id,
        Message.timestamp,
        case((_is_own, Message.content)).label("content"),
        case((_is_own, Message.client_id)).label("client_id"),
        Message.reply_to_id,
        Message.edited_at,
        Message.deleted_at,
    ),
    Message.id,
    partition=Message.room_id,
)

_Items: TypeAlias = Sequence[Mapping[str, Any]]


class ExportTooSlowError(Exception):
    """The client took longer than `EXPORT_SECONDS`; the document is cut off."""


def export(engine: Engine, store: MediaStore, user_id: int) -> Iterator[bytes]:
    """Return the pieces of the document.

    All but the lists is read before this function returns, so that an error still becomes an error
    response.

    Args:
        engine: The database.
        store: The store of the picture.
        user_id: The user.

    Raises:
        SQLAlchemyError: The database is not available.
        PicturesUnavailable: The store is not available.
    """
    beginning = {
        "exported_at": utcnow(),
        "account": _account(engine, user_id),
        "settings": _settings(engine, user_id),
        "profile": _profile(engine, store, user_id),
    }
    return _in_time(
        chain(
            [encode(beginning)[:-1]],
            _list("sessions", _rows(engine, _SESSIONS, user_id)),
            _list("notified_browsers", _rows(engine, _BROWSERS, user_id)),
            _list("posts", _rows(engine, _POSTS, user_id)),
            _list("blocks", _rows(engine, _BLOCKS, user_id)),
            _list("rooms", _rooms(engine, user_id)),
            _list("memberships", _rows(engine, _MEMBERSHIPS, user_id)),
            _list("messages", _messages(engine, user_id)),
            _list("files", _files(engine, user_id)),
            [b"}"],
        )
    )


def _in_time(pieces: Iterator[bytes]) -> Iterator[bytes]:
    until = monotonic() + EXPORT_SECONDS
    for piece in pieces:
        if monotonic() > until:
            raise ExportTooSlowError
        yield piece


def _list(name: str, pages: Iterator[_Items]) -> Iterator[bytes]:
    yield b",%b:[" % encode(name)
    comma = b""
    for items in pages:
        if items:
            yield comma + encode(items)[1:-1]
            comma = b","
    yield b"]"


def _account(engine: Engine, user_id: int) -> Mapping[str, Any]:
    query = select(User.id, User.username, User.email, User.is_admin, User.created_at)
    with reading(engine) as connection:
        return connection.execute(query.where(User.id == user_id)).one()._asdict()


def _settings(engine: Engine, user_id: int) -> Mapping[str, Any]:
    with reading(engine) as connection:
        query = select(*SETTINGS).where(User.id == user_id)
        return connection.execute(query).one()._asdict()


def _profile(engine: Engine, store: MediaStore, user_id: int) -> Mapping[str, Any]:
    friends = select(User.id, User.username).join(Friendship, Friendship.friend_id == User.id)
    own_friends = friends.where(Friendship.owner_id == user_id).order_by(User.id)
    own_profile = select(Profile.bio, Profile.image).where(Profile.user_id == user_id)
    with reading(engine) as connection:
        profile = connection.execute(own_profile).one_or_none()
        listed = connection.execute(own_friends).all()
    picture = read_picture(store, profile.image) if profile and profile.image else None
    return {
        "bio": profile.bio if profile else "",
        "image": picture and {"content_type": "image/jpeg", "base64": b64encode(picture).decode()},
        "friends": [friend._asdict() for friend in listed],
    }


def _rows(engine: Engine, listing: KeysetQuery, user_id: int) -> Iterator[_Items]:
    for rows in _pages(engine, listing, partition=user_id):
        yield [row._asdict() for row in rows]


def _rooms(engine: Engine, user_id: int) -> Iterator[_Items]:
    for rows in _pages(engine, OWN_ROOMS, user_id=user_id):
        yield [{**room_out(row), "created_at": row.created_at} for row in rows]


def _messages(engine: Engine, user_id: int) -> Iterator[_Items]:
    for of_rooms in _pages(engine, ROOMS_WRITTEN_IN, user_id=user_id):
        for room in of_rooms:
            for rows in _pages(engine, _MESSAGES, partition=room.id, user_id=user_id):
                yield [
                    {
                        "id": row.id,
                        "room": room.name,
                        "content": row.content,
                        "timestamp": row.timestamp,
                        "client_id": row.client_id,
                        "reply_to": row.reply_to_id,
                        "edited_at": row.edited_at,
                    }
                    for row in rows
                    if row.user_id == user_id and row.deleted_at is None
                ]


def _files(engine: Engine, user_id: int) -> Iterator[_Items]:
    # As a list: the files themselves may be a gigabyte, and each can be fetched.
    query = select(Upload).where(Upload.user_id == user_id, Upload.type.is_not(None))
    with reading(engine) as connection:
        uploads = connection.execute(query.order_by(Upload.created_at, Upload.id)).all()
    for start in range(0, len(uploads), PAGE_ROWS):
        yield [
            {
                **file_out(row._asdict()),
                "created_at": row.created_at,
                "message_id": row.message_id,
            }
            for row in uploads[start : start + PAGE_ROWS]
        ]


def _pages(
    engine: Engine, listing: KeysetQuery, **parameters: int
) -> Iterator[Sequence[Row[*tuple[Any, ...]]]]:
    after, is_last = 0, False
    while not is_last:
        with reading(engine) as connection:
            rows = listing.after(connection, after, PAGE_ROWS, **parameters)
        if rows:
            yield rows
            after = rows[-1][0]
        is_last = len(rows) < PAGE_ROWS
        give_way()  # neither SQLite nor a fast client yields, so let other greenlets run
