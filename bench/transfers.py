"""`python -m bench.transfers`: a chat beside people who send and get large files.

Twenty people send 25 MB each and get it back, some rounds long, in processes of their own; two
people chat all the time. It tells what the chat noticed, and the memory of the worker. With
`--pace` each transfer goes at so many Mbit/s, without it as quickly as the machine allows.
`MEDIA_URL` and `DATABASE_URL` are taken from the environment.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.machine import LOAD_CPU, SERVER_CPU, on_cpu
from bench.streams import dial, memory_of, quantiles
from tests.factories import make_person
from tests.servers import Server

UPLOADS = "/messenger/api/uploads/"
PIECE = 64 * 1024
FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
END = b"\r\n--b--\r\n"
SECONDS = 300


class Pace:
    """Waits so that bytes go no faster than a line carries them; without a rate not at all."""

    def __init__(self, mbit: float) -> None:
        self._bytes_a_second = mbit * 125_000
        self._began = time.monotonic()
        self._count = 0

    def wait(self, count: int) -> None:
        """Wait for so many more bytes."""
        self._count += count
        if self._bytes_a_second:
            due = self._began + self._count / self._bytes_a_second
            time.sleep(max(0.0, due - time.monotonic()))


def _answer(connection: socket.socket, pace: Pace) -> tuple[bytes, int]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(PIECE)
    head, _, first = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    body, count = first, len(first)
    while count < length:
        piece = connection.recv(PIECE)
        assert piece, head
        count += len(piece)
        if length < PIECE:
            body += piece
        pace.wait(len(piece))
    return body, int(head.split(b" ")[1])


def send_and_get(port: int, token: str, size: int, mbit: float) -> None:
    """Send a file and get it back."""
    headers = f"Host: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        length = len(FORM) + size + len(END)
        kind = "Content-Type: multipart/form-data; boundary=b"
        length_of = f"Content-Length: {length}\r\n\r\n"
        head = f"POST {UPLOADS} HTTP/1.1\r\n{headers}{kind}\r\n{length_of}"
        connection.sendall(head.encode() + FORM)
        pace, piece = Pace(mbit), os.urandom(PIECE)
        for start in range(0, size, PIECE):
            connection.sendall(piece[: size - start])
            pace.wait(PIECE)
        connection.sendall(END)
        body, status = _answer(connection, Pace(0))
        assert status == 201, body
    url = json.loads(body)["url"]
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.sendall(f"GET {url} HTTP/1.1\r\n{headers}\r\n".encode())
        _, status = _answer(connection, Pace(mbit))
        assert status == 200


def _transfer(
    port: int, tokens: Sequence[str], size: int, rounds: int, mbit: float, begin: Any, done: Any
) -> None:
    os.nice(19)  # they would be on machines of their own

    def one(token: str) -> None:
        for _ in range(rounds):
            send_and_get(port, token, size, mbit)

    begin.wait()
    threads = [threading.Thread(target=one, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.put("done")


async def run(server: Server, people: int, size: int, rounds: int, mbit: float) -> None:
    """Chat alone, then beside the transfers, and look at the memory."""
    senders = [make_person(server.url) for _ in range(people)]
    ann, bob = make_person(server.url), make_person(server.url)
    room = f"/messenger/ws/ws/chat/{quote(ann.open_room(bob)['name'])}/"
    send_and_get(server.port, ann.access, PIECE, 0)  # what a first upload loads
    context = multiprocessing.get_context("spawn")
    begin, done = context.Event(), context.Queue()
    tokens = [each.access for each in senders]
    parts = [tokens[0::2], tokens[1::2]]
    beside = [
        context.Process(target=_transfer, args=(server.port, part, size, rounds, mbit, begin, done))
        for part in parts
    ]
    for each in beside:
        each.start()
    await asyncio.sleep(2)
    rest = memory_of(server)
    peak = rest
    async with dial(ann, room) as hers, dial(bob, room) as his:

        async def chat(until: Any) -> list[float]:
            nonlocal peak
            echoes = []
            while not until():
                began = time.monotonic()
                await hers.send(json.dumps({"message": "beside"}))
                await his.recv()
                echoes.append(time.monotonic() - began)
                await hers.recv()
                peak = max(peak, memory_of(server))
                await asyncio.sleep(0.02)
            return echoes

        alone = time.monotonic() + 10
        print(f"chat alone:  {quantiles(await chat(lambda: time.monotonic() > alone))}")
        peak = rest
        began = time.monotonic()
        begin.set()
        print(
            f"chat beside: {quantiles(await chat(lambda: not any(p.is_alive() for p in beside)))}"
        )
    took = time.monotonic() - began
    assert done.qsize() == len(parts), "a transfer has failed"
    moved = 2 * people * rounds * size / 1e6
    print(f"{moved:.0f} MB both ways in {took:.1f} s, {moved / took:.0f} MB/s")
    print(f"worker: {rest / 2**20:.0f} MiB before, {peak / 2**20:.0f} MiB at most")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--size", type=int, default=25_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--pace", type=float, default=0, help="Mbit/s of each transfer")
    asked = parser.parse_args()
    settings = {"RATELIMIT_ENABLED": "false", "WEB_CONCURRENCY": "1"}
    for name in ("DATABASE_URL", "MEDIA_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if name in os.environ:
            settings[name] = os.environ[name]
    # The server has a processor of its own, as in the other benchmarks.
    os.sched_setaffinity(0, {LOAD_CPU})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with on_cpu(SERVER_CPU):
            server = stack.enter_context(Server(folder, settings))
        asyncio.run(run(server, asked.people, asked.size, asked.rounds, asked.pace))


if __name__ == "__main__":
    main()
