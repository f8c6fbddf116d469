"""How often who may do what: met, told, released; and who is none the worse for it."""

import io
import itertools
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from flask_migrate import upgrade
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from werkzeug.test import TestResponse

from app import create_app
from app.accounts.usernames import folded
from app.http.addresses import client_network
from app.limits.password_guesses import remember_network
from app.limits.rules import FRAMES_MAX, REFUSALS_MAX, Rate, consume, consume_file
from app.limits.status import Throttled
from app.services import services
from tests.conftest import make_config, sqlite_url
from tests.factories import PASSWORD, Person, make_person, new_name
from tests.openapi.documented import Document
from tests.problems import check_problem
from tests.servers import Server
from tests.talk import chat_path, close_code, hear, messages_path, open_socket, send_text
from tests.visitors import Visitor
from tests.visitors import register as register_visitor

USERS = "/accounts/api/users/"
TOKEN = "/accounts/api/token/"
REFRESH = "/accounts/api/token/refresh/"
PASSWORD_PATH = "/accounts/api/password/"
PROFILE = "/profiles/api/profile/"
POSTS = "/profiles/api/posts/"
SEARCH = "/profiles/api/search-user/"
HEADERS = {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}

AMOUNT = 3
SECONDS = 2
MESSAGES = 20
SOCKETS = 3
RATE = f"{AMOUNT}/{SECONDS} seconds"
SETTINGS = {
    "RATELIMIT_ENABLED": "true",
    "RATELIMIT_LOGIN": RATE,
    "RATELIMIT_LOGIN_ACCOUNT": f"{AMOUNT}/hour",
    "RATELIMIT_REGISTRATION": RATE,
    "RATELIMIT_SEARCH": RATE,
    "RATELIMIT_POSTS": RATE,
    "RATELIMIT_UPLOADS": RATE,
    "RATELIMIT_MESSAGES": f"{MESSAGES}/{SECONDS} seconds",
    "RATELIMIT_HANDSHAKES": "10/2 seconds",
    "SOCKETS_PER_USER": str(SOCKETS),
    "PROXY_HOPS": "1",  # so that a test may come from wherever it likes
}

_addresses = itertools.count(1)


def new_address() -> str:
    """Return an address that no other test comes from."""
    return "10.{}.{}.{}".format(*next(_addresses).to_bytes(3))


def come_from(address: str) -> dict[str, str]:
    """Return the header by which a proxy tells the address."""
    return {"X-Forwarded-For": address}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with limits so small that they are met and released while one looks."""
    with Server(tmp_path_factory.mktemp("limited"), SETTINGS) as server:
        yield server


@pytest.fixture
def stranger(limited: Server) -> Iterator[httpx.Client]:
    """Somebody who is not logged in, and whose address is their own."""
    with httpx.Client(
        base_url=limited.url, headers=come_from(new_address()), verify=False
    ) as stranger:
        yield stranger


@pytest.fixture
def somebody(limited: Server) -> Callable[[], Person]:
    """Make a person who comes from an address of their own."""
    return lambda: make_person(limited.url, headers=come_from(new_address()))


def make_app(folder: Path, **settings: str) -> Flask:
    app = create_app(
        make_config(folder, sqlite_url(folder), **{"RATELIMIT_ENABLED": "true"} | settings)
    )
    with app.app_context():
        upgrade()
    return app


@pytest.fixture
def default_app(tmp_path: Path) -> Iterator[Flask]:
    """The application with the limits that it ships with."""
    app = make_app(tmp_path)
    yield app
    services(app).engine.dispose()


def join(person: Person, room: dict[str, Any]) -> ClientConnection:
    """Open somebody's socket in a room, from the address that is theirs."""
    here = {name: person.http.headers[name] for name in ("Authorization", "X-Forwarded-For")}
    return open_socket(person.url + chat_path(room["name"]), here)


def credentials(username: str, password: str = PASSWORD) -> dict[str, str]:
    return {"username": username, "password": password}


