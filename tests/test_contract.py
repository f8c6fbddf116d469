"""The API document's thirteen sections, replayed, and what the contract settles beside them.

All of it against a real server with one worker. What comes in wrong has a file of its own,
`test_bad_input.py`.
"""

import base64
import io
import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from http.cookies import SimpleCookie
from itertools import combinations
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urljoin

import httpx
import jwt
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection

from tests.factories import PASSWORD, Person, make_person, new_name
from tests.problems import check_problem
from tests.servers import Server
from tests.shapes import check_shape
from tests.talk import (
    SECONDS,
    chat_path,
    close_code,
    hear,
    join,
    messages_path,
    open_socket,
    send_text,
)

pytestmark = [
    pytest.mark.server,
    pytest.mark.usefixtures("documented"),  # and so is every answer below
]

CYRILLIC = re.compile("[А-Яа-яЁё]")

USERS = "/accounts/api/users/"
TOKEN = "/accounts/api/token/"
REFRESH = "/accounts/api/token/refresh/"
PROFILE = "/profiles/api/profile/"
POSTS = "/profiles/api/posts/"
SEARCH = "/profiles/api/search-user/"
ADD_FRIEND = "/profiles/api/add-friend/"
REMOVE_FRIEND = "/profiles/api/remove-friend/"
ROOMS = "/messenger/api/chatrooms/"
OWN_ROOMS = "/messenger/api/user/chatrooms/"
DEFAULT_PICTURE = "/media/user_images/default.jpg"


# The examples of the document, and the one key that a post has beside them.

