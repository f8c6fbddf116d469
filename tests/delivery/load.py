"""People who talk while things break, and write down what they see.

They behave as a careful client does: a message has a `client_id` and is sent again under it
until it is echoed; a socket that closed is opened again with the id of the last message that
arrived, after a pause that doubles up to half a second.
"""

import asyncio
import itertools
import random
import secrets
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence, Set
from itertools import combinations
from math import inf
from statistics import quantiles
from time import monotonic
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from app.messenger.chats import UNREAD_MAX
from tests.delivery import machines
from tests.delivery.checker import Ack, History, Message, Said, Socket, check
from tests.factories import Person, make_person

PEOPLE = 3
THINK_SECONDS = 0.02  # between an echo and the next message
RETRY_SECONDS = 0.2  # before a refused message is sent again
BACKOFF_SECONDS = (0.02, 0.5)  # before a socket is opened again: at first, and at most
MESSAGES_MAX = 60_000  # of one load: then the writers fall silent
SETTLE_SECONDS = 20  # at the end, for the last echo, and then for the last message
FICKLE_MESSAGES = 40  # after so many a fickle reader leaves and comes back

UNREACHABLE = "unreachable"  # counted where a client got no answer, not even a refusal


def messages_path(room: str) -> str:
    """Return where the messages of a room are listed and posted."""
    return f"/messenger/api/chatrooms/{quote(room, safe='')}/messages/"


def socket_url(url: str, room: str, after: int | None = None) -> str:
    """Return the WebSocket URL of a room at a server's HTTP URL."""
    query = "" if after is None else f"?after={after}"
    ws_url = url.replace("http", "ws", 1)
    return f"{ws_url}/messenger/ws/ws/chat/{quote(room, safe='')}/{query}"


def frame_of(said: Said) -> str:
    """Return what a client sends to say something."""
    return orjson.dumps({"message": said.content, "client_id": said.client_id}).decode()


def list_messages(person: Person, room: str) -> list[Message]:
    """Return all messages of a room in which nobody edits."""
    return [Message(**each) for each in read_messages(person, room)]


def read_messages(person: Person, room: str) -> list[dict[str, Any]]:
    """Return all messages of a room as they are shown, walked page by page."""
    messages: list[dict[str, Any]] = []
    while True:
        after = messages[-1]["id"] if messages else 0
        answer = person.get(messages_path(room), params={"after": after, "limit": 1000})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        if not page:
            return messages
        messages += page


def shown_quantiles(seconds: Sequence[float]) -> str:
    """Return the median, the 99th percentile and the longest of some times, in milliseconds."""
    if len(seconds) < 2:
        return "no time worth speaking of"
    cuts = [1000 * cut for cut in quantiles(seconds, n=100)]
    longest = 1000 * max(seconds)
    return f"{cuts[49]:.0f} ms (median), {cuts[98]:.0f} ms (99 %), {longest:.0f} ms (longest)"


