"""Files that come slowly, that never end, or that are large."""

from collections.abc import Callable

from bench.attacks.catalogue import Attack
from bench.attacks.kit import (
    MULTIPART,
    UPLOADS,
    Action,
    Scene,
    again_and_again,
    file_upload,
    head,
    poured,
)

FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
PICTURE = FILE.replace(b"file", b"image", 1)
LONG = "Content-Length: 20000000"
CHUNKED = "Transfer-Encoding: chunked"
TRICKLE = b"x" * 100
PROFILE = "/profiles/api/profile/"


def _sent_slowly(
    first: bytes = FILE,
    rest: bytes = TRICKLE,
    *,
    connections: int = 2,
    pause: float = 0.1,
    length: str = LONG,
    method: str = "POST",
    path: str = UPLOADS,
) -> Callable[[Scene], list[Action]]:
    """Return an attack of twenty accounts, each with some uploads that do not end."""

    def begin(scene: Scene) -> list[Action]:
        return [
            action
            for who in scene.people
            for action in poured(
                scene,
                head(method, path, who, f"Content-Type: {MULTIPART}", length) + first,
                rest,
                connections,
                pause,
            )
        ]

    return begin


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _large(scene: Scene) -> list[Action]:
    return [
        action
        for who in scene.people[:4]
        for action in again_and_again(scene, file_upload(who, b"x" * 20_000_000), 2)
    ]


ATTACKS = [
    Attack("27 slow uploads", "40 that trickle", _sent_slowly()),
    Attack("27 slow uploads", "200 that trickle", _sent_slowly(connections=10)),
    Attack(
        "27 slow uploads",
        "40 beyond their time, again and again",
        _sent_slowly(),
        settings={"UPLOAD_SECONDS": "1", "REQUEST_SECONDS": "1"},
    ),
    Attack(
        "27 slow uploads",
        "200 pictures of which 5 MB have come",
        _sent_slowly(
            PICTURE + b"x" * 5_000_000,
            connections=10,
            length="Content-Length: 6000000",
            method="PATCH",
            path=PROFILE,
        ),
    ),
    Attack(
        "28 uploads without an end",
        "small chunks",
        _sent_slowly(_chunk(FILE), _chunk(b"x") * 100, length=CHUNKED, pause=0.02),
    ),
    Attack(
        "28 uploads without an end",
        "headers of a part",
        _sent_slowly(FILE[:-2], b"x: y\r\n" * 10, pause=0.02),
    ),
    Attack(
        "28 uploads without an end",
        "parts",
        _sent_slowly(b"", FILE.replace(b'"file"', b'"other"') + b"x\r\n", pause=0.02),
    ),
    Attack(
        "28 uploads without an end",
        "halves of a boundary",
        _sent_slowly(FILE, b"\r\n--" * 5000, pause=0.02),
    ),
    Attack("29 large uploads", "20 MB, 8 at once", _large),
    Attack(
        "29 large uploads",
        "20 MB in pieces of 64 KiB, 20 at once",
        _sent_slowly(rest=b"x" * 65_536, connections=1, pause=0.002),
    ),
    Attack(
        "29 large uploads",
        "chunks of 64 KiB, 20 at once",
        _sent_slowly(
            _chunk(FILE), _chunk(b"x" * 65_536), connections=1, length=CHUNKED, pause=0.002
        ),
    ),
]
