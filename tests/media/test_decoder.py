"""A picture is worked with in a process of its own, which has bounds."""

import errno
import io
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from app.media import decoder
from app.media.avatars import avatar_from
from app.media.decoder import decoded
from app.media.message_pictures import ShownPicture, shown_picture
from app.media.pictures import InvalidPicture, TooManyPixels, TooMuchMemory
from tests.media.costly import jpeg_of_a_scan_for_each_colour, webp_of_tables

COSTLY: dict[str, Callable[[], bytes]] = {
    "WebP of 65,536 groups of tables": webp_of_tables,
    "… of 13 megapixels": lambda: webp_of_tables(3500),
    "JPEG of three scans": jpeg_of_a_scan_for_each_colour,
    "JPEG of four scans": lambda: jpeg_of_a_scan_for_each_colour(colours=4),
}


def small_png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (60, 40), "green").save(out, "PNG")
    return out.getvalue()


def raise_too_many(_data: bytes) -> None:
    raise TooManyPixels


def raise_another(_data: bytes) -> None:
    raise KeyError("what it is")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def no_place() -> int:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def crash(_data: bytes) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def spin(_data: bytes) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:  # and not for ever, should the bound be gone
        pass


def test_result_is_what_the_function_returns() -> None:
    shown = decoded(shown_picture, small_png())

    assert isinstance(shown, ShownPicture)
    assert (shown.width, shown.height) == (60, 40)
    assert Image.open(io.BytesIO(decoded(avatar_from, small_png()))).size == (512, 512)


def test_error_is_the_one_that_the_function_raises() -> None:
    with pytest.raises(TooManyPixels) as refused:
        decoded(raise_too_many, b"")
    assert str(refused.value.sentence) == "The picture has more than 40 megapixels."

    with pytest.raises(KeyError, match="what it is"):
        decoded(raise_another, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
@pytest.mark.parametrize("name", COSTLY)
@pytest.mark.parametrize("function", [avatar_from, shown_picture])
def test_small_file_that_takes_much_memory_is_refused(
    name: str, function: Callable[[bytes], object]
) -> None:
    with pytest.raises(InvalidPicture):
        decoded(function, COSTLY[name]())


def test_decoder_that_crashes_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TooMuchMemory):
        decoded(crash, b"")

    assert f"status {signal.SIGSEGV.value}" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="it counts in /proc")
def test_nothing_stays_open_when_there_is_no_place_for_another_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoder, "fork", no_place)
    before = open_descriptors()

    with pytest.raises(BlockingIOError):
        decoded(shown_picture, small_png())

    assert open_descriptors() == before


def test_decoder_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "CPU_SECONDS", 1)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime

    with pytest.raises(TooMuchMemory):
        decoded(spin, b"")

    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 3


def test_connection_that_is_closed_meanwhile_does_not_stay_open() -> None:
    ours, theirs = socket.socketpair()
    with closing(theirs):
        theirs.settimeout(3)
        thread = threading.Thread(target=decoded, args=(lambda _data: time.sleep(5), b""))
        thread.start()
        time.sleep(0.3)

        ours.close()

        assert theirs.recv(1) == b""
        assert thread.is_alive()
        thread.join()
