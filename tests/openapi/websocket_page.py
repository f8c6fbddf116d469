"""Renders `docs/websocket.md` to the page at `/api/docs/websocket/`; `make reference` runs it.

The page is made here and not while the server runs, which needs no Markdown otherwise.
"""

import re
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.servers import ROOT

SOURCE = ROOT / "docs" / "websocket.md"
PAGE = ROOT / "app" / "openapi" / "pages" / "websocket.html"

_PAGE = """\
<!doctype html>
<!-- Made of docs/websocket.md by `make reference`. -->
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Beseda: WebSockets</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="/api/docs/reference.css">
  </head>
  <body>
    <header class="bar"><strong>Beseda</strong><nav>
      <a href="/api/docs/">API</a>
      <a href="/api/docs/websocket/" aria-current="page">WebSockets</a>
      <a href="/api/openapi.json">openapi.json</a>
    </nav></header>
    <div class="columns">
      <nav class="contents" aria-label="On this page"><ul>
{contents}
      </ul></nav>
      <main>
{text}
      </main>
    </div>
  </body>
</html>
"""


def render() -> str:
    """Return the page."""
    markdown = MarkdownIt("commonmark").enable("table")
    tokens = markdown.parse(SOURCE.read_text())
    contents = []
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            anchor = _anchor(inline.content)
            opening.attrSet("id", anchor)
            if opening.tag in ("h2", "h3"):
                item = f'<li class="{opening.tag}"><a href="#{anchor}">{inline.content}</a></li>'
                contents.append(item)
        if opening.type == "inline":
            opening.children = [
                each for each in opening.children or [] if not _leads_elsewhere(each)
            ]
            _drop_ends(opening.children)
    text = markdown.renderer.render(tokens, markdown.options, {})
    # Tables are wider than a phone, and scroll by themselves.
    text = text.replace("<table>", '<div class="table" tabindex="0"><table>')
    text = text.replace("</table>", "</table></div>")
    return _PAGE.format(contents="\n".join(contents), text=text)


def _anchor(heading: str) -> str:
    # As GitHub makes them.
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _leads_elsewhere(token: Token) -> bool:
    # To a file of the repository, which this server does not have.
    return token.type == "link_open" and not str(token.attrGet("href")).startswith("#")


def _drop_ends(tokens: list[Token]) -> None:
    # Of links whose beginning is gone.
    is_open = False
    for token in tuple(tokens):
        if token.type == "link_open":
            is_open = True
        elif token.type == "link_close":
            if not is_open:
                tokens.remove(token)
            is_open = False


if __name__ == "__main__":
    PAGE.write_text(render())
