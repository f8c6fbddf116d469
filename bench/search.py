"""`python -m bench.search seed|measure FOLDER`: what a search among a million messages takes.

seed: people, rooms and messages in a new database, and the index of their words. It says how long
the index took and how large it is. measure: questions to a real server on that database, over HTTP,
one after another. `DATABASE_URL` is taken from the environment; by default the database is a SQLite
file in the folder.
"""

import argparse
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import httpx
import psycopg
from sqlalchemy import Connection, insert, select, text, update

from app.accounts.models import User
from app.accounts.registration import register
from app.clock import utcnow
from app.database.transactions import reading, writing
from app.messenger.models import Message, Room, RoomMember
from app.messenger.search.index import index_all
from app.services import services
from tests import apps
from tests.servers import Server

SEARCH = "/messenger/api/search/"
PASSWORD = "a good password 1"
BATCH = 10_000
QUESTIONS = 12  # of each kind, by each person

# The rooms of the database, and the share of all messages in each.
GROUPS = ("everybody", 0.2), *((f"team {number}", 0.01) for number in range(20))
PAIRS = 1_000
PEOPLE = 300


@dataclass(frozen=True)
class Viewer:
    """Somebody who looks for messages.

    Attributes:
        name: What they are called.
        teams: Of how many small groups they are a member, beside the large one.
        pairs: With how many people they talk.
    """

    name: str
    teams: int
    pairs: int


VIEWERS = Viewer("newcomer", 0, 2), Viewer("member", 3, 30), Viewer("veteran", 15, 250)

_RUSSIAN = "бвгдзклмнпрстч", "аеиоуя", ("", "а", "у", "ом", "ы", "ами", "ость", "ения", "ить")
_ENGLISH = "bcdfghlmnprstw", "aeiou", ("", "s", "ed", "ing", "er", "ly")


class Words:
    """Words of a language that does not exist, as frequent as words are: the nth by 1/n."""

    def __init__(self, letters: tuple[str, str, Sequence[str]], seed: int, count: int) -> None:
        self._random = random.Random(seed)
        consonants, vowels, self._endings = letters
        stems: dict[str, None] = {}
        while len(stems) < count:
            # Frequent words are short.
            syllables = 1 + (len(stems) > 60) + (len(stems) > 3_000)
            pairs = (self._choice(consonants) + self._choice(vowels) for _ in range(syllables))
            stems["".join(pairs) + self._choice(consonants)] = None
        self.stems = list(stems)
        self._weights = list(accumulate(1 / (rank + 3) for rank in range(count)))

    def _choice(self, among: Sequence[str]) -> str:
        return self._random.choice(among)

    def sentences(self) -> Iterator[str]:
        """Yield messages of 3 to 21 words."""
        while True:
            stems = iter(self._random.choices(self.stems, cum_weights=self._weights, k=BATCH))
            while words := list(islice(stems, self._random.randint(3, 21))):
                yield " ".join(word + self._choice(self._endings) for word in words)

    def between(self, first: int, last: int) -> str:
        """Return a word as people ask for it, of those from one rank to another."""
        return self._choice(self.stems[first:last]) + self._choice(self._endings)


RUSSIAN, ENGLISH = Words(_RUSSIAN, 1, 40_000), Words(_ENGLISH, 2, 20_000)


def seed(folder: Path, url: str, messages: int) -> None:
    """Fill a new database and build its index."""
    app = apps.make_app(folder, url)
    with app.app_context():
        for viewer in VIEWERS:
            register(viewer.name, f"{viewer.name}@example.com", PASSWORD)
    engine = services(app).engine
    with writing(engine) as connection:
        rooms, weights = _open_rooms(connection)
        _say(connection, rooms, weights, messages)
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT setval('messages_id_seq', max(id)) FROM messages"))
    before = _size(url, engine)
    began, cpu = time.monotonic(), time.process_time()
    index_all(engine, lambda _count: None)
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    size = _size(url, engine) - before
    print(
        f"{messages} messages: table and the rest {before / 1e6:.0f} MB;"
        f" index {size / 1e6:.0f} MB, {size / messages:.0f} bytes a message;"
        f" built in {took:.0f} s, {took / messages * 1e6:.0f} us a message,"
        f" of which {cpu / messages * 1e6:.0f} us are CPU of this process"
    )
    if engine.dialect.name == "postgresql":
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")  # as autovacuum does after some time
    engine.dispose()


def _open_rooms(connection: Connection) -> tuple[list[tuple[int, list[int]]], list[float]]:
    now = utcnow()
    people = [
        {
            "username": f"user{number}",
            "username_key": f"user{number}",
            "email": f"user{number}@example.com",
            "email_key": f"user{number}@example.com",
            "password_hash": "none",
            "created_at": now,
        }
        for number in range(PEOPLE)
    ]
    connection.execute(insert(User), people)
    ids = {row.username: row.id for row in connection.execute(select(User.username, User.id))}
    others = [ids[each["username"]] for each in people]
    choose = random.Random(3)
    pairs: dict[tuple[int, int], None] = {}
    for viewer in VIEWERS:
        for other in others[: viewer.pairs]:
            pairs[ids[viewer.name], other] = None
    while len(pairs) < PAIRS:
        one, other = sorted(choose.sample(others, 2))
        pairs[one, other] = None
    shuffled = list(pairs)
    choose.shuffle(shuffled)
    rooms, weights = [], []
    for number, (title, share) in enumerate(GROUPS):
        viewers = [ids[each.name] for each in VIEWERS if number <= each.teams]
        members = [*(choose.sample(others, 20) if number else others), *viewers]
        rooms.append(({"kind": "group", "name": f"g~{number}", "title": title}, members))
        weights.append(share)
    left = 1 - sum(weights)
    shares = [1 / (rank + 10) for rank in range(PAIRS)]
    for share, (low, high) in zip(shares, shuffled, strict=True):
        pair = {"name": f"{low}_{high}", "low_user_id": low, "high_user_id": high}
        rooms.append((pair, [low, high]))
        weights.append(left * share / sum(shares))
    opened = []
    for room, members in rooms:
        room_id = connection.scalar(
            insert(Room).values(created_at=now, changed_id=0, **room).returning(Room.id)
        )
        assert room_id is not None
        places = [
            {"room_id": room_id, "user_id": each, "joined_at": now, "joined_id": 0, "changed_id": 0}
            for each in members
        ]
        connection.execute(insert(RoomMember), places)
        opened.append((room_id, members))
    return opened, weights


