"""The store of pictures and the route that serves them: nothing else of the disk can be had."""

import io
import os
import re
import resource
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_babel import Babel
from PIL import Image

from app.http.errors import as_api_error
from app.media.store import DEFAULT, MEDIA_URL, FolderStore, PictureNotFound, image_url, media
from tests.problems import check_problem

JPEG = b"\xff\xd8\xff\xe0 not much of a picture, but bytes to ask ranges of \xff\xd9"
OUTSIDE = "this is nobody's business"
HEX = "0123456789abcdef" * 2


@pytest.fixture
def root(tmp_path):
    (tmp_path / "secret.jpg").write_text(OUTSIDE)
    return tmp_path / "media"


@pytest.fixture
def store(root):
    return FolderStore(root)


class Reader(FlaskClient):
    """A client that reads each answer to its end and closes it, as a server does."""

    def open(self, *args, **how):
        return super().open(*args, buffered=True, **how)


def serving(store):
    """Return a client of a small application that has only this store and its route."""
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # as in the real one
    Babel(app)
    app.extensions["beseda"] = SimpleNamespace(media=store)  # all that the route asks for
    app.register_blueprint(media)
    app.register_error_handler(Exception, lambda error: as_api_error(error).response())
    app.test_client_class = Reader
    return app.test_client()


@pytest.fixture
def client(store):
    return serving(store)


def files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


# The store


def test_saved_picture_is_found_under_a_name_of_its_own(store):
    names = {store.save(JPEG) for _ in range(20)}

    assert len(names) == 20
    for name in names:
        assert re.fullmatch(r"user_images/[A-Za-z0-9_-]{22,64}\.jpg", name)
        assert store.find(name).read_bytes() == JPEG


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_saved_picture_may_be_read_by_all_and_written_by_its_owner(store, umask):
    before = os.umask(umask)
    try:
        path = store.find(store.save(JPEG))
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_picture_is_found_by_every_process_that_shares_the_folder(root):
    name = FolderStore(root).save(JPEG)

    assert FolderStore(root).find(name).read_bytes() == JPEG


def test_many_may_save_at_once_where_there_is_no_folder_yet(root):
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: FolderStore(root).save(JPEG), range(40)))

    assert files(root) == sorted(names)


