"""The one way in for messages: gathers them into transactions, then publishes them.

While one transaction commits, what arrives waits; the next one takes all of it. So an
idle server commits a lone message at once and a busy one dozens at a time, and nobody
is told of a message before it is committed.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import itemgetter
from time import monotonic, sleep
from typing import TypeAlias

from flask_babel import lazy_gettext as _
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.clock import utcnow
from app.database.errors import is_unavailable
from app.database.sequence import waits
from app.http.errors import (
    ApiError,
    DatabaseUnavailable,
    Overloaded,
    TemporarilyUnavailable,
    as_api_error,
)
from app.messenger.drafts import Draft, OutcomeUnknownError, Stored
from app.messenger.store import store
from app.realtime import Publication

log = logging.getLogger(__name__)

BATCH_MESSAGES = 256
BATCH_CHARS = 256 * 1024  # so that one batch to one room fits into an outbox
WAITING_MAX = 20_000  # messages; more than that cannot be stored before their senders give up
FINISH_SECONDS = 1.5  # what a worker that has to leave may wait for the database
PATIENCE_SECONDS = 4.0  # after which a sender is told that the database does not answer
WATCH_SECONDS = 0.25  # how often that is looked at
GATHER_SECONDS = 0.02  # how long messages may gather while other workers commit
UNDISTURBED_SECONDS = 0.001  # how long a transaction takes to get its locks if nobody has them

Outcome: TypeAlias = Stored | ApiError

_first = itemgetter(0)


def _publications(new: Sequence[tuple[int, Stored, Draft]]) -> Sequence[Publication]:
    # What is between two ids of one transaction is a number that nobody uses.
    publications = []
    before = new[0][0] - 1 if new else 0
    for message_id, each, draft in new:
        publications.append(
            Publication(
                before, message_id, each.room_id, draft.room_name, each.prev_id or 0, each.payload
            )
        )
        before = message_id
    return publications


def _gather_seconds() -> float:
    # If the last transaction waited for those of other workers, so would the next one, and what
    # comes meanwhile would need another. For half of that time messages gather instead.
    return min(waits.last / 2, GATHER_SECONDS) if waits.last > UNDISTURBED_SECONDS else 0.0


class OutcomeUnknown(TemporarilyUnavailable):
    """The database went away while it stored the message: it may be stored, or not.

    A message with a `client_id` may be sent again safely; without one, look first.
    """

    code = "outcome_unknown"
    detail = _("It is not known whether the message was stored. Please look before you repeat it.")


class _Entry:
    __slots__ = ("_unanswered", "draft", "since")

    def __init__(self, draft: Draft, done: Callable[[Outcome], None]) -> None:
        self.draft = draft
        self.since = monotonic()
        self._unanswered = [done]

    @property
    def is_answered(self) -> bool:
        return not self._unanswered

    def answer(self, outcome: Outcome) -> None:
        """Tell the sender, unless another thread has done so."""
        with suppress(IndexError):
            done = self._unanswered.pop()
            try:
                done(outcome)
            except Exception:
                log.exception("defect while answering the sender of a message")


@dataclass(slots=True)
class WriterStats:
    """What a writer has done so far; plain numbers that only grow.

    Attributes:
        stored: Messages committed.
        repeated: Messages that were there already, by their `client_id`.
        refused: Messages whose senders were told an error, by its code.
        batches: Transactions, by how many messages they were given, the repeated included.
        store_seconds: Time that they took.
    """

    stored: int = 0
    repeated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    batches: Counter[int] = field(default_factory=Counter)
    store_seconds: float = 0.0


class MessageWriter:
    """Stores the messages of one worker, from sockets and from REST.

    `submit` and `post` may be called from any thread. All else happens in two threads of
    its own (greenlets, under a gevent worker): one stores, the other tells senders when
    the first one gets no answer from the database.

    Args:
        engine: The database.
        ring: Is told of messages after their commit, in the order of their ids per room.

    Attributes:
        stats: What it has done so far.
    """

    def __init__(
        self,
        engine: Engine,
        publish: Callable[[Sequence[Publication]], None],
        note_sent: Callable[[Sequence[tuple[int, int, int]]], None] = lambda _sent: None,
    ) -> None:
        self._engine = engine
        self._note_sent = note_sent
        self._publish = publish
        self.stats = WriterStats()
        self._waiting: deque[_Entry] = deque()
        self._storing: Sequence[_Entry] = ()
        self._taking = threading.Lock()  # between the thread that stores and the one that withdraws
        self._wake = threading.Event()
        self._start_once = threading.Lock()
        self._is_started = False

    def start(self) -> None:
        """Begin to store; a second call does nothing. Not from a callback of the event loop."""
        with self._start_once:
            if not self._is_started:
                self._is_started = True
                for target in (self._store_forever, self._watch_forever):
                    threading.Thread(target=target, name=target.__name__, daemon=True).start()

    @property
    def waiting(self) -> int:
        """How many messages are taken and not yet stored."""
        return len(self._waiting) + len(self._storing)

    def submit(self, draft: Draft, done: Callable[[Outcome], None]) -> None:
        """Take a message and return at once; it is stored once the writer is started.

        Args:
            draft: The message.
            done: Is called once, from the writer's thread: with what was stored after its
                commit and its publication, or with the error that its sender is to be told.
        """
        entry = _Entry(draft, done)
        if len(self._waiting) >= WAITING_MAX:
            self._refuse([entry], Overloaded())
            return
        self._waiting.append(entry)
        self._wake.set()

    def post(self, draft: Draft) -> Stored:
        """Store a message and return when it is committed and published.

        Raises:
            ApiError: It could not be stored, or nobody knows whether it is.
        """
        outcomes: list[Outcome] = []
        is_done = threading.Event()

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            is_done.set()

        self.start()  # where no worker has done it: in tests, and on the command line
        self.submit(draft, done)
        is_done.wait()
        (outcome,) = outcomes
        if isinstance(outcome, ApiError):
            raise outcome
        return outcome

    def finish(self) -> None:
        """Wait until all that was submitted is answered, for `FINISH_SECONDS` at most."""
        deadline = monotonic() + FINISH_SECONDS
        while (self._waiting or self._storing) and monotonic() < deadline:
            sleep(0.01)

    def _store_forever(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._waiting:
                try:
                    self._storing = self._take()
                    self._store(self._storing)
                except Exception as error:
                    # Without this thread every sender would wait in vain.
                    log.exception("defect while messages were stored")
                    self._refuse(self._storing, as_api_error(error))
                finally:
                    self._storing = ()
                # SQLite does not wait, and others want to be served in between.
                sleep(_gather_seconds())

    def _take(self) -> list[_Entry]:
        batch: list[_Entry] = []
        chars = 0
        with self._taking:
            while self._waiting and len(batch) < BATCH_MESSAGES and chars < BATCH_CHARS:
                has_files = bool(self._waiting[0].draft.attachments)
                if batch and has_files:
                    break
                entry = self._waiting.popleft()
                if not entry.is_answered:
                    batch.append(entry)
                    chars += len(entry.draft.content)
                    if has_files:
                        break
        return batch

    def _store(self, batch: Sequence[_Entry]) -> None:
        if not batch:
            return
        began = monotonic()
        try:
            stored = store(self._engine, [entry.draft for entry in batch], utcnow())
        except OutcomeUnknownError:
            # Never again on our own: it could be stored twice. Reconciliation finds it if it was.
            log.warning("the database went away while %d messages were stored", len(batch))
            self._refuse(batch, OutcomeUnknown())
        except Exception as error:
            self._store_failed(batch, error)
        else:
            self.stats.store_seconds += monotonic() - began
            self.stats.batches[len(batch)] += 1
            self._publish_stored(batch, stored)

    def _store_failed(self, batch: Sequence[_Entry], error: Exception) -> None:
        if isinstance(error, SQLAlchemyError) and is_unavailable(error):
            log.warning("%d messages not stored: %s", len(batch), type(error).__name__)
            self._refuse(batch, DatabaseUnavailable())
        elif len(batch) > 1:
            for entry in batch:  # nothing was stored; only the bad message must fail
                self._store([entry])
        else:
            self._refuse(batch, as_api_error(error))

    def _publish_stored(
        self, batch: Sequence[_Entry], stored: Sequence[Stored | Exception]
    ) -> None:
        new = [
            (each.id, each, entry.draft)
            for entry, each in zip(batch, stored, strict=True)
            if isinstance(each, Stored) and each.prev_id is not None
        ]
        new.sort(key=_first)  # some may have been stored by a second attempt
        self.stats.stored += len(new)
        if len(new) < len(stored):
            self.stats.repeated += sum(isinstance(each, Stored) for each in stored) - len(new)
        try:
            self._publish(_publications(new))
            self._note_sent([(each.room_id, draft.user_id, each.id) for _, each, draft in new])
        except Exception:
            log.exception("defect while publishing")  # reconciliation finds the messages
        for entry, each in zip(batch, stored, strict=True):
            if isinstance(each, Stored):
                entry.answer(each)
            elif isinstance(each, OutcomeUnknownError):
                self._refuse([entry], OutcomeUnknown())
            else:
                self._refuse([entry], as_api_error(each))

    def _watch_forever(self) -> None:
        while True:
            sleep(WATCH_SECONDS)
            try:
                self._refuse_late()
            except Exception:
                log.exception("defect while senders were told that the database does not answer")

    def _refuse_late(self) -> None:
        patient_until = monotonic() - PATIENCE_SECONDS
        for entry in tuple(self._storing):
            if entry.since < patient_until:
                self._refuse([entry], OutcomeUnknown())
        withdrawn = []
        with self._taking:
            while self._waiting and self._waiting[0].since < patient_until:
                withdrawn.append(self._waiting.popleft())
        self._refuse(withdrawn, DatabaseUnavailable())  # and nobody will store them

    def _refuse(self, batch: Sequence[_Entry], error: ApiError) -> None:
        for entry in batch:
            if not entry.is_answered:
                self.stats.refused[error.code] += 1
                entry.answer(error)
