"""The whole contract once more, on PostgreSQL, by people who made their accounts on SQLite."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from app import create_app
from app.services import services
from tests.conftest import make_config, sqlite_url
from tests.factories import Person, make_person
from tests.servers import Server
from tests.test_contract import *  # noqa: F403 - its tests, in their order, and its fixtures

pytestmark = [pytest.mark.long, pytest.mark.server]  # all of them, so that they keep their order

# The document's examples come first. They say which ids there are, and which one comes next.


@pytest.fixture(scope="module")
def world(
    postgresql_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SimpleNamespace]:
    """The people of the document, copied to a server on PostgreSQL with all that they had."""
    folder = tmp_path_factory.mktemp("copy")
    settings = {"RATELIMIT_ENABLED": "true"}
    with Server(folder, settings) as old:
        people = {name: make_person(old.url, name) for name in ("user1", "user2", "jane_doe")}
        room = people["user1"].open_room(people["user2"])
    app = create_app(make_config(folder, sqlite_url(folder)))
    done = app.test_cli_runner().invoke(args=["copy-database", postgresql_url])
    services(app).engine.dispose()
    assert done.exit_code == 0, done.output
    new = Server(folder, settings | {"DATABASE_URL": postgresql_url})
    new.start()
    for person in people.values():
        person.url = person.http.base_url = new.url
    yield SimpleNamespace(url=new.url, server=new, room=room, **people)
    for person in people.values():
        person.http.close()
    new.stop()


@pytest.fixture(scope="module")
def server(world: SimpleNamespace) -> Server:
    """The server on PostgreSQL."""
    return world.server


@pytest.fixture(scope="module")
def ann(world: SimpleNamespace) -> Person:
    """Somebody who was copied."""
    return world.user1


@pytest.fixture(scope="module")
def bob(world: SimpleNamespace) -> Person:
    """Somebody else who was."""
    return world.user2
