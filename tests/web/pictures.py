"""Takes pictures of every screen: `make pictures`.

They are made on the demo's team, at three sizes, light and dark, as `pictures/<screen>-<width>-<theme>.png`;
some of them, made small, become those of the README in `docs/images/`. What looks wrong to a
program is printed: sideways scrolling, text wider than its box, targets below 44 px on phones.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw
from playwright.sync_api import FilePayload, Page, sync_playwright

from tests import browsers
from tests.servers import ROOT, Server

SIZES = {360: 740, 820: 1180, 1440: 900}
COLORS = 208  # of a picture; the screens have fewer
# Until pictures and names that were asked for are there: nothing has come for a while.
SETTLED = """async () => {
  const count = () => performance.getEntriesByType('resource').length;
  let before = -1, since = 0;
  for (;;) {
    await new Promise(requestAnimationFrame);
    const isLoading = [...document.images].some((each) => !each.complete);
    if (isLoading || count() !== before) [before, since] = [count(), performance.now()];
    else if (performance.now() - since > 150) return;
  }
}"""
ME, PASSWORD = "anna", "yourpassword"
# The system's font is another on each machine; pictures have one.
FONTS = (
    """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<include ignore_missing="yes">/etc/fonts/fonts.conf</include>
"""
    + "".join(
        f'<match target="pattern"><test name="family"><string>{name}</string></test><edit name="family"'
        ' mode="assign" binding="strong"><string>Inter</string><string>Noto Color Emoji</string>'
        "<string>DejaVu Sans</string></edit></match>"
        for name in ("system-ui", "sans-serif", "sans", "Roboto", "Noto Sans", "Liberation Sans")
    )
    + "</fontconfig>"
)
CHECK = """() => {
  const bad = [];
  if (document.documentElement.scrollWidth > innerWidth) bad.push('the page scrolls sideways');
  for (const e of document.querySelectorAll('.list, .main, .side, .dialog, .scroll, .timeline, .bubble, .menu, .sheet, .post')) {
    if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth) bad.push(`wider than its box: ${e.className}`);
  }
  if (innerWidth < 720) for (const e of document.querySelectorAll('button, a, input, textarea')) {
    const box = e.getBoundingClientRect();
    if (!box.width || getComputedStyle(e).display === 'inline' || e.matches('.off-screen, .skip, .quote, .check, .search-box__input, .editor__title')) continue;
    const after = getComputedStyle(e, '::after');
    const isGrown = after.position === 'absolute' && after.content !== 'none';
    const height = e.closest('label')?.getBoundingClientRect().height ?? box.height;
    if (height < 43 && !isGrown) bad.push(`low target (${Math.round(height)}): ${e.className} ${e.getAttribute('aria-label') ?? e.textContent}`);
  }
  return [...new Set(bad)];
}"""


def open_chat(page: Page, title: str) -> None:
    page.locator("a.row", has_text=title).first.click()
    page.locator(".history article").first.wait_for()


def message_menu(page: Page) -> None:
    open_chat(page, "Запуск в четверг")
    last = page.locator("article.msg--own").last
    if page.viewport_size and page.viewport_size["width"] < 720:
        last.focus()
        page.keyboard.press("Enter")
    else:
        last.hover()
        last.locator("[aria-haspopup]").click()


def in_chat(
    *steps: Callable[[Page], Any], title: str = "Запуск в четверг"
) -> Callable[[Page], None]:
    def go(page: Page) -> None:
        open_chat(page, title)
        for step in steps:
            step(page)

    return go


def type_text(text: str) -> Callable[[Page], None]:
    return lambda page: page.locator("#composer").fill(text)


def click(selector: str) -> Callable[[Page], None]:
    return lambda page: page.locator(selector).first.click()


def press(*keys: str) -> Callable[[Page], None]:
    def go(page: Page) -> None:
        for key in keys:
            page.keyboard.press(key)

    return go


def view(color: tuple[int, int, int], size: tuple[int, int]) -> bytes:
    """Return a picture of hills at dusk."""
    sky = Image.linear_gradient("L").resize(size)
    image = Image.composite(
        Image.new("RGB", size, (246, 219, 178)), Image.new("RGB", size, color), sky
    )
    width, height = size
    for step, shade in enumerate((0.75, 0.55, 0.35)):
        y = height * (0.55 + step * 0.13)
        hill = (-width * (0.5 - step * 0.4), y, width * (1.1 + step * 0.4), y + height)
        ImageDraw.Draw(image).ellipse(hill, tuple(int(each * shade) for each in color))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


FILES = [
    ("озеро.jpg", view((60, 110, 140), (1200, 800)), "image/jpeg"),
    ("вечер.jpg", view((150, 80, 90), (800, 1000)), "image/jpeg"),
    ("лес.jpg", view((70, 120, 80), (1000, 750)), "image/jpeg"),
    (
        "Смета на второй квартал, с поправками.pdf",
        b"%PDF-1.4\n" + b"\0" * 180_000,
        "application/pdf",
    ),
]


def share_files(url: str) -> None:
    """Let somebody of the demo's team send pictures and a document to the one who looks."""
    with httpx.Client(base_url=url) as http:
        token = http.post("/accounts/api/token/", json={"username": "olga", "password": PASSWORD})
        http.headers["Authorization"] = f"Bearer {token.json()['access']}"
        ids = []
        for name, content, media_type in FILES:
            made = http.post("/messenger/api/uploads/", files={"file": (name, content, media_type)})
            ids.append(made.raise_for_status().json()["id"])
        chats = http.get("/messenger/api/chats/").json()
        room = next(each["name"] for each in chats if each["display_name"] == ME)
        said = {"content": "С дачи, и смета, как обещала", "attachments": ids}
        http.post(f"/messenger/api/chatrooms/{room}/messages/", json=said).raise_for_status()


