"""Who is notified, of what, and who is not; on both databases, through a real push service."""

from collections.abc import Iterator
from datetime import timedelta
from time import monotonic, sleep

import pytest
from flask import Flask
from sqlalchemy import delete, func, select, update

from app.accounts import sessions, settings
from app.accounts.models import Session, User
from app.accounts.sessions import Device
from app.clock import utcnow
from app.database.transactions import reading, writing
from app.messenger import message_changes
from app.messenger.members import Membership
from app.messenger.models import Message, RoomMember
from app.notifications import notifier as notifiers
from app.notifications import subscriptions
from app.notifications.models import PushState, PushSubscription
from app.notifications.notifier import Notifier
from app.services import services
from app.social import blocks
from tests.apps import set_config
from tests.messenger.team import Person, Team
from tests.notifications import phones
from tests.notifications.phones import SECONDS, Phone, PushService


@pytest.fixture
def service() -> Iterator[PushService]:
    with phones.push_service() as service:
        yield service


@pytest.fixture
def team(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Team:
    monkeypatch.setattr(notifiers, "UNREAD_SECONDS", 0.0)
    set_config(app, monkeypatch, PUSH_ALLOW_PRIVATE=True)
    return Team(app)


def notifier_of(team: Team) -> Notifier:
    """Return one more worker's."""
    parts = services(team.app)
    return Notifier(team.engine, parts.presence, parts.config, team.app.app_context)


@pytest.fixture
def notifier(team: Team) -> Notifier:
    return notifier_of(team)


def open_session(person: Person) -> int:
    with person.team.app.app_context(), writing() as connection:
        return sessions.open_session(connection, person.id, Device("", ""))


def subscribe(person: Person, phone: Phone, session_id: int | None = None) -> None:
    with person.team.app.app_context():
        subscriptions.subscribe(person.id, session_id or open_session(person), phone.browser)


def a_pair(team: Team, service: PushService) -> tuple[Person, Person, Membership, Phone]:
    """Return two people, the room of the first one with the second, and the second one's phone."""
    ann, bob = team.people(2)
    phone = service.phone("/bob")
    subscribe(bob, phone)
    return ann, bob, ann.room_with(bob), phone


def look(notifier: Notifier) -> None:
    """Let a worker look for new messages, until all that follows of it is sent."""
    notifier._renew_at = 0.0
    notifier._read()
    notifier._read()  # what it saw the first time is ripe now
    until = monotonic() + SECONDS
    while notifier.queue.settled_to(1 << 62) != 1 << 62:
        assert monotonic() < until
        sleep(0.01)


def settled(team: Team) -> int:
    with reading(team.engine) as connection:
        return connection.scalar(select(PushState.told_to)) or 0


def test_reader_of_a_room_is_notified_of_what_was_not_read(
    team: Team, notifier: Notifier, service: PushService
) -> None:
    ann, _, room, phone = a_pair(team, service)
    subscribe(ann, service.phone("/ann"))
    look(notifier)
    ann.say(room, "Привет!")

    look(notifier)

    (shown,) = phone.wait()
    assert shown == {
        "title": ann.name,
        "body": "Привет!",
        "navigate": f"/chat/{room.room_name}",
        "tag": room.room_name,
    }
    assert phone.requests()[0].headers["urgency"] == "high"
    assert [each.path for each in service.pushed] == ["/bob"]  # the author knows it


def test_message_right_after_the_first_subscription_counts(
    team: Team, notifier: Notifier, service: PushService
) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    ann.say(room, "too early")
    phone = service.phone("/bob")
    subscribe(bob, phone)
    ann.say(room, "hello")

    look(notifier)

    assert [each["body"] for each in phone.wait()] == ["hello"]


def test_group_is_named_and_does_not_wake_a_phone(
    team: Team, notifier: Notifier, service: PushService
) -> None:
    ann, bob, eve = team.people(3)
    room = ann.group(bob, eve, title="Команда")
    first, second = service.phone("/bob"), service.phone("/eve")
    subscribe(bob, first)
    subscribe(eve, second)
    look(notifier)
    ann.say(room, "one")
    ann.say(room, "two " + "long " * 100)

    look(notifier)

    for phone in (first, second):
        (shown,) = phone.wait()
        assert (shown["title"], shown["navigate"]) == ("Команда", f"/chat/{room.room_name}")
        assert shown["body"].startswith(f"{ann.name}: two long")
        assert shown["body"].endswith("…")
        assert phone.requests()[0].headers["urgency"] == "normal"
    topics = {each.headers["topic"] for each in service.pushed}
    assert len(topics) == 1
    assert len(topics.pop()) <= 32  # RFC 8030, section 5.4


def leave_out(team: Team, reason: str, ann: Person, bob: Person, message_id: int) -> None:
    """Give a reason why bob is not notified of what ann has said."""
    room = bob.room_with(ann)
    with team.app.app_context(), writing() as connection:
        of_bob = update(RoomMember).where(
            RoomMember.user_id == bob.id, RoomMember.room_id == room.room_id
        )
        of_message = update(Message).where(Message.id == message_id)
        match reason:
            case "it is read":
                connection.execute(of_bob.values(read_id=message_id))
            case "the room is muted":
                connection.execute(of_bob.values(muted=True))
            case "the room is left":
                connection.execute(of_bob.values(left_id=message_id))
            case "the message is from before the joining":
                connection.execute(of_bob.values(joined_id=message_id + 1))
            case "the message is old":
                old = utcnow() - timedelta(minutes=11)
                connection.execute(of_message.values(timestamp=old))
            case "the session has ended":
                connection.execute(update(Session).values(revoked_at=utcnow()))
            case "the session has expired":
                connection.execute(update(Session).values(expires_at=utcnow()))
            case "the account is deactivated":
                connection.execute(update(User).where(User.id == bob.id).values(is_active=False))
            case "the subscription is taken back":
                connection.execute(delete(PushSubscription))
    match reason:
        case "it is deleted":
            with team.app.app_context():
                message_changes.delete_message(ann.in_room(room.room_name), message_id)
        case "the author is blocked":
            with team.app.app_context():
                blocks.block(bob.id, ann.name)
        case "the author has blocked":
            with team.app.app_context():
                blocks.block(ann.id, bob.name)
        case "the reader looks":
            services(team.app).presence.set_active(bob.id, 1, is_active=True)


REASONS = (
    *("it is read", "the room is muted", "the room is left", "it is deleted"),
    *("the message is from before the joining", "the message is old"),
    *("the session has ended", "the session has expired", "the account is deactivated"),
    *("the subscription is taken back", "the author is blocked", "the author has blocked"),
    "the reader looks",
)


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("is_late", [False, True], ids=["before", "while it waits"])
def test_nobody_is_notified_when(
    team: Team, notifier: Notifier, service: PushService, reason: str, is_late: bool
) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    subscribe(bob, service.phone("/bob"))
    look(notifier)
    message_id = ann.say(room, "hello").id

    if is_late:  # it was found, and waits for a sender
        held: list = []
        notifier._put = held.append  # type: ignore[method-assign]
        look(notifier)
        leave_out(team, reason, ann, bob, message_id)
        assert [notifier._send(job) for job in held] == [None]
    else:
        leave_out(team, reason, ann, bob, message_id)
        look(notifier)

    assert service.pushed == []
    services(team.app).presence.set_active(bob.id, 1, is_active=False)


def test_text_stays_out_where_its_reader_wants_that(
    team: Team, notifier: Notifier, service: PushService
) -> None:
    ann, bob, room, phone = a_pair(team, service)
    with team.app.app_context():
        settings.change_settings(bob.id, {"push_text": "none", "language": "en"})
    look(notifier)
    ann.say(room, "a secret")

    look(notifier)

    (shown,) = phone.wait()
    assert (shown["title"], shown["body"]) == ("Beseda", "There is a new message for you.")


@pytest.mark.parametrize("status", [403, 404, 410])
def test_browser_that_is_gone_is_forgotten(
    team: Team, notifier: Notifier, service: PushService, status: int
) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    gone, kept = service.phone("/gone"), service.phone("/kept")
    service.statuses["/gone"] = [status]
    subscribe(bob, gone)
    subscribe(bob, kept)
    look(notifier)
    ann.say(room, "one")
    look(notifier)
    ann.say(room, "two")

    look(notifier)

    assert (len(gone.requests()), len(kept.wait(2))) == (1, 2)


def test_busy_push_service_is_tried_again_with_what_is_newest(
    team: Team, notifier: Notifier, service: PushService
) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    phone = service.phone("/bob")
    service.statuses["/bob"] = [429, 503, 201]
    service.headers["/bob"] = {"Retry-After": "0"}
    subscribe(bob, phone)
    look(notifier)
    ann.say(room, "one")

    look(notifier)

    assert [each["body"] for each in phone.wait(3)] == ["one", "one", "one"]
    assert notifier.outcomes[notifiers.Outcome.SENT] == 1


def test_next_worker_goes_on_where_the_last_one_was_killed(
    team: Team, service: PushService
) -> None:
    ann, _, room, phone = a_pair(team, service)
    killed, heir = notifier_of(team), notifier_of(team)
    look(killed)
    ann.say(room, "while nobody looks")
    look(heir)
    assert phone.requests() == []  # the lease is the other's
    with writing(team.engine) as connection:
        connection.execute(update(PushState).values(held_until=0))  # half a minute later

    look(heir)
    look(killed)

    assert [each["body"] for each in phone.wait()] == ["while nobody looks"]


def test_worker_that_stops_lets_the_next_one_go_on_at_once(
    team: Team, service: PushService
) -> None:
    ann, _, room, phone = a_pair(team, service)
    leaving, heir = notifier_of(team), notifier_of(team)
    look(leaving)
    first = ann.say(room, "one")
    look(leaving)
    leaving.finish()
    assert settled(team) == first.id
    ann.say(room, "two")

    look(heir)

    assert [each["body"] for each in phone.wait(2)] == ["one", "two"]


def test_what_is_not_sent_yet_is_not_settled(
    team: Team, notifier: Notifier, service: PushService
) -> None:
    ann, bob = team.people(2)
    room = ann.room_with(bob)
    subscribe(bob, service.phone("/bob"))
    look(notifier)
    notifier._put = notifier.queue.put  # type: ignore[method-assign] - there are no senders
    waits = ann.say(room, "waits")
    notifier._renew_at = 0.0
    notifier._read()
    notifier._read()

    notifier.finish()

    assert notifier.queue.waiting == 1
    assert settled(team) < waits.id


def test_many_messages_are_read_in_batches(
    team: Team, notifier: Notifier, service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, _, room, phone = a_pair(team, service)
    look(notifier)
    for number in range(120):
        last = ann.say(room, f"{number}")

    look(notifier)
    notifier.finish()

    assert phone.wait()[-1]["body"] == "119"
    assert settled(team) == last.id


def test_subscriptions_of_ended_sessions_are_deleted(
    team: Team, notifier: Notifier, service: PushService
) -> None:
    (ann,) = team.people(1)
    session_id = open_session(ann)
    subscribe(ann, service.phone("/old"), session_id)
    subscribe(ann, service.phone("/new"))
    with team.app.app_context():
        sessions.revoke(ann.id, session_id)

    look(notifier)
    look(notifier)

    with reading(team.engine) as connection:
        left = connection.scalars(select(PushSubscription.endpoint)).all()
    assert left == [service.phone("/new").endpoint]


def test_hanging_push_service_keeps_nobody_else_waiting(
    team: Team, notifier: Notifier, service: PushService
) -> None:
    ann, *others = team.people(12)
    phones_of = {each.id: service.phone(f"/{each.name}") for each in others}
    for each in others:
        subscribe(each, phones_of[each.id])
    hanging = others[:8]
    service.hanging |= {f"/{each.name}" for each in hanging}
    rooms = {each.id: ann.room_with(each) for each in others}
    notifier._renew_at = 0.0
    notifier._read()
    for each in others:
        ann.say(rooms[each.id], "hello")
    began = monotonic()
    notifier._read()
    notifier._read()

    for each in others[8:]:
        phones_of[each.id].wait()

    assert monotonic() - began < 5.0  # they did not wait for those that hang
    service.closed.set()


def test_nothing_is_written_where_nobody_is_to_be_notified(team: Team, notifier: Notifier) -> None:
    ann, bob = team.people(2)
    ann.say(ann.room_with(bob), "hello")

    look(notifier)

    with reading(team.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(PushState)) == 0
