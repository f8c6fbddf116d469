"""Presence, typing, blocks and removals between real workers: two on one machine, one on another."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from websockets.sync.client import ClientConnection

from tests.delivery.machines import children, wait_for
from tests.factories import PASSWORD, Person, log_in, make_person, new_name
from tests.messenger.test_stream import Frame, ask, call, frames_until, next_frame, open_stream
from tests.servers import ROOT, Server
from tests.services import Databases
from tests.talk import SECONDS, close_code, hear, join, messages_path, send_text

API = "/messenger/api/"
PRESENCE = f"{API}presence/"
HEALED_SECONDS = 75.0  # the promise: so long may somebody seem online after their worker was killed
ENDED_SECONDS = 2.0  # … and so long may a socket outlive the right to have it
Room = Mapping[str, Any]


class Site(NamedTuple):
    """Two machines with one database: two workers here, one there."""

    here: Server
    there: Server


@pytest.fixture(scope="module", params=["notify", "redis"])
def site(
    request: pytest.FixtureRequest,
    databases: Databases,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    url = databases.create()
    settings = {"DATABASE_URL": url, "METRICS_TOKEN": "x" * 32}
    if request.param == "redis":
        settings["REDIS_URL"] = request.getfixturevalue("redis_url")
    folders = [tmp_path_factory.mktemp(name) for name in ("here", "there")]
    with (
        Server(folders[0], settings | {"WEB_CONCURRENCY": "2"}) as here,
        Server(folders[1], settings) as there,
    ):
        yield Site(here, there)
    databases.drop(url)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def moved(person: Person, server: Server) -> Person:
    """Return somebody who talks to another machine."""
    return log_in(replace(person, url=server.url))


def worker_of(server: Server, ws: ClientConnection) -> int:
    """Return the process that has the server's end of a socket."""
    found = None

    def is_found() -> bool:
        # Descriptors come and go while they are listed.
        nonlocal found
        found = _find_worker(server, ws)
        return found is not None

    wait_for(is_found, SECONDS, "a worker has the socket")
    assert found is not None
    return found


def _find_worker(server: Server, ws: ClientConnection) -> int | None:
    ends = (f"0100007F:{server.port:04X}", f"0100007F:{ws.socket.getsockname()[1]:04X}")
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    (inode,) = [row[9] for row in rows if (row[1], row[2]) == ends]
    assert server.process
    for pid in children(server.process.pid):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return pid
    return None


def ready(stack: ExitStack, person: Person) -> ClientConnection:
    """Open somebody's stream; it is closed with the stack."""
    ws = stack.enter_context(open_stream(person))
    frames_until(ws, "ready")
    return ws


def elsewhere(
    stack: ExitStack, server: Server, ws: ClientConnection, opened: Callable[[], ClientConnection]
) -> ClientConnection:
    """Open sockets until one is with another worker of the same server than a socket is."""
    deadline = time.monotonic() + 4 * SECONDS
    while True:
        other = stack.enter_context(opened())
        if worker_of(server, other) != worker_of(server, ws):
            return other
        assert time.monotonic() < deadline, "all sockets are with one worker"


def wait_until_online(viewer: Person, names: list[str]) -> None:
    """Wait until somebody sees these people online, and nobody else."""
    wait_for(lambda: viewer.get(PRESENCE).json() == names, SECONDS, f"{names} are online")


def soft(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if frame["type"] in ("typing", "presence")]


def test_typing_crosses_workers_and_machines_to_nobody_else(site: Site, stack: ExitStack) -> None:
    ann, bob, eve = (make_person(site.here.url) for _ in range(3))
    room = ann.open_room(bob)
    eves = moved(eve, site.there)
    hers = ready(stack, ann)
    beside = elsewhere(stack, site.here, hers, lambda: open_stream(bob))
    away = ready(stack, moved(bob, site.there))
    strangers = [ready(stack, eve), ready(stack, eves)]
    frames_until(beside, "ready")

    assert ask(hers, type="typing", room=room["name"])["type"] == "done"

    typing = {"type": "typing", "room": room["name"], "user": ann.username}
    assert next_frame(beside, "typing") == typing
    assert next_frame(away, "typing") == typing
    # A stranger is told nothing, and tells nobody.
    assert ask(strangers[1], type="typing", room=room["name"])["code"] == "room_not_found"
    moved(ann, site.there).post(messages_path(room), {"content": "the end"})
    for ws in (beside, away):
        assert soft(frames_until(ws, "message")) == []
    eves.post(messages_path(eve.open_room(make_person(ann.url))), {"content": "the end"})
    for ws in strangers:
        assert soft(frames_until(ws, "message")) == []


