"""Pictures that take much memory, or much time."""

import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any

from PIL import Image

from bench.attacks.catalogue import Attack
from bench.attacks.kit import Account, Action, Scene, again_and_again, file_upload, upload
from tests.media.costly import jpeg_of_a_scan_for_each_colour, webp_of_tables

SIDE = 6324  # of 40 megapixels
BYTES = 5 * 1024 * 1024


def _saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def plain(mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Return a picture of one colour."""
    return Image.new(mode, size, 100 if mode in ("L", "P") else (1, 2, 3, 100)[: len(mode)])


def _animated_webp() -> bytes:
    first, second = plain("RGBA"), Image.new("RGBA", (SIDE, SIDE), (9, 9, 9, 9))
    return _saved(
        first, "WEBP", lossless=True, quality=0, method=0, save_all=True, append_images=[second]
    )


def _still_webp(*, lossless: bool = True) -> Callable[[], bytes]:
    return lambda: _saved(plain("RGBA"), "WEBP", lossless=lossless, quality=1, method=0)


def jpeg_of_scans(scans: int, side: int) -> bytes:
    """Return a progressive JPEG that paints its picture so many times (T.81, annex G)."""
    image = bytearray(b"\xff\xd8\xff\xdb\0\x43\0" + b"\1" * 64)
    image += b"\xff\xc2\0\x0b\x08" + struct.pack(">HH", side, side) + b"\1\1\x11\0"
    codes = bytes([0, 1, 1] + [0] * 13)
    image += b"\xff\xc4\0\x15\0" + codes + b"\0\1"
    image += b"\xff\xc4\0\x15\x10" + codes + b"\xe0\0"  # EOB14: 16,384 blocks and more
    blocks = ((side + 7) // 8) ** 2
    image += b"\xff\xda\0\x08\1\1\0\0\0\0" + b"\0" * (blocks // 4 + 1)
    runs = blocks // 32_767 + 1
    bits = "".join("00" + "1" * 14 for _ in range(runs))
    packed = int(bits.ljust((len(bits) + 7) // 8 * 8, "1"), 2).to_bytes((len(bits) + 7) // 8, "big")
    image += (b"\xff\xda\0\x08\1\1\0\1\x3f\0" + packed.replace(b"\xff", b"\xff\0")) * (scans - 1)
    return bytes(image) + b"\xff\xd9"


def _exif_segments() -> bytes:
    whole = _saved(plain(size=(60, 60)), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 18) + b"Exif\0\0II*\0\x08\0\0\0\0\0"
    return whole[:2] + segment * ((BYTES - len(whole)) // len(segment)) + whole[2:]


def _comments() -> bytes:
    whole = _saved(plain(size=(60, 60)), "JPEG")
    segment = b"\xff\xfe\0\3x"
    return whole[:2] + segment * ((BYTES - len(whole)) // len(segment)) + whole[2:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_of_chunks() -> bytes:
    whole = _saved(plain(size=(60, 60)), "PNG")
    chunk = _chunk(b"tEXt", b"a\0b")
    return whole[:33] + chunk * ((BYTES - len(whole)) // len(chunk)) + whole[33:]


def _gif_of_frames() -> bytes:
    frames = [Image.new("P", (SIDE, SIDE), number) for number in range(2)]
    return _saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _noise_png() -> bytes:
    noise = Image.frombytes("L", (2200, 2200), random.Random(7).randbytes(2200 * 2200))
    return _saved(noise, "PNG", compress_level=0)[:BYTES]


def sent(
    make: Callable[[], bytes],
    request: Callable[[Account, bytes], bytes] = upload,
    connections: int = 4,
) -> Callable[[Scene], list[Action]]:
    """Return an attack of one account with one picture."""
    make = cache(make)

    def begin(scene: Scene) -> list[Action]:
        picture = make()
        assert len(picture) <= BYTES, len(picture)
        return again_and_again(scene, request(scene.people[0], picture), connections)

    return begin


def _attack(
    family: str,
    name: str,
    make: Callable[[], bytes],
    request: Callable[[Account, bytes], bytes] = upload,
) -> Attack:
    return Attack(family, name, sent(make, request), "picture", {"RATELIMIT_UPLOADS": "600/hour"})


ATTACKS = [
    _attack("4 memory", "animated WebP, 40 MP", _animated_webp),
    _attack("4 memory", "lossless WebP, 40 MP", _still_webp()),
    _attack("4 memory", "lossy WebP, 40 MP", _still_webp(lossless=False)),
    _attack(
        "4 memory", "PNG of 1 x 39,999,999", lambda: _saved(plain("L", (1, 39_999_999)), "PNG")
    ),
    _attack("4 memory", "RGBA PNG, 40 MP", lambda: _saved(plain("RGBA"), "PNG")),
    _attack(
        "4 memory",
        "progressive CMYK JPEG, 40 MP",
        lambda: _saved(plain("CMYK"), "JPEG", progressive=True),
    ),
    _attack("4 memory", "CMYK JPEG, 40 MP", lambda: _saved(plain("CMYK"), "JPEG")),
    _attack(
        "4 memory",
        "progressive JPEG, 40 MP",
        lambda: _saved(plain(), "JPEG", progressive=True, subsampling=0),
    ),
    _attack("4 memory", "GIF of two frames, 40 MP", _gif_of_frames),
    _attack("4 memory", "WebP of 65,536 groups of tables", webp_of_tables),
    _attack("4 memory", "JPEG of a scan for each colour", jpeg_of_a_scan_for_each_colour),
    _attack(
        "4 memory",
        "RGBA PNG, 40 MP, in a message",
        lambda: _saved(plain("RGBA"), "PNG"),
        file_upload,
    ),
    _attack("4 memory", "WebP of tables in a message", lambda: webp_of_tables(3500), file_upload),
    _attack(
        "4 memory",
        "progressive JPEG, 40 MP, in a message",
        lambda: _saved(plain(), "JPEG", progressive=True),
        file_upload,
    ),
    _attack("8 time", "262,000 Exif segments", _exif_segments),
    _attack("8 time", "a million comments", _comments),
    _attack("8 time", "250 scans of 40 MP", lambda: jpeg_of_scans(250, 6320)),
    _attack("8 time", "1,000 scans of 1 MP", lambda: jpeg_of_scans(1000, 1000)),
    _attack("8 time", "350,000 chunks of a PNG", _png_of_chunks),
    _attack("8 time", "5 MB of noise", _noise_png),
]
