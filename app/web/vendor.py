"""The libraries of the page, kept as npm has them: `python -m app.web.vendor`.

`vendor.json` names each file, the package it comes from, the integrity of that package
as npm states it, and the SHA-256 of the file. Nothing of it is built or changed. Only
`--update` needs npm; a check needs nothing.
"""

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

MANIFEST = Path(__file__).with_name("static") / "vendor" / "vendor.json"


class VendorError(Exception):
    """A package or a file is not what it should be; the text says which."""


def check(manifest: Path = MANIFEST) -> list[str]:
    """Compare every vendored file with its checksum.

    Returns:
        A sentence for each file that is missing, changed or not listed; empty if all is well.
    """
    complaints = []
    listed = {manifest.name}
    for package in json.loads(manifest.read_text())["packages"]:
        for file in package["files"]:
            listed.add(file["file"])
            path = manifest.parent / file["file"]
            if not path.exists():
                complaints.append(f"{path.name} is missing")
            elif hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
                complaints.append(f"{path.name} is not what {package['name']} published")
    present = {path.name for path in manifest.parent.iterdir() if path.is_file()}
    return complaints + [f"{name} is not listed" for name in sorted(present - listed)]


def update(manifest: Path = MANIFEST, versions: dict[str, str] | None = None) -> None:
    """Bring every package to a version, and note what came.

    Args:
        manifest: The `vendor.json` to work on.
        versions: By name of the package; the newest where a name is missing.

    Raises:
        VendorError: npm's answer and the package do not agree; nothing was changed.
    """
    packages = json.loads(manifest.read_text())["packages"]
    contents: dict[str, bytes] = {}
    for package in packages:
        wanted = f"{package['name']}@{(versions or {}).get(package['name'], 'latest')}"
        known = json.loads(_npm("view", wanted, "version", "dist.integrity", "--json"))
        package |= {"version": known["version"], "integrity": known["dist.integrity"]}
        members = _fetch(f"{package['name']}@{known['version']}", known["dist.integrity"])
        for file in package["files"]:
            contents[file["file"]] = members[file["path"]]
            file["sha256"] = hashlib.sha256(members[file["path"]]).hexdigest()
    for name, content in contents.items():
        (manifest.parent / name).write_bytes(content)
    manifest.write_text(json.dumps({"packages": packages}, indent=2) + "\n")


def _fetch(package: str, integrity: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        name = _npm("pack", package, "--silent", "--pack-destination", folder).split()[-1]
        archive = Path(folder) / name
        digest = hashlib.sha512(archive.read_bytes()).digest()
        if f"sha512-{base64.b64encode(digest).decode()}" != integrity:
            raise VendorError(f"{package} is not what npm says it is")
        with tarfile.open(archive) as tar:
            return {
                member.name.removeprefix("package/"): content.read()
                for member in tar
                if (content := tar.extractfile(member))
            }


def _npm(*arguments: str) -> str:
    return subprocess.run(["npm", *arguments], check=True, capture_output=True, text=True).stdout  # noqa: S603, S607


def main(arguments: list[str]) -> int:
    """Check the files, or update them first; return the status to exit with."""
    parser = argparse.ArgumentParser(prog="python -m app.web.vendor", description=main.__doc__)
    parser.add_argument("--manifest", type=Path, default=MANIFEST)
    parser.add_argument("--update", nargs="*", metavar="NAME@VERSION")
    options: Any = parser.parse_args(arguments)
    if options.update is not None:
        update(options.manifest, dict(each.rsplit("@", 1) for each in options.update))
    complaints = check(options.manifest)
    print(*complaints or ["Every file is as it was published."], sep="\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
