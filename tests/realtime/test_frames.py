"""The codec against RFC 6455: cases in the categories of Autobahn's suite, chance, and wsproto."""

import random
import tracemalloc
from itertools import pairwise, product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage
from wsproto.events import Ping as WsprotoPing
from wsproto.events import Pong as WsprotoPong

from app.realtime import closing
from app.realtime.closing import BINARY_REFUSED, NOT_UTF8, PROTOCOL_ERROR, TOO_BIG, Close
from app.realtime.frames import (
    Closed,
    FrameReader,
    Ping,
    Pong,
    ProtocolError,
    close_frame,
    ping_frame,
    pong_frame,
    text_frame,
)

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN = 0x80

repeatable = settings(
    max_examples=300,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def header(head, length, *, form=None, masked=True):
    """Return the beginning of a frame; `form` is its bits of length: 7, 16, 64, or the fewest."""
    bit = 0x80 if masked else 0
    form = form or (7 if length < 126 else 16 if length < 65536 else 64)
    if form == 7:
        return bytes((head, bit | length))
    return bytes((head, bit | (126 if form == 16 else 127))) + length.to_bytes(form // 8, "big")


def frame(opcode, payload=b"", *, fin=True, rsv=0, form=None, mask=b"\x37\xfa\x21\x3d"):
    """Return a frame as a client sends it, masked with the mask of the RFC's example."""
    head = (FIN if fin else 0) | rsv << 4 | opcode
    body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return header(head, len(payload), form=form) + mask + body


def text(payload, **how):
    return frame(TEXT, payload if isinstance(payload, bytes) else payload.encode(), **how)


def more(payload=b"", **how):
    return frame(CONTINUATION, payload, **how)


def fragments(payload, size):
    pieces = [payload[i : i + size] for i in range(0, len(payload), size)]
    last = len(pieces) - 1
    return b"".join(
        frame(CONTINUATION if i else TEXT, piece, fin=i == last) for i, piece in enumerate(pieces)
    )


def bye(code, reason=b""):
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def hear(*pieces, reader=None):
    """Return what a reader makes of the pieces: its events and, if it refuses, the `Close`."""
    return list(listen(pieces, reader or FrameReader()))


def listen(pieces, reader):
    for piece in pieces:
        try:
            yield from reader.feed(piece)
        except ProtocolError as error:
            yield error.close


def cut(stream, places):
    edges = [0, *sorted(places), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


KOSME = "κόσμε".encode()
LONGEST_REASON = b"r" * 123

FRAMING = {
    "1.1.1 empty text": (text(""), [""]),
    "1.1.2 125 bytes": (text("*" * 125), ["*" * 125]),
    "1.1.3 126 bytes": (text("*" * 126), ["*" * 126]),
    "1.1.4 127 bytes": (text("*" * 127), ["*" * 127]),
    "1.1.5 128 bytes": (text("*" * 128), ["*" * 128]),
    "1.1.6 65535 bytes": (text("*" * 65535), ["*" * 65535]),
    "1.1.7 65536 bytes": (text("*" * 65536), ["*" * 65536]),
    "1.1 several at once": (text("a") + text("") + text("b" * 300), ["a", "", "b" * 300]),
    "1.1 RFC 5.7's own bytes": (bytes.fromhex("818537fa213d7f9f4d5158"), ["Hello"]),
    "1.1 mask of zeros": (text("Привет", mask=b"\0\0\0\0"), ["Привет"]),
    "1.1 mask of ones": (text("Привет", mask=b"\xff\xff\xff\xff"), ["Привет"]),
    "1.1 one byte past the mask's end": (text("abcde"), ["abcde"]),
    "1.2.1 empty binary": (frame(BINARY), [BINARY_REFUSED]),
    "1.2.7 large binary, at its header": (header(FIN | BINARY, 65536), [BINARY_REFUSED]),
    "1.2 fragmented binary": (frame(BINARY, b"x", fin=False), [BINARY_REFUSED]),
    "1.2 binary after text": (text("a") + frame(BINARY, b"x"), ["a", BINARY_REFUSED]),
    "5.1 text without a mask": (header(0x81, 2, masked=False) + b"hi", [PROTOCOL_ERROR]),
    "5.1 ping without a mask": (header(0x89, 0, masked=False), [PROTOCOL_ERROR]),
    "5.1 close without a mask": (header(0x88, 0, masked=False), [PROTOCOL_ERROR]),
    "5.1 long text without a mask": (header(0x81, 300, masked=False), [PROTOCOL_ERROR]),
    "5.1 longest text without a mask": (header(0x81, 70000, masked=False), [PROTOCOL_ERROR]),
    "5.1 fragment without a mask": (
        text("a", fin=False) + header(0x80, 1, masked=False),
        [PROTOCOL_ERROR],
    ),
    "5.2 125 in 16 bits": (text("*" * 125, form=16), [PROTOCOL_ERROR]),
    "5.2 0 in 16 bits": (text("", form=16), [PROTOCOL_ERROR]),
    "5.2 125 in 64 bits": (text("*" * 125, form=64), [PROTOCOL_ERROR]),
    "5.2 65535 in 64 bits": (text("*" * 65535, form=64), [PROTOCOL_ERROR]),
    "5.2 highest bit set": (header(0x81, 1 << 63), [PROTOCOL_ERROR]),
    "5.2 all bits set": (header(0x81, (1 << 64) - 1), [PROTOCOL_ERROR]),
}

PINGS = {
    "2.1 empty": (frame(PING), [Ping(b"")]),
    "2.2 text": (frame(PING, b"Hello"), [Ping(b"Hello")]),
    "2.3 no UTF-8": (frame(PING, b"\x00\xff\xfe\xfd"), [Ping(b"\x00\xff\xfe\xfd")]),
    "2.4 125 bytes": (frame(PING, b"\xfe" * 125), [Ping(b"\xfe" * 125)]),
    "2.5 126 bytes": (frame(PING, b"\xfe" * 126), [PROTOCOL_ERROR]),
    "2.5 70000 bytes": (header(FIN | PING, 70000), [PROTOCOL_ERROR]),
    "2.5 few bytes in 16 bits": (frame(PING, b"x", form=16), [PROTOCOL_ERROR]),
    "2.7 unsolicited pong": (frame(PONG), [Pong(b"")]),
    "2.8 unsolicited pong, payload": (frame(PONG, b"\xff"), [Pong(b"\xff")]),
    "2.9 pong, then ping": (frame(PONG, b"a") + frame(PING, b"b"), [Pong(b"a"), Ping(b"b")]),
    "2.10 ten pings": (
        b"".join(frame(PING, bytes([i])) for i in range(10)),
        [Ping(bytes([i])) for i in range(10)],
    ),
    "2.11 pong of 126 bytes": (frame(PONG, b"x" * 126), [PROTOCOL_ERROR]),
}

RESERVED_BITS = {
    f"3.{rsv} {name}": (text("a") + frame(opcode, payload, rsv=rsv), ["a", PROTOCOL_ERROR])
    for rsv in range(1, 8)
    for name, opcode, payload in [
        ("text", TEXT, b"hi"),
        ("binary", BINARY, b"hi"),
        ("ping", PING, b""),
        ("pong", PONG, b""),
        ("close", CLOSE, b"\x03\xe8"),
    ]
} | {
    "3 in a continuation": (text("a", fin=False) + more(b"b", rsv=4), [PROTOCOL_ERROR]),
}

OPCODES = {
    f"4.{1 if opcode < 8 else 2} opcode {opcode}, {name}": (
        text("a") + frame(opcode, payload, fin=fin) + frame(PING),
        ["a", PROTOCOL_ERROR],
    )
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    for name, payload, fin in [
        ("empty", b"", True),
        ("payload", b"x", True),
        ("fragment", b"x", False),
    ]
} | {
    "4 inside a message": (text("a", fin=False) + frame(3), [PROTOCOL_ERROR]),
}

FRAGMENTS = {
    "5.1 ping in two": (
        frame(PING, b"a", fin=False) + more(b"b"),
        [PROTOCOL_ERROR],
    ),
    "5.2 pong in two": (frame(PONG, b"a", fin=False), [PROTOCOL_ERROR]),
    "5 close in two": (frame(CLOSE, b"\x03\xe8", fin=False), [PROTOCOL_ERROR]),
    "5 fragmented ping inside a message": (
        text("a", fin=False) + frame(PING, fin=False),
        [PROTOCOL_ERROR],
    ),
    "5.3 text in two": (text("a", fin=False) + more(b"b"), ["ab"]),
    "5.6 ping between": (
        text("a", fin=False) + frame(PING, b"p") + more(b"b"),
        [Ping(b"p"), "ab"],
    ),
    "5.6 pong between": (
        text("a", fin=False) + frame(PONG, b"p") + more(b"b"),
        [Pong(b"p"), "ab"],
    ),
    "5.6 longest ping between": (
        text("a", fin=False) + frame(PING, b"p" * 125) + more(b"b"),
        [Ping(b"p" * 125), "ab"],
    ),
    "5.9 continuation of nothing": (more(b"b"), [PROTOCOL_ERROR]),
    "5.9 then text": (more(b"b") + text("a"), [PROTOCOL_ERROR]),
    "5.12 unfinished continuation of nothing": (more(b"b", fin=False), [PROTOCOL_ERROR]),
    "5.15 continuation of a finished message": (
        text("a", fin=False) + more(b"b") + more(b"c"),
        ["ab", PROTOCOL_ERROR],
    ),
    "5.15 continuation of a whole text": (text("a") + more(b"b"), ["a", PROTOCOL_ERROR]),
    "5.18 text inside a message": (text("a", fin=False) + text("b"), [PROTOCOL_ERROR]),
    "5.18 fragment inside a message": (
        text("a", fin=False) + text("b", fin=False),
        [PROTOCOL_ERROR],
    ),
    "5.18 binary inside a message": (
        text("a", fin=False) + frame(BINARY, b"b"),
        [PROTOCOL_ERROR],
    ),
    "5.19 five fragments, two pings": (
        text("1", fin=False)
        + more(b"2", fin=False)
        + frame(PING, b"x")
        + more(b"3", fin=False)
        + more(b"4", fin=False)
        + frame(PING, b"y")
        + more(b"5"),
        [Ping(b"x"), Ping(b"y"), "12345"],
    ),
    "5 two messages in fragments": (
        fragments(b"first", 2) + fragments(b"second", 1),
        ["first", "second"],
    ),
    "6.1 fragments of nothing": (
        text("", fin=False) + more(fin=False) + more(),
        [""],
    ),
    "6.1 something between nothing": (
        text("", fin=False) + more(b"a", fin=False) + more(),
        ["a"],
    ),
}

# https://www.cl.cam.ac.uk/~mgk25/ucs/examples/UTF-8-test.txt
GOOD_TEXTS = {
    "6.2.1": b"Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!!",
    "6.5 kosme": KOSME,
    "6.6 U+0000": b"\x00",
    "6.7 U+0080": b"\xc2\x80",
    "6.7 U+0800": b"\xe0\xa0\x80",
    "6.7 U+10000": b"\xf0\x90\x80\x80",
    "6.9 U+007F": b"\x7f",
    "6.9 U+07FF": b"\xdf\xbf",
    "6.9 U+FFFF": b"\xef\xbf\xbf",
    "6.9 U+10FFFF": b"\xf4\x8f\xbf\xbf",
    "6.11 U+D7FF": b"\xed\x9f\xbf",
    "6.11 U+E000": b"\xee\x80\x80",
    "6.11 U+FFFD": b"\xef\xbf\xbd",
    "6.22 U+FFFE": b"\xef\xbf\xbe",
    "6.22 U+1FFFE": b"\xf0\x9f\xbf\xbe",
    "6 byte order mark": b"\xef\xbb\xbfa",
    "6 family of emoji": "👨‍👩‍👧".encode(),
}
BAD_TEXTS = {
    "6.3": KOSME + b"\xed\xa0\x80edited",
    "6.4 beyond U+10FFFF": KOSME + b"\xf4\x90\x80\x80",
    "6.6 cut after 1": b"\xce",
    "6.6 cut inside": KOSME[:-1],
    "6.8 five bytes": b"\xf8\x88\x80\x80\x80",
    "6.8 six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "6.10 U+110000": b"\xf4\x90\x80\x80",
    "6.12 lone continuation": b"\x80",
    "6.12 last continuation": b"\xbf",
    "6.13 all continuations": bytes(range(0x80, 0xC0)),
    "6.14 starts without ends": b"\xc2 \xc3 \xdf ",
    "6.14 start of three": b"\xe2 ",
    "6.15 start of two at the end": b"abc\xc2",
    "6.15 start of three at the end": b"abc\xe2\x82",
    "6.15 start of four at the end": b"abc\xf0\x9f\x98",
    "6.17 FE": b"\xfe",
    "6.17 FF": b"\xff",
    "6.18 overlong slash, two": b"\xc0\xaf",
    "6.18 overlong slash, three": b"\xe0\x80\xaf",
    "6.18 overlong slash, four": b"\xf0\x80\x80\xaf",
    "6.19 largest overlong, two": b"\xc1\xbf",
    "6.19 largest overlong, three": b"\xe0\x9f\xbf",
    "6.19 largest overlong, four": b"\xf0\x8f\xbf\xbf",
    "6.20 overlong NUL": b"\xc0\x80",
    "6.21 first surrogate": b"\xed\xa0\x80",
    "6.21 last surrogate": b"\xed\xbf\xbf",
    "6.21 pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
}
UTF8 = (
    {f"{name}, whole": (text(good), [good.decode()]) for name, good in GOOD_TEXTS.items()}
    | {
        f"{name}, a byte a frame": (fragments(good + b"!", 1), [good.decode() + "!"])
        for name, good in GOOD_TEXTS.items()
    }
    | {f"{name}, whole": (text(bad) + text("a"), [NOT_UTF8]) for name, bad in BAD_TEXTS.items()}
    | {
        f"{name}, a byte a frame": (fragments(bad + b"!", 1) + text("a"), [NOT_UTF8])
        for name, bad in BAD_TEXTS.items()
    }
    | {
        "6.4.1 at once, the message has not ended": (
            text(KOSME, fin=False) + more(b"\xf4\x90\x80\x80", fin=False),
            [NOT_UTF8],
        ),
        "6.4.2 at once, the character has not ended": (
            text(KOSME + b"\xf4", fin=False) + more(b"\x90", fin=False),
            [NOT_UTF8],
        ),
        "6.4 at once, half a surrogate": (text(b"\xed\xa0", fin=False), [NOT_UTF8]),
        "6.4 at once, half a surrogate in two": (
            text(b"\xed", fin=False) + more(b"\xbf", fin=False),
            [NOT_UTF8],
        ),
        "6 nothing follows the cut": (text(b"\xce", fin=False) + more(), [NOT_UTF8]),
        "6 ping inside a character": (
            text(b"\xce", fin=False) + frame(PING) + more(b"\xba"),
            [Ping(b""), "κ"],
        ),
        "6 one message's cut is not the next one's": (
            fragments(KOSME, 1) + text(b"\xba"),
            ["κόσμε", NOT_UTF8],
        ),
        "6 good, then bad": (text("a") + text(b"\xff"), ["a", NOT_UTF8]),
    }
)

VALID_CODES = (1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999)
INVALID_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
CLOSES = (
    {
        "7.1.1 text, then close": (text("a") + bye(1000), ["a", Closed(1000, "")]),
        "7.1.2 two closes": (bye(1000) + bye(1001), [Closed(1000, "")]),
        "7.1.3 ping after close": (bye(1000) + frame(PING), [Closed(1000, "")]),
        "7.1.4 text after close": (bye(1000) + text("a"), [Closed(1000, "")]),
        "7.1.5 close inside a message": (
            text("a", fin=False) + bye(1000) + more(b"b"),
            [Closed(1000, "")],
        ),
        "7.1.6 nonsense after close": (bye(1000) + b"\xff" * 40, [Closed(1000, "")]),
        "7.3.1 empty": (frame(CLOSE), [Closed(None, "")]),
        "7.3.2 one byte": (frame(CLOSE, b"\x03"), [PROTOCOL_ERROR]),
        "7.3.3 code": (bye(1000), [Closed(1000, "")]),
        "7.3.4 code and reason": (bye(1000, KOSME), [Closed(1000, "κόσμε")]),
        "7.3.5 longest reason": (bye(1000, LONGEST_REASON), [Closed(1000, "r" * 123)]),
        "7.3.6 longer reason": (bye(1000, LONGEST_REASON + b"r"), [PROTOCOL_ERROR]),
        "7.5.1 reason that is no UTF-8": (bye(1000, b"\xed\xa0\x80"), [NOT_UTF8]),
        "7.5 reason cut inside a character": (bye(1000, b"\xce"), [NOT_UTF8]),
    }
    | {f"7.7 {code}": (bye(code), [Closed(code, "")]) for code in VALID_CODES}
    | {f"7.9 {code}": (bye(code) + text("a"), [PROTOCOL_ERROR]) for code in INVALID_CODES}
    | {f"7.9 {code} and reason": (bye(code, b"x"), [PROTOCOL_ERROR]) for code in INVALID_CODES}
)

MOST = 128 * 1024
LIMITS = {
    "9.1 most in one frame": (text("*" * MOST), ["*" * MOST]),
    "9.1 one byte more, at its header": (header(0x81, MOST + 1), [TOO_BIG]),
    "9.1 most that can be said, at its header": (header(0x81, (1 << 63) - 1), [TOO_BIG]),
    "9.1 first fragment too big, at its header": (header(0x01, MOST + 1), [TOO_BIG]),
    "9.3 most in frames of 64 KiB": (fragments(b"*" * MOST, 65536), ["*" * MOST]),
    "9.3 most in frames of 1000": (fragments(b"*" * MOST, 1000), ["*" * MOST]),
    "9.3 one byte more, at its header": (
        fragments(b"*" * MOST + b"!", MOST)[: -len(more(b"!"))] + header(0x80, 1),
        [TOO_BIG],
    ),
    "9.3 ping in a full message": (
        text("*" * MOST, fin=False) + frame(PING, b"p") + more(),
        [Ping(b"p"), "*" * MOST],
    ),
    "9 two messages of half the most": (
        fragments(b"*" * (MOST // 2), 9999) * 2,
        ["*" * (MOST // 2)] * 2,
    ),
    "9 good, then too big": (text("a") + header(0x81, MOST + 1), ["a", TOO_BIG]),
}

GROUPS = {
    "framing": FRAMING,
    "pings": PINGS,
    "reserved bits": RESERVED_BITS,
    "opcodes": OPCODES,
    "fragments": FRAGMENTS,
    "UTF-8": UTF8,
    "closes": CLOSES,
    "limits": LIMITS,
}


@pytest.mark.parametrize("cases", GROUPS.values(), ids=GROUPS.keys())
class TestCases:
    def test_whole(self, cases):
        heard = {name: hear(stream) for name, (stream, _) in cases.items()}

        assert heard == {name: expected for name, (_, expected) in cases.items()}

    def test_byte_by_byte(self, cases):
        heard = {
            name: hear(*(stream[i : i + 1] for i in range(len(stream))))
            for name, (stream, _) in cases.items()
        }

        assert heard == {name: expected for name, (_, expected) in cases.items()}

    def test_in_random_pieces(self, cases):
        wrong = {}
        for name, (stream, expected) in cases.items():
            chance = random.Random(len(stream))
            for _ in range(20):
                places = [chance.randrange(len(stream) + 1) for _ in range(chance.randrange(1, 9))]
                if (heard := hear(*cut(stream, places))) != expected:
                    wrong[name, tuple(places)] = heard

        assert wrong == {}


def test_what_was_said_before_an_error_is_heard_before_it():
    events = FrameReader().feed(text("a") + frame(PING) + frame(3))

    assert next(events) == "a"
    assert next(events) == Ping(b"")
    with pytest.raises(ProtocolError, match="opcode 3 is reserved") as refusal:
        next(events)
    assert refusal.value.close is PROTOCOL_ERROR


def test_nothing_is_received_after_an_error():
    reader = FrameReader()

    assert hear(frame(3), reader=reader) == [PROTOCOL_ERROR]
    assert hear(text("a"), bye(1000), b"\xff" * 99, reader=reader) == []


def test_limit_is_the_one_asked_for():
    assert hear(text("*" * 10), reader=FrameReader(max_bytes=10)) == ["*" * 10]
    assert hear(text("*" * 11), reader=FrameReader(max_bytes=10)) == [TOO_BIG]
    assert hear(frame(PING, b"p" * 11), reader=FrameReader(max_bytes=10)) == [Ping(b"p" * 11)]


STARTS = bytes.fromhex("41 7f 80 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 f8 ff")
ENDINGS = [
    b"".join(end) for n in range(4) for end in product((b"\x80", b"\x90", b"\xa0"), repeat=n)
]


def could_become_text(beginning):
    """Tell it the slow way: by trying every ending a character may have."""
    for ending in ENDINGS:
        try:
            (beginning + ending).decode()
        except UnicodeDecodeError:
            continue
        return True
    return False


@pytest.mark.parametrize("start", STARTS, ids="{:02x}".format)
def test_hopeless_bytes_are_refused_before_the_message_ends(start):
    for beginning in [bytes([start]), *(bytes([start, second]) for second in range(256))]:
        expected = [] if could_become_text(beginning) else [NOT_UTF8]
        assert hear(text(beginning, fin=False)) == expected, beginning


def traced(work):
    """Return the bytes that stay allocated after some work, the most there were, its result."""
    tracemalloc.start()
    try:
        result = work()
        return *tracemalloc.get_traced_memory(), result
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_idle_readers_hold_no_buffers():
    stream = text("*" * 5000) + fragments(b"*" * 5000, 99) + frame(PING)
    pieces = cut(stream, [4000, 7000])

    def readers_that_have_heard():
        readers = [FrameReader() for _ in range(1000)]
        for reader in readers:
            hear(*pieces, reader=reader)
        return readers

    kept, _, readers = traced(readers_that_have_heard)
    assert kept / len(readers) < 130


@pytest.mark.parametrize("last", [bye(1000), frame(3)], ids=["closed", "refused"])
def test_closed_readers_hold_no_buffers(last):
    begun, half = text("*" * 5000, fin=False), text("*" * 5000)[:4000]

    def readers_that_have_heard():
        readers = [FrameReader() for _ in range(1000)]
        for reader in readers:
            hear(begun + last[:1], last[1:] + half, reader=reader)
        return readers

    kept, _, readers = traced(readers_that_have_heard)
    assert kept / len(readers) < 130


@pytest.mark.slow
def test_endless_empty_fragments_cost_nothing():
    reader, flood = FrameReader(), more(fin=False) * 10_000
    assert hear(text("a", fin=False), reader=reader) == []

    _, most, on_text = traced(lambda: hear(*[flood] * 5, reader=reader))

    assert on_text == []
    assert most < 10_000
    assert hear(more(b"b"), reader=reader) == ["ab"]


@pytest.mark.slow
def test_a_letter_a_frame_costs_little_more_than_the_message():
    letters = "ы" * (MOST // 2)
    stream = fragments(letters.encode(), 2)
    pieces = cut(stream, range(4096, len(stream), 4096))

    _, most, on_text = traced(lambda: hear(*pieces))

    assert on_text == [letters]
    assert most < 5 * MOST


# What chance says: frames that are mostly right, so that the reader gets somewhere, and nonsense.

payloads = st.one_of(
    st.text(max_size=40).map(str.encode),
    st.binary(max_size=40),
    st.integers(100, 320).map(lambda size: b"*" * size),
)
controls = st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=125))
closes = st.builds(
    bye,
    st.sampled_from(VALID_CODES) | st.integers(0, 65535),
    st.text(max_size=20).map(str.encode) | st.binary(max_size=20),
)
likely = st.builds(
    frame,
    st.sampled_from([TEXT, TEXT, CONTINUATION]),
    payloads,
    fin=st.booleans(),
    mask=st.binary(min_size=4, max_size=4),
)
unlikely = st.builds(
    frame,
    st.integers(0, 15),
    payloads,
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 1, 2, 4]),
    form=st.sampled_from([None, None, 64]),
)
streams = st.lists(
    st.one_of(likely, likely, likely, controls, closes, unlikely, st.binary(max_size=20)),
    max_size=12,
).map(b"".join)


@pytest.mark.slow
@repeatable
@given(stream=streams, data=st.data())
def test_any_cut_of_any_stream_gives_the_same_events(stream, data):
    """Anything but a `ProtocolError` would come out of `hear` and fail the test, too."""
    whole = hear(stream, reader=FrameReader(max_bytes=300))
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))

    assert hear(*cut(stream, places), reader=FrameReader(max_bytes=300)) == whole
    assert hear(*cut(stream, range(1, len(stream))), reader=FrameReader(max_bytes=300)) == whole


@pytest.mark.slow
@repeatable
@given(stream=streams)
def test_what_is_heard_keeps_the_rules(stream):
    on_text = hear(stream, reader=FrameReader(max_bytes=300))

    assert not any(isinstance(event, Closed | Close) for event in on_text[:-1])
    for event in on_text:
        match event:
            case str():
                assert len(event.encode()) <= 300
            case Ping(payload) | Pong(payload):
                assert len(payload) <= 125
            case Closed(code, reason):
                assert close_frame(code, reason)


# What wsproto says: another reading of the same RFC.

parts = st.lists(st.text(max_size=50) | st.just("ы" * 100), min_size=1, max_size=4)
said = st.lists(
    st.one_of(
        parts, st.builds(Ping, st.binary(max_size=125)), st.builds(Pong, st.binary(max_size=125))
    ),
    max_size=8,
)
goodbyes = st.none() | st.tuples(st.sampled_from(VALID_CODES), st.text(max_size=30))


def wsproto_says(client, event):
    """Return the bytes of an event as wsproto sends it; a list is a message in fragments."""
    match event:
        case Ping(payload):
            return client.send(WsprotoPing(payload=payload))
        case Pong(payload):
            return client.send(WsprotoPong(payload=payload))
        case Closed(code, reason):
            return client.send(CloseConnection(code=code, reason=reason))
    *begun, last = event
    return b"".join(
        [client.send(TextMessage(data=part, message_finished=False)) for part in begun]
        + [client.send(TextMessage(data=last))]
    )


@pytest.mark.slow
@repeatable
@given(said=said, goodbye=goodbyes, data=st.data())
def test_what_wsproto_encodes_we_decode(said, goodbye, data):
    client = Connection(ConnectionType.CLIENT)
    said = said if goodbye is None else [*said, Closed(*goodbye)]

    stream = b"".join(wsproto_says(client, event) for event in said)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=5))

    expected = ["".join(event) if isinstance(event, list) else event for event in said]
    assert hear(*cut(stream, places)) == expected


