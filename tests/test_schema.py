"""The tables: models and migrations agree, and what the tables promise holds without the application."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import downgrade, upgrade
from sqlalchemy import Connection, Engine, create_engine, delete, event, insert, inspect, text
from sqlalchemy.exc import IntegrityError

from app.accounts.models import User
from app.clock import utcnow
from app.database.transactions import reading, writing
from app.extensions import db
from app.messenger.models import Message, Room, RoomMember
from app.profiles.models import Post, Profile
from app.services import services
from app.social.models import Friendship
from tests.factories import PASSWORD, new_name, user_row

ON_SQLITE = pytest.mark.parametrize("app", ["sqlite"], indirect=True)


@pytest.fixture
def engine(app: Flask) -> Engine:
    """The application's own engine."""
    return services(app).engine


def is_of_search(table: str) -> bool:
    """Tell whether a table is one of the search, which have no models."""
    return table.startswith(("message_words", "search_"))


# Models and migrations


def test_migrations_make_what_the_models_say(engine: Engine) -> None:
    with reading(engine) as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "table" or not is_of_search(name),
            },
        )
        assert compare_metadata(context, db.metadata) == []


def test_migrations_make_the_tables_that_the_models_would_make(engine: Engine) -> None:
    # Looks at what Alembic does not compare: checks, foreign keys' names, conditions of indexes.
    with tables_of_models(engine) as (connection, schema):
        of_models = description(connection, schema)
    with reading(engine) as connection:
        of_migrations = description(connection)

    del of_migrations["alembic_version"]
    of_migrations = {name: each for name, each in of_migrations.items() if not is_of_search(name)}
    assert of_migrations == of_models


def test_going_all_the_way_down_leaves_nothing_and_up_again_everything(
    app: Flask, engine: Engine
) -> None:
    with reading(engine) as connection:
        before = description(connection)
    with app.app_context():
        try:
            downgrade(revision="base")
            with reading(engine) as connection:
                left = everything_in(connection)
        finally:
            upgrade()
    with reading(engine) as connection:
        after = description(connection)

    assert left <= {"alembic_version", "alembic_version_pkc"}
    assert after == before


@contextmanager
def tables_of_models(engine: Engine) -> Iterator[tuple[Connection, str | None]]:
    """Make all tables anew from the models: in a database or in a schema of their own."""
    if engine.dialect.name == "sqlite":
        with create_engine("sqlite://").connect() as connection:
            db.metadata.create_all(connection)
            yield connection, None
        return
    with engine.connect() as connection:
        connection.execute(text("CREATE SCHEMA of_models"))
        # Their names carry no schema, so they are made where the search path begins.
        connection.execute(text("SET LOCAL search_path TO of_models"))
        db.metadata.create_all(connection)
        connection.execute(text("SET LOCAL search_path TO public"))
        yield connection, "of_models"
        connection.rollback()


def description(connection: Connection, schema: str | None = None) -> dict[str, Any]:
    """Describe the tables of a schema, so that two descriptions can be compared."""
    found = inspect(connection)
    tables = {
        table: {
            "columns": sorted(
                map(_drawn_by_itself, found.get_columns(table, schema)), key=_by_name
            ),
            "primary key": found.get_pk_constraint(table, schema),
            "unique": sorted(found.get_unique_constraints(table, schema), key=_by_name),
            "checks": sorted(found.get_check_constraints(table, schema), key=_by_name),
            "foreign keys": sorted(found.get_foreign_keys(table, schema), key=_by_name),
            "indexes": sorted(found.get_indexes(table, schema), key=_by_name),
        }
        for table in found.get_table_names(schema)
    }
    # As text: types and conditions are objects, equal only to themselves.
    plain = json.dumps(tables, default=str).replace(f"{schema}.", "")
    plain = plain.replace(json.dumps(schema), "null") if schema else plain
    described: dict[str, Any] = json.loads(plain)
    return described


def _drawn_by_itself(column: Any) -> Any:
    # The migrations draw the ids of some tables in the order of commits, which no model can say.
    if "nextval" in str(column["default"]):
        return column | {"default": "drawn", "autoincrement": True}
    return column


def _by_name(described: Any) -> str:
    return str(described["name"])


