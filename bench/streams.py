"""`python -m bench.streams latency|idle|resume|chats`: what streams cost, on a server of our own.

latency: the same messages to sockets of rooms and to streams, with several workers.
idle: the memory of thousands of streams in which nothing happens.
chats: the list of chats of somebody who is in a hundred rooms.
resume: thousands of clients that come back at once, and a chat beside them. Both are processes of
their own: a busy client must not be taken for a slow server.

The server stands in a folder of its own; `DATABASE_URL` and `REDIS_URL` are taken from the
environment, and the database should be empty.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect

from tests.delivery.machines import children
from tests.factories import Person, make_person
from tests.servers import Server

STREAM = "/messenger/ws/events/"


def quantiles(seconds: Sequence[float]) -> str:
    """Return the middle and the tail of some times, in milliseconds."""
    ordered = sorted(seconds)
    shown = [f"{share} {1000 * ordered[int(len(ordered) * share / 100)]:.1f}" for share in (50, 99)]
    return f"p{' p'.join(shown)} max {1000 * ordered[-1]:.1f} ms of {len(ordered)}"


def dial(person: Person, path: str) -> Any:
    """Open a socket of somebody."""
    return connect(
        person.url.replace("http", "ws", 1) + path,
        additional_headers=person.bearer,
        compression=None,
        ping_interval=None,
        max_queue=None,
        open_timeout=60,
        proxy=None,
    )


async def latency(server: Server, pairs: int, seconds: float, pause: float) -> None:
    """Compare what sockets of rooms and streams take for the same messages."""
    took: dict[str, list[float]] = {"room": [], "stream": []}
    sent: dict[str, float] = {}

    async def listen(person: Person, path: str, kind: str) -> None:
        async with dial(person, path) as ws:
            async for text in ws:
                frame = json.loads(text)
                message = frame.get("message") if kind == "stream" else frame
                if message and (began := sent.get(message.get("client_id", ""))):
                    took[kind].append(time.monotonic() - began)

    async def write(person: Person, path: str, stem: str) -> None:
        async with dial(person, path) as ws:
            echo = asyncio.create_task(drain(ws))
            until = time.monotonic() + seconds
            number = 0
            await asyncio.sleep(pause * (hash(stem) % 100) / 100)
            while time.monotonic() < until:
                number += 1
                client_id = f"{stem}-{number}"
                sent[client_id] = time.monotonic()
                await ws.send(json.dumps({"message": "Привет!", "client_id": client_id}))
                await asyncio.sleep(pause)
            await asyncio.sleep(1)
            echo.cancel()

    listeners, writers = [], []
    for number in range(pairs):
        ann, bob = make_person(server.url), make_person(server.url)
        name = quote(ann.open_room(bob)["name"])
        room = f"/messenger/ws/ws/chat/{name}/"
        listeners += [listen(bob, room, "room"), listen(bob, STREAM, "stream")]
        writers.append(write(ann, room, f"w{number}"))
    tasks = [asyncio.create_task(each) for each in listeners]
    await asyncio.sleep(2)
    await asyncio.gather(*writers)
    for task in tasks:
        task.cancel()
    for kind, each in took.items():
        print(f"{kind:7} {quantiles(each)}")


async def drain(ws: ClientConnection) -> None:
    """Read what comes."""
    async for _ in ws:
        pass


def memory_of(server: Server) -> int:
    """Return the resident bytes of the one worker."""
    assert server.process
    (worker,) = children(server.process.pid)
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * resource.getpagesize()


async def idle(server: Server, streams: int, people: int, rooms: int) -> None:
    """Measure what an idle stream costs; each person is in some rooms."""
    crowd = [make_person(server.url) for _ in range(people)]
    for number, person in enumerate(crowd):
        for step in range(1, rooms // 2 + 1):
            person.open_room(crowd[(number + step) % people])
    held: list[ClientConnection] = []
    for warm_up in (200, streams):
        before = memory_of(server)
        while len(held) < warm_up:
            batch = [dial(crowd[(len(held) + n) % people], STREAM) for n in range(50)]
            held += await asyncio.gather(*batch)
        await asyncio.sleep(5)
        grown = memory_of(server) - before
        print(f"{len(held)} streams: +{grown / 2**20:.1f} MiB")
    print(f"{grown / (streams - 200) / 1024:.2f} KiB a stream")


def chats(server: Server, rooms: int, messages: int = 20, requests: int = 300) -> None:
    """Measure `GET chats/` of somebody with rooms, each with some messages, one after another."""
    person = make_person(server.url)
    for _ in range(rooms):
        other = make_person(server.url)
        path = f"/messenger/api/chatrooms/{quote(other.open_room(person)['name'])}/messages/"
        for number in range(messages):
            assert other.post(path, {"content": f"message {number}"}).status_code == 201
    took = []
    for _ in range(requests):
        began = time.monotonic()
        listed = person.get("/messenger/api/chats/").json()
        took.append(time.monotonic() - began)
        assert [chat["unread"] for chat in listed] == rooms * [messages]
    print(f"GET chats/ with {rooms} rooms: {quantiles(took)}")


class Crowd:
    """People in groups of 20, each in five, who come back with several streams each.

    Args:
        server: The server.
        clients: Streams, ten of each person.
        missed: Messages that each has missed.
    """

    def __init__(self, server: Server, clients: int, missed: int) -> None:
        self.people = [make_person(server.url) for _ in range(max(20, clients // 40 * 4))]
        self.streams = [self.people[number % len(self.people)] for number in range(clients)]
        self.missed = missed
        count = len(self.people)
        names = [
            self.people[start]
            .post(
                "/messenger/api/groups/",
                {
                    "title": "Team",
                    "members": [self.people[(start + n) % count].username for n in range(1, 20)],
                },
            )
            .json()["name"]
            for start in range(0, count, 4)
        ]
        self.afters = {
            person.username: int(person.get("/messenger/api/chats/").headers["X-Event-ID"])
            for person in self.people
        }
        for number, name in enumerate(names):
            path = f"/messenger/api/chatrooms/{quote(name)}/messages/"
            for _ in range(missed // 5):
                sent = self.people[number * 4].post(path, {"content": "missed " * 10})
                assert sent.status_code == 201


async def _come_back(port: int, token: str, after: int, missed: int) -> float:
    # By hand: a client library takes more of the machine than the server does.
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    writer.write(
        f"GET {STREAM}?after={after} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    received = bytearray()
    while b'"type":"ready"' not in received[-4096:]:
        data = await reader.read(2**18)
        assert data, received[:300]
        received += data
    assert received.count(b'"type":"message"') == missed
    ended = time.monotonic()
    held.append(writer)
    return ended


held: list[asyncio.StreamWriter] = []  # the streams stay open until all are back


def _come_back_all(
    port: int, streams: Sequence[tuple[str, int]], missed: int, begin: Any, results: Any
) -> None:
    async def run() -> list[float]:
        return await asyncio.gather(
            *(_come_back(port, token, after, missed) for token, after in streams)
        )

    begin.wait()
    began = time.monotonic()
    done = asyncio.run(run())
    results.put((began, done))


async def resume(server: Server, clients: int, messages: int) -> None:
    """Let clients come back at once that have missed messages, and chat beside them."""
    crowd = Crowd(server, clients, messages)
    ann, bob = make_person(server.url), make_person(server.url)
    room = f"/messenger/ws/ws/chat/{quote(ann.open_room(bob)['name'])}/"
    echoes: list[float] = []
    context = multiprocessing.get_context("spawn")
    begin, results = context.Event(), context.Queue()
    streams = [
        (person.bearer["Authorization"], crowd.afters[person.username]) for person in crowd.streams
    ]
    beside = context.Process(
        target=_come_back_all, args=(server.port, streams, messages, begin, results)
    )
    beside.start()
    async with dial(ann, room) as hers, dial(bob, room) as his:

        async def chat(until: Callable[[], bool]) -> None:
            while not until():
                began = time.monotonic()
                await hers.send(json.dumps({"message": "beside"}))
                await his.recv()
                echoes.append(time.monotonic() - began)
                await hers.recv()
                await asyncio.sleep(0.01)

        alone = time.monotonic() + 2
        await chat(lambda: time.monotonic() > alone)
        print(f"chat alone:  {quantiles(echoes)}")
        echoes.clear()
        begin.set()
        await chat(lambda: not results.empty() or not beside.is_alive())
    began, done = results.get(timeout=5)
    beside.join()
    print(
        f"all {clients} live after {max(done) - began:.1f} s, half after "
        f"{sorted(done)[clients // 2] - began:.1f} s"
    )
    print(f"chat beside: {quantiles(echoes)}")


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["latency", "idle", "resume", "chats"])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--count", type=int, help="pairs, streams, clients or rooms")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--pause", type=float, default=0.1, help="between two messages of a writer")
    asked = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settings = {
        "WEB_CONCURRENCY": str(asked.workers),
        "RATELIMIT_ENABLED": "false",
        "SOCKETS_MAX": "20000",
    }
    for name in ("DATABASE_URL", "REDIS_URL"):
        if name in os.environ:
            settings[name] = os.environ[name]
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder), settings) as server:
        if asked.what == "chats":
            chats(server, asked.count or 100)
            return
        if asked.what == "latency":
            run = latency(server, asked.count or 20, asked.seconds, asked.pause)
        elif asked.what == "idle":
            run = idle(server, asked.count or 10_000, 100, 20)
        else:
            run = resume(server, asked.count or 1_000, 100)
        asyncio.run(run)


if __name__ == "__main__":
    main()