USER = {"id": 1, "username": "user1", "email": "user1@example.com"}
TOKENS = {"refresh": "refresh_token", "access": "access_token"}
NEW_ACCESS = {"access": "new_access_token"}
POST = {
    "id": 1,
    "title": "Пост 1",
    "content": "Текст",
    "created_at": "2024-12-12T10:00:00Z",
    "author": "example_user",
}
PROFILE_OUT = {
    "id": 2,
    "username": "jane_doe",
    "email": "jane@example.com",
    "profile": {"image": DEFAULT_PICTURE, "bio": "Jane's bio", "friends": [1]},
    "posts": [POST],
}
ROOM = {"id": 1, "name": "user1_user2", "members": [1, 2], "display_name": "user2"}
MESSAGE = {"id": 1, "user": "user1", "content": "Привет!", "timestamp": "2023-12-01T10:00:00Z"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the limits that it ships with, which nobody here meets."""
    with Server(tmp_path_factory.mktemp("contract"), {"RATELIMIT_ENABLED": "true"}) as server:
        yield server


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The people of the document on a server of their own, so that even their ids are its ids."""
    with Server(tmp_path_factory.mktemp("document"), {"RATELIMIT_ENABLED": "true"}) as server:
        world = SimpleNamespace(url=server.url)
        for name in ("user1", "user2", "jane_doe"):
            setattr(world, name, make_person(server.url, name))
        world.room = world.user1.open_room(world.user2)
        yield world
        for name in ("user1", "user2", "jane_doe"):
            getattr(world, name).http.close()


def test_section_1_creates_a_user_and_lists_all(world: SimpleNamespace) -> None:
    body = {"username": "newuser", "email": "newuser@example.com", "password": "yourpassword"}

    created = httpx.post(world.url + USERS, json=body)
    listed = world.user1.get(USERS)

    assert created.status_code == 201
    check_shape(created.json(), USER)
    assert created.json() == {"id": 4, "username": "newuser", "email": "newuser@example.com"}
    assert listed.status_code == 200
    check_shape(listed.json(), [USER])
    assert [each["username"] for each in listed.json()] == ["user1", "user2", "jane_doe", "newuser"]


def test_section_2_gives_tokens(world: SimpleNamespace) -> None:
    answer = httpx.post(world.url + TOKEN, json={"username": "user1", "password": PASSWORD})

    assert answer.status_code == 200
    check_shape(answer.json(), TOKENS)


def test_section_3_gives_a_new_access_token(world: SimpleNamespace) -> None:
    answer = httpx.post(world.url + REFRESH, json={"refresh": world.user1.refresh})

    assert answer.status_code == 200
    check_shape(answer.json(), NEW_ACCESS)
    assert httpx.get(
        world.url + PROFILE, headers={"Authorization": f"Bearer {answer.json()['access']}"}
    ).is_success


def test_section_4_shows_the_callers_profile(world: SimpleNamespace) -> None:
    world.user2.post(POSTS, {"title": "Пост 1", "content": "Текст"})
    world.user2.post(POSTS, {"title": "Пост 2", "content": "Текст"})
    world.user2.post(ADD_FRIEND, {"username": "user1"})
    world.user2.http.patch(PROFILE, json={"bio": "Био"})

    answer = world.user2.get(PROFILE)

    assert answer.status_code == 200
    check_shape(answer.json(), PROFILE_OUT)
    assert answer.json()["username"] == "user2"
    assert answer.json()["profile"] == {"image": DEFAULT_PICTURE, "bio": "Био", "friends": [1]}
    assert [post["title"] for post in answer.json()["posts"]] == ["Пост 1", "Пост 2"]


def test_sections_5_and_6_publish_a_post_for_everybody(world: SimpleNamespace) -> None:
    created = world.user1.post(POSTS, {"title": "Новый пост", "content": "Текст"})
    listed = world.jane_doe.get(POSTS)

    assert created.status_code == 201
    check_shape(created.json(), POST)
    assert created.json() == created.json() | {
        "title": "Новый пост",
        "content": "Текст",
        "author": "user1",
    }
    assert listed.status_code == 200
    check_shape(listed.json(), [POST])
    assert listed.json()[-1] == created.json()


def test_section_7_finds_a_user_by_login(world: SimpleNamespace) -> None:
    world.jane_doe.http.patch(PROFILE, json={"bio": "Jane's bio"})

    answer = world.user1.get(SEARCH, params={"username": "jane_doe"})

    assert answer.status_code == 200
    check_shape(answer.json(), PROFILE_OUT)
    assert answer.json() == {
        "id": world.jane_doe.id,
        "username": "jane_doe",
        "email": world.jane_doe.email,
        "profile": {"image": DEFAULT_PICTURE, "bio": "Jane's bio", "friends": []},
        "posts": [],
    }


def test_sections_8_and_9_make_and_end_a_friendship(world: SimpleNamespace) -> None:
    added = world.user1.post(ADD_FRIEND, {"username": "jane_doe"})
    friends = world.user1.get(PROFILE).json()["profile"]["friends"]
    removed = world.user1.post(REMOVE_FRIEND, {"username": "jane_doe"})

    assert (added.status_code, removed.status_code) == (200, 200)
    assert friends == [world.jane_doe.id]
    assert added.json() == {"message": "jane_doe добавлен в друзья."}
    assert removed.json() == {"message": "jane_doe удален из друзей."}
    assert world.user1.get(PROFILE).json()["profile"]["friends"] == []


def test_section_10_opens_a_room_and_lists_it(world: SimpleNamespace) -> None:
    created = world.jane_doe.post(ROOMS, {"recipient": "user1"})
    again = world.user1.post(ROOMS, {"recipient": "jane_doe"})
    listed = world.user1.get(ROOMS)

    assert (created.status_code, again.status_code) == (201, 200)
    check_shape(created.json(), ROOM)
    assert created.json() == {
        "id": 2,
        "name": "jane_doe_user1",
        "members": [1, 3],
        "display_name": "user1",
    }
    assert again.json() == created.json() | {"display_name": "jane_doe"}
    assert listed.status_code == 200
    assert listed.json() == [ROOM, again.json()]


def test_section_11_sends_a_message_and_lists_it(world: SimpleNamespace) -> None:
    path = "/messenger/api/chatrooms/user1_user2/messages/"

    created = world.user1.post(path, {"content": "Привет!"})
    listed = world.user2.get(path)

    assert created.status_code == 201
    check_shape(created.json(), MESSAGE)
    assert (created.json()["user"], created.json()["content"]) == ("user1", "Привет!")
    assert listed.status_code == 200
    check_shape(listed.json(), [MESSAGE])
    assert listed.json()[-1] == created.json()


def test_section_12_lists_the_callers_rooms(world: SimpleNamespace) -> None:
    answer = world.user2.get(OWN_ROOMS)

    assert answer.status_code == 200
    assert answer.json() == [ROOM | {"display_name": "user1"}]


def test_section_13_talks_over_a_websocket(world: SimpleNamespace) -> None:
    url = f"{world.url}/messenger/ws/ws/chat/user1_user2/"

    with (
        open_socket(url, world.user1.bearer) as socket_1,
        open_socket(url, world.user2.bearer) as socket_2,
    ):
        socket_1.send('{"message": "Привет!"}')
        frames = hear(socket_1), hear(socket_2)

    check_shape(frames[0], MESSAGE)
    assert (frames[0]["user"], frames[0]["content"]) == ("user1", "Привет!")
    assert frames[1] == frames[0]


# Section 1 of the contract: conventions of the whole API


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    """A client of the shared server who is not logged in."""
    # There is no TLS here, and to load certificates for it would take longer than the rest.
    with httpx.Client(base_url=server.url, timeout=SECONDS, verify=False) as client:
        yield client


@pytest.fixture(scope="module")
def ann(server: Server) -> Iterator[Person]:
    """Somebody on the shared server."""
    person = make_person(server.url, new_name("ann"))
    yield person
    person.http.close()


@pytest.fixture(scope="module")
def bob(server: Server) -> Iterator[Person]:
    """Somebody else."""
    person = make_person(server.url, new_name("bob"))
    yield person
    person.http.close()


@pytest.fixture
def people(server: Server) -> Iterator[Any]:
    """Makes as many people as a test wants, of new or given names."""
    made: list[Person] = []

    def make(*names: str) -> list[Person]:
        made.extend(make_person(server.url, name) for name in names)
        return made[-len(names) :]

    yield make
    for person in made:
        person.http.close()


@dataclass(frozen=True)
class Chat:
    """A room and its members."""

    ann: Person
    bob: Person
    room: dict[str, Any]  # as Ann sees it

    @property
    def path(self) -> str:
        """The path of its messages."""
        return messages_path(self.room)


@pytest.fixture(scope="module")
def old_chat(ann: Person, bob: Person) -> Chat:
    """A room that other tests may have spoken in."""
    return Chat(ann, bob, ann.open_room(bob))


@pytest.fixture
def chat(ann: Person, people: Any) -> Chat:
    """A room that nobody has spoken in."""
    (bob,) = people(new_name("bob"))
    return Chat(ann, bob, ann.open_room(bob))


def new_digits(stem: str = "{}") -> str:
    """Return a text of a stem and digits that no other test has, for names of other scripts."""
    return stem.format(secrets.randbelow(10**12))


GETS = [USERS, PROFILE, POSTS, SEARCH, ROOMS, OWN_ROOMS, "messages"]
POSTS_OF = [USERS, TOKEN, REFRESH, POSTS, ADD_FRIEND, REMOVE_FRIEND, ROOMS, "messages"]
OPEN_TO_ALL = [USERS, TOKEN, REFRESH]  # to POST, that is


def path_of(name: str, chat: Chat) -> str:
    """Return the path that a test is parametrised with; `messages` is that of a room."""
    return chat.path if name == "messages" else name


@pytest.mark.parametrize("name", GETS)
def test_a_path_reads_the_same_without_its_last_slash(
    ann: Person, old_chat: Chat, name: str
) -> None:
    path, query = path_of(name, old_chat), {"username": ann.username}

    with_slash = ann.get(path, params=query)
    without = ann.get(path.removesuffix("/"), params=query)

    assert (without.status_code, without.json()) == (200, with_slash.json())


@pytest.mark.parametrize("name", POSTS_OF)
def test_a_path_writes_the_same_without_its_last_slash(
    ann: Person, old_chat: Chat, name: str
) -> None:
    path = path_of(name, old_chat)

    with_slash = check_problem_of_nothing(ann.post(path, {}))
    without = check_problem_of_nothing(ann.post(path.removesuffix("/"), {}))

    assert without == with_slash


def check_problem_of_nothing(answer: httpx.Response) -> dict[str, Any]:
    """Check the answer to an empty object."""
    return check_problem(answer, 400, "invalid", answer.json()["errors"])


def test_a_socket_opens_without_the_last_slash_of_its_path(old_chat: Chat) -> None:
    url = old_chat.ann.url + chat_path(old_chat.room["name"]).removesuffix("/")

    with open_socket(url, old_chat.ann.bearer) as socket_of_ann:
        send_text(socket_of_ann, "here")
        assert hear(socket_of_ann)["content"] == "here"


@pytest.mark.parametrize("encoding", ["urlencoded", "multipart"])
def test_every_body_may_be_a_form(ann: Person, bob: Person, encoding: str) -> None:
    room = ann.open_room(bob)
    name = new_digits("форма{}")
    account = {"username": name, "email": f"{secrets.token_hex(6)}@example.com"}
    account["password"] = PASSWORD

    def send(path: str, fields: dict[str, str]) -> httpx.Response:
        if encoding == "urlencoded":
            return ann.http.post(path, data=fields)
        return ann.http.post(path, files={key: (None, value) for key, value in fields.items()})

    tokens_of_ann = {"username": ann.username, "password": PASSWORD}
    statuses = {
        path: send(path, fields).status_code
        for path, fields in (
            (USERS, account),
            (TOKEN, tokens_of_ann),
            (REFRESH, {"refresh": ann.refresh}),
            (POSTS, {"title": "Заголовок", "content": "Текст"}),
            (ADD_FRIEND, {"username": bob.username}),
            (REMOVE_FRIEND, {"username": bob.username}),
            (ROOMS, {"recipient": bob.username}),
            (messages_path(room), {"content": "Из формы"}),
        )
    }

    assert statuses == {
        USERS: 201,
        TOKEN: 200,
        REFRESH: 200,
        POSTS: 201,
        ADD_FRIEND: 200,
        REMOVE_FRIEND: 200,
        ROOMS: 200,
        messages_path(room): 201,
    }
    assert ann.get(messages_path(room)).json()[-1]["content"] == "Из формы"


def test_unknown_keys_are_ignored(ann: Person) -> None:
    answer = ann.post(POSTS, {"title": "T", "content": "C", "id": 1, "author": "root", "x": [1]})

    assert answer.status_code == 201
    assert answer.json()["author"] == ann.username


@pytest.mark.parametrize("name", POSTS_OF)
def test_other_bodies_than_json_and_forms_are_not_understood(
    ann: Person, old_chat: Chat, name: str
) -> None:
    answer = ann.http.post(
        path_of(name, old_chat), content=b"<a/>", headers={"Content-Type": "application/xml"}
    )

    check_problem(answer, 415, "unsupported_media_type")


def test_each_wrong_field_stands_at_the_top_and_in_errors(http: httpx.Client) -> None:
    taken = {"username": "a b", "email": "none", "password": "12345678"}

    answer = http.post(USERS, json=taken)

    check_problem(answer, 400, "invalid", {"username", "email", "password"})


def test_a_field_called_title_takes_the_place_of_the_problems_title(ann: Person) -> None:
    problem = check_problem(ann.post(POSTS, {"content": "C"}), 400, "invalid", {"title"})

    assert isinstance(problem["title"], list)


def test_what_belongs_to_no_field_is_a_non_field_error(ann: Person) -> None:
    answer = ann.http.post(POSTS, content=b"{", headers={"Content-Type": "application/json"})

    check_problem(answer, 400, "invalid", {"non_field_errors"})


@pytest.mark.parametrize("name", GETS)
def test_nothing_is_read_without_a_token(http: httpx.Client, old_chat: Chat, name: str) -> None:
    answer = http.get(path_of(name, old_chat))

    check_problem(answer, 401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", [each for each in POSTS_OF if each not in OPEN_TO_ALL])
def test_nothing_is_written_without_a_token(http: httpx.Client, old_chat: Chat, name: str) -> None:
    answer = http.post(path_of(name, old_chat), json={})

    check_problem(answer, 401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def claims_of(token: str) -> dict[str, Any]:
    """Read a token as a client does, without its key."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return claims


def forged(server: Server, person: Person, algorithm: str = "HS256", **claims: Any) -> str:
    """Return an access token with some claims changed, signed with the server's own key."""
    key = None if algorithm == "none" else server.env["JWT_SECRET_KEY"]
    return jwt.encode(claims_of(person.access) | claims, key, algorithm)


def bad_tokens(server: Server, person: Person) -> dict[str, str]:
    """Return tokens that open nothing, by what is wrong with them."""
    hour = timedelta(hours=1).total_seconds()
    head, payload, signature = person.access.split(".")
    return {
        "garbage": "garbage",
        "refresh": person.refresh,
        "expired": forged(server, person, exp=int(time.time() - hour)),
        "unsigned": forged(server, person, "none"),
        "other algorithm": forged(server, person, "HS512"),
        "other signature": f"{head}.{payload}.{signature[::-1]}",
        "nobody": forged(server, person, sub="999999999", user_id=999999999),
    }


BAD_TOKENS = [
    *("garbage", "refresh", "expired", "unsigned", "other algorithm", "other signature", "nobody")
]


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")  # the key is short for HS512
@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_a_bad_token_is_not_valid(
    http: httpx.Client, server: Server, ann: Person, kind: str
) -> None:
    bearer = {"Authorization": f"Bearer {bad_tokens(server, ann)[kind]}"}

    answer = http.get(PROFILE, headers=bearer)

    check_problem(answer, 401, "token_not_valid")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_stale_token_harms_nothing_where_none_is_needed(server: Server, ann: Person) -> None:
    stale = forged(server, ann, exp=int(time.time()) - 3600)
    account = {"username": new_name(), "email": f"{secrets.token_hex(6)}@example.com"}

    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {stale}"}) as http:
        statuses = [
            http.post(USERS, json=account | {"password": PASSWORD}).status_code,
            http.post(TOKEN, json={"username": ann.username, "password": PASSWORD}).status_code,
            http.post(REFRESH, json={"refresh": ann.refresh}).status_code,
            http.get(DEFAULT_PICTURE).status_code,
            http.get("/healthz").status_code,
            http.get("/readyz").status_code,
        ]

    assert statuses == [201, 200, 200, 200, 200, 200]


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (USERS, {"GET", "POST"}),
        (TOKEN, {"POST"}),
        (REFRESH, {"POST"}),
        (PROFILE, {"GET", "PATCH"}),
        (POSTS, {"GET", "POST"}),
        (SEARCH, {"GET"}),
        (ADD_FRIEND, {"POST"}),
        (REMOVE_FRIEND, {"POST"}),
        (ROOMS, {"GET", "POST"}),
        (OWN_ROOMS, {"GET"}),
        ("messages", {"GET", "POST"}),
    ],
)
def test_another_method_is_told_which_are_allowed(
    ann: Person, old_chat: Chat, path: str, methods: set[str]
) -> None:
    answer = ann.http.delete(path_of(path, old_chat))

    check_problem(answer, 405, "method_not_allowed")
    allowed = {each.strip() for each in answer.headers["Allow"].split(",")}
    assert allowed - {"HEAD", "OPTIONS"} == methods


@pytest.mark.parametrize(
    "path", ["/nothing/", "/accounts/api/nothing/", "/media/nothing.jpg", "/x"]
)
def test_an_unknown_path_is_a_problem_and_no_page(http: httpx.Client, path: str) -> None:
    check_problem(http.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("asked", "is_russian"),
    [
        (None, True),
        ("ru", True),
        ("*", True),
        ("fr", True),
        ("ru,en;q=0.5", True),
        ("en", False),
        ("en-US,en;q=0.9", False),
        ("en,ru;q=0.9", False),
        ("fr,en;q=0.5", False),
    ],
)
def test_sentences_are_russian_unless_english_is_preferred(
    ann: Person, bob: Person, asked: str | None, is_russian: bool
) -> None:
    headers = {} if asked is None else {"Accept-Language": asked}

    def said(path: str, body: dict[str, str]) -> httpx.Response:
        return ann.http.post(path, json=body, headers=headers)

    sentences = [
        said("/nothing/", {}).json()["detail"],
        said(POSTS, {}).json()["content"][0],
        said(TOKEN, {"username": "nobody", "password": PASSWORD}).json()["detail"],
        said(ADD_FRIEND, {"username": bob.username}).json()["message"],
    ]

    assert [bool(CYRILLIC.search(each)) for each in sentences] == [is_russian] * len(sentences)


def ids(answer: httpx.Response) -> list[int]:
    """Return the ids of a list."""
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()]


