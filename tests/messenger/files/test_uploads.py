"""Uploads: what comes in, what it becomes, and what there is room for."""

import errno
import io
import os
import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
from flask import Flask
from PIL import Image
from sqlalchemy import select
from werkzeug.test import TestResponse

from app.accounts.tokens import TokenNotValid
from app.database.transactions import reading, writing
from app.media import decoder
from app.media.files import FOLDER
from app.media.s3_files import BucketFiles
from app.messenger.files import uploads
from app.messenger.files.models import Upload
from app.services import services
from tests import buckets
from tests.apps import set_config
from tests.messenger.http import Caller, sign_up
from tests.problems import check_problem
from tests.servers import free_port

GPS, MAKE, ORIENTATION = 0x8825, 0x010F, 0x0112  # Exif 2.32, section 4.6
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 40


def send(who: Caller, data: bytes, name: str = "file.bin", field: str = "file") -> TestResponse:
    # Not by the test client, which would keep large forms in files that nobody closes.
    said = f'form-data; name="{field}"; filename="{name}"'
    body = f"--limit\r\nContent-Disposition: {said}\r\n\r\n".encode() + data + b"\r\n--limit--\r\n"
    kind = "multipart/form-data; boundary=limit"
    return who.ask("POST", "/uploads/", data=body, content_type=kind)


def sent(who: Caller, data: bytes, name: str = "file.bin") -> dict:
    answer = send(who, data, name)
    assert answer.status_code == 201, answer.text
    return answer.json


def fetched(who: Caller, url: str) -> TestResponse:
    answer = who.ask("GET", url.removeprefix("/messenger/api"), buffered=True)
    assert answer.status_code == 200, answer.text
    return answer


def picture(
    size: tuple[int, int] = (800, 600), kind: str = "JPEG", mode: str = "RGB", **how
) -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(out, kind, **how)
    return out.getvalue()


