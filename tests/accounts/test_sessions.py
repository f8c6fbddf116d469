"""Sessions: each login is one, can be seen and ended, and takes tokens and sockets with it."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from flask import Flask
from sqlalchemy import Engine, func, select

from app.accounts import credentials, login, registration, sessions
from app.accounts.models import Session
from app.accounts.sessions import Device
from app.accounts.tokens import NoActiveAccount
from app.database.transactions import reading
from app.services import services
from tests.factories import PASSWORD, Person, log_in, make_person, new_name
from tests.problems import check_problem
from tests.servers import Server
from tests.talk import close_code, hear, join, send_text

NEW_PASSWORD = "another horse battery"
REVOKED_SECONDS = 2.0  # within which the sockets of a session are closed
DEVICE = Device("192.0.2.7", "a test")


def is_in(person: Person) -> bool:
    """Tell whether somebody's access token opens the API."""
    return person.get("/profiles/api/profile/").status_code == 200


def can_refresh(person: Person) -> bool:
    answer = httpx.post(
        f"{person.url}/accounts/api/token/refresh/", json={"refresh": person.refresh}
    )
    return answer.status_code == 200


def sessions_of(person: Person) -> list[dict[str, object]]:
    found: list[dict[str, object]] = person.get("/accounts/api/sessions/").json()
    return found


def log_out(person: Person) -> None:
    answer = person.post("/accounts/api/token/blacklist/", {"refresh": person.refresh})
    assert (answer.status_code, answer.json()) == (200, {})


def change_password(person: Person) -> httpx.Response:
    return person.post(
        "/accounts/api/password/", {"old_password": PASSWORD, "new_password": NEW_PASSWORD}
    )


def end_own_session(person: Person) -> None:
    (mine,) = [each for each in sessions_of(person) if each["current"]]
    answer = person.http.delete(f"/accounts/api/sessions/{mine['id']}/")
    assert (answer.status_code, answer.content) == (204, b"")


ENDINGS: dict[str, Callable[[Person], object]] = {
    "logging out": log_out,
    "ending the session": end_own_session,
    "changing the password": change_password,
}


def test_each_login_is_a_session_that_its_owner_sees(server: Server) -> None:
    ann = make_person(server.url)
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Safari/604.1 "
    other = log_in(ann, phone + "x" * 300)

    first, second = sessions_of(other)

    assert [first["current"], second["current"]] == [False, True]
    assert first.keys() == {
        *("id", "created_at", "last_used_at", "address", "client", "device", "current"),
    }
    assert second["address"] == "127.0.0.1"
    assert str(second["client"]).startswith(f"{phone}x")
    assert len(str(second["client"])) == 200
    assert first["device"] == {"kind": "program", "browser": None, "system": None}
    assert second["device"] == {"kind": "phone", "browser": "Safari", "system": "iOS"}


def test_refreshing_is_using(server: Server) -> None:
    ann = make_person(server.url)
    (before,) = sessions_of(ann)
    time.sleep(1.1)  # times are whole seconds

    httpx.post(
        f"{ann.url}/accounts/api/token/refresh/",
        json={"refresh": ann.refresh},
        headers={"User-Agent": "renewed"},
    )

    (after,) = sessions_of(ann)
    assert str(after["last_used_at"]) > str(before["last_used_at"])
    assert after["created_at"] == before["created_at"]
    assert after["client"] == "renewed"


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_what_ends_a_session_ends_both_its_tokens_at_once(
    server: Server, end: Callable[[Person], object]
) -> None:
    ann = make_person(server.url)
    assert is_in(ann)
    assert can_refresh(ann)

    end(ann)

    check_problem(ann.get("/profiles/api/profile/"), 401, "token_not_valid")
    assert not can_refresh(ann)


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_what_ends_a_session_closes_its_sockets_and_no_others(
    server: Server, end: Callable[[Person], object]
) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    room = ann.open_room(bob)

    with join(ann, room) as hers, join(bob, room) as his:
        began = time.monotonic()
        end(ann)
        assert close_code(hers) == 4401
        assert time.monotonic() - began < REVOKED_SECONDS

        send_text(his, "still here")
        assert hear(his)["content"] == "still here"