def walk(person: Person, url: str, relation: str) -> list[list[int]]:
    """Follow one relation of `Link` from page to page until there is none; the ids of each page."""
    pages: dict[str, list[int]] = {}
    while True:
        assert url not in pages, f"{relation} leads in a circle"
        answer = person.get(url)
        pages[url] = ids(answer)
        link = answer.links.get(relation)
        if link is None:
            return [*pages.values()]
        url = urljoin(str(answer.url), link["url"])


@pytest.mark.parametrize("name", [USERS, POSTS, ROOMS, OWN_ROOMS, "messages"])
def test_a_whole_list_can_be_walked_both_ways(people: Any, name: str) -> None:
    # Names of other letters, because they stand in the address that the links repeat.
    ann, *others = people(*(new_digits("анна@дом+{}") for _ in range(6)))
    rooms = [ann.open_room(other) for other in others]
    for number in range(7):
        ann.post(POSTS, {"title": f"{number}", "content": "C"})
        ann.post(messages_path(rooms[0]), {"content": f"{number}"})
    path = path_of(name, Chat(ann, others[0], rooms[0]))
    everything = ids(ann.get(path, params={"after": 0, "limit": 1000}))
    limit = len(everything) // 3

    backwards = walk(ann, f"{path}?limit={limit}", "prev")
    forwards = walk(ann, f"{path}?after=0&limit={limit}", "next")

    assert everything == sorted(set(everything))
    assert len(everything) >= 5
    assert [each for page in reversed(backwards) for each in page] == everything
    assert [each for page in forwards for each in page] == everything
    assert len(backwards) == len(forwards) == -(-len(everything) // limit)


def test_a_list_has_its_newest_items_oldest_first(chat: Chat) -> None:
    # By a socket, because one transaction then stores many of them.
    with join(chat.ann, chat.room) as socket_of_ann:
        for number in range(101):
            send_text(socket_of_ann, f"{number}")
        said = [hear(socket_of_ann)["id"] for _ in range(101)]

    def read(**query: int) -> list[int]:
        return ids(chat.bob.get(chat.path, params=query))

    assert read() == said[1:]
    assert read(limit=101) == read(limit=5000) == said
    assert read(limit=2) == said[-2:]
    assert read(limit=2, before=said[50]) == said[48:50]
    assert read(limit=2, after=said[50]) == said[51:53]
    assert (
        read(before=said[0]) == read(before=0) == read(after=said[-1]) == read(after=10**30) == []
    )
    assert read(limit=1, before=10**30) == said[-1:]


def test_a_link_leads_on_only_where_there_is_more(chat: Chat) -> None:
    first, second, third = (
        chat.ann.post(chat.path, {"content": "x"}).json()["id"] for _ in range(3)
    )

    def relations(**query: int) -> set[str]:
        return {str(each) for each in chat.ann.get(chat.path, params=query).links}

    assert relations() == relations(limit=3) == set()
    assert relations(limit=2) == {"prev"}
    assert relations(limit=1, before=third) == {"prev", "next"}
    assert relations(limit=1, before=second) == {"next"}
    assert relations(limit=1, after=first) == {"prev", "next"}
    assert relations(limit=1, after=second) == {"prev"}


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("limit=0", {"limit"}),
        ("limit=ten", {"limit"}),
        ("before=-1", {"before"}),
        ("after=x", {"after"}),
        ("after=1&before=3", {"after", "before"}),
        ("limit=-1&before=x", {"limit", "before"}),
    ],
)
@pytest.mark.parametrize("name", [USERS, POSTS, ROOMS, OWN_ROOMS, "messages"])
def test_a_bad_cursor_is_named(
    ann: Person, old_chat: Chat, name: str, query: str, fields: set[str]
) -> None:
    check_problem(ann.get(f"{path_of(name, old_chat)}?{query}"), 400, "invalid", fields)


