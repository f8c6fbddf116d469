"""A TCP relay that stands between a server and its database or its Redis, and can fail."""

import asyncio
import ctypes
import socket
import struct
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self

_BYTES = 64 * 1024

NOTIFICATION = b"A"
_NOT_ENCRYPTED = b"N"

# Linux, asm-generic/socket.h and linux/filter.h: a program of one instruction that keeps 0 bytes
# of every packet. It runs before TCP looks at the packet, so nothing is acknowledged: that is
# a network without a sound. A relay that merely stops reading would still acknowledge.
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
_PROGRAM = struct.pack("HL", 1, ctypes.addressof(_DROP_ALL))


class Proxy:
    """Relays connections to a host and port; usable from any thread.

    Args:
        host: Where to.
        port: Where to.
        is_postgresql: Whether a PostgreSQL is there, whose notifications can be lost.

    Attributes:
        port: Where it listens on the loopback itself.
        loses_notifications: Whether it does; all else is relayed.
    """

    def __init__(self, host: str, port: int, *, is_postgresql: bool = False) -> None:
        self._target = (host, port)
        self._is_postgresql = is_postgresql
        self.loses_notifications = False
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def accept(self) -> None:
        """Take connections, again."""
        self._call(self._accept())

    def refuse(self) -> None:
        """Break all connections and refuse new ones."""
        self._call(self._refuse())

    def cut(self) -> None:
        """Break all connections; new ones are welcome."""
        self._call(self._cut())

    def silence(self) -> None:
        """Lose every packet in both directions, those of new connections too, until `resume`."""
        self._call(self._each(_Link.silence, listener=mute))

    def resume(self) -> None:
        """Lose nothing any more; TCP makes good what was lost."""
        self._call(self._each(_Link.resume, listener=unmute))

    def strand(self) -> None:
        """Never relay a packet of the present connections again; new ones are fine."""
        self._call(self._each(_Link.silence))

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _accept(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept_forever(listener))

    async def _accept_forever(self, listener: socket.socket) -> None:
        while True:
            near, _ = await self._loop.sock_accept(listener)
            task = asyncio.create_task(self._relay(near))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _relay(self, near: socket.socket) -> None:
        far = socket.socket()
        far.setblocking(False)
        link = _Link(near, far)
        self._links.add(link)
        try:
            await self._loop.sock_connect(far, self._target)
            for each in (near, far):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sift = self._sifter() if self._is_postgresql else None
            pumps = [
                asyncio.create_task(link.pump(near, far)),
                asyncio.create_task(link.pump(far, near, sift)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # nobody there: the near end is hung up as well
        finally:
            self._links.discard(link)
            link.close()

    def _sifter(self) -> Callable[[bytes], bytes]:
        messages = PostgresMessages()

        def sift(data: bytes) -> bytes:
            return b"".join(
                each
                for each in messages.feed(data)
                if not (self.loses_notifications and each.startswith(NOTIFICATION))
            )

        return sift

    async def _refuse(self) -> None:
        if self._accepting is not None and self._listener is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._listener.close()
            self._accepting = self._listener = None
        await self._cut()

    async def _cut(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close(self) -> None:
        await self._refuse()

    async def _each(
        self,
        act: Callable[["_Link"], None],
        listener: Callable[[socket.socket], None] | None = None,
    ) -> None:
        if listener is not None and self._listener is not None:
            listener(self._listener)
        for link in self._links:
            act(link)


class PostgresMessages:
    """Cuts what a PostgreSQL says on one connection into its messages.

    Each is a byte that says of what kind it is, the length of all that follows in four bytes,
    and that. Only a question for encryption is answered by a byte alone, before all else.

    Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
    """

    def __init__(self) -> None:
        self._rest = b""
        self._has_begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that are complete by now."""
        data, start = self._rest + data, 0
        while True:
            if not self._has_begun and data.startswith(_NOT_ENCRYPTED, start):
                end = start + 1
            elif len(data) < start + 5:
                break
            else:
                end = start + 1 + int.from_bytes(data[start + 1 : start + 5], "big")
                if end > len(data):
                    break
                self._has_begun = True
            yield data[start:end]
            start = end
        self._rest = data[start:]


class _Link:
    """One connection: `near` is the server under test, `far` what it talks to."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._near = near
        self._far = far
        self._is_audible = asyncio.Event()
        self._is_audible.set()

    async def pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        sift: Callable[[bytes], bytes] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, _BYTES):
            await self._is_audible.wait()
            await loop.sock_sendall(sink, sift(data) if sift else data)
        await self._is_audible.wait()  # an end that nobody can hear of yet

    def silence(self) -> None:
        self._is_audible.clear()
        mute(self._near)

    def resume(self) -> None:
        unmute(self._near)
        self._is_audible.set()

    def close(self) -> None:
        for each in (self._near, self._far):
            # No time to linger: the other side gets an RST, as from a host that went down.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()


def mute(end: socket.socket) -> None:
    """Let nothing arrive at one end of a connection, so that nothing is acknowledged either."""
    if sys.platform == "linux":
        end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM)


def unmute(end: socket.socket) -> None:
    """Let arrive what comes from now on; TCP sends again what came before."""
    if sys.platform == "linux":
        end.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
