"""What the README claims: its commands are run, its tables held against the code."""

import re
import subprocess
from pathlib import Path

import pytest

from config import Config
from tests.servers import ROOT, Server

README = (ROOT / "README.md").read_text()
LIMITS = (ROOT / "docs" / "limits.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.server
def test_first_conversation_with_curl_goes_as_it_says(tmp_path: Path) -> None:
    commands = next(
        block for block in re.findall(r"```sh\n(.*?)```", README, re.S) if "curl" in block
    )

    with Server(tmp_path, {"RATELIMIT_ENABLED": "true"}) as server:
        done = subprocess.run(
            ["bash", "-euc", commands.replace("http://127.0.0.1:8000", server.url)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert done.returncode == 0, done.stderr
    assert '"username":"user2"' in done.stdout
    assert '"message":"user2 добавлен в друзья."' in done.stdout
    assert '"name":"user1_user2"' in done.stdout
    assert done.stdout.count('"content":"Привет!"') == 2


def test_every_setting_is_in_the_table() -> None:
    settings = README.partition("## Settings")[2].partition("## ")[0]
    named = set(re.findall(r"`([A-Z_]{4,})`", settings + LIMITS))

    assert set(Config.model_fields) <= named


def test_defaults_in_the_table_are_those_of_the_code() -> None:
    defaults = {
        name: field.get_default()
        for name, field in Config.model_fields.items()
        if isinstance(field.get_default(), int) and not isinstance(field.get_default(), bool)
    }

    for name, default in defaults.items():
        lines = [*README.splitlines(), *LIMITS.splitlines()]
        row = next(line for line in lines if line.startswith(f"| `{name}`"))
        assert row.rstrip(" |").endswith(f"| {default}"), row


def test_limits_in_the_table_are_those_of_the_code() -> None:
    rates = {
        name: field.get_default()
        for name, field in Config.model_fields.items()
        if name.startswith("RATELIMIT_") and isinstance(field.get_default(), str)
    }

    assert rates
    for name, rate in rates.items():
        (row,) = [line for line in LIMITS.splitlines() if line.startswith(f"| `{name}`")]
        assert row.endswith(f"| `{rate}` |"), row


def test_the_map_shows_what_is_there() -> None:
    where = CONTRIBUTING.partition("## The map")[2].partition("## ")[0]
    named = set(re.findall(r"^([\w./]+(?:\.py|/)) ", where, re.M))
    folders = {
        f"app/{path.name}/"
        for path in (ROOT / "app").iterdir()
        if path.is_dir() and not path.name.startswith("_") and any(path.glob("*.py"))
    }

    assert [path for path in named if not (ROOT / path).exists()] == []
    assert folders - named == set()


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    headings = {
        path: {
            re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in path.read_text().splitlines()
            if line.startswith("#")
        }
        for path in PAGES
    }

    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in headings[linked], target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_use_the_words_of_the_field(page: Path) -> None:
    word = r"\b(rung|sweep|swept|tally|attendance|standing|unwell|voucher)\b"

    assert re.findall(word, page.read_text(), re.I) == []
