"""The stream of one person: every frame from the server, and every one from the client."""

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from websockets.sync.client import ClientConnection

from tests.factories import Person, make_person
from tests.servers import Server
from tests.talk import SECONDS, close_code, hear, join, messages_path, open_socket, send_text

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


def call(person: Person, method: str, path: str, body: Any = None) -> int:
    """Change something by REST; return the status."""
    url = f"{person.url}{path}"
    return httpx.request(method, url, json=body, headers=person.bearer).status_code


def ask(ws: ClientConnection, **frame: Any) -> Frame:
    """Send a frame with a `ref`; return what answers it."""
    frame = {"ref": "r", **frame}
    ws.send(json.dumps(frame))
    while (answer := hear(ws)).get("ref") != frame["ref"]:
        pass
    return answer


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
        assert next_frame(his, "message")["message"] == hear(socket)
        answer = ann.post(messages_path(room), {"content": "by REST"}).json()
        assert next_frame(his, "message")["message"] == hear(socket) == answer
        done = ask(his, type="send", room=room["name"], content="by stream")
        assert hear(socket) == done["message"]


def test_stream_resumes_everything_in_order_and_then_goes_on(ann, bob, room) -> None:
    with open_stream(ann) as ws:
        cursor = next_frame(ws, "ready")["id"]
    sent = [bob.post(messages_path(room), {"content": f"{n}"}).json() for n in range(3)]

    with open_stream(ann, after=cursor) as ws:
        hello, *missed, ready = frames_until(ws, "ready")
        assert hello["id"] == cursor
        assert [each["message"] for each in missed if each["type"] == "message"] == sent
        ids = [each["id"] for each in missed]
        assert ids == sorted(set(ids))
        assert ready["id"] >= sent[-1]["id"]
        live = bob.post(messages_path(room), {"content": "live"}).json()
        assert next_frame(ws, "message")["message"] == live


@pytest.mark.parametrize("why", ["most", "epoch", "future"])
def test_stream_that_cannot_go_on_is_reset_and_then_live(ann, bob, room, why) -> None:
    with open_stream(ann) as ws:
        hello = hear(ws)
    for n in range(3):
        bob.post(messages_path(room), {"content": f"{n}"})
    query: dict[str, object] = {"after": hello["id"], "epoch": hello["epoch"]}
    query |= {"most": {"most": 2}, "epoch": {"epoch": "other"}, "future": {"after": 10**12}}[why]

    with open_stream(ann, **query) as ws:
        first, reset, ready = frames_until(ws, "ready")
        assert first["id"] == query["after"]
        assert reset == {"type": "reset", "id": ready["id"], "epoch": hello["epoch"]}
        live = bob.post(messages_path(room), {"content": "live"}).json()
        assert next_frame(ws, "message")["message"] == live


def test_epoch_and_most_mean_nothing_without_after(ann, room) -> None:
    with open_stream(ann, epoch="other", most=0) as ws:
        assert [frame["type"] for frame in frames_until(ws, "ready")] == ["hello", "ready"]


def test_new_room_comes_before_its_messages(ann, bob, server) -> None:
    with open_stream(bob) as ws:
        frames_until(ws, "ready")
        room = ann.open_room(bob)
        message = ann.post(messages_path(room), {"content": "first"}).json()

        opened = next_frame(ws, "room")
        assert (opened["room"], opened["chat"]["id"]) == (room["name"], room["id"])
        assert opened["chat"]["display_name"] == ann.username
        assert next_frame(ws, "message")["message"] == message


def test_edits_and_deletions_come_as_such(ann, bob, room) -> None:
    message = ann.post(messages_path(room), {"content": "Прывет"}).json()
    path = f"{messages_path(room)}{message['id']}/"
    with open_stream(bob) as ws:
        frames_until(ws, "ready")
        assert call(ann, "PATCH", path, {"content": "Привет"}) == 200
        edited = next_frame(ws, "message_edited")
        assert call(ann, "DELETE", path) == 204
        deleted = next_frame(ws, "message_deleted")

    assert edited["room"] == deleted["room"] == room["name"]
    assert edited["message"]["content"] == "Привет"
    assert edited["message"]["edited_at"]
    assert deleted["message"].keys() == {"id", "deleted_at"}
    assert message["id"] == edited["message"]["id"] == deleted["message"]["id"]
    assert message["id"] < edited["id"] < deleted["id"]


