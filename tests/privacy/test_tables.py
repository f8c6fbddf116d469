"""Every column of every table: what an export has of it, and what an erasure leaves.

A new column or table has to be named here. `copy-database` copies what the models have, which
`cli/test_copy_database.py` shows; what they do not have is named here as well.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Boolean, Connection, Engine, Table, insert, inspect, select, update

from app.database.transactions import reading, writing
from app.database.types import UtcDateTime
from app.extensions import db
from app.media.store import FolderStore
from app.messenger.mark_store import Move
from app.messenger.models import Room
from app.privacy import erasure
from app.privacy.export import export
from app.services import services

ANN, BOB = 1, 2
MOMENT = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)

# Rows of Ann, and what others have of her: only what decides whose they are.
ROWS: dict[str, list[dict[str, Any]]] = {
    "users": [{"id": ANN, "deleted_at": None}, {"id": BOB, "deleted_at": None}],
    "sessions": [{"id": 1, "user_id": ANN, "revoked_at": None}],
    "invitations": [{"used_by": ANN}],
    "password_resets": [{"user_id": ANN}],
    "push_subscriptions": [{"user_id": ANN, "session_id": 1}],
    "push_state": [{}],
    "profiles": [{"user_id": ANN}],
    "posts": [{"author_id": ANN}],
    "friendships": [{"owner_id": ANN, "friend_id": BOB}, {"owner_id": BOB, "friend_id": ANN}],
    "blocks": [{"owner_id": ANN, "blocked_id": BOB}, {"owner_id": BOB, "blocked_id": ANN}],
    "chat_rooms": [
        {
            "id": 1,
            "low_user_id": ANN,
            "high_user_id": BOB,
            "creator_id": None,
            "client_id": None,
            "title": None,
        },
        {"id": 2, "kind": "group", "low_user_id": None, "high_user_id": None, "creator_id": ANN},
    ],
    "memberships": [
        {"room_id": 1, "user_id": ANN, "left_id": None},
        {"room_id": 2, "user_id": ANN, "left_id": None},
        {"room_id": 1, "user_id": BOB, "left_id": None},
    ],
    "messages": [{"id": 1, "room_id": 1, "user_id": ANN, "deleted_at": None, "attachments": "[]"}],
    "uploads": [{"id": "f" * 32, "user_id": ANN, "message_id": 1, "expires_at": None}],
    "installation": [{}],
    "setup_codes": [{}],
}
CHOICES = {
    "kind": "pair",
    "role": "admin",
    "language": "en",
    "push_text": "none",
    "history": "joined",
}  # where a column takes nothing else, or has a default
FALSE = {"users.show_presence", "users.show_read"}  # what is not the default

# Where the export has it.
EXPORTED = {
    "users.id": "account.id",
    "users.username": "account.username",
    "users.email": "account.email",
    "users.is_admin": "account.is_admin",
    "users.created_at": "account.created_at",
    "users.language": "settings.language",
    "users.show_presence": "settings.show_presence",
    "users.show_read": "settings.show_read",
    "users.push_text": "settings.push_text",
    "sessions.id": "sessions.id",
    "sessions.address": "sessions.address",
    "sessions.client": "sessions.client",
    "sessions.created_at": "sessions.created_at",
    "sessions.last_used_at": "sessions.last_used_at",
    "sessions.expires_at": "sessions.expires_at",
    "sessions.revoked_at": "sessions.revoked_at",
    "push_subscriptions.id": "notified_browsers.id",
    "push_subscriptions.session_id": "notified_browsers.session_id",
    "push_subscriptions.endpoint": "notified_browsers.endpoint",
    "push_subscriptions.created_at": "notified_browsers.created_at",
    "profiles.bio": "profile.bio",
    "posts.id": "posts.id",
    "posts.title": "posts.title",
    "posts.content": "posts.content",
    "posts.created_at": "posts.created_at",
    "posts.client_id": "posts.client_id",
    "friendships.friend_id": "profile.friends.id",
    "blocks.blocked_id": "blocks.id",
    "blocks.created_at": "blocks.created_at",
    "chat_rooms.id": "rooms.id",
    "chat_rooms.name": "rooms.name",
    "chat_rooms.title": "rooms.display_name",
    "chat_rooms.created_at": "rooms.created_at",
    "chat_rooms.low_user_id": "rooms.members",
    "chat_rooms.high_user_id": "rooms.members",
    "memberships.room_id": "memberships.room_id",
    "memberships.role": "memberships.role",
    "memberships.joined_at": "memberships.joined_at",
    "memberships.muted": "memberships.muted",
    "memberships.read_id": "memberships.read_id",
    "uploads.id": "files.id",
    "uploads.message_id": "files.message_id",
    "uploads.name": "files.name",
    "uploads.type": "files.type",
    "uploads.bytes": "files.size",
    "uploads.width": "files.width",
    "uploads.height": "files.height",
    "uploads.created_at": "files.created_at",
    "messages.id": "messages.id",
    "messages.content": "messages.content",
    "messages.client_id": "messages.client_id",
    "messages.timestamp": "messages.timestamp",
    "messages.edited_at": "messages.edited_at",
    "messages.reply_to_id": "messages.reply_to",
}
SECRET = "a hash of a secret, or what secrets are made of"
NUMBER = "an event id, or another number of the system's own"
IMPLIED = "said otherwise: by whose export it is, or by another column"
NOT_HERS = "of the installation, or of the group"
NOT_EXPORTED = {
    "users.password_hash": SECRET,
    "users.username_key": IMPLIED,
    "users.email_key": IMPLIED,
    "users.is_active": IMPLIED,
    "users.deleted_at": IMPLIED,
    "users.changed_id": NUMBER,
    "sessions.user_id": IMPLIED,
    "push_subscriptions.user_id": IMPLIED,
    "push_subscriptions.p256dh": SECRET,
    "push_subscriptions.auth": SECRET,
    **dict.fromkeys(("push_state.id", "push_state.told_to"), NUMBER),
    **dict.fromkeys(("push_state.holder", "push_state.held_until"), NUMBER),
    "profiles.user_id": IMPLIED,
    "profiles.image": "the picture itself is in it: privacy/test_export.py",
    "posts.author_id": IMPLIED,
    "friendships.owner_id": IMPLIED,
    "blocks.owner_id": IMPLIED,
    "invitations.id": NOT_HERS,
    "invitations.code_hash": SECRET,
    "invitations.created_at": NOT_HERS,
    "invitations.expires_at": NOT_HERS,
    "invitations.used_by": NOT_HERS,
    "password_resets.id": SECRET,
    "password_resets.user_id": SECRET,
    "password_resets.token_hash": SECRET,
    "password_resets.created_at": SECRET,
    "password_resets.expires_at": SECRET,
    "setup_codes.id": SECRET,
    "setup_codes.nonce": SECRET,
    "installation.id": NOT_HERS,
    "installation.epoch": NOT_HERS,
    "chat_rooms.kind": IMPLIED,
    "chat_rooms.image": NOT_HERS,
    "chat_rooms.history": NOT_HERS,
    "chat_rooms.creator_id": "remembered only to make a group once",
    "chat_rooms.client_id": "remembered only to make a group once",
    "chat_rooms.last_message_id": NUMBER,
    "chat_rooms.changed_id": NUMBER,
    "chat_rooms.created_id": NUMBER,
    "chat_rooms.access_version": NUMBER,
    "memberships.user_id": IMPLIED,
    "memberships.joined_id": NUMBER,
    "memberships.visible_from": NUMBER,
    "memberships.left_id": "shown as `is_member`",
    "memberships.changed_id": NUMBER,
    "memberships.read_changed_id": NUMBER,
    "uploads.user_id": IMPLIED,
    "uploads.small_bytes": "shown as `small`",
    "uploads.expires_at": NUMBER,
    "messages.attachments": "as `files`",
    "messages.room_id": IMPLIED,
    "messages.user_id": IMPLIED,
    "messages.changed_id": NUMBER,
    "messages.deleted_at": "the text of a deleted message is gone",
}

THREAD = "the conversation of others, in which a nameless user has written"
SESSION = "ended; workers have to see it, and it goes with the token's last day"
KEPT = {
    "users.id": "the row that is left of an account",
    "users.created_at": "the row that is left of an account",
    "sessions.id": SESSION,
    "sessions.user_id": SESSION,
    "sessions.created_at": SESSION,
    "sessions.last_used_at": SESSION,
    "sessions.expires_at": SESSION,
    "chat_rooms.id": THREAD,
    "chat_rooms.name": "of a group, and a number; that of a room of two is made anew",
    "chat_rooms.kind": THREAD,
    "chat_rooms.low_user_id": THREAD,
    "chat_rooms.high_user_id": THREAD,
    "chat_rooms.last_message_id": THREAD,
    "chat_rooms.created_at": THREAD,
    "chat_rooms.title": THREAD,
    "chat_rooms.image": THREAD,
    "chat_rooms.history": THREAD,
    "chat_rooms.created_id": THREAD,
    "memberships.room_id": THREAD,
    "memberships.user_id": THREAD,
    "memberships.role": THREAD,
    "memberships.joined_at": THREAD,
    "memberships.joined_id": THREAD,
    "memberships.visible_from": THREAD,
    "memberships.changed_id": THREAD,
    "messages.id": THREAD,
    "messages.room_id": THREAD,
    "messages.user_id": THREAD,
    "messages.content": THREAD,
    "messages.timestamp": THREAD,
    "messages.edited_at": THREAD,
    "messages.reply_to_id": THREAD,
}
NOT_PERSONAL = {"installation", "push_state", "setup_codes"}  # no row of theirs belongs to anybody

# Tables that no model has: `copy-database` leaves them to be made anew.
WITHOUT_MODEL = {"alembic_version": "made by the migrations"}
SEARCH = ("search_days", "search_state", "message_words")  # made anew from the messages


def columns() -> set[str]:
    return {
        f"{table.name}.{column.name}"
        for table in db.metadata.sorted_tables
        for column in table.columns
    }


def values(table: Table, number: int, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row in which every column has a value that is no default, but for the known ones."""
    row: dict[str, Any] = {}
    for column in table.columns:
        if column.name in known:
            row[column.name] = known[column.name]
        elif isinstance(column.type, UtcDateTime):
            row[column.name] = MOMENT + timedelta(days=number)
        elif isinstance(column.type, Boolean):
            row[column.name] = f"{table.name}.{column.name}" not in FALSE
        elif column.type.python_type is int:
            row[column.name] = 1000 + number  # no number that is drawn later
        else:
            chosen = CHOICES.get(column.name)
            row[column.name] = (
                chosen or f"{table.name} {column.name} {number}"[: column.type.length]
            )
    return row