class Load:
    """A triangle of people with a room for each pair, talking from `with` to its end.

    In each room, each of its two members has a socket that writes and hears, one that only
    hears and one that comes and goes: one of them to where it was, the other to what is said
    from then on. One of them also writes by REST. In a group of all three, messages are sent, edited
    and deleted by REST, and every stream has to know their last versions.

    Args:
        urls: The servers, `http://…`; devices are spread over them, in each room from another on.
        speakers: How many of the devices of a room say something, 1 to 3; the others only hear.

    Attributes:
        owners: A member of each room, by its name.
        notes: The name of the group.
        devices: Who takes part.
        history: What was seen; complete when the block is left.
        refusals: What clients were told instead of an echo: error codes, HTTP statuses, and
            `UNREACHABLE` where there was nobody to tell them anything.
        reasons: Why there was nobody or a refusal by HTTP, and for whom.
        farewells: The codes with which sockets were closed, 1006 where there was none; those
            that their clients left themselves are not among them.
        closers: The URLs of the servers that did so.
        echo_seconds: How long each message took from its last sending to its echo.
        heard_seconds: When a message was said, how long it took to one of the others, and to
            whom: once for each socket that was open when it was said, for what was said only
            once. Answers to the REST writer and echoes to the socket that it was said on are not
            among them.
    """

    def __init__(self, urls: Sequence[str], speakers: int = 3) -> None:
        self.history = History()
        self.refusals: Counter[str | int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.farewells: Counter[int] = Counter()
        self.closers: set[str] = set()
        self.echo_seconds: list[float] = []
        self.heard_seconds: list[tuple[float, float, str]] = []
        self.stream_problems: list[str] = []
        self.is_ending = False
        self._said: dict[str, Said] = {}
        self._numbers = itertools.count(1)
        self._stem = secrets.token_hex(3)
        self._people = people = [make_person(urls[0]) for _ in range(PEOPLE)]
        self.owners: dict[str, Person] = {}
        self.devices: list[Device] = []
        for place, (one, other) in enumerate(combinations(people, 2)):
            spread = itertools.cycle([*urls[place % len(urls) :], *urls[: place % len(urls)]])
            room = one.open_room(other)["name"]
            self.owners[room] = one
            if speakers == 3:
                self.devices.append(RestWriter(self, next(spread), one, room))
            for number, person in enumerate((one, other), start=1):
                kind = SocketWriter if number <= speakers else Ear
                self.devices.append(kind(self, next(spread), person, room, after=0))
                self.devices.append(Ear(self, next(spread), person, room))
            self.devices.append(FickleEar(self, next(spread), one, room, after=0))
            self.devices.append(ForgetfulEar(self, next(spread), other, room))
            self.devices.append(StreamEar(self, next(spread), one, room, after=0))
            self.devices.append(FickleStreamEar(self, next(spread), other, room, after=0))
        titled = {"title": "Notes", "members": [person.username for person in people[1:]]}
        made = people[0].post("/messenger/api/groups/", titled)
        assert made.status_code == 201, made.text
        self.notes: str = made.json()["name"]
        for place, person in enumerate(people[:2]):
            self.devices.append(Editor(self, urls[place % len(urls)], person, self.notes))
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            self._call(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            for person in self._people:
                person.http.close()

    # What a test adds, and waits for

    def add(self, device: "Device") -> None:
        """Let one more device take part."""
        self.devices.append(device)
        self._call(self._begin(device))

    def redial(self, *, resets: bool = False) -> None:
        """Let everybody leave without a close frame and come back."""
        for device in self.ears:
            self._loop.call_soon_threadsafe(device.hang_up, resets)

    @property
    def ears(self) -> list["Ear"]:
        """The devices with sockets."""
        return [each for each in self.devices if isinstance(each, Ear)]

    def wait_until_live(self, seconds: float, url: str | None = None) -> float:
        """Wait until every device has heard, or got stored, something that was said from now on.

        Args:
            seconds: How long that may take, with patience; it is part of the promise.
            url: Look at the devices of this server only; None: of all.

        Returns:
            How long it took.
        """
        since = monotonic()
        devices = [each for each in self.devices if url in (None, each.url)]
        deaf = self.wait(
            lambda: [each for each in devices if each.freshest <= since],
            seconds * machines.patience,
        )
        assert not deaf, f"not live again within {seconds} s: {', '.join(map(str, deaf))}"
        return monotonic() - since

    def wait_until_busy(self, messages: int = 200) -> None:
        """Wait until everybody is there and has said and heard something."""
        self.wait_until_live(SETTLE_SECONDS)
        enough = len(self.history.acks) + messages
        missing = self.wait(lambda: len(self.history.acks) < enough, SETTLE_SECONDS)
        assert not missing, f"{len(self.history.acks)} messages in {SETTLE_SECONDS} s"

    def wait(self, what_is_missing: Callable[[], Any], seconds: float) -> Any:
        """Wait until nothing is missing any more; return what is missing at the end."""
        deadline = monotonic() + seconds
        while (missing := what_is_missing()) and monotonic() < deadline:
            self._raise_failures()
            time.sleep(0.02)
        return missing

    # What a test asks in the end

    def problems(
        self, *, excuses: Set[str | int] = frozenset(), farewells: Set[int] = frozenset()
    ) -> list[str]:
        """Return what went wrong: broken promises, and answers that nobody should get.

        Args:
            excuses: Refusals that may have happened.
            farewells: Codes with which sockets may have been closed.
        """
        unexcused = {code: times for code, times in self.refusals.items() if code not in excuses}
        rude = {code: times for code, times in self.farewells.items() if code not in farewells}
        return [
            *map(str, check(self.history)),
            *self.stream_problems,
            *(f"refused with {code}: {times} times" for code, times in unexcused.items()),
            *(f"  {times} of {why}" for why, times in self.reasons.items() if unexcused),
            *(f"closed with {code}: {times} times" for code, times in rude.items()),
        ]

    def on_text(self, since: float = 0.0, until: float = inf) -> list[float]:
        """Return how many seconds messages took to those who had sockets open.

        Args:
            since: The messages said from this time on, by `time.monotonic`,
            until: and before this one.
        """
        return [seconds for said_at, seconds, _ in self.heard_seconds if since <= said_at < until]

    def report(self) -> str:
        """Return, in one line, how much was said and how long it took to come back and to come."""
        return (
            f"{len(self.history.acks)} messages, {len(self.history.sockets)} sockets,"
            f" echo in {shown_quantiles(self.echo_seconds)}, heard in {shown_quantiles(self.on_text())};"
            f" refusals {dict(self.refusals)}, farewells {dict(self.farewells)}"
        )

    # What devices tell

    def new_message(self, room: str, user: str) -> Said | None:
        """Return something to say, or None when enough has been said."""
        number = next(self._numbers)
        if self.is_ending or number > MESSAGES_MAX:
            return None
        client_id = f"{self._stem}-{number}"
        said = Said(room, user, client_id, f"Сообщение {number}", monotonic(), times=0)
        self._said[client_id] = said
        self.history.said.append(said)
        return said

    def note_heard(self, view: Socket, message: Message) -> float:
        """Take note that a message came to a socket, now.

        Returns:
            When it was first said; long ago, if nobody knows.
        """
        said = self._said.get(message.client_id)
        if said is None:
            return 0.0
        is_live = view.opened_at < said.first_at and said.times == 1
        if is_live and not view.said[message.client_id]:
            seconds = monotonic() - said.first_at
            self.heard_seconds.append((said.first_at, seconds, view.reader))
        return said.first_at

    # The end

    def _finish(self) -> None:
        self.is_ending = True
        writers = [each for each in self.devices if isinstance(each, Writer)]
        unheard = self.wait(lambda: [each for each in writers if each.pending], SETTLE_SECONDS)
        assert not unheard, f"never echoed: {', '.join(map(str, unheard))}"
        editors = [each for each in self.devices if isinstance(each, Editor)]
        busy = self.wait(lambda: [each for each in editors if each.is_busy], SETTLE_SECONDS)
        assert not busy, f"never answered: {', '.join(map(str, busy))}"
        # The last word of each room: sockets are ordered, so when it has come, all has.
        last = {room: self._say_last(room) for room in self.owners}
        self.wait(
            lambda: [each for each in self.ears if (each.after or 0) < last[each.room]],
            SETTLE_SECONDS,
        )
        absent = self.wait(lambda: [each for each in self.ears if not each.is_open], 2)
        assert not absent, f"did not come back: {', '.join(map(str, absent))}"
        self.history.stored = {
            room: list_messages(owner, room) for room, owner in self.owners.items()
        }
        streams = [each for each in self.devices if isinstance(each, StreamEar)]
        notes = {each["id"]: each["content"] for each in read_messages(self._people[0], self.notes)}
        for device in streams:
            self.wait(lambda device=device: device.notes != notes, SETTLE_SECONDS)
            if device.notes != notes:
                wrong = dict(device.notes.items() ^ notes.items())
                self.stream_problems.append(f"{device}: other notes than stored: {wrong}")
            self.stream_problems += [*device.problems, *self._wrong_unread(device)]
        changes = Counter[str]()
        for editor in editors:
            changes += editor.done
        # A load that edits and deletes nothing would be right as well.
        if sum(changes.values()) >= 10 * len(editors):
            assert changes["PATCH"], changes
            assert changes["DELETE"], changes

    def _wrong_unread(self, device: "StreamEar") -> list[str]:
        # Marks are stored some time after what they mark.
        def wrong() -> str | None:
            stored = {
                chat["name"]: chat["unread"]
                for chat in device.person.get("/messenger/api/chats/").json()
            }
            for room in (device.room, self.notes):
                unread = min(device.unread[room], UNREAD_MAX)
                if unread != stored[room]:
                    return f"{device}: {unread} unread in {room}, not {stored[room]}"
            return None

        problem = self.wait(wrong, SETTLE_SECONDS)
        return [problem] if problem else []

    def _say_last(self, room: str) -> int:
        owner = self.owners[room]
        client_id = f"{self._stem}-last"
        said = Said(room, owner.username, client_id, "Конец", monotonic())
        self.history.said.append(said)
        answer = owner.post(messages_path(room), {"content": said.content, "client_id": client_id})
        assert answer.status_code == 201, answer.text
        message = Message(**answer.json())
        self.history.acks.append(Ack(room, message, monotonic()))
        return message.id

    # The thread

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _start(self) -> None:
        for device in self.devices:
            await self._begin(device)

    async def _begin(self, device: "Device") -> None:
        self._tasks.append(asyncio.create_task(device.run()))

    async def _stop(self) -> None:
        for device in self.devices:
            device.is_leaving = True  # what closes from here on is our own doing
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _raise_failures(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()


class Device:
    """A program of one person that takes part in one room.

    Attributes:
        url: The server that it talks to.
        freshest: When the newest thing was first said that this device knows to be stored.
        is_leaving: Whether it goes for good.
    """

    def __init__(self, load: Load, url: str, person: Person, room: str) -> None:
        self._load = load
        self.url = url
        self._person = person
        self.room = room
        self.user = person.username
        self.freshest = 0.0
        self.is_leaving = False

    async def run(self) -> None:
        """Take part until cancelled."""
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{type(self).__name__} of {self.user} in {self.room}"

    def _note_unreachable(self, error: Exception) -> None:
        self._load.refusals[UNREACHABLE] += 1
        self._load.reasons[f"{type(self).__name__}: {error!r}, {error.__cause__!r}"] += 1

    def _note_refused(self, status: int, body: bytes | None) -> None:
        self._load.refusals[status] += 1
        self._load.reasons[f"{type(self).__name__}: {status} {(body or b'').decode()}"] += 1

    def _note_ack(self, message: Message, sent_at: float) -> None:
        now = monotonic()
        self._load.history.acks.append(Ack(self.room, message, now))
        self._load.echo_seconds.append(now - sent_at)


class Writer(Device):
    """A device that says something.

    Attributes:
        pending: What it has said and not seen stored yet.
    """

    pending: Said | None = None

    def _next(self) -> Said | None:
        self.pending = self.pending or self._load.new_message(self.room, self.user)
        if self.pending is not None:
            self.pending.times += 1
        return self.pending


class RestWriter(Writer):
    """Posts over HTTP, one message after the other."""

    async def run(self) -> None:
        async with httpx.AsyncClient(
            base_url=self.url, headers=self._person.bearer, timeout=30
        ) as http:
            while said := self._next():
                await asyncio.sleep(await self._post(http, said))

    async def _post(self, http: httpx.AsyncClient, said: Said) -> float:
        sent_at = monotonic()
        body = {"content": said.content, "client_id": said.client_id}
        try:
            answer = await http.post(messages_path(self.room), json=body)
        except httpx.TransportError as error:
            self._note_unreachable(error)
            return RETRY_SECONDS
        if answer.status_code not in (200, 201):
            self._note_refused(answer.status_code, answer.content)
            return RETRY_SECONDS
        message = Message(**answer.json())
        self._note_ack(message, sent_at)
        self.freshest = max(self.freshest, said.first_at)
        self.pending = None
        return THINK_SECONDS


class Ear(Device):
    """Hears what is said in its room, and comes back with `?after` when its socket closes.

    Args:
        load: Who takes notes.
        url: The server.
        person: Whose it is.
        room: Where.
        after: Where it begins; None: now.
        options: More for `websockets.connect`.

    Attributes:
        after: The last message that it has.
        is_open: Whether it has a socket at the moment.
    """

    def __init__(
        self,
        load: Load,
        url: str,
        person: Person,
        room: str,
        after: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(load, url, person, room)
        self.after = after
        self.is_open = False
        self._ws: ClientConnection | None = None
        self._options = options
        self._name = f"{self} {secrets.token_hex(2)}"

    async def run(self) -> None:
        backoff, backoff_most = BACKOFF_SECONDS
        while True:
            opened = await self._stay()
            backoff = BACKOFF_SECONDS[0] if opened else min(2 * backoff, backoff_most)
            await asyncio.sleep(backoff)

    async def _stay(self) -> bool:
        # Opens a socket and keeps it as long as it lasts; tells whether it opened.
        dialed_at = monotonic()
        try:
            ws = await connect(
                self._address(),
                additional_headers=self._person.bearer,
                compression=None,
                ping_interval=None,
                open_timeout=10,
                close_timeout=1,
                proxy=None,
                **self._options,
            )
        except InvalidStatus as error:
            self._note_refused(error.response.status_code, error.response.body)
            return False
        except (OSError, TimeoutError, InvalidMessage, EOFError) as error:
            self._note_unreachable(error)
            return False
        view = Socket(self._name, self.user, self.room, self.after, dialed_at, monotonic())
        self._load.history.sockets.append(view)
        self._ws = ws
        self.is_open = view.is_open = True
        try:
            await self._live(ws, view)
        except ConnectionClosed:
            if self._ws and not self.is_leaving:
                self._load.farewells[int(ws.close_code or 1006)] += 1
                self._load.closers.add(self.url)
        finally:
            self._ws = None
            if not self.is_leaving:
                self.is_open = view.is_open = False
            await ws.close()
        return True

    def _address(self) -> str:
        return socket_url(self.url, self.room, self.after)

    def hang_up(self, resets: bool = False) -> None:
        """Leave without a close frame; `run` comes back.

        Args:
            resets: With an RST, as a host does that went down and came back.
        """
        if self._ws:
            ws, self._ws = self._ws, None  # how this one ends is our own doing
            if resets:
                no_time = struct.pack("ii", 1, 0)
                end = ws.transport.get_extra_info("socket")
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_time)
            ws.transport.abort()

    @property
    def port(self) -> int | None:
        """Our own port, by which the socket is found at the other end."""
        name = self._ws and self._ws.transport.get_extra_info("sockname")
        return name[1] if name else None

    async def _live(self, ws: ClientConnection, view: Socket) -> None:
        while True:
            self._hear(view, await ws.recv())

    def _hear(self, view: Socket, text: str | bytes) -> None:
        frame = orjson.loads(text)
        if frame["id"] is None:
            error = frame["error"]
            self._load.refusals[error["code"]] += 1
            self._refused(error.get("client_id"))
            return
        message = Message(**frame)
        view.received.append(message)
        self.after = max(self.after or 0, message.id)
        self.freshest = max(self.freshest, self._load.note_heard(view, message))
        self._heard(message)

    def _heard(self, message: Message) -> None:
        """Learn of a message."""

    def _refused(self, client_id: str | None) -> None:
        """Learn of an error frame."""


class FickleEar(Ear):
    """Leaves every now and then without a close frame, and comes back to where it was."""

    async def _live(self, ws: ClientConnection, view: Socket) -> None:
        while len(view.received) < FICKLE_MESSAGES or self._load.is_ending:
            self._hear(view, await ws.recv())
        self.hang_up()


class ForgetfulEar(FickleEar):
    """Leaves every now and then, and comes back to hear what is said from then on."""

    async def _stay(self) -> bool:
        if not self._load.is_ending:
            self.after = None
        return await super()._stay()


class Editor(Device):
    """Sends, edits and deletes messages of a group by REST, each again until it is answered.

    Attributes:
        is_busy: Whether it does something still.
        done: What it has done, by method.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.is_busy = True
        self.done: Counter[str] = Counter()
        self._own: list[int] = []

    async def run(self) -> None:
        chance = random.Random(str(self))
        path = messages_path(self.room)
        async with httpx.AsyncClient(
            base_url=self.url, headers=self._person.bearer, timeout=30
        ) as http:
            for number in itertools.count():
                if self._load.is_ending:
                    break
                method = chance.choice(["POST", "PATCH", "DELETE"]) if self._own else "POST"
                target, body = path, {"content": f"{method} {number}"}
                if method == "POST":
                    body["client_id"] = f"{self.user}-{number}"
                else:
                    message_id = chance.choice(self._own)
                    target = f"{path}{message_id}/"
                began = monotonic()
                answer = await self._ask(http, method, target, body)
                self.freshest = began
                if method == "POST":
                    self._own.append(answer.json()["id"])
                elif method == "DELETE":
                    self._own.remove(message_id)
                self.done[method] += 1
                await asyncio.sleep(2 * THINK_SECONDS)
        self.is_busy = False

    async def _ask(
        self, http: httpx.AsyncClient, method: str, path: str, body: dict[str, str]
    ) -> httpx.Response:
        while True:
            try:
                answer = await http.request(method, path, json=None if method == "DELETE" else body)
            except httpx.TransportError as error:
                self._note_unreachable(error)
            else:
                if answer.status_code in (200, 201, 204):
                    return answer
                self._note_refused(answer.status_code, answer.content)
            await asyncio.sleep(RETRY_SECONDS)


class StreamEar(Ear):
    """Hears of one room on the stream of its user, and comes back with the last event id.

    Attributes:
        event_id: The last event that it has.
        unread: What it takes for unread in its room and the group, all of which it hears.
        notes: The messages of the group.
        problems: What no stream may do.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.event_id = 0
        self.unread: Counter[str] = Counter()
        self.notes: dict[int, str] = {}
        self._read_id = 0  # in the group
        self._counted_to = 0  # the event id of the number of unread messages in the group
        self._authors: dict[int, str] = {}
        self.problems: list[str] = []

    @property
    def person(self) -> Person:
        """Whose stream it is."""
        return self._person

    def _address(self) -> str:
        return f"{self.url.replace('http', 'ws', 1)}/messenger/ws/events/?after={self.event_id}"

    def _hear(self, view: Socket, text: str | bytes) -> None:
        frame = orjson.loads(text)
        kind = frame["type"]
        if kind == "reset":
            self.problems.append(f"{self}: {frame}")
        is_event = kind not in ("hello", "ready", "beat", "typing", "presence", "reset")
        if is_event and frame["id"] <= self.event_id:
            self.problems.append(f"{self}: {frame} after {self.event_id}")
        if "id" in frame:
            self.event_id = max(self.event_id, frame["id"])
        room = frame.get("room")
        if kind == "read" and "unread" in frame and room in (self.room, self._load.notes):
            self.unread[room] = frame["unread"]
        if room == self._load.notes:
            self._hear_note(kind, frame)
        elif room == self.room and kind == "message":
            self._hear_message(view, Message(**frame["message"]))

    def _hear_note(self, kind: str, frame: dict[str, Any]) -> None:
        if kind == "read" and "unread" in frame:
            self._read_id, self._counted_to = frame["read_id"], frame["id"]
        if not kind.startswith("message"):
            return
        note = frame["message"]
        is_held = note["id"] in self.notes
        if kind == "message_deleted":
            self.notes.pop(note["id"], None)
            # One that came and went during an absence is in the number, or it never was.
            is_of_others = self._authors.get(note["id"]) != self.user
            was_counted = is_of_others if is_held else note["id"] <= self._counted_to
            if was_counted and note["id"] > self._read_id:
                self.unread[frame["room"]] -= 1
        elif kind == "message" and is_held:
            self.problems.append(f"{self}: {frame} again")
        elif kind == "message" or is_held:
            self.notes[note["id"]] = note["content"]
            self._authors[note["id"]] = note["user"]
            if kind == "message" and note["user"] != self.user and note["id"] > self._read_id:
                self.unread[frame["room"]] += 1

    def _hear_message(self, view: Socket, message: Message) -> None:
        view.received.append(message)
        self.after = max(self.after or 0, message.id)
        self.freshest = max(self.freshest, self._load.note_heard(view, message))
        if message.user != self.user:
            self.unread[self.room] += 1


class FickleStreamEar(StreamEar):
    """Leaves every now and then without a close frame, and comes back to where it was."""

    async def _live(self, ws: ClientConnection, view: Socket) -> None:
        while len(view.received) < FICKLE_MESSAGES or self._load.is_ending:
            self._hear(view, await ws.recv())
        self.hang_up()


class SocketWriter(Ear, Writer):
    """Says something, waits for its echo, and says the next."""

    _outcome: "asyncio.Future[float]"  # how long to pause after it

    async def _live(self, ws: ClientConnection, view: Socket) -> None:
        writing = asyncio.create_task(self._write(ws, view))
        try:
            await super()._live(ws, view)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, ws: ClientConnection, view: Socket) -> None:
        while said := self._next():
            view.said[said.client_id] += 1
            self._outcome = asyncio.get_running_loop().create_future()
            self._sent_at = monotonic()
            await ws.send(frame_of(said))
            await asyncio.sleep(await self._outcome)

    def _heard(self, message: Message) -> None:
        said = self.pending
        if said and message.user == self.user and message.client_id == said.client_id:
            # Also before it could be repeated: whatever socket it was sent on, it is stored.
            self._note_ack(message, self._sent_at)
            self.pending = None
            if not self._outcome.done():
                self._outcome.set_result(THINK_SECONDS)

    def _refused(self, client_id: str | None) -> None:
        if self.pending and client_id == self.pending.client_id and not self._outcome.done():
            self._outcome.set_result(RETRY_SECONDS)


class Flood(Ear, Writer):
    """Says much without waiting for echoes.

    Attributes:
        unheard: What it has said and not heard yet, by `client_id`.
    """

    def __init__(self, load: Load, url: str, person: Person, room: str, messages: int) -> None:
        super().__init__(load, url, person, room, after=0)
        self.unheard = {
            said.client_id: said
            for _ in range(messages)
            if (said := load.new_message(room, self.user))
        }

    async def _live(self, ws: ClientConnection, view: Socket) -> None:
        pouring = asyncio.create_task(self._pour(ws, view))
        try:
            await super()._live(ws, view)
        finally:
            pouring.cancel()
            await asyncio.gather(pouring, return_exceptions=True)

    async def _pour(self, ws: ClientConnection, view: Socket) -> None:
        self._sent_at = monotonic()
        for said in tuple(self.unheard.values()):
            if not said.times:
                said.first_at = monotonic()  # it was only thought of so far
            said.times += 1
            view.said[said.client_id] += 1
            await ws.send(frame_of(said))

    def _heard(self, message: Message) -> None:
        if self.unheard.pop(message.client_id, None):
            self._note_ack(message, self._sent_at)