TEXTS = [
    "Привет, мир! 😀 👩‍👩‍👧 你好 שלום",
    "<script>alert('1')</script> & \"q\" &amp;",
    "'; DROP TABLE users; --",
    "  kept \r\n\t spaces\n",
    "e\u0301 stays apart, \u212b too",
    "\u202eright to left\u202c \ufeff \uffff \U0010ffff \x01\x7f",
    "{{ 7 * 7 }} %s %(name)s {0} \\u0416 \\",
]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_comes_back_unchanged(old_chat: Chat, text: str) -> None:
    posted = old_chat.ann.post(old_chat.path, {"content": text})
    old_chat.ann.http.patch(PROFILE, json={"bio": text}).raise_for_status()
    published = old_chat.ann.post(POSTS, {"title": "T", "content": text}).json()

    assert posted.json()["content"] == text
    assert old_chat.bob.get(old_chat.path).json()[-1]["content"] == text
    shown = old_chat.bob.get(SEARCH, params={"username": old_chat.ann.username}).json()
    assert shown["profile"]["bio"] == text
    assert shown["posts"][-1] == published
    assert published["content"] == text
    with join(old_chat.ann, old_chat.room) as socket_of_ann:
        send_text(socket_of_ann, text)
        assert hear(socket_of_ann)["content"] == text


def test_other_letters_than_ascii_are_written_as_themselves(chat: Chat) -> None:
    text = "Привет 😀 é"

    posted = chat.ann.post(chat.path, {"content": text})
    listed = chat.ann.get(chat.path)
    with join(chat.ann, chat.room) as socket_of_ann:
        send_text(socket_of_ann, text)
        frame = socket_of_ann.recv(timeout=SECONDS)
    refused = chat.ann.post(chat.path, {})

    assert all(f'"{text}"' in each for each in (posted.text, listed.text, frame))
    for answer in (posted, listed, refused):
        assert b"\\u" not in answer.content


@pytest.mark.parametrize("given", ["abc-123", "9f1c.A_b", "x" * 64])
def test_a_plain_request_id_is_taken_over(http: httpx.Client, given: str) -> None:
    answer = http.get("/nothing/", headers={"X-Request-ID": given})

    assert answer.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", [None, "", "two words", 'a"b', "<b>", "x" * 4000])
def test_a_request_id_is_made_where_no_plain_one_is_given(
    http: httpx.Client, given: str | None
) -> None:
    headers = {} if given is None else {"X-Request-ID": given}

    made = [http.get("/healthz", headers=headers).headers["X-Request-ID"] for _ in range(2)]

    assert len({*made, given}) == 3
    assert all(re.fullmatch(r"[\w.-]+", each) for each in made)


@pytest.mark.parametrize(
    "path", [PROFILE, POSTS, "/healthz", "/readyz", "/nothing/", DEFAULT_PICTURE, TOKEN]
)
def test_every_answer_has_the_guarding_headers(ann: Person, path: str) -> None:
    headers = ann.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Request-ID"]
    assert not re.search(r"\d", headers.get("Server", ""))


@pytest.mark.parametrize("path", [PROFILE, POSTS, USERS, ROOMS, SEARCH])
def test_an_answer_to_a_token_is_not_stored(ann: Person, path: str) -> None:
    assert ann.get(path).headers["Cache-Control"] == "no-store"


def test_tokens_are_not_stored(http: httpx.Client, ann: Person) -> None:
    answer = http.post(REFRESH, json={"refresh": ann.refresh})

    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_healthy_server_says_so(http: httpx.Client, path: str) -> None:
    answer = http.get(path)

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


# Section 2 of the contract: accounts


def test_tokens_say_what_their_readers_expect(ann: Person) -> None:
    for token_type, token, lifetime in (
        ("access", ann.access, timedelta(minutes=15)),
        ("refresh", ann.refresh, timedelta(days=30)),
    ):
        claims = claims_of(token)

        assert jwt.get_unverified_header(token)["alg"] == "HS256"
        assert type(claims["user_id"]) is int
        assert claims["user_id"] == ann.id
        assert claims["sub"] == str(ann.id)
        assert claims["token_type"] == token_type
        assert claims["jti"]
        assert claims["exp"] - claims["iat"] == lifetime.total_seconds()
    assert claims_of(ann.access)["jti"] != claims_of(ann.refresh)["jti"]


def test_a_refresh_token_is_not_rotated(http: httpx.Client, ann: Person) -> None:
    answers = [http.post(REFRESH, json={"refresh": ann.refresh}) for _ in range(2)]

    assert [(each.status_code, set(each.json())) for each in answers] == [(200, {"access"})] * 2