def fill_tray(page: Page) -> None:
    files: list[FilePayload] = [
        {"name": name, "mimeType": media_type, "buffer": content}
        for name, content, media_type in FILES
    ]
    page.locator("input[type=file]").set_input_files(files)
    page.locator(".chip").last.wait_for()


def reply(page: Page) -> None:
    page.locator("article:not(.msg--own)").last.focus()
    page.keyboard.press("r")


# What each picture shows: where it begins, and what is done there.
SCREENS: dict[str, tuple[str, Callable[[Page], Any] | None]] = {
    "list": ("/", None),
    "chat": ("/", in_chat()),
    "pair": ("/", in_chat(title="boris")),
    "menu": ("/", message_menu),
    "reply": ("/", in_chat(reply, type_text("Вижу, выпускаем.\nСпасибо всем!"))),
    "emoji": ("/", in_chat(click(".composer [aria-expanded]"))),
    "files": ("/", in_chat(title="olga")),
    "viewer": ("/", in_chat(click(".media__item"), lambda page: page.locator(".viewer img").wait_for(), title="olga")),
    "tray": ("/", in_chat(fill_tray, title="boris")),
    "group": ("/", in_chat(click(".bar__who"))),
    "person": ("/", in_chat(click(".bar__who"), title="olga")),
    "new-chat": ("/", click(".list .icon-button--accent")),
    "new-group": ("/", lambda page: (page.locator(".list .icon-button--accent").click(), page.locator(".dialog .rows button").first.click(), page.locator(".check").first.click())),
    "switcher": ("/", lambda page: (page.locator(".list .search-box").click(), page.get_by_role("combobox").fill("b"))),
    "search": ("/chat?find=выпуск", lambda page: page.locator("a.hit").first.wait_for()),
    "search-hit": ("/chat?find=выпуск", lambda page: (page.locator("a.hit").first.click(), page.locator(".history article").first.wait_for())),
    "search-none": ("/chat?find=плитка", lambda page: page.locator(".list .empty__title").wait_for()),
    "share": ("/chat?text=План", lambda page: page.locator(".list__note").wait_for()),
    "posts": ("/posts", None),
    "posts-mine": ("/posts/mine", None),
    "write": ("/posts/write", None),
    "people": ("/people", None),
    "profile": ("/people/boris", None),
    "settings": ("/settings", None),
    "settings-profile": ("/settings/profile", None),
    "settings-look": ("/settings/look", None),
    "settings-push": ("/settings/push", None),
    "settings-private": ("/settings/private", None),
    "settings-sessions": ("/settings/sessions", None),
    "settings-safe": ("/settings/safe", None),
    "settings-data": ("/settings/data", None),
    "settings-keys": ("/settings/keys", None),
    "erase": ("/settings/data", click(".line--danger")),
    "team-people": ("/team/people", None),
    "team-invitations": ("/team/invitations", click(".page__head .button, .bar .button >> visible=true")),
}  # fmt: skip
GATES = {
    "login": "/login",
    "register": "/register",
    "invited": "/invite#k7Qm-4tPz-9wHc",
    "forgotten": "/forgotten",
    "new-password": "/reset#k7Qm",
    "first-start": "/setup#k7Qm",
}
README = {
    "chat-1440-light": "page-light",
    "chat-1440-dark": "page-dark",
    "chat-360-light": "phone-light",
}


