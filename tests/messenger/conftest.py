"""What tests of the messenger stand on."""

import pytest
from apiflask import APIFlask

from tests.messenger.team import Team


@pytest.fixture
def team(app: APIFlask) -> Team:
    """People to be made, on an empty database of each kind."""
    return Team(app)
