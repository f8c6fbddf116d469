"""Pictures in a bucket, against a real server that speaks S3: served as from a folder, or 503."""

import io
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from PIL import Image

from app import create_app
from app.accounts.registration import register
from app.accounts.tokens import TokenNotValid
from app.media.s3 import BucketStore
from app.media.s3_files import BucketFiles
from app.media.store import DEFAULT, FolderStore, PicturesUnavailable, image_url, read_picture
from app.profiles.services import change_profile
from app.services import services
from config import ConfigError
from config_urls import Bucket
from tests.buckets import BUCKET, KEYS, owner_of
from tests.conftest import make_config, sqlite_url
from tests.factories import make_person
from tests.media.test_store import ESCAPES, JPEG, serving
from tests.servers import ROOT, Server, free_port

PREFIX = "team/"
HEX = "0123456789abcdef" * 2


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def s3(storage: str) -> Any:
    """What the bucket's owner sees of it; it is empty."""
    owner = owner_of(storage)
    for name in objects(owner):
        owner.delete_object(Bucket=BUCKET, Key=name)
    return owner


def objects(s3: Any) -> list[str]:
    found = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return [each["Key"] for each in found]


def store_at(endpoint: str) -> BucketStore:
    return BucketStore(Bucket(BUCKET, PREFIX, endpoint, "us-east-1"))


@pytest.fixture
def store(s3: Any, storage: str) -> BucketStore:
    return store_at(storage)


def url_at(endpoint: str) -> str:
    return f"s3://{BUCKET}/{PREFIX}?endpoint={endpoint}&region=us-east-1"


def test_saved_picture_is_in_the_bucket_under_a_name_of_its_own(
    store: BucketStore, s3: Any
) -> None:
    names = {store.save(JPEG) for _ in range(3)}

    assert set(objects(s3)) == {PREFIX + name for name in names}
    for name in names:
        assert store.find(name).data == JPEG
        assert s3.head_object(Bucket=BUCKET, Key=PREFIX + name)["ContentType"] == "image/jpeg"


def test_deleted_picture_is_gone_and_may_be_deleted_again(store: BucketStore, s3: Any) -> None:
    name, other = store.save(JPEG), store.save(JPEG)

    for each in (name, name, None, DEFAULT):
        store.delete(each)

    assert store.find(name) is None
    assert objects(s3) == [PREFIX + other]


def test_picture_is_served_as_from_a_folder(store: BucketStore, tmp_path: Path) -> None:
    folder = FolderStore(tmp_path)
    here = serving(folder).get(image_url(folder.save(JPEG)))
    there = serving(store).get(image_url(store.save(JPEG)))

    assert (there.status_code, there.data) == (200, JPEG)
    # Of these only the values: two answers may come in two seconds.
    varying = {"ETag", "Last-Modified", "Content-Disposition", "Date", "Expires"}
    named = [{name for name, _ in answer.headers} for answer in (here, there)]
    for answer in (here, there):
        for name in varying:
            answer.headers.remove(name)
    assert named[0] == named[1] > varying
    assert dict(there.headers) == dict(here.headers)


def test_picture_that_the_client_has_is_not_sent_again_and_a_part_of_it_is(
    store: BucketStore,
) -> None:
    url, client = image_url(store.save(JPEG)), serving(store)
    etag = client.get(url).headers["ETag"]

    same = client.get(url, headers={"If-None-Match": etag})
    part = client.get(url, headers={"Range": "bytes=0-3"})
    head = client.head(url)

    assert (same.status_code, same.data) == (304, b"")
    assert (part.status_code, part.data) == (206, JPEG[:4])
    assert (head.status_code, head.data, head.content_length) == (200, b"", len(JPEG))


def test_nothing_but_a_picture_is_found_or_deleted(store: BucketStore, s3: Any) -> None:
    for name in (*ESCAPES, "secret.jpg"):
        for key in (name, f"{PREFIX}{name}"):
            if key.isprintable() and key:  # the storage takes no others
                s3.put_object(Bucket=BUCKET, Key=key, Body=b"nobody's business")
    before = objects(s3)

    found = []
    for name in ESCAPES:
        store.delete(name)
        found += [name] if store.find(name) is not None else []

    assert found == []
    assert objects(s3) == before
    assert len(before) > len(ESCAPES)


def test_unknown_picture_is_not_found(store: BucketStore) -> None:
    response = serving(store).get(f"/media/user_images/{HEX}.jpg")

    assert (response.status_code, response.json["code"]) == (404, "not_found")


def test_picture_is_read_from_the_bucket(store: BucketStore) -> None:
    name = store.save(JPEG)

    assert read_picture(store, name) == JPEG
    assert read_picture(store, f"user_images/{HEX}.jpg") is None


# A storage that is away


def test_failure_to_read_or_remove_a_picture_is_reported() -> None:
    store = store_at("http://127.0.0.1:1")

    with pytest.raises(PicturesUnavailable):
        read_picture(store, f"user_images/{HEX}.jpg")
    with pytest.raises(OSError):  # noqa: PT011 - which one is not said
        store.delete(f"user_images/{HEX}.jpg")


