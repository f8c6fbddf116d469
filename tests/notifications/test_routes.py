"""`/accounts/api/push/`: what a browser gets, gives, and what is refused."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app.accounts import settings
from app.database.transactions import reading
from app.notifications.models import PushSubscription
from app.notifications.subscriptions import DEVICES_MAX
from app.services import services
from tests.apps import set_config
from tests.factories import PASSWORD
from tests.notifications import phones
from tests.notifications.phones import PushService, new_subscription
from tests.problems import check_problem
from tests.visitors import Visitor, register

URL = "/accounts/api/push/"


@pytest.fixture
def ann(client: FlaskClient) -> Visitor:
    return register(client, "ann")


@pytest.fixture
def bob(client: FlaskClient) -> Visitor:
    return register(client, "bob")


@pytest.fixture
def service() -> Iterator[PushService]:
    with phones.push_service() as service:
        yield service


def subscribed(app: Flask) -> list[tuple[int, str]]:
    query = select(PushSubscription.user_id, PushSubscription.endpoint)
    with reading(services(app).engine) as connection:
        return [(*row,) for row in connection.execute(query.order_by(PushSubscription.id))]


def test_key_is_the_one_that_everybody_gets(app: Flask, ann: Visitor, bob: Visitor) -> None:
    shown = ann.get(URL).json

    assert shown == bob.get(URL).json == {"key": services(app).notifier.key.public}


def test_browser_is_subscribed_once_and_taken_back(app: Flask, ann: Visitor) -> None:
    browser = new_subscription()

    first, again = ann.post(URL, browser), ann.post(URL, browser)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json == {"endpoint": browser["endpoint"]}
    assert subscribed(app) == [(ann.id, browser["endpoint"])]
    for _ in range(2):
        assert ann.delete(URL, json={"endpoint": browser["endpoint"]}).status_code == 204
    assert subscribed(app) == []


def test_browser_passes_to_whoever_is_logged_in_there(
    app: Flask, ann: Visitor, bob: Visitor
) -> None:
    browser = new_subscription()
    ann.post(URL, browser)

    assert bob.post(URL, browser).status_code == 201
    assert subscribed(app) == [(bob.id, browser["endpoint"])]
    ann.delete(URL, json={"endpoint": browser["endpoint"]})  # it is not hers any more
    assert subscribed(app) == [(bob.id, browser["endpoint"])]


def test_newest_browsers_of_a_user_are_kept(app: Flask, ann: Visitor, bob: Visitor) -> None:
    of_bob = new_subscription()
    bob.post(URL, of_bob)
    made = [new_subscription() for _ in range(DEVICES_MAX + 2)]
    for each in made:
        ann.post(URL, each)

    kept = [endpoint for _, endpoint in subscribed(app)]

    assert kept == [of_bob["endpoint"], *(each["endpoint"] for each in made[2:])]


KEYS = new_subscription()["keys"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"endpoint": None}, "endpoint"),
        ({"endpoint": ""}, "endpoint"),
        ({"endpoint": "http://push.example.com/x"}, "endpoint"),
        ({"endpoint": "https://127.0.0.1/x"}, "endpoint"),
        ({"endpoint": "https://localhost/x"}, "endpoint"),
        ({"endpoint": "https://push.example.com/" + "x" * 2048}, "endpoint"),
        ({"keys": None}, "keys"),
        ({"keys": "p256dh"}, "keys"),
        ({"keys": {}}, "keys"),
        ({"keys": KEYS | {"p256dh": "AAAA"}}, "keys"),
        ({"keys": KEYS | {"p256dh": "B" + "A" * 86}}, "keys"),  # no point of the curve
        ({"keys": KEYS | {"p256dh": "ключ"}}, "keys"),
        ({"keys": KEYS | {"auth": "AAAA"}}, "keys"),
        ({"keys": KEYS | {"auth": "!" * 22}}, "keys"),
        ({"keys": KEYS | {"auth": 5}}, "keys"),
    ],
)
def test_what_is_no_browser_is_refused(
    app: Flask, ann: Visitor, changes: dict[str, object], field: str
) -> None:
    refused = ann.post(URL, new_subscription() | changes)

    check_problem(refused, 400, fields=[field])
    assert subscribed(app) == []


def test_subscription_ends_with_the_account(app: Flask, ann: Visitor, bob: Visitor) -> None:
    ann.post(URL, new_subscription())
    bob.post(URL, new_subscription())

    ann.delete("/accounts/api/users/me/", json={"password": PASSWORD})

    assert [user_id for user_id, _ in subscribed(app)] == [bob.id]


def test_test_reaches_all_browsers_of_the_caller(
    app: Flask,
    ann: Visitor,
    bob: Visitor,
    service: PushService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_config(app, monkeypatch, PUSH_ALLOW_PRIVATE=True)
    monkeypatch.setattr(services(app).notifier, "_config", services(app).config)
    first, second, other = (service.phone(f"/{name}") for name in ("one", "two", "bob"))
    for visitor, phone in ((ann, first), (ann, second), (bob, other)):
        assert visitor.post(URL, phone.subscription).status_code == 201
    with app.app_context():
        settings.change_settings(ann.id, {"language": "en"})

    assert ann.post(f"{URL}test/").status_code == 202

    for phone in (first, second):
        (shown,) = phone.wait()
        assert (shown["title"], shown["body"]) == ("Beseda", "Notifications work on this device.")
        assert shown["navigate"] == "/settings"
    assert other.requests() == []
