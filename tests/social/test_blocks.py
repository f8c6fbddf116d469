"""A block holds in both directions, on every way to somebody."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.database.transactions import reading
from app.social import blocks
from tests.visitors import Visitor, register

BLOCKS = "/profiles/api/blocks/"
ROOMS = "/messenger/api/chatrooms/"


@pytest.fixture
def ann(client: FlaskClient) -> Visitor:
    return register(client, "ann")


@pytest.fixture
def bob(client: FlaskClient) -> Visitor:
    return register(client, "bob")


def block(owner: Visitor, other: Visitor) -> None:
    assert owner.post(BLOCKS, {"username": other.username}).status_code == 200


def test_own_blocks_are_listed_and_taken_back(ann: Visitor, bob: Visitor) -> None:
    shown = {"id": bob.id, "username": bob.username}

    first = ann.post(BLOCKS, {"username": bob.username.upper()})
    again = ann.post(BLOCKS, {"username": bob.username})

    assert (first.status_code, first.json, again.status_code) == (200, shown, 200)
    assert ann.get(BLOCKS).json == [shown]
    assert bob.get(BLOCKS).json == []  # whoever is blocked is not told
    assert ann.delete(f"{BLOCKS}{bob.username}/").status_code == 204
    assert ann.delete(f"{BLOCKS}{bob.username}/").status_code == 204
    assert ann.get(BLOCKS).json == []


@pytest.mark.parametrize("who_blocks", [0, 1])
def test_neither_writes_in_their_room_and_both_still_read_it(
    ann: Visitor, bob: Visitor, who_blocks: int
) -> None:
    messages = f"{ROOMS}{ann.open_room(bob)}/messages/"
    assert ann.post(messages, {"content": "before"}).status_code == 201
    both = [ann, bob]

    block(both[who_blocks], both[1 - who_blocks])

    for each in both:
        refused = each.post(messages, {"content": "never"})
        assert (refused.status_code, refused.json["code"]) == (403, "blocked")
        assert [message["content"] for message in each.get(messages).json] == ["before"]
    both[who_blocks].delete(f"{BLOCKS}{both[1 - who_blocks].username}/")
    assert bob.post(messages, {"content": "after"}).status_code == 201


def test_a_block_of_the_other_side_stays_when_one_is_taken_back(ann: Visitor, bob: Visitor) -> None:
    messages = f"{ROOMS}{ann.open_room(bob)}/messages/"
    block(ann, bob)
    block(bob, ann)

    ann.delete(f"{BLOCKS}{bob.username}/")

    assert ann.post(messages, {"content": "never"}).status_code == 403


def test_no_new_room_but_the_old_one_is_found(
    client: FlaskClient, ann: Visitor, bob: Visitor
) -> None:
    eve = register(client, "eve")
    name = ann.open_room(bob)
    block(bob, ann)
    block(eve, ann)

    assert ann.open_room(bob) == name
    refused = ann.post(ROOMS, {"recipient": eve.username})
    assert (refused.status_code, refused.json["code"]) == (403, "blocked")
    assert eve.post(ROOMS, {"recipient": ann.username}).status_code == 403


@pytest.mark.parametrize(
    ("attempt", "status", "field"),
    [
        (lambda ann: ann.post(BLOCKS, {"username": ann.username}), 400, "username"),
        (lambda ann: ann.post(BLOCKS, {"username": "nobody"}), 404, None),
        (lambda ann: ann.post(BLOCKS, {}), 400, "username"),
        (lambda ann: ann.delete(f"{BLOCKS}nobody/"), 404, None),
        (lambda ann: ann.http.get(BLOCKS), 401, None),
        (lambda ann: ann.http.post(BLOCKS, json={"username": ann.username}), 401, None),
        (lambda ann: ann.http.delete(f"{BLOCKS}{ann.username}/"), 401, None),
    ],
)
def test_bad_requests_and_strangers_change_nothing(
    ann: Visitor, attempt: Callable[[Visitor], TestResponse], status: int, field: str | None
) -> None:
    answer = attempt(ann)

    assert answer.status_code == status
    assert field is None or set(answer.json["errors"]) == {field}
    assert ann.get(BLOCKS).json == []


def test_an_erasure_takes_the_blocks_of_both_sides(ann: Visitor, bob: Visitor) -> None:
    block(ann, bob)
    block(bob, ann)

    ann.delete("/accounts/api/users/me/", json={"password": "correct horse battery"})

    assert bob.get(BLOCKS).json == []
    with bob.http.application.app_context(), reading() as connection:
        assert blocks.find_blocked(connection, bob.id) == set()
