"""Conditional GET: who has a profile or a list already is told so, and nothing else."""

from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import pytest

from tests.factories import Person, make_person, new_name
from tests.servers import Server
from tests.talk import messages_path

pytestmark = pytest.mark.usefixtures("documented")


class Place(NamedTuple):
    ann: Person
    bob: Person
    room: dict[str, Any]


@pytest.fixture
def place(server: Server) -> Place:
    ann, bob = make_person(server.url, new_name("ann")), make_person(server.url, new_name("bob"))
    return Place(ann, bob, ann.open_room(bob))


# What can be asked for so, and what makes it another: a path, and a change.
READ: dict[str, tuple[Callable[[Place], str], Callable[[Place], Any]]] = {
    "profile": (
        lambda place: "/profiles/api/profile/",
        lambda place: place.ann.http.patch("/profiles/api/profile/", json={"bio": "новое"}),
    ),
    "somebody's profile": (
        lambda place: f"/profiles/api/search-user/?username={place.bob.username}",
        lambda place: place.bob.post("/profiles/api/add-friend/", {"username": place.ann.username}),
    ),
    "account": (
        lambda place: "/accounts/api/users/me/",
        lambda place: None,
    ),
    "users": (
        lambda place: "/accounts/api/users/",
        lambda place: make_person(place.ann.url),
    ),
    "posts": (
        lambda place: "/profiles/api/posts/?limit=3",
        lambda place: place.bob.post("/profiles/api/posts/", {"title": "T", "content": "C"}),
    ),
    "rooms": (
        lambda place: "/messenger/api/chatrooms/",
        lambda place: place.ann.open_room(make_person(place.ann.url)),
    ),
    "own rooms": (
        lambda place: "/messenger/api/user/chatrooms/",
        lambda place: place.ann.open_room(make_person(place.ann.url)),
    ),
    "messages": (
        lambda place: messages_path(place.room),
        lambda place: place.bob.post(messages_path(place.room), {"content": "новое"}),
    ),
}


@pytest.mark.parametrize("name", READ)
def test_what_has_not_changed_is_not_sent_again(place: Place, name: str) -> None:
    path = READ[name][0](place)
    first = place.ann.get(path)

    again = place.ann.get(path, headers={"If-None-Match": first.headers["ETag"]})

    assert first.status_code == 200
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers.get("Link") == first.headers.get("Link")


@pytest.mark.parametrize("name", [name for name in READ if name != "account"])
def test_what_has_changed_is_sent(place: Place, name: str) -> None:
    path, change = READ[name][0](place), READ[name][1]
    first = place.ann.get(path)
    change(place)

    again = place.ann.get(path, headers={"If-None-Match": first.headers["ETag"]})

    assert again.status_code == 200
    assert again.json() != first.json()
    assert again.headers["ETag"] != first.headers["ETag"]


@pytest.mark.parametrize("known", ['W/{}, "x"', '"x", {}', "*"])
def test_any_tag_of_several_will_do(place: Place, known: str) -> None:
    path = messages_path(place.room)
    tag = place.ann.get(path).headers["ETag"]

    again = place.ann.get(path, headers={"If-None-Match": known.format(tag)})

    assert again.status_code == 304


@pytest.mark.parametrize("known", ["", "x", '"', "W/", "\\", '"x'])
def test_a_tag_of_nothing_gets_an_answer(place: Place, known: str) -> None:
    answer = place.ann.get(messages_path(place.room), headers={"If-None-Match": known})

    assert answer.status_code == 200


def test_no_cache_may_keep_what_only_its_reader_may_see(place: Place) -> None:
    path = messages_path(place.room)
    first = place.ann.get(path)
    again = place.ann.get(path, headers={"If-None-Match": first.headers["ETag"]})

    assert first.headers["Cache-Control"] == again.headers["Cache-Control"] == "no-store"


def test_a_tag_opens_nothing(place: Place) -> None:
    path = messages_path(place.room)
    known = {"If-None-Match": place.ann.get(path).headers["ETag"]}
    stranger = make_person(place.ann.url)

    assert httpx.get(place.ann.url + path, headers=known).status_code == 401
    assert stranger.get(path, headers=known).status_code == 404
