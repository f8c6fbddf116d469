"""Files that are sent to do harm: to those who open them, to the disk, to the worker."""

import gzip
import io
import struct
import zipfile
import zlib

import pytest
from flask import Flask
from PIL import Image
from werkzeug.test import TestResponse

from app.media.message_pictures import shown_picture
from app.messenger.files import uploads
from tests.messenger.files.test_uploads import files_of, picture, rows_of, send, sent
from tests.messenger.http import Caller, sign_up
from tests.problems import check_problem

SCRIPT = b"<script>alert(document.domain)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
PDF = b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj"


@pytest.fixture
def eve(app: Flask) -> Caller:
    return sign_up(app, "eve")


def opened(who: Caller, upload: dict) -> TestResponse:
    answer = who.ask("GET", f"/files/{upload['id']}/", buffered=True)
    assert answer.status_code == 200
    return answer


@pytest.mark.parametrize("name", ["photo.jpg", "page.html", "drawing.svg", "film.mp4"])
@pytest.mark.parametrize(
    "content",
    [
        SVG,
        b"\xef\xbb\xbf \n" + SVG,
        b"<!DOCTYPE html>" + SCRIPT,
        b"<?xml version='1.0'?><x:script xmlns:x='http://www.w3.org/1999/xhtml'/>",
        SCRIPT,
        PDF,
        b"text before " + SCRIPT,
        "＜script＞".encode("utf-16"),
        "<script>".encode("utf-16"),
        b"PK\x03\x04" + SCRIPT,
    ],
)
def test_what_could_be_active_is_never_shown(eve: Caller, content: bytes, name: str) -> None:
    answer = opened(eve, sent(eve, content, name))

    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    assert answer.mimetype in (
        *("application/octet-stream", "application/pdf", "application/zip", "text/plain"),
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.data == content


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_script_behind_or_in_a_picture_is_gone(eve: Caller, kind: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = SCRIPT.decode()  # ImageDescription
    for data in (picture((60, 40), kind, exif=exif), picture((60, 40), kind) + SCRIPT + PDF):
        answer = opened(eve, sent(eve, data, "a.html"))
        assert b"alert" not in answer.data
        assert answer.mimetype == f"image/{kind.lower()}"


def test_animation_with_a_script_is_shown_as_a_picture_alone(eve: Caller) -> None:
    answer = opened(eve, sent(eve, picture((60, 40), "GIF", "P") + SCRIPT, "a.html"))
    assert answer.mimetype == "image/gif"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


# Films and sounds as far as anybody looks, and pages behind that.
BOX = b"\0\0\0\x18ftyp"
FILMS = {
    "video/mp4": BOX + b"isom\0\0\2\0isomiso2" + SCRIPT,
    "video/webm": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm" + SCRIPT,
    "audio/mp4": BOX + b"M4A \0\0\2\0isomiso2" + SCRIPT,
    "audio/mpeg": b"ID3\x04\0\0" + SCRIPT,
    "audio/ogg": b"OggS" + bytes(24) + b"OpusHead" + SCRIPT,
    "audio/wav": b"RIFF<!--WAVEfmt -->" + SCRIPT,
    "audio/flac": b"fLaC" + SCRIPT,
}


@pytest.mark.parametrize("kind", FILMS)
def test_films_and_sounds_are_shown_as_such_and_as_nothing_else(eve: Caller, kind: str) -> None:
    answer = opened(eve, sent(eve, FILMS[kind], "page.html"))

    assert answer.headers["Content-Type"] == kind
    assert answer.headers["Content-Disposition"].startswith("inline; ")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.data == FILMS[kind]


@pytest.mark.parametrize(
    "content",
    [
        BOX + b"qt  " + SCRIPT,
        BOX + b"heic" + SCRIPT,
        b"<!--ftypisom-->" + SCRIPT,
        b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x88matroska" + SCRIPT,
        b"RIFF\x10\0\0\0AVI " + SCRIPT,
        b"FWS\x05" + SCRIPT,
    ],
)
def test_other_films_are_saved(eve: Caller, content: bytes) -> None:
    answer = opened(eve, sent(eve, content, "film.mp4"))
    assert answer.headers["Content-Disposition"].startswith("attachment; ")


@pytest.mark.parametrize("said", ["text/html", "image/svg+xml", "application/javascript"])
def test_type_that_the_sender_says_decides_nothing(eve: Caller, said: str) -> None:
    for content, kind in ((SCRIPT, "application/octet-stream"), (PDF, "application/pdf")):
        part = f'form-data; name="file"; filename="x.html"\r\nContent-Type: {said}'
        head = f"--limit\r\nContent-Disposition: {part}\r\n\r\n".encode()
        answer = eve.ask(
            "POST",
            "/uploads/",
            data=head + content + b"\r\n--limit--\r\n",
            content_type="multipart/form-data; boundary=limit",
        )
        assert answer.json["type"] == kind
        assert opened(eve, answer.json).headers["Content-Type"] == kind


def test_gif_that_is_a_script_is_no_picture(app: Flask, eve: Caller) -> None:
    # The same bytes are the head of a GIF and a script.
    check_problem(
        send(eve, b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)", "a.gif"), 400, "invalid", ["file"]
    )
    assert (files_of(app), rows_of(app)) == ({}, [])


@pytest.mark.parametrize(("name", "kind"), [("a.docx", "zip"), ("a.txt.gz", "gzip")])
def test_archive_is_never_opened(app: Flask, eve: Caller, name: str, kind: str) -> None:
    # 60 MB behind some ten kilobytes, of which none is unpacked.
    zeros = bytes(1_000_000)
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("[Content_Types].xml", "<Types/>")
            with archive.open("word/document.xml", "w", force_zip64=True) as member:
                for _ in range(60):
                    member.write(zeros)
    else:
        with gzip.GzipFile(fileobj=out, mode="wb") as archive:
            for _ in range(60):
                archive.write(zeros)

    upload = sent(eve, out.getvalue(), name)
    answer = opened(eve, upload)

    assert upload["size"] == len(out.getvalue()) == len(answer.data)
    assert answer.headers["Content-Type"] == f"application/{kind}"
    assert "Content-Encoding" not in answer.headers  # or the browser would unpack it
    assert answer.headers["Content-Disposition"].startswith("attachment; ")


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = zlib.compress(bytes(1000)) if width * height > 10**8 else zlib.compress(bytes(height))
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(65_000, 65_000), (10_000, 5_000), (30_000, 100)])
def test_bombs_are_refused_and_leave_nothing(
    app: Flask, eve: Caller, size: tuple[int, int]
) -> None:
    check_problem(send(eve, png_of(*size), "small.png"), 400, "invalid", fields=["file"])
    assert (files_of(app), rows_of(app)) == ({}, [])