def until_refused(ask: Callable[[], Any]) -> list[Any]:
    """Ask until it is too often, and return all answers."""
    answers = [ask()]
    while answers[-1].status_code != 429:
        assert len(answers) < 50
        answers.append(ask())
    return answers


def until_granted(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask until it is not too often any more."""
    deadline = time.monotonic() + SECONDS + 5
    while (answer := ask()).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return answer


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


# What a limit looks like, one after the other


def register(server: Server, somebody: Callable[[], Person]) -> Callable[[], httpx.Response]:
    headers = come_from(new_address())
    return lambda: httpx.post(server.url + USERS, json={"username": new_name()}, headers=headers)


def log_in(server: Server, somebody: Callable[[], Person]) -> Callable[[], httpx.Response]:
    headers = come_from(new_address())
    return lambda: httpx.post(server.url + TOKEN, json=credentials(new_name()), headers=headers)


def search(server: Server, somebody: Callable[[], Person]) -> Callable[[], httpx.Response]:
    person = somebody()
    return lambda: person.get(SEARCH, params={"username": person.username})


def write_post(server: Server, somebody: Callable[[], Person]) -> Callable[[], httpx.Response]:
    person = somebody()
    return lambda: person.post(POSTS, {"title": "Пост", "content": "Текст"})


def upload(server: Server, somebody: Callable[[], Person]) -> Callable[[], httpx.Response]:
    person = somebody()
    return lambda: person.http.patch(PROFILE, files={"image": ("a.png", png(), "image/png")})


def post_message(server: Server, somebody: Callable[[], Person]) -> Callable[[], httpx.Response]:
    person = somebody()
    room = person.open_room(somebody())
    return lambda: person.post(messages_path(room), {"content": "Привет!"})


LIMITED = {
    "registration": (register, AMOUNT, 400),
    "login": (log_in, AMOUNT, 401),
    "search": (search, AMOUNT, 200),
    "posts": (write_post, AMOUNT, 201),
    "uploads": (upload, AMOUNT, 200),
    "messages": (post_message, MESSAGES, 201),
}


@pytest.fixture(scope="module")
def document(limited: Server) -> Document:
    """What the API says of itself."""
    return Document(httpx.get(f"{limited.url}/api/openapi.json").json())


@pytest.mark.parametrize(("what", "amount", "status"), LIMITED.values(), ids=LIMITED)
def test_too_often_is_refused_and_later_it_is_not(
    limited, document, somebody, what, amount, status
) -> None:
    ask, of_another = what(limited, somebody), what(limited, somebody)

    *granted, refused = until_refused(ask)
    other = of_another()

    assert len(granted) >= amount
    assert {each.status_code for each in granted} == {status}
    assert [each.headers["X-RateLimit-Limit"] for each in granted] == [str(amount)] * len(granted)
    left = [int(each.headers["X-RateLimit-Remaining"]) for each in granted]
    assert left[0] == amount - 1
    assert left[-1] == 0
    check_problem(refused, 429, "throttled")
    assert refused.headers["X-RateLimit-Limit"] == str(amount)
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert 1 <= int(refused.headers["Retry-After"]) <= SECONDS
    assert 0 <= int(refused.headers["X-RateLimit-Reset"]) - time.time() + 1 <= SECONDS + 2
    assert all("Retry-After" not in each.headers for each in granted)
    for each in (granted[0], refused):
        asked = each.request
        document.check(asked.method, str(asked.url), each.status_code, each.headers, each.content)
    assert other.status_code == status
    assert until_granted(ask).status_code == status


def test_whoever_waits_as_long_as_told_is_granted(limited, somebody) -> None:
    ask = search(limited, somebody)
    *_, refused = until_refused(ask)

    time.sleep(int(refused.headers["Retry-After"]))

    assert ask().status_code == 200


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("ru", "Слишком часто. Пожалуйста, попробуйте чуть позже."),
        ("en", "That was too often. Please try again a little later."),
    ],
)
def test_refusal_is_in_the_language_asked_for(default_app, language, sentence) -> None:
    client = default_app.test_client()
    services(default_app).limits.rates["registration"] = Rate.parse("1/hour")

    refused = until_refused(
        lambda: client.post(USERS, json={}, headers={"Accept-Language": language})
    )[-1]

    assert refused.json["detail"] == sentence


def test_what_is_not_limited_says_nothing_of_limits(limited, somebody) -> None:
    person = somebody()

    for answer in (person.get(PROFILE), person.get(POSTS), httpx.get(f"{limited.url}/healthz")):
        assert not HEADERS & set(answer.headers)


def test_what_is_counted_by_user_follows_them_everywhere_and_concerns_no_neighbour(
    limited, somebody
) -> None:
    person, neighbour = somebody(), somebody()
    neighbour.http.headers["X-Forwarded-For"] = person.http.headers["X-Forwarded-For"]

    def search_from_anywhere() -> httpx.Response:
        return person.get(
            SEARCH, params={"username": person.username}, headers=come_from(new_address())
        )

    until_refused(search_from_anywhere)

    assert neighbour.get(SEARCH, params={"username": person.username}).status_code == 200


def test_change_of_bio_is_no_upload(limited, somebody) -> None:
    person = somebody()

    answers = [person.http.patch(PROFILE, json={"bio": str(n)}) for n in range(AMOUNT + 2)]

    assert {answer.status_code for answer in answers} == {200}


def test_unread_body_of_a_refused_picture_does_no_harm(limited, somebody) -> None:
    person = somebody()
    large = {"image": ("a.png", png() + b"\0" * 3_000_000, "image/png")}

    refused = until_refused(lambda: person.http.patch(PROFILE, files=large))[-1]

    check_problem(refused, 429, "throttled")
    assert person.get(PROFILE).status_code == 200


# Addresses


def test_addresses_that_a_client_makes_up_are_not_believed(tmp_path: Path) -> None:
    app = make_app(tmp_path, RATELIMIT_LOGIN="2/minute")
    client = app.test_client()

    answers = [
        client.post(TOKEN, json=credentials("nobody"), headers=come_from(new_address()))
        for _ in range(3)
    ]
    services(app).engine.dispose()

    assert [answer.status_code for answer in answers] == [401, 401, 429]


def test_office_of_fifty_behind_one_address_meets_no_limit(default_app) -> None:
    with default_app.test_request_context(environ_base={"REMOTE_ADDR": "192.0.2.1"}):
        here = client_network()
        for _ in range(50 * 3):  # all register within an hour, with two mistakes each
            consume("registration", here)
        for _ in range(50 * 3):  # all log in within a minute, with two mistakes each
            consume("login", here)
        for _ in range(50):  # all have to choose a new password within an hour
            consume("reset", here)
        for _ in range(50 * 20 * 2):  # all programs lose their sockets, and need two attempts
            consume("handshakes", here)


def test_person_meets_no_limit(default_app) -> None:
    with default_app.test_request_context(environ_base={"REMOTE_ADDR": "192.0.2.1"}):
        for _ in range(10):  # does not find the paper with the password for a while
            consume("login_account", "ann")
        for _ in range(5 * 30):  # searches while typing, half a minute long
            consume("search", "1")
        for _ in range(10):
            consume("posts", "1")
        for _ in range(150):  # sends the pictures of a journey, and some again
            consume("uploads", "1")
            consume_file(1, 5_000_000)
    limits = services(default_app).limits
    assert [limits.message_wait(1, "x") for _ in range(200)] == [0.0] * 200  # was offline for a day


def test_bytes_of_files_have_a_limit_and_what_is_refused_does_not_count(
    tmp_path: Path,
) -> None:
    app = make_app(tmp_path, RATELIMIT_FILES="100/hour")
    ann, bob = (register_visitor(app.test_client()) for _ in range(2))

    def send(who: Visitor, size: int) -> TestResponse:
        file = (io.BytesIO(b"x" * size), "a.bin")
        form = {"data": {"file": file}, "content_type": "multipart/form-data"}
        return who.http.post("/messenger/api/uploads/", headers=who.headers, **form)

    assert send(ann, 60_000).status_code == 201
    for _ in range(3):
        refused = send(ann, 60_000)
        check_problem(refused, 429, "throttled")
        assert int(refused.headers["Retry-After"]) > 3000
    assert send(bob, 60_000).status_code == 201
    assert send(ann, 20_000).status_code == 201
    check_problem(send(ann, 20_000), 429, "throttled")
    services(app).engine.dispose()


# Passwords


def guess(server: Server, username: str, address: str, password: str = "wrong") -> int:
    return httpx.post(
        server.url + TOKEN, json=credentials(username, password), headers=come_from(address)
    ).status_code


@pytest.mark.parametrize("is_there", [True, False], ids=["an account", "no account"])
def test_guesses_from_many_addresses_meet_the_limit_of_the_account(
    limited, somebody, is_there
) -> None:
    name = somebody().username if is_there else new_name()

    statuses = [guess(limited, name.swapcase(), new_address()) for _ in range(AMOUNT + 2)]

    assert statuses == [401] * AMOUNT + [429] * 2
    assert guess(limited, new_name(), new_address()) == 401


def test_a_crowd_of_guesses_at_once_is_counted_before_it_is_answered(limited, somebody) -> None:
    name = somebody().username

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda _: guess(limited, name, new_address()), range(20)))

    assert sorted(statuses) == [401] * AMOUNT + [429] * (20 - AMOUNT)


def test_strangers_do_not_lock_the_owner_out(limited, somebody) -> None:
    owner = somebody()
    home = owner.http.headers["X-Forwarded-For"]
    while guess(limited, owner.username, new_address()) != 429:
        pass

    assert guess(limited, owner.username, home, PASSWORD) == 200
    assert owner.get(PROFILE).status_code == 200
    assert owner.post(REFRESH, {"refresh": owner.refresh}).status_code == 200
    # There is nothing by which to tell the owner on a journey from the strangers …
    assert guess(limited, owner.username, new_address(), PASSWORD) == 429


def test_network_of_a_finished_reset_may_log_in(tmp_path: Path) -> None:
    app = make_app(tmp_path, RATELIMIT_LOGIN_ACCOUNT="2/hour", PROXY_HOPS="1")
    client = app.test_client()
    client.post(USERS, json=credentials("Ann") | {"email": "ann@example.com"})

    def log_in(address: str, password: str = PASSWORD) -> int:
        body = credentials("ann", password)
        return client.post(TOKEN, json=body, headers=come_from(address)).status_code

    for _ in range(3):
        log_in(new_address(), "wrong")
    hotel = new_address()
    before = log_in(hotel)
    with app.test_request_context(environ_base={"REMOTE_ADDR": hotel}):
        remember_network(folded("Ann"))  # … but who follows the link of a reset is the owner
    after = log_in(hotel)
    services(app).engine.dispose()

    assert (before, after) == (429, 200)


def test_guesses_from_a_familiar_network_are_limited_too(limited, somebody) -> None:
    owner = somebody()
    home = owner.http.headers["X-Forwarded-For"]

    statuses = []
    while 429 not in statuses[AMOUNT:]:
        # The limit by address is met now and then as well.
        statuses.append(guess(limited, owner.username, home))
        assert len(statuses) < 50
        time.sleep(SECONDS / AMOUNT)

    assert statuses.count(401) == AMOUNT
    assert guess(limited, owner.username, new_address()) == 401  # elsewhere nobody has guessed


def test_right_passwords_do_not_count(tmp_path: Path) -> None:
    app = make_app(tmp_path, RATELIMIT_LOGIN_ACCOUNT="2/hour")
    client = app.test_client()
    client.post(USERS, json=credentials("ann") | {"email": "ann@example.com"})

    statuses = {client.post(TOKEN, json=credentials("ann")).status_code for _ in range(6)}
    services(app).engine.dispose()

    assert statuses == {200}


def test_guess_that_was_not_answered_does_not_count(tmp_path: Path) -> None:
    app = make_app(tmp_path, RATELIMIT_LOGIN_ACCOUNT="2/hour")
    client = app.test_client()
    with sqlite3.connect(tmp_path / "beseda.db") as database:
        database.execute("ALTER TABLE users RENAME TO away")
    statuses = [client.post(TOKEN, json=credentials("ann")).status_code for _ in range(4)]
    with sqlite3.connect(tmp_path / "beseda.db") as database:
        database.execute("ALTER TABLE away RENAME TO users")
    database.close()
    statuses += [client.post(TOKEN, json=credentials("ann")).status_code for _ in range(3)]
    services(app).engine.dispose()

    assert statuses[:4] == [500] * 4
    assert statuses[4:] == [401, 401, 429]


def test_account_is_released_after_its_time(tmp_path: Path) -> None:
    app = make_app(tmp_path, RATELIMIT_LOGIN_ACCOUNT="1/second")
    client = app.test_client()

    def ask() -> Any:
        return client.post(TOKEN, json=credentials("nobody"))

    refused = until_refused(ask)[-1]
    time.sleep(int(refused.headers["Retry-After"]))
    released = ask()
    services(app).engine.dispose()

    assert released.status_code == 401


def test_password_is_not_guessed_with_a_stolen_token_either(somebody, stranger) -> None:
    victim = somebody()
    body = {"old_password": "wrong", "new_password": "a much better one"}

    answers = [
        stranger.post(PASSWORD_PATH, json=body, headers=victim.bearer) for _ in range(AMOUNT + 1)
    ]

    assert [answer.status_code for answer in answers] == [400] * AMOUNT + [429]
    change = victim.post(PASSWORD_PATH, body | {"old_password": PASSWORD})
    assert change.status_code == 200  # the owner is not kept from it


# Sockets


def hear_all(socket: Any) -> tuple[list[dict[str, Any]], int | None]:
    """Return what comes until the socket is closed, and the code."""
    frames = []
    with suppress(ConnectionClosed):
        while True:
            frames.append(hear(socket))
    return frames, socket.close_code


def test_flooder_is_refused_then_closed_and_others_are_not_harmed(limited, somebody) -> None:
    ann, bob, eve = somebody(), somebody(), somebody()
    room, other_room = ann.open_room(bob), bob.open_room(eve)
    with join(ann, room) as flood, join(bob, room) as ear, join(eve, other_room) as quiet:
        for number in range(MESSAGES + REFUSALS_MAX + 200):
            send_text(flood, f"{number}", client_id=f"id-{number}")
        frames, code = hear_all(flood)
        echoed = [frame["client_id"] for frame in frames if frame["id"] is not None]
        refused = [frame for frame in frames if frame["id"] is None]

        assert code == 4429
        assert len(echoed) >= MESSAGES
        assert len(refused) == REFUSALS_MAX
        for frame in refused:
            assert frame["error"]["code"] == "throttled"
            assert frame["content"] == "Слишком часто. Пожалуйста, попробуйте чуть позже."
        told = [frame["error"]["client_id"] for frame in refused]
        assert len(set(told)) == REFUSALS_MAX
        assert not set(told) & set(echoed)

        # What was acknowledged, and nothing else, is stored and was heard.
        stored = [each["content"] for each in bob.get(messages_path(room)).json()]
        assert echoed == [f"id-{each}" for each in stored]
        assert [hear(ear)["content"] for _ in stored] == stored

        send_text(quiet, "unharmed")
        assert hear(quiet)["content"] == "unharmed"
        send_text(ear, "me too")
        assert hear(ear)["content"] == "me too"


def test_whoever_is_told_and_waits_goes_on(limited, somebody) -> None:
    ann, bob = somebody(), somebody()
    with join(ann, ann.open_room(bob)) as socket:
        for number in range(3 * MESSAGES):
            send_text(socket, str(number))
        frames = [hear(socket) for _ in range(3 * MESSAGES)]
        assert any(frame["id"] is None for frame in frames)

        time.sleep(SECONDS / MESSAGES * 2)
        send_text(socket, "now")

        assert hear(socket)["content"] == "now"


def test_rest_and_sockets_draw_from_one_bucket(limited, somebody) -> None:
    ann, bob = somebody(), somebody()
    room = ann.open_room(bob)
    with join(ann, room) as one, join(ann, room) as other:
        for number in range(MESSAGES):
            send_text(one if number % 2 else other, str(number))
        for _ in range(MESSAGES):
            hear(one)
            hear(other)

        *_, refused = until_refused(lambda: ann.post(messages_path(room), {"content": "REST"}))

        check_problem(refused, 429, "throttled")
        send_text(one, "socket")
        while (frame := hear(one))["content"] == "REST":
            hear(other)
        assert frame["error"]["code"] == "throttled"
    assert bob.post(messages_path(room), {"content": "not mine"}).status_code == 201


def test_edits_count_like_messages(limited, somebody) -> None:
    ann, bob = somebody(), somebody()
    path = messages_path(ann.open_room(bob))
    message = ann.post(path, {"content": "first"}).json()["id"]

    answers = until_refused(
        lambda: ann.http.patch(f"{path}{message}/", json={"content": str(time.time())})
    )

    assert len(answers) > MESSAGES / 2
    check_problem(answers[-1], 429, "throttled")


def test_text_of_a_person_is_bounded_by_its_bytes(tmp_path: Path) -> None:
    app = make_app(tmp_path, RATELIMIT_TEXT="100/day")  # kB
    client = app.test_client()
    ann, bob = register_visitor(client), register_visitor(client)
    path = f"/messenger/api/chatrooms/{ann.open_room(bob)}/messages/"
    long = "😀" * 10_000  # 40 kB

    statuses = [ann.post(path, {"content": long}).status_code for _ in range(3)]
    post = ann.post(POSTS, {"title": "t", "content": long})
    short = ann.post(path, {"content": "short"})
    of_another = bob.post(path, {"content": long})

    assert statuses == [201, 201, 429]
    assert (post.status_code, short.status_code, of_another.status_code) == (429, 201, 201)
    assert 40_000 * 0.4 < int(post.headers["Retry-After"]) < 86_400


def test_changes_of_what_exists_are_limited(tmp_path: Path) -> None:
    client = make_app(tmp_path, RATELIMIT_CHANGES="5/hour").test_client()
    ann, bob = register_visitor(client), register_visitor(client)
    name = ann.open_room(bob)  # the first
    room = f"/messenger/api/chatrooms/{name}/"
    message = ann.post(f"{room}messages/", {"content": "x"}).json["id"]
    post = ann.post(POSTS, {"title": "t", "content": "x"}).json["id"]

    statuses = [
        ann.post(f"{room}read/", {"read_id": message}).status_code,
        ann.post("/profiles/api/add-friend/", {"username": bob.username}).status_code,
        ann.patch(f"{POSTS}{post}/", {"content": "y"}).status_code,
        ann.delete(f"{room}messages/{message}/").status_code,
        ann.patch("/accounts/api/settings/", {}).status_code,
        ann.post("/profiles/api/blocks/", {"username": bob.username}).status_code,
    ]

    assert statuses == [200, 200, 200, 204, 429, 429]
    assert bob.post(f"{room}read/", {"read_id": message}).status_code == 200


def test_nonsense_counts_like_messages(limited, somebody) -> None:
    ann, bob = somebody(), somebody()
    with join(ann, ann.open_room(bob)) as socket:
        for _ in range(MESSAGES + REFUSALS_MAX + 200):
            socket.send("{")
        frames, code = hear_all(socket)

    assert code == 4429
    assert {frame["error"]["code"] for frame in frames} == {"invalid", "throttled"}


def test_frames_of_streams_are_counted_by_user_whatever_the_socket(limited, somebody) -> None:
    ann, bob = somebody(), somebody()
    active = json.dumps({"type": "active", "active": True})

    def flood(count: int) -> int | None:
        with open_socket(f"{limited.url}/messenger/ws/events/", ann.bearer) as stream:
            with suppress(ConnectionClosed):
                for _ in range(count):
                    stream.send(active)
            return hear_all(stream)[1]

    assert flood(FRAMES_MAX + 200) == 4429
    assert flood(FRAMES_MAX // 2) == 4429  # a new socket brings no new frames
    with open_socket(f"{limited.url}/messenger/ws/events/", bob.bearer) as stream:
        stream.send(json.dumps({"type": "ping", "ref": "x"}))
        while hear(stream)["type"] != "pong":
            pass


def test_one_socket_too_many_is_accepted_and_closed(limited, somebody) -> None:
    ann, bob = somebody(), somebody()
    room = ann.open_room(bob)
    with ExitStack() as stack:
        sockets = [stack.enter_context(join(ann, room)) for _ in range(SOCKETS)]

        with join(ann, room) as one_too_many:
            assert close_code(one_too_many) == 4429
        with join(bob, room) as of_another:
            send_text(of_another, "unharmed")
            assert [hear(each)["content"] for each in sockets] == ["unharmed"] * SOCKETS

        sockets[0].close()
        with join(ann, room) as again:
            send_text(again, "there is room again")
            assert hear(again)["content"] == "there is room again"


def test_hundred_sockets_are_allowed_by_default(default_app) -> None:
    limits = services(default_app).limits

    assert limits.may_open_socket(99)
    assert not limits.may_open_socket(100)


def test_handshakes_of_one_address_are_refused_before_the_upgrade(limited, somebody) -> None:
    ann, bob = somebody(), somebody()
    url = limited.url + f"/messenger/ws/ws/chat/{ann.open_room(bob)['name']}/"
    headers = ann.bearer | come_from(new_address())

    def open_many() -> None:
        for _ in range(30):
            with open_socket(url, headers):
                pass

    with pytest.raises(InvalidStatus) as refused:
        open_many()
    with open_socket(url, ann.bearer | come_from(new_address())):
        pass

    answer = refused.value.response
    assert answer.status_code == 429
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Retry-After"]
    assert json.loads(answer.body or b"")["code"] == "throttled"


# Without limits


def test_nothing_is_limited_when_limits_are_off(server: Server) -> None:
    ann, bob, eve = (make_person(server.url, headers=come_from("")) for _ in range(3))
    room, quiet_room = ann.open_room(bob), ann.open_room(eve)
    sayings = [str(number) for number in range(300 + REFUSALS_MAX + 50)]
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(join(ann, quiet_room))
        socket = stack.enter_context(join(ann, room))
        for each in sayings:
            send_text(socket, each)
        on_text = [hear(socket)["content"] for _ in sayings]
    searched = ann.get(SEARCH, params={"username": bob.username})
    posted = ann.post(messages_path(room), {"content": "!"})
    guesses = [guess(server, ann.username, "") for _ in range(21)]

    assert on_text == sayings
    assert (searched.status_code, posted.status_code) == (200, 201)
    assert guesses == [401] * 21
    assert not HEADERS & {*searched.headers, *posted.headers}


def test_refusal_is_raised_where_a_rule_is_spent_by_hand(tmp_path: Path) -> None:
    app = make_app(tmp_path, RATELIMIT_RESET_ACCOUNT="1/hour")
    with app.test_request_context():
        consume("reset_account", "ann@example.com")
        with pytest.raises(Throttled):
            consume("reset_account", "ann@example.com")
        consume("reset_account", "bob@example.com")
    services(app).engine.dispose()


def test_nothing_is_raised_where_limits_are_off(tmp_path: Path) -> None:
    app = make_app(tmp_path, RATELIMIT_ENABLED="false", RATELIMIT_RESET_ACCOUNT="1/hour")
    with app.test_request_context():
        rate_limit_statuses = [consume("reset_account", "ann@example.com") for _ in range(3)]
    services(app).engine.dispose()

    assert rate_limit_statuses == [None] * 3