def fill(connection: Connection) -> None:
    for table in db.metadata.sorted_tables:
        for number, known in enumerate(ROWS[table.name], 1):
            connection.execute(insert(table), values(table, number, known))


def rows_of_ann(connection: Connection) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the rows that are Ann's, or tell something of her, with the name of their table."""
    for table in db.metadata.sorted_tables:
        pointers = [
            column
            for column in table.columns
            if any(key.column.table.name == "users" for key in column.foreign_keys)
        ]
        pointers += [table.c.id] if table.name == "users" else []
        for row in connection.execute(select(table)).mappings():
            if table.name == "chat_rooms" or any(row[column.name] == ANN for column in pointers):
                yield table.name, row


def found_at(found: Any, path: str) -> Iterator[Any]:
    """Yield the values at a path of a document; lists have all of theirs."""
    if isinstance(found, list):
        for each in found:
            yield from found_at(each, path)
    elif not path:
        yield found
    else:
        name, _, rest = path.partition(".")
        yield from found_at(found[name], rest)


@pytest.fixture
def engine(app: Flask) -> Engine:
    engine = services(app).engine
    with writing(engine) as connection:
        fill(connection)
    return engine


def test_every_column_is_in_the_tables() -> None:
    assert db.metadata.tables.keys() == ROWS.keys()
    assert columns() == EXPORTED.keys() | NOT_EXPORTED.keys()
    assert not EXPORTED.keys() & NOT_EXPORTED.keys()


