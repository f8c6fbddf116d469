"""The files of the page, read and compressed once, under one hash of all of them.

A path `/static/<hash>/…` never changes what it answers, so browsers may keep it for ever,
and relative imports between modules stay relative. A changed file makes another hash.
"""

import base64
import gzip
import hashlib
import json
import mimetypes
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from app.web.modules import join

FOLDER = Path(__file__).with_name("static")

# Bare names of modules, as the libraries themselves and our modules import them.
_LIBRARIES = {
    "preact": "preact.mjs",
    "preact/hooks": "hooks.mjs",
    "htm": "htm.mjs",
    "@preact/signals": "signals.mjs",
    "@preact/signals-core": "signals-core.mjs",
}
# In the order in which their rules count. Browsers get them as one file, in one request.
_SHEETS = ("tokens", "base", "layout", "list", "timeline", "composer", "dialog", "pages")
_SHEET = "css/all.css"
_COMMENT = re.compile(r"/\*.*?\*/\n?", re.DOTALL)
# The first begins what takes long while all modules, joined in the second, are loading.
_FIRST = "js/first.js"
_MODULES = "js/all.js"
# Served under paths of their own, or inside of the page.
_PAGES = {"index.html", "sw.js", "manifest.webmanifest", "icons/sprite.svg"}
_COMPRESSED = {".js", ".mjs", ".css", ".svg", ".html", ".json", ".webmanifest"}
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent.

    Attributes:
        content: Its bytes.
        compressed: The same by gzip, or None where that saves nothing.
        type: Its media type.
    """

    content: bytes
    compressed: bytes | None
    type: str


def _asset(name: str, content: bytes) -> Asset:
    suffix = Path(name).suffix
    compressed = gzip.compress(content, 9, mtime=0) if suffix in _COMPRESSED else None
    media_type = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Asset(content, compressed, media_type)


class Assets:
    """Everything that the page is made of.

    Args:
        folder: Where the files are.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._sources = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix not in (".txt", ".json")
        }

    @cached_property
    def hash(self) -> str:
        """Names this state of all files, as they are sent."""
        contents = {name: asset.content for name, asset in self.files.items()}
        contents |= {name: self._sources[name] for name in _PAGES}
        digest = hashlib.sha256()
        for name, content in sorted(contents.items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()[:16]

    @property
    def base(self) -> str:
        """The path that the files of this state lie under, with a slash at its end."""
        return f"/static/{self.hash}/"

    @cached_property
    def files(self) -> dict[str, Asset]:
        """The files under `base`, by their path below it."""
        files = {
            name: _asset(name, content)
            for name, content in self._sources.items()
            if name not in _PAGES and not name.startswith(("css/", "js/"))
        }
        modules = {
            name: self._text(name)
            for name in self._sources
            if name.startswith("js/") and name != _FIRST
        }
        joined = {
            _FIRST: self._text(_FIRST),
            _MODULES: join(modules, list(_LIBRARIES)),
            _SHEET: _COMMENT.sub("", "".join(self._text(f"css/{name}.css") for name in _SHEETS)),
        }
        return files | {name: _asset(name, text.encode()) for name, text in joined.items()}

    @cached_property
    def import_map(self) -> str:
        """Where bare names of modules lead; it is inline, so its hash is in the policy."""
        imports = {name: f"{self.base}vendor/{file}" for name, file in _LIBRARIES.items()}
        return json.dumps({"imports": imports}, separators=(",", ":"))

    @cached_property
    def page(self) -> Asset:
        """The page itself."""
        modules = [f"vendor/{file}" for file in _LIBRARIES.values()] + [_MODULES]
        head = [
            f'<script src="{self.base}{_FIRST}"></script>',
            f'<link rel="stylesheet" href="{self.base}{_SHEET}">',
            f'<script type="importmap">{self.import_map}</script>',
            *(f'<link rel="modulepreload" href="{self.base}{name}">' for name in modules),
            f'<script type="module" src="{self.base}{_MODULES}"></script>',
        ]
        sprite = self._text("icons/sprite.svg").replace(
            "<svg ", '<svg class="sprite" aria-hidden="true" ', 1
        )
        text = self._text("index.html").replace("<!-- head -->", "\n".join(head))
        return _asset("index.html", self._placed(text.replace("<!-- sprite -->", sprite)))

    @cached_property
    def worker(self) -> Asset:
        """The service worker, which names the files that it keeps."""
        shell = json.dumps([self.base + name for name in self.files], separators=(",", ":"))
        return _asset("sw.js", self._placed(self._text("sw.js").replace('["SHELL"]', shell)))

    @cached_property
    def manifest(self) -> Asset:
        """What an installed page is called and looks like."""
        return _asset("manifest.webmanifest", self._placed(self._text("manifest.webmanifest")))

    @property
    def policy(self) -> str:
        """The Content-Security-Policy of the page.

        `trusted-types beseda` lets the page make one policy, which allows `/sw.js` alone.
        """
        digest = hashlib.sha256(self.import_map.encode()).digest()
        return (
            "default-src 'none'; "
            f"script-src 'self' 'sha256-{base64.b64encode(digest).decode()}'; style-src 'self'; "
            "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
            "manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types beseda"
        )

    def _text(self, name: str) -> str:
        return self._sources[name].decode()

    def _placed(self, text: str) -> bytes:
        return text.replace("{base}", self.base).replace("{hash}", self.hash).encode()