def _say(
    connection: Connection,
    rooms: list[tuple[int, list[int]]],
    weights: list[float],
    messages: int,
) -> None:
    choose = random.Random(4)
    russian, english = RUSSIAN.sentences(), ENGLISH.sentences()
    now, last = utcnow(), {}
    for start in range(0, messages, BATCH):
        rows: list[dict[str, Any]] = []
        for number, (room_id, members) in enumerate(
            choose.choices(rooms, weights, k=min(BATCH, messages - start)), start + 1
        ):
            last[room_id] = number
            rows.append(
                {
                    "id": number,
                    "room_id": room_id,
                    "user_id": choose.choice(members),
                    "content": next(russian if choose.random() < 0.6 else english),
                    "timestamp": now - timedelta(seconds=30 * (messages - number)),
                }
            )
        connection.execute(insert(Message), rows)
    for room_id, number in last.items():
        connection.execute(update(Room).where(Room.id == room_id).values(last_message_id=number))


def _size(url: str, engine: Any) -> int:
    with reading(engine) as connection:
        if url.startswith("sqlite"):
            pages = connection.scalar(text("PRAGMA page_count"))
            return int(pages * connection.scalar(text("PRAGMA page_size")))
        return int(connection.scalar(text("SELECT pg_database_size(current_database())")))


KINDS = {
    "one of the 20 most frequent words": lambda words: {"q": words.between(0, 20)},
    "a usual word": lambda words: {"q": words.between(200, 2_000)},
    "a rare word": lambda words: {"q": words.between(15_000, 20_000)},
    "two letters": lambda words: {"q": words.between(200, 2_000)[:2]},
    "four letters": lambda words: {"q": words.between(3_000, 20_000)[:4]},
    "two frequent words": lambda words: {"q": f"{words.between(0, 50)} {words.between(0, 50)}"},
    "a frequent and a rare word": lambda words: {
        "q": f"{words.between(0, 20)} {words.between(15_000, 20_000)}"
    },
    "a phrase": lambda words: {"q": f'"{words.between(0, 20)} {words.between(0, 50)}"'},
    "frequent, of one person": lambda words: {"q": words.between(0, 20), "user": "user7"},
    "frequent, of a year ago": lambda words: {
        "q": words.between(0, 20),
        "to": (utcnow() - timedelta(days=300)).strftime("%Y-%m-%d"),
    },
    "frequent, in the largest room": lambda words: {"q": words.between(0, 20), "room": "g~0"},
    "what nobody said": lambda words: {"q": f"{words.between(0, 20)}xyz"},
}


def measure(folder: Path, url: str) -> None:
    """Ask a real server."""
    settings = {"DATABASE_URL": url, "WEB_CONCURRENCY": "1"}
    server = Server(folder, settings)
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            _ask_all(client)
    finally:
        server.stop()


def _ask_all(client: httpx.Client) -> None:
    everything: list[float] = []
    table: dict[tuple[str, str], list[float]] = {}
    for viewer in VIEWERS:
        login = client.post(
            "/accounts/api/token/", json={"username": viewer.name, "password": PASSWORD}
        )
        bearer = {"Authorization": f"Bearer {login.json()['access']}"}
        for kind, question in KINDS.items():
            times = table[kind, viewer.name] = []
            for words in (RUSSIAN, ENGLISH):
                for _ in range(QUESTIONS):
                    began = time.monotonic()
                    answer = client.get(SEARCH, params=question(words), headers=bearer)
                    times.append(1000 * (time.monotonic() - began))
                    assert answer.status_code == 200, answer.text
            everything += times
    print(f"| p50, p95, worst in ms | {' | '.join(each.name for each in VIEWERS)} |")
    for kind in KINDS:
        shown = [_shares(table[kind, each.name]) for each in VIEWERS]
        print(f"| {kind} | {' | '.join(shown)} |")
    for viewer in VIEWERS:
        print(
            viewer.name,
            _shares([t for (_, n), ts in table.items() if n == viewer.name for t in ts]),
        )
    print(f"all {len(everything)}: {_shares(everything)}")


def _shares(times: Sequence[float]) -> str:
    ordered = sorted(times)
    middle, tail = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]
    return f"{middle:.1f}, {tail:.1f}, {ordered[-1]:.0f}"


def main() -> None:
    """Seed, or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["seed", "measure"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--messages", type=int, default=1_000_000)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    url = os.environ.get("DATABASE_URL", apps.sqlite_url(asked.folder))
    if asked.what == "seed":
        seed(asked.folder, url, asked.messages)
    else:
        measure(asked.folder, url)


if __name__ == "__main__":
    main()