def test_every_table_has_a_model_or_is_made_anew(engine: Engine) -> None:
    with reading(engine) as connection:
        found = set(inspect(connection).get_table_names())

    without = found - db.metadata.tables.keys()
    assert {name for name in without if not name.startswith(SEARCH)} == WITHOUT_MODEL.keys()


def test_export_has_every_value(app: Flask, engine: Engine, tmp_path: Any) -> None:
    with writing(engine) as connection:  # the picture is no file here
        connection.execute(update(db.metadata.tables["profiles"]).values(image=None))
        rows = list(rows_of_ann(connection))
    found = json.loads(b"".join(export(engine, FolderStore(tmp_path), ANN)))

    for column, path in EXPORTED.items():
        name = column.partition(".")[2]
        table = column.partition(".")[0]
        expected = [
            row[name]
            for of_table, row in rows
            if of_table == table and row.get("owner_id", ANN) == ANN and row[name] is not None
        ]
        shown = set(map(str, found_at(found, path)))
        for value in expected:
            is_time = isinstance(value, datetime)
            text = value.strftime("%Y-%m-%dT%H:%M:%SZ") if is_time else str(value)
            assert text in shown, f"{column} is not at {path}: {shown}"


def test_erasure_leaves_what_is_named_and_nothing_else(app: Flask, engine: Engine) -> None:
    def cells() -> dict[tuple[str, Any], Any]:
        with reading(engine) as connection:
            return {
                (f"{name}.{column}", tuple(row[key.name] for key in keys[name])): value
                for name, row in rows_of_ann(connection)
                for column, value in row.items()
                if value is not None
            }

    keys = {name: tuple(table.primary_key) for name, table in db.metadata.tables.items()}
    before = cells()
    assert {column for column, _ in before} | {
        f"{name}.{column.name}" for name in NOT_PERSONAL for column in db.metadata.tables[name].c
    } >= columns() - {"users.deleted_at", "sessions.revoked_at", "memberships.left_id"} - {
        *("messages.deleted_at", "uploads.expires_at"),
    }

    with app.app_context():
        erasure.erase(ANN)

    after = cells()
    left = {column for column, key in before if after.get((column, key)) == before[column, key]}
    assert left == KEPT.keys()
    assert after["chat_rooms.name", (1,)] != before["chat_rooms.name", (1,)]
    with reading(engine) as connection:
        creators = connection.scalars(select(Room.creator_id)).all()
    assert creators == [None, None]


def test_mark_that_waits_is_not_stored_after_an_erasure(app: Flask, engine: Engine) -> None:
    marks = services(app).read_marks
    with app.app_context():
        erasure.erase(ANN)

    mark = marks.mark({(1, ANN): Move(1)})[1, ANN]

    assert mark.read_id == 0
