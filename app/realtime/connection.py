"""One open socket: whole frames in and out, a bounded outbox, and no wait for the reader.

Owns a descriptor that no one else reads or writes. It knows no room and no message:
what its client says goes to a `Listener`. It costs no greenlet: watchers call
`_readable` and `_writable` from the loop.
"""

import logging
import os
import socket
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Protocol

from app.realtime import closing, frames
from app.realtime.closing import Close
from app.realtime.loop import Event, Watcher, monotonic, watch_reads, watch_writes

log = logging.getLogger(__name__)

OUTBOX_BYTES = 1024 * 1024  # what may wait for a slow reader before it is closed
STALL_SECONDS = 10.0  # how long a reader may take nothing of what waits for it
PING_SECONDS = 25.0  # after so much silence we ask for a sign of life; routers hang up after 55
SILENCE_SECONDS = 60.0  # after so much silence the client is gone
LINGER_SECONDS = 30.0  # how long a client may take to answer our goodbye

_READ_BYTES = 32 * 1024
_JOINED_BYTES = 8 * 1024  # of small frames in the outbox
_BUFFERS = 64  # frames written with one system call; POSIX grants 1024
_PING = frames.ping_frame()

# Only ever said in a log (RFC 6455, 7.1.5):
NO_CODE = 1005  # the client's goodbye had no code
GONE = 1006  # the client vanished without a goodbye


class Listener(Protocol):
    """Who is told what a client says."""

    def on_text(self, text: str) -> None:
        """A text arrived. Must not wait; to raise is a defect, which closes the socket (1011)."""

    def closed(self, code: int) -> None:
        """The socket is gone, with this close code; the last call."""


