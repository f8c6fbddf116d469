"""Search: what is found, by whom, and what is not; the same on both databases."""

import threading
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text, update

from app.accounts import sessions, tokens
from app.accounts.sessions import Device
from app.clock import utcnow
from app.database.transactions import reading, writing
from app.database.vacuum import purge_deleted_pages
from app.messenger import group_members, message_changes
from app.messenger.models import Message
from app.messenger.search import hits
from app.messenger.search import index as search_index
from tests.messenger.team import Person, Team
from tests.problems import check_problem

URL = "/messenger/api/search/"


@pytest.fixture
def find(team: Team, client: FlaskClient):
    """Index what was said, and search as somebody; returns the contents."""

    def find(person: Person, q: str, **options: str) -> list[str]:
        search_index.index_all(team.engine, lambda _count: None)
        response = client.get(URL, query_string={"q": q, **options}, headers=bearer(team, person))
        assert response.status_code == 200, response.json
        find.response = response
        return [message["content"] for message in response.json]

    with writing(team.engine) as connection:
        search_index.clear(connection)
    return find


def bearer(team: Team, person: Person) -> dict[str, str]:
    with team.app.app_context():
        with writing() as connection:
            session_id = sessions.open_session(connection, person.id, Device("", ""))
        return {"Authorization": f"Bearer {tokens.issue_access(person.id, session_id)}"}


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("Новое сообщение пришло", "сообщения"),
        ("I am happy today", "happy"),
        ("I am happy today", "HAPP"),
        ("Ёлка зелёная", "елка"),
        ("Зеленая елка", "ЁЛКА"),
        ("Йогурт", "иогурт"),
        ("Отчёт за 2026-12-01 готов", "отчет 2026"),
        ("привет-мир", "мир"),
        ("не быть", "не"),
        ("snake_case", "case"),
        ("Straße", "STRASSE"),
        ("Красная площадь закрыта", '"красная площадь"'),
        ("Красная площадь закрыта", 'закрыт "красная площадь"'),
        ("O'Brien wrote", "o'brien"),
        ("日本語", "日本語"),
    ],
)
def test_message_is_found(team: Team, find, said: str, asked: str) -> None:
    ann, bob = team.people(2)
    ann.say(ann.room_with(bob), said)

    assert find(bob, asked) == [said]
    assert find.response.headers.get("X-Search-As") is None


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("Новое сообщение", "вообщение"),
        ("Красная площадь", "красная улица"),
        ("Красная большая площадь", '"красная площадь"'),
        ("площадь Красная", '"красная площадь"'),
        ("сообщение", '"сообщ"'),
        ("handle", "andle"),
    ],
)
def test_message_is_not_found(team: Team, find, said: str, asked: str) -> None:
    ann, bob = team.people(2)
    ann.say(ann.room_with(bob), said)

    assert find(bob, asked) == []


@pytest.mark.parametrize(
    "q", ["a OR b", 'word" OR "1', "a*) OR (b", "'a' | 'b'", "a:*b & !c", "NEAR(a b)", "a^2 - +b"]
)
def test_question_is_words_and_no_language(team: Team, find, q: str) -> None:
    ann, bob = team.people(2)
    ann.say(ann.room_with(bob), "nothing of it")

    assert find(bob, q) == []


def test_other_keyboard_layout_is_tried_when_nothing_is_found(team: Team, find) -> None:
    ann, bob = team.people(2)
    ann.say(ann.room_with(bob), "Привет всем")

    assert find(bob, "ghbdtn") == ["Привет всем"]
    assert unquote(find.response.headers["X-Search-As"]) == "привет"
    assert find(bob, "ghbdtnxyz") == []
    assert "X-Search-As" not in find.response.headers


def test_hits_are_the_newest_oldest_first_with_their_room(team: Team, find) -> None:
    ann, bob, eve = team.people(3)
    pair, group = ann.room_with(bob), ann.group(bob, eve)
    for number in range(5):
        ann.say(pair if number % 2 else group, f"word {number}")

    assert find(bob, "word", limit="2") == ["word 3", "word 4"]
    first = find.response.json[0]
    assert set(first) == {"id", "user", "content", "timestamp", "room"}
    assert (first["user"], first["room"]) == (ann.name, pair.room_name)
    assert 'rel="prev"' in find.response.headers["Link"]
    assert find(bob, "word", limit="2", before=str(first["id"])) == ["word 1", "word 2"]
    assert find(bob, "word", limit="2", before="1") == []
    assert "Link" not in find.response.headers


