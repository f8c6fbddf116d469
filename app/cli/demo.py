"""`./beseda demo`: people, posts and rooms for a first look.

They are written by the services, as if the people had used the server for some days.
"""

import io
import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext
from PIL import Image, ImageDraw
from sqlalchemy import func, select, update

from app.accounts.models import User
from app.accounts.operators import set_admin
from app.accounts.registration import create_user
from app.cli.errors import report_errors
from app.clock import utcnow
from app.database.transactions import reading, writing
from app.messenger.groups import change_room, create_group
from app.messenger.members import Membership, require_member
from app.messenger.message_changes import delete_message, edit_message
from app.messenger.messages import post_message
from app.messenger.models import Message, RoomMember
from app.messenger.rooms import open_room
from app.profiles.models import Post
from app.profiles.services import change_profile, write_post
from app.services import services
from app.social.friends import befriend

PASSWORD = "yourpassword"  # noqa: S105
BESIDE = "DATABASE_URL=sqlite:///instance/demo.db PORT=8001 make demo run"
_SIDE = 256


@click.command()
@with_appcontext
def demo() -> None:
    """Fill an empty database with people, posts and rooms.

    For a first look, not for a server that others can reach: everybody has the same password.
    """
    script = json.loads(Path(__file__).with_name("demo.json").read_text(encoding="utf-8"))
    with report_errors():
        with reading() as connection:
            count = connection.scalar(select(func.count()).select_from(User))
        if count:
            raise click.ClickException(
                f"The demo needs an empty database, and this one has {count} users."
                f" Use another one: {BESIDE}"
            )
        now = utcnow()
        ids = _let_in(script["people"])
        for age, author, title, content in script["posts"]:
            post, _ = write_post(ids[author], author, title, content)
            _date(Post, post["id"], "created_at", _moment(age, now))
        _talk(script["rooms"], ids, now)
    click.echo(f"Everybody's password is {PASSWORD}:")
    for person in script["people"]:
        role = ", an administrator" if person.get("is_admin") else ""
        click.echo(f"  {person['username']}{role}: {person['bio']}")
    port = services().config.PORT
    name = script["people"][0]["username"]
    click.echo(f"Open http://127.0.0.1:{port}/ and log in as {name} with the password {PASSWORD}")


def _talk(rooms: list[dict[str, Any]], ids: dict[str, int], now: datetime) -> None:
    """Send the messages of all rooms in the order of time."""
    members = [_open(room, ids) for room in rooms]
    sent: list[list[int]] = [[] for _ in rooms]
    lines = [
        (_moment(age, now), number, author, text, *more)
        for number, room in enumerate(rooms)
        for age, author, text, *more in room["messages"]
    ]
    for moment, number, author, text, *more in sorted(lines, key=lambda line: line[0]):
        fate: dict[str, Any] = more[0] if more else {}
        member = members[number][author]
        answered = sent[number][fate["reply"]] if "reply" in fate else None
        message_id = post_message(member, text, reply_to=answered).id
        sent[number].append(message_id)
        if "edit" in fate:
            edit_message(member, message_id, fate["edit"], edit_seconds=-1)
        if "delete" in fate:
            delete_message(member, message_id)
        _date(Message, message_id, "timestamp", moment)
    for room, present, messages in zip(rooms, members, sent, strict=True):
        for name, member in present.items():
            unread = room.get("unread", {}).get(name, 0)
            _mark_read(member, messages[-1 - unread])


def _open(room: dict[str, Any], ids: dict[str, int]) -> dict[str, Membership]:
    founder, *others = room["members"]
    if "title" in room:
        room_id, _ = create_group(ids[founder], room["title"], others, "all")
        name = f"g~{room_id}"
    else:
        name = open_room(ids[founder], founder, others[0])[0]["name"]
    members = {each: require_member(name, ids[each], each) for each in room["members"]}
    for each in room.get("muted", ()):
        change_room(members[each], {"muted": True})
    return members


def _moment(age: str, now: datetime) -> datetime:
    """Parse the time of a message: `35m` ago, or `2d 16:52`, two days ago at that time."""
    if match := re.fullmatch(r"(\d+)m", age):
        return now - timedelta(minutes=int(match[1]))
    days, clock = age.split("d ")
    hour, minute = map(int, clock.split(":"))
    return (now - timedelta(days=int(days))).replace(hour=hour, minute=minute, second=0)


# Times in the past and read marks bypass the services, which use the present time.
def _date(model: type[Any], row_id: int, column: str, moment: datetime) -> None:
    with writing() as connection:
        connection.execute(update(model).where(model.id == row_id).values({column: moment}))


def _mark_read(member: Membership, message_id: int) -> None:
    place = (RoomMember.room_id == member.room_id, RoomMember.user_id == member.user_id)
    with writing() as connection:
        connection.execute(update(RoomMember).where(*place).values(read_id=message_id))


def _let_in(people: list[dict[str, Any]]) -> dict[str, int]:
    ids = {
        person["username"]: int(
            create_user(person["username"], f"person{number}@example.com", PASSWORD)["id"]
        )
        for number, person in enumerate(people, start=1)
    }
    for person in people:
        name = person["username"]
        change_profile(ids[name], {"bio": person["bio"], "image": _portrait(person["color"])})
        for friend in person["friends"]:
            befriend(ids[name], friend)
        if person.get("is_admin"):
            set_admin(ids[name], is_admin=True)
    return ids


def _portrait(color: str) -> bytes:
    # A drawn head and shoulders.
    picture = Image.new("RGB", (_SIDE, _SIDE), color)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((78, 48, 178, 148), fill="white")
    draw.ellipse((28, 164, 228, 364), fill="white")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