class Connection:
    """An open socket.

    Args:
        descriptor: A connected, non-blocking stream socket after its handshake. The
            connection owns and closes it.
        listener: Who is told.

    Attributes:
        cursor: The id of the last message that this socket has; its channel moves it.
        is_closed_by_us: Whether we said goodbye, and not the client or nobody.
    """

    __slots__ = (
        "_asked_at",
        "_close_by",
        "_code",
        "_descriptor",
        "_drained",
        "_heard_at",
        "_held",
        "_is_failed",
        "_is_parted",
        "_outbox",
        "_reader",
        "_reads",
        "_sent",
        "_waiting",
        "_writes",
        "_wrote_at",
        "cursor",
        "is_closed_by_us",
        "listener",
    )

    def __init__(self, descriptor: int, listener: Listener, cursor: int = 0) -> None:
        self.cursor = cursor
        self.listener = listener
        self._descriptor = descriptor
        self._reader = frames.FrameReader()
        self._heard_at = self._asked_at = monotonic()
        self._held = False
        # The outbox and its watcher live only while something waits.
        self._outbox: deque[bytes] | None = None
        self._waiting = 0  # bytes in the outbox
        self._sent = 0  # bytes of its first frame that are on their way already
        self._wrote_at = 0.0  # when the reader last took something
        self._writes: Watcher | None = None
        self._drained: Event | None = None
        self._code: int | None = None  # the close code, once either side has said goodbye
        self.is_closed_by_us = False
        self._close_by = 0.0
        self._is_failed = False  # the client broke the protocol
        self._is_parted = False  # both have said it: what is left to write is the rest
        self._reads = watch_reads(descriptor)
        self._reads.start(self._readable)

    @property
    def is_open(self) -> bool:
        """Whether texts are still exchanged."""
        return self._code is None

    @property
    def code(self) -> int:
        """The close code; `GONE` as long as nobody has said goodbye."""
        return GONE if self._code is None else self._code

    @property
    def is_gone(self) -> bool:
        """Whether the descriptor is closed."""
        return self._descriptor < 0

    @property
    def waiting(self) -> int:
        """Bytes in the outbox."""
        return self._waiting

    # Out

    def offer(self, frame: bytes) -> None:
        """Send whole frames without waiting for the reader.

        What does not fit into the kernel's buffer waits in the outbox. A reader for
        whom more than `OUTBOX_BYTES` would wait is closed.
        """
        if self._code is None:
            self._write(frame)
            if self._waiting > OUTBOX_BYTES:
                self._drop_slow_reader()

    def send_text(self, text: bytes) -> None:
        """Send one text, as `offer` does."""
        self.offer(frames.text_frame(text))

    def close(self, close: Close) -> None:
        """Say goodbye after what has been offered. A second call does nothing."""
        if self._code is None:
            self.is_closed_by_us = True
            self._end(close.code)
            self.resume()  # to hear the client's goodbye
            self._write(close.frame)

    def _end(self, code: int) -> None:
        # From now on nothing is exchanged but goodbyes.
        self._code = code
        self._close_by = monotonic() + LINGER_SECONDS
        self._wake_waiters()

    def abort(self, code: int = GONE) -> None:
        """Close the descriptor at once."""
        if self._descriptor < 0:
            return
        if self._code is None:
            self._code = code
        self._reads.stop()
        self._reads.close()
        self._outbox = None
        self._stop_writing()
        os.close(self._descriptor)
        self._descriptor = -1
        try:
            self.listener.closed(self._code)
        except Exception:
            # Whoever wrote to this socket has others to write to.
            log.exception("defect while a socket was forgotten")

    def wait_drained(self) -> None:
        """Wait, in a greenlet, until nothing is left in the outbox or the socket is closed."""
        if self._waiting and self._code is None:
            self._drained = self._drained or Event()
            self._drained.wait()

    def _write(self, frame: bytes) -> None:
        outbox = self._outbox
        if outbox is not None:
            self._waiting += len(frame)
            # Small frames are joined: a megabyte of answers to pings would be half a million
            # objects. Never with the first, part of which may be written.
            if len(outbox) > 1 and len(outbox[-1]) + len(frame) <= _JOINED_BYTES:
                outbox[-1] += frame
            else:
                outbox.append(frame)
            return
        if self._descriptor < 0:
            return
        try:
            sent = os.write(self._descriptor, frame)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.abort()
            return
        if sent < len(frame):
            self._outbox = deque((frame,))
            self._sent = sent
            self._waiting = len(frame) - sent
            self._wrote_at = monotonic()
            self._writes = watch_writes(self._descriptor)
            self._writes.start(self._writable)

    def _writable(self) -> None:
        outbox = self._outbox
        assert outbox is not None  # noqa: S101 - the watcher lives as long as the outbox
        buffers: list[bytes | memoryview] = list(islice(outbox, _BUFFERS))
        if self._sent:
            buffers[0] = memoryview(outbox[0])[self._sent :]
        try:
            written = os.writev(self._descriptor, buffers)
        except BlockingIOError:
            return
        except OSError:
            self.abort()
            return
        self._wrote_at = monotonic()
        self._waiting -= written
        written += self._sent
        while outbox and written >= len(outbox[0]):
            written -= len(outbox.popleft())
        self._sent = written
        if not outbox:
            self._outbox = None
            self._stop_writing()
            if self._is_parted:
                self.abort()
            elif self._is_failed:
                self._hang_up()

    def _stop_writing(self) -> None:
        self._waiting = self._sent = 0
        if self._writes is not None:
            self._writes.stop()
            self._writes.close()
            self._writes = None
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    def _drop_slow_reader(self) -> None:
        # What is left of the frame that is half written goes first, or the goodbye would be
        # taken for a part of it.
        outbox = self._outbox
        if outbox is not None:
            first = outbox[0][self._sent :] if self._sent else b""
            outbox.clear()
            outbox.append(first)
            self._sent = 0
            self._waiting = len(first)
        self.close(closing.SLOW_READER)

    # In

    def hold(self) -> None:
        """Stop reading: the client says more than can be taken in, and shall feel it."""
        if self._code is None and not self._held:
            self._held = True
            self._reads.stop()

    def resume(self) -> None:
        """Read on."""
        if self._held and self._descriptor >= 0:
            self._held = False
            self._heard_at = monotonic()  # it was us who did not listen
            self._reads.start(self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.abort()
            return
        self._heard_at = monotonic()
        try:
            for event in self._reader.feed(data):
                if isinstance(event, str):
                    if self._code is None:
                        self.listener.on_text(event)
                elif isinstance(event, frames.Ping):
                    self.offer(frames.pong_frame(event.payload))
                elif isinstance(event, frames.Closed):
                    self._part(event.code)
        except frames.ProtocolError as error:
            self._fail(error.close)
        except Exception:
            log.exception("defect while a socket was heard")
            self.close(closing.DEFECT)

    def _part(self, code: int | None) -> None:
        # The client said goodbye. If we have not yet, we do now, with its own code
        # (RFC 6455, 5.5.1); then both have, and the server hangs up first (7.1.1).
        self._is_parted = True
        if self._code is None:
            self._end(code or NO_CODE)
            self._write(frames.close_frame(code))
        if self._outbox is None:
            self.abort()

    def _fail(self, close: Close) -> None:
        # What a client sends after breaking a rule has no meaning, its goodbye included. So we
        # hang up, but only our end: with its bytes unread, closing would reset the connection
        # and take our goodbye with it. Its end of file, or the clock, does the rest.
        self.close(close)
        self._is_failed = True
        if self._outbox is None:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError), socket.socket(fileno=os.dup(self._descriptor)) as own:
                own.shutdown(socket.SHUT_WR)

    # Time

    def beat(self, now: float) -> None:
        """Ask a silent client for a sign of life, and give up one that gives none.

        Args:
            now: `monotonic()`; called about once a second.
        """
        if self._code is not None:
            if now >= self._close_by:
                self.abort()
        elif self._outbox is not None and now - self._wrote_at >= STALL_SECONDS:
            self._drop_slow_reader()
        elif not self._held:
            silence = now - self._heard_at
            if silence >= SILENCE_SECONDS:
                self.abort()
            elif silence >= PING_SECONDS and now - self._asked_at >= PING_SECONDS:
                self._asked_at = now
                self._write(_PING)
