"""One open socket: whole frames in and out, a bounded outbox, and no wait for the reader.

Owns a descriptor that no one else reads or writes. It knows no room and no message:
the client's texts go to a `Listener`. It costs no greenlet: watchers call `_readable` and
`_writable` from the loop. One idea, so one file, although it has more than 300 lines.
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
PING_SECONDS = 25.0  # silence after which we send a ping; routers drop connections after 55
SILENCE_SECONDS = 60.0  # silence after which the client is gone
CLOSE_SECONDS = 30.0  # how long a client may take to answer our close frame
REFUSED_SECONDS = 2.0  # the same, for a socket that was refused at its handshake

# Of what comes after our close frame so much is looked through for the client's; the rest is
# thrown away unread.
CLOSING_BYTES = 32 * 1024
REFUSED_BYTES = 4 * 1024

# Control frames and small fragments cost as much as texts and are no messages, so they have a
# bucket of their own. Clients send a few in a minute.
SMALL_FRAMES_MAX = 250  # at once
SMALL_FRAMES_PER_SECOND = 50

_READ_BYTES = 32 * 1024
_JOINED_BYTES = 8 * 1024  # of small frames in the outbox
_BUFFERS = 64  # frames written with one system call; POSIX grants 1024
_PING = frames.ping_frame()

# Codes that stand in logs only (RFC 6455, 7.1.5):
NO_CODE = 1005  # the client's close frame had no code
GONE = 1006  # the connection ended without a close frame


class Listener(Protocol):
    """Gets what a client sends."""

    def on_text(self, text: str) -> None:
        """A text arrived. Must not wait; to raise is a defect, which closes the socket (1011)."""

    def closed(self, code: int) -> None:
        """The socket is gone, with this close code; the last call."""


class Connection:
    """An open socket.

    Args:
        descriptor: A connected, non-blocking stream socket after its handshake. The
            connection owns and closes it.
        listener: Gets the client's texts.

    Attributes:
        is_closed_by_us: Whether our close frame came first.
        is_refused: Whether the socket was refused at its handshake.
    """

    __slots__ = (
        "_close_by",
        "_closing_bytes",
        "_code",
        "_descriptor",
        "_drained",
        "_is_both_closed",
        "_is_failed",
        "_is_paused",
        "_outbox",
        "_pinged_at",
        "_read_at",
        "_reader",
        "_reads",
        "_sent",
        "_waiting",
        "_writes",
        "_wrote_at",
        "is_closed_by_us",
        "is_refused",
        "listener",
    )

    def __init__(self, descriptor: int, listener: Listener) -> None:
        self.listener = listener
        self._descriptor = descriptor
        self._reader = frames.FrameReader()
        self._reader.small_frames_left = SMALL_FRAMES_MAX
        self._read_at = self._pinged_at = monotonic()
        self._is_paused = False
        # The outbox and its watcher live only while something waits.
        self._outbox: deque[bytes] | None = None
        self._waiting = 0  # bytes in the outbox
        self._sent = 0  # bytes of its first frame that are written already
        self._wrote_at = 0.0  # when the reader last took something
        self._writes: Watcher | None = None
        self._drained: Event | None = None
        self._code: int | None = None  # the close code, once either side has sent a close frame
        self.is_closed_by_us = self.is_refused = False
        self._close_by = 0.0
        self._closing_bytes = CLOSING_BYTES
        self._is_failed = False  # the client broke the protocol
        self._is_both_closed = False  # both have sent a close frame: only the outbox is left
        self._reads = watch_reads(descriptor)
        self._reads.start(self._readable)

    @property
    def is_open(self) -> bool:
        """Whether texts are still exchanged."""
        return self._code is None

    @property
    def code(self) -> int:
        """The close code; `GONE` as long as neither side has sent a close frame."""
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
        """Send a close frame after what has been offered. A second call does nothing."""
        if self._code is None:
            self.is_closed_by_us = True
            self._end(close.code, CLOSE_SECONDS)
            self.resume_reading()  # for the client's close frame
            self._write(close.frame)

    def refuse(self, close: Close) -> None:
        """Close a socket whose client never was let in: it gets little time and little memory."""
        self.is_refused = True
        self.close(close)
        self._close_by = monotonic() + REFUSED_SECONDS
        self._closing_bytes = REFUSED_BYTES

    def _end(self, code: int, seconds: float) -> None:
        # From now on nothing is exchanged but close frames.
        self._code = code
        self._close_by = monotonic() + seconds
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
        # gevent's own os.close waits for the next turn of the loop that has a timer, up to 100 ms.
        # Both watchers are closed, so nothing is left that it would have to wait for.
        socket.close(self._descriptor)
        self._descriptor = -1
        try:
            self.listener.closed(self._code)
        except Exception:
            # The caller may be writing to other sockets as well.
            log.exception("defect while a closed socket was removed")

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
            if self._is_both_closed:
                self.abort()
            elif self._is_failed:
                self._shut_writing_end()

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
        # The rest of a frame that is half written goes first, or the client would take the close
        # frame for a part of it.
        outbox = self._outbox
        if outbox is not None:
            first = outbox[0][self._sent :] if self._sent else b""
            outbox.clear()
            outbox.append(first)
            self._sent = 0
            self._waiting = len(first)
        self.close(closing.SLOW_READER)

    # In

    def pause_reading(self) -> None:
        """Stop reading, so that a client that sends too much has to wait."""
        if self._code is None and not self._is_paused:
            self._is_paused = True
            self._reads.stop()

    def resume_reading(self) -> None:
        """Read on."""
        if self._is_paused and self._descriptor >= 0:
            self._is_paused = False
            self._read_at = monotonic()  # the client was not silent, we did not listen
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
        now = monotonic()
        tokens = self._reader.small_frames_left + (now - self._read_at) * SMALL_FRAMES_PER_SECOND
        self._reader.small_frames_left = min(int(tokens), SMALL_FRAMES_MAX)
        self._read_at = now
        if self._code is not None:
            self._closing_bytes -= len(data)
            if self._closing_bytes < 0:
                return
        try:
            self._take(data)
        except frames.ProtocolError as error:
            self._fail(error.close)
        except Exception:
            log.exception("defect while a text was taken in")
            self.close(closing.DEFECT)

    def _take(self, data: bytes) -> None:
        pong = None
        for event in self._reader.feed(data):
            if isinstance(event, str):
                if self._code is None:
                    self.listener.on_text(event)
            elif isinstance(event, frames.Ping):
                # Of several pings the newest may be answered for all (RFC 6455, 5.5.3).
                pong = frames.pong_frame(event.payload)
            elif isinstance(event, frames.Closed):
                self._finish_close(event.code)
        if pong is not None:
            self.offer(pong)

    def _finish_close(self, code: int | None) -> None:
        # The client sent a close frame. If we have not yet, we answer with its own code
        # (RFC 6455, 5.5.1). Then both have, and the server closes the connection (7.1.1).
        self._is_both_closed = True
        if self._code is None:
            self._end(code or NO_CODE, CLOSE_SECONDS)
            self._write(frames.close_frame(code))
        if self._outbox is None:
            self.abort()

    def _fail(self, close: Close) -> None:
        # What a client sends after it broke the protocol has no meaning, its close frame included.
        # Only our end is shut down: closing a socket with unread bytes would reset the connection,
        # and the client would lose our close frame. Its end of file or the deadline does the rest.
        self.close(close)
        self._is_failed = True
        if self._outbox is None:
            self._shut_writing_end()

    def _shut_writing_end(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError), socket.socket(fileno=os.dup(self._descriptor)) as own:
                own.shutdown(socket.SHUT_WR)

    # Time

    def beat(self, now: float) -> None:
        """Ping a silent client, and drop one that does not answer.

        Args:
            now: `monotonic()`; called about once a second.
        """
        if self._code is not None:
            if now >= self._close_by:
                self.abort()
        elif self._outbox is not None and now - self._wrote_at >= STALL_SECONDS:
            self._drop_slow_reader()
        elif not self._is_paused:
            silence = now - self._read_at
            if silence >= SILENCE_SECONDS:
                self.abort()
            elif silence >= PING_SECONDS and now - self._pinged_at >= PING_SECONDS:
                self.ping()

    def ping(self) -> None:
        """Ask the client for a pong."""
        if self._code is None:
            self._pinged_at = monotonic()
            self._write(_PING)

    def probe(self) -> None:
        """Find out whether the client is there, unless that is being found out already."""
        if self.is_answering:
            self.ping()

    @property
    def is_answering(self) -> bool:
        """Whether anything came since the last ping. A client that we do not read counts."""
        return self._is_paused or self._read_at >= self._pinged_at

    @property
    def unanswered_seconds(self) -> float:
        """How long ago the last ping was, if it was not answered."""
        return 0.0 if self.is_answering else monotonic() - self._pinged_at
