"""What tests of the messenger stand on."""

from collections.abc import Mapping
from typing import Any

import pytest
from flask import Flask

from tests.factories import Person, make_person
from tests.messenger.team import Team
from tests.servers import Server


@pytest.fixture
def team(app: Flask) -> Team:
    """People to be made, on an empty database of each kind."""
    return Team(app)


@pytest.fixture
def ann(server: Server) -> Person:
    """Somebody new on the shared server."""
    return make_person(server.url)


@pytest.fixture
def bob(server: Server) -> Person:
    """Somebody else on the shared server."""
    return make_person(server.url)


@pytest.fixture
def room(ann: Person, bob: Person) -> Mapping[str, Any]:
    """The room of the two."""
    return ann.open_room(bob)