def app_at(endpoint: str, folder: Path) -> Flask:
    app = create_app(make_config(folder, sqlite_url(folder), MEDIA_URL=url_at(endpoint)))
    with app.app_context():
        upgrade()
        register("ann", "ann@example.com", "correct horse battery")
    return app


def log_in(client: FlaskClient) -> dict[str, str]:
    body = {"username": "ann", "password": "correct horse battery"}
    return {
        "Authorization": f"Bearer {client.post('/accounts/api/token/', json=body).json['access']}"
    }


def picture() -> io.BytesIO:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    out.seek(0)
    return out


def test_storage_that_is_away_is_503_and_the_profile_stays_as_it_was(tmp_path: Path) -> None:
    app = app_at("http://127.0.0.1:1", tmp_path)
    client = app.test_client()
    bearer = log_in(client)
    profile = "/profiles/api/profile/"

    put = client.patch(profile, data={"bio": "new", "image": (picture(), "x.png")}, headers=bearer)
    got = client.get(f"/media/user_images/{HEX}.jpg")
    default = client.get(image_url(None), buffered=True)
    shown = client.get(profile, headers=bearer)

    for answer in (put, got):
        assert answer.status_code == 503
        assert answer.mimetype == "application/problem+json"
        assert answer.json["code"] == "storage_unavailable"
        assert answer.headers["Retry-After"]
    assert default.status_code == 200
    assert shown.json["profile"] == {"image": image_url(None), "bio": "", "friends": []}
    services(app).engine.dispose()


def test_old_picture_that_cannot_be_removed_is_no_reason_to_refuse_the_new_one(
    s3: Any, storage: str, tmp_path: Path
) -> None:
    app = app_at(storage, tmp_path)
    with app.app_context():
        change_profile(1, {"image": picture().read()})
        services(app).media = store_at("http://127.0.0.1:1")
        change_profile(1, {"image": None})
    profile = app.test_client().get("/profiles/api/profile/", headers=log_in(app.test_client()))

    assert profile.json["profile"]["image"] == image_url(None)
    services(app).engine.dispose()


def test_picture_is_in_its_owners_export_and_without_the_storage_there_is_none(
    s3: Any, storage: str, tmp_path: Path
) -> None:
    app = app_at(storage, tmp_path)
    client = app.test_client()
    bearer = log_in(client)
    with app.app_context():
        change_profile(1, {"image": picture().read()})
    (name,) = objects(s3)

    with client.get("/accounts/api/users/me/export/", headers=bearer) as whole:
        shown = whole.json["profile"]["image"]["base64"]  # and closed, or it would not be over
    services(app).media = store_at("http://127.0.0.1:1")
    none = client.get("/accounts/api/users/me/export/", headers=bearer)

    stored = s3.get_object(Bucket=BUCKET, Key=name)["Body"].read()
    assert b64decode(shown) == stored
    assert (none.status_code, none.json["code"]) == (503, "storage_unavailable")
    services(app).engine.dispose()


def test_picture_of_a_change_that_failed_is_not_left_behind(
    s3: Any, storage: str, tmp_path: Path
) -> None:
    app = app_at(storage, tmp_path)

    with app.app_context(), pytest.raises(TokenNotValid):
        change_profile(999, {"image": picture().read()})

    assert objects(s3) == []
    services(app).engine.dispose()


