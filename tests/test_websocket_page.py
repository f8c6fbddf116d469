"""What `docs/websocket.md` says is what the code does: codes, limits, names."""

import re

from app.database.types import CLIENT_ID_CHARS
from app.messenger.models import MESSAGE_CHARS
from app.realtime import closing
from app.realtime.closing import Close
from app.realtime.connection import GONE, OUTBOX_BYTES, PING_SECONDS, SILENCE_SECONDS, STALL_SECONDS
from app.realtime.frames import MESSAGE_MAX_BYTES
from tests.servers import ROOT

PAGE = (ROOT / "docs" / "websocket.md").read_text()
CLIENTS = [(ROOT / "clients" / name).read_text() for name in ("chat.py", "chat.js")]


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

    for client in CLIENTS:
        over = re.search(r"GIVE_UP = [\[{](.*?)[\]}]", client)
        assert over
        assert set(over[1].split(", ")) == given_up


def test_clients_send_again_where_the_page_says_so() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", section("Frames"), re.M)
    sent_again = {code for code, what in rows if what.startswith(("send again", "the same"))}

    for client in CLIENTS:
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