@contextmanager
def small_disk():
    """Let no file of this process grow beyond 4 KiB, as on a disk that is nearly full.

    That holds for the tests' own output too, so it must end before anything is printed.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_an_error_of_the_system_and_leaves_nothing(store, root):
    with small_disk(), pytest.raises(OSError, match="File too large"):
        store.save(JPEG * 1000)

    assert files(root) == []


def test_root_that_cannot_be_made_is_an_error_of_the_system(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(NotADirectoryError):
        FolderStore(tmp_path / "file" / "media").save(JPEG)


def test_deleted_picture_is_gone_and_may_be_deleted_again(store, root):
    name, other = store.save(JPEG), store.save(JPEG)

    store.delete(name)
    store.delete(name)
    store.delete(None)

    assert store.find(name) is None
    assert files(root) == [other]


def test_default_picture_is_never_deleted(store, root):
    mine = root / DEFAULT
    mine.parent.mkdir(parents=True)
    mine.write_bytes(JPEG)

    store.delete(DEFAULT)

    assert mine.exists()
    assert store.find(DEFAULT).exists()


ESCAPES = [
    "../secret.jpg",
    "user_images/../../secret.jpg",
    f"user_images/../user_images/{HEX}.jpg",
    f"user_images/{HEX}.jpg/../../../secret.jpg",
    "user_images/..%2f..%2fsecret.jpg",
    "%2e%2e/secret.jpg",
    "..\\secret.jpg",
    f"user_images\\{HEX}.jpg",
    f"user_images/{HEX}.jpg\0",
    f"user_images/{HEX}.jpg\n",
    f"user_images/{HEX}\0.jpg",
    f"/user_images/{HEX}.jpg",
    f"./user_images/{HEX}.jpg",
    f"user_images//{HEX}.jpg",
    "/etc/passwd",
    "//etc/passwd",
    "user_images/",
    "user_images",
    "",
    ".",
    f"user_images/{HEX}.part",
    f"user_images/{HEX}.jpg/",
    f"user_images/{HEX}.html",
    f"user_images/{'٣' * 32}.jpg",
    "user_images/short.jpg",
    "user_images/DEFAULT.JPG",
    f"other/{HEX}.jpg",
]


@pytest.fixture
def full_root(root):
    """A folder with a file behind every name that a file can have and nobody may ask for."""
    folder = root / "user_images"
    folder.mkdir(parents=True)
    (root / "other").mkdir()
    names = [f"{HEX}.part", f"{HEX}.html", f"{HEX}.jpg\n", "short.jpg", f"{'٣' * 32}.jpg"]
    for path in [folder / name for name in names] + [root / "other" / f"{HEX}.jpg"]:
        path.write_text(OUTSIDE)
    (folder / f"{HEX}.jpg").write_bytes(JPEG)
    return root


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_but_a_picture_is_found_or_deleted(full_root, name):
    store, before = FolderStore(full_root), files(full_root.parent)

    store.delete(name)

    assert store.find(name) is None
    assert files(full_root.parent) == before


def test_link_is_not_followed(full_root):
    name = f"user_images/{HEX[::-1]}.jpg"
    (full_root / name).symlink_to(full_root.parent / "secret.jpg")
    store = FolderStore(full_root)

    assert store.find(name) is None
    assert serving(store).get(MEDIA_URL + name).status_code == 404


def test_folder_with_the_name_of_a_picture_is_none(full_root):
    name = f"user_images/{HEX[::-1]}.jpg"
    (full_root / name).mkdir()

    assert FolderStore(full_root).find(name) is None


# The route


def test_default_picture_ships_with_the_application(client):
    assert image_url(None) == "/media/user_images/default.jpg"

    response = client.get(image_url(None))

    assert response.status_code == 200
    assert len(response.data) < 20 * 1024
    picture = Image.open(io.BytesIO(response.data))
    assert (picture.format, picture.size) == ("JPEG", (512, 512))
    picture.load()


def test_saved_picture_is_served(store, client):
    response = client.get(image_url(store.save(JPEG)))

    assert response.status_code == 200
    assert response.data == JPEG


def test_picture_is_served_as_nothing_else(store, client):
    # Even a page in the store would be no page to a browser.
    headers = client.get(image_url(store.save(b"<script>alert(1)</script>"))).headers

    assert headers["Content-Type"] == "image/jpeg"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_picture_is_kept_for_a_year_and_the_default_one_for_an_hour(store, client):
    own = client.get(image_url(store.save(JPEG))).cache_control
    default = client.get(image_url(None)).cache_control

    assert (own.public, own.max_age, own.immutable) == (True, 31_536_000, True)
    assert (default.public, default.max_age, default.immutable) == (True, 3_600, False)


def test_head_answers_without_a_body(store, client):
    response = client.head(image_url(store.save(JPEG)))

    assert (response.status_code, response.data) == (200, b"")
    assert response.content_length == len(JPEG)


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nothing_is_changed_over_http(store, client, method):
    name = store.save(JPEG)

    assert getattr(client, method)(image_url(name)).status_code == 405
    assert store.find(name)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-3", (206, JPEG[:4], f"bytes 0-3/{len(JPEG)}")),
        ("bytes=10-", (206, JPEG[10:], f"bytes 10-{len(JPEG) - 1}/{len(JPEG)}")),
        ("bytes=-2", (206, JPEG[-2:], f"bytes {len(JPEG) - 2}-{len(JPEG) - 1}/{len(JPEG)}")),
    ],
)
def test_range_of_a_picture_is_served(store, client, asked, expected):
    response = client.get(image_url(store.save(JPEG)), headers={"Range": asked})

    assert (response.status_code, response.data, response.headers["Content-Range"]) == expected
    assert response.content_type == "image/jpeg"


def test_picture_that_is_not_the_expected_one_is_refused_as_all_is(app):
    answer = app.test_client().get(f"/media/{DEFAULT}", headers={"If-Match": '"another"'})

    check_problem(answer, 412, "precondition_failed")
    assert answer.headers["Cache-Control"] == "no-store"


def test_range_behind_the_end_is_refused(store, client):
    response = client.get(image_url(store.save(JPEG)), headers={"Range": "bytes=9999-"})

    assert response.status_code == 416
    assert response.mimetype == "application/problem+json"


def test_picture_that_the_client_has_is_not_sent_again(store, client):
    url = image_url(store.save(JPEG))
    etag = client.get(url).headers["ETag"]

    same = client.get(url, headers={"If-None-Match": etag})
    other = client.get(url, headers={"If-None-Match": '"another"'})

    assert (same.status_code, same.data) == (304, b"")
    assert same.cache_control.immutable
    assert (other.status_code, other.data) == (200, JPEG)


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("quote", [str, lambda name: name.replace(".", "%2e").replace("/", "%2f")])
def test_nothing_but_a_picture_is_served(full_root, name, quote):
    path = quote(name.replace("\0", "%00").replace("\n", "%0a"))

    response = serving(FolderStore(full_root)).get(MEDIA_URL + path)

    assert response.status_code == 404
    assert OUTSIDE.encode() not in response.data


def test_unknown_picture_is_a_problem_that_a_program_understands(client):
    response = client.get(f"{MEDIA_URL}user_images/{HEX}.jpg")

    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"
    assert (response.json["code"], response.json["detail"]) == (
        "not_found",
        "There is no such picture.",
    )


class ReplacedMeanwhile(FolderStore):
    """A store where every picture is removed between being found and being opened."""

    def find(self, name: str) -> Path | None:
        path = super().find(name)
        self.delete(name)
        return path


def test_picture_that_is_replaced_while_it_is_asked_for_is_not_found(root):
    store = ReplacedMeanwhile(root)

    response = serving(store).get(image_url(store.save(JPEG)))

    assert (response.status_code, response.json["code"]) == (404, PictureNotFound.code)