class Middleman(ThreadingHTTPServer):
    """Stands between us and a storage.

    Attributes:
        loses_answers: Whether nobody hears what became of what was put.
        may_show: Until it is set, nobody hears what was asked for.
        is_asked: Set when somebody asks.
    """

    daemon_threads = True

    def __init__(self, storage: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.storage = storage
        self.loses_answers = False
        self.may_show = threading.Event()
        self.is_asked = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Passing(BaseHTTPRequestHandler):
    server: Middleman

    def do_PUT(self) -> None:
        self._pass_on(is_lost=self.server.loses_answers)

    def do_DELETE(self) -> None:
        self._pass_on()

    def do_GET(self) -> None:
        self.server.is_asked.set()
        self.server.may_show.wait(20)
        self._pass_on()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _pass_on(self, *, is_lost: bool = False) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name != "Host"}
        answer = httpx.request(
            self.command, self.server.storage + self.path, headers=headers, content=body
        )
        if is_lost:
            self.close_connection = True
            return
        self.send_response(answer.status_code)
        for name in ("Content-Type", "Last-Modified", "ETag"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        with suppress(OSError):  # who asked has given up
            self.wfile.write(answer.content)


@pytest.fixture
def middleman(storage: str) -> Iterator[Middleman]:
    middleman = Middleman(storage)
    yield middleman
    middleman.may_show.set()
    middleman.shutdown()
    middleman.server_close()


def test_picture_whose_storing_was_never_confirmed_is_not_left_behind(
    s3: Any, middleman: Middleman
) -> None:
    store = store_at(middleman.url)
    middleman.loses_answers = True

    with pytest.raises(OSError, match="Connection was closed"):
        store.save(JPEG)

    assert objects(s3) == []


# A server


@pytest.mark.server
def test_server_keeps_pictures_in_the_bucket_and_serves_on_while_it_waits_for_one(
    s3: Any, middleman: Middleman, tmp_path: Path
) -> None:
    with Server(tmp_path, KEYS | {"MEDIA_URL": url_at(middleman.url)}) as server:
        ann = make_person(server.url)
        changed = ann.http.patch("/profiles/api/profile/", files={"image": picture()})
        url = changed.json()["profile"]["image"]
        waiting = threading.Thread(
            target=lambda: httpx.get(server.url + url, timeout=30), daemon=True
        )
        waiting.start()
        assert middleman.is_asked.wait(10)
        alive = httpx.get(f"{server.url}/readyz", timeout=10)
        still_waits = waiting.is_alive()
        middleman.may_show.set()
        waiting.join(20)
        shown = httpx.get(server.url + url)

    assert changed.status_code == 200
    assert objects(s3) == [f"{PREFIX}{url.removeprefix('/media/')}"]
    assert not (tmp_path / "media").exists()
    assert alive.status_code == 200
    assert still_waits
    assert (shown.status_code, shown.headers["Content-Type"]) == (200, "image/jpeg")


# The setting


@pytest.mark.parametrize(
    ("url", "bucket"),
    [
        ("s3://pictures", Bucket("pictures", "", None, None)),
        ("s3://pictures/", Bucket("pictures", "", None, None)),
        ("s3://pictures/a/b/", Bucket("pictures", "a/b/", None, None)),
        (
            "s3://my.pictures/a?endpoint=https://s3.example:9000&region=eu-1",
            Bucket("my.pictures", "a/", "https://s3.example:9000", "eu-1"),
        ),
    ],
)
def test_bucket_is_named_by_a_url(tmp_path: Path, url: str, bucket: Bucket) -> None:
    assert bucket == make_config(tmp_path, sqlite_url(tmp_path), MEDIA_URL=url).MEDIA_URL


@pytest.mark.parametrize(
    "url",
    [
        "pictures",
        "https://s3.example/pictures",
        "s3://",
        "s3:///prefix",
        "s3://Pictures",
        "s3://key:hidden@pictures",
        "s3://pictures:9000",
        "s3://pictures/два",
        "s3://pictures?endpoint=s3.example",
        "s3://pictures?endpoint=https://key:hidden@s3.example",
        "s3://pictures?region=",
        "s3://pictures?acl=public",
        "s3://pictures#x",
    ],
)
def test_url_that_names_no_bucket_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_config(tmp_path, sqlite_url(tmp_path), MEDIA_URL=url)

    assert "MEDIA_URL" in str(refused.value)
    assert "expected s3://bucket/prefix" in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_what_is_not_installed_is_named_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(ConfigError, match=r"pip install -r requirements-s3\.txt"):
        make_config(tmp_path, sqlite_url(tmp_path), MEDIA_URL="s3://pictures")
    assert make_config(tmp_path, sqlite_url(tmp_path)).MEDIA_URL is None


def test_nothing_of_it_is_loaded_where_nobody_asks(tmp_path: Path) -> None:
    code = "import sys, wsgi; print([name for name in sys.modules if name.startswith('boto')])"

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=Server(tmp_path).env,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == "[]"


# Files of messages


def test_file_of_a_message_is_in_the_bucket_and_read_in_parts(storage: str, s3: Any) -> None:
    store = BucketFiles(Bucket(BUCKET, PREFIX, storage, "us-east-1"))
    data = bytes(range(256)) * 3000  # more than one piece
    with store.draft(HEX) as draft:
        draft.write(data)
        store.keep(HEX, draft)

    assert objects(s3) == [f"{PREFIX}files/{HEX}"]
    assert b"".join(store.read(HEX, 0, len(data))) == data
    assert b"".join(store.read(HEX, 1000, 500_000)) == data[1000:501_000]
    assert b"".join(store.read(HEX, 5, 0)) == b""

    store.delete(HEX)
    store.delete(HEX)
    assert objects(s3) == []
    with pytest.raises(FileNotFoundError):
        store.read(HEX, 0, 1)


@pytest.mark.parametrize("name", ["../secret", "user_images/x.jpg", "", HEX + "/"])
def test_other_names_are_none_of_a_file(storage: str, name: str) -> None:
    store = BucketFiles(Bucket(BUCKET, PREFIX, storage, "us-east-1"))
    for act in (lambda: store.read(name, 0, 1), lambda: store.delete(name)):
        with pytest.raises(FileNotFoundError):
            act()


def test_file_while_the_storage_is_away_is_an_error_of_files() -> None:
    store = BucketFiles(Bucket(BUCKET, PREFIX, f"http://127.0.0.1:{free_port()}", "us-east-1"))
    with store.draft(HEX) as draft:
        draft.write(b"x")
        with pytest.raises(OSError, match=r"."):
            store.keep(HEX, draft)
    with pytest.raises(OSError, match=r"."):
        store.read(HEX, 0, 1)
