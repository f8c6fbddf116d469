"""Rings by the pub/sub of a Redis, for any number of workers and machines.

Nothing is kept in the Redis. It may be shared with other programs, and with other
installations of this one: each has a channel of its own.
"""

from collections.abc import Sequence
from typing import Any

import redis
from redis.connection import ConnectionPool

TIMEOUT_SECONDS = 2.0  # for anything that a Redis should answer at once


class RedisPubSub:
    """The pub/sub of one Redis.

    Args:
        url: Where it is; `redis://`, `rediss://` or `unix://`.
        channel: What this installation calls its channel.
    """

    message_bytes = 1024 * 1024

    def __init__(self, url: str, channel: str) -> None:
        self._url = url
        self._channel = channel

    def connect_publisher(self) -> "RedisConnection":
        pool = ConnectionPool.from_url(
            self._url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=None,  # the bus connects anew by itself, and knows what it has missed
        )
        return RedisConnection(pool.get_connection(), self._channel)

    def connect_subscriber(self) -> "RedisConnection":
        line = self.connect_publisher()
        line.subscribe()
        return line


class RedisConnection:
    """One connection to a Redis.

    What `Redis.publish` and `PubSub.get_message` do besides, for commands of other kinds, took
    a quarter of a ring's time.
    """

    def __init__(self, connection: Any, channel: str) -> None:
        self._connection = connection
        self._channel = channel

    def subscribe(self) -> None:
        """Begin to receive."""
        self._connection.send_command("SUBSCRIBE", self._channel)
        self._connection.read_response(push_request=True)

    def send(self, message: bytes) -> None:
        self._connection.send_command("PUBLISH", self._channel, message)
        self._connection.read_response()

    def receive(self) -> Sequence[bytes]:
        try:
            _kind, _channel, message = self._connection.read_response(
                timeout=1.0, disconnect_on_error=False, push_request=True
            )
        except redis.TimeoutError:
            return ()
        return (message,)

    def close(self) -> None:
        self._connection.disconnect()