def photograph(size: tuple[int, int] = (800, 600), kind: str = "JPEG") -> bytes:
    """A picture as a phone takes it: lying, and knowing where it was."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[MAKE] = "PHONE OF ANN"
    exif.get_ifd(GPS).update({1: "N", 2: (55.0, 45.0, 21.0), 3: "E", 4: (37.0, 37.0, 2.0)})
    return picture(size, kind, exif=exif)


def files_of(app: Flask) -> dict[str, bytes]:
    """Return what the store has of files, whole or not, by name."""
    config = services(app).config
    if config.MEDIA_URL:
        stored = buckets.contents(config.MEDIA_URL)
        return {name.removeprefix(f"{FOLDER}/"): data for name, data in stored.items()}
    root = config.MEDIA_ROOT / FOLDER
    return {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def rows_of(app: Flask) -> list:
    with reading(services(app).engine) as connection:
        return list(connection.execute(select(Upload)))


@pytest.fixture
def ann(app: Flask) -> Caller:
    return sign_up(app, "ann")


def test_file_comes_back_as_it_was(ann: Caller) -> None:
    upload = sent(ann, PDF, "договор.pdf")

    assert set(upload) == {"id", "name", "type", "size", "url"}
    assert (upload["name"], upload["type"], upload["size"]) == (
        "договор.pdf",
        "application/pdf",
        len(PDF),
    )
    assert upload["url"] == f"/messenger/api/files/{upload['id']}/"
    assert fetched(ann, upload["url"]).data == PDF


def test_empty_file_is_a_file(ann: Caller) -> None:
    upload = sent(ann, b"", "empty")
    assert (upload["size"], fetched(ann, upload["url"]).data) == (0, b"")


def test_file_of_many_pieces_comes_back_as_it_was(ann: Caller) -> None:
    # It looks like boundaries of forms, and breaks where pieces break.
    data = (b"\r\n--boundary\r\n\r\n" + bytes(range(256))) * 12_000
    assert fetched(ann, sent(ann, data)["url"]).data == data


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_picture_is_encoded_again_upright_and_without_its_place(ann: Caller, kind: str) -> None:
    upload = sent(ann, photograph((800, 600), kind), "photo")

    assert (upload["type"], upload["width"], upload["height"]) == (
        f"image/{kind.lower()}",
        600,
        800,
    )
    assert upload["small"] == f"{upload['url']}?size=small"
    for url, size in ((upload["url"], (600, 800)), (upload["small"], (360, 480))):
        answer = fetched(ann, url)
        shown = Image.open(io.BytesIO(answer.data))
        assert shown.size == size
        assert not shown.getexif()
        assert b"PHONE OF ANN" not in answer.data
        assert answer.mimetype == Image.MIME[shown.format]
        assert answer.headers["Content-Disposition"].startswith("inline")
    assert upload["size"] == len(fetched(ann, upload["url"]).data)


@pytest.mark.slow
def test_large_picture_is_scaled(ann: Caller) -> None:
    upload = sent(ann, picture((5000, 2000)), "wide.jpg")
    assert (upload["width"], upload["height"]) == (2048, 819)


def test_small_picture_needs_no_smaller_one(ann: Caller) -> None:
    upload = sent(ann, picture((480, 300), "PNG"), "a.png")
    assert "small" not in upload
    # Who asks for a small one gets the file.
    assert fetched(ann, upload["url"] + "?size=small").data == fetched(ann, upload["url"]).data


def test_what_one_can_see_through_stays_so(ann: Caller) -> None:
    out = io.BytesIO()
    Image.new("RGBA", (600, 600), (255, 0, 0, 100)).save(out, "PNG")
    upload = sent(ann, out.getvalue(), "logo.png")
    for url in (upload["url"], upload["small"]):
        assert Image.open(io.BytesIO(fetched(ann, url).data)).mode == "RGBA"


def test_gif_stays_an_animation(ann: Caller) -> None:
    frames = [Image.new("P", (600, 20), colour) for colour in (1, 2, 3)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])

    upload = sent(ann, out.getvalue(), "dance.gif")

    assert fetched(ann, upload["url"]).data == out.getvalue()
    assert (upload["width"], upload["height"]) == (600, 20)
    assert fetched(ann, upload["small"]).mimetype == "image/webp"


def test_gif_beyond_five_megabytes_is_no_picture(ann: Caller) -> None:
    gif = picture((300, 300), "GIF", "P")
    upload = sent(ann, gif + b"\0" * 5 * 1024 * 1024, "long.gif")
    assert "width" not in upload
    assert fetched(ann, upload["url"]).headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize("broken", [b"\xff\xd8\xff\xe0" + b"x" * 99, picture()[:2000]])
def test_picture_that_cannot_be_read_is_refused(app: Flask, ann: Caller, broken: bytes) -> None:
    answer = send(ann, broken, "photo.jpg")
    check_problem(answer, 400, "invalid", fields=["file"])
    assert (files_of(app), rows_of(app)) == ({}, [])


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"file": "text"},
        {"other": ["name"]},
        {"file": [""]},
        {"file": ["a", "b"]},
    ],
)
def test_form_without_one_file_is_refused(app: Flask, ann: Caller, form: dict) -> None:
    form = {
        field: [(io.BytesIO(b"x"), name) for name in names] if isinstance(names, list) else names
        for field, names in form.items()
    }
    answer = ann.ask("POST", "/uploads/", data=form, content_type="multipart/form-data")
    check_problem(answer, 400, "invalid", fields=["file"])
    assert (files_of(app), rows_of(app)) == ({}, [])


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("application/x-www-form-urlencoded", b"file=x", 415),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n", 400),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nno end',
            400,
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="\xff"; filename="f"\r\n\r\nx\r\n--b--',
            400,
        ),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"x" * 200_000, 413),
        ("multipart/form-data; boundary=b", b"x" * 200_000, 413),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n' * 200 + b"--b--\r\n",
            413,
        ),
    ],
)
def test_what_is_no_form_is_refused(
    app: Flask, ann: Caller, content_type: str, body: bytes, status: int
) -> None:
    answer = ann.ask("POST", "/uploads/", data=body, content_type=content_type)
    check_problem(answer, status, fields=["non_field_errors"] if status == 400 else ())
    assert (files_of(app), rows_of(app)) == ({}, [])


def test_too_large_a_file_is_refused(
    app: Flask, ann: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_config(app, monkeypatch, UPLOAD_BYTES=100_000)
    assert send(ann, b"x" * 100_000).status_code == 201
    before = rows_of(app)
    for size in (100_001, 1_000_000):
        check_problem(send(ann, b"x" * size), 413, "too_large")
    assert len(files_of(app)) == 1
    assert rows_of(app) == before


def test_length_is_refused_before_the_body_is_read(
    app: Flask, ann: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unread(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise AssertionError("the body was read")

        readinto = readline = read  # type: ignore[assignment]

    def ask(length: int) -> TestResponse:
        return app.test_client().open(
            "/messenger/api/uploads/",
            method="POST",
            headers=ann.bearer,
            input_stream=Unread(),
            content_type="multipart/form-data; boundary=b",
            environ_overrides={"CONTENT_LENGTH": str(length)},
        )

    check_problem(ask(4 * 1024**3), 413, "too_large")
    set_config(app, monkeypatch, UPLOAD_TOTAL_BYTES=10_000)
    check_problem(ask(20_000), 413, "quota")


def test_files_of_one_person_have_a_quota(
    app: Flask, ann: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_config(app, monkeypatch, UPLOAD_TOTAL_BYTES=50_000)
    first = sent(ann, b"x" * 30_000)
    check_problem(send(ann, b"x" * 30_000), 413, "quota")
    assert send(sign_up(app), b"x" * 30_000).status_code == 201  # others have their own

    ann.do("DELETE", f"/files/{first['id']}/", status=204)
    assert send(ann, b"x" * 30_000).status_code == 201


def test_few_files_may_wait_for_their_message(
    app: Flask, ann: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "UNATTACHED_MAX", 3)
    for _ in range(3):
        sent(ann, b"x")
    check_problem(send(ann, b"x"), 413, "quota")


def test_erased_account_sends_nothing(app: Flask, ann: Caller) -> None:
    # Erased while the file is on its way.
    def pieces():
        yield b"first"
        with writing(services(app).engine) as connection:
            uploads.expire(connection, Upload.user_id == ann.id)
        yield b"last"

    with (
        app.app_context(),
        pytest.raises(TokenNotValid),
        uploads.room_for_file(ann.id, None) as upload_id,
    ):
        uploads.store_file(upload_id, "name", pieces())
    assert (files_of(app), rows_of(app)) == ({}, [])


def test_failure_of_the_store_is_reported(app: Flask, ann: Caller) -> None:
    upload = sent(ann, b"before")
    put_out_of_order(app)
    answer = send(ann, b"x")
    check_problem(answer, 503, "storage_unavailable")
    assert answer.headers["Retry-After"]
    assert [row.id for row in rows_of(app) if row.type] == [upload["id"]]


def put_out_of_order(app: Flask) -> None:
    """Let the store of files take nothing: its folder is a file, or nobody serves its bucket."""
    config = services(app).config
    if config.MEDIA_URL:
        nowhere = f"http://127.0.0.1:{free_port()}"
        services(app).files = BucketFiles(replace(config.MEDIA_URL, endpoint=nowhere))
        return
    shutil.rmtree(config.MEDIA_ROOT)
    config.MEDIA_ROOT.mkdir()
    (config.MEDIA_ROOT / FOLDER).write_text("in the way")


@pytest.mark.parametrize("app", ["bucket"], indirect=True)
def test_file_of_a_storage_that_is_away_is_not_gone(app: Flask, ann: Caller) -> None:
    upload, store = sent(ann, b"text"), services(app).files
    put_out_of_order(app)
    answer = ann.ask("GET", f"/files/{upload['id']}/", buffered=True)
    check_problem(answer, 503, "storage_unavailable")
    services(app).files = store
    assert fetched(ann, upload["url"]).data == b"text"


def test_large_file_goes_to_the_disk_bit_by_bit(
    ann: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, synced = os.fsync, []

    def note_and_sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note_and_sync)
    upload = sent(ann, os.urandom(3_500_000), "a.bin")

    assert upload["size"] == 3_500_000
    steps = [after - before for before, after in pairwise([0, *synced])]
    assert len(synced) >= 3
    assert max(steps) <= 1024 * 1024 + 256 * 1024


def test_picture_can_be_sent_again_when_there_was_no_place_for_its_process(
    ann: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_place() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(decoder, "fork", no_place)
        check_problem(send(ann, picture(), "a.jpg"), 503, "storage_unavailable")

    assert sent(ann, picture(), "a.jpg")["type"] == "image/jpeg"
