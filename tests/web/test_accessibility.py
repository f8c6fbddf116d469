"""axe finds nothing wrong (WCAG 2 A, AA), on any screen, in both themes and languages."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.servers import ROOT, Server
from tests.web.conftest import PATIENCE_MS
from tests.web.pictures import CHECK, SIZES, share_files, shoot

AXE = Path(__file__).with_name("vendor") / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
RUN = """async (runOnly) => {
    const {violations} = await axe.run(document, {runOnly, resultTypes: ["violations"]});
    return violations.map(({id, nodes}) => `${id}: ${nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`);
}"""


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the demo's lively team, which every screen has something of."""
    server = Server(tmp_path_factory.mktemp("team"))
    server.migrate()
    demo = [sys.executable, "-m", "flask", "--app", "wsgi", "demo"]
    subprocess.run(demo, cwd=ROOT, env=server.env, check=True, stdout=subprocess.DEVNULL)
    with server:
        share_files(server.url)
        yield server


# Each screen is looked at in both themes of one language and, on the other device, of the other.
@pytest.mark.long  # forty screens, each in two themes
@pytest.mark.parametrize(("width", "locale"), [(1440, "ru-RU"), (360, "en-GB")])
def test_no_screen_has_a_barrier(browser: Browser, team: Server, width: int, locale: str) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": SIZES[width]},
        locale=locale,
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    axe = AXE.read_text()
    barriers: list[str] = []
    seen: list[str] = []

    def look(name: str, page: Page = page) -> None:
        page.locator("h1").first.wait_for(state="attached")
        page.evaluate(axe)
        seen.append(name)
        # A theme changes colours and nothing else.
        for theme, rules in (("dark", ["color-contrast"]), ("light", RULES)):
            page.emulate_media(color_scheme=theme)
            found = page.evaluate(RUN, rules)
            barriers.extend(f"{name}, {theme}: {each}" for each in found)

    shoot(page, team.url, [], look)
    context.close()

    assert len(seen) > 30
    assert barriers == [], "\n".join(barriers)


@pytest.mark.long  # forty screens
@pytest.mark.parametrize(("width", "text_px"), [(320, 16), (360, 32)])
def test_small_phones_and_large_text_keep_everything_in_reach(
    browser: Browser, team: Server, width: int, text_px: int
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": SIZES[360]},
        locale="ru-RU",
        reduced_motion="reduce",
        has_touch=True,
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    sizes = {"standard": text_px, "fixed": text_px}
    context.new_cdp_session(page).send("Page.setFontSizes", {"fontSizes": sizes})
    flaws: list[str] = []

    # What is out of reach is not pressed on the way either.
    shoot(
        page,
        team.url,
        [],
        lambda name: flaws.extend(f"{name}: {each}" for each in page.evaluate(CHECK)),
    )
    context.close()

    assert flaws == [], "\n".join(flaws)


def test_a_barrier_is_found(browser: Browser, team: Server) -> None:
    page = browser.new_page()
    page.goto(f"{team.url}/login")
    page.locator("form.card").wait_for()
    page.evaluate("document.querySelector('label').remove()")
    page.evaluate(AXE.read_text())

    assert any(each.startswith("label: ") for each in page.evaluate(RUN, RULES))
    page.close()