def test_many_uploads_without_a_message_are_few_at_a_time(
    app: Flask, eve: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "UNATTACHED_MAX", 20)
    statuses = [send(eve, b"x").status_code for _ in range(40)]
    assert statuses == [201] * 20 + [413] * 20
    assert len(files_of(app)) == len(rows_of(app)) == 20


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "C:\\boot.ini", "a\u202egpj.exe", "x\u0000y", "a" * 5000]
)
def test_names_lead_nowhere(app: Flask, eve: Caller, name: str) -> None:
    answer = send(eve, b"x", name)
    if answer.status_code == 201:
        upload = answer.json
        assert not set(upload["name"]) & set("/\\\0\u202e")
        assert len(upload["name"]) <= 255
        assert [*files_of(app)] == [upload["id"]]
        said = opened(eve, upload).headers["Content-Disposition"]
        assert said.isascii()
        assert "\n" not in said
    else:  # the head of a part has a bound
        assert answer.status_code in (400, 413)
        assert (files_of(app), rows_of(app)) == ({}, [])


def test_gif_is_shown_small_by_its_first_frame_alone() -> None:
    frames = [Image.new("P", (1000, 1000), colour % 256) for colour in range(50)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    shown = shown_picture(out.getvalue())
    assert shown.data is None
    assert getattr(Image.open(io.BytesIO(shown.small)), "n_frames", 1) == 1