def test_presence_crosses_workers_and_machines_to_nobody_else(site: Site, stack: ExitStack) -> None:
    ann, bob, eve = (make_person(site.here.url) for _ in range(3))
    ann.open_room(bob)
    bobs, eves = moved(bob, site.there), moved(eve, site.there)
    hers = ready(stack, ann)
    beside = elsewhere(stack, site.here, hers, lambda: open_stream(bob))
    away, stranger = ready(stack, bobs), ready(stack, eves)

    for is_active in (True, False):
        ask(hers, type="active", active=is_active)
        online = {"type": "presence", "user": ann.username, "online": is_active}
        assert next_frame(beside, "presence") == online
        assert next_frame(away, "presence") == online
        names = [ann.username] if is_active else []
        for who in (bob, bobs):
            wait_until_online(who, names)
        assert eve.get(PRESENCE).json() == eves.get(PRESENCE).json() == []
    eves.post(messages_path(eve.open_room(make_person(ann.url))), {"content": "the end"})
    assert soft(frames_until(stranger, "message")) == []


def test_machine_that_is_started_again_learns_who_is_online(site: Site, stack: ExitStack) -> None:
    ann, bob = make_person(site.here.url), make_person(site.here.url)
    ann.open_room(bob)
    hers = ready(stack, ann)
    ask(hers, type="active", active=True)

    site.there.stop()
    site.there.start()

    bobs = moved(bob, site.there)
    wait_until_online(bobs, [ann.username])


@pytest.mark.long
def test_people_of_a_killed_worker_go_offline_and_no_others(site: Site, stack: ExitStack) -> None:
    ann, bob, eve = (make_person(site.here.url) for _ in range(3))
    for other in (ann, eve):
        bob.open_room(other)
    bobs = moved(bob, site.there)
    hers = ready(stack, ann)
    beside = elsewhere(stack, site.here, hers, lambda: open_stream(bob))
    eves = elsewhere(stack, site.here, hers, lambda: open_stream(eve))
    away = ready(stack, bobs)
    for ws in (hers, eves):
        ask(ws, type="active", active=True)
    both = {ann.username, eve.username}
    for who in (bob, bobs):
        wait_until_online(who, sorted(both))
    for ws in (beside, away):
        assert {next_frame(ws, "presence")["user"] for _ in both} == both

    os.kill(worker_of(site.here, hers), signal.SIGKILL)
    killed_at = time.monotonic()

    heard: dict[ClientConnection, Frame] = {}
    while len(heard) < 2:
        assert time.monotonic() < killed_at + HEALED_SECONDS
        ask(eves, type="active", active=True)  # as clients do, within a minute
        for ws in (beside, away):
            ws.send('{"type": "ping", "ref": "p"}')
            for frame in soft(frames_until(ws, "pong")):
                heard[ws] = frame
        time.sleep(0.2)
    offline = {"type": "presence", "user": ann.username, "online": False}
    assert list(heard.values()) == [offline, offline]
    for who in (bob, bobs):
        for _ in range(5):  # whichever worker it is that answers
            assert who.get(PRESENCE).json() == [eve.username]


@pytest.mark.server
def test_restart_forgets_who_is_online_and_keeps_settings(tmp_path: Path, stack: ExitStack) -> None:
    settings = {"language": "en", "show_presence": True, "show_read": False, "push_text": "none"}
    with Server(tmp_path) as server:
        ann, bob = make_person(server.url), make_person(server.url)
        ann.open_room(bob)
        assert call(ann, "PATCH", "/accounts/api/settings/", settings) == 200
        with open_stream(ann) as hers:
            frames_until(hers, "ready")
            ask(hers, type="active", active=True)
            assert bob.get(PRESENCE).json() == [ann.username]
            server.stop()
        server.start()

        assert bob.get(PRESENCE).json() == []
        assert ann.get("/accounts/api/settings/").json() == settings


def test_whoever_is_deactivated_is_out_on_every_worker(site: Site, stack: ExitStack) -> None:
    ann, bob = make_person(site.here.url), make_person(site.here.url)
    room = ann.open_room(bob)
    socket = stack.enter_context(join(bob, room))
    beside = elsewhere(stack, site.here, socket, lambda: open_stream(bob))
    away = ready(stack, moved(bob, site.there))
    frames_until(beside, "ready")

    flask = [sys.executable, "-m", "flask", "--app", "wsgi", "users", "deactivate", bob.username]
    subprocess.run(flask, cwd=ROOT, env=site.there.env, check=True, capture_output=True)
    deactivated_at = time.monotonic()

    for ws in (socket, beside, away):
        assert close_code(ws) == 4401
    assert time.monotonic() < deactivated_at + ENDED_SECONDS
    assert bob.get(f"{API}chats/").status_code == 401
    for opened in (lambda: join(bob, room), lambda: open_stream(bob)):
        with opened() as ws:
            assert close_code(ws) == 4401


