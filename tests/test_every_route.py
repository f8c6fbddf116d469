"""Every route, asked by whoever may not: the tables below have to name each one that there is.

First the route is shown to do what it should for somebody who may; so it is for who they are that
the others are refused.
"""

import io
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from shutil import copyfile
from typing import Any, Literal

import pytest
from flask import Flask
from sqlalchemy import insert, update
from werkzeug.test import TestResponse

from app import create_app
from app.accounts import tokens
from app.accounts.models import Invitation, Session, User
from app.accounts.passwords import hash_password
from app.accounts.sessions import Device, open_session
from app.clock import utcnow
from app.database.transactions import writing
from app.messenger.files.models import Upload
from app.messenger.models import RoomMember
from app.profiles.models import Post
from app.services import services
from app.social.models import Block
from tests.apps import make_app, make_config, sqlite_url
from tests.factories import PASSWORD
from tests.problems import check_problem
from tests.test_strangers import private_rules

SECRET = "what only members read"  # said in the group after Ann has left, and in no other place
ROOMS = "/messenger/api/chatrooms"
API = "/messenger/api"


@cache
def password_hash() -> str:
    return hash_password(PASSWORD)


@dataclass
class Scene:
    """Ann asks. She administers the installation, and a group with Bob, with whom she has a room.

    Eve has no room with anybody.
    """

    app: Flask
    ids: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=dict)
    access: dict[str, str] = field(default_factory=dict)
    group: str = ""
    pair: str = ""
    said: dict[str, int] = field(default_factory=dict)  # messages, by who and where
    post: int = 0
    invitation: int = 0
    session: int = 0

    def log_in(self) -> None:
        """Give everybody a new access token."""
        self.access = {
            name: tokens.issue_access(self.ids[name], session)
            for name, session in self.sessions.items()
        }

    def ask(self, who: str, method: str, path: str, **options: Any) -> TestResponse:
        bearer = {"Authorization": f"Bearer {self.access[who]}"} if who else {}
        return self.app.test_client().open(
            path, method=method, headers=bearer, buffered=True, **options
        )

    def do(self, who: str, method: str, path: str, **options: Any) -> Any:
        answer = self.ask(who, method, path, **options)
        assert answer.status_code < 300, answer.text
        return answer.json

    def change(self, who: str, **values: Any) -> None:
        with writing(services(self.app).engine) as connection:
            connection.execute(update(User).where(User.id == self.ids[who]).values(values))


