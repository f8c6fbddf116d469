"""What tests of the messenger stand on."""

import pytest
from flask import Flask

from tests.messenger.team import Team


@pytest.fixture
def team(app: Flask) -> Team:
    """People to be made, on an empty database of each kind."""
    return Team(app)