def test_filters_narrow_the_search(team: Team, find) -> None:
    ann, bob, eve = team.people(3)
    pair, group = ann.room_with(bob), ann.group(bob, eve)
    ann.say(pair, "word of ann to bob")
    bob.say(pair, "word of bob")
    old = eve.say(group, "word of eve, long ago")
    with writing(team.engine) as connection:
        long_ago = utcnow() - timedelta(days=400)
        connection.execute(update(Message).where(Message.id == old.id).values(timestamp=long_ago))
    today, day = utcnow().strftime("%Y-%m-%d"), long_ago.strftime("%Y-%m-%d")

    assert len(find(bob, "word")) == 3
    assert find(bob, "word", room=group.room_name) == ["word of eve, long ago"]
    assert find(bob, "word", user=bob.name.upper()) == ["word of bob"]
    assert find(bob, "word", user="nobody.at.all") == []
    assert len(find(bob, "word", **{"from": today})) == 2
    assert find(bob, "word", to=day) == ["word of eve, long ago"]
    assert find(bob, "word", **{"from": day, "to": day}) == ["word of eve, long ago"]
    assert find(bob, "word", to=f"{day}T00:00:00Z") == []


@pytest.mark.parametrize(("part_ids", "rooms_at_first"), [(4, 1), (4, 64), (1_000, 1)])
def test_what_is_far_apart_is_found_in_order(
    team: Team, find, monkeypatch: pytest.MonkeyPatch, part_ids: int, rooms_at_first: int
) -> None:
    # The search looks in the rooms that were last written to first, and PostgreSQL in the newest
    # parts of the sequence.
    monkeypatch.setattr(hits, "ROOMS_AT_FIRST", rooms_at_first)
    for module in (search_index, hits):
        monkeypatch.setattr(module, "PART_IDS", part_ids)
    ann, bob, eve = team.people(3)
    rooms = [ann.room_with(bob), ann.group(bob, eve), bob.room_with(eve)]
    said = [f"word {number}" for number in range(60)]
    for number, each in enumerate(said):
        (bob if number % 3 else ann).say(rooms[number % 3 if number % 3 else 0], each)

    assert find(bob, "word", limit="5") == said[-5:]
    third = find.response.json[2]["id"]
    assert find(bob, "word", limit="5", before=str(third)) == said[-8:-3]
    assert find(bob, "word", limit="50") == said[-50:]
    first = find.response.json[0]["id"]
    assert find(bob, "word", limit="50", before=str(first)) == said[:10]
    assert find(bob, '"word 1"') == ["word 1"]
    assert find(bob, "word", user=ann.name, limit="100") == said[::3]
    assert find(ann, "word", user=bob.name, limit="100") == said[1::3]
    assert find(eve, "word", limit="100") == [each for n, each in enumerate(said) if n % 3]


def test_author_is_no_word(team: Team, find) -> None:
    ann, bob = team.people(2)
    ann.say(ann.room_with(bob), "word")
    for q in (f'"word {ann.id}"', f"word {ann.id}", f"word _{ann.id}", f"__{ann.id}"):
        assert find(bob, q) == []


def test_what_somebody_said_who_has_left_is_found_by_their_name(team: Team, find) -> None:
    ann, bob, eve = team.people(3)
    group = ann.group(bob, eve)
    eve.say(group, "word of eve")
    with team.app.app_context():
        group_members.remove_member(group, eve.name)

    assert find(bob, "word", user=eve.name) == ["word of eve"]


def test_nothing_of_others_is_found(team: Team, find) -> None:
    ann, bob, eve = team.people(3)
    ann.say(ann.room_with(bob), "secret")
    eve.room_with(ann)

    assert find(eve, "secret") == []
    assert find(bob, "secret") == ["secret"]


