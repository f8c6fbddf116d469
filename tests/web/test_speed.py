"""How fast the page is, with the CPU slowed four times, and how much it keeps on the screen."""

import time
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.factories import Person

# A machine that runs the whole suite is slower than the one that is promised something for
# (1.0 s, 100 ms, 50 ms); what is asserted is what tells a mistake from noise.
LIST_SECONDS = 6.0
OPEN_MS = 500
FRAME_MS = 250


@pytest.fixture
def figures(record_property: Any) -> Any:
    """Notes a figure, for those who run this test with `-rP`."""

    def note(name: str, value: float) -> None:
        record_property(name, value)
        print(f"{name}: {value:.0f}")

    return note


@pytest.mark.alone
def test_page_is_quick_on_a_slow_machine(
    visit: Any, ann: Person, bob: Person, figures: Any
) -> None:
    room = ann.open_room(bob)
    path = f"/messenger/api/chatrooms/{room['name']}/messages/"
    for number in range(60):
        bob.post(path, {"content": f"Строка {number}"})
    ann.post(f"/messenger/api/chatrooms/{room['name']}/read/", {"read_id": 10**9})
    desk = visit(ann)
    page = desk.page
    slow = desk.context.new_cdp_session(page)
    slow.send("Emulation.setCPUThrottlingRate", {"rate": 4})

    began = time.monotonic()
    desk.go("/")
    page.locator("a.row").wait_for()
    seconds = time.monotonic() - began
    figures("milliseconds to the list, CPU slowed 4x, nothing cached", seconds * 1000)
    page.locator("a.row").click()
    page.locator("article").first.wait_for()
    page.get_by_role("link", name="Записи").click()
    page.locator(".page").wait_for()
    page.get_by_role("link", name="Беседы").click()
    opened = page.evaluate(
        """async () => {
            document.querySelector("a.row").click();
            const began = performance.now();
            while (!document.querySelector("article")) await new Promise(requestAnimationFrame);
            return performance.now() - began;
        }"""
    )
    figures("milliseconds to open a cached chat, CPU slowed 4x", opened)
    slow.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    page.evaluate(
        """() => {
            window.longest = 0;
            let before = performance.now();
            const frame = (now) => { window.longest = Math.max(window.longest, now - before); before = now; requestAnimationFrame(frame); };
            requestAnimationFrame(frame);
        }"""
    )
    for number in range(100):  # about 50 a second
        bob.post(path, {"content": f"Поток {number}"})
        time.sleep(0.01)
    expect(page.locator("article", has_text="Поток 99")).to_be_visible()
    longest = page.evaluate("window.longest")
    figures("milliseconds of the longest frame while messages stream in", longest)

    assert seconds < LIST_SECONDS
    assert opened < OPEN_MS
    assert longest < FRAME_MS
