"""The libraries of the page are those that were published."""

import json
import shutil
from pathlib import Path

import pytest

from app.web.vendor import MANIFEST, check

MANIFESTS = [MANIFEST, Path(__file__).with_name("vendor") / "vendor.json"]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=["page", "tests"])
def test_every_file_is_as_it_was_published(manifest: Path) -> None:
    assert check(manifest) == []


@pytest.mark.parametrize("manifest", MANIFESTS, ids=["page", "tests"])
def test_every_package_has_its_licence_and_integrity(manifest: Path) -> None:
    for package in json.loads(manifest.read_text())["packages"]:
        assert package["integrity"].startswith("sha512-")
        assert any(file["path"] == "LICENSE" for file in package["files"])


def test_a_changed_a_missing_and_a_foreign_file_are_found(tmp_path: Path) -> None:
    copy = tmp_path / "vendor"
    shutil.copytree(MANIFEST.parent, copy)
    with (copy / "htm.mjs").open("a") as file:
        file.write("//")
    (copy / "hooks.mjs").unlink()
    (copy / "more.mjs").touch()

    assert check(copy / MANIFEST.name) == [
        "hooks.mjs is missing",
        "htm.mjs is not what htm published",
        "more.mjs is not listed",
    ]