@pytest.fixture(scope="module")
def first_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The scene of which each test has a copy."""
    app = make_app(tmp_path_factory.mktemp("scene"))
    scene = Scene(app)
    with app.app_context(), writing() as connection:
        for name in ("ann", "bob", "eve", "admin"):
            email = f"{name}@example.com"
            values = {"username": name, "username_key": name, "email": email, "email_key": email}
            values |= {"password_hash": password_hash(), "is_admin": name in ("ann", "admin")}
            user_id = connection.scalar(insert(User).values(values).returning(User.id))
            assert user_id
            session_id = open_session(connection, user_id, Device("192.0.2.7", "tests"))
            scene.ids[name] = user_id
            scene.sessions[name] = session_id
        scene.log_in()
        ann = scene.ids["ann"]
        scene.session = open_session(connection, ann, Device("192.0.2.7", "a phone"))
        post = {"author_id": ann, "title": "a", "content": "b", "created_at": utcnow()}
        invitation = {"code_hash": "0" * 64, "expires_at": utcnow()}
        scene.post = connection.scalar(insert(Post).values(post).returning(Post.id)) or 0
        made = insert(Invitation).values(invitation).returning(Invitation.id)
        scene.invitation = connection.scalar(made) or 0
    group = {"title": "Team", "members": ["bob"]}
    scene.group = scene.do("ann", "POST", f"{API}/groups/", json=group)["name"]
    scene.pair = scene.do("ann", "POST", f"{ROOMS}/", json={"recipient": "bob"})["name"]
    for room in ("group", "pair"):
        for who in ("ann", "bob"):
            path = f"{ROOMS}/{getattr(scene, room)}/messages/"
            said = scene.do(who, "POST", path, json={"content": f"of {who}"})
            scene.said[f"{who}, {room}"] = said["id"]
    services(app).engine.dispose()  # with the last connection, all is in the one file
    return scene


@pytest.fixture
def scene(first_scene: Scene, tmp_path: Path) -> Iterator[Scene]:
    copyfile(services(first_scene.app).engine.url.database, tmp_path / "beseda.db")
    app = create_app(make_config(tmp_path, sqlite_url(tmp_path)))
    scene = replace(first_scene, app=app)
    with app.app_context():
        scene.log_in()
    yield scene
    services(app).engine.dispose()


Request = Callable[[Scene], tuple[str, Mapping[str, Any]]]
Rights = Literal["anybody", "administrator", "administrator of the group"]


@dataclass(frozen=True)
class Case:
    """A request that Ann may make.

    Attributes:
        request: Returns the path, and what else is sent.
        status: Of the answer.
        rights: Who may, apart from members of the room where there is one.
    """

    request: Request
    status: int = 200
    rights: Rights = "anybody"


def asks(path: str, **options: Any) -> Request:
    return lambda _: (path, options)


def in_group(rest: str = "", **body: Any) -> Request:
    return lambda scene: (f"{ROOMS}/{scene.group}/{rest}", {"json": body} if body else {})


def message_in(room: str, who: str, **body: Any) -> Request:
    def request(scene: Scene) -> tuple[str, Mapping[str, Any]]:
        path = f"{ROOMS}/{getattr(scene, room)}/messages/{scene.said[f'{who}, {room}']}/"
        return path, {"json": body} if body else {}

    return request


def file_form() -> dict[str, Any]:
    return {"data": {"file": (io.BytesIO(b"text"), "a.txt")}}


def file_of_ann(scene: Scene) -> tuple[str, Mapping[str, Any]]:
    file_id, files = secrets.token_hex(16), services(scene.app).files
    with files.draft(file_id) as draft:
        files.keep(file_id, draft)
    row = {"id": file_id, "user_id": scene.ids["ann"], "type": "text/plain", "bytes": 0}
    row |= {"created_at": utcnow(), "expires_at": utcnow() + timedelta(hours=1)}
    with writing(services(scene.app).engine) as connection:
        connection.execute(insert(Upload).values(row))
    return f"{API}/files/{file_id}/", {}


ACCOUNTS, PROFILES = "/accounts/api", "/profiles/api"
PASSWORDS = {"old_password": PASSWORD, "new_password": PASSWORD + "!"}
ADDRESS = {"email": "new@example.com", "password": PASSWORD}
BROWSER = {
    "endpoint": "https://push.example.com/send/0b9c",
    "keys": {
        "p256dh": "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIg"
        "Dll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8",
        "auth": "BTBZMqHH6r4Tts7J_aSIgg",
    },
}
ADMIN: Rights = "administrator"
GROUP_ADMIN: Rights = "administrator of the group"

# A new route joins here, and below where it is said what a block changes.
CASES: dict[str, Case] = {
    "GET /accounts/api/users/": Case(asks(f"{ACCOUNTS}/users/")),
    "GET /accounts/api/users/me/": Case(asks(f"{ACCOUNTS}/users/me/")),
    "PATCH /accounts/api/users/me/": Case(asks(f"{ACCOUNTS}/users/me/", json=ADDRESS)),
    "DELETE /accounts/api/users/me/": Case(
        asks(f"{ACCOUNTS}/users/me/", json={"password": PASSWORD}), 204
    ),
    "GET /accounts/api/users/me/export/": Case(asks(f"{ACCOUNTS}/users/me/export/")),
    "POST /accounts/api/password/": Case(asks(f"{ACCOUNTS}/password/", json=PASSWORDS)),
    "GET /accounts/api/settings/": Case(asks(f"{ACCOUNTS}/settings/")),
    "PATCH /accounts/api/settings/": Case(asks(f"{ACCOUNTS}/settings/", json={"show_read": False})),
    "GET /accounts/api/push/": Case(asks(f"{ACCOUNTS}/push/")),
    "POST /accounts/api/push/": Case(asks(f"{ACCOUNTS}/push/", json=BROWSER), 201),
    "DELETE /accounts/api/push/": Case(
        asks(f"{ACCOUNTS}/push/", json={"endpoint": BROWSER["endpoint"]}), 204
    ),
    "POST /accounts/api/push/test/": Case(asks(f"{ACCOUNTS}/push/test/"), 202),
    "GET /accounts/api/sessions/": Case(asks(f"{ACCOUNTS}/sessions/")),
    "DELETE /accounts/api/sessions/<session_id>/": Case(
        lambda scene: (f"{ACCOUNTS}/sessions/{scene.session}/", {}), 204
    ),
    "GET /accounts/api/admin/users/": Case(asks(f"{ACCOUNTS}/admin/users/"), rights=ADMIN),
    "PATCH /accounts/api/admin/users/<user_id>/": Case(
        lambda scene: (
            f"{ACCOUNTS}/admin/users/{scene.ids['bob']}/",
            {"json": {"is_active": False}},
        ),
        rights=ADMIN,
    ),
    "POST /accounts/api/admin/users/<user_id>/reset-link/": Case(
        lambda scene: (f"{ACCOUNTS}/admin/users/{scene.ids['bob']}/reset-link/", {}),
        201,
        rights=ADMIN,
    ),
    "GET /accounts/api/admin/invitations/": Case(
        asks(f"{ACCOUNTS}/admin/invitations/"), rights=ADMIN
    ),
    "POST /accounts/api/admin/invitations/": Case(
        asks(f"{ACCOUNTS}/admin/invitations/", json={}), 201, rights=ADMIN
    ),
    "DELETE /accounts/api/admin/invitations/<invitation_id>/": Case(
        lambda scene: (f"{ACCOUNTS}/admin/invitations/{scene.invitation}/", {}), 204, rights=ADMIN
    ),
    "GET /profiles/api/profile/": Case(asks(f"{PROFILES}/profile/")),
    "PATCH /profiles/api/profile/": Case(asks(f"{PROFILES}/profile/", json={"bio": "x"})),
    "GET /profiles/api/posts/": Case(asks(f"{PROFILES}/posts/")),
    "POST /profiles/api/posts/": Case(
        asks(f"{PROFILES}/posts/", json={"title": "a", "content": "b"}), 201
    ),
    "PATCH /profiles/api/posts/<post_id>/": Case(
        lambda scene: (f"{PROFILES}/posts/{scene.post}/", {"json": {"title": "c"}})
    ),
    "DELETE /profiles/api/posts/<post_id>/": Case(
        lambda scene: (f"{PROFILES}/posts/{scene.post}/", {}), 204
    ),
    "GET /profiles/api/people/": Case(asks(f"{PROFILES}/people/")),
    "GET /profiles/api/search-user/": Case(asks(f"{PROFILES}/search-user/?username=bob")),
    "POST /profiles/api/add-friend/": Case(
        asks(f"{PROFILES}/add-friend/", json={"username": "bob"})
    ),
    "POST /profiles/api/remove-friend/": Case(
        asks(f"{PROFILES}/remove-friend/", json={"username": "bob"})
    ),
    "GET /profiles/api/blocks/": Case(asks(f"{PROFILES}/blocks/")),
    "POST /profiles/api/blocks/": Case(asks(f"{PROFILES}/blocks/", json={"username": "eve"})),
    "DELETE /profiles/api/blocks/<username>/": Case(asks(f"{PROFILES}/blocks/eve/"), 204),
    "GET /messenger/api/chatrooms/": Case(asks(f"{ROOMS}/")),
    "POST /messenger/api/chatrooms/": Case(asks(f"{ROOMS}/", json={"recipient": "eve"}), 201),
    "GET /messenger/api/user/chatrooms/": Case(asks(f"{API}/user/chatrooms/")),
    "GET /messenger/api/chats/": Case(asks(f"{API}/chats/")),
    "GET /messenger/api/events/": Case(asks(f"{API}/events/?after=0")),
    "GET /messenger/api/presence/": Case(asks(f"{API}/presence/")),
    "GET /messenger/api/search/": Case(
        lambda scene: (f"{API}/search/?q=of&room={scene.group}", {})
    ),
    "POST /messenger/api/read/": Case(lambda scene: (f"{API}/read/", {"json": {scene.group: 1}})),
    "POST /messenger/api/groups/": Case(
        asks(f"{API}/groups/", json={"title": "x", "members": ["eve"]}), 201
    ),
    "GET /messenger/api/chatrooms/<room_name>/": Case(in_group()),
    "PATCH /messenger/api/chatrooms/<room_name>/": Case(in_group(title="x"), rights=GROUP_ADMIN),
    "GET /messenger/api/chatrooms/<room_name>/members/": Case(in_group("members/")),
    "POST /messenger/api/chatrooms/<room_name>/members/": Case(
        in_group("members/", username="eve"), 201
    ),
    "PATCH /messenger/api/chatrooms/<room_name>/members/<username>/": Case(
        in_group("members/bob/", role="admin"), rights=GROUP_ADMIN
    ),
    "DELETE /messenger/api/chatrooms/<room_name>/members/<username>/": Case(
        in_group("members/bob/"), 204, rights=GROUP_ADMIN
    ),
    "GET /messenger/api/chatrooms/<room_name>/messages/": Case(in_group("messages/")),
    "POST /messenger/api/chatrooms/<room_name>/messages/": Case(
        in_group("messages/", content="x"), 201
    ),
    "GET /messenger/api/chatrooms/<room_name>/messages/<message_id>/": Case(
        message_in("group", "bob")
    ),
    "PATCH /messenger/api/chatrooms/<room_name>/messages/<message_id>/": Case(
        message_in("group", "ann", content="x")
    ),
    "DELETE /messenger/api/chatrooms/<room_name>/messages/<message_id>/": Case(
        message_in("group", "bob"), 204, rights=GROUP_ADMIN
    ),
    "POST /messenger/api/chatrooms/<room_name>/read/": Case(in_group("read/", read_id=1)),
    "POST /messenger/api/chatrooms/<room_name>/unread/": Case(in_group("unread/", from_id=1)),
    "POST /messenger/api/uploads/": Case(lambda _: (f"{API}/uploads/", file_form()), 201),
    "GET /messenger/api/files/<file_id>/": Case(file_of_ann),
    "DELETE /messenger/api/files/<file_id>/": Case(file_of_ann, 204),
}
OF_ROOMS = {route for route in CASES if "<room_name>" in route} | {
    "GET /messenger/api/search/",  # with `room`
    "POST /messenger/api/read/",
}


def answer(scene: Scene, route: str, who: str = "ann") -> TestResponse:
    """Return what somebody is answered who makes a request of Ann's."""
    path, options = CASES[route].request(scene)
    return scene.ask(who, route.partition(" ")[0], path, **options)


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_every_route_is_in_the_tables(app: Flask) -> None:
    routes = {f"{method} {rule}" for method, rule in private_rules(app) if method != "HEAD"}

    assert routes == CASES.keys()
    assert routes == TOWARDS_OTHERS.keys() | TOWARDS_NOBODY
    assert not TOWARDS_OTHERS.keys() & TOWARDS_NOBODY


