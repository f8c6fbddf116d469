"""Notifies people who do not look: joins the reader, the queue and the push services."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from time import monotonic, sleep

from sqlalchemy import Engine, select

from app.clock import utcnow
from app.database.errors import is_unavailable
from app.database.transactions import reading, writing
from app.http.errors import Overloaded
from app.messenger.presence import Presence
from app.notifications import push_service
from app.notifications.contents import Notice, body_of, test_body, topic_of
from app.notifications.keys import ServerKey
from app.notifications.models import PushSubscription
from app.notifications.push_service import Browser, Outcome, Result
from app.notifications.queue import Job, JobQueue
from app.notifications.reader import Lease, find_due, is_needed, newest_id, read_batch
from app.notifications.subscriptions import delete_all, delete_of_ended_sessions
from app.threads import give_way
from config import Config

log = logging.getLogger(__name__)

SENDERS = 16  # notifications that are sent at a time
PAUSE_SECONDS = 1.0  # between two looks for new messages
UNREAD_SECONDS = 5.0  # who has not read a message after so long is notified
STALE = timedelta(minutes=10)  # what is older interests nobody any more
RENEW_SECONDS = 10.0  # between two times that the lease is renewed


class Notifier:
    """What one worker does about notifications.

    Args:
        engine: The database.
        presence: Knows who looks at the moment.
        config: The settings.
        context: The context of the application, in which sentences are translated.
    """

    def __init__(
        self,
        engine: Engine,
        presence: Presence,
        config: Config,
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.key = ServerKey(config.JWT_SECRET_KEY.get_secret_value().encode(), config.contact_url)
        self.outcomes: Counter[Outcome] = Counter()
        self.queue = JobQueue()
        self._engine = engine
        self._presence = presence
        self._config = config
        self._site = (config.PUBLIC_URL or "").rstrip("/")
        self._context = context
        self._lease = Lease()
        self._renew_at = 0.0
        self._read_to: int | None = None  # None: another worker reads
        self._seen: deque[tuple[float, int]] = deque()  # when a message was the newest one
        self._start_once = threading.Lock()
        self._is_started = False

    def start(self) -> None:
        """Begin to look for messages that nobody reads."""
        threading.Thread(target=self._read_forever, name="push reader", daemon=True).start()

    def finish(self) -> None:
        """Let another worker go on where this one stops."""
        if self._read_to is None:
            return
        try:
            with writing(self._engine) as connection:
                self._lease.settle(connection, self.queue.settled_to(self._read_to))
                self._lease.release(connection)
        except Exception as error:
            if not is_unavailable(error):
                log.exception("push: the lease could not be released")
            # The next reader waits until it runs out.

    def send_test(self, user_id: int, language: str) -> None:
        """Send a notification to all browsers of a user.

        Raises:
            Overloaded: Too many notifications wait.
        """
        if not self.queue.has_room:
            raise Overloaded
        query = select(
            PushSubscription.id,
            PushSubscription.endpoint,
            PushSubscription.p256dh,
            PushSubscription.auth,
        ).where(PushSubscription.user_id == user_id)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        body = test_body(language, self._site)
        for subscription_id, *of_browser in rows:
            self._put(Job(subscription_id, user_id, test=(Browser(*of_browser), body)))

    # Reading

    def _read_forever(self) -> None:
        is_away = False
        while True:
            sleep(PAUSE_SECONDS)
            try:
                self._read()
                is_away = False
            except Exception as error:
                if not is_unavailable(error):
                    log.exception("push: messages could not be read")
                elif not is_away:
                    log.warning("push: notifications wait for the database")
                is_away = is_unavailable(error)

    def _read(self) -> None:
        with reading(self._engine) as connection:
            if self._read_to is None and not is_needed(connection):
                return
            newest = newest_id(connection)
        now = monotonic()
        if now >= self._renew_at:
            self._renew(now)
        if self._read_to is None:
            return
        # By this machine's clock, and not by the time that the message carries, because clocks of
        # machines differ.
        self._seen.append((now, newest))
        while len(self._seen) > 1 and self._seen[1][0] <= now - UNREAD_SECONDS:
            self._seen.popleft()
        seen_at, ripe = self._seen[0]
        if seen_at > now - UNREAD_SECONDS:
            return
        while self._read_to < ripe and self.queue.has_room:
            self._read_to = self._read_batch(self._read_to, ripe)
            give_way()  # let the worker do what waits

    def _renew(self, now: float) -> None:
        with writing(self._engine) as connection:
            told_to = self._lease.take(connection)
            if told_to is not None and self._read_to is not None:
                self._lease.settle(connection, self.queue.settled_to(self._read_to))
                delete_of_ended_sessions(connection)
        self._renew_at = now + RENEW_SECONDS
        if told_to is None:
            self._read_to = None
            self.queue.clear()
        elif self._read_to is None:
            self._read_to = told_to
            self._seen.clear()

    def _read_batch(self, after: int, upto: int) -> int:
        with reading(self._engine) as connection:
            read_to, jobs = read_batch(connection, after, upto, utcnow() - STALE)
        for job in jobs:
            if not self._presence.is_online(job.user_id):
                self._put(job)
        return read_to

    # Sending

    def _put(self, job: Job) -> None:
        with self._start_once:
            if not self._is_started:  # in the process that uses them: threads survive no fork
                self._is_started = True
                for _ in range(SENDERS):
                    threading.Thread(target=self._send_forever, name="push", daemon=True).start()
        self.queue.put(job)

    def _send_forever(self) -> None:
        while True:
            job = self.queue.take()
            try:
                result = self._send(job)
            except Exception as error:
                if not is_unavailable(error):
                    log.exception("push: a notification could not be sent")
                result = Result(Outcome.LATER if is_unavailable(error) else Outcome.FAILED)
            self._note(job, result)

    def _send(self, job: Job) -> Result | None:
        if job.test is not None:
            browser, body = job.test
            return self._send_to(browser, body, "test", is_urgent=True)
        if self._presence.is_online(job.user_id):
            return None
        now = utcnow()
        with reading(self._engine) as connection:
            due = find_due(connection, job, now, now - STALE)
        if due is None:
            return None
        notice = Notice(
            room=due.room,
            title=due.title,
            author=due.author,
            content=due.content,
            is_hidden=due.push_text == "none",
            language=due.language or self._config.LANGUAGE,
        )
        with self._context():
            body = body_of(notice, self._site)
        browser = Browser(due.endpoint, due.p256dh, due.auth)
        return self._send_to(browser, body, topic_of(job.room_id), is_urgent=due.kind == "pair")

    def _send_to(self, browser: Browser, body: bytes, topic: str, *, is_urgent: bool) -> Result:
        return push_service.send(
            browser,
            body,
            self.key,
            topic=topic,
            is_urgent=is_urgent,
            allow_private=self._config.PUSH_ALLOW_PRIVATE,
        )

    def _note(self, job: Job, result: Result | None) -> None:
        if result is None:  # there was nothing to send any more
            self.queue.done(job, is_good=False)
            return
        outcome = result.outcome
        if outcome is Outcome.LATER and self.queue.failed(job, result.retry_seconds):
            return
        self.outcomes[outcome] += 1
        if outcome is not Outcome.LATER:
            self.queue.done(job, is_good=outcome is Outcome.SENT)
        if outcome is Outcome.GONE:
            self._delete(job.subscription_id)
        log.info(
            "push: a notification was %s", outcome.name.lower(), extra={"user_id": job.user_id}
        )

    def _delete(self, subscription_id: int) -> None:
        try:
            with writing(self._engine) as connection:
                delete_all(connection, [subscription_id])
        except Exception as error:
            if not is_unavailable(error):
                log.exception("push: a subscription could not be deleted")
            # The next notification finds it gone once more.
