"""The stream of one person: every frame from the server, and every one from the client."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.sync.client import ClientConnection

from tests.factories import Person, make_person
from tests.servers import Server
from tests.talk import hear, join, messages_path, open_socket, send_text

Frame = dict[str, Any]

pytestmark = pytest.mark.server


def open_stream(person: Person, **query: object) -> ClientConnection:
    """Open somebody's stream."""
    asked = f"?{urlencode(query)}" if query else ""
    return open_socket(f"{person.url}/messenger/ws/events/{asked}", person.bearer)


def frames_until(ws: ClientConnection, kind: str) -> list[Frame]:
    """Return the next frames, up to the first of a type."""
    frames = [hear(ws)]
    while frames[-1]["type"] != kind:
        frames.append(hear(ws))
    return frames


def next_frame(ws: ClientConnection, kind: str) -> Frame:
    """Return the next frame of a type, and skip others."""
    return frames_until(ws, kind)[-1]


def ask(ws: ClientConnection, **frame: Any) -> Frame:
    """Send a frame with a `ref`; return what answers it."""
    frame = {"ref": "r", **frame}
    ws.send(json.dumps(frame))
    while (answer := hear(ws)).get("ref") != frame["ref"]:
        pass
    return answer


@pytest.fixture
def ann(server: Server) -> Person:
    return make_person(server.url)


@pytest.fixture
def bob(server: Server) -> Person:
    return make_person(server.url)


@pytest.fixture
def room(ann: Person, bob: Person) -> Mapping[str, Any]:
    return ann.open_room(bob)


def test_stream_says_where_it_begins_and_when_it_is_live(ann, room) -> None:
    with open_stream(ann) as ws:
        hello, ready = frames_until(ws, "ready")

    assert hello.pop("epoch")
    assert hello == {
        "type": "hello",
        "id": ready["id"],
        "user": {"id": ann.id, "username": ann.username},
        "beat_seconds": 25,
    }


def test_message_comes_to_all_streams_of_both_members_its_event_before_its_done(
    ann, bob, room
) -> None:
    with open_stream(ann) as hers, open_stream(bob) as his, open_stream(ann) as phone:
        for ws in (hers, his, phone):
            frames_until(ws, "ready")
        message = {"room": room["name"], "content": "Привет!", "client_id": "c1"}
        hers.send(json.dumps({"type": "send", "ref": "7", **message}))
        event, done = hear(hers), hear(hers)

        assert event["type"] == "message"
        assert event["room"] == room["name"]
        assert event["id"] == event["message"]["id"]
        assert event["message"]["user"] == ann.username
        assert event["message"]["client_id"] == "c1"
        assert done == {"type": "done", "ref": "7", "message": event["message"]}
        assert hear(his) == hear(phone) == event

        assert ask(hers, type="send", **message) == {**done, "ref": "r"}  # and no event
        assert ask(his, type="ping")["id"] >= event["id"]


def test_rest_and_room_sockets_reach_streams_and_the_other_way_round(ann, bob, room) -> None:
    with open_stream(bob) as his, join(ann, room) as socket:
        frames_until(his, "ready")
        send_text(socket, "by socket")
        assert hear(his)["message"] == hear(socket)
        answer = ann.post(messages_path(room), {"content": "by REST"}).json()
        assert hear(his)["message"] == hear(socket) == answer
        done = ask(his, type="send", room=room["name"], content="by stream")
        assert hear(socket) == done["message"]
