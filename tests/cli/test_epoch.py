"""`./beseda new-epoch`: after a database has gone back in time."""

from flask import Flask

from app.messenger.events import MessengerEvents
from app.services import services


def test_another_epoch_begins(app: Flask) -> None:
    events = MessengerEvents(services(app).engine)
    before = events.epoch()

    done = app.test_cli_runner().invoke(args=["new-epoch"])

    assert done.exit_code == 0, done.output
    assert events.epoch() not in (before, "")
    assert events.epoch() == events.epoch()