@pytest.mark.parametrize("refresh", ["garbage", "access"])
def test_nothing_but_a_refresh_token_is_refreshed(
    http: httpx.Client, ann: Person, refresh: str
) -> None:
    token = ann.access if refresh == "access" else refresh

    answer = http.post(REFRESH, json={"refresh": token})

    check_problem(answer, 401, "token_not_valid")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_nobody_learns_whether_the_name_or_the_password_was_wrong(
    http: httpx.Client, ann: Person
) -> None:
    def log_in(username: str) -> httpx.Response:
        body = {"username": username, "password": "not the password"}
        return http.post(TOKEN, json=body)

    wrong, unknown = log_in(ann.username), log_in(new_name("nobody"))

    assert check_problem(wrong, 401, "no_active_account") == check_problem(unknown, 401)
    assert wrong.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("  Spaces{} ", "Spaces{}"),
        ("Ｗｉｄｅ{}", "Wide{}"),
        ("ﬁn{}", "fin{}"),
        ("Cafe\u0301{}", "Café{}"),
        ("Иван@дом.рф+1-2_{}", "Иван@дом.рф+1-2_{}"),
        ("नमस्ते{}", "नमस्ते{}"),
        ("สวัสดี{}", "สวัสดี{}"),
        ("你好Li{}", "你好Li{}"),
        ("٣{}", "٣{}"),
    ],
)
def test_a_username_is_stored_in_its_normal_form(
    http: httpx.Client, typed: str, stored: str
) -> None:
    mark = new_digits()

    answer = register(http, typed.format(mark))

    assert (answer.status_code, answer.json()["username"]) == (201, stored.format(mark))


def register(http: httpx.Client, username: str) -> httpx.Response:
    """Make an account."""
    email = f"{secrets.token_hex(6)}@example.com"
    body = {"username": username, "email": email, "password": PASSWORD}
    return http.post(USERS, json=body)


@pytest.mark.parametrize(
    "username",
    [
        "а" + "nna",  # the first letter is Cyrillic
        "αnna",
        "αнна",
        "two words",
        "tilde~2",
        "sl/ash",
        "per%cent",
        "smile😀",
        "zero\u200bwidth",
        "right\u202eleft",
        "\u0301mark.first",
        "1\u0301mark",
        "x" * 151,
    ],
)
def test_a_username_has_only_letters_of_one_look(http: httpx.Client, username: str) -> None:
    check_problem(register(http, username), 400, "invalid", {"username"})


def test_a_username_has_150_characters_at_most(http: httpx.Client) -> None:
    assert register(http, secrets.token_hex(75)).status_code == 201


@pytest.mark.parametrize(
    ("first", "second"),
    [("Case{}", "cASE{}"), ("Иван{}", "иВАН{}"), ("Straße{}", "STRASSE{}"), ("Ａ{}", "a{}")],
)
def test_a_username_is_taken_in_any_case(http: httpx.Client, first: str, second: str) -> None:
    mark = new_digits()
    register(http, first.format(mark)).raise_for_status()

    again = register(http, second.format(mark))
    logged_in = http.post(TOKEN, json={"username": second.format(mark), "password": PASSWORD})

    check_problem(again, 400, "invalid", {"username"})
    assert logged_in.status_code == 200


def test_an_address_is_taken_in_any_case(http: httpx.Client, ann: Person) -> None:
    body = {"username": new_name(), "email": ann.email.upper(), "password": PASSWORD}

    check_problem(http.post(USERS, json=body), 400, "invalid", {"email"})


# Section 3 of the contract: profiles


def fetched(http: httpx.Client, path: str) -> Image.Image:
    """Return the picture at a path."""
    answer = http.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    picture = Image.open(io.BytesIO(answer.content))
    picture.load()
    return picture