def test_read_mark_comes_to_ones_own_devices_with_what_is_left(ann, bob, room) -> None:
    ids = [bob.post(messages_path(room), {"content": f"{n}"}).json()["id"] for n in range(3)]
    with open_stream(ann) as hers, open_stream(ann) as phone, open_stream(bob) as his:
        for ws in (hers, phone, his):
            frames_until(ws, "ready")
        done = ask(hers, type="read", room=room["name"], read_id=ids[1])
        assert done == {"type": "done", "ref": "r", "read_id": ids[1], "unread": 1}

        own = next_frame(phone, "read")
        assert (own["user"], own["read_id"], own["unread"]) == (ann.username, ids[1], 1)
        others = next_frame(his, "read")
        while others["user"] != ann.username:  # a message marks those before it as read
            others = next_frame(his, "read")
        assert (others["read_id"], "unread" in others) == (ids[1], False)


def test_reply_names_a_message_of_the_room(ann, bob, room) -> None:
    message = bob.post(messages_path(room), {"content": "question"}).json()
    elsewhere = make_person(ann.url)
    hidden = bob.post(messages_path(elsewhere.open_room(bob)), {"content": "secret"}).json()
    with open_stream(ann) as ws:
        frames_until(ws, "ready")
        send = {"type": "send", "room": room["name"], "content": "answer"}

        assert ask(ws, **send, reply_to=message["id"])["message"]["reply_to"] == message["id"]
        refused = ask(ws, **send, reply_to=hidden["id"])

    assert (refused["type"], refused["code"]) == ("error", "invalid")
    assert refused["detail"].startswith("reply_to: ")


def test_messages_of_one_client_keep_their_order(ann, bob, room) -> None:
    with open_stream(ann) as ws:
        frames_until(ws, "ready")
        for n in range(30):  # of which the first has to look the room up
            ws.send(json.dumps({"type": "send", "room": room["name"], "content": f"{n}"}))
        contents = [next_frame(ws, "message")["message"]["content"] for _ in range(30)]

    assert contents == [f"{n}" for n in range(30)]


def test_typing_comes_to_the_others_and_not_too_often(ann, bob, room) -> None:
    with open_stream(ann) as hers, open_stream(bob) as his:
        for ws in (hers, his):
            frames_until(ws, "ready")
        assert ask(hers, type="typing", room=room["name"]) == {"type": "done", "ref": "r"}
        assert ask(hers, type="typing", room=room["name"]) == {"type": "done", "ref": "r"}

        typing = {"type": "typing", "room": room["name"], "user": ann.username}
        assert next_frame(his, "typing") == typing
        his.send('{"type": "ping", "ref": "p"}')
        assert [each["type"] for each in frames_until(his, "pong")] == ["pong"]


def test_whoever_is_active_is_online_for_people_in_their_rooms(ann, bob, room) -> None:
    stranger = make_person(ann.url)
    with open_stream(ann) as hers, open_stream(bob) as his, open_stream(stranger) as others:
        for ws in (hers, his, others):
            frames_until(ws, "ready")
        assert ask(hers, type="active", active=True)["type"] == "done"

        online = {"type": "presence", "user": ann.username, "online": True}
        assert next_frame(his, "presence") == online
        assert bob.get("/messenger/api/presence/").json() == [ann.username]
        assert stranger.get("/messenger/api/presence/").json() == []

        ask(hers, type="active", active=False)
        assert next_frame(his, "presence") == {**online, "online": False}
        assert bob.get("/messenger/api/presence/").json() == []
        others.send('{"type": "ping", "ref": "p"}')
        assert [each["type"] for each in frames_until(others, "pong")] == ["pong"]


