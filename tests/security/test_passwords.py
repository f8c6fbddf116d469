"""Logging in tells nobody who has an account: the same answer, and the same work behind it.

What a password may be and how it is kept is in tests/accounts/test_passwords.py.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from app.threads import NICENESS
from tests.delivery.machines import children
from tests.factories import PASSWORD, Person, make_person, new_name
from tests.problems import check_problem
from tests.servers import Server

LOGINS = 4
WORK_SECONDS = 0.002  # a hash takes several times as long, whatever the machine
WRONG = "not the password of anybody"


@pytest.fixture(scope="module")
def people(server: Server) -> dict[str, Person]:
    people = {"active": make_person(server.url), "deactivated": make_person(server.url)}
    path = server.folder / "beseda.db"
    with closing(sqlite3.connect(path, timeout=10)) as database, database:
        database.execute("UPDATE users SET is_active = 0 WHERE id = ?", (people["deactivated"].id,))
    return people


def attempts(people: dict[str, Person]) -> dict[str, tuple[str, str]]:
    """Return names and passwords with which nobody gets in."""
    return {
        "a wrong password": (people["active"].username, WRONG),
        "an unknown name": (new_name("nobody"), WRONG),
        "a name that nobody can have": ("no such name!", WRONG),
        "a deactivated user": (people["deactivated"].username, PASSWORD),
        "a deactivated user's wrong password": (people["deactivated"].username, WRONG),
    }


def log_in(server: Server, username: str, password: str) -> httpx.Response:
    body = {"username": username, "password": password}
    return httpx.post(f"{server.url}/accounts/api/token/", json=body, timeout=30)


def work_of_lanes(server: Server) -> float:
    """Return how many seconds the threads for slow work have computed so far.

    The time that they had a processor for, which another's load does not lengthen.
    """
    assert server.process
    seconds = 0.0
    for worker in children(server.process.pid):
        for thread in Path(f"/proc/{worker}/task").iterdir():
            # `tid (name) state …`; niceness is the nineteenth (proc(5))
            fields = (thread / "stat").read_text().rpartition(")")[2].split()
            if int(fields[16]) == NICENESS:
                seconds += int((thread / "schedstat").read_text().split()[0]) / 1e9
    return seconds


def test_every_failed_login_is_a_hash_in_the_pool_for_passwords(
    server: Server, people: dict[str, Person]
) -> None:
    log_in(server, *attempts(people)["an unknown name"])  # the thread is there
    work = {}

    for kind, (username, password) in attempts(people).items():
        before = work_of_lanes(server)
        for _ in range(LOGINS):
            assert log_in(server, username, password).status_code == 401
        work[kind] = (work_of_lanes(server) - before) / LOGINS

    assert min(work.values()) > WORK_SECONDS, work
    assert max(work.values()) < 2 * min(work.values()), work


def test_every_failed_login_is_answered_alike(server: Server, people: dict[str, Person]) -> None:
    answers = set()

    for username, password in attempts(people).values():
        answer = log_in(server, username, password)
        check_problem(answer, 401, "no_active_account")
        headers = {*answer.headers} - {"date", "x-request-id"}
        answers.add((answer.text, *sorted(headers)))

    assert len(answers) == 1


@pytest.mark.parametrize("path", ["/accounts/api/users/", "/accounts/api/token/"])
@pytest.mark.parametrize("password", ["short!", "x" * 129, "12345678901", "\ud800 secret"])
def test_password_is_never_in_an_answer(server: Server, path: str, password: str) -> None:
    body = f'{{"username": "{new_name()}", "email": "not one", "password": "{password}"}}'

    answer = httpx.post(
        server.url + path,
        content=body.encode(errors="surrogatepass"),
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code in (400, 401)
    assert password.strip("\ud800 ") not in answer.text
