"""The checker finds what it is there to find, and nothing in histories that are right."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.delivery.checker import Ack, History, Message, Rule, Said, Socket, check

ROOM = "ann_bob"


def message(message_id: int, user: str = "ann") -> Message:
    return Message(
        message_id, user, f"text {message_id}", "2024-12-12T10:00:00Z", f"key {message_id}"
    )


def kept() -> History:
    """Five messages, said and acknowledged one after the other, 1 before and 2 to 5 after
    three sockets were opened: one live, one from the beginning, one that came back."""
    messages = [message(number) for number in range(1, 6)]
    return History(
        said=[Said(ROOM, "ann", each.client_id, each.content, each.id * 10) for each in messages],
        acks=[Ack(ROOM, each, each.id * 10 + 5) for each in messages],
        sockets=[
            Socket("live", "bob", ROOM, None, 16, 17, is_open=True, received=messages[1:]),
            Socket("all", "bob", ROOM, 0, 16, 17, is_open=True, received=messages[:]),
            Socket("back", "bob", ROOM, 0, 1, 2, received=messages[:2]),
            Socket("back", "bob", ROOM, 2, 31, 32, is_open=True, received=messages[2:]),
        ],
        stored={ROOM: messages[:]},
    )


def live(history: History) -> Socket:
    return history.sockets[0]


def resumed(history: History) -> Socket:
    return history.sockets[-1]


def said_again(history: History, socket: Socket, message_id: int) -> None:
    """Let a message be said a second time on a socket, and be answered there."""
    history.said[message_id - 1].times += 1
    socket.user = "ann"
    socket.said[f"key {message_id}"] += 1


# Histories that are right


def nothing_special(history: History) -> None:
    pass


def closed_early(history: History) -> None:
    live(history).is_open = False
    del live(history).received[2:]


def opened_while_somebody_spoke(history: History) -> None:
    # 3 was said before the 101 and acknowledged after the dialing: either is right.
    socket = Socket("between", "bob", ROOM, None, 31, 32, is_open=True)
    socket.received = history.stored[ROOM][3:]
    history.sockets.append(socket)


def repeat_is_answered(history: History) -> None:
    said_again(history, live(history), 4)
    live(history).received.insert(3, message(4))


def repeat_of_something_old_is_answered(history: History) -> None:
    said_again(history, live(history), 1)
    live(history).received.insert(2, message(1))


def repeat_is_answered_first(history: History) -> None:
    said_again(history, live(history), 1)
    live(history).received.insert(0, message(1))


def said_but_refused(history: History) -> None:
    history.said.append(Said(ROOM, "ann", "key 9", "text 9", 70))


def stored_but_never_acknowledged(history: History) -> None:
    history.acks.pop()


def heard_nothing_and_left(history: History) -> None:
    history.sockets.append(Socket("short", "bob", ROOM, None, 16, 17))


@pytest.mark.parametrize(
    "alter",
    [
        nothing_special,
        closed_early,
        opened_while_somebody_spoke,
        repeat_is_answered,
        repeat_of_something_old_is_answered,
        repeat_is_answered_first,
        said_but_refused,
        stored_but_never_acknowledged,
        heard_nothing_and_left,
    ],
)
def test_history_that_is_right_passes(alter: Callable[[History], None]) -> None:
    history = kept()

    alter(history)

    assert check(history) == []


# Histories that are wrong


def newest_lost(history: History) -> None:
    live(history).received.pop()


def all_lost(history: History) -> None:
    live(history).received.clear()


def first_after_the_101_lost(history: History) -> None:
    live(history).received.pop(0)


def one_between_lost(history: History) -> None:
    live(history).received.pop(1)


def lost_by_a_socket_that_closed(history: History) -> None:
    live(history).is_open = False
    live(history).received.pop(1)


def first_after_resume_lost(history: History) -> None:
    resumed(history).received.pop(0)


def doubled(history: History) -> None:
    live(history).received.insert(2, message(3))


def doubled_to_its_sender(history: History) -> None:
    live(history).user = "ann"
    live(history).said["key 3"] = 1
    live(history).received.insert(2, message(3))


def answered_twice(history: History) -> None:
    said_again(history, live(history), 3)
    live(history).received[2:2] = [message(3), message(3)]


def answered_to_another(history: History) -> None:
    said_again(history, resumed(history), 3)
    live(history).received.insert(2, message(3))


def doubled_over_a_resume(history: History) -> None:
    resumed(history).received.insert(0, message(2))


def swapped(history: History) -> None:
    received = live(history).received
    received[1], received[2] = received[2], received[1]


def answer_overtakes(history: History) -> None:
    said_again(history, live(history), 5)
    live(history).received.insert(1, message(5))


def acknowledged_only(history: History) -> None:
    history.acks.append(Ack(ROOM, message(6), 70))


def acknowledged_otherwise(history: History) -> None:
    history.acks[-1] = Ack(ROOM, message(5)._replace(content="else"), 55)


def stored_twice(history: History) -> None:
    again = message(6)._replace(content="text 5", client_id="key 5")
    history.stored[ROOM].append(again)
    for socket in (*history.sockets[:2], resumed(history)):
        socket.received.append(again)


def stored_unsaid(history: History) -> None:
    history.said.pop(0)


def stored_altered(history: History) -> None:
    history.said[0].content = "something else"


def delivered_only(history: History) -> None:
    live(history).received.append(message(6))


def delivered_altered(history: History) -> None:
    live(history).received[1] = message(3)._replace(content="text")


def old_one_without_after(history: History) -> None:
    live(history).received.insert(0, message(1))


def old_one_with_after(history: History) -> None:
    resumed(history).received.insert(0, message(1))


def listed_in_disorder(history: History) -> None:
    history.stored[ROOM].reverse()


def committed_in_disorder(history: History) -> None:
    history.said[0].first_at = 60


def resumed_elsewhere(history: History) -> None:
    resumed(history).after = 1
    resumed(history).received.insert(0, message(2))


@pytest.mark.parametrize(
    ("alter", "rules"),
    [
        (newest_lost, {Rule.LOST: 1}),
        (all_lost, {Rule.LOST: 4}),
        (first_after_the_101_lost, {Rule.GAP: 1}),
        (one_between_lost, {Rule.GAP: 1}),
        (lost_by_a_socket_that_closed, {Rule.GAP: 1}),
        (first_after_resume_lost, {Rule.GAP_AFTER_RESUME: 1}),
        (doubled, {Rule.DOUBLED: 1}),
        (doubled_to_its_sender, {Rule.DOUBLED: 1}),
        (answered_twice, {Rule.DOUBLED: 1}),
        (answered_to_another, {Rule.DOUBLED: 1}),
        (doubled_over_a_resume, {Rule.OLD: 1}),
        (swapped, {Rule.OUT_OF_ORDER: 1}),
        (answer_overtakes, {Rule.OUT_OF_ORDER: 2}),
        (acknowledged_only, {Rule.NOT_STORED: 1}),
        (acknowledged_otherwise, {Rule.STORED_OTHERWISE: 1}),
        (stored_twice, {Rule.STORED_TWICE: 1}),
        (stored_unsaid, {Rule.STORED_UNSAID: 1}),
        (stored_altered, {Rule.STORED_UNSAID: 1}),
        (delivered_only, {Rule.DELIVERED_UNSTORED: 1}),
        (delivered_altered, {Rule.DELIVERED_OTHERWISE: 1}),
        (old_one_without_after, {Rule.OLD: 1}),
        (old_one_with_after, {Rule.OLD: 1}),
        (listed_in_disorder, {Rule.LISTED_IN_DISORDER: 4}),
        (committed_in_disorder, {Rule.COMMITTED_IN_DISORDER: 1}),
        (resumed_elsewhere, {Rule.RESUMED_ELSEWHERE: 1}),
    ],
)
def test_broken_promise_is_found(alter: Callable[[History], None], rules: dict[Rule, int]) -> None:
    history = kept()

    alter(history)

    assert Counter(verdict.rule for verdict in check(history)) == rules


def test_history_that_cannot_be_judged_is_refused() -> None:
    history = kept()
    history.stored.clear()

    with pytest.raises(ValueError, match=ROOM):
        check(history)
