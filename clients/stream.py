"""A client for the stream of Beseda, which keeps the state of all rooms of a person right.

It survives breaks, restarts and long absences, and sends again without sending twice. Copy it and
chats.py. They need Python 3.11 and `pip install websockets`; docs/websocket.md gives the reasons.
"""

import asyncio
import json
import random
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from chats import Chats
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

GIVE_UP = {1002, 1003, 1007, 1009, 4400}  # another attempt would end in the same way
MIN_DELAY_SECONDS = {1011: 5, 4408: 1, 4429: 30}  # before the next attempt, by close code
MAX_DELAY_SECONDS = 30.0
RETRY = {"database_unavailable", "outcome_unknown", "overloaded", "throttled"}
RETRY_SECONDS = 2
REPLAY_MAX = 500  # events; after a longer absence the list of chats is loaded instead
SILENCE_SECONDS = 60  # without a frame, not even a beat: the connection is dead
MESSAGE_CHARS_MAX = 10_000
RESET = 0  # no close code: load the list of chats, and connect again at once


class StreamOver(Exception):
    """The stream has ended for good; `reason` is "logged_out", "client_error" or "stopped"."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"The stream has ended: {reason}")
        self.code, self.reason = code, reason


class Stream:
    """All rooms of one person.

    Args:
        server: Its `https://` or `http://` URL.
        token: Returns an access token, or None if the person has to log in again. It is told
            whether the last token was refused. If it raises OSError, it is asked again later.
        on_change: Called with each frame that has arrived, and with None when `chats` was loaded.
        on_state: Called with "connected" or "reconnecting" at each change.

    Attributes:
        chats: All rooms of the person.
    """

    def __init__(
        self,
        server: str,
        token: Callable[[bool], Awaitable[str | None]],
        on_change: Callable[[dict | None], None] = lambda _: None,
        on_state: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.chats = Chats()
        self.on_change, self.on_state = on_change, on_state
        self._server, self._token = server, token
        self._is_loaded = False  # whether the stream can go on where `chats` is
        self._epoch: str | None = None
        self._pending: dict[str, tuple[dict, asyncio.Future[dict]]] = {}
        self._socket: ClientConnection | None = None
        self._over: StreamOver | None = None
        self._failures, self._refused, self._state = 0, False, "reconnecting"

    async def send(self, room: str, content: str, reply_to: int | None = None) -> dict:
        """Return the message as it is stored.

        Raises:
            ValueError: It was refused; the text says why.
            StreamOver: The stream has ended before it was stored.
        """
        if self._over:
            raise self._over
        if len(content) > MESSAGE_CHARS_MAX:
            raise ValueError(f"A message has at most {MESSAGE_CHARS_MAX:,} characters.")
        ref, stored = str(uuid.uuid4()), asyncio.get_running_loop().create_future()
        frame = {"type": "send", "ref": ref, "client_id": ref, "room": room, "content": content}
        frame |= {} if reply_to is None else {"reply_to": reply_to}
        self._pending[ref] = frame, stored
        if self._state == "connected":
            await self._write(frame)
        return await stored

    async def read(self, room: str, read_id: int) -> None:
        """Mark a room as read. A mark that gets lost is made good by the next one."""
        await self._write({"type": "read", "room": room, "read_id": read_id})

    async def run(self) -> None:
        """Keep `chats` right until cancelled. Raises StreamOver if it has ended for good."""
        over = StreamOver(1000, "stopped")
        self._over = None
        try:
            while True:
                await self._wait(await self._connect())
        except StreamOver as error:
            over = error
            raise
        finally:
            self._over = over
            while self._pending:
                _, (_, stored) = self._pending.popitem()
                if not stored.done():
                    stored.set_exception(over)

    async def _connect(self) -> int:
        """Keep one socket open for as long as it lasts, and return its close code."""
        try:
            token = await self._token(self._refused)
            if not token:
                raise StreamOver(4401, "logged_out")
            if not self._is_loaded:
                listed, headers = await self._get("chats/", token)
                self.chats, self._is_loaded = Chats(listed, int(headers["X-Event-ID"])), True
                self.on_change(None)
            query = {"after": self.chats.cursor, "most": REPLAY_MAX}
            query |= {"epoch": self._epoch} if self._epoch else {}
            url = f"{self._server.replace('http', 'ws', 1)}/messenger/ws/events/?{urlencode(query)}"
            headers = {"Authorization": f"Bearer {token}"}
            async with connect(url, additional_headers=headers, compression=None) as socket:
                self._socket = socket
                while True:
                    frame = json.loads(await asyncio.wait_for(socket.recv(), SILENCE_SECONDS))
                    if frame["type"] == "reset":
                        self._is_loaded, self._epoch = False, frame["epoch"]
                        return RESET
                    await self._receive(frame)
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else 1006
        except HTTPError as error:  # of the list of chats
            return 4401 if error.code == 401 else 1006
        except (OSError, InvalidHandshake):  # a TimeoutError, too
            return 1006
        finally:
            self._socket = None

    async def _get(self, path: str, token: str | None) -> tuple:
        def get() -> tuple:
            with urlopen(request, timeout=30) as response:  # noqa: S310
                return json.load(response), response.headers

        url = f"{self._server}/messenger/api/{path}"
        request = Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
        return await asyncio.to_thread(get)

    async def _wait(self, code: int) -> None:
        if code in GIVE_UP:
            raise StreamOver(code, "client_error")
        if code == 4401 and self._refused:
            raise StreamOver(code, "logged_out")
        self._refused = code == 4401
        self._tell("reconnecting")
        if code != RESET:
            self._failures += 1
            # random, so that clients spread
            delay = random.uniform(0, min(MAX_DELAY_SECONDS, 0.5 * 2**self._failures))  # noqa: S311
            await asyncio.sleep(MIN_DELAY_SECONDS.get(code, 0) + delay)

    def _tell(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self.on_state(state)

    async def _write(self, frame: dict) -> None:
        if self._socket is not None:
            with suppress(ConnectionClosed):  # messages are sent again by the next socket
                await self._socket.send(json.dumps(frame))

    async def _receive(self, frame: dict) -> None:
        match frame["type"]:
            case "hello":
                self._epoch, self.chats.me = self._epoch or frame["epoch"], frame["user"]
                return
            case "ready":
                self._failures, self._refused = 0, False
                self._tell("connected")
                for waiting, _ in tuple(self._pending.values()):
                    await self._write(waiting)
            case "done" | "error":
                self._answer(frame)
                return
        if "id" in frame and (chat := self.chats.apply(frame)):
            await self._find_last(chat)
        self.on_change(frame)

    async def _find_last(self, chat: dict) -> None:
        try:
            path = f"chatrooms/{quote(chat['name'], safe='')}/"
            now, _ = await self._get(path, await self._token(False))
            chat["last_message"] = now["last_message"]
        except OSError:
            self._is_loaded = False  # load everything at the next connection
            raise

    def _answer(self, frame: dict) -> None:
        ref = frame.get("ref")
        if frame.get("code") in RETRY and ref in self._pending:
            loop, (waiting, _) = asyncio.get_running_loop(), self._pending[ref]
            loop.call_later(RETRY_SECONDS, lambda: loop.create_task(self._write(waiting)))
            return
        _, stored = self._pending.pop(ref, (None, None))
        if stored is not None and not stored.done():
            if frame["type"] == "done":
                stored.set_result(frame["message"])
            else:
                stored.set_exception(ValueError(frame["detail"]))
