"""What the migration to memberships keeps, and what it does for the release that is still running."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import Connection, Engine, text

from app.database.transactions import writing
from app.services import services

MADE_AT = "2026-01-01 10:00:00"


@pytest.fixture
def engine(app: Flask) -> Engine:
    """The application's own engine."""
    return services(app).engine


@pytest.fixture
def before(app: Flask) -> Iterator[None]:
    """Put the tables back to the revision before memberships, and forward at the end."""
    with app.app_context():
        downgrade(revision="0005")
    yield
    with app.app_context():
        upgrade()


def add_people(connection: Connection, *names: str) -> None:
    """Insert users as the release before does, with the ids 1, 2, …"""
    for name in names:
        connection.execute(
            text(
                "INSERT INTO users"
                " (username, username_key, email, email_key, password_hash, created_at)"
                " VALUES (:name, :name, :name, :name, '', :now)"
            ),
            {"name": name, "now": MADE_AT},
        )


def add_room(connection: Connection, name: str, low: int, high: int) -> None:
    """Insert a room as the release before does."""
    connection.execute(
        text(
            "INSERT INTO chat_rooms (name, low_user_id, high_user_id, last_message_id, created_at)"
            " VALUES (:name, :low, :high, 0, :now)"
        ),
        {"name": name, "low": low, "high": high, "now": MADE_AT},
    )


def add_message(connection: Connection, room_id: int, user_id: int, content: str) -> None:
    """Insert a message as the release before does."""
    connection.execute(
        text(
            "INSERT INTO messages (room_id, user_id, content, timestamp)"
            " VALUES (:room, :user, :content, :now)"
        ),
        {"room": room_id, "user": user_id, "content": content, "now": MADE_AT},
    )
    connection.execute(
        text(
            "UPDATE chat_rooms SET last_message_id ="
            " (SELECT max(id) FROM messages WHERE room_id = :room) WHERE id = :room"
        ),
        {"room": room_id},
    )


def rows(connection: Connection, query: str) -> Sequence[Mapping[str, Any]]:
    """Return all rows of a query."""
    return [dict(row) for row in connection.execute(text(query)).mappings()]


def test_members_of_older_rooms_have_read_everything(
    app: Flask, engine: Engine, before: None
) -> None:
    with writing(engine) as connection:
        add_people(connection, "ann", "bob", "eve")
        add_room(connection, "ann_bob", 1, 2)
        add_room(connection, "bob_eve", 2, 3)
        for content in ("a", "b"):
            add_message(connection, 1, 1, content)

    with app.app_context():
        upgrade()

    with writing(engine) as connection:
        found = rows(
            connection,
            "SELECT room_id, user_id, role, joined_id, visible_from, left_id, read_id"
            " FROM memberships ORDER BY room_id, user_id",
        )
        assert [(row["room_id"], row["user_id"], row["read_id"]) for row in found] == [
            (1, 1, 2),
            (1, 2, 2),
            (2, 2, 0),
            (2, 3, 0),
        ]
        assert {(row["role"], row["joined_id"], row["visible_from"]) for row in found} == {
            ("member", 0, 0)
        }
        assert {row["left_id"] for row in found} == {None}
        assert {row["kind"] for row in rows(connection, "SELECT kind FROM chat_rooms")} == {"pair"}


def test_a_room_that_the_release_before_opens_has_numbered_members(engine: Engine) -> None:
    with writing(engine) as connection:
        add_people(connection, "ann", "bob", "eve")
        add_room(connection, "ann_bob", 1, 2)
        add_message(connection, 1, 1, "hello")
        add_room(connection, "bob_eve", 2, 3)

        found = rows(
            connection,
            "SELECT room_id, user_id, joined_id, changed_id, read_id"
            " FROM memberships ORDER BY room_id, user_id",
        )
        created = rows(connection, "SELECT changed_id, created_id FROM chat_rooms ORDER BY id")
        (message,) = rows(connection, "SELECT id FROM messages")

    assert [(row["room_id"], row["user_id"]) for row in found] == [(1, 1), (1, 2), (2, 2), (2, 3)]
    assert all(row["joined_id"] == row["changed_id"] == row["read_id"] for row in found)
    assert [row["joined_id"] for row in found] == [1, 2, 4, 5], "each has a number of its own"
    assert message["id"] == 3
    assert [(row["changed_id"], row["created_id"]) for row in created] == [(0, 2), (0, 5)]


def test_a_group_has_no_pair_and_a_room_of_two_has_one(engine: Engine) -> None:
    wrong = {
        "group with a pair": "'group', 1, 2",
        "pair without one": "'pair', NULL, NULL",
        "pair of one": "'pair', 1, NULL",
        "another kind": "'channel', NULL, NULL",
    }
    with writing(engine) as connection:
        add_people(connection, "ann", "bob")
    for name, values in wrong.items():
        with pytest.raises(Exception, match=r"(?i)check"), writing(engine) as connection:
            connection.execute(
                text(
                    "INSERT INTO chat_rooms"
                    " (kind, low_user_id, high_user_id, name, last_message_id, created_at)"
                    f" VALUES ({values}, '{name}', 0, '{MADE_AT}')"
                )
            )


def test_going_back_takes_groups_and_deleted_messages_away(app: Flask, engine: Engine) -> None:
    with writing(engine) as connection:
        add_people(connection, "ann", "bob")
        add_room(connection, "ann_bob", 1, 2)
        add_message(connection, 1, 1, "stays")
        add_message(connection, 1, 1, "")
        connection.execute(text(f"UPDATE messages SET deleted_at = '{MADE_AT}' WHERE content = ''"))
        connection.execute(
            text(
                "INSERT INTO chat_rooms (kind, title, changed_id, name, last_message_id, created_at)"
                f" VALUES ('group', 'Team', 99, 'g~2', 0, '{MADE_AT}')"
            )
        )
        add_message(connection, 2, 1, "of a group")
    with app.app_context():
        try:
            downgrade(revision="0005")
            with writing(engine) as connection:
                messages = rows(connection, "SELECT content FROM messages")
                rooms = rows(connection, "SELECT name FROM chat_rooms")
        finally:
            upgrade()

    assert messages == [{"content": "stays"}]
    assert rooms == [{"name": "ann_bob"}]
