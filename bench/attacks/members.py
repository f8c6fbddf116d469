"""What somebody with an account, or with fifteen, can do over HTTP."""

import json
from collections.abc import Callable
from itertools import count

from bench.attacks.catalogue import Attack
from bench.attacks.kit import Action, Scene, again_and_again, get, send, unread
from bench.attacks.site import PASSWORD

SELF = "/accounts/api/users/me/"
EXPORT = "/accounts/api/users/me/export/"
POSTS = "/profiles/api/posts/?limit=1000"
PROFILE = "/profiles/api/profile/"
ANY = "If-None-Match: *"
_numbers = count()


def messages(scene: Scene, limit: int = 1000) -> str:
    """Return the path of the long messages."""
    return f"/messenger/api/chatrooms/{scene.room}/messages/?limit={limit}"


def fifteen(
    request: Callable[[Scene, int], bytes], connections: int = 3, address: str | None = None
) -> Callable[[Scene], list[Action]]:
    """Return an attack of fifteen accounts, each with some connections; from one address."""

    def begin(scene: Scene) -> list[Action]:
        return [
            action
            for number in range(15)
            for action in again_and_again(
                scene, request(scene, number), connections, lambda: address
            )
        ]

    return begin


def one(request: Callable[[Scene], bytes], connections: int = 4) -> Callable[[Scene], list[Action]]:
    """Return an attack of one account."""
    return lambda scene: again_and_again(scene, request(scene), connections)


def _change_address(scene: Scene, number: int) -> bytes:
    who = scene.people[number]
    return send("PATCH", SELF, _json(email=who.email, password=PASSWORD), who=who)


def _same_password(scene: Scene, number: int) -> bytes:
    # The right password, and a new one that is refused after the hash: the session stays.
    who = scene.people[number]
    body = _json(old_password=PASSWORD, new_password=who.email)
    return send("POST", "/accounts/api/password/", body, who=who)


def _log_in(scene: Scene, number: int) -> bytes:
    body = _json(username=scene.people[number].username, password=PASSWORD)
    return send("POST", "/accounts/api/token/", body)


def _erase_with_wrong_password(scene: Scene, number: int) -> bytes:
    return send("DELETE", SELF, _json(password="wrong password"), who=scene.people[number])


def _json(**body: object) -> bytes:
    return json.dumps(body).encode()


def _new_message(scene: Scene) -> list[Action]:
    path = f"/messenger/api/chatrooms/{scene.room}/messages/"
    body = _json(content="😀" * 10_000)
    return again_and_again(scene, send("POST", path, body, who=scene.people[1]), 8)


def _search(query: str, connections: int = 4) -> Callable[[Scene], list[Action]]:
    return one(lambda it: get(f"/messenger/api/search/?q={query}", it.people[0]), connections)


def _group(scene: Scene) -> list[Action]:
    def request() -> bytes:
        members = [f"crowd{number}" for number in range(999)]
        body = _json(title=f"Team {next(_numbers)}", members=members)
        return send("POST", "/messenger/api/groups/", body, who=scene.people[3])

    return again_and_again(scene, request, 4)


def _unread_everywhere(scene: Scene) -> list[Action]:
    return again_and_again(
        scene, send("POST", "/messenger/api/read/", b"{}", who=scene.people[2]), 8
    )


ATTACKS = [
    Attack("5 fifteen accounts", "change the address", fifteen(_change_address), "login"),
    Attack("5 fifteen accounts", "change the password", fifteen(_same_password), "login"),
    Attack("5 fifteen accounts", "log in", fifteen(_log_in, address="127.0.0.3"), "login"),
    Attack("5 fifteen accounts", "wrong passwords", fifteen(_erase_with_wrong_password), "login"),
    Attack(
        "5 fifteen accounts",
        "270 connections",
        fifteen(_change_address, connections=18),
        "login",
    ),
    Attack(
        "10 large pages", "messages, 304", one(lambda it: get(messages(it), it.people[0], ANY), 16)
    ),
    Attack("10 large pages", "posts, 304", one(lambda it: get(POSTS, it.people[0], ANY), 8)),
    Attack("10 large pages", "messages, read", one(lambda it: get(messages(it), it.people[0]), 8)),
    Attack(
        "10 large pages",
        "the profile with 100 posts",
        one(lambda it: get(PROFILE, it.people[0]), 8),
    ),
    Attack(
        "10 large pages",
        "12 pages unread",
        lambda it: unread(it, get(messages(it), it.people[0]), 12),
    ),
    Attack(
        "10 large pages",
        "40 profiles unread",
        lambda it: unread(it, get(PROFILE, it.people[0]), 40),
    ),
    Attack(
        "10 large pages", "20 exports unread", lambda it: unread(it, get(EXPORT, it.people[0]), 20)
    ),
    Attack("10 large pages", "exports, read", one(lambda it: get(EXPORT, it.people[0]), 8)),
    Attack(
        "10 long lists",
        "1,000 rooms",
        one(lambda it: get("/messenger/api/chatrooms/", it.people[2]), 8),
    ),
    Attack(
        "10 long lists",
        "chats with 1,000 rooms",
        one(lambda it: get("/messenger/api/chats/", it.people[2]), 8),
    ),
    Attack("10 long lists", "users", one(lambda it: get("/accounts/api/users/", it.people[2]), 8)),
    Attack("20 storage", "messages of 40 kB", _new_message),
    Attack(
        "20 storage",
        "posts of 80 kB",
        one(
            lambda it: send(
                "POST",
                "/profiles/api/posts/",
                _json(title="t", content="😀" * 20_000),
                who=it.people[1],
            ),
            8,
        ),
    ),
    Attack("20 storage", "sessions", one(lambda it: _log_in(it, 1), 8)),
    Attack(
        "20 storage",
        "erase an account with 300 posts",
        lambda it: again_and_again(
            it, send("DELETE", SELF, _json(password=PASSWORD), who=it.people[0]), 1
        ),
    ),
    Attack("23 search", "one letter", _search("a")),
    Attack("23 search", "500 words", _search("+".join(f"w{number}" for number in range(120)))),
    Attack("23 search", "marks and quotes", _search("%22%22%22a*%22+OR+NEAR(" * 10)),
    Attack(
        "23 people",
        "names by likeness",
        one(lambda it: get("/profiles/api/people/?q=" + "crowdcrowd" * 14, it.people[0]), 8),
    ),
    Attack("23 people", "everybody", one(lambda it: get("/profiles/api/people/", it.people[0]), 8)),
    Attack(
        "23 people",
        "exact names",
        one(lambda it: get("/profiles/api/search-user/?username=crowd1", it.people[0]), 8),
    ),
    Attack("24 groups", "of 1,000 members", _group),
    Attack("24 groups", "all rooms read", _unread_everywhere),
    Attack(
        "24 groups",
        "presence with 1,000 rooms",
        one(lambda it: get("/messenger/api/presence/", it.people[2]), 8),
    ),
    Attack(
        "25 long-poll",
        "100 at once",
        one(lambda it: get("/messenger/api/events/?after=999999999&wait=25", it.people[0]), 100),
    ),
    Attack(
        "25 long-poll",
        "all events",
        one(lambda it: get("/messenger/api/events/?after=0&limit=500", it.people[0]), 8),
    ),
    Attack(
        "25 long-poll",
        "40 event pages unread",
        lambda it: unread(it, get("/messenger/api/events/?after=0&limit=500", it.people[0]), 40),
    ),
]
