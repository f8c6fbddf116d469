"""How publications and signals travel between workers: as JSON arrays of limited size."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from app.realtime.events import Publication, Signal


def pack(
    origin: str, publications: Sequence[Publication | Signal], message_bytes: int
) -> Iterator[bytes]:
    """Yield messages that carry publications; one without any if there are none.

    Args:
        origin: Who sends them.
        publications: What to carry. One whose payload does not fit goes without it, and a signal
            that does not fit is dropped.
        message_bytes: How large a message may be.
    """
    head = head_of(origin)
    parts = [head]
    size = len(head) + 1
    for publication in publications:
        part = _packed_whole(publication)
        if len(head) + len(part) + 2 > message_bytes:
            if isinstance(publication, Signal):
                continue
            part = _packed(publication, None)
        if size + len(part) + 1 > message_bytes:
            yield b",".join(parts) + b"]"
            parts, size = [head], len(head) + 1
        parts.append(part)
        size += len(part) + 1
    yield b",".join(parts) + b"]"


def head_of(origin: str) -> bytes:
    """Return how every message of a worker begins."""
    return b"[" + orjson.dumps(origin)


def _packed(publication: Publication, payload: bytes | None) -> bytes:
    return orjson.dumps((*publication[:-1], None if payload is None else payload.decode()))


def _packed_whole(part: Publication | Signal) -> bytes:
    if isinstance(part, Signal):
        return orjson.dumps(tuple(part))
    return _packed(part, part.payload)


def packed_names(names: Mapping[int, str]) -> bytes:
    """Return names by event id as the payload of a publication."""
    return orjson.dumps(names, option=orjson.OPT_NON_STR_KEYS)


def unpacked_names(payload: bytes) -> Mapping[int, str]:
    """Return what `packed_names` was given."""
    return {int(event_id): name for event_id, name in orjson.loads(payload).items()}


def unpack(message: bytes) -> tuple[str, list[Publication | Signal]]:
    """Return the origin and the publications of a message that `pack` made.

    Raises:
        ValueError: It is no such message.
    """
    origin, *parts = orjson.loads(message)
    return origin, list(map(_unpacked, parts))


def _unpacked(part: list[Any]) -> Publication | Signal:
    if isinstance(part[0], str):
        return Signal(*part)
    *facts, text = part
    return Publication(*facts, None if text is None else text.encode())  # type: ignore[call-arg]
