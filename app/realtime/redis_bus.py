"""Rings by the pub/sub of a Redis, for any number of workers and machines.

Nothing is kept in the Redis. It may be shared with other programs, and with other
installations of this one: each has a channel of its own.
"""

from collections.abc import Sequence
from typing import Any

from redis import Redis

TIMEOUT_SECONDS = 2.0  # for anything that a Redis should answer at once


class RedisExchange:
    """The pub/sub of one Redis.

    Args:
        url: Where it is; `redis://`, `rediss://` or `unix://`.
        channel: What this installation calls its channel.
    """

    message_bytes = 1024 * 1024

    def __init__(self, url: str, channel: str) -> None:
        self._url = url
        self._channel = channel

    def sending_line(self) -> "RedisLine":
        return RedisLine(self._connect(), self._channel)

    def listening_line(self) -> "RedisLine":
        line = RedisLine(self._connect(), self._channel)
        line.subscribe()
        return line

    def _connect(self) -> Redis:
        return Redis.from_url(
            self._url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=None,  # the bus connects anew by itself, and knows what it has missed
        )


class RedisLine:
    """One connection to a Redis."""

    def __init__(self, client: Redis, channel: str) -> None:
        self._client = client
        self._channel = channel
        self._connection: Any = None  # for sending
        self._subscription = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]

    def subscribe(self) -> None:
        """Begin to receive."""
        self._subscription.subscribe(self._channel)

    def send(self, message: bytes) -> None:
        # A third of what `Redis.publish` takes is for commands of other kinds.
        if self._connection is None:
            self._connection = self._client.connection_pool.get_connection()
        self._connection.send_command("PUBLISH", self._channel, message)
        self._connection.read_response()

    def receive(self) -> Sequence[bytes]:
        message = self._subscription.get_message(timeout=1.0)
        return () if message is None else (message["data"],)

    def close(self) -> None:
        self._subscription.close()
        self._client.close()
