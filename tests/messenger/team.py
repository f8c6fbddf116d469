"""People who talk, straight through the use cases, for tests of the messenger below HTTP."""

import json
from dataclasses import dataclass
from typing import Any

from flask import Flask
from sqlalchemy import insert

from app.accounts.models import User
from app.database.transactions import reading, writing
from app.messenger import chats, groups
from app.messenger.drafts import Stored
from app.messenger.events import MessengerEvents
from app.messenger.members import Membership, require_member
from app.messenger.messages import post_message
from app.messenger.rooms import open_room
from app.services import services
from tests.factories import new_name, user_row


@dataclass(frozen=True)
class Person:
    """Somebody with an account; a team tells what they do and see."""

    team: "Team"
    id: int
    name: str

    def room_with(self, other: "Person") -> Membership:
        """Return one's place in the room with somebody."""
        with self.team.app.app_context():
            room, _ = open_room(self.id, self.name, other.name)
        return self.in_room(room["name"])

    def group(self, *others: "Person", title: str = "Team", history: str = "all") -> Membership:
        """Return one's place in a new group."""
        names = [other.name for other in others]
        with self.team.app.app_context():
            room_id, _ = groups.create_group(self.id, title, names, history)
        return self.in_room(f"g~{room_id}")

    def in_room(self, name: str) -> Membership:
        """Return one's place in a room that there is."""
        with self.team.app.app_context():
            return require_member(name, self.id, self.name)

    def say(self, room: Membership | str, content: str, client_id: str | None = None) -> Stored:
        """Send a message."""
        name = room if isinstance(room, str) else room.room_name
        with self.team.app.app_context():
            return post_message(self.in_room(name), content, client_id)

    def chats(self) -> tuple[list[dict[str, Any]], int]:
        """Return one's list of chats, and its event id."""
        with self.team.app.app_context(), reading() as connection:
            found, at = chats.list_chats(connection, self.id)
        return [dict(chat) for chat in found], at

    def chat(self, room: Membership) -> dict[str, Any]:
        """Return one of them."""
        (found,) = [chat for chat in self.chats()[0] if chat["id"] == room.room_id]
        return found

    def frames(self, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Return what one's stream would bring."""
        found: list[dict[str, Any]] = []
        is_last = False
        while not is_last:
            page = self.team.events.events_after(self.id, after, limit)
            for number, frame in page.frames:
                found.append(json.loads(frame))
                assert found[-1]["id"] == number
            after, is_last = page.cursor, page.is_last
        return found


class Team:
    """The people of one test."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.engine = services(app).engine
        self.events = MessengerEvents(self.engine)

    def person(self, stem: str = "user") -> Person:
        """Return somebody new."""
        name = new_name(stem)
        with writing(self.engine) as connection:
            user_id = connection.scalar(insert(User).values(user_row(name)).returning(User.id))
        assert user_id is not None
        return Person(self, user_id, name)

    def people(self, count: int) -> list[Person]:
        """Return several new people."""
        return [self.person() for _ in range(count)]


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    """Return the types of frames."""
    return [frame["type"] for frame in frames]