def test_one_session_ends_and_the_others_stay(server: Server) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    other = log_in(ann)
    room = ann.open_room(bob)

    with join(other, room) as socket:
        log_out(ann)

        assert not is_in(ann)
        assert is_in(other)
        time.sleep(REVOKED_SECONDS)
        send_text(socket, "not ended")
        assert hear(socket)["content"] == "not ended"


@pytest.mark.server
def test_sockets_are_closed_on_every_machine(postgresql_url: str, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": postgresql_url}
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    with (
        Server(tmp_path / "here", settings) as here,
        Server(tmp_path / "there", settings) as there,
    ):
        ann, bob = make_person(here.url), make_person(here.url)
        room = ann.open_room(bob)

        with join(replace(ann, url=there.url), room) as socket:
            began = time.monotonic()
            log_out(ann)
            assert close_code(socket) == 4401
            assert time.monotonic() - began < REVOKED_SECONDS


def test_new_password_logs_out_everywhere_and_in_again_here(server: Server) -> None:
    ann = make_person(server.url)
    other = log_in(ann)

    answer = change_password(ann)

    assert answer.status_code == 200
    assert not is_in(other)
    ann.http.headers["Authorization"] = "Bearer " + answer.json()["access"]
    assert [each["current"] for each in sessions_of(ann)] == [True]
    for password, status in ((PASSWORD, 401), (NEW_PASSWORD, 200)):
        body = {"username": ann.username, "password": password}
        assert httpx.post(f"{ann.url}/accounts/api/token/", json=body).status_code == status


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("not my password", NEW_PASSWORD, "old_password"),
        (PASSWORD, "short", "new_password"),
        (PASSWORD, "12345678901", "new_password"),
        (PASSWORD, "iloveyou", "new_password"),
        ("", NEW_PASSWORD, "old_password"),
    ],
)
def test_password_is_not_changed(server: Server, old: str, new: str, field: str) -> None:
    ann = make_person(server.url)

    answer = ann.post("/accounts/api/password/", {"old_password": old, "new_password": new})

    check_problem(answer, 400, "invalid", [field])
    assert is_in(ann)


def test_password_must_not_become_the_name(server: Server) -> None:
    ann = make_person(server.url)

    answer = ann.post(
        "/accounts/api/password/",
        {"old_password": PASSWORD, "new_password": ann.username.upper()},
    )

    assert list(answer.json()["errors"]) == ["new_password"]


def test_other_peoples_sessions_cannot_be_seen_or_ended(server: Server) -> None:
    ann, eve = make_person(server.url), make_person(server.url)
    (hers,) = sessions_of(ann)

    theirs = eve.http.delete(f"/accounts/api/sessions/{hers['id']}/")
    nobodys = eve.http.delete("/accounts/api/sessions/999999999/")

    for answer in (theirs, nobodys):
        check_problem(answer, 404, "session_not_found")
    assert is_in(ann)
    assert hers["id"] not in [each["id"] for each in sessions_of(eve)]


@pytest.mark.parametrize("name", ["x", "0", "-1", "1.5", "9" * 40, "%00", "٣"])
def test_session_of_no_sense_is_not_found(server: Server, name: str) -> None:
    ann = make_person(server.url)

    check_problem(ann.http.delete(f"/accounts/api/sessions/{name}/"), 404, "session_not_found")