# Blocks


class Quarrel(NamedTuple):
    """Ann and Bob have a room; with Eve they are in a group. All are on several workers.

    Attributes:
        ann, eve: As they talk to the machine there; Bob talks to the one here.
        socket: Ann's, in the room.
        hers, his: Streams of Ann's and Bob's, with different workers.
        eves: A stream of Eve's.
    """

    ann: Person
    bob: Person
    eve: Person
    room: Room
    group: Room
    said: dict[str, Any]
    answered: dict[str, Any]
    socket: ClientConnection
    hers: ClientConnection
    his: ClientConnection
    eves: ClientConnection


def marks_of(person: Person) -> dict[int, int]:
    """Return up to where somebody has read, by room."""
    return {chat["id"]: chat["read_id"] for chat in person.get(f"{API}chats/").json()}


@pytest.fixture
def quarrel(site: Site, stack: ExitStack) -> Quarrel:
    at_home = [make_person(site.here.url) for _ in range(3)]
    ann, bob, eve = at_home[0], at_home[1], moved(at_home[2], site.there)
    room = ann.open_room(bob)
    eve.open_room(bob)
    members = [bob.username, eve.username]
    group = ann.post(f"{API}groups/", {"title": "Team", "members": members}).json()
    said = ann.post(messages_path(room), {"content": "said before"}).json()
    answered = bob.post(messages_path(room), {"content": "answered before"}).json()
    last = bob.post(messages_path(group), {"content": "in the group"}).json()
    # Whoever sends has read what stands before it; that is stored, and told, a little later.
    wait_for(lambda: marks_of(ann)[room["id"]] >= said["id"], SECONDS, "Ann's mark")
    for each, sent in ((room, answered), (group, last)):
        wait_for(lambda e=each, s=sent: marks_of(bob)[e["id"]] >= s["id"], SECONDS, "Bob's")  # type: ignore[misc]
    socket = stack.enter_context(join(ann, room))
    his = elsewhere(stack, site.here, socket, lambda: open_stream(bob))
    frames_until(his, "ready")
    hers = ready(stack, ann)
    eves = ready(stack, eve)
    moved_ann = moved(ann, site.there)
    return Quarrel(moved_ann, bob, eve, room, group, said, answered, socket, hers, his, eves)


def error_of(socket: ClientConnection) -> str | None:
    """Return the code of the next error of a room's socket, or None if a message comes."""
    return str(frame["error"]["code"]) if "error" in (frame := hear(socket)) else None


def can_write(quarrel: Quarrel) -> set[str]:
    """Let both write in their room in every way there is; return in which they can."""
    ann, bob, room = quarrel.ann, quarrel.bob, quarrel.room
    ways = set()
    for name, who, mine in (("ann", ann, quarrel.said), ("bob", bob, quarrel.answered)):
        answer = who.post(messages_path(room), {"content": "by REST"})
        edited = who.http.patch(
            f"{messages_path(room)}{mine['id']}/", json={"content": new_name("edited")}
        )
        stream = quarrel.hers if name == "ann" else quarrel.his
        sent = ask(stream, type="send", room=room["name"], content="by stream")
        for way, is_done, code in (
            ("REST", answer.status_code == 201, answer.json().get("code")),
            ("edit", edited.status_code == 200, edited.json().get("code")),
            ("stream", sent["type"] == "done", sent.get("code")),
        ):
            assert is_done or code == "blocked", (name, way, code)
            if is_done:
                ways.add(f"{name} by {way}")
    send_text(quarrel.socket, "by socket", client_id=(ref := new_name("c")))
    while (frame := hear(quarrel.socket)).get("client_id", ref) != ref or (
        "error" not in frame and "client_id" not in frame
    ):
        pass  # the messages from above
    assert frame.get("error", {"code": "blocked"})["code"] == "blocked"
    if "error" not in frame:
        ways.add("ann by socket")
    return ways


EVERY_WAY = {
    *("ann by REST", "ann by edit", "ann by stream", "ann by socket"),
    *("bob by REST", "bob by edit", "bob by stream"),
}


