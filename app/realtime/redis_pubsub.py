"""Publications by the pub/sub of a Redis, for any number of workers and machines.

Nothing is kept in the Redis. It may be shared with other programs, and with other
installations of this one: each has a channel of its own.
"""

from collections.abc import Sequence
from typing import Any

import redis
from redis.connection import ConnectionPool

from app.realtime.bus import PubSubError

TIMEOUT_SECONDS = 2.0  # for anything that a Redis should answer at once

_EXPECTED = (redis.RedisError, OSError)


class RedisPubSub:
    """The pub/sub of one Redis.

    Args:
        url: Where it is; `redis://`, `rediss://` or `unix://`.
        channel: The channel of this installation.
    """

    message_bytes = 1024 * 1024

    def __init__(self, url: str, channel: str) -> None:
        self._url = url
        self._channel = channel

    def connect_publisher(self) -> "RedisConnection":
        try:
            pool = ConnectionPool.from_url(
                self._url,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                retry=None,  # the bus connects again by itself, and knows what it has missed
            )
            return RedisConnection(pool.get_connection(), self._channel)
        except _EXPECTED as error:
            raise _named(error) from error

    def connect_subscriber(self) -> "RedisConnection":
        connection = self.connect_publisher()
        connection.subscribe()
        return connection


class RedisConnection:
    """One connection to a Redis.

    It reads replies without redis-py's `Redis.publish` and `PubSub.get_message`: what those do
    for other commands took a quarter of the time of a publication.
    """

    def __init__(self, connection: Any, channel: str) -> None:
        self._connection = connection
        self._channel = channel

    def subscribe(self) -> None:
        """Begin to receive."""
        try:
            self._connection.send_command("SUBSCRIBE", self._channel)
            self._connection.read_response(push_request=True)
        except _EXPECTED as error:
            raise _named(error) from error

    def send(self, message: bytes) -> None:
        try:
            self._connection.send_command("PUBLISH", self._channel, message)
            self._connection.read_response()
        except _EXPECTED as error:
            raise _named(error) from error

    def receive(self) -> Sequence[bytes]:
        try:
            _kind, _channel, message = self._connection.read_response(
                timeout=1.0, disconnect_on_error=False, push_request=True
            )
        except redis.TimeoutError:
            return ()
        except _EXPECTED as error:
            raise _named(error) from error
        return (message,)

    def close(self) -> None:
        self._connection.disconnect()


def _named(error: Exception) -> PubSubError:
    return PubSubError(f"Redis: {type(error).__name__}: {error}")
