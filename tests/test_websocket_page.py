"""What `docs/websocket.md` says is what the code does: codes, limits, names."""

import io
import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from app.database.types import CLIENT_ID_CHARS
from app.messenger.models import MESSAGE_CHARS
from app.realtime import closing
from app.realtime.closing import Close
from app.realtime.connection import GONE, OUTBOX_BYTES, PING_SECONDS, SILENCE_SECONDS, STALL_SECONDS
from app.realtime.frames import MESSAGE_MAX_BYTES
from tests.factories import make_person
from tests.servers import ROOT, Server
from tests.talk import hear, open_socket

PAGE = (ROOT / "docs" / "websocket.md").read_text()
CLIENTS = {
    name: (ROOT / "clients" / name).read_text()
    for name in ("chat.js", "chat.py", "stream.js", "stream.py")
}


def examples(title: str) -> list[list[dict[str, Any]]]:
    """Return the frames of each JSON block of a section, one a line."""
    blocks = re.findall(
        r"```json\n(.*?)```", PAGE.partition(f"### {title}\n")[2].partition("\n### ")[0], re.S
    )
    return [[json.loads(line) for line in block.splitlines()] for block in blocks]


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_every_closing_code_is_explained() -> None:
    ours = {value.code for value in vars(closing).values() if isinstance(value, Close)}
    explained = {
        int(code) for code in re.findall(r"^\| (\d{4}) \|", section("Closing codes"), re.M)
    }

    assert explained == ours - {closing.NORMAL.code} | {GONE}


def test_clients_give_up_where_the_page_says_so() -> None:
    rows = re.findall(r"^\| (\d{4}) \|.*\| (.*) \|$", section("Closing codes"), re.M)
    given_up = {code for code, what in rows if what.startswith("give up")}

    for name, client in CLIENTS.items():
        over = re.search(r"GIVE_UP = [\[{](.*?)[\]}]", client)
        assert over
        only_rooms = {"4404"} if name.startswith("stream") else set()
        assert set(over[1].split(", ")) == given_up - only_rooms


def test_clients_send_again_where_the_page_says_so() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", section("Frames"), re.M)
    sent_again = {code for code, what in rows if what.startswith(("send again", "the same"))}

    for client in CLIENTS.values():
        again = re.search(r"RETRY = [\[{](.*?)[\]}]", client)
        assert again
        assert set(re.findall(r'"(\w+)"', again[1])) == sent_again


def test_numbers_are_those_of_the_code() -> None:
    said = " ".join(PAGE.split())

    assert f"1 to {MESSAGE_CHARS:,} characters" in said
    assert f"1 to {CLIENT_ID_CHARS} characters" in said
    assert f"up to {MESSAGE_MAX_BYTES // 1024} KiB" in said
    assert f"every {PING_SECONDS:.0f} seconds" in said
    assert f"After {SILENCE_SECONDS:.0f} seconds" in said
    assert f"over {OUTBOX_BYTES // 1024**2} MiB" in said
    assert f"for {STALL_SECONDS:.0f} s" in said


def shape(value: Any) -> Any:
    """Return the names of a frame's values, and of what is in them, with the kinds of values."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return type(value).__name__


@pytest.mark.server
def test_frames_of_the_stream_are_as_the_page_shows_them(server: Server) -> None:
    (from_server,) = examples("Stream frames from the server")
    from_client, answers = examples("Stream frames from the client")
    ann, bob = make_person(server.url), make_person(server.url)
    heard: list[dict[str, Any]] = []
    room = ann.open_room(bob)["name"]
    path = f"/messenger/api/chatrooms/{quote(room, safe='')}"
    first = ann.post(f"{path}/messages/", {"content": "first"}).json()

    def until(ws: Any, **wanted: Any) -> dict[str, Any]:
        while True:
            heard.append(hear(ws))
            if wanted.items() <= heard[-1].items():
                return heard[-1]

    sent = {frame["type"]: frame for frame in from_client}
    file = ann.http.post("/messenger/api/uploads/", files={"file": ("a.txt", b"text")}).json()
    del sent["send"]["attachments"]  # a message has one more key with them: see below
    replies = {}
    with open_socket(f"{ann.url}/messenger/ws/events/", ann.bearer) as ws:
        until(ws, type="ready")
        values = {"room": room, "reply_to": first["id"], "read_id": first["id"]}
        for kind, frame in sent.items():
            ws.send(json.dumps(frame | {k: v for k, v in values.items() if k in frame}))
            answer = "pong" if kind == "ping" else "done"
            replies[frame["ref"]] = until(ws, type=answer, ref=frame["ref"])
        message = f"{path}/messages/{replies[sent['send']['ref']]['message']['id']}/"
        ann.http.patch(message, json={"content": "edited"})
        until(ws, type="message_edited")
        ann.http.delete(message)
        until(ws, type="message_deleted")
        unread = bob.post(f"{path}/messages/", {"content": "unread"}).json()["id"]
        ann.post(f"{path}/read/", {"read_id": unread})
        until(ws, type="read", read_id=unread)
        bob.post("/messenger/api/groups/", {"title": "Team", "members": [ann.username]})
        group = until(ws, type="room")["room"]
        bob.http.delete(f"/messenger/api/chatrooms/{group}/members/{ann.username}/")
        until(ws, type="room_left")
        picture = {"image": ("a.png", one_picture(), "image/png")}
        assert bob.http.patch("/profiles/api/profile/", files=picture).status_code == 200
        until(ws, type="user")
        with open_socket(f"{bob.url}/messenger/ws/events/", bob.bearer) as his:
            his.send(json.dumps({"type": "active", "active": True}))
            until(ws, type="presence")
            his.send(json.dumps({"type": "typing", "room": room}))
            until(ws, type="typing")
        with_file = {"type": "send", "ref": "file", "room": room, "attachments": [file["id"]]}
        ws.send(json.dumps(with_file))
        stored = until(ws, type="done", ref="file")["message"]
        assert (stored["attachments"], stored["fallback"]) == ([file], True)
        bob.post("/profiles/api/blocks/", {"username": ann.username})
        refused = {"room": room, "client_id": "another", "reply_to": None}
        ws.send(json.dumps(sent["send"] | refused))
        replies["error"] = until(ws, type="error")
    with open_socket(f"{ann.url}/messenger/ws/events/?after=1&epoch=other", ann.bearer) as ws:
        until(ws, type="reset")

    for example in from_server:
        if example["type"] == "beat":
            continue  # comes after 25 s
        real = [frame for frame in heard if frame["type"] == example["type"]]
        assert shape(example) in [shape(frame) for frame in real], (example, real)
    for example in answers:
        reply = replies["error"] if example["type"] == "error" else replies[example["ref"]]
        assert shape(example) == shape(reply)


def one_picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    return out.getvalue()
