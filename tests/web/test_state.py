"""How an event changes the state of the page: pure functions, run in the browser."""

from typing import Any

import pytest

CHAT = {
    "id": 7, "name": "ann_bob", "display_name": "bob", "kind": "pair", "image": None,
    "members": [1, 2], "members_count": 2, "joined_id": 1, "muted": False,
    "read_id": 10, "unread": 0, "event_id": 10, "last_message": None,
}  # fmt: skip
APPLY = """
({apply, empty}, events) => events.reduce(apply, empty("ann"))
"""


def message(number: int, user: str = "bob", content: str = "Привет", **more: Any) -> dict[str, Any]:
    """Return the frame of a message."""
    said = {"id": number, "user": user, "content": content, "timestamp": "2026-11-28T10:00:00Z"}
    return {"type": "message", "id": number, "room": "ann_bob", "message": said | more}


def snapshot(*chats: dict[str, Any], cursor: int = 10) -> dict[str, Any]:
    return {"type": "snapshot", "chats": list(chats), "cursor": cursor}


def history(*numbers: int, where: str = "newest", **more: Any) -> dict[str, Any]:
    messages = [message(number)["message"] for number in numbers]
    page = {"type": "history", "room": 7, "messages": messages, "where": where}
    return page | {"older": False, "newer": False} | more


@pytest.fixture
def state_after(js: Any) -> Any:
    """The state after some events, beginning with a list of one chat."""

    def state_after(*events: dict[str, Any], chat: dict[str, Any] | None = None) -> Any:
        first = snapshot(CHAT | (chat or {}))
        return js(APPLY, "state/apply", argument=[first, *events])

    return state_after


def ids(state: Any) -> list[int]:
    return [each["id"] for each in state["windows"]["7"]["list"]]


def chat_of(state: Any) -> Any:
    return state["chats"]["7"]


def test_message_of_somebody_counts_as_unread_and_one_of_mine_reads_all(state_after: Any) -> None:
    heard = state_after(message(11), message(12))
    answered = state_after(message(11), message(12), message(13, user="ann"))

    assert (chat_of(heard)["unread"], chat_of(heard)["last_message"]["id"]) == (2, 12)
    assert (chat_of(answered)["unread"], chat_of(answered)["read_id"]) == (0, 13)
    assert answered["cursor"] == 13


def test_event_that_was_seen_changes_nothing(state_after: Any) -> None:
    once = state_after(message(11), message(12))

    assert state_after(message(11), message(12), message(11), message(12)) == once


def test_messages_stand_in_order_whatever_came_first(state_after: Any) -> None:
    mine = {"type": "message", "room": "ann_bob", "message": message(13, user="ann")["message"]}

    state = state_after(history(10), mine, message(12), message(13, user="ann"))

    assert ids(state) == [10, 12, 13]
    assert chat_of(state)["unread"] == 0  # it was written below what came meanwhile


def test_what_happens_while_history_is_asked_for_is_kept(state_after: Any) -> None:
    asked = {"type": "asked", "room": 7}
    edit = message(13)["message"] | {"content": "Лучше", "edited_at": "2026-11-28T10:01:00Z"}
    deleted = {"id": 11, "deleted_at": "2026-11-28T10:01:00Z"}

    state = state_after(
        asked,
        message(12),
        {"type": "message_edited", "id": 14, "room": "ann_bob", "message": edit | {"id": 10}},
        {"type": "message_deleted", "id": 15, "room": "ann_bob", "message": deleted},
        history(10, 11),  # as it was before
    )

    assert ids(state) == [10, 11, 12]
    assert state["windows"]["7"]["list"][0]["content"] == "Лучше"
    assert state["windows"]["7"]["list"][1]["content"] == ""
    assert "pending" not in state["windows"]["7"]


def test_edit_and_delete_reach_the_history_and_the_list(state_after: Any) -> None:
    edit = message(12)["message"] | {"content": "Иначе", "edited_at": "2026-11-28T10:01:00Z"}
    edited = {"type": "message_edited", "id": 13, "room": "ann_bob", "message": edit}
    gone = {"id": 12, "deleted_at": "2026-11-28T10:02:00Z"}
    deleted = {"type": "message_deleted", "id": 14, "room": "ann_bob", "message": gone}

    before = state_after(history(10, 11), message(12), edited)
    after = state_after(history(10, 11), message(12), edited, deleted)

    assert chat_of(before)["last_message"]["content"] == "Иначе"
    assert (chat_of(before)["unread"], chat_of(after)["unread"]) == (1, 0)
    assert chat_of(after)["last_message"]["id"] == 11
    assert after["windows"]["7"]["list"][2]["deleted_at"] == gone["deleted_at"]


def test_mark_of_another_device_counts_here_and_may_go_down(state_after: Any) -> None:
    mark = {"type": "read", "room": "ann_bob", "user": "ann"}

    read = state_after(message(11), message(12), mark | {"id": 13, "read_id": 12, "unread": 0})
    unread = state_after(
        message(11),
        mark | {"id": 12, "read_id": 11, "unread": 0},
        mark | {"id": 13, "read_id": 10, "unread": 1},
    )

    assert (chat_of(read)["read_id"], chat_of(read)["unread"]) == (12, 0)
    assert (chat_of(unread)["read_id"], chat_of(unread)["unread"]) == (10, 1)