def test_who_has_left_finds_nothing_and_newcomers_what_they_may_read(team: Team, find) -> None:
    ann, bob, eve = team.people(3)
    group = ann.group(bob, history="joined")
    ann.say(group, "before")
    with team.app.app_context():
        group_members.add_member(group, eve.name)
    ann.say(group, "word after")

    assert find(eve, "before") == []
    assert find(eve, "word") == ["word after"]
    with team.app.app_context():
        group_members.remove_member(group, bob.name)
    assert find(bob, "before") == find(bob, "word") == []


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "q"),
        ({"q": "a"}, "q"),
        ({"q": "a" * 201}, "q"),
        ({"q": "!?"}, "q"),
        ({"q": "ab\0"}, "q"),
        ({"q": "word", "from": "yesterday"}, "from"),
        ({"q": "word", "to": "2026-13-01"}, "to"),
        ({"q": "word", "limit": "0"}, "limit"),
        ({"q": "word", "before": "x"}, "before"),
    ],
)
def test_bad_question_is_refused(team: Team, client: FlaskClient, options, field: str) -> None:
    response = client.get(URL, query_string=options, headers=bearer(team, team.person()))

    check_problem(response, 400, fields={field})


def test_room_of_others_is_not_there(team: Team, client: FlaskClient) -> None:
    ann, bob, eve = team.people(3)
    room = ann.room_with(bob)
    for name in (room.room_name, "no_such_room", "a\0b"):
        response = client.get(
            URL, query_string={"q": "word", "room": name}, headers=bearer(team, eve)
        )
        assert response.status_code in (400, 404), name
        assert response.status_code == 404 or "\0" in name


def test_two_indexers_index_each_message_once(team: Team, find) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    for number in range(250):
        ann.say(room, f"word {number}")
    barrier = threading.Barrier(2)

    def index() -> None:
        barrier.wait()
        for _ in range(50):
            search_index.index_batch(team.engine)

    threads = [threading.Thread(target=index) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(find(bob, "word", limit="100")) == 100
    with reading(team.engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM message_words")) == 250


def test_what_was_edited_or_deleted_away_is_not_found(team: Team, find) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    edited, deleted = ann.say(room, "secret one"), ann.say(room, "secret two")
    assert find(bob, "secret") == ["secret one", "secret two"]

    with team.app.app_context():
        message_changes.edit_message(room, edited.id, "harmless", -1)
        message_changes.delete_message(room, deleted.id)
    with reading(team.engine) as connection:  # before any indexer comes
        assert connection.scalar(text("SELECT count(*) FROM message_words")) == 0

    assert find(bob, "secret") == []
    assert find(bob, "harmless") == ["harmless"]


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_no_trace_of_deleted_words_is_left_in_the_file(team: Team, find) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    for number in range(30):
        stored = ann.say(room, f"zanzibar{number} and more")
        assert find(bob, f"zanzibar{number}")
        with team.app.app_context():
            message_changes.delete_message(room, stored.id)

    search_index.forget_traces(team.engine)
    with team.app.app_context():
        assert purge_deleted_pages()

    assert b"zanzibar" not in Path(team.engine.url.database or "").read_bytes()


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_index_of_many_batches_becomes_one_part(
    team: Team, find, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "SEGMENTS_MAX", 2)
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    for number in range(7):
        ann.say(room, f"word {number}")
        assert search_index.index_batch(team.engine) == 1

    assert search_index.merge_segments(team.engine)
    assert not search_index.merge_segments(team.engine)
    assert find(bob, "word") == [f"word {number}" for number in range(7)]


def test_rebuild_finds_everything_again(team: Team, find) -> None:
    ann, bob = team.people(2)
    ann.say(ann.room_with(bob), "word")
    assert find(bob, "word") == ["word"]

    result = team.app.test_cli_runner().invoke(args=["search", "rebuild"])

    assert result.exit_code == 0, result.output
    assert find(bob, "word") == ["word"]


def test_longest_question_in_many_rooms_is_answered(team: Team, find) -> None:
    ann, *others = team.people(60)
    for other in others:
        ann.say(ann.room_with(other), " ".join(f"слово{number}" for number in range(12)))

    question = " ".join(f"слово{number}" for number in range(12))
    assert len(find(ann, question, limit="100")) == 59
