"""Files in the page: chosen, pasted and dropped; seen, opened and downloaded; cancelled; sent when the network is back."""

import io
from collections.abc import Mapping
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from tests.factories import Person
from tests.web.conftest import Visit

# What a program or a person drops or pastes, as the browser hands it to the page.
HAND = """([selector, type, name, size]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(size)], name, {type: "application/octet-stream"}));
    const at = document.querySelector(selector);
    if (type === "paste") at.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
    else at.dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


@pytest.fixture
def room(ann: Person, bob: Person) -> Mapping[str, Any]:
    return ann.open_room(bob)


def picture(name: str = "озеро.png", size: tuple[int, int] = (640, 480)) -> FilePayload:
    out = io.BytesIO()
    Image.new("RGB", size, (30, 120, 90)).save(out, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": out.getvalue()}


def document(name: str = "смета.bin", size: int = 2000) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": b"\x00" * size}


def choose(page: Page, *files: FilePayload) -> None:
    page.locator("input[type=file]").set_input_files(list(files))
    expect(page.locator(".chip")).to_have_count(len(files))


def test_pictures_and_documents_are_sent_seen_and_opened(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    one, other = visit(ann), visit(bob)
    page = one.open_chat(room["name"])
    other.open_chat(room["name"])
    choose(page, picture("а.png"), picture("б.png"), document())
    one.write("Вот")

    theirs = other.page.locator("article", has_text="Вот")
    expect(theirs.locator(".media img")).to_have_count(2)
    for at in range(2):
        expect(theirs.locator(".media img").nth(at)).to_have_js_property("naturalWidth", 480)
    with other.page.expect_download() as download:
        theirs.get_by_role("link", name="Скачать смета.bin").click()
    assert download.value.suggested_filename == "смета.bin"

    theirs.get_by_role("button", name="Открыть снимок а.png").click()
    viewer = other.page.get_by_role("dialog", name="Снимок 1 из 2")
    expect(viewer.locator("img")).to_have_js_property("naturalWidth", 640)
    other.page.keyboard.press("ArrowRight")
    expect(other.page.get_by_role("dialog", name="Снимок 2 из 2").locator("img")).to_have_attribute(
        "alt", "б.png"
    )
    other.page.keyboard.press("Escape")
    expect(other.page.get_by_role("dialog")).to_have_count(0)
    expect(theirs.get_by_role("button", name="Открыть снимок а.png")).to_be_focused()
    expect(page.locator("article.is-waiting")).to_have_count(0)
    expect(page.locator(".chip")).to_have_count(0)


def test_message_of_a_picture_alone_needs_no_text(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    one, other = visit(ann), visit(bob)
    page = one.open_chat(room["name"])
    list_of_bob = other.go("/")
    choose(page, picture())
    page.get_by_role("button", name="Отправить").click()

    expect(page.locator("article:not(.is-waiting) .media--bare .meta--over")).to_be_visible()
    expect(page.locator("article .bubble__text")).to_have_count(0)  # not the name of the file
    expect(list_of_bob.locator("a.row use[href='#image']")).to_be_visible()


def test_files_are_pasted_and_dropped_and_too_large_ones_stay_behind(
    visit: Any, ann: Person, room: Mapping[str, Any]
) -> None:
    page = visit(ann).open_chat(room["name"])
    expect(page.get_by_role("button", name="Прикрепить")).to_be_visible()
    page.evaluate(HAND, ["#composer", "paste", "вставлено.bin", 10])
    page.evaluate(HAND, [".timeline", "dragover", "x", 1])
    expect(page.locator(".drop")).to_be_visible()
    page.evaluate(HAND, [".timeline", "drop", "брошено.bin", 27_000_000])
    expect(page.locator(".drop")).to_have_count(0)

    expect(page.locator(".chip__name")).to_have_text(["вставлено.bin", "брошено.bin"])
    expect(page.locator(".chip--bad")).to_contain_text("Больше")
    page.get_by_role("button", name="Отправить").click()
    expect(page.locator("article .file__name")).to_have_text("вставлено.bin")
    page.get_by_role("button", name="Убрать брошено.bin").click()
    expect(page.locator(".tray")).to_have_count(0)


def test_what_is_sent_without_a_network_waits_with_its_files(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    desk: Visit = visit(ann)
    page = desk.open_chat(room["name"])
    choose(page, document("в пути.bin"), document("лишний.bin"))
    desk.is_calm = False
    desk.context.set_offline(True)
    desk.write("С файлом")
    waiting = page.locator("article.is-waiting")
    expect(waiting.locator(".file__name")).to_have_count(2)
    waiting.get_by_role("button", name="Не отправлять лишний.bin").click()
    expect(waiting.locator(".file__name")).to_have_text(["в пути.bin"])
    desk.context.set_offline(False)

    expect(page.locator("article:not(.is-waiting) a.file")).to_have_count(1)
    path = f"/messenger/api/chatrooms/{room['name']}/messages/"
    [message] = bob.get(path).json()
    assert [each["name"] for each in message["attachments"]] == ["в пути.bin"]


def test_upload_shows_how_far_it_is_and_can_be_cancelled(
    visit: Any, ann: Person, bob: Person, room: Mapping[str, Any]
) -> None:
    desk: Visit = visit(ann)
    page = desk.open_chat(room["name"])
    choose(page, document("большой.bin", 5_000_000))
    slow = desk.context.new_cdp_session(page)
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
    slow.send("Network.enable")
    slow.send("Network.emulateNetworkConditions", limits)
    page.get_by_role("button", name="Отправить").click()
    expect(page.locator("article.is-waiting progress")).to_be_visible()
    expect(page.locator("article.is-waiting .file__size")).to_contain_text(" из ")

    with page.expect_event("requestfailed") as ended:
        page.get_by_role("button", name="Не отправлять большой.bin").click()
    assert ended.value.url.endswith("/messenger/api/uploads/")
    expect(page.locator("article")).to_have_count(0)
    assert desk.kept("outbox") == []
    slow.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": -1})
    desk.write("Дальше")
    expect(page.locator("article:not(.is-waiting)", has_text="Дальше")).to_be_visible()
    path = f"/messenger/api/chatrooms/{room['name']}/messages/"
    assert [each["content"] for each in bob.get(path).json()] == ["Дальше"]