@pytest.mark.parametrize("route", CASES)
def test_who_may_is_answered(scene: Scene, route: str) -> None:
    assert answer(scene, route).status_code == CASES[route].status


@pytest.mark.parametrize("route", CASES)
def test_nobody_is_answered_without_a_live_session(scene: Scene, route: str) -> None:
    scene.do(
        "admin", "PATCH", f"{ACCOUNTS}/admin/users/{scene.ids['ann']}/", json={"is_active": False}
    )
    deactivated = answer(scene, route)
    scene.change("ann", is_active=True)  # whoever comes back has to log in again
    returned = answer(scene, route)
    scene.change("bob", is_active=False)  # by whatever hand
    by_hand = answer(scene, route, "bob")
    with writing(services(scene.app).engine) as connection:
        connection.execute(update(Session).values(revoked_at=utcnow()))
    logged_out = answer(scene, route, "admin")

    check_problem(answer(scene, route, ""), 401, "not_authenticated")
    for refused in (deactivated, returned, by_hand, logged_out):
        check_problem(refused, 401, "token_not_valid")


@pytest.mark.parametrize("route", [route for route in CASES if CASES[route].rights == ADMIN])
def test_administrator_who_was_demoted_meanwhile_is_refused_at_once(
    scene: Scene, route: str
) -> None:
    path = f"{ACCOUNTS}/admin/users/{scene.ids['ann']}/"
    scene.do("admin", "PATCH", path, json={"is_admin": False})

    check_problem(answer(scene, route), 403, "not_admin")
    check_problem(answer(scene, route, "bob"), 403, "not_admin")


