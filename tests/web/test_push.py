"""Notifications: what the service worker shows and where it leads, and the settings of a device.

Chromium reaches no push service from here, so what its vendor would give is put in its place; what
the server then sends is tested with a push service of ours in `tests/notifications`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.factories import Person, make_person, new_name
from tests.servers import Server
from tests.web.conftest import Visit

KEYS = {
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
}
# What a push service gives a browser that subscribes.
SUBSCRIBED = f"""
let given = null;
PushManager.prototype.getSubscription = async () => given;
PushManager.prototype.subscribe = async ({{applicationServerKey}}) => (given = {{
    endpoint: "https://127.0.0.1:9/send/1", applicationServerKey,
    toJSON: () => ({{endpoint: given.endpoint, keys: {json.dumps(KEYS)}}}),
    unsubscribe: async () => {{ given = null; return true; }},
}});
"""
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1"


@pytest.fixture(scope="module")
def notifying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may send to addresses of this machine."""
    folder = tmp_path_factory.mktemp("notifying")
    with Server(folder, {"PUSH_ALLOW_PRIVATE": "true"}) as server:
        yield server


def deliver(desk: Visit, payload: Any) -> None:
    """Let the browser get a push message for the page."""
    cdp = desk.context.new_cdp_session(desk.page)
    found: list[str] = []
    cdp.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: found.extend(each["registrationId"] for each in event["registrations"]),
    )
    cdp.send("ServiceWorker.enable")
    for _ in range(400):
        if found:
            break
        desk.page.wait_for_timeout(50)
    message = {"origin": desk.url, "registrationId": found[-1], "data": json.dumps(payload)}
    cdp.send("ServiceWorker.deliverPushMessage", message)
    cdp.detach()


def test_message_is_shown_as_a_notification_that_leads_to_its_chat(
    visit: Any, ann: Person, bob: Person
) -> None:
    room = ann.open_room(bob)
    desk: Visit = visit(ann, permissions=["notifications"])
    page = desk.go("/")
    page.evaluate("navigator.serviceWorker.ready")
    said = {"title": bob.username, "body": "Ты где?", "tag": room["name"]}
    navigate = f"{desk.url}/chat/{room['name']}"
    shown = """async () => {
        const registration = await navigator.serviceWorker.ready;
        for (let tries = 0; tries < 40; tries++) {
            const all = await registration.getNotifications();
            if (all.length) return all.map(({title, body, tag}) => ({title, body, tag}));
            await new Promise((resolve) => setTimeout(resolve, 50));
        }
    }"""
    for _ in range(10):  # a browser that is busy may lose one: this way has no queue
        deliver(desk, {"web_push": 8030, "notification": {**said, "navigate": navigate}})
        if (notifications := page.evaluate(shown)) is not None:
            break
    assert notifications == [said]
    page.evaluate("window.isSame = true")

    [worker] = desk.context.service_workers
    worker.evaluate(
        """async () => {
            const [notification] = await registration.getNotifications();
            dispatchEvent(new NotificationEvent("notificationclick", {notification}));
        }"""
    )

    expect(page.locator(".bar__name")).to_have_text(bob.username)
    assert urlsplit(page.url).path == f"/chat/{room['name']}"
    assert page.evaluate("window.isSame")  # it was not loaded anew


def test_device_is_asked_once_and_can_be_turned_off(visit: Any, notifying: Server) -> None:
    person = make_person(notifying.url, new_name("ann"))
    person.open_room(make_person(notifying.url, new_name("bob")))
    desk: Visit = visit(person, url=notifying.url, permissions=["notifications"])
    desk.context.add_init_script(SUBSCRIBED)
    page = desk.go("/")
    ask = page.get_by_role("group", name="Уведомления")
    with page.expect_response(
        lambda answer: answer.request.method == "POST" and answer.url.endswith("/api/push/")
    ) as told:
        ask.get_by_role("button", name="Включить").click()
    assert told.value.status == 201
    expect(ask).to_have_count(0)

    page.goto(f"{desk.url}/settings/push")
    switch = page.get_by_role("switch", name=re.compile("Присылать уведомления"))
    expect(switch).to_be_checked()
    with page.expect_response(re.compile("/push/test/$")) as tried:
        page.get_by_role("button", name="Прислать пробное").click()
    assert tried.value.status == 202
    text = page.get_by_role("switch", name=re.compile("Показывать текст"))
    text.uncheck()
    expect(text).not_to_be_checked()
    page.reload()
    expect(text).not_to_be_checked()
    expect(switch).to_be_checked()
    assert person.get("/accounts/api/settings/").json()["push_text"] == "none"


def test_device_that_says_not_now_is_not_asked_again(visit: Any, ann: Person, bob: Person) -> None:
    ann.open_room(bob)
    page = visit(ann, permissions=["notifications"]).go("/")
    page.get_by_role("button", name="Не сейчас").click()
    expect(page.get_by_role("group", name="Уведомления")).to_have_count(0)
    page.reload()
    page.locator("a.row").wait_for()

    expect(page.get_by_role("group", name="Уведомления")).to_have_count(0)


def test_iphone_gets_the_hint_to_add_the_page_to_its_home_screen(
    visit: Any, ann: Person, bob: Person
) -> None:
    ann.open_room(bob)
    page = visit(ann, user_agent=IPHONE).go("/")

    expect(page.get_by_role("group", name="Уведомления")).to_contain_text("На экран «Домой»")
    page.get_by_role("button", name="Понятно").click()
    expect(page.get_by_role("group", name="Уведомления")).to_have_count(0)