def everything_in(connection: Connection) -> set[str]:
    """Name all tables, indexes, sequences and types of ours in a database."""
    if connection.dialect.name == "sqlite":
        names = text("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
        return set(connection.scalars(names))
    ours = "(SELECT oid FROM pg_namespace WHERE nspname = 'public')"
    relations = connection.scalars(
        text(f"SELECT relname FROM pg_class WHERE relnamespace = {ours}")
    ).all()
    # Every table brings a type of its own name and one for arrays of it.
    types = connection.scalars(
        text(f"SELECT typname FROM pg_type WHERE typnamespace = {ours} AND typtype IN ('e', 'd')")
    ).all()
    return {*relations, *types}


# What the tables promise


@pytest.fixture
def people(engine: Engine) -> tuple[int, int, int]:
    """The ids of three users, ascending, straight from the table."""
    with writing(engine) as connection:
        return add_user(connection), add_user(connection), add_user(connection)


@pytest.fixture
def room(engine: Engine, people: tuple[int, int, int]) -> int:
    """The id of the room of the first two people."""
    with writing(engine) as connection:
        return add_room(connection, people[0], people[1])


def add_user(connection: Connection, **values: Any) -> int:
    return added(connection, User, **user_row(new_name()) | values)


def add_room(connection: Connection, low: int, high: int, **values: Any) -> int:
    room = {"name": new_name(), "low_user_id": low, "high_user_id": high}
    return added(connection, Room, **room | values)


def add_message(connection: Connection, room_id: int, user_id: int, **values: Any) -> int:
    return added(connection, Message, room_id=room_id, user_id=user_id, content="x", **values)


def added(connection: Connection, model: Any, **values: Any) -> int:
    """Insert a row past all rules of the application and return the first part of its key."""
    done = connection.execute(insert(model).values(values))
    return int(done.inserted_primary_key[0])


NOBODY = 987_654_321

REFUSED: dict[str, Callable[[Connection, tuple[int, int, int], int], object]] = {
    "a name that is taken": lambda connection, people, room: [
        add_user(connection, username_key="same") for _ in range(2)
    ],
    "an address that is taken": lambda connection, people, room: [
        add_user(connection, email_key="same") for _ in range(2)
    ],
    "a second room of a pair": lambda connection, people, room: add_room(
        connection, people[0], people[1]
    ),
    "a pair the wrong way round": lambda connection, people, room: add_room(
        connection, people[2], people[0]
    ),
    "a room with oneself": lambda connection, people, room: add_room(
        connection, people[2], people[2]
    ),
    "a room's name that is taken": lambda connection, people, room: [
        add_room(connection, people[0], people[2], name="same"),
        add_room(connection, people[1], people[2], name="same"),
    ],
    "a room with nobody": lambda connection, people, room: add_room(connection, people[0], NOBODY),
    "a friend twice": lambda connection, people, room: [
        added(connection, Friendship, owner_id=people[0], friend_id=people[1]) for _ in range(2)
    ],
    "a friend of oneself": lambda connection, people, room: added(
        connection, Friendship, owner_id=people[0], friend_id=people[0]
    ),
    "nobody as a friend": lambda connection, people, room: added(
        connection, Friendship, owner_id=people[0], friend_id=NOBODY
    ),
    "nobody's friend": lambda connection, people, room: added(
        connection, Friendship, owner_id=NOBODY, friend_id=people[0]
    ),
    "a client_id twice": lambda connection, people, room: [
        add_message(connection, room, people[0], client_id="same") for _ in range(2)
    ],
    "a message to no room": lambda connection, people, room: add_message(
        connection, NOBODY, people[0]
    ),
    "a message of nobody": lambda connection, people, room: add_message(connection, room, NOBODY),
    "a post of nobody": lambda connection, people, room: added(
        connection, Post, author_id=NOBODY, title="x", content="x"
    ),
    "a profile of nobody": lambda connection, people, room: added(
        connection, Profile, user_id=NOBODY
    ),
    "a member who is deleted": lambda connection, people, room: connection.execute(
        delete(User).where(User.id == people[0])
    ),
    "a user without a name": lambda connection, people, room: add_user(connection, username=None),
    "a message without content": lambda connection, people, room: added(
        connection, Message, room_id=room, user_id=people[0], content=None
    ),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_tables_refuse(engine: Engine, people: tuple[int, int, int], room: int, wrong: str) -> None:
    with pytest.raises(IntegrityError), writing(engine) as connection:
        REFUSED[wrong](connection, people, room)


def test_tables_take_what_only_looks_like_a_repeat(
    engine: Engine, people: tuple[int, int, int], room: int
) -> None:
    ann, bob, eve = people

    with writing(engine) as connection:
        messages = {
            add_message(connection, room, ann, client_id=None),
            add_message(connection, room, ann, client_id=None),
            add_message(connection, room, ann, client_id="1"),
            add_message(connection, room, bob, client_id="1"),
            add_message(connection, add_room(connection, ann, eve), ann, client_id="1"),
        }
        added(connection, Friendship, owner_id=ann, friend_id=bob)
        added(connection, Friendship, owner_id=bob, friend_id=ann)

    assert len(messages) == 5


def test_a_user_is_active_and_no_administrator_unless_said_otherwise(engine: Engine) -> None:
    # Of the table itself: an insert of a release that does not know these columns goes through.
    with writing(engine) as connection:
        user_id = add_user(connection)
        row = connection.execute(
            text("SELECT is_active, is_admin FROM users WHERE id = :id"), {"id": user_id}
        ).one()
    assert [bool(each) for each in row] == [True, False]


@pytest.mark.parametrize(
    "model", [User, Room, Message, Post], ids=lambda model: model.__tablename__
)
def test_the_id_of_a_deleted_row_is_not_used_again(
    engine: Engine, people: tuple[int, int, int], room: int, model: Any
) -> None:
    add = {
        User: add_user,
        Room: lambda connection: add_room(connection, people[0], people[2]),
        Message: lambda connection: add_message(connection, room, people[0]),
        Post: lambda connection: added(
            connection, Post, author_id=people[0], title="x", content="x"
        ),
    }[model]

    with writing(engine) as connection:
        highest = add(connection)
        if model is Room:
            connection.execute(delete(RoomMember).where(RoomMember.room_id == highest))
        connection.execute(delete(model).where(model.id == highest))
    with writing(engine) as connection:
        following = add(connection)

    assert following > highest


@ON_SQLITE
def test_every_connection_to_sqlite_is_durable_and_minds_foreign_keys(engine: Engine) -> None:
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}  # 2 is FULL
    with reading(engine) as first, reading(engine) as second, writing(engine) as third:
        for connection in (first, second, third):
            assert {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in expected
            } == expected


# What indexes serve


def test_the_newest_messages_of_a_quiet_room_are_found_by_their_index(
    client: FlaskClient, engine: Engine
) -> None:
    # A room that has been quiet for long, and much that was said elsewhere since: from the
    # other end, through everybody's newer messages, the way to its last ones is long.
    ann, bob = register(client), register(client)
    room = client.post(
        "/messenger/api/chatrooms/", json={"recipient": bob["username"]}, headers=ann["bearer"]
    ).json
    with writing(engine) as connection:
        loud = [add_room(connection, ann["id"], add_user(connection)) for _ in range(20)]
        said = [(room["id"], 200)] + [(each, 400) for each in loud]
        connection.execute(
            insert(Message),
            [
                {"room_id": room_id, "user_id": ann["id"], "content": "x", "timestamp": utcnow()}
                for room_id, count in said
                for _ in range(count)
            ],
        )

    plans = plans_of(
        client, engine, f"/messenger/api/chatrooms/{room['name']}/messages/", ann, "FROM messages"
    )

    assert plans
    assert all("ix_messages_room_id_id" in plan for plan in plans), plans
    assert not any("sort" in plan.lower() or "temp b-tree" in plan.lower() for plan in plans), plans


def test_the_newest_posts_of_an_author_are_found_by_their_index(
    client: FlaskClient, engine: Engine
) -> None:
    ann = register(client)
    with writing(engine) as connection:
        others = [add_user(connection) for _ in range(20)]
        connection.execute(
            insert(Post),
            [
                {"author_id": author, "title": "x", "content": "x", "created_at": utcnow()}
                for author, count in [(ann["id"], 200), *((other, 400) for other in others)]
                for _ in range(count)
            ],
        )

    plans = plans_of(client, engine, "/profiles/api/profile/", ann, "FROM posts")

    assert plans
    assert all("ix_posts_author_id_id" in plan for plan in plans), plans
    assert not any("sort" in plan.lower() or "temp b-tree" in plan.lower() for plan in plans), plans


@pytest.mark.slow
def test_a_list_of_rooms_reads_no_rooms_of_others(client: FlaskClient, engine: Engine) -> None:
    ann = register(client)
    with writing(engine) as connection:
        people = [add_user(connection) for _ in range(60)]
        for number, one in enumerate(people):
            for other in people[number + 1 :]:
                add_room(connection, one, other)
        for other in people[:20]:
            add_room(connection, ann["id"], other)

    plans = plans_of(client, engine, "/messenger/api/user/chatrooms/", ann, "FROM chat_rooms")

    assert plans
    assert not any("Bitmap" in plan or "SCAN chat_rooms" in plan for plan in plans), plans
    assert all("memberships" in plan for plan in plans), plans


def register(client: FlaskClient) -> dict[str, Any]:
    """Register somebody and log in."""
    person = {"username": new_name(), "password": PASSWORD}
    created = client.post(
        "/accounts/api/users/", json=person | {"email": f"{person['username']}@example.com"}
    )
    tokens = client.post("/accounts/api/token/", json=person)
    return created.json | {"bearer": {"Authorization": f"Bearer {tokens.json['access']}"}}


def plan_of(connection: Connection, statement: str, parameters: Any) -> str:
    """Return the plan of a statement that was seen on its way to the driver.

    From PostgreSQL the generic plan, which it takes from the sixth execution on, whatever the
    parameters are.
    """
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        rows = driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return "\n".join(row[-1] for row in rows)
    values = f"({', '.join(['NULL'] * len(parameters))})" if parameters else ""
    driver.execute("SET plan_cache_mode = force_generic_plan")
    driver.execute(f"PREPARE asked AS {statement}")
    try:
        return "\n".join(row[0] for row in driver.execute(f"EXPLAIN EXECUTE asked{values}"))
    finally:
        driver.execute("DEALLOCATE asked; RESET plan_cache_mode")


def plans_of(
    client: FlaskClient, engine: Engine, path: str, caller: dict[str, Any], about: str
) -> list[str]:
    """Return the database's plans for those statements of a request that speak of something."""
    with writing(engine) as connection:
        connection.execute(text("ANALYZE"))
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if about in " ".join(statement.split()):
            statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        answer = client.get(path, headers=caller["bearer"])
    finally:
        event.remove(engine, "before_cursor_execute", note)

    assert answer.status_code == 200
    with reading(engine) as connection:
        return [plan_of(connection, statement, parameters) for statement, parameters in statements]
