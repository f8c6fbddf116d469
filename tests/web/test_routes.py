"""`/` and the files of the page, without a browser."""

import base64
import gzip
import hashlib
import re
import shutil
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.web.assets import FOLDER, Assets
from tests.conftest import make_config, sqlite_url

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PLACES = ["/chat/anna_boris", "/chat/a%2Fb/17", "/posts/mine", "/settings", "/invite", "/reset"]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """The application; nothing of the page needs a table."""
    folder = tmp_path_factory.mktemp("web")
    return create_app(make_config(folder, sqlite_url(folder)))


@pytest.fixture(scope="module")
def page(client: FlaskClient) -> TestResponse:
    return client.get("/", headers=HTML)


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def parts_of(page: TestResponse) -> list[str]:
    """Return the addresses of everything that the page loads from its own folder."""
    return re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)


def test_programs_get_the_name_of_the_service(client: FlaskClient) -> None:
    answer = client.get("/", headers={"Accept": "*/*"})

    assert answer.json is not None
    assert answer.json["name"] == "Beseda"
    for document in (answer.json["openapi"], answer.json["docs"]):
        assert client.get(document, buffered=True).status_code == 200
    assert "Accept" in answer.vary


@pytest.mark.parametrize("place", PLACES)
def test_every_address_of_the_page_answers_with_it(
    client: FlaskClient, page: TestResponse, place: str
) -> None:
    answer = client.get(place)

    assert (answer.status_code, answer.data) == (200, page.data)


def test_page_loads_nothing_that_is_not_there(client: FlaskClient, page: TestResponse) -> None:
    parts = parts_of(page)

    assert any(part.endswith("/js/all.js") for part in parts)
    for part in parts:
        answer = client.get(part)
        assert answer.status_code == 200, part
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_page_asks_for_few_files(page: TestResponse) -> None:
    code = [part for part in parts_of(page) if part.endswith(("js", "css"))]  # js and mjs

    assert len(set(code)) <= 10


def test_policy_allows_the_import_map_and_nothing_else_inline(page: TestResponse) -> None:
    policy = page.headers["Content-Security-Policy"]
    inline = re.findall(r"<script(?![^>]*src=)[^>]*>(.*?)</script>", page.text, re.DOTALL)
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'"
        for each in inline
    ]
    rules = dict(each.split(maxsplit=1) for each in policy.split("; "))

    assert rules["script-src"] == " ".join(["'self'", *hashes])
    assert rules["default-src"] == "'none'"
    assert rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in policy
    assert not re.search(r'\s(style|on\w+)="', page.text)


def test_answers_are_compressed_for_those_who_can_read_it(client: FlaskClient) -> None:
    plain = client.get("/", headers=HTML | {"Accept-Encoding": "identity"})
    packed = client.get("/", headers=HTML | {"Accept-Encoding": "gzip"})

    assert packed.content_encoding == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert "Accept-Encoding" in packed.vary


def test_who_has_the_page_is_told_so(client: FlaskClient, page: TestResponse) -> None:
    again = client.get("/", headers=HTML | {"If-None-Match": page.headers["ETag"]})

    assert (again.status_code, again.data) == (304, b"")


def test_first_load_is_light(client: FlaskClient, page: TestResponse) -> None:
    headers = {"Accept-Encoding": "gzip"}
    loaded = {part for part in parts_of(page) if not part.endswith(".png")}
    sizes = [len(client.get(part, headers=headers).data) for part in loaded]

    assert sum(sizes) + len(client.get("/", headers=HTML | headers).data) <= 100_000


@pytest.mark.parametrize("name", ["js/view/list.js", "css/list.css", "vendor/htm.mjs", "sw.js"])
def test_another_file_is_another_hash(tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "static")
    before = Assets(folder).hash
    with (folder / name).open("a") as file:
        file.write("one();\n")

    assert Assets(folder).hash != before


@pytest.mark.parametrize(
    "name", ["index.html", "vendor/vendor.json", "../routes.py", "%2e%2e/routes.py", "js"]
)
def test_serves_nothing_but_its_files(app: Flask, client: FlaskClient, name: str) -> None:
    base = re.findall(r"/static/\w+/", client.get("/", headers=HTML).text)[0]

    assert client.get(base + name).status_code == 404
    assert client.get(f"/static/0123456789abcdef/{name}").status_code == 404


def test_worker_keeps_every_file(client: FlaskClient, page: TestResponse) -> None:
    worker = client.get("/sw.js")

    assert worker.headers["Cache-Control"] == "no-cache"
    assert {part for part in parts_of(page) if f'"{part}"' not in worker.text} == set()


def test_manifest_names_icons_that_are_there(client: FlaskClient) -> None:
    manifest = client.get("/manifest.webmanifest").get_json(force=True)

    for icon in manifest["icons"]:
        assert client.get(icon["src"]).mimetype == icon["type"]


def test_page_can_be_left_out(tmp_path: Path) -> None:
    app = create_app(make_config(tmp_path, sqlite_url(tmp_path), WEB_CLIENT="off"))

    answer = app.test_client().get("/", headers=HTML)

    assert answer.json is not None
    assert answer.json["name"] == "Beseda"
    assert app.test_client().get("/chat/x").status_code == 404
    assert app.test_client().get("/sw.js").status_code == 404