def test_block_holds_on_every_way_at_once_and_ends_at_once(quarrel: Quarrel, site: Site) -> None:
    bob, ann = quarrel.bob, quarrel.ann
    assert can_write(quarrel) == EVERY_WAY

    assert bob.post("/profiles/api/blocks/", {"username": ann.username}).status_code == 200
    assert can_write(quarrel) == set()

    path = f"/profiles/api/blocks/{ann.username}/"
    assert moved(bob, site.there).http.delete(path).status_code == 204
    assert can_write(quarrel) == EVERY_WAY


def test_nothing_is_stored_after_a_block_was_answered(quarrel: Quarrel) -> None:
    path = messages_path(quarrel.room)
    refused: list[str] = []

    def by_rest() -> None:
        while quarrel.ann.post(path, {"content": "REST"}).status_code == 201:
            pass
        refused.append("REST")

    def by_socket() -> None:
        number = 0
        while True:
            number += 1
            send_text(quarrel.socket, "socket", client_id=f"s{number}")
            while (frame := hear(quarrel.socket)).get("client_id") != f"s{number}":
                if "error" in frame:
                    refused.append("socket")
                    return

    def by_stream() -> None:
        send = {"type": "send", "room": quarrel.room["name"], "content": "stream"}
        while ask(quarrel.hers, **send)["type"] == "done":
            pass
        refused.append("stream")

    threads = [threading.Thread(target=way) for way in (by_rest, by_socket, by_stream)]
    for thread in threads:
        thread.start()
    kinds: set[str] = set()
    while len(kinds) < 3:  # all of them are at it
        kinds.add(next_frame(quarrel.his, "message")["message"]["content"])

    quarrel.bob.post("/profiles/api/blocks/", {"username": quarrel.ann.username})
    last = quarrel.bob.get(f"{path}?limit=1").json()

    for thread in threads:
        thread.join(SECONDS)
    assert sorted(refused) == ["REST", "socket", "stream"]
    assert quarrel.bob.get(f"{path}?limit=1").json() == last


@pytest.mark.parametrize("blocker", ["ann", "bob"])
def test_block_hides_typing_presence_and_marks_in_the_room_and_in_groups(
    quarrel: Quarrel, blocker: str
) -> None:
    ann, bob, eve = quarrel.ann, quarrel.bob, quarrel.eve
    rooms = quarrel.room, quarrel.group
    owner, other = (ann, bob) if blocker == "ann" else (bob, ann)
    owner.post("/profiles/api/blocks/", {"username": other.username})
    newest = [bob.get(f"{messages_path(room)}?limit=1").json()[-1]["id"] for room in rooms]

    # Ann does everything first, then Eve does it, so that Bob would have heard of Ann before.
    everything = {
        user.username: {
            ("presence", user.username),
            ("typing", user.username),
            ("read", user.username),
        }
        for user in (ann, eve)
    }
    for stream, own_rooms in ((quarrel.hers, rooms), (quarrel.eves, rooms[1:])):
        ask(stream, type="active", active=True)
        for room, read_id in zip(reversed(own_rooms), reversed(newest), strict=False):
            assert ask(stream, type="typing", room=room["name"])["type"] == "done"
            ask(stream, type="read", room=room["name"], read_id=read_id)
        if stream is quarrel.hers:
            assert heard_of(quarrel.eves, eve.username) == everything[ann.username]
    assert heard_of(quarrel.his, bob.username) == everything[eve.username]

    assert bob.get(PRESENCE).json() == [eve.username]
    assert eve.get(PRESENCE).json() == [ann.username]
    assert ann.get(PRESENCE).json() == [eve.username]
    shown = {chat["id"]: chat for chat in bob.get(f"{API}chats/").json()}
    assert shown[rooms[0]["id"]].get("peer_read_id") is None


def heard_of(ws: ClientConnection, own_name: str) -> set[tuple[str, str]]:
    """Return what else a stream tells of other people, until it has told one of each kind."""
    heard: set[tuple[str, str]] = set()
    while len({kind for kind, _ in heard}) < 3:
        frame = hear(ws)
        if frame["type"] in ("presence", "typing", "read") and frame["user"] != own_name:
            heard.add((frame["type"], frame["user"]))
    return heard


