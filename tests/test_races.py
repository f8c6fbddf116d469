"""What many do at the same moment: real threads that start together, on both databases and a real server."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple, Protocol

import httpx
import pytest
from flask import Flask
from PIL import Image

from app.clock import utcnow
from app.media.store import FolderStore
from app.messenger.drafts import Draft, Stored
from app.messenger.store import store
from app.services import services
from tests.crowds import CROWD, all_at_once
from tests.factories import PASSWORD, new_name
from tests.servers import Server
from tests.talk import SECONDS, messages_path


class Answer(NamedTuple):
    status: int
    body: Any


class Site(Protocol):
    """Something that answers requests from any thread."""

    def ask(self, method: str, path: str, token: str = "", **options: Any) -> Answer:
        """Ask it; the options are `json` and `headers` as httpx has them, and `image`, bytes."""

    def files(self) -> set[Path]:
        """Return the uploaded files that are there."""


class InProcess:
    """The application without a server; each request is in the thread that asks."""

    def __init__(self, app: Flask, media: Path) -> None:
        self._app = app
        self._media = media

    def ask(self, method: str, path: str, token: str = "", **options: Any) -> Answer:
        headers = options.pop("headers", {}) | _bearer(token)
        if image := options.pop("image", None):
            options["data"] = {"image": (BytesIO(image), "me.png")}
        # Closed, or the file of a picture would stay open.
        with self._app.test_client().open(
            path, method=method, headers=headers, **options
        ) as answer:
            return Answer(answer.status_code, answer.json if answer.is_json else answer.data)

    def files(self) -> set[Path]:
        return _files_in(self._media)


class OnServer:
    """A real server; each request that is under way has a connection of its own."""

    def __init__(self, server: Server, http: httpx.Client) -> None:
        self._http = http
        self._media = Path(server.env["MEDIA_ROOT"])

    def ask(self, method: str, path: str, token: str = "", **options: Any) -> Answer:
        headers = options.pop("headers", {}) | _bearer(token)
        if image := options.pop("image", None):
            options["files"] = {"image": ("me.png", image)}
        answer = self._http.request(method, path, headers=headers, **options)
        is_json = "json" in answer.headers.get("Content-Type", "")
        return Answer(answer.status_code, answer.json() if is_json else answer.content)

    def files(self) -> set[Path]:
        return _files_in(self._media)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


class Person(NamedTuple):
    username: str
    id: int
    token: str


def join(site: Site, username: str | None = None) -> Person:
    """Register somebody and log in."""
    body = {"username": username or new_name(), "password": PASSWORD}
    created = site.ask(
        "POST", "/accounts/api/users/", json=body | {"email": f"{new_name()}@example.com"}
    )
    tokens = site.ask("POST", "/accounts/api/token/", json=body)
    return Person(body["username"], created.body["id"], tokens.body["access"])


def statuses(answers: Sequence[Answer]) -> dict[int, int]:
    """Count how often each status was answered."""
    return dict(Counter(answer.status for answer in answers))


class Races:
    """The races, whatever they are run on."""

    def test_one_name_is_given_to_one_person(self, site: Site) -> None:
        name = new_name("crowd")

        answers = all_at_once(
            [
                partial(
                    site.ask,
                    "POST",
                    "/accounts/api/users/",
                    json={
                        "username": name.upper() if number % 2 else name,
                        "email": f"{new_name()}@example.com",
                        "password": PASSWORD,
                    },
                )
                for number in range(CROWD)
            ]
        )

        assert statuses(answers) == {201: 1, 400: CROWD - 1}
        assert all(set(body["errors"]) == {"username"} for status, body in answers if status == 400)
        assert self.users_like(site, "username", name) == 1

    def test_one_address_is_given_to_one_person(self, site: Site) -> None:
        address = f"{new_name('crowd')}@example.com"

        answers = all_at_once(
            [
                partial(
                    site.ask,
                    "POST",
                    "/accounts/api/users/",
                    json={
                        "username": new_name(),
                        "email": address.upper() if number % 2 else address,
                        "password": PASSWORD,
                    },
                )
                for number in range(CROWD)
            ]
        )

        assert statuses(answers) == {201: 1, 400: CROWD - 1}
        assert all(set(body["errors"]) == {"email"} for status, body in answers if status == 400)
        assert self.users_like(site, "email", address) == 1

    def users_like(self, site: Site, field: str, value: str) -> int:
        users = site.ask("GET", "/accounts/api/users/", join(site).token).body
        return sum(user[field].lower() == value for user in users)

    def test_a_pair_that_opens_its_room_from_both_sides_has_one(self, site: Site) -> None:
        ann, bob = join(site), join(site)

        answers = all_at_once(
            [
                partial(self.open_room, site, me, other)
                for me, other in [(ann, bob), (bob, ann)] * (CROWD // 2)
            ]
        )

        assert statuses(answers) == {201: 1, 200: CROWD - 1}
        assert len({(body["id"], body["name"]) for _, body in answers}) == 1
        for me in (ann, bob):
            assert len(site.ask("GET", "/messenger/api/chatrooms/", me.token).body) == 1

    def test_two_pairs_that_want_one_name_for_their_rooms_get_two(self, site: Site) -> None:
        a, b, c = new_name("a"), new_name("b"), new_name("c")
        pairs = [
            (join(site, f"{a}_{b}"), join(site, c)),
            (join(site, a), join(site, f"{b}_{c}")),
        ]

        answers = all_at_once(
            [
                partial(self.open_room, site, me, other)
                for _ in range(CROWD // 4)
                for pair in pairs
                for me, other in (pair, pair[::-1])
            ]
        )

        assert statuses(answers) == {201: 2, 200: CROWD - 2}
        rooms = {(body["id"], body["name"], *body["members"]) for _, body in answers}
        assert {name for _, name, *_ in rooms} == {f"{a}_{b}_{c}", f"{a}_{b}_{c}~2"}
        assert {frozenset(members) for _, _, *members in rooms} == {
            frozenset(person.id for person in pair) for pair in pairs
        }
        assert len(rooms) == 2

    def test_a_friend_who_is_added_by_a_crowd_of_clicks_is_one_friend(self, site: Site) -> None:
        ann, bob = join(site), join(site)

        answers = self.click(site, "add", ann, bob)

        assert statuses(answers) == {200: CROWD}
        assert self.friends(site, ann) == [bob.id]

    def test_a_friend_who_is_removed_by_a_crowd_of_clicks_is_gone(self, site: Site) -> None:
        ann, bob, eve = join(site), join(site), join(site)
        for friend in (bob, eve):
            body = {"username": friend.username}
            site.ask("POST", "/profiles/api/add-friend/", ann.token, json=body)

        answers = self.click(site, "remove", ann, bob)

        assert statuses(answers) == {200: CROWD}
        assert self.friends(site, ann) == [eve.id]

    def click(self, site: Site, verb: str, me: Person, friend: Person) -> list[Answer]:
        path, body = f"/profiles/api/{verb}-friend/", {"username": friend.username}
        return all_at_once([partial(site.ask, "POST", path, me.token, json=body)] * CROWD)

    def friends(self, site: Site, me: Person) -> list[int]:
        profile = site.ask("GET", "/profiles/api/profile/", me.token).body["profile"]
        friends: list[int] = profile["friends"]
        return friends

    def test_a_message_that_is_sent_again_and_again_is_stored_once(self, site: Site) -> None:
        ann, bob = join(site), join(site)
        room = self.open_room(site, ann, bob).body
        in_body: dict[str, Any] = {"json": {"content": "once", "client_id": "again"}}
        in_header = {"json": {"content": "once"}, "headers": {"Idempotency-Key": "again"}}

        answers = all_at_once(
            [
                partial(site.ask, "POST", messages_path(room), ann.token, **how)
                for how in [in_body, in_header] * (CROWD // 2)
            ]
        )

        stored = site.ask("GET", messages_path(room), ann.token).body
        assert statuses(answers) == {201: 1, 200: CROWD - 1}
        assert len(stored) == 1
        assert all(body == stored[0] for _, body in answers)

    def test_a_post_that_is_sent_again_and_again_is_published_once(self, site: Site) -> None:
        ann, bob = join(site), join(site)
        post = {"title": "once", "content": "Текст"}
        in_body: dict[str, Any] = {"json": post | {"client_id": "again"}}
        in_header = {"json": post, "headers": {"Idempotency-Key": "again"}}

        answers = all_at_once(
            [
                partial(site.ask, "POST", "/profiles/api/posts/", person.token, **how)
                for how in [in_body, in_header] * (CROWD // 4)
                for person in (ann, bob)
            ]
        )

        assert statuses(answers) == {201: 2, 200: CROWD - 2}
        for person, own in ((ann, answers[::2]), (bob, answers[1::2])):
            profile = site.ask("GET", "/profiles/api/profile/", person.token).body
            assert len(profile["posts"]) == 1
            assert all(body == profile["posts"][0] for _, body in own)

    def test_messages_from_both_sides_are_stored_once_each_in_one_order(self, site: Site) -> None:
        ann, bob = join(site), join(site)
        room = self.open_room(site, ann, bob).body

        def send_text(me: Person, first: int) -> list[Answer]:
            return [
                site.ask(
                    "POST", messages_path(room), me.token, json={"content": f"{me.id}: {number}"}
                )
                for number in range(first, first + 5)
            ]

        spoken = all_at_once(
            [partial(send_text, me, first) for first in range(0, 25, 5) for me in (ann, bob)]
        )

        answers = [answer for one in spoken for answer in one]
        stored = site.ask("GET", messages_path(room), ann.token).body
        assert statuses(answers) == {201: 50}
        ids = [message["id"] for message in stored]
        assert ids == sorted(ids)
        assert stored == sorted((body for _, body in answers), key=lambda body: body["id"])
        assert len({(message["id"], message["content"]) for message in stored}) == 50
        for one in spoken:  # what one says after the other comes after the other
            assert [body["id"] for _, body in one] == sorted(body["id"] for _, body in one)

    def open_room(self, site: Site, me: Person, other: Person) -> Answer:
        body = {"recipient": other.username}
        return site.ask("POST", "/messenger/api/chatrooms/", me.token, json=body)

    def test_of_many_new_pictures_one_is_left(self, site: Site) -> None:
        ann = join(site)
        before = site.files()

        answers = all_at_once(
            [partial(change_picture, site, ann, image=picture(shade)) for shade in range(CROWD)]
        )

        assert statuses(answers) == {200: CROWD}
        shown = site.ask("GET", "/profiles/api/profile/", ann.token).body["profile"]["image"]
        assert site.ask("GET", shown).status == 200
        assert [path.name for path in site.files() - before] == [shown.rpartition("/")[2]]

    def test_of_pictures_and_their_removal_at_once_none_or_one_is_left(self, site: Site) -> None:
        ann = join(site)
        before = site.files()

        def show(number: int) -> Answer:
            how = {"image": picture(number)} if number % 2 else {"json": {"image": None}}
            return change_picture(site, ann, **how)

        answers = all_at_once([partial(show, number) for number in range(CROWD)])

        assert statuses(answers) == {200: CROWD}
        shown = site.ask("GET", "/profiles/api/profile/", ann.token).body["profile"]["image"]
        assert site.ask("GET", shown).status == 200
        left = [path.name for path in site.files() - before]
        assert left in ([], [shown.rpartition("/")[2]])


def change_picture(site: Site, person: Person, **how: Any) -> Answer:
    """Change somebody's picture; again for as long as too many of theirs are waiting."""
    deadline = monotonic() + SECONDS
    while True:
        answer = site.ask("PATCH", "/profiles/api/profile/", person.token, **how)
        if answer.status != 503 or monotonic() > deadline:
            return answer
        sleep(0.05)


