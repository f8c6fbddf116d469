"""The chat socket's life before and beyond its frames: who gets in, from when on it hears."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.factories import Person, make_person
from tests.problems import check_problem
from tests.servers import Server
from tests.talk import hear, join, messages_path, say

SOCKETS_MAX = 3


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes few sockets."""
    folder: Path = tmp_path_factory.mktemp("small")
    with Server(folder, {"SOCKETS_MAX": str(SOCKETS_MAX)}) as server:
        yield server


@pytest.fixture(scope="module")
def pair(small_server: Server) -> tuple[Person, Person]:
    return make_person(small_server.url), make_person(small_server.url)


def test_worker_with_all_its_sockets_refuses_one_more_and_serves_rest(pair) -> None:
    ann, bob = pair
    room = ann.open_room(bob)
    with join(ann, room), join(bob, room):
        with join(ann, room) as third:
            with pytest.raises(InvalidStatus) as refused, join(bob, room):
                pass
            assert ann.get("/profiles/api/profile/").status_code == 200
            third.close()

        answer = refused.value.response
        assert answer.status_code == 503
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Retry-After"]
        assert b'"code":"too_many_sockets"' in (answer.body or b"")
        with join(bob, room) as admitted:  # there is room again
            say(admitted, "here")
            assert hear(admitted)["content"] == "here"


def test_socket_hears_what_is_said_from_the_moment_it_is_open_and_nothing_older(pair) -> None:
    ann, bob = pair
    room = ann.open_room(bob)

    for number in range(30):
        ann.post(messages_path(room), {"content": f"before {number}"})
        with join(bob, room) as ws:
            said = ann.post(messages_path(room), {"content": f"after {number}"}).json()

            assert hear(ws) == said


def test_handshake_is_answered_in_http_before_the_upgrade(small_server: Server, pair) -> None:
    ann, bob = pair
    room = ann.open_room(bob)

    answer = ann.get(f"/messenger/ws/ws/chat/{room['name']}/")

    check_problem(answer, 426, "upgrade_required")
    assert answer.headers["Sec-WebSocket-Version"] == "13"