def test_tokens_are_verified_and_blacklisted_as_simplejwt_does(server: Server) -> None:
    ann = make_person(server.url)
    verify, blacklist = (
        f"{ann.url}/accounts/api/token/{name}/" for name in ("verify", "blacklist")
    )

    for token in (ann.access, ann.refresh):
        answer = httpx.post(verify, json={"token": token})
        assert (answer.status_code, answer.json()) == (200, {})
    # An access token ends nothing.
    check_problem(httpx.post(blacklist, json={"refresh": ann.access}), 401, "token_not_valid")
    assert is_in(ann)

    log_out(ann)

    for token in (ann.access, ann.refresh, "x.y.z"):
        check_problem(httpx.post(verify, json={"token": token}), 401, "token_not_valid")
    check_problem(httpx.post(blacklist, json={"refresh": ann.refresh}), 401, "token_not_valid")
    for url, field in ((verify, "token"), (blacklist, "refresh")):
        check_problem(httpx.post(url, json={}), 400, "invalid", [field])


def test_own_address_is_changed_with_the_password(server: Server) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    address = f"{new_name()}@example.com"

    wrong = ann.http.patch(
        "/accounts/api/users/me/", json={"email": address, "password": "wrong password"}
    )
    taken = ann.http.patch(
        "/accounts/api/users/me/", json={"email": bob.email.upper(), "password": PASSWORD}
    )
    right = ann.http.patch("/accounts/api/users/me/", json={"email": address, "password": PASSWORD})

    assert list(wrong.json()["errors"]) == ["password"]
    assert list(taken.json()["errors"]) == ["email"]
    expected = {"id": ann.id, "username": ann.username, "email": address, "is_admin": False}
    assert (right.status_code, right.json()) == (200, expected)
    assert ann.get("/accounts/api/users/me/").json() == expected
    assert ann.get("/profiles/api/profile/").json()["email"] == address


# Below the API


@pytest.fixture
def user_id(app: Flask) -> int:
    with app.app_context():
        return int(registration.register("ann", "ann@example.com", PASSWORD)["id"])


@pytest.fixture
def engine(app: Flask) -> Engine:
    return services(app).engine


def alive(engine: Engine) -> int:
    with reading(engine) as connection:
        return int(
            connection.scalar(
                select(func.count()).select_from(Session).where(Session.revoked_at.is_(None))
            )
            or 0
        )


@pytest.mark.slow
@pytest.mark.usefixtures("costly_hashes")
def test_no_login_with_the_old_password_outlives_its_change(
    app: Flask, engine: Engine, user_id: int
) -> None:
    # Both compute a hash first, so they meet in the database in whatever order.
    for round_ in range(6):
        passwords = PASSWORD + str(round_), PASSWORD + str(round_ + 1)
        if round_ == 0:
            with app.app_context():
                credentials.change_password(user_id, PASSWORD, passwords[0], DEVICE)
        barrier = threading.Barrier(4)

        def change(old: str, new: str, barrier: threading.Barrier = barrier) -> None:
            with app.app_context():
                barrier.wait()
                credentials.change_password(user_id, old, new, DEVICE)

        def enter(old: str, barrier: threading.Barrier = barrier) -> None:
            with app.app_context():
                barrier.wait()
                with suppress(NoActiveAccount):
                    login.log_in(login.find_candidate("ann"), old, DEVICE)

        threads = [
            threading.Thread(target=change, args=passwords),
            *(threading.Thread(target=enter, args=passwords[:1]) for _ in range(3)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert alive(engine) == 1  # the one that changing the password has begun


def test_sessions_that_ended_long_ago_are_deleted_at_the_next_login(
    app: Flask, engine: Engine, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        _, session_id = login.log_in(login.find_candidate("ann"), PASSWORD, DEVICE)
        sessions.revoke(user_id, session_id)
        later = sessions.utcnow() + sessions.KEPT * 2
        monkeypatch.setattr(sessions, "utcnow", lambda: later)
        login.log_in(login.find_candidate("ann"), PASSWORD, DEVICE)

    with reading(engine) as connection:
        ids = connection.scalars(select(Session.id)).all()
    assert len(ids) == 1
    assert session_id not in ids
