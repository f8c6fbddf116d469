"""How quick the page is: `python -m tests.web.figures`, on a machine that does nothing else.

It measures a real server and a real browser on the loopback. "Slowed" means that the browser's CPU
is slowed four times, as on a cheap phone. Each time is the median of some runs.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, sync_playwright

from tests import browsers
from tests.factories import PASSWORD, Person, close_clients, make_person, new_name
from tests.servers import Server

SLOW = 4  # times slower than this machine
CHATS = 30
MESSAGES = 60  # of the chat that is opened
LONG = 5000  # messages of the chat that is scrolled
STREAM = 150  # messages that stream in, 50 a second
PAUSE_SECONDS = 0.02
DEADLINE_MS = 60_000

# Notes when the first row of the list has been painted, by the clock that began with the navigation.
WATCH_LIST = """
new MutationObserver((_, self) => {
    if (!document.querySelector("a.row")) return;
    self.disconnect();
    requestAnimationFrame(() => setTimeout(() => console.info("listed", performance.now())));
}).observe(document, {childList: true, subtree: true});
"""
OPEN_CHAT = """async () => {
    const began = performance.now();
    document.querySelector("a.row").click();
    while (!document.querySelector("article")) await new Promise(requestAnimationFrame);
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    return performance.now() - began;
}"""
WATCH_FRAMES = """() => {
    window.frames_ = [];
    let before = performance.now();
    const frame = (now) => { frames_.push(now - before); before = now; requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
}"""
LOADED = """() => performance.getEntries().filter((each) => each.transferSize !== undefined).map(
    ({name, transferSize}) => [new URL(name, location.href).pathname, transferSize])"""


class Desk:
    """Somebody's browser."""

    def __init__(self, browser: Browser, person: Person) -> None:
        self.url = person.url
        self.context: BrowserContext = browser.new_context(
            viewport={"width": 1280, "height": 800}, locale="ru-RU"
        )
        self.context.set_default_timeout(DEADLINE_MS)
        credentials = {"username": person.username, "password": PASSWORD, "cookie": True}
        answer = self.context.request.post(f"{person.url}/accounts/api/token/", data=credentials)
        assert answer.ok, answer.text()
        self.context.add_init_script(
            f"localStorage.setItem('last', '{person.id}'); localStorage.setItem('me', JSON.stringify({{id: {person.id},"
            f" username: '{person.username}', email: ''}}));" + WATCH_LIST
        )
        self.page: Page = self.context.new_page()
        self.cdp: CDPSession = self.context.new_cdp_session(self.page)

    def slow(self, times: float) -> None:
        self.cdp.send("Emulation.setCPUThrottlingRate", {"rate": times})

    def list_ms(self, path: str = "/") -> float:
        """Go to the page; return the milliseconds until its list is painted."""
        # The page tells by itself: a look from outside would cost it 150 ms meanwhile.
        with self.page.expect_console_message(lambda said: said.text.startswith("listed")) as told:
            self.page.goto(self.url + path, wait_until="commit")
        return float(told.value.text.split()[1])

    def wait_for_shell(self) -> None:
        """Wait until the page would open without a network, and the list is kept."""
        self.page.evaluate(
            """async () => {
                await navigator.serviceWorker.ready;
                while (!(await caches.match("/", {ignoreVary: true})) || !navigator.serviceWorker.controller) {
                    await new Promise((resolve) => setTimeout(resolve, 50));
                }
            }"""
        )
        self.page.wait_for_timeout(1500)  # the copy of the list is kept within a second


def fill(server: Server) -> tuple[Person, Person]:
    """Make a team; return two of them, of whom the first has many chats."""
    ann, bob = (make_person(server.url, new_name(name)) for name in ("ann", "bob"))
    for number in range(CHATS):
        other = make_person(server.url, new_name("carl"))
        room = ann.open_room(other)
        other.post(_messages(room["name"]), {"content": f"Привет, это беседа {number}"})
    room = ann.open_room(bob)
    for number in range(MESSAGES):
        bob.post(
            _messages(room["name"]), {"content": f"Строка {number}. " + "слово " * (number % 23)}
        )
    ann.post(f"/messenger/api/chatrooms/{room['name']}/read/", {"read_id": 10**9})
    return ann, bob


def _messages(room: str) -> str:
    return f"/messenger/api/chatrooms/{room}/messages/"


def median(measure: Callable[[], float], rounds: int) -> float:
    return statistics.median(measure() for _ in range(rounds))


def measure(
    browser: Browser, server: Server, rounds: int, note: Callable[[str, float], Any]
) -> None:
    """Measure everything, and tell each figure as soon as it is there."""
    ann, bob = fill(server)

    def first_visit() -> float:
        desk = Desk(browser, ann)
        desk.slow(SLOW)
        took = desk.list_ms()
        desk.context.close()
        return took

    note("first visit, slowed: ms to the list", median(first_visit, rounds))
    desk = Desk(browser, ann)
    desk.list_ms()
    desk.page.wait_for_load_state("networkidle")
    loaded = [each for each in desk.page.evaluate(LOADED) if "/api/" not in each[0]]
    note("first visit: requests for files", len(loaded))
    note("first visit: bytes of files", sum(size for _, size in loaded))
    desk.wait_for_shell()
    desk.slow(SLOW)
    note("later visit, slowed: ms to the list", median(desk.list_ms, rounds))
    desk.page.locator("a.row").first.click()
    desk.page.locator("article").first.wait_for()

    def open_cached() -> float:
        desk.page.locator(".rail a[href='/posts']").click()
        desk.page.locator(".page").wait_for()
        desk.page.locator(".rail a[href='/']").click()
        desk.page.locator("a.row").first.wait_for()
        return float(desk.page.evaluate(OPEN_CHAT))

    note("slowed: ms to open a cached chat", median(open_cached, rounds))
    desk.slow(1)
    name = desk.page.url.rsplit("/", 1)[1]
    desk.page.evaluate(WATCH_FRAMES)
    for number in range(STREAM):
        due = time.monotonic() + PAUSE_SECONDS
        bob.post(_messages(name), {"content": f"Поток {number}."})
        time.sleep(max(0, due - time.monotonic()))
    desk.page.locator("article", has_text=f"Поток {STREAM - 1}.").wait_for()
    frames = sorted(desk.page.evaluate("frames_"))
    note(f"{1 / PAUSE_SECONDS:.0f} messages/s: ms of the longest frame", frames[-1])
    note(
        f"{1 / PAUSE_SECONDS:.0f} messages/s: frames over 50 ms", sum(each > 50 for each in frames)
    )
    rows = scroll(desk, bob, name)
    note(f"rows in the DOM, most, while {LONG} messages are scrolled", rows)
    desk.context.close()


def scroll(desk: Desk, bob: Person, room: str) -> int:
    """Scroll through a long history up to its beginning; return the most rows that there were."""
    for number in range(LONG - MESSAGES - STREAM):
        bob.post(_messages(room), {"content": f"Ещё {number}."})
    desk.page.goto(f"{desk.url}/chat/{room}")
    desk.page.locator("article").first.wait_for()
    most: int = desk.page.evaluate(
        """async (deadline) => {
            const box = document.querySelector(".timeline");
            let most = 0;
            while (!document.querySelector(".hello") && performance.now() < deadline) {
                box.scrollTop -= 700;
                await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
                most = Math.max(most, document.querySelectorAll(".history > li").length);
            }
            if (!document.querySelector(".hello")) throw new Error("the beginning was not reached");
            return most;
        }""",
        600_000,
    )
    return most


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.web.figures", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        with sync_playwright() as playwright:
            browser = browsers.launch(playwright)
            measure(
                browser,
                server,
                options.rounds,
                lambda name, value: print(f"{value:10.0f}  {name}", flush=True),
            )
            browser.close()
        close_clients()


if __name__ == "__main__":
    main()
