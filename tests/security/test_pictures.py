"""Pictures that are none, or that are meant to do harm: through the door by which all of them come.

What is decoded and how is in tests/media/test_avatars.py; how files are kept and served, and
which paths lead nowhere, in tests/media/test_store.py.
"""

import io
import sqlite3
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.factories import Person, make_person
from tests.media.test_avatars import SVG, jpeg_of_scans, png_chunk, png_header, png_of_size
from tests.problems import check_problem
from tests.security.raw import ask, request
from tests.servers import Server

PROFILE = "/profiles/api/profile/"
REFUSED_SECONDS = 15.0  # the machine may be busy; without bounds some take minutes


@pytest.fixture(scope="module")
def ann(server: Server) -> Person:
    return make_person(server.url)


def encoded(kind: str = "PNG", **how: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (60, 60), "green").save(out, kind, **how)
    return out.getvalue()


def upload(
    person: Person, data: bytes, name: str = "me.png", kind: str = "image/png"
) -> httpx.Response:
    return person.http.patch(PROFILE, files={"image": (name, data, kind)})


def files(server: Server) -> set[Path]:
    """Return all files of pictures; those in messages are in a folder of their own."""
    root = Path(server.env["MEDIA_ROOT"])
    return {
        path for path in root.rglob("*") if path.is_file() and (root / "files") not in path.parents
    }


def image_of(person: Person) -> str:
    return str(person.get(PROFILE).json()["profile"]["image"])


@cache
def packed_zeros() -> bytes:
    """Return 200 MB of zeros, packed."""
    packed = zlib.compressobj(9)
    pieces = [packed.compress(b"\0" * 1_000_000) for _ in range(200)]
    return b"".join(pieces) + packed.flush()


def zipped_bomb(kind: bytes, before: bytes) -> bytes:
    """Return a small PNG with a text, or a colour profile, that unpacks to 200 MB."""
    whole = encoded()
    end_of_header = 8 + 25
    return whole[:end_of_header] + png_chunk(kind, before + packed_zeros()) + whole[end_of_header:]


def many_frames(count: int) -> bytes:
    """Return a GIF of many frames, each as large as the first one."""
    one = encoded("GIF")
    screen = 13 + 3 * 2 ** ((one[10] & 7) + 1) if one[10] & 0x80 else 13
    return one[:screen] + one[screen:-1] * count + b";"


def black(width: int, height: int) -> bytes:
    """Return a picture that is small as a file and large as a picture."""
    out = io.BytesIO()
    Image.new("1", (width, height)).save(out, "PNG")
    return out.getvalue()


HARMFUL = {
    "a page": b"<!doctype html><script>alert(1)</script>",
    "a drawing that is a program": SVG,
    "a page that begins like a GIF": b"GIF89a/*<script>*/=1;alert(1)//",
    "more pixels than we take, and they are there": black(7_000, 6_000),
    "far too many pixels": png_of_size(60_000, 60_000),
    "a few pixels too many": png_of_size(40_000_001, 1),
    "pixels that are not there": png_of_size(5_000, 5_000),
    "a picture painted endlessly": jpeg_of_scans(40_000)[: 5 * 1024 * 1024],
    "half a picture": encoded()[:-40],
    "a picture of another kind": encoded("BMP"),
    "a document": encoded("PDF"),
    "too many bytes": encoded().ljust(5 * 1024 * 1024 + 1, b"\0"),
    "one row of pixels that unpacks to gigabytes": (
        png_header(6_000, 6_000)
        + png_chunk(b"IDAT", zlib.compress(b"\0" * 30_000_000, 9))
        + png_chunk(b"IEND", b"")
    ),
}


@pytest.mark.parametrize("harmful", HARMFUL)
@pytest.mark.parametrize("kind", ["image/png", "image/svg+xml", "text/html"])
def test_harmful_picture_is_refused_soon_and_leaves_nothing(
    server: Server, ann: Person, harmful: str, kind: str
) -> None:
    upload(ann, encoded())
    before, image = files(server), ann.get(PROFILE).json()["profile"]["image"]
    began = time.monotonic()

    answer = upload(ann, HARMFUL[harmful], kind=kind)

    check_problem(answer, 400, "invalid", ["image"])
    assert time.monotonic() - began < REFUSED_SECONDS
    assert files(server) == before
    assert ann.get(PROFILE).json()["profile"]["image"] == image


ODD: dict[str, Callable[[], bytes]] = {
    "a text that unpacks to much": lambda: zipped_bomb(b"zTXt", b"Comment\0\0"),
    "a text in Unicode that does": lambda: zipped_bomb(b"iTXt", b"Comment\0\1\0\0\0"),
    "colours that do": lambda: zipped_bomb(b"iCCP", b"profile\0\0"),
    "ten thousand frames": lambda: many_frames(10_000),
    "a program behind its end": lambda: encoded("JPEG") + b"<script>alert(1)</script>",
    "an archive behind its end": lambda: encoded() + b"PK\x03\x04payload.html<script>",
    "a huge resolution": lambda: encoded(dpi=(50_000_000, 50_000_000)),
    "odd measures in its metadata": lambda: encoded(
        "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 274, 3, 2**31, 8)
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_picture_is_encoded_again_or_refused_quickly(
    server: Server, ann: Person, odd: str
) -> None:
    data = ODD[odd]()
    began = time.monotonic()

    answer = upload(ann, data)

    assert time.monotonic() - began < REFUSED_SECONDS
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 200:
        served = httpx.get(server.url + answer.json()["profile"]["image"]).content
        assert Image.open(io.BytesIO(served)).size == (512, 512)
        assert not any(part in served for part in (b"<script", b"PK\x03\x04", b"Comment"))


NAMES = [
    *("../../evil.jpg", "/etc/passwd", "..\\..\\evil.jpg", "C:\\evil.jpg", "evil.php", ".htaccess"),
    *(
        "evil.html",
        "me.jpg\0.php",
        "me.svg",
        "x" * 5_000,
        "nul",
        "юла.png",
        "a/b/c.png",
        "\r\nX: y",
    ),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:20])
def test_name_of_a_file_decides_nothing(server: Server, ann: Person, name: str) -> None:
    root = Path(server.env["MEDIA_ROOT"])
    before, had_one = len(files(server)), "default" not in image_of(ann)

    answer = upload(ann, encoded(), name, "text/html")

    assert answer.status_code in (200, 400), answer.text
    assert image_of(ann).startswith("/media/user_images/")
    assert all(
        path.parent == root / "user_images" and path.suffix == ".jpg" for path in files(server)
    )
    is_new = answer.status_code == 200 and not had_one
    assert len(files(server)) == before + is_new  # and the one before is gone


def test_picture_is_served_as_a_picture_and_as_nothing_else(server: Server, ann: Person) -> None:
    image = upload(ann, encoded()).json()["profile"]["image"]

    for path in (image, f"{image}?x=.html", "/media/user_images/default.jpg"):
        answer = ask(server, request("GET", path, "Host: x", "Accept: text/html"))

        assert answer.status == 200
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.body.startswith(b"\xff\xd8\xff")


def test_picture_whose_owner_cannot_be_noted_is_not_kept(server: Server, ann: Person) -> None:
    upload(ann, encoded())
    before = files(server)
    path = server.folder / "beseda.db"

    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody else writes for as long as this lasts
        answer = upload(ann, encoded())
        other.execute("ROLLBACK")

    check_problem(answer, 503, "database_unavailable")
    assert files(server) == before
