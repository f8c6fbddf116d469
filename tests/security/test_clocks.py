"""Machines whose clocks differ by some seconds are one service: nobody is logged out by that."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.factories import PASSWORD, Person, log_in, make_person, new_name
from tests.problems import check_problem
from tests.security.test_tokens import with_claims
from tests.servers import Server
from tests.talk import close_code, hear, join, messages_path, send_text
from tests.test_strangers import DOORS, Place, make_admin

pytestmark = pytest.mark.server

AHEAD = 8  # seconds; clocks that are set by NTP differ by less than one

# Python reads this file before anything else, so all times of the process are shifted.
CLOCK = """
import datetime, os, time

SHIFT = float(os.environ["CLOCK_SHIFT"])
real_datetime, real_time = datetime.datetime, time.time


class Kind(type(real_datetime)):
    def __instancecheck__(cls, value):
        return isinstance(value, real_datetime)


class Shifted(real_datetime, metaclass=Kind):
    @classmethod
    def now(cls, tz=None):
        return real_datetime.now(tz) + datetime.timedelta(seconds=SHIFT)


datetime.datetime = Shifted
time.time = lambda: real_time() + SHIFT
"""


@contextmanager
def machine(
    folder: Path, database_url: str, shift: float, registration: str = "open"
) -> Iterator[Server]:
    """Run a server whose clock is wrong by some seconds."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK)
    settings = {
        "DATABASE_URL": database_url,
        "PYTHONPATH": str(folder),
        "CLOCK_SHIFT": str(shift),
        "REGISTRATION": registration,
    }
    with Server(folder, settings) as server:
        yield server


@pytest.fixture(scope="module")
def machines(
    postgresql_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """Two machines of one service; the clock of the second one is ahead."""
    folder = tmp_path_factory.mktemp("clocks")
    with (
        machine(folder / "behind", postgresql_url, 0) as behind,
        machine(folder / "ahead", postgresql_url, AHEAD) as ahead,
    ):
        yield behind, ahead


@pytest.fixture(params=["from ahead to behind", "from behind to ahead"])
def way(request: pytest.FixtureRequest, machines: tuple[Server, Server]) -> tuple[Server, Server]:
    behind, ahead = machines
    return (ahead, behind) if request.param == "from ahead to behind" else (behind, ahead)


def at(server: Server, person: Person) -> Person:
    """Return somebody who talks to another machine with the same tokens."""
    headers = person.bearer | {"Connection": "close"}
    http = httpx.Client(base_url=server.url, headers=headers, timeout=30)
    return replace(person, url=server.url, http=http)


def test_clocks_of_the_machines_differ(machines: tuple[Server, Server]) -> None:
    behind, ahead = machines
    here, there = make_person(behind.url), make_person(ahead.url)
    room = here.open_room(there)

    early = here.post(messages_path(room), {"content": "x"}).json()["timestamp"]
    late = at(ahead, here).post(messages_path(room), {"content": "x"}).json()["timestamp"]

    assert early < late


def test_token_of_one_machine_is_good_on_the_other_at_once(way: tuple[Server, Server]) -> None:
    first, second = way
    ann, bob = make_person(first.url), make_person(first.url)
    room = ann.open_room(bob)

    there = at(second, log_in(ann))

    assert there.get("/profiles/api/profile/").status_code == 200
    refreshed = there.post("/accounts/api/token/refresh/", {"refresh": there.refresh})
    assert refreshed.status_code == 200
    assert (
        at(first, replace(ann, access=refreshed.json()["access"]))
        .get("/profiles/api/profile/")
        .is_success
    )
    with join(there, room) as socket:
        send_text(socket, "here")
        assert hear(socket)["content"] == "here"


def test_session_that_ends_on_one_machine_closes_its_sockets_on_the_other(
    way: tuple[Server, Server],
) -> None:
    first, second = way
    ann = make_person(first.url)
    room = ann.open_room(make_person(first.url))
    there = at(second, log_in(ann))
    with join(there, room) as socket:
        send_text(socket, "here")
        hear(socket)
        answer = at(first, there).post("/accounts/api/token/blacklist/", {"refresh": there.refresh})
        assert answer.status_code == 200

        assert close_code(socket) == 4401
    check_problem(there.get("/profiles/api/profile/"), 401, "token_not_valid")


def test_link_of_one_machine_is_good_on_the_other(way: tuple[Server, Server]) -> None:
    first, second = way
    ann, boss = make_person(first.url), make_person(first.url)
    assert make_admin(first, boss.username).returncode == 0

    link = boss.post(f"/accounts/api/admin/users/{ann.id}/reset-link/").json()["link"]
    confirmed = httpx.post(
        f"{second.url}/accounts/api/password/reset/confirm/",
        json={"token": link.rpartition("#")[2], "new_password": "another horse battery"},
    )

    assert confirmed.status_code == 200, confirmed.text


def test_message_is_edited_on_the_other_machine_at_once(way: tuple[Server, Server]) -> None:
    first, second = way
    ann = make_person(first.url)
    room = ann.open_room(make_person(first.url))
    message = ann.post(messages_path(room), {"content": "x"}).json()

    path = f"{messages_path(room)}{message['id']}/"
    edited = at(second, ann).http.patch(path, json={"content": "y"})

    assert edited.status_code == 200, edited.text


@pytest.mark.parametrize("seconds", [1, AHEAD])
@pytest.mark.parametrize("door", DOORS)
def test_token_that_was_issued_some_seconds_ahead_is_accepted(
    server: Server, door: str, seconds: int
) -> None:
    ann = make_person(server.url)
    place = Place(server, ann, ann, ann, ann.open_room(make_person(server.url)))
    soon = int(time.time()) + seconds

    assert DOORS[door].knock(place, with_claims(place, door, iat=soon, nbf=soon))
    assert not DOORS[door].knock(place, with_claims(place, door, iat=soon + 60, nbf=soon + 60))


@pytest.mark.parametrize("shift", [0, AHEAD], ids=["behind", "ahead"])
def test_invitation_of_one_machine_is_good_on_the_other(
    machines: tuple[Server, Server], postgresql_url: str, tmp_path: Path, shift: float
) -> None:
    behind, ahead = machines
    first = behind if shift else ahead
    boss = make_person(first.url)
    assert make_admin(first, boss.username).returncode == 0
    made = boss.post("/accounts/api/admin/invitations/", {"days": 1}).json()
    name = new_name()
    account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}

    with machine(tmp_path / "door", postgresql_url, shift, "invite") as second:
        answer = httpx.post(
            f"{second.url}/accounts/api/users/",
            json=account | {"invitation": made["link"].partition("#")[2]},
        )

    assert answer.status_code == 201, answer.text
    listed = boss.get("/accounts/api/admin/invitations/").json()
    assert [each["used_by"] for each in listed if each["id"] == made["id"]] == [name]