@pytest.mark.parametrize("route", [route for route in CASES if CASES[route].rights == GROUP_ADMIN])
def test_administrator_of_a_group_who_was_demoted_meanwhile_is_refused_at_once(
    scene: Scene, route: str
) -> None:
    members = f"{ROOMS}/{scene.group}/members/"
    scene.do("ann", "PATCH", f"{members}bob/", json={"role": "admin"})
    scene.do("bob", "PATCH", f"{members}ann/", json={"role": "member"})

    refused = answer(scene, route)

    assert (refused.status_code, refused.json["code"]) in ((403, "not_admin"), (403, "not_yours"))


def test_demoted_administrator_sees_no_rooms_of_others_any_more(scene: Scene) -> None:
    others = scene.do("bob", "POST", f"{ROOMS}/", json={"recipient": "eve"})["name"]
    assert others in answer(scene, "GET /messenger/api/chatrooms/").text

    path = f"{ACCOUNTS}/admin/users/{scene.ids['ann']}/"
    scene.do("admin", "PATCH", path, json={"is_admin": False})

    assert others not in answer(scene, "GET /messenger/api/chatrooms/").text


def leave(scene: Scene) -> None:
    """Let Ann be removed from the group, where the talk goes on."""
    members = f"{ROOMS}/{scene.group}/members/"
    scene.do("ann", "PATCH", f"{members}bob/", json={"role": "admin"})
    scene.do("bob", "DELETE", f"{members}ann/")
    scene.do("bob", "PATCH", f"{ROOMS}/{scene.group}/", json={"title": f"title: {SECRET}"})
    messages = f"{ROOMS}/{scene.group}/messages/"
    scene.do("bob", "POST", messages, json={"content": SECRET})
    path = f"{messages}{scene.said['bob, group']}/"
    scene.do("bob", "PATCH", path, json={"content": f"edited: {SECRET}"})


