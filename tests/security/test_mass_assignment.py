"""What a body must not decide: who somebody is, whose a thing is, when it was, how it is kept."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app.extensions import db
from app.services import services
from tests.factories import PASSWORD

NUMBER, TEXT, TIME = 987_654_321, "planted", "1999-09-09T09:09:09Z"

# Every column that there is, and what other systems call such things.
PLANTED: dict[str, Any] = (
    dict.fromkeys(("id", "user_id", "author_id", "owner_id", "friend_id", "room_id"), NUMBER)
    | dict.fromkeys(("pk", "sender_id", "session_id", "sid", "low_user_id", "high_user_id"), NUMBER)
    | dict.fromkeys(("last_message_id", "used_by", "prev_id", "user", "members"), NUMBER)
    | dict.fromkeys(("is_admin", "is_staff", "is_superuser", "admin"), True)
    | dict.fromkeys(("is_active", "active", "enabled"), False)
    | dict.fromkeys(("timestamp", "created_at", "deleted_at", "revoked_at", "expires_at"), TIME)
    | dict.fromkeys(("last_used_at", "updated_at", "date_joined"), TIME)
    | dict.fromkeys(("username_key", "email_key", "password_hash", "token_hash", "code_hash"), TEXT)
    | dict.fromkeys(("name", "display_name", "author", "address", "client", "role", "scope"), TEXT)
    | dict.fromkeys(("posts", "friends", "groups", "profile", "__proto__"), TEXT)
)

REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("PATCH", "/profiles/api/profile/", {"bio": "a bio"}),
    ("POST", "/profiles/api/posts/", {"title": "a title", "content": "a post"}),
    ("POST", "/profiles/api/add-friend/", {"username": "bob"}),
    ("POST", "/messenger/api/chatrooms/", {"recipient": "bob"}),
    ("POST", "/messenger/api/chatrooms/bob_eve/messages/", {"content": "a message"}),
    ("POST", "/profiles/api/remove-friend/", {"username": "bob"}),
    ("PATCH", "/accounts/api/users/me/", {"email": "e@example.com", "password": PASSWORD}),
    (
        "POST",
        "/accounts/api/password/",
        {"old_password": PASSWORD, "new_password": PASSWORD + " new"},
    ),
]


def send(
    client: FlaskClient, form: bool, method: str, path: str, body: dict[str, Any], bearer: str
) -> Any:
    """Send a body with all that is planted in it, and return the answer."""
    what: dict[str, Any] = {"data" if form else "json": PLANTED | body}
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    answer = client.open(f"{path}?id={NUMBER}&is_admin=1", method=method, headers=headers, **what)
    assert answer.status_code in (200, 201), answer.text
    return answer.json


@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
def test_nothing_that_is_planted_in_a_body_is_kept(
    app: Flask, client: FlaskClient, form: bool
) -> None:
    register, login = "/accounts/api/users/", "/accounts/api/token/"
    for name in ("bob", "eve"):
        person = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        send(client, form, "POST", register, person, "")
        tokens = send(client, form, "POST", login, person, "")
    send(client, form, "POST", f"{login}refresh/", {"refresh": tokens["refresh"]}, "")
    for method, path, body in REQUESTS:
        answer = send(client, form, method, path, body, tokens["access"])
        tokens = answer if "access" in answer else tokens

    with services(app).engine.connect() as connection:
        rows = {
            table.name: [row._asdict() for row in connection.execute(select(table))]
            for table in db.metadata.sorted_tables
        }

    assert {"users", "sessions", "posts", "messages", "chat_rooms"} <= {
        name for name in rows if rows[name]
    }
    for name, of_table in rows.items():
        for row in of_table:
            stored = " ".join(map(str, row.values()))
            for planted in (str(NUMBER), TEXT, "1999"):
                assert planted not in stored, (name, row)
    eves = next(row for row in rows["users"] if row["username"] == "eve")
    assert not any(row["is_admin"] for row in rows["users"])
    assert all(row["is_active"] for row in rows["users"])
    assert rows["posts"][0]["author_id"] == rows["messages"][0]["user_id"] == eves["id"]