WRONG: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "invalid"),
    "no object": ("[]", "invalid"),
    "a number": ("7", "invalid"),
    "null": ("null", "invalid"),
    "no type": ('{"ref": "1"}', "invalid"),
    "an unknown type": ('{"type": "shout"}', "invalid"),
    "a type that is no text": ('{"type": {}}', "invalid"),
    "a ref that is no text": ('{"type": "ping", "ref": 7}', "invalid"),
    "an empty ref": ('{"type": "ping", "ref": ""}', "invalid"),
    "a long ref": (json.dumps({"type": "active", "active": True, "ref": "x" * 65}), "invalid"),
    "a ping without a ref": ('{"type": "ping"}', "invalid"),
    "a message without a room": ('{"type": "send", "content": "x"}', "invalid"),
    "an empty message": ('{"type": "send", "room": "x", "content": " "}', "invalid"),
    "a bad client_id": ('{"type":"send","room":"x","content":"x","client_id":7}', "invalid"),
    "a bad reply_to": ('{"type":"send","room":"x","content":"x","reply_to":"x"}', "invalid"),
    "a room of nobody": ('{"type": "send", "room": "x", "content": "x"}', "room_not_found"),
    "a room with a null": ('{"type":"send","room":"\\u0000","content":"x"}', "room_not_found"),
    "reading nowhere": ('{"type": "read", "room": "x", "read_id": 1}', "room_not_found"),
    "reading nothing": ('{"type": "read", "room": "x"}', "invalid"),
    "reading a text": ('{"type": "read", "room": "x", "read_id": "x"}', "invalid"),
    "typing nowhere": ('{"type": "typing", "room": "x"}', "room_not_found"),
    "typing no name": ('{"type": "typing", "room": 7}', "invalid"),
    "half active": ('{"type": "active", "active": "half"}', "invalid"),
}


@pytest.fixture(scope="module")
def wrong_stream(server: Server) -> Iterator[ClientConnection]:
    with open_stream(make_person(server.url)) as ws:
        frames_until(ws, "ready")
        yield ws


@pytest.mark.parametrize("what", WRONG)
def test_wrong_frame_is_answered_and_ends_nothing(wrong_stream, what) -> None:
    frame, code = WRONG[what]

    wrong_stream.send(frame)
    error = hear(wrong_stream)

    assert (error["type"], error["code"]) == ("error", code)
    assert error["detail"]
    assert error.get("ref") in (None, "1")
    assert ask(wrong_stream, type="ping")["type"] == "pong"


def test_error_says_which_message_it_is_about(ann, room) -> None:
    with open_stream(ann) as ws:
        frames_until(ws, "ready")
        send = {"type": "send", "ref": "7", "room": "x", "content": "x", "client_id": "c"}
        ws.send(json.dumps(send))
        error = hear(ws)

    assert (error["ref"], error["client_id"], error["code"]) == ("7", "c", "room_not_found")


def test_whoever_left_a_group_is_told_and_can_write_no_more(ann, bob, server) -> None:
    group = ann.post("/messenger/api/groups/", {"title": "Team", "members": [bob.username]}).json()
    with open_stream(bob) as ws:
        frames_until(ws, "ready")
        send = {"type": "send", "room": group["name"], "content": "here"}
        assert ask(ws, **send)["type"] == "done"
        path = f"/messenger/api/chatrooms/{group['name']}/members/{bob.username}/"
        assert call(ann, "DELETE", path) == 204

        assert next_frame(ws, "room_left")["room"] == group["name"]
        assert ask(ws, **send)["code"] == "room_not_found"
        ann.post(messages_path(group), {"content": "without Bob"})
        ws.send('{"type": "ping", "ref": "p"}')
        assert [each["type"] for each in frames_until(ws, "pong")] == ["pong"]


@pytest.mark.parametrize(
    ("query", "code"), [({"after": "x"}, 4400), ({"after": 0, "most": "x"}, 4400)]
)
def test_parameter_that_is_no_number_closes_the_stream(ann, query, code) -> None:
    with open_stream(ann, **query) as ws:
        assert close_code(ws) == code


def test_stream_needs_a_token_and_ends_with_its_session(ann, server) -> None:
    with open_socket(f"{server.url}/messenger/ws/events/") as ws:
        assert close_code(ws) == 4401
    with open_stream(ann) as ws:
        frames_until(ws, "ready")
        ann.post("/accounts/api/token/blacklist/", {"refresh": ann.refresh})
        deadline = time.monotonic() + SECONDS
        assert close_code(ws) == 4401
        assert time.monotonic() < deadline