@pytest.mark.slow
@repeatable
@given(said=said, goodbye=goodbyes.filter(lambda goodbye: goodbye is None or goodbye[0] != 1014))
def test_what_we_encode_wsproto_decodes(said, goodbye):
    client, expected, stream = Connection(ConnectionType.CLIENT), [], b""
    for event in said:
        match event:
            case Ping(payload):
                stream += ping_frame(payload)
                expected.append(WsprotoPing(payload=payload))
            case Pong(payload):
                stream += pong_frame(payload)
                expected.append(WsprotoPong(payload=payload))
            case _:
                stream += text_frame("".join(event).encode())
                expected.append(TextMessage(data="".join(event)))
    if goodbye is not None:
        stream += close_frame(*goodbye)
        expected.append(CloseConnection(code=goodbye[0], reason=goodbye[1]))

    client.receive_data(stream)

    assert list(client.events()) == expected  # wsproto 1.3 has not heard of 1014, Bad Gateway


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 1 << 20])
def test_wsproto_reads_our_text_of_any_length(size):
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(text_frame(b"*" * size))

    assert list(client.events()) == [TextMessage(data="*" * size)]


@pytest.mark.parametrize(
    ("payload", "beginning"),
    [
        (b"Hello", bytes.fromhex("8105")),
        (b"*" * 125, bytes.fromhex("817d")),
        (b"*" * 126, bytes.fromhex("817e007e")),
        (b"*" * 256, bytes.fromhex("817e0100")),
        (b"*" * 65535, bytes.fromhex("817effff")),
        (b"*" * 65536, bytes.fromhex("817f0000000000010000")),
    ],
    ids=["5", "125", "126", "256", "65535", "65536"],
)
def test_text_takes_the_shortest_form_of_its_length(payload, beginning):
    assert text_frame(payload) == beginning + payload


