"""A client for one chat room of Beseda: reconnects, resumes, and sends again without sending twice.

Copy it. It needs Python 3.11 and `pip install websockets`; docs/websocket.md gives the reasons.
"""

import asyncio
import json
import random
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

GIVE_UP = {1002, 1003, 1007, 1009, 4400, 4404}  # another attempt would end in the same way
MIN_DELAY_SECONDS = {1011: 5, 4408: 1, 4429: 30}  # before the next attempt, by close code
MAX_DELAY_SECONDS = 30.0
RETRY = {"database_unavailable", "outcome_unknown", "overloaded", "throttled"}
RETRY_SECONDS = 2
SETTLED_SECONDS = 1  # a refused socket is closed earlier than this
MESSAGE_CHARS_MAX = 10_000


class ChatOver(Exception):
    """The chat has ended for good.

    Attributes:
        code: The close code.
        reason: "logged_out" (log in, then make a new Chat), "no_room", "client_error" (a defect of
            this client), or "stopped" (`run` was cancelled or has failed).
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"The chat has ended: {reason}")
        self.code, self.reason = code, reason


class Chat:
    """One room.

    Args:
        url: Of the server, `ws://` or `wss://`.
        room: The room's name.
        token: Returns an access token, or None if the person has to log in again. It is told
            whether the last token was refused. If it raises OSError, it is asked again later.
        on_message: Called for each message of the room once, in order.
        on_state: Called with "connected" or "reconnecting" at each change.
        after: The id of the last message that you have; 0 for the whole history.
    """

    def __init__(
        self,
        url: str,
        room: str,
        token: Callable[[bool], Awaitable[str | None]],
        on_message: Callable[[dict], None],
        *,
        on_state: Callable[[str], None] = lambda _: None,
        after: int = 0,
    ) -> None:
        self.last_id, self.on_message, self.on_state = after, on_message, on_state
        self._url, self._token = f"{url}/messenger/ws/ws/chat/{quote(room, safe='')}/", token
        self._pending: dict[str, tuple[str, asyncio.Future[dict]]] = {}
        self._socket: ClientConnection | None = None
        self._over: ChatOver | None = None
        self._failures, self._refused, self._state = 0, False, "reconnecting"

    async def send(self, text: str) -> dict:
        """Return the message as it is stored.

        Raises:
            ValueError: It was refused; the text says why.
            ChatOver: The chat has ended before it was stored.
        """
        if self._over:
            raise self._over
        if len(text) > MESSAGE_CHARS_MAX:
            # The server closes the socket of a client that sends a frame of over 128 KiB.
            raise ValueError(f"A message has at most {MESSAGE_CHARS_MAX:,} characters.")
        client_id, stored = str(uuid.uuid4()), asyncio.get_running_loop().create_future()
        self._pending[client_id] = text, stored
        await self._transmit(client_id)
        return await stored

    async def run(self) -> None:
        """Keep the room open until cancelled. Raises ChatOver if it has ended for good."""
        over = ChatOver(1000, "stopped")
        self._over = None
        try:
            while True:
                await self._wait(await self._connect())
        except ChatOver as error:
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
        settled: asyncio.TimerHandle | None = None
        try:
            token = await self._token(self._refused)
            if not token:
                raise ChatOver(4401, "logged_out")
            headers = {"Authorization": f"Bearer {token}"}
            url = f"{self._url}?after={self.last_id}"
            async with connect(url, additional_headers=headers, compression=None) as socket:
                self._socket = socket
                settled = asyncio.get_running_loop().call_later(SETTLED_SECONDS, self._connected)
                for client_id in tuple(self._pending):
                    await self._transmit(client_id)
                async for frame in socket:
                    self._receive(json.loads(frame))
                return socket.close_code or 1006
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else 1006
        except (OSError, InvalidHandshake):
            return 1006
        finally:
            self._socket = None
            if settled:
                settled.cancel()

    async def _wait(self, code: int) -> None:
        if code in GIVE_UP:
            raise ChatOver(code, "no_room" if code == 4404 else "client_error")
        if code == 4401 and self._refused:
            raise ChatOver(code, "logged_out")
        self._refused = code == 4401
        self._tell("reconnecting")
        self._failures += 1
        # random, so that clients spread
        delay = random.uniform(0, min(MAX_DELAY_SECONDS, 0.5 * 2**self._failures))  # noqa: S311
        await asyncio.sleep(MIN_DELAY_SECONDS.get(code, 0) + delay)

    def _connected(self) -> None:
        self._failures, self._refused = 0, False
        self._tell("connected")

    def _tell(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self.on_state(state)

    async def _transmit(self, client_id: str) -> None:
        if self._socket is not None and client_id in self._pending:
            frame = {"message": self._pending[client_id][0], "client_id": client_id}
            with suppress(ConnectionClosed):  # it is sent again when the next socket is open
                await self._socket.send(json.dumps(frame))

    def _receive(self, frame: dict) -> None:
        self._connected()
        if frame["id"] is None:
            client_id, code = frame["error"].get("client_id"), frame["error"]["code"]
            if code in RETRY and client_id in self._pending:
                loop = asyncio.get_running_loop()
                loop.call_later(RETRY_SECONDS, lambda: loop.create_task(self._transmit(client_id)))
            elif stored := self._pop(client_id):
                stored.set_exception(ValueError(frame["content"]))
            return
        if stored := self._pop(frame.get("client_id")):
            stored.set_result(frame)
        if frame["id"] > self.last_id:  # not the answer to a message that was sent twice
            self.last_id = frame["id"]
            self.on_message(frame)

    def _pop(self, client_id: str | None) -> asyncio.Future[dict] | None:
        _, stored = self._pending.pop(client_id, (None, None))
        return stored if stored is not None and not stored.done() else None