def test_mark_of_the_other_only_grows(state_after: Any) -> None:
    mark = {"type": "read", "room": "ann_bob", "user": "bob", "unread": 0}

    state = state_after(mark | {"id": 12, "read_id": 11}, mark | {"id": 13, "read_id": 9})

    assert (chat_of(state)["peer_read_id"], chat_of(state)["read_id"]) == (11, 10)


def test_room_is_forgotten_only_when_it_was_joined_anew(state_after: Any) -> None:
    muted = {"type": "room", "id": 12, "room": "ann_bob", "chat": CHAT | {"muted": True}}
    rejoined = {"type": "room", "id": 13, "room": "ann_bob", "chat": CHAT | {"joined_id": 13}}

    kept = state_after(history(10, 11), muted)
    dropped = state_after(history(10, 11), rejoined)

    assert (ids(kept), chat_of(kept)["muted"]) == ([10, 11], True)
    assert dropped["windows"] == {}


def test_room_that_was_left_is_gone(state_after: Any) -> None:
    left = {"type": "room_left", "id": 12, "room": "ann_bob"}

    state = state_after(history(10), left, message(13))

    assert (state["chats"], state["windows"], state["cursor"]) == ({}, {}, 13)


def test_erased_person_gets_the_new_name_everywhere(state_after: Any) -> None:
    erased = {"id": 2, "username": "deleted~2", "image": None}

    state = state_after(
        history(10), message(11), {"type": "user", "id": 12, "user": erased, "was": "bob"}
    )

    assert chat_of(state)["display_name"] == "deleted~2"
    assert chat_of(state)["last_message"]["user"] == "deleted~2"
    assert {each["user"] for each in state["windows"]["7"]["list"]} == {"deleted~2"}


def test_window_keeps_a_few_hundred_and_says_that_there_is_more(js: Any) -> None:
    events = [
        snapshot(CHAT, cursor=0),
        history(*range(11, 411)),
        {"type": "trim", "room": 7, "keep": "oldest"},
    ]

    old = js(APPLY, "state/apply", argument=events)
    new = js(APPLY, "state/apply", argument=[*events[:2], events[2] | {"keep": "newest"}])

    assert (len(ids(old)), old["windows"]["7"]["newer"], ids(old)[0]) == (230, True, 11)
    assert (len(ids(new)), new["windows"]["7"]["older"], ids(new)[-1]) == (230, True, 410)


def test_message_is_not_put_behind_a_gap(state_after: Any) -> None:
    state = state_after(history(3, 4, 5, where="around", older=True, newer=True), message(12))

    assert ids(state) == [3, 4, 5]
    assert chat_of(state)["unread"] == 1


def test_list_of_chats_replaces_the_state_but_keeps_history_to_be_asked_again(js: Any) -> None:
    events = [snapshot(CHAT), history(10), snapshot(CHAT | {"unread": 5}, cursor=90), message(50)]

    state = js(APPLY, "state/apply", argument=events)

    assert (state["cursor"], chat_of(state)["unread"]) == (90, 5)
    assert (ids(state), state["windows"]["7"]["stale"]) == ([10], True)


def test_rows_have_days_runs_and_the_divider(js: Any) -> None:
    said = [
        {"id": number, "user": user, "timestamp": f"2026-11-{day}T10:{minute}:00Z"}
        for number, user, day, minute in [
            (1, "bob", 27, "00"), (2, "bob", 27, "01"), (3, "bob", 27, "30"),
            (4, "ann", 28, "00"), (5, "bob", 28, "00"), (6, "bob", 28, "01"),
        ]
    ]  # fmt: skip

    rows = js(
        """({rowsOf}, messages) => rowsOf(messages, {me: "ann", newAfter: 5}).map((row) =>
            row.kind === "message" ? `${row.message.id}${row.first ? " first" : ""}${row.last ? " last" : ""}` : row.kind)""",
        "view/rows",
        argument=said,
    )

    assert rows == [
        *("day", "1 first", "2 last", "3 first last", "day", "4 first last", "5 first last"),
        *("new", "6 first last"),
    ]


def test_message_that_came_and_went_while_away_moves_its_chat(state_after: Any) -> None:
    gone = {"id": 14, "deleted_at": "2026-11-28T10:02:00Z"}

    state = state_after({"type": "message_deleted", "id": 15, "room": "ann_bob", "message": gone})

    assert (chat_of(state)["event_id"], chat_of(state)["unread"]) == (14, 0)


def test_what_this_device_kept_adds_histories_and_overrules_nothing(js: Any) -> None:
    window = {"list": [message(9)["message"]], "older": True, "newer": False, "stale": True}
    old = CHAT | {"unread": 5, "event_id": 9}
    left = CHAT | {"id": 8, "name": "ann_carl"}
    kept = {"me": "ann", "chats": {"7": old, "8": left}, "ids": {"ann_bob": 7, "ann_carl": 8},
            "people": {}, "windows": {"7": window, "8": window}}  # fmt: skip
    event = {"type": "kept", "kept": kept}

    first = js(APPLY, "state/apply", argument=[event, snapshot(CHAT, cursor=90)])
    last = js(APPLY, "state/apply", argument=[snapshot(CHAT, cursor=90), event])
    alone = js(APPLY, "state/apply", argument=[event])

    for state in (first, last):
        assert (list(state["chats"]), chat_of(state)["unread"]) == (["7"], 0)
        assert (list(state["windows"]), ids(state), state["cursor"]) == (["7"], [9], 90)
    assert (chat_of(alone)["unread"], alone["isListed"]) == (5, False)