def squeeze(png: bytes, scale: float = 1) -> bytes:
    """Return a picture in a few hundred colours, which is a third of its bytes."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if scale != 1:
        size = int(image.width * scale), int(image.height * scale)
        image = image.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.quantize(COLORS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def shoot(page: Page, url: str, wanted: list[str], take: Callable[[str], None]) -> None:
    """Walk through all screens of somebody who comes, logs in and looks around."""
    for name, path in GATES.items():
        if not wanted or name in wanted:
            page.goto(url + path)
            page.locator("form.card").wait_for()
            take(name)
    page.goto(f"{url}/login")
    page.locator("#username").fill(ME)
    page.locator("#password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.locator("a.row").first.wait_for()
    for name, (path, act) in SCREENS.items():
        if wanted and name not in wanted:
            continue
        page.goto(url + path)
        page.locator("a.row, .page, .nav-row, .editor, .filters").locator(
            "visible=true"
        ).first.wait_for()
        page.evaluate(SETTLED)
        if act:
            act(page)
        take(name)


def main() -> None:
    """Start a server with the demo, and take all pictures or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.web.pictures", description=main.__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=ROOT / "pictures")
    parser.add_argument(
        "--only", default="360-light,360-dark,820-light,820-dark,1440-light,1440-dark"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        fonts = Path(folder) / "fonts.conf"
        fonts.write_text(FONTS)
        server = Server(Path(folder))
        server.migrate()
        demo = [sys.executable, "-m", "flask", "--app", "wsgi", "demo"]
        subprocess.run(demo, cwd=ROOT, env=server.env, check=True, stdout=subprocess.DEVNULL)
        with server, sync_playwright() as playwright:
            share_files(server.url)
            browser = browsers.launch(playwright, env={**os.environ, "FONTCONFIG_FILE": str(fonts)})
            for job in options.only.split(","):
                width, theme = int(job.split("-")[0]), job.split("-")[1]
                context = browser.new_context(
                    viewport={"width": width, "height": SIZES[width]},
                    color_scheme=theme,
                    reduced_motion="reduce",
                    has_touch=width < 720,
                    locale="ru-RU",
                    timezone_id="UTC",
                )
                page = context.new_page()
                page.on("pageerror", lambda error: print("error:", error))
                page.on("console", lambda said: said.type == "error" and print(said.text))

                def take(name: str, page: Page = page, job: str = job) -> None:
                    page.evaluate(SETTLED)
                    png = page.screenshot()
                    (options.out / f"{name}-{job}.png").write_bytes(squeeze(png))
                    if small := README.get(f"{name}-{job}"):
                        images = ROOT / "docs" / "images"
                        images.mkdir(exist_ok=True)
                        (images / f"{small}.png").write_bytes(squeeze(png, 0.75))
                    for complaint in page.evaluate(CHECK):
                        print(f"{name}-{job}: {complaint}")

                shoot(page, server.url, options.names, take)
                context.close()
            browser.close()


if __name__ == "__main__":
    main()