@pytest.mark.parametrize("route", CASES)
def test_former_member_has_nothing_of_the_room(scene: Scene, route: str) -> None:
    leave(scene)

    answered = answer(scene, route)

    assert SECRET not in answered.text
    if route in OF_ROOMS:
        check_problem(answered, 404, "room_not_found")
        path, options = CASES[route].request(scene)
        nowhere = path.replace(scene.group, "g~999999")
        if isinstance(body := options.get("json"), dict) and scene.group in body:
            options = {"json": {"g~999999": 1}}
        unknown = scene.ask("ann", route.partition(" ")[0], nowhere, **options)
        assert unknown.text == answered.text  # it looks like one that does not exist
    else:
        assert answered.status_code == CASES[route].status


# What a block changes: requests towards somebody with whom Ann has one, and what is answered.
TOWARDS_OTHERS: dict[str, list[tuple[Request, int]]] = {
    # Ann finds those whom she could find before, and a block is on no list of theirs.
    "GET /profiles/api/search-user/": [(asks(f"{PROFILES}/search-user/?username=bob"), 200)],
    "POST /profiles/api/add-friend/": [
        (asks(f"{PROFILES}/add-friend/", json={"username": "bob"}), 200)
    ],
    "POST /profiles/api/remove-friend/": [
        (asks(f"{PROFILES}/remove-friend/", json={"username": "bob"}), 200)
    ],
    "POST /profiles/api/blocks/": [(asks(f"{PROFILES}/blocks/", json={"username": "bob"}), 200)],
    "DELETE /profiles/api/blocks/<username>/": [(asks(f"{PROFILES}/blocks/bob/"), 204)],
    "POST /messenger/api/chatrooms/": [
        (asks(f"{ROOMS}/", json={"recipient": "eve"}), 403),
        (asks(f"{ROOMS}/", json={"recipient": "bob"}), 200),  # they have one, and it stays
    ],
    "POST /messenger/api/groups/": [
        (asks(f"{API}/groups/", json={"title": "x", "members": ["eve"]}), 403),
        (asks(f"{API}/groups/", json={"title": "x", "members": ["admin", "bob"]}), 403),
        (asks(f"{API}/groups/", json={"title": "x", "members": ["admin"]}), 201),
    ],
    "POST /messenger/api/chatrooms/<room_name>/members/": [
        (in_group("members/", username="eve"), 403),
        (in_group("members/", username="admin"), 201),
    ],
    # Administrators of a group have their duties.
    "PATCH /messenger/api/chatrooms/<room_name>/members/<username>/": [
        (in_group("members/bob/", role="admin"), 200)
    ],
    "DELETE /messenger/api/chatrooms/<room_name>/members/<username>/": [
        (in_group("members/bob/"), 204)
    ],
    "POST /messenger/api/chatrooms/<room_name>/messages/": [
        (lambda scene: (f"{ROOMS}/{scene.pair}/messages/", {"json": {"content": "x"}}), 403),
        (in_group("messages/", content="x"), 201),
    ],
    "PATCH /messenger/api/chatrooms/<room_name>/messages/<message_id>/": [
        (message_in("pair", "ann", content="x"), 403),
        (message_in("group", "ann", content="x"), 200),
    ],
    "DELETE /messenger/api/chatrooms/<room_name>/messages/<message_id>/": [
        (message_in("pair", "ann"), 204),
        (message_in("group", "bob"), 204),
    ],
    "GET /messenger/api/chatrooms/<room_name>/messages/<message_id>/": [
        (message_in("pair", "bob"), 200)
    ],
    **{
        f"{method} /messenger/api/chatrooms/<room_name>/{rest}": [
            (
                lambda scene, rest=rest, options=options: (f"{ROOMS}/{scene.pair}/{rest}", options),
                200,
            )
        ]
        for method, rest, options in (
            ("GET", "", {}),
            ("PATCH", "", {"json": {"muted": True}}),
            ("GET", "members/", {}),
            ("GET", "messages/", {}),
            ("POST", "read/", {"json": {"read_id": 1}}),
            ("POST", "unread/", {"json": {"from_id": 1}}),
        )
    },
    "PATCH /accounts/api/admin/users/<user_id>/": [
        (CASES["PATCH /accounts/api/admin/users/<user_id>/"].request, 200)
    ],
    "POST /accounts/api/admin/users/<user_id>/reset-link/": [
        (CASES["POST /accounts/api/admin/users/<user_id>/reset-link/"].request, 201)
    ],
    # Whom it names is not online for Ann: see messenger/test_many_workers.py.
    "GET /messenger/api/presence/": [(asks(f"{API}/presence/"), 200)],
}
# These are about Ann, or about everybody.
TOWARDS_NOBODY = {
    "GET /accounts/api/users/",
    "GET /accounts/api/users/me/",
    "PATCH /accounts/api/users/me/",
    "DELETE /accounts/api/users/me/",
    "GET /accounts/api/users/me/export/",
    "POST /accounts/api/password/",
    "GET /accounts/api/push/",
    "POST /accounts/api/push/",
    "DELETE /accounts/api/push/",
    "POST /accounts/api/push/test/",
    "GET /accounts/api/settings/",
    "PATCH /accounts/api/settings/",
    "GET /accounts/api/sessions/",
    "DELETE /accounts/api/sessions/<session_id>/",
    "GET /accounts/api/admin/users/",
    "GET /accounts/api/admin/invitations/",
    "POST /accounts/api/admin/invitations/",
    "DELETE /accounts/api/admin/invitations/<invitation_id>/",
    "GET /profiles/api/profile/",
    "PATCH /profiles/api/profile/",
    "GET /profiles/api/posts/",
    "POST /profiles/api/posts/",
    "PATCH /profiles/api/posts/<post_id>/",
    "DELETE /profiles/api/posts/<post_id>/",
    "GET /profiles/api/people/",
    "GET /profiles/api/blocks/",
    "GET /messenger/api/chatrooms/",
    "GET /messenger/api/user/chatrooms/",
    "GET /messenger/api/chats/",
    "GET /messenger/api/events/",
    "GET /messenger/api/search/",
    "POST /messenger/api/read/",
    "POST /messenger/api/uploads/",
    "GET /messenger/api/files/<file_id>/",
    "DELETE /messenger/api/files/<file_id>/",
}


@pytest.mark.parametrize("blocker", ["ann", "the other"])
@pytest.mark.parametrize("route", TOWARDS_OTHERS)
def test_block_holds_in_both_directions(scene: Scene, route: str, blocker: str) -> None:
    ann = scene.ids["ann"]
    with writing(services(scene.app).engine) as connection:
        for name in ("bob", "eve"):
            pair = (ann, scene.ids[name]) if blocker == "ann" else (scene.ids[name], ann)
            connection.execute(insert(Block).values(owner_id=pair[0], blocked_id=pair[1]))

    for request, status in TOWARDS_OTHERS[route]:
        path, options = request(scene)
        answered = scene.ask("ann", route.partition(" ")[0], path, **options)

        assert answered.status_code == status, path
        if status == 403:
            check_problem(answered, 403, "blocked")


def test_memberships_alone_decide(scene: Scene) -> None:
    with writing(services(scene.app).engine) as connection:
        gone = update(RoomMember).where(RoomMember.user_id == scene.ids["ann"])
        connection.execute(gone.values(left_id=1))

    for room in (scene.group, scene.pair):
        check_problem(scene.ask("ann", "GET", f"{ROOMS}/{room}/"), 404, "room_not_found")