def test_control_frames_are_those_of_the_rfc():
    assert ping_frame() == bytes.fromhex("8900")
    assert ping_frame(b"Hello") == bytes.fromhex("890548656c6c6f")
    assert pong_frame(b"Hello") == bytes.fromhex("8a0548656c6c6f")
    assert close_frame() == bytes.fromhex("8800")
    assert close_frame(1000) == bytes.fromhex("880203e8")
    assert close_frame(4408, "no") == bytes.fromhex("880411386e6f")


@pytest.mark.parametrize("make", [ping_frame, pong_frame])
def test_control_frame_carries_no_more_than_125_bytes(make):
    assert len(make(b"p" * 125)) == 127
    with pytest.raises(ValueError, match="126 bytes"):
        make(b"p" * 126)


def test_reason_has_no_more_than_123_bytes():
    assert Close(1001, "я" * 61).frame == bytes.fromhex("887c03e9") + ("я" * 61).encode()
    with pytest.raises(ValueError, match="124 bytes"):
        Close(1001, "я" * 62)


@pytest.mark.parametrize("code", INVALID_CODES)
def test_no_close_has_a_code_that_may_not_be_sent(code):
    with pytest.raises(ValueError, match=f"{code} may not"):
        close_frame(code)


def test_closing_codes_are_those_of_the_contract():
    assert {
        name: value.code for name, value in vars(closing).items() if isinstance(value, Close)
    } == {
        "NORMAL": 1000,
        "GOING_AWAY": 1001,
        "PROTOCOL_ERROR": 1002,
        "BINARY_REFUSED": 1003,
        "NOT_UTF8": 1007,
        "TOO_BIG": 1009,
        "DEFECT": 1011,
        "RESTARTING": 1012,
        "BAD_CURSOR": 4400,
        "BAD_MOST": 4400,
        "UNAUTHENTICATED": 4401,
        "SESSION_REVOKED": 4401,
        "NO_SUCH_ROOM": 4404,
        "SLOW_READER": 4408,
        "TOO_MANY": 4429,
    }