def png(width: int, height: int) -> bytes:
    """Return a small picture of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(out, "PNG")
    return out.getvalue()


def test_the_default_picture_is_a_picture(http: httpx.Client, people: Any) -> None:
    (person,) = people(new_name())
    profile = person.get(PROFILE).json()["profile"]

    assert profile == {"image": DEFAULT_PICTURE, "bio": "", "friends": []}
    assert fetched(http, profile["image"]).format == "JPEG"


def test_a_profile_changes_in_what_is_sent_and_nothing_else(
    http: httpx.Client, people: Any
) -> None:
    (person,) = people(new_name())

    def change(**how: Any) -> dict[str, Any]:
        answer = person.http.patch(PROFILE, **how)
        assert answer.status_code == 200, answer.text
        check_shape(answer.json(), PROFILE_OUT)
        profile: dict[str, Any] = answer.json()["profile"]
        return profile

    with_bio = change(json={"bio": "Обо мне"})
    with_image = change(files={"image": ("me.png", png(60, 40), "image/png")})
    picture = fetched(http, with_image["image"])
    with_both = change(data={"bio": "Снова"}, files={"image": ("me.png", png(9, 9))})
    without_image = change(json={"image": None})

    assert (with_bio["bio"], with_bio["image"]) == ("Обо мне", DEFAULT_PICTURE)
    assert (with_image["bio"], picture.size) == ("Обо мне", (512, 512))
    assert with_both["bio"] == "Снова"
    assert with_both["image"] not in (with_image["image"], DEFAULT_PICTURE)
    assert (without_image["bio"], without_image["image"]) == ("Снова", DEFAULT_PICTURE)
    for old in (with_image, with_both):
        assert http.get(old["image"]).status_code == 404


def test_a_broken_picture_leaves_the_old_one(http: httpx.Client, people: Any) -> None:
    (person,) = people(new_name())
    kept = person.http.patch(PROFILE, files={"image": ("a.png", png(9, 9))}).json()["profile"]

    answer = person.http.patch(PROFILE, files={"image": ("a.png", png(9, 9)[:-30])})

    check_problem(answer, 400, "invalid", {"image"})
    assert person.get(PROFILE).json()["profile"] == kept
    assert fetched(http, kept["image"]).format == "JPEG"


def test_friends_are_ids_in_the_callers_own_list(people: Any) -> None:
    ann, *others = people(*(new_name() for _ in range(4)))
    for other in reversed(others):
        ann.post(ADD_FRIEND, {"username": other.username.upper()})
    again = ann.post(ADD_FRIEND, {"username": others[0].username})
    removed = ann.post(REMOVE_FRIEND, {"username": others[1].username})
    stranger = ann.post(REMOVE_FRIEND, {"username": others[1].username})

    assert again.json() == {"message": f"{others[0].username} добавлен в друзья."}
    assert removed.json() == {"message": f"{others[1].username} удален из друзей."}
    assert (stranger.status_code, stranger.json()) == (200, removed.json())
    friends = ann.get(PROFILE).json()["profile"]["friends"]
    assert friends == [others[0].id, others[2].id]
    assert others[0].get(PROFILE).json()["profile"]["friends"] == []


def test_a_sentence_has_the_name_as_its_owner_writes_it(people: Any) -> None:
    ann, jane = people(new_name("ann"), new_name("Jane"))

    answer = ann.post(ADD_FRIEND, {"username": jane.username.lower()})

    assert answer.json() == {"message": f"{jane.username} добавлен в друзья."}


@pytest.mark.parametrize(
    ("path", "field"), [(ADD_FRIEND, "username"), (REMOVE_FRIEND, "username"), (ROOMS, "recipient")]
)
def test_oneself_and_nobody_are_refused(ann: Person, path: str, field: str) -> None:
    check_problem(ann.post(path, {field: ann.username.upper()}), 400, "invalid", {field})
    check_problem(ann.post(path, {field: new_name("nobody")}), 404)


def test_a_search_is_for_exactly_one_login(ann: Person, bob: Person) -> None:
    found = ann.get(SEARCH, params={"username": bob.username.upper()})

    assert found.json()["username"] == bob.username
    check_problem(ann.get(SEARCH), 400, "invalid", {"username"})
    check_problem(ann.get(SEARCH, params={"username": bob.username[:-1]}), 404)


# Section 4 of the contract: messenger


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ("zed{}", "amy{}", "amy{0}_zed{0}"),
        ("Zed{}", "amy{}", "amy{0}_Zed{0}"),
        ("яна{}", "Zed{}", "Zed{0}_яна{0}"),
        ("Ёж{}", "ель{}", "ель{0}_Ёж{0}"),
    ],
)
def test_a_room_is_named_after_its_members_lower_first(
    people: Any, one: str, other: str, name: str
) -> None:
    mark = new_digits()
    first, second = people(one.format(mark), other.format(mark))

    created = first.post(ROOMS, {"recipient": second.username.upper()})
    opened = second.post(ROOMS, {"recipient": first.username})

    assert (created.status_code, opened.status_code) == (201, 200)
    assert created.json() == {
        "id": created.json()["id"],
        "name": name.format(mark),
        "members": sorted((first.id, second.id)),
        "display_name": second.username,
    }
    assert opened.json() == created.json() | {"display_name": first.username}


ENCODINGS = {
    "all": lambda name: quote(name, safe=""),
    "as browsers do": lambda name: quote(name, safe="@+"),
    "in lower case": lambda name: re.sub(
        "%..", lambda found: found[0].lower(), quote(name, safe="")
    ),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_room_is_found_under_its_percent_encoded_name(people: Any, encoding: str) -> None:
    mark = new_digits()
    ann, bob = people(f"Анна@дом.рф+1-2_{mark}", f"bob+{mark}@example.com")
    room = ann.open_room(bob)
    name = ENCODINGS[encoding](room["name"])

    posted = ann.post(f"/messenger/api/chatrooms/{name}/messages/", {"content": "1"})
    with open_socket(f"{ann.url}/messenger/ws/ws/chat/{name}/", bob.bearer) as socket_of_bob:
        send_text(socket_of_bob, "2")
        on_text = hear(socket_of_bob)
    listed = bob.get(f"/messenger/api/chatrooms/{name}/messages/")

    assert posted.status_code == 201
    assert listed.json() == [posted.json(), on_text]


def test_pairs_whose_rooms_would_have_one_name_have_rooms_of_their_own(people: Any) -> None:
    mark = new_digits()
    pairs = [
        people(f"a{mark}_b", f"c_d{mark}"),
        people(f"a{mark}", f"b_c_d{mark}"),
        people(f"a{mark}_b_c", f"d{mark}"),
    ]

    rooms = [one.open_room(other) for one, other in pairs]
    again = [other.open_room(one) for one, other in pairs]
    for (one, other), room in zip(pairs, rooms, strict=True):
        one.post(messages_path(room), {"content": room["name"]})
        with join(other, room, after=0) as socket_of_other:
            assert hear(socket_of_other)["content"] == room["name"]

    name = f"a{mark}_b_c_d{mark}"
    assert [room["name"] for room in rooms] == [name, f"{name}~2", f"{name}~3"]
    assert [room["id"] for room in again] == [room["id"] for room in rooms]
    for index, (one, other) in enumerate(pairs):
        for person in (one, other):
            said = [person.get(messages_path(room)) for room in rooms]
            assert said[index].json()[0]["content"] == rooms[index]["name"]
            assert [each.status_code for each in said] == [
                200 if number == index else 404 for number in range(3)
            ]


def test_a_stranger_learns_of_no_room(ann: Person, people: Any) -> None:
    one, other = people(new_name(), new_name())
    room = one.open_room(other)
    nowhere = {"name": new_name("no_room")}

    def problems(room: dict[str, Any]) -> list[dict[str, Any]]:
        path = messages_path(room)
        return [
            check_problem(ann.get(path), 404),
            check_problem(ann.post(path, {"content": "psst"}), 404),
        ]

    assert problems(room) == problems(nowhere)
    assert room["id"] not in ids(ann.get(ROOMS)) + ids(ann.get(OWN_ROOMS))


@pytest.mark.parametrize("place", ["client_id", "Idempotency-Key"])
def test_a_message_that_is_posted_again_is_stored_once(chat: Chat, place: str) -> None:
    def post(content: str) -> httpx.Response:
        body = {"content": content}
        if place == "client_id":
            return chat.ann.post(chat.path, body | {"client_id": "c-1"})
        return chat.ann.post(chat.path, body, headers={"Idempotency-Key": "c-1"})

    first, again = post("once"), post("twice")

    assert (first.status_code, again.status_code) == (201, 200)
    check_shape(first.json(), MESSAGE | {"client_id": "c-1"})
    assert again.json() == first.json()
    assert ids(chat.bob.get(chat.path)) == [first.json()["id"]]


@pytest.mark.parametrize("place", ["client_id", "Idempotency-Key"])
def test_a_post_that_is_sent_again_is_published_once(people: Any, place: str) -> None:
    ann, bob = people(new_name("ann"), new_name("bob"))

    def publish(person: Person, title: str, key: str = "p-1") -> httpx.Response:
        body = {"title": title, "content": "Текст"}
        if place == "client_id":
            return person.post(POSTS, body | {"client_id": key})
        return person.post(POSTS, body, headers={"Idempotency-Key": key})

    first, again = publish(ann, "once"), publish(ann, "twice")
    others = publish(bob, "Bob's own"), publish(ann, "another", "p-2")

    assert (first.status_code, again.status_code) == (201, 200)
    check_shape(first.json(), POST)
    assert again.json() == first.json()
    assert [each.status_code for each in others] == [201, 201]
    published = ann.get(PROFILE).json()["posts"]
    assert [each["title"] for each in published] == ["once", "another"]


def test_a_client_id_in_the_body_comes_before_the_header(people: Any) -> None:
    (ann,) = people(new_name("ann"))
    body = {"title": "T", "content": "C"}
    first = ann.post(POSTS, body | {"client_id": "in-body"})

    again = ann.post(POSTS, body | {"client_id": "in-body"}, headers={"Idempotency-Key": "other"})
    other = ann.post(POSTS, body, headers={"Idempotency-Key": "other"})

    assert (again.status_code, again.json()) == (200, first.json())
    assert other.status_code == 201


# Section 5 of the contract: who is at the WebSocket


PLACES = ["header", "query", "subprotocol", "cookie"]


def cookie_of(answer: httpx.Response) -> str:
    """Return the cookie of an answer as a browser sends it back."""
    (morsel,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
    return f"{morsel.key}={morsel.value}"


def knock(chat: Chat, tokens: dict[str, str], origin: str | None = None) -> ClientConnection:
    """Open a socket with tokens in some places."""
    headers = {}
    if "header" in tokens:
        headers["Authorization"] = f"Bearer {tokens['header']}"
    if "cookie" in tokens:
        answer = chat.ann.post(REFRESH, {"refresh": chat.ann.refresh})
        name = cookie_of(answer).partition("=")[0]
        headers["Cookie"] = f"{name}={tokens['cookie']}"
    query = {"token": tokens["query"]} if "query" in tokens else {}
    subprotocols = ["bearer", tokens["subprotocol"]] if "subprotocol" in tokens else None
    url = chat.ann.url + chat_path(chat.room["name"], **query)
    return open_socket(url, headers, origin=origin, subprotocols=subprotocols)


def is_admitted(socket: ClientConnection) -> bool:
    """Tell whether a socket may speak; if not, it was closed with 4401."""
    with socket:
        try:
            send_text(socket, "here")
            return bool(hear(socket)["content"] == "here")
        except ConnectionClosedError as closed:
            if closed.rcvd is not None and closed.rcvd.code == 4401:
                return False
            raise


@pytest.mark.parametrize("place", PLACES)
def test_a_token_counts_in_each_of_four_places(old_chat: Chat, place: str) -> None:
    assert is_admitted(knock(old_chat, {place: old_chat.ann.access}, origin=old_chat.ann.url))
    assert not is_admitted(knock(old_chat, {place: "garbage"}, origin=old_chat.ann.url))


@pytest.mark.parametrize(("first", "second"), [*combinations(PLACES, 2)])
def test_the_first_place_that_has_a_token_decides(old_chat: Chat, first: str, second: str) -> None:
    good, own = old_chat.ann.access, old_chat.ann.url

    assert is_admitted(knock(old_chat, {first: good, second: "garbage"}, origin=own))
    assert not is_admitted(knock(old_chat, {first: "garbage", second: good}, origin=own))


def test_the_subprotocol_bearer_is_answered(old_chat: Chat) -> None:
    with knock(old_chat, {"subprotocol": old_chat.ann.access}) as socket_of_ann:
        assert socket_of_ann.subprotocol == "bearer"
    with knock(old_chat, {"header": old_chat.ann.access}) as socket_of_ann:
        assert socket_of_ann.subprotocol is None


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_a_bad_token_opens_no_socket(server: Server, old_chat: Chat, kind: str) -> None:
    token = bad_tokens(server, old_chat.ann)[kind]

    with knock(old_chat, {"header": token}) as refused:
        assert close_code(refused) == 4401


def test_no_token_opens_no_socket(old_chat: Chat) -> None:
    with knock(old_chat, {}) as refused:
        assert close_code(refused) == 4401


@pytest.mark.parametrize(
    "origin", [None, "null", "https://evil.example", "http://127.0.0.1:1", "http://127.0.0.1"]
)
def test_the_cookie_counts_for_no_other_origin(old_chat: Chat, origin: str | None) -> None:
    with knock(old_chat, {"cookie": old_chat.ann.access}, origin=origin) as refused:
        assert close_code(refused) == 4401


@pytest.mark.parametrize("place", ["header", "query", "subprotocol"])
def test_beside_an_explicit_token_any_origin_will_do(old_chat: Chat, place: str) -> None:
    assert is_admitted(
        knock(old_chat, {place: old_chat.ann.access}, origin="https://other.example")
    )


@pytest.mark.parametrize("path", [TOKEN, REFRESH])
def test_the_cookie_goes_to_the_chat_alone_and_to_no_script(
    http: httpx.Client, old_chat: Chat, path: str
) -> None:
    log_in = {"username": old_chat.ann.username, "password": PASSWORD}
    body = log_in if path == TOKEN else {"refresh": old_chat.ann.refresh}

    answer = http.post(path, json=body)

    (morsel,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
    assert morsel["httponly"]
    assert morsel["samesite"] == "Strict"
    assert morsel["path"].startswith("/messenger/ws")
    assert not morsel["domain"]
    headers = {"Cookie": cookie_of(answer)}
    url = old_chat.ann.url + chat_path(old_chat.room["name"])
    assert is_admitted(open_socket(url, headers, origin=old_chat.ann.url))
    rest = http.get(PROFILE, headers=headers)
    check_problem(rest, 401, "not_authenticated")


# Section 5 of the contract: closing, and what is refused before the upgrade


@pytest.mark.parametrize("is_there", [True, False], ids=["other people's", "nobody's"])
def test_no_room_for_you_is_closed_with_4404(old_chat: Chat, people: Any, is_there: bool) -> None:
    (stranger,) = people(new_name())
    room = old_chat.room if is_there else {"name": new_name("no_room")}

    with join(stranger, room) as refused:
        assert close_code(refused) == 4404


@pytest.mark.parametrize("after", ["x", "", "1x", "one"])
def test_an_after_that_is_no_number_is_closed_with_4400(old_chat: Chat, after: str) -> None:
    with join(old_chat.ann, old_chat.room, after=after) as refused:
        assert close_code(refused) == 4400


@pytest.mark.parametrize(
    ("code", "sent"),
    [
        (1002, b"\x81\x01a"),  # a text without a mask
        (1002, b"\xc1\x80\0\0\0\0"),  # RSV1, which no extension has given a meaning
        (1002, b"\x83\x80\0\0\0\0"),  # opcode 3
        (1003, b"\x82\x81\0\0\0\0a"),  # a binary frame
        (1007, b"\x81\x81\0\0\0\0\xff"),  # a text that is no UTF-8
        (1009, b"\x81\xff" + (128 * 1024 + 1).to_bytes(8, "big") + b"\0\0\0\0"),
    ],
)
def test_a_broken_frame_closes_its_socket(old_chat: Chat, code: int, sent: bytes) -> None:
    with join(old_chat.ann, old_chat.room) as socket_of_ann:
        socket_of_ann.socket.sendall(sent)

        assert close_code(socket_of_ann) == code


def test_ten_thousand_escaped_emoji_fit_into_a_frame(old_chat: Chat) -> None:
    text = "😀" * 10_000

    with join(old_chat.ann, old_chat.room) as socket_of_ann:
        socket_of_ann.send(json.dumps({"message": text}, ensure_ascii=True))

        assert hear(socket_of_ann)["content"] == text


def test_a_close_frame_is_answered_with_its_own_code(old_chat: Chat) -> None:
    with join(old_chat.ann, old_chat.room) as socket_of_ann:
        socket_of_ann.close(4999, "bye")

    assert socket_of_ann.protocol.close_rcvd is not None
    assert socket_of_ann.protocol.close_rcvd.code == 4999


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (426, dict.fromkeys(HANDSHAKE)),
        (426, {"Upgrade": None}),
        (426, {"Upgrade": "h2c"}),
        (426, {"Sec-WebSocket-Version": "8"}),
        (426, {"Sec-WebSocket-Version": None}),
        (400, {"Connection": "keep-alive"}),
        (400, {"Sec-WebSocket-Key": None}),
        (400, {"Sec-WebSocket-Key": "short"}),
    ],
)
def test_what_is_no_handshake_is_refused_over_http(
    http: httpx.Client, old_chat: Chat, status: int, changes: dict[str, str | None]
) -> None:
    sent = {name: value for name, value in (HANDSHAKE | changes).items() if value is not None}

    answer = http.get(chat_path(old_chat.room["name"]), headers=sent)

    check_problem(answer, status, None, answer.json().get("errors", ()))
    if status == 426:
        assert answer.headers["Upgrade"].lower() == "websocket"
        assert answer.headers["Sec-WebSocket-Version"] == "13"


# Section 5 of the contract: frames


ERROR_FRAME = {
    "id": None,
    "user": None,
    "content": "Предложение.",
    "timestamp": "2023-12-01T10:00:00Z",
    "error": {"code": "invalid"},
}
BAD_FRAMES = [
    "",
    "not JSON",
    "[]",
    '"text"',
    "null",
    "{}",
    '{"content": "the key of REST"}',
    '{"message": null}',
    '{"message": 1}',
    '{"message": ""}',
    '{"message": " \\n\\t"}',
    '{"message": "\\u0000"}',
    '{"message": "\\ud800"}',
    json.dumps({"message": "x" * 10_001}),
    '{"message": "x", "client_id": ""}',
    '{"message": "x", "client_id": 1}',
    json.dumps({"message": "x", "client_id": "c" * 65}),
]


@pytest.mark.parametrize("sent", BAD_FRAMES, ids=lambda sent: sent[:40])
def test_a_bad_frame_is_answered_to_its_sender_alone(old_chat: Chat, sent: str) -> None:
    with (
        join(old_chat.ann, old_chat.room) as speaker,
        join(old_chat.ann, old_chat.room) as listener,
    ):
        speaker.send(sent)
        answered = hear(speaker)
        send_text(speaker, "still open")

        check_shape(answered, ERROR_FRAME)
        assert hear(speaker)["content"] == hear(listener)["content"] == "still open"


def test_a_bad_frame_is_answered_with_its_client_id(old_chat: Chat) -> None:
    with join(old_chat.ann, old_chat.room) as socket_of_ann:
        send_text(socket_of_ann, " ", client_id="c-1")
        answered = hear(socket_of_ann)

    check_shape(answered, ERROR_FRAME | {"error": {"code": "invalid", "client_id": "c-1"}})
    assert answered["error"]["client_id"] == "c-1"


@pytest.mark.parametrize(("asked", "is_russian"), [(None, True), ("ru", True), ("en", False)])
def test_a_bad_frame_is_answered_in_the_language_of_the_handshake(
    old_chat: Chat, asked: str | None, is_russian: bool
) -> None:
    headers = old_chat.ann.bearer | ({} if asked is None else {"Accept-Language": asked})

    with open_socket(old_chat.ann.url + chat_path(old_chat.room["name"]), headers) as socket_of_ann:
        socket_of_ann.send("{}")

        assert bool(CYRILLIC.search(hear(socket_of_ann)["content"])) == is_russian


def test_every_socket_of_both_members_gets_every_message(chat: Chat) -> None:
    members = (chat.ann, chat.ann, chat.bob, chat.bob)
    with ExitStack() as stack:
        sockets = [stack.enter_context(join(member, chat.room)) for member in members]

        send_text(sockets[0], "by a socket of Ann's")
        said = [hear(sockets[0])]
        said.append(chat.ann.post(chat.path, {"content": "by REST"}).json())
        send_text(sockets[3], "by a socket of Bob's")
        said.append(hear_until(sockets[3], "by a socket of Bob's")[-1])
        chat.bob.post(chat.path, {"content": "end"})
        on_text = [hear_all(each) for each in sockets]

    check_shape(said, [MESSAGE])
    assert [each["user"] for each in said] == [
        *(chat.ann.username, chat.ann.username, chat.bob.username)
    ]
    # Two of them have been listened to in part already.
    assert on_text == [said[1:], said, said, []]


def hear_until(socket: ClientConnection, content: str) -> list[dict[str, Any]]:
    """Return the frames up to one with this content."""
    frames = [hear(socket)]
    while frames[-1]["content"] != content:
        frames.append(hear(socket))
    return frames


def hear_all(socket: ClientConnection) -> list[dict[str, Any]]:
    """Return the frames before the one that says `end`."""
    return hear_until(socket, "end")[:-1]


def test_a_client_id_comes_back_with_its_message(chat: Chat) -> None:
    with join(chat.ann, chat.room) as speaker, join(chat.bob, chat.room) as listener:
        send_text(speaker, "with", client_id="c" * 64)
        send_text(speaker, "without")
        frames = [hear(speaker), hear(speaker)]

        check_shape(frames[0], MESSAGE | {"client_id": "c"})
        check_shape(frames[1], MESSAGE)
        assert frames[0]["client_id"] == "c" * 64
        assert [hear(listener), hear(listener)] == frames


def test_a_repeated_client_id_is_answered_to_its_sender_alone(chat: Chat) -> None:
    with join(chat.ann, chat.room) as speaker, join(chat.ann, chat.room) as listener:
        send_text(speaker, "once", client_id="c-1")
        said = [hear(speaker)]
        send_text(speaker, "something else")
        said.append(hear(speaker))
        send_text(speaker, "twice", client_id="c-1")
        repeated = hear(speaker)
        send_text(speaker, "end")

        assert repeated == said[0]
        assert hear_all(speaker) == []
        assert hear_all(listener) == said
    assert len(ids(chat.ann.get(chat.path))) == 3


def test_a_client_id_is_known_to_one_user_in_one_room(chat: Chat, bob: Person) -> None:
    elsewhere = chat.ann.open_room(bob)
    said = {"content": "x", "client_id": "c-1"}

    statuses = [
        chat.ann.post(chat.path, said).status_code,
        chat.bob.post(chat.path, said).status_code,
        chat.ann.post(messages_path(elsewhere), said).status_code,
        chat.ann.post(chat.path, said).status_code,
    ]

    assert statuses == [201, 201, 201, 200]


def test_a_message_by_rest_and_its_repeat_by_a_socket_are_one(chat: Chat) -> None:
    posted = chat.ann.post(chat.path, {"content": "once", "client_id": "c-1"}).json()

    with join(chat.ann, chat.room) as socket_of_ann:
        send_text(socket_of_ann, "twice", client_id="c-1")

        assert hear(socket_of_ann) == posted


def test_a_socket_goes_on_where_it_was_left(chat: Chat) -> None:
    said = [chat.ann.post(chat.path, {"content": f"{number}"}).json() for number in range(5)]

    def heard_after(**query: object) -> list[dict[str, Any]]:
        with join(chat.bob, chat.room, **query) as socket_of_bob:
            chat.ann.post(chat.path, {"content": "end"}).raise_for_status()
            return [each for each in hear_all(socket_of_bob) if each in said]

    assert heard_after() == []
    assert heard_after(after=said[1]["id"]) == said[2:]
    assert heard_after(after=10**30) == []


def test_socket_that_begins_at_zero_gets_everything_and_what_follows(chat: Chat) -> None:
    said = [chat.ann.post(chat.path, {"content": f"{number}"}).json() for number in range(5)]

    with join(chat.bob, chat.room, after=0) as socket_of_bob:
        said.append(chat.ann.post(chat.path, {"content": "live"}).json())
        chat.ann.post(chat.path, {"content": "end"})

        assert hear_all(socket_of_bob) == said


def test_what_is_said_right_after_the_upgrade_is_heard(old_chat: Chat) -> None:
    with join(old_chat.bob, old_chat.room) as socket_of_bob:
        posted = old_chat.ann.post(old_chat.path, {"content": "at once"}).json()

        assert hear(socket_of_bob) == posted


def test_no_extension_is_negotiated(old_chat: Chat) -> None:
    with join(old_chat.ann, old_chat.room) as socket_of_ann:
        request, response = socket_of_ann.request, socket_of_ann.response

    assert request is not None
    assert response is not None
    assert "permessage-deflate" in request.headers["Sec-WebSocket-Extensions"]
    assert "Sec-WebSocket-Extensions" not in response.headers


def test_no_token_reaches_the_log(server: Server, old_chat: Chat) -> None:
    with (
        knock(old_chat, {"query": old_chat.ann.access}),
        knock(old_chat, {"subprotocol": old_chat.bob.access}),
    ):
        old_chat.ann.get(old_chat.path, params={"token": old_chat.ann.access})

    log = server.log.read_text()
    assert "/messenger/api/chatrooms/" in log
    for person in (old_chat.ann, old_chat.bob):
        assert person.access not in log
        assert person.refresh not in log
