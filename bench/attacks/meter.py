"""Times what ordinary people do beside an attack: chat, a health check, logins, pictures."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image

from bench.attacks.kit import (
    Account,
    Scene,
    answer_of,
    chat,
    dial,
    get,
    open_socket,
    send,
    text,
    upload,
)
from bench.attacks.site import PASSWORD, Site

PAUSE = 0.03  # between two questions
MESSAGES_MAX = 250  # below their limit, or the server would not read the next ones
SLOW = 30.0  # what counts for an answer that did not come
MEMORY_PAUSE = 0.02


@dataclass
class Times:
    """Seconds that something took, again and again.

    Attributes:
        seconds: Of those that were answered as they should.
        failed: How many were not.
    """

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def share(self, percent: float) -> float:
        """Return the seconds within which so many percent were answered."""
        if not self.seconds:
            return SLOW
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def json(self) -> dict[str, float | int]:
        """Return it for a table, in milliseconds."""
        shares = {f"p{percent}": round(1000 * self.share(percent), 1) for percent in (50, 99)}
        worst = round(1000 * self.share(100), 1)
        return {**shares, "worst": worst, "count": len(self.seconds), "failed": self.failed}


class Meter:
    """Asks all the time, from threads of its own, until it is told to stop."""

    def __init__(
        self, site: Site, victims: Sequence[Account], room: str, beside: str, seconds: float
    ) -> None:
        self._pause = max(PAUSE, seconds / MESSAGES_MAX)
        self.scene = Scene(site.port, victims, room)
        self.peak = 0
        self.times: dict[str, Times] = {}
        self._site = site
        self._stop = threading.Event()
        questions: dict[str, Callable[[Callable[[], None]], None]] = {
            "chat": self._chat,
            "health": self._health,
        }
        if beside == "login":
            questions[beside] = self._log_in
        if beside == "picture":
            questions[beside] = self._send_picture
        self._threads = [threading.Thread(target=self._watch_memory)]
        for name, question in questions.items():
            self.times[name] = Times()
            self._threads.append(threading.Thread(target=self._ask, args=(name, question)))

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask nothing more; wait for what is asked."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.peak = max(self.peak, self._site.peak())

    def _ask(self, name: str, question: Callable[[Callable[[], None]], None]) -> None:
        times = self.times[name]
        began = time.monotonic()

        def answered() -> None:
            nonlocal began
            times.seconds.append(time.monotonic() - began)
            self._stop.wait(self._pause)
            began = time.monotonic()

        while not self._stop.is_set():
            began = time.monotonic()
            try:
                question(answered)
            except (OSError, AssertionError, ValueError):
                times.failed += 1
                times.seconds.append(time.monotonic() - began)
                self._stop.wait(PAUSE)

    def _chat(self, answered: Callable[[], None]) -> None:
        ann = self.scene.people[0]
        with closing(open_socket(self.scene, chat(self.scene.room), ann)) as connection:
            number = 0
            while not self._stop.is_set():
                number += 1
                said = f"{threading.get_ident()}-{number};".encode()
                connection.sendall(text(b'{"message": "%s"}' % said))
                received = b""
                while said not in received:
                    piece = connection.recv(65536)
                    assert piece
                    received += piece
                assert b'"error"' not in received
                answered()

    def _health(self, answered: Callable[[], None]) -> None:
        with closing(dial(self.scene)) as connection:
            while not self._stop.is_set() and connection.fileno() >= 0:
                connection.sendall(get("/healthz"))
                assert answer_of(connection) == 200
                answered()

    def _log_in(self, answered: Callable[[], None]) -> None:
        # Nobody logs in all the time: three take turns.
        who = self.scene.people[len(self.times["login"].seconds) % 3]
        body = json.dumps({"username": who.username, "password": PASSWORD})
        with closing(dial(self.scene)) as connection:
            connection.sendall(send("POST", "/accounts/api/token/", body.encode()))
            assert answer_of(connection) == 200
        answered()
        self._stop.wait(0.15)

    def _send_picture(self, answered: Callable[[], None]) -> None:
        out = BytesIO()
        Image.new("RGB", (1600, 1200), "green").save(out, "JPEG")
        with closing(dial(self.scene)) as connection:
            connection.sendall(upload(self.scene.people[1], out.getvalue()))
            assert answer_of(connection) == 200
        answered()
        self._stop.wait(0.25)

    def _watch_memory(self) -> None:
        while not self._stop.wait(MEMORY_PAUSE):
            self.peak = max(self.peak, self._site.memory())
