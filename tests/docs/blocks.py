"""The command blocks of the documentation."""

import re
from dataclasses import dataclass

from tests.servers import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


@dataclass(frozen=True)
class Block:
    """Commands that a reader copies and pastes.

    Attributes:
        page: The file, below the repository's root.
        line: The number of its first line.
        text: The commands.
    """

    page: str
    line: int
    text: str

    @property
    def where(self) -> str:
        """Where it stands, for messages."""
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    """Return the command blocks of a page, from top to bottom."""
    text = (ROOT / page).read_text()
    return [
        Block(page, text.count("\n", 0, found.start(1)) + 1, found[1])
        for found in re.finditer(r"^ *```sh\n(.*?)^ *```$", text, re.S | re.M)
    ]


def all_blocks() -> list[Block]:
    """Return the command blocks of all pages."""
    return [block for page in PAGES for block in blocks_of(page.relative_to(ROOT).as_posix())]


def block_with(page: str, words: str) -> Block:
    """Return the one block of a page that contains some words."""
    (found,) = [block for block in blocks_of(page) if words in block.text]
    return found