def test_block_leaves_the_group_as_it_is_and_opens_nothing_new(
    quarrel: Quarrel, site: Site
) -> None:
    ann, bob, eve, group = quarrel.ann, quarrel.bob, quarrel.eve, quarrel.group
    ann.post("/profiles/api/blocks/", {"username": bob.username})

    for who in (ann, bob):
        said = who.post(messages_path(group), {"content": f"of {who.username}"})
        assert said.status_code == 201
        assert next_frame(quarrel.eves, "message")["message"] == said.json()
    for who, other in ((ann, bob), (bob, ann)):
        members = {"title": "Both", "members": [other.username, eve.username]}
        assert who.post(f"{API}groups/", members).json()["code"] == "blocked"
        own = who.post(f"{API}groups/", {"title": "Own", "members": [eve.username]}).json()
        path = f"{API}chatrooms/{own['name']}/members/"
        assert who.post(path, {"username": other.username}).json()["code"] == "blocked"
        # Eve may: it is her who asks them in.
        assert eve.post(path, {"username": other.username}).status_code == 201
        strangers = moved(make_person(site.here.url), site.there)
        strangers.post("/profiles/api/blocks/", {"username": who.username})
        room = who.post(f"{API}chatrooms/", {"recipient": strangers.username})
        assert (room.status_code, room.json()["code"]) == (403, "blocked")
        room = strangers.post(f"{API}chatrooms/", {"recipient": who.username})
        assert (room.status_code, room.json()["code"]) == (403, "blocked")


def test_sockets_of_a_room_close_where_ever_they_are_when_their_user_is_removed(
    site: Site, stack: ExitStack
) -> None:
    ann, bob, eve = (make_person(site.here.url) for _ in range(3))
    names = [bob.username, eve.username]
    team, other = (
        ann.post(f"{API}groups/", {"title": title, "members": names}).json()
        for title in ("Team", "Other")
    )
    his = stack.enter_context(join(bob, team))
    beside = elsewhere(stack, site.here, his, lambda: join(bob, team))
    away = stack.enter_context(join(moved(bob, site.there), team))
    his_other = stack.enter_context(join(bob, other))
    hers = stack.enter_context(join(eve, team))
    members = f"{API}chatrooms/{quote(team['name'])}/members/"

    began = time.monotonic()
    assert ann.http.delete(f"{members}{bob.username}/").status_code == 204

    assert [close_code(ws) for ws in (his, beside, away)] == [4404] * 3
    print(f"closed after {time.monotonic() - began:.2f} s")
    # All others stay, and he may come back.
    with join(bob, team) as refused:
        assert close_code(refused) == 4404
    assert ann.post(members, {"username": bob.username}).status_code == 201
    back = stack.enter_context(join(bob, team))
    for room, ears in ((team, (hers, back)), (other, (his_other,))):
        ann.post(messages_path(room), {"content": "still here"})
        for ws in ears:
            frame = hear(ws)
            assert frame.keys() == {"id", "user", "content", "timestamp"}
            assert (frame["user"], frame["content"]) == (ann.username, "still here")
    # He is looked for once a second: three looks do not find him.
    time.sleep(3)
    send_text(back, "and writes")
    assert hear(hers)["content"] == hear(back)["content"] == "and writes"


def test_event_of_an_erasure_has_the_old_names_and_later_none(site: Site, stack: ExitStack) -> None:
    ann, bob, eve = (make_person(site.here.url) for _ in range(3))
    room = ann.open_room(bob)
    group = ann.post(f"{API}groups/", {"title": "Team", "members": [eve.username]}).json()
    ann.post(messages_path(group), {"content": "from ann"})
    eves = ready(stack, eve)
    bobs = [ready(stack, bob), ready(stack, moved(bob, site.there))]
    before = ask(bobs[0], type="ping")["id"]

    erased = ann.http.request("DELETE", "/accounts/api/users/me/", json={"password": PASSWORD})

    assert erased.status_code == 204
    chats = bob.get(f"{API}chats/").json()
    for ws in bobs:
        renamed, told = next_frame(ws, "room"), next_frame(ws, "user")
        assert (renamed["room"], renamed["chat"]) == (room["name"], chats[0])
        assert chats[0]["id"] == room["id"]
        assert ann.username not in chats[0]["name"]
        assert (told["was"], told["user"]["id"]) == (ann.username, ann.id)
        assert told["user"]["username"] == chats[0]["display_name"]
    # In a group, too, there are messages with the old name.
    left, told = next_frame(eves, "room"), next_frame(eves, "user")
    assert left["chat"]["members"] == [eve.id]
    assert (told["was"], told["user"]["username"]) == (ann.username, chats[0]["display_name"])
    # Nobody keeps the old name for those who were away.
    with open_stream(bob, after=before) as resumed:
        renamed, told = next_frame(resumed, "room"), next_frame(resumed, "user")
    assert (renamed["room"], renamed["chat"]["id"]) == (chats[0]["name"], room["id"])
    assert told["user"]["id"] == ann.id
    assert "was" not in told
