"""Erasing an account: nothing personal is left anywhere, and no race brings anything back."""

import random
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import (
    Engine,
    bindparam,
    create_engine,
    event,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from app.accounts import credentials, sessions
from app.accounts.login import find_candidate, log_in
from app.accounts.models import Invitation, PasswordReset, Session, User
from app.accounts.services import UserNotFound, lock_users_shared
from app.accounts.sessions import Device
from app.accounts.tokens import NoActiveAccount, TokenNotValid
from app.accounts.usernames import folded
from app.clock import utcnow
from app.database.engine import engine_options, prepare
from app.database.transactions import reading, writing
from app.database.vacuum import purge_deleted_pages
from app.extensions import db
from app.http.errors import ApiError, Overloaded
from app.media.store import FolderStore
from app.messenger import rooms as messenger
from app.messenger.drafts import Draft, Stored
from app.messenger.models import Message, Room
from app.messenger.store import store
from app.privacy import erasure as personal
from app.profiles import services as profiles
from app.profiles.models import Post, Profile
from app.services import services as services_of
from app.social import friends
from tests.factories import PASSWORD, make_person, new_name, user_row
from tests.problems import check_problem
from tests.servers import Server
from tests.talk import close_code, hear, join, messages_path, send_text
from tests.test_races import Answer, InProcess, OnServer, Site, all_at_once, picture

ME = "/accounts/api/users/me/"
ROOMS = "/messenger/api/chatrooms/"
PROFILE = "/profiles/api/profile/"
USERS = "/accounts/api/users/"
ADDRESS = "203.0.113.77"
NAME_COLUMNS = ("username", "username_key", "email", "email_key")
SEED = 10
CLOSED_SECONDS = 2.0  # within which an erased user's sockets are closed


class Person(NamedTuple):
    username: str
    id: int
    token: str
    refresh: str = ""

    @property
    def erased_name(self) -> str:
        return f"deleted~{self.id}"


def sign_up(site: Site, username: str, email: str = "", **headers: str) -> Person:
    """Register somebody and log in."""
    body = {"username": username, "password": PASSWORD}
    email = email or f"{new_name()}@example.com"
    made = site.ask("POST", USERS, json=body | {"email": email}, headers=headers)
    assert made.status == 201, made.body
    tokens = site.ask("POST", "/accounts/api/token/", json=body, headers=headers).body
    return Person(made.body["username"], made.body["id"], tokens["access"], tokens["refresh"])


def erase(site: Site, person: Person, password: str = PASSWORD) -> Answer:
    return site.ask("DELETE", ME, person.token, json={"password": password})


def open_room(site: Site, me: Person, recipient: str) -> Any:
    return site.ask("POST", ROOMS, me.token, json={"recipient": recipient}).body


@pytest.fixture
def engine(app: Flask) -> Engine:
    return services_of(app).engine


@pytest.fixture
def site(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    # The application lives longer than a test, so its pictures go where only this one looks.
    folder = tmp_path / "media"
    monkeypatch.setattr(services_of(app), "media", FolderStore(folder))
    return InProcess(app, folder)


# Nothing personal is left


class Rich(NamedTuple):
    """Somebody who has left all the traces that one can leave."""

    person: Person
    traces: set[str]


def make_rich(site: Site, engine: Engine, bob: Person, eve: Person) -> Rich:
    """Make somebody whose name, address and texts have several forms, all of them kept in mind."""
    typed = unicodedata.normalize("NFD", f"Weißbäcker.{new_name('Ä')}")
    email = f"Weiß.{new_name('Änne')}@example.com"
    agent = f"Annes-Browser/{new_name()}"
    about = {"X-Forwarded-For": ADDRESS, "User-Agent": agent}
    rich = sign_up(site, typed, email, **about)
    ask = partial(site.ask, token=rich.token, headers=about)
    bio, title, content, client_id = (new_name(stem) for stem in ("bio", "title", "post", "cid"))
    ask("PATCH", PROFILE, json={"bio": f"{bio} " * 50})
    ask("PATCH", PROFILE, image=picture(7))
    for number in range(20):
        post = {"title": f"{title} {number}", "content": f"{content} " * (1 + number * 90)}
        ask("POST", "/profiles/api/posts/", json=post)
    for me, friend in ((rich, bob), (bob, rich)):
        body = {"username": friend.username}
        site.ask("POST", "/profiles/api/add-friend/", me.token, json=body)
    for room in (open_room(site, rich, bob.username), open_room(site, eve, rich.username)):
        for number in range(3):
            body = {"content": "Hello!", "client_id": f"{client_id} {number}"}
            answer = ask("POST", messages_path(room), json=body)
            assert answer.status == 201
        ask("GET", messages_path(room))
    search = f"/profiles/api/search-user/?username={quote(typed)}"
    assert site.ask("GET", search, bob.token).status == 200
    address = {"email": email.upper(), "password": PASSWORD}
    assert ask("PATCH", ME, json=address).status == 200
    hashes = [f"{number:064x}" for number in (rich.id, rich.id + 2**64)]
    with writing(engine) as connection:
        expiry = {"created_at": utcnow(), "expires_at": utcnow()}
        for values in (
            insert(PasswordReset).values(user_id=rich.id, token_hash=hashes[0], **expiry),
            insert(Invitation).values(used_by=rich.id, code_hash=hashes[1], **expiry),
        ):
            connection.execute(values)
        stored = connection.execute(
            select(User.email, User.password_hash, Profile.image)
            .join(Profile)
            .where(User.id == rich.id)
        ).one()
    texts = {typed, email, email.upper(), email.partition("@")[0], *stored}
    texts |= {agent, ADDRESS, bio, title, content, client_id, *hashes}
    traces = {
        form
        for text in texts
        for form in (text, unicodedata.normalize("NFC", text), folded(text), quote(text))
    }
    return Rich(rich, traces)


def cells(engine: Engine) -> Iterator[tuple[str, str]]:
    """Yield every text that is in a table, and the column it is in."""
    with reading(engine) as connection:
        for table in db.metadata.sorted_tables:
            for row in connection.execute(select(table)).mappings():
                for column, value in row.items():
                    yield f"{table.name}.{column}", str(value)


def found_in(engine: Engine, traces: set[str]) -> set[str]:
    """Return the columns that have a trace."""
    return {where for where, text in cells(engine) if any(trace in text for trace in traces)}


def found_in_files(folder: Path, traces: set[str]) -> set[str]:
    """Return the names of the files that have a trace, in them or in their own name."""
    found = set()
    for path in folder.rglob("*"):
        data = str(path.relative_to(folder)).encode()
        if path.is_file():
            data += path.read_bytes()
        found |= {path.name for trace in traces if trace.encode() in data}
    return found


def rows_of(engine: Engine, user_id: int) -> set[str]:
    """Return the columns that point to a user."""
    pointers = [
        (table, column)
        for table in db.metadata.sorted_tables
        for column in table.columns
        if any(key.column.table.name == "users" for key in column.foreign_keys)
    ]
    with reading(engine) as connection:
        return {
            f"{table.name}.{column.name}"
            for table, column in pointers
            if connection.execute(select(column).where(column == user_id)).first()
        }


def test_nothing_personal_is_left_in_any_table(site: InProcess, engine: Engine) -> None:
    bob, eve = sign_up(site, new_name("bob")), sign_up(site, new_name("eve"))
    rich, traces = make_rich(site, engine, bob, eve)
    assert found_in(engine, traces) == {
        *("users.username", "users.username_key", "users.email", "users.email_key"),
        *("users.password_hash", "profiles.bio", "profiles.image", "posts.title", "posts.content"),
        *("sessions.client", "chat_rooms.name", "messages.client_id"),
        *("password_resets.token_hash", "invitations.code_hash"),
    }  # so it would be found
    assert len(site.files()) == 1

    assert erase(site, rich).status == 204

    assert found_in(engine, traces) == set()
    assert site.files() == set()
    # Who it was cannot be told by any other way either: what is left says who said what, to whom.
    assert rows_of(engine, rich.id) == {
        "sessions.user_id",
        "messages.user_id",
        "memberships.user_id",
        f"chat_rooms.{'low' if rich.id < eve.id else 'high'}_user_id",
    }
    with reading(engine) as connection:
        kept = connection.execute(select(User).where(User.id == rich.id)).mappings().one()
        devices = connection.execute(
            select(Session.address, Session.client, Session.revoked_at.is_not(None)).where(
                Session.user_id == rich.id
            )
        ).all()
    assert set(devices) == {("", "", True)}
    assert (kept["username"], kept["email"]) == (rich.erased_name, "")
    assert kept["username_key"] == kept["email_key"] == rich.erased_name
    assert (kept["password_hash"], kept["is_active"], kept["is_admin"]) == ("", False, False)
    assert kept["deleted_at"] is not None


@pytest.mark.server
def test_nothing_personal_is_left_in_any_file(tmp_path: Path) -> None:
    settings = {"LOG_LEVEL": "DEBUG", "PROXY_HOPS": "1"}
    with (
        Server(tmp_path, settings) as server,
        httpx.Client(base_url=server.url, timeout=30) as http,
    ):
        site = OnServer(server, http)
        url = server.env["DATABASE_URL"]
        engine = create_engine(url, **engine_options(url, 1))
        bob, eve = sign_up(site, new_name("bob")), sign_up(site, new_name("eve"))
        # Others come and go, so that what is hers does not lie by itself.
        others = [sign_up(site, new_name("other")) for _ in range(3)]
        rich, traces = make_rich(site, engine, bob, eve)
        before = found_in_files(tmp_path, traces)
        assert "beseda.db-wal" in before
        assert any(name.endswith(".jpg") for name in before)

        for person in (rich, others[1]):
            assert erase(site, person).status == 204

        assert found_in(engine, traces) == set()
        assert found_in_files(tmp_path, traces) == set()
        assert (tmp_path / "beseda.db").stat().st_size > 0
        assert "DELETE /accounts/api/users/me/ 204" in server.log.read_text()
        engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_pages_of_the_file_keep_nothing_in_their_free_parts(engine: Engine, tmp_path: Path) -> None:
    # `secure_delete` overwrites a row, but not the copy of it that was left where the page was
    # filled anew. That happens to few, and with this seed to some of them (SQLite 3.40).
    chance = random.Random(SEED)
    names = [f"<{chance.random()}{'x' * chance.randrange(70)}>" for _ in range(3000)]
    gone = names[::2]
    with writing(engine) as connection:
        connection.execute(
            insert(User).values(password_hash="", created_at=utcnow()),
            [dict.fromkeys(NAME_COLUMNS, name) for name in names],
        )
        connection.execute(
            update(User)
            .where(User.username == bindparam("name"))
            .values({column: bindparam("new") for column in NAME_COLUMNS}),
            [{"name": name, "new": f"deleted~{number}"} for number, name in enumerate(gone)],
        )

    assert purge_deleted_pages(engine)

    assert found_in_files(tmp_path, set(gone)) == set()


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_connections_overwrite_what_they_delete(app: Flask) -> None:
    # Some SQLite libraries do so of themselves, others do not.
    url = services_of(app).engine.url
    engine = create_engine(url, **engine_options(str(url), 1))
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA secure_delete = OFF"))
    prepare(engine)

    with reading(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 1
    engine.dispose()


def test_account_with_very_many_posts_is_erased_with_all_of_them(
    engine: Engine, site: InProcess
) -> None:
    ann, bob = sign_up(site, new_name("ann")), sign_up(site, new_name("bob"))
    with writing(engine) as connection:
        connection.execute(
            insert(Post),
            [
                {"author_id": each.id, "title": "a", "content": "b", "created_at": utcnow()}
                for each in [ann] * (2 * profiles.DELETED_AT_ONCE + 1) + [bob]
            ],
        )

    assert erase(site, ann).status == 204

    with reading(engine) as connection:
        assert connection.scalars(select(Post.author_id)).all() == [bob.id]


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_erasure_that_the_tables_refuse_comes_to_an_end(
    app: Flask, engine: Engine, site: InProcess
) -> None:
    ann = sign_up(site, new_name("ann"))
    with writing(engine) as connection:
        connection.execute(
            text(
                "CREATE TRIGGER refuse BEFORE UPDATE ON users WHEN NEW.deleted_at IS NOT NULL"
                " BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        )

    with app.app_context(), pytest.raises(IntegrityError):
        personal.erase(ann.id)


# What others see


def test_erased_user_is_nowhere_but_in_the_rooms_of_others(site: InProcess) -> None:
    ann, bob = sign_up(site, new_name("ann")), sign_up(site, new_name("bob"))
    room = open_room(site, ann, bob.username)
    said = site.ask("POST", messages_path(room), ann.token, json={"content": "Bye!"}).body
    site.ask("POST", "/profiles/api/add-friend/", bob.token, json={"username": ann.username})
    site.ask("POST", "/profiles/api/posts/", ann.token, json={"title": "t", "content": "c"})

    assert erase(site, ann).status == 204

    for name in (ann.username, ann.erased_name):
        search = f"/profiles/api/search-user/?username={quote(name)}"
        assert site.ask("GET", search, bob.token).status == 404
        for verb in ("add", "remove"):
            path = f"/profiles/api/{verb}-friend/"
            assert site.ask("POST", path, bob.token, json={"username": name}).status == 404
        assert site.ask("POST", ROOMS, bob.token, json={"recipient": name}).status == 404
        log_in = {"username": name, "password": PASSWORD}
        refused = site.ask("POST", "/accounts/api/token/", json=log_in)
        assert (refused.status, refused.body["code"]) == (401, "no_active_account")
    assert ann.id not in [user["id"] for user in site.ask("GET", USERS, bob.token).body]
    assert site.ask("GET", PROFILE, bob.token).body["profile"]["friends"] == []
    assert site.ask("GET", "/profiles/api/posts/", bob.token).body == []
    (theirs,) = site.ask("GET", ROOMS, bob.token).body
    names = sorted((bob.username, ann.erased_name))
    assert theirs == {**room, "name": "_".join(names), "display_name": ann.erased_name}
    assert site.ask("GET", messages_path(room), bob.token).status == 404
    assert site.ask("GET", messages_path(theirs), bob.token).body == [
        {**said, "user": ann.erased_name}
    ]
    # Who is left may go on writing, as into a notebook.
    note = site.ask("POST", messages_path(theirs), bob.token, json={"content": "So long."})
    assert note.status == 201


def test_erased_user_is_out_at_once(site: InProcess) -> None:
    ann = sign_up(site, new_name("ann"))
    assert erase(site, ann).status == 204

    for method, path in (("GET", PROFILE), ("GET", ME), ("DELETE", ME)):
        answer = site.ask(method, path, ann.token)
        assert (answer.status, answer.body["code"]) == (401, "token_not_valid")
    refresh = {"refresh": ann.refresh}
    assert site.ask("POST", "/accounts/api/token/refresh/", json=refresh).status == 401


def test_sockets_of_an_erased_user_close_and_the_others_stay(server: Server) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    room = ann.open_room(bob)
    with join(ann, room) as hers, join(bob, room) as his:
        send_text(hers, "Bye!")
        assert hear(hers) == hear(his)

        done = ann.http.request("DELETE", ME, json={"password": PASSWORD})
        since = time.monotonic()

        assert done.status_code == 204
        assert close_code(hers) == 4401
        assert time.monotonic() - since < CLOSED_SECONDS + 1
        send_text(his, "Where are you?")
        assert hear(his)["content"] == "Where are you?"


def test_name_and_address_are_free_again_and_the_deleted_name_never_is(site: InProcess) -> None:
    name, email = new_name("ann"), f"{new_name()}@example.com"
    ann = sign_up(site, name, email)
    assert erase(site, ann).status == 204

    again = sign_up(site, name, email)
    body = {"email": f"{new_name()}@example.com", "password": PASSWORD}
    taken = site.ask("POST", USERS, json={"username": ann.erased_name} | body)

    assert again.id != ann.id
    assert (taken.status, set(taken.body["errors"])) == (400, {"username"})


def test_room_of_two_erased_users_has_both_names(site: InProcess, engine: Engine) -> None:
    ann, bob = sign_up(site, new_name("ann")), sign_up(site, new_name("bob"))
    open_room(site, ann, bob.username)

    for person in (bob, ann):
        assert erase(site, person).status == 204

    with reading(engine) as connection:
        (name,) = connection.scalars(select(Room.name))
    assert name == "_".join(sorted((ann.erased_name, bob.erased_name)))


def test_room_gets_another_name_where_its_new_one_is_taken(site: InProcess, engine: Engine) -> None:
    ann, bob, eve = (sign_up(site, new_name(stem)) for stem in ("ann", "bob", "eve"))
    open_room(site, ann, bob.username)
    other = open_room(site, eve, bob.username)
    wanted = "_".join(sorted((bob.username, ann.erased_name)))
    with writing(engine) as connection:  # by as many copies as it takes, a name can become this one
        connection.execute(update(Room).where(Room.id == other["id"]).values(name=wanted))

    assert erase(site, ann).status == 204

    names = {room["name"] for room in site.ask("GET", ROOMS, bob.token).body}
    assert names == {wanted, f"{wanted}~2"}


def test_administrator_may_erase_the_account_too(site: InProcess, engine: Engine) -> None:
    ann, bob = sign_up(site, new_name("ann")), sign_up(site, new_name("bob"))
    with writing(engine) as connection:
        connection.execute(update(User).values(is_admin=True))
    open_room(site, ann, bob.username)

    assert erase(site, ann).status == 204

    (room,) = site.ask("GET", ROOMS, bob.token).body
    assert room["display_name"] == ann.erased_name


# Refusals


@pytest.mark.parametrize("password", ["not my password", "", None, 7])
def test_account_is_not_erased_without_its_password(server: Server, password: object) -> None:
    ann = make_person(server.url)

    answer = ann.http.request("DELETE", ME, json={"password": password})

    check_problem(answer, 400, "invalid", ["password"])
    assert ann.get(ME).json()["username"] == ann.username


def test_account_is_not_erased_for_a_body_of_another_kind(server: Server) -> None:
    ann = make_person(server.url)

    array = ann.http.request("DELETE", ME, json=[PASSWORD])
    text = ann.http.request("DELETE", ME, content=PASSWORD, headers={"Content-Type": "text/plain"})
    nothing = ann.http.request("DELETE", ME)
    form = ann.http.request("DELETE", ME, data={"password": PASSWORD})

    check_problem(array, 400, "invalid", ["non_field_errors"])
    check_problem(text, 415)
    check_problem(nothing, 400, "invalid", ["password"])
    assert (form.status_code, form.content) == (204, b"")


def test_strangers_token_erases_nobody(client: FlaskClient) -> None:
    for headers in ({}, {"Authorization": "Bearer x.y.z"}):
        check_problem(client.delete(ME, json={"password": PASSWORD}, headers=headers), 401)


# What cannot be in the transaction


class BrokenStore(FolderStore):
    """A media store whose disk is gone, or whose process is killed before it can delete."""

    def delete(self, name: str | None) -> None:
        raise OSError


@pytest.mark.server
def test_what_could_not_be_removed_is_removed_at_the_next_start(
    app: Flask, site: InProcess, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    ann = sign_up(site, new_name("ann"))
    site.ask("PATCH", PROFILE, ann.token, image=picture(1))
    services_of(app).media = BrokenStore(tmp_path / "media")  # until the test is over
    assert erase(site, ann).status == 204
    assert len(site.files()) == 1

    url = services_of(app).engine.url.render_as_string(hide_password=False)
    server = Server(tmp_path, {"DATABASE_URL": url})
    request.addfinalizer(server.stop)
    server.start()

    deadline = time.monotonic() + 10
    while site.files() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert site.files() == set()


def test_what_is_left_is_removed_with_the_next_erasure(app: Flask, site: InProcess) -> None:
    ann, bob = sign_up(site, new_name("ann")), sign_up(site, new_name("bob"))
    site.ask("PATCH", PROFILE, ann.token, image=picture(1))
    good = services_of(app).media
    services_of(app).media = BrokenStore(Path("nowhere"))
    assert erase(site, ann).status == 204
    services_of(app).media = good
    assert len(site.files()) == 1

    assert erase(site, bob).status == 204

    assert site.files() == set()
    with app.app_context():
        assert profiles.find_erased() == []


def test_sessions_of_erased_users_go_when_no_worker_needs_them(
    app: Flask, site: InProcess, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = sign_up(site, new_name("ann")), sign_up(site, new_name("bob"))
    assert erase(site, ann).status == 204
    later = sessions.utcnow() + sessions.KEPT * 2
    monkeypatch.setattr(sessions, "utcnow", lambda: later)

    with app.app_context():
        personal.finish()

    with reading(engine) as connection:
        assert set(connection.scalars(select(Session.user_id))) == {bob.id}


# Races: somebody's requests are under way, past the check of their token


ROUNDS = 3
DEVICE = Device(ADDRESS, "a program of hers")


class Busy(NamedTuple):
    """Ann, who is about to erase her account, and Bob."""

    ann: Person
    bob: Person
    room: Any


@pytest.fixture
def busy(site: InProcess) -> Callable[[], Busy]:
    def make() -> Busy:
        ann, bob = sign_up(site, new_name("ann")), sign_up(site, new_name("bob"))
        return Busy(ann, bob, open_room(site, ann, bob.username))

    return make


def keep_doing(act: Callable[[int], object], until: threading.Event) -> list[Exception]:
    """Do something again and again until it is refused; return with what."""
    number = 0
    while True:
        is_last = until.is_set()
        try:
            act(number)
        except ApiError as error:
            return [error]
        if is_last:
            return []
        number += 1


def erase_during(
    app: Flask, person: Person, acts: list[Callable[[int], object]]
) -> list[list[Exception]]:
    """Erase an account while things are done in its name; return what refused each of them."""
    is_erased = threading.Event()
    barrier = threading.Barrier(len(acts) + 1)

    def do(act: Callable[[int], object]) -> list[Exception]:
        with app.app_context():
            barrier.wait(30)
            return keep_doing(act, is_erased)

    def end() -> list[Exception]:
        with app.app_context():
            barrier.wait(30)
            time.sleep(0.02)  # so that they are in the midst of it
            try:
                erase_patiently()
            finally:
                is_erased.set()
        return []

    def erase_patiently() -> None:
        # Who opens rooms without a pause may keep an erasure from its turn: it is asked for again.
        for _ in range(20):
            with suppress(Overloaded):
                return personal.erase(person.id)
        raise Overloaded

    return all_at_once([partial(do, act) for act in acts] + [end])[:-1]


def is_refused(outcomes: list[list[Exception]], error: type[ApiError] = TokenNotValid) -> bool:
    return all([type(each) for each in outcome] == [error] for outcome in outcomes)


@pytest.mark.slow
def test_no_post_outlives_its_author(app: Flask, engine: Engine, busy: Callable[[], Busy]) -> None:
    for _ in range(ROUNDS):
        ann, *_ = busy()

        outcomes = erase_during(
            app,
            ann,
            [lambda n, ann=ann: profiles.write_post(ann.id, ann.username, f"{n}", "x")] * 4,
        )

        assert is_refused(outcomes)
        assert "posts.author_id" not in rows_of(engine, ann.id)


def test_no_friendship_outlives_one_of_its_sides(
    app: Flask, engine: Engine, busy: Callable[[], Busy]
) -> None:
    def both(me: int, other: str) -> None:
        friends.befriend(me, other)
        friends.unfriend(me, other)

    for _ in range(ROUNDS):
        ann, bob, _ = busy()

        hers, his = erase_during(
            app,
            ann,
            [
                lambda n, a=ann, b=bob: both(a.id, b.username),
                lambda n, a=ann, b=bob: both(b.id, a.username),
            ],
        )

        # Her request may look her up just after she has become somebody else.
        assert is_refused([hers])
        assert is_refused([his], UserNotFound)
        assert not rows_of(engine, ann.id) & {"friendships.owner_id", "friendships.friend_id"}


def test_no_profile_outlives_its_owner(
    app: Flask, site: InProcess, engine: Engine, busy: Callable[[], Busy]
) -> None:
    pictures = [picture(1), picture(2)]
    for _ in range(ROUNDS):
        ann, *_ = busy()

        outcomes = erase_during(
            app,
            ann,
            [
                lambda n, ann=ann: profiles.change_profile(ann.id, {"bio": f"I am {n}"}),
                lambda n, ann=ann: profiles.change_profile(ann.id, {"image": pictures[n % 2]}),
            ],
        )

        assert is_refused(outcomes)
        assert "profiles.user_id" not in rows_of(engine, ann.id)
        assert site.files() == set()


@pytest.mark.slow
def test_room_opened_during_an_erasure_does_not_keep_the_name(
    app: Flask, site: InProcess, engine: Engine
) -> None:
    for _ in range(ROUNDS):
        ann = sign_up(site, new_name("ann"))
        *crowd, fresh = [new_name("crowd") for _ in range(100)]
        ids = make_users(engine, [*crowd, fresh])

        def she_opens(number: int, ann: Person = ann, crowd: list[str] = crowd) -> None:
            messenger.open_room(ann.id, ann.username, crowd[number % len(crowd)])

        def they_open(
            number: int, ann: Person = ann, crowd: list[str] = crowd, ids: list[int] = ids
        ) -> None:
            index = -1 - number % len(crowd)
            messenger.open_room(ids[index - 1], crowd[index], ann.username)

        _, theirs = erase_during(app, ann, [she_opens, they_open])

        assert is_refused([theirs], UserNotFound)
        with app.app_context(), pytest.raises(TokenNotValid):
            messenger.open_room(ann.id, ann.username, fresh)
        of_ann = or_(Room.low_user_id == ann.id, Room.high_user_id == ann.id)
        with reading(engine) as connection:
            names = connection.scalars(select(Room.name).where(of_ann)).all()
        assert names
        assert all(ann.erased_name in name and ann.username not in name for name in names)


def make_users(engine: Engine, names: list[str]) -> list[int]:
    with writing(engine) as connection:
        return [
            connection.execute(insert(User).values(user_row(name)).returning(User.id)).scalar_one()
            for name in names
        ]


def test_no_message_is_stored_after_its_author_was_erased(
    app: Flask, engine: Engine, busy: Callable[[], Busy]
) -> None:
    for _ in range(ROUNDS):
        ann, bob, room = busy()
        stored: list[Stored] = []

        def say_as(
            me: Person, number: int, room: Any = room, stored: list[Stored] = stored
        ) -> None:
            # As from several machines, each of which has a writer of its own.
            drafts = [
                Draft(room["id"], me.id, me.username, "x", f"{threading.get_ident()} {number}"),
                Draft(room["id"], me.id, me.username, "y"),
            ]
            for outcome in store(engine, drafts, utcnow()):
                if isinstance(outcome, Exception):
                    raise outcome
                stored.append(outcome)

        *hers, his = erase_during(
            app, ann, [partial(say_as, ann), partial(say_as, ann), partial(say_as, bob)]
        )

        assert is_refused(hers)
        assert his == []
        with reading(engine) as connection:
            in_room = connection.execute(
                select(Message.id, Message.user_id, Message.client_id).where(
                    Message.room_id == room["id"]
                )
            ).all()
        assert {row.id for row in in_room} == {each.id for each in stored}
        assert {row.client_id for row in in_room if row.user_id == ann.id} == {None}


@pytest.mark.slow
@pytest.mark.usefixtures("costly_hashes")
def test_no_session_outlives_its_user(app: Flask, engine: Engine, busy: Callable[[], Busy]) -> None:
    for _ in range(ROUNDS):
        ann, *_ = busy()
        with app.app_context():
            _, session_id = log_in(find_candidate(ann.username), PASSWORD, DEVICE)

        *logins, _ = erase_during(
            app,
            ann,
            [
                *[lambda n, ann=ann: log_in(find_candidate(ann.username), PASSWORD, DEVICE)] * 2,
                lambda n, session_id=session_id: sessions.touch(session_id, DEVICE),
            ],
        )

        assert is_refused(logins, NoActiveAccount)
        with reading(engine) as connection:
            left = connection.execute(
                select(Session.address, Session.client, Session.revoked_at.is_(None)).where(
                    Session.user_id == ann.id
                )
            ).all()
        assert set(left) == {("", "", False)}


@pytest.mark.slow
@pytest.mark.usefixtures("costly_hashes")
def test_new_address_and_new_password_do_not_bring_anybody_back(
    app: Flask, engine: Engine, busy: Callable[[], Busy]
) -> None:
    for _ in range(ROUNDS):
        ann, *_ = busy()
        email = f"{new_name()}@example.com"

        def change(
            number: int, act: Callable[..., object], ann: Person = ann, email: str = email
        ) -> None:
            with suppress(credentials.WrongPassword):  # the other has just changed it
                act(ann, email)

        def new_address(ann: Person, email: str) -> None:
            credentials.change_email(ann.id, email, PASSWORD)

        def new_password(ann: Person, email: str) -> None:
            credentials.change_password(ann.id, PASSWORD, PASSWORD + "!", DEVICE)
            credentials.change_password(ann.id, PASSWORD + "!", PASSWORD, DEVICE)

        erase_during(app, ann, [partial(change, act=act) for act in (new_address, new_password)])

        assert found_in(engine, {ann.username, email, "$argon2", DEVICE.client}) <= {
            "users.password_hash",  # Bob's
        }
        with reading(engine) as connection:
            left = connection.execute(select(User).where(User.id == ann.id)).mappings().one()
            alive = connection.scalar(
                select(func.count()).where(Session.user_id == ann.id, Session.revoked_at.is_(None))
            )
        assert (left["email"], left["password_hash"], left["is_active"]) == ("", "", False)
        assert alive == 0
        with writing(engine) as connection:  # so that the next round finds none of this one
            connection.execute(update(User).values(password_hash=""))


def test_friends_who_chat_are_erased_at_once_without_a_deadlock(
    app: Flask, site: InProcess, engine: Engine
) -> None:
    crowd = [sign_up(site, new_name("crowd")) for _ in range(6)]
    rooms = []
    for number, me in enumerate(crowd):
        for other in crowd[:number]:
            rooms.append(open_room(site, me, other.username))
            for one, two in ((me, other), (other, me)):
                body = {"username": two.username}
                site.ask("POST", "/profiles/api/add-friend/", one.token, json=body)
    is_over = threading.Event()

    def talk(turn: int) -> list[Stored | Exception]:
        outcomes: list[Stored | Exception] = []
        while not is_over.is_set():
            drafts = [
                Draft(room["id"], person.id, person.username, "x", f"{turn} {len(outcomes)}")
                for room in rooms[::turn]
                for person in crowd
                if person.id in room["members"]
            ]
            outcomes += store(engine, drafts, utcnow())
        return outcomes

    def end(person: Person) -> list[Stored | Exception]:
        try:
            assert erase(site, person).status == 204
        finally:
            if not ends_left.pop():
                is_over.set()
        return []

    ends_left = [False] + [True] * (len(crowd) - 1)
    talked = all_at_once(
        [partial(talk, turn) for turn in (1, -1)] + [partial(end, p) for p in crowd]
    )

    outcomes = [each for one in talked for each in one]
    assert {type(each) for each in outcomes} <= {Stored, TokenNotValid}
    assert not any(rows_of(engine, person.id) & {"friendships.owner_id"} for person in crowd)
    with reading(engine) as connection:
        names = connection.scalars(select(Room.name)).all()
        client_ids = connection.scalars(select(Message.client_id).distinct()).all()
    assert all(name.count("deleted~") == 2 for name in names)
    assert set(client_ids) <= {None}


@pytest.mark.parametrize("app", ["postgresql"], indirect=True)
def test_room_that_is_opened_during_an_erasure_makes_no_deadlock(
    app: Flask, site: InProcess, engine: Engine
) -> None:
    ann, bob = sign_up(site, new_name("ann")), sign_up(site, new_name("bob"))
    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as opening, writing(engine) as storing:
            lock_users_shared(opening, ann.id, bob.id)
            room = {"name": "new", "low_user_id": ann.id, "high_user_id": bob.id}
            room_id = opening.execute(insert(Room).values(room).returning(Room.id)).scalar_one()
            answer = pool.submit(erase, site, ann)
            wait_until_waiting(engine, answer)  # for the account; there was no room to be seen yet
            opening.commit()
            # Somebody speaks in it at once: the room is locked first, then its author.
            storing.execute(select(Room.id).where(Room.id == room_id).with_for_update()).one()
            wait_until_waiting(engine, answer)
            message = {"room_id": room_id, "user_id": ann.id, "content": "x"}
            storing.execute(insert(Message).values(message))

        assert answer.result(10).status == 204
    (left,) = site.ask("GET", ROOMS, bob.token).body
    assert left["display_name"] == ann.erased_name


def wait_until_waiting(engine: Engine, answer: Future[Answer]) -> None:
    """Wait until somebody waits for a lock in this database, or needs to no more."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with reading(engine) as connection:
            if connection.scalar(waiting) or answer.done():
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def test_account_that_is_erased_twice_at_once_is_erased_once(site: InProcess) -> None:
    ann = sign_up(site, new_name("ann"))

    answers = all_at_once([partial(erase, site, ann)] * 4)

    assert sorted(answer.status for answer in answers) == [204, *[401] * 3]
