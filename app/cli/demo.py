"""`flask --app wsgi demo`: people, posts and conversations for somebody who looks around.

All of it goes through the services, as if the people had come and said it.
"""

import io
import json
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext
from PIL import Image, ImageDraw
from sqlalchemy import func, select

from app.accounts.models import User
from app.accounts.operators import set_admin
from app.accounts.registration import create_user
from app.cli.errors import report_errors
from app.database.transactions import reading
from app.messenger.members import require_member
from app.messenger.messages import post_message
from app.messenger.rooms import open_room
from app.profiles.services import change_profile, write_post
from app.social.friends import befriend

PASSWORD = "yourpassword"  # noqa: S105
BESIDE = "DATABASE_URL=sqlite:///instance/demo.db PORT=8001 make demo run"
_SIDE = 256


@click.command()
@with_appcontext
def demo() -> None:
    """Fill an empty database with people, posts and conversations.

    For looking around, not for a server that others can reach: everybody has the same password.
    """
    script = json.loads(Path(__file__).with_name("demo.json").read_text(encoding="utf-8"))
    with report_errors():
        with reading() as connection:
            count = connection.scalar(select(func.count()).select_from(User))
        if count:
            raise click.ClickException(
                f"This is for an empty database, and there are {count} users already."
                f" Serve one beside it: {BESIDE}"
            )
        ids = _let_in(script["people"])
        for author, title, content in script["posts"]:
            write_post(ids[author], author, title, content)
        for one, other, lines in script["chats"]:
            room, _ = open_room(ids[one], one, other)
            seats = {name: require_member(room["name"], ids[name], name) for name in (one, other)}
            for name, line in lines:
                post_message(seats[name], line)
    click.echo(f"Everybody's password is {PASSWORD}. Log in as one of")
    for person in script["people"]:
        role = ", an administrator" if person.get("is_admin") else ""
        click.echo(f"  {person['username']}{role}: {person['bio']}")


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
    # Head and shoulders of nobody in particular.
    picture = Image.new("RGB", (_SIDE, _SIDE), color)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((78, 48, 178, 148), fill="white")
    draw.ellipse((28, 164, 228, 364), fill="white")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