def picture(shade: int) -> bytes:
    """Return a small picture that no other number has."""
    data = BytesIO()
    Image.new("RGB", (8, 8), (shade * 10, 0, 0)).save(data, "PNG")
    return data.getvalue()


class TestInProcess(Races):
    """On SQLite and on PostgreSQL, in threads."""

    @pytest.fixture
    def site(self, app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcess:
        # The application lives longer than a test, so its pictures go where only this one looks.
        folder = tmp_path / "pictures"
        monkeypatch.setattr(services(app), "media", FolderStore(folder))
        return InProcess(app, folder)

    def test_transactions_at_once_in_one_room_follow_one_another(
        self, site: InProcess, app: Flask
    ) -> None:
        # As from several machines, each of which has a writer of its own.
        ann, bob, eve = join(site), join(site), join(site)
        rooms = [self.open_room(site, ann, other).body["id"] for other in (bob, eve)]

        def write(number: int) -> list[Stored]:
            order = rooms if number % 2 else rooms[::-1]
            drafts = [Draft(room, ann.id, ann.username, str(number)) for room in order * 2]
            return [
                stored for _ in range(5) for stored in store(services(app).engine, drafts, utcnow())
            ]

        written = all_at_once([partial(write, number) for number in range(8)])

        for room in rooms:
            steps = sorted(
                (stored.id, stored.prev_id)
                for each in written
                for stored in each
                if stored.room_id == room
            )
            ids = [id for id, _ in steps]
            assert len(ids) == 8 * 5 * 2
            assert [previous for _, previous in steps] == [0, *ids[:-1]]


class TestOnServer(Races):
    """Through gunicorn and its greenlets."""

    @pytest.fixture
    def site(self, server: Server) -> Iterator[OnServer]:
        with httpx.Client(base_url=server.url, timeout=30) as http:
            yield OnServer(server, http)
