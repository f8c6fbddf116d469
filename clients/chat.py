"""A chat client for Beseda: reconnects, resumes, and sends again without sending twice.

Copy it. It needs Python 3.11 and `pip install websockets`; docs/websocket.md says why it does
what it does.
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

OVER = {1002, 1003, 1007, 1009, 4400, 4404}  # trying again would not help
PATIENCE = {1011: 5, 4408: 1, 4429: 30}  # seconds to wait at least
AGAIN = {"database_unavailable", "outcome_unknown", "overloaded", "throttled"}


class Chat:
    """One room.

    Args:
        url: Of the server, `ws://` or `wss://`.
        room: The room's name.
        token: Returns an access token; is told whether the last one was refused.
        on_message: Gets each message of the room once, in order.
        after: The id of the last message that you have; 0 for all there are.
    """

    def __init__(
        self,
        url: str,
        room: str,
        token: Callable[[bool], Awaitable[str]],
        on_message: Callable[[dict], None],
        after: int = 0,
    ) -> None:
        self.last_id, self.on_message = after, on_message
        self._url, self._token = f"{url}/messenger/ws/ws/chat/{quote(room, safe='')}/", token
        self._unanswered: dict[str, tuple[str, asyncio.Future[dict]]] = {}
        self._socket: ClientConnection | None = None

    async def send(self, text: str) -> dict:
        """Return the message when it is stored; ValueError says why it was refused."""
        client_id, answer = str(uuid.uuid4()), asyncio.get_running_loop().create_future()
        self._unanswered[client_id] = text, answer
        await self._transmit(client_id)
        return await answer

    async def run(self) -> None:
        """Keep the room open until cancelled; PermissionError or LookupError say it is over."""
        failures, refused = 0, False
        while True:
            code = 1006
            try:
                headers = {"Authorization": f"Bearer {await self._token(refused)}"}
                url = f"{self._url}?after={self.last_id}"
                async with connect(url, additional_headers=headers, compression=None) as socket:
                    self._socket = socket
                    for client_id in tuple(self._unanswered):
                        await self._transmit(client_id)
                    async for frame in socket:
                        failures, refused = 0, False
                        self._receive(json.loads(frame))
                    code = socket.close_code or code
            except ConnectionClosed as error:
                code = error.rcvd.code if error.rcvd else code
            except (OSError, InvalidHandshake):
                pass
            self._socket = None
            if code in OVER or (code == 4401 and refused):
                raise LookupError(code) if code == 4404 else PermissionError(code)
            refused = code == 4401
            failures += 1
            at_most = min(30.0, 0.5 * 2**failures)  # spread, so that not all come at once
            await asyncio.sleep(PATIENCE.get(code, 0) + random.uniform(0, at_most))  # noqa: S311

    async def _transmit(self, client_id: str) -> None:
        if self._socket is not None and client_id in self._unanswered:
            frame = {"message": self._unanswered[client_id][0], "client_id": client_id}
            with suppress(ConnectionClosed):  # it is sent again when the next socket is open
                await self._socket.send(json.dumps(frame))

    def _receive(self, frame: dict) -> None:
        if frame["id"] is None:
            client_id, code = frame["error"].get("client_id"), frame["error"]["code"]
            if code in AGAIN and client_id in self._unanswered:
                loop = asyncio.get_running_loop()
                loop.call_later(2, lambda: loop.create_task(self._transmit(client_id)))
            elif answer := self._answered(client_id):
                answer.set_exception(ValueError(frame["content"]))
            return
        if answer := self._answered(frame.get("client_id")):
            answer.set_result(frame)
        if frame["id"] > self.last_id:  # not so the answer to what was sent twice
            self.last_id = frame["id"]
            self.on_message(frame)

    def _answered(self, client_id: str | None) -> asyncio.Future[dict] | None:
        _, answer = self._unanswered.pop(client_id, (None, None))
        return answer if answer is not None and not answer.done() else None
