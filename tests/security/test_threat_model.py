"""`docs/security.md` names the tests that show what it claims: they are there, and none is forgotten."""

import re

import pytest

from config import Config
from tests.servers import ROOT

MODEL = (ROOT / "docs" / "security.md").read_text()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"tests/[\w/]+\.py", MODEL))))
def test_named_test_is_there(path: str) -> None:
    assert "def test_" in (ROOT / path).read_text()


def test_every_security_test_is_named() -> None:
    found = {path.name for path in (ROOT / "tests" / "security").glob("test_*.py")}
    named = set(re.findall(r"tests/security/(\w+\.py)", MODEL))

    assert found - named == {"test_threat_model.py"}


def test_every_defence_has_a_test() -> None:
    defences = MODEL.partition("## What we defend, and how")[2].partition("## ")[0]
    rows = [line for line in defences.splitlines() if line.startswith("|")][2:]

    assert rows
    assert all(re.search(r"`tests/[\w/]+\.py` *(\||, )", row) for row in rows), rows


def test_every_setting_it_names_is_one() -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", MODEL))

    assert named
    assert named <= set(Config.model_fields)
