"""The OpenAPI document says all there is to say, and the server does what it says."""

import ast
import inspect
import json
import re
import secrets
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from flask import Flask
from openapi_spec_validator import validate
from sqlalchemy import update

from app import create_app
from app.accounts import operators, setup, tokens
from app.accounts.models import User
from app.database.transactions import writing
from app.http.errors import ApiError, BadInput
from app.openapi.routes import encoded
from app.services import services
from config import Config
from tests.conftest import make_config, sqlite_url
from tests.factories import PASSWORD, Person, make_person, new_name
from tests.notifications.phones import new_subscription
from tests.openapi.documented import METHODS, Document
from tests.servers import ROOT, Server

# What OpenAPI cannot say, or no program asks for.
UNLISTED = {
    "/messenger/ws/ws/chat/<room_name>/",
    "/messenger/ws/events/",
    "/api/docs/<name>",
    "/api/docs/websocket/",
    "/api/docs/reference.css",
    "/metrics",
}

WITHOUT_EXAMPLE = {"show_document", "show_page"}

# The examples of the API document, by operation and status; a post has its author besides.
USERS = [
    {"id": 1, "username": "user1", "email": "user1@example.com"},
    {"id": 2, "username": "user2", "email": "user2@example.com"},
]
POSTS = [
    {
        "id": 1,
        "title": "Пост 1",
        "content": "Текст",
        "created_at": "2024-12-12T10:00:00Z",
    },
    {
        "id": 2,
        "title": "Пост 2",
        "content": "Текст",
        "created_at": "2024-12-12T12:00:00Z",
    },
]
ROOMS = [{"id": 1, "name": "user1_user2", "members": [1, 2], "display_name": "user2"}]
MESSAGES = [{"id": 1, "user": "user1", "content": "Привет!", "timestamp": "2023-12-01T10:00:00Z"}]
BODIES = {
    "create_user": {
        "username": "newuser",
        "email": "newuser@example.com",
        "password": "yourpassword",
    },
    "create_token": {"username": "yourusername", "password": "yourpassword"},
    "refresh_token": {"refresh": "refresh_token"},
    "create_post": {"title": "Новый пост", "content": "Текст"},
    "add_friend": {"username": "jane_doe"},
    "remove_friend": {"username": "jane_doe"},
    "open_room": {"recipient": "username"},
    "create_message": {"content": "Привет!"},
}
ANSWERS = {
    ("list_users", "200"): USERS,
    ("create_token", "200"): {"refresh": "refresh_token", "access": "access_token"},
    ("refresh_token", "200"): {"access": "new_access_token"},
    ("show_profile", "200"): {
        "id": 1,
        "username": "example_user",
        "email": "example@example.com",
        "profile": {"image": "/media/user_images/default.jpg", "bio": "Био"},
        "posts": POSTS,
    },
    ("list_posts", "200"): POSTS,
    ("create_post", "201"): {
        "id": 3,
        "title": "Новый пост",
        "content": "Текст",
        "created_at": "2024-12-12T15:00:00Z",
    },
    ("search_user", "200"): {
        "id": 2,
        "username": "jane_doe",
        "email": "jane@example.com",
        "profile": {
            "image": "/media/user_images/default.jpg",
            "bio": "Jane's bio",
            "friends": [],
        },
        "posts": [],
    },
    ("add_friend", "200"): {"message": "jane_doe добавлен в друзья."},
    ("remove_friend", "200"): {"message": "jane_doe удален из друзей."},
    ("list_rooms", "200"): ROOMS,
    ("list_messages", "200"): MESSAGES,
    ("list_own_rooms", "200"): ROOMS,
}


def has(found: Any, expected: Any) -> bool:
    """Tell whether a value is another one, or has more keys than it at most."""
    if isinstance(expected, dict):
        return all(key in found and has(found[key], value) for key, value in expected.items())
    if isinstance(expected, list):
        pairs = zip(found, expected, strict=True)
        return len(found) == len(expected) and all(has(*pair) for pair in pairs)
    return bool(found == expected)


def test_is_valid(document: Document) -> None:
    validate(document.body)  # type: ignore[arg-type]

    assert document.body["openapi"].startswith("3.1.")


# Whoever adds a route adds it to the document


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """The application, only to look at its routes."""
    folder = tmp_path_factory.mktemp("routes")
    return create_app(make_config(folder, sqlite_url(folder)))


def test_has_every_route(document: Document, routes: Flask) -> None:
    there = {
        (method, re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule))
        for rule in routes.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.endpoint.startswith("web.")  # the page's own addresses
        and re.sub(r"<(?:any.*:)([^<>]+)>", r"<\1>", rule.rule) not in UNLISTED
    }
    listed = {(operation.method, operation.path) for operation in document.operations.values()}

    assert there == listed


def test_every_operation_is_described(document: Document) -> None:
    """Say of a route what is missing: where it is to be said stands beside each complaint."""
    missing = []
    for name, (_, path, said) in document.operations.items():
        answers = {code: each for code, each in said["responses"].items() if code[0] == "2"}
        bodies = [*answers.values(), said.get("requestBody", {})]
        content = [each for body in bodies for each in body.get("content", {}).values()]
        parameters = {each["name"]: each for each in said.get("parameters", ())}
        complaints = {
            "a docstring, whose first line is the summary": not said.get("summary"),
            "more than the summary: a second paragraph of the docstring": (
                said["description"].removesuffix("\n\nNo token is needed.").rstrip(".")
                == said.get("summary", "").rstrip(".")
            ),
            "what it answers: @bp.output, or @answers where that is no JSON": not answers,
            "an example: Field(examples=[…]) in schemas.py": not any(
                "example" in each for each in [*content, *parameters.values()]
            )
            and name not in WITHOUT_EXAMPLE,
            "what its path holds: @in_path(name, sentence, example)": bool(
                set(re.findall(r"{(\w+)}", path)) - parameters.keys()
            ),
            "a sentence for each parameter": not all(
                "description" in each | each["schema"] for each in parameters.values()
            ),
        }
        missing += [f"{name} lacks {what}" for what, is_so in complaints.items() if is_so]

    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("operation_id", BODIES)
def test_has_the_bodies_of_the_api_document(document: Document, operation_id: str) -> None:
    content = document.operations[operation_id].said["requestBody"]["content"]

    assert {kind: each["example"] for kind, each in content.items()} == {
        "application/json": BODIES[operation_id]
    }


@pytest.mark.parametrize(("operation_id", "status"), ANSWERS)
def test_has_the_answers_of_the_api_document(
    document: Document, operation_id: str, status: str
) -> None:
    answer = document.operations[operation_id].said["responses"][status]
    example = answer["content"]["application/json"]["example"]

    assert has(example, ANSWERS[operation_id, status]), example


def test_has_for_blank_what_is_refused_as_blank(document: Document) -> None:
    schema = document.body["components"]["schemas"]["MessageIn"]["properties"]["content"]
    pattern = re.compile(schema["pattern"])
    for code in (*range(0xD800), *range(0xE000, 0x10000)):
        text = chr(code)

        assert bool(pattern.search(text)) == (not text.isspace() and text != "\0"), hex(code)


def test_every_example_fits_its_schema(document: Document) -> None:
    checked = 0
    for name, operation in document.operations.items():
        bodies = [operation.said.get("requestBody", {}), *operation.said["responses"].values()]
        for content in (each for body in bodies for each in body.get("content", {}).values()):
            examples = [each["value"] for each in content.get("examples", {}).values()]
            examples += [content["example"]] if "example" in content else []
            for example in examples:
                document.check_value(content["schema"], example, f"example of {name}")
                checked += 1

    assert checked > 100


def test_tells_of_every_error_that_a_use_case_names(document: Document, routes: Flask) -> None:
    """A `Raises:` in the docstring of what a route calls is an error of that route."""
    missing = []
    for rule in routes.url_map.iter_rules():
        name = rule.endpoint.rpartition(".")[2]
        if name not in document.operations:
            continue
        responses = document.operations[name].said["responses"]
        told = {
            example
            for answer in responses.values()
            for content in answer.get("content", {}).values()
            for example in content.get("examples", {})
        }
        view = inspect.unwrap(routes.view_functions[rule.endpoint])
        for error in set(raised_by(view)):
            is_told = "400" in responses if issubclass(error, BadInput) else error.__name__ in told
            if not is_told and error is not ApiError:
                missing.append(f"{name} may raise {error.__name__}: add it to its @raises(…)")

    assert not missing, "\n".join(missing)


def raised_by(view: Callable[..., Any]) -> Iterator[type[ApiError]]:
    """Yield the errors that the docstrings of the functions name which a view calls."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(view)))
    caught = {
        ast.unparse(node.type)
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and node.type
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = resolved(node.func, view.__globals__)
        if not inspect.isfunction(called) or not called.__module__.startswith("app."):
            continue
        if called.__module__ == view.__module__:
            yield from raised_by(called)
        raises = (inspect.getdoc(called) or "").partition("\nRaises:\n")[2].partition("\n\n")[0]
        named = set(re.findall(r"^ {4}(\w+): ", raises, re.M)) - caught
        yield from (error for error in errors_of(ApiError) if error.__name__ in named)


def errors_of(kind: type[ApiError]) -> Iterator[type[ApiError]]:
    """Yield a kind of errors and all kinds of it."""
    yield kind
    for each in kind.__subclasses__():
        yield from errors_of(each)


def resolved(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return what an expression like `friends.befriend` stands for, or None."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolved(node.value, names)
        return getattr(owner, node.attr, None) if isinstance(owner, ModuleType) else None
    return None


def test_errors_of_use_cases_are_found(routes: Flask) -> None:
    found = set(raised_by(inspect.unwrap(routes.view_functions["social.add_friend"])))

    assert {error.__name__ for error in found} == {"UserNotFound", "FriendOfOneself"}


def test_names_the_endpoints_of_the_table_in_the_docs(document: Document) -> None:
    table = (ROOT / "docs/api.md").read_text()
    told: dict[str, set[str]] = {}
    for methods, paths in re.findall(r"^\| (`[A-Z]+`[^|]*)\| (`/[^|]*)\|", table, re.M):
        folder = ""
        for path in re.findall(r"`([^`]+)`", paths):
            whole = path.partition("?")[0] if path.startswith("/") else folder + path
            folder = folder or whole.rstrip("/").rpartition("/")[0] + "/"
            told[re.sub("<([^>]+)>", r"{\1}", whole)] = set(re.findall("`([A-Z]+)`", methods))
    listed: dict[str, set[str]] = {}
    for method, path, _ in document.operations.values():
        listed.setdefault(path, set()).add(method)

    assert told.keys() - UNLISTED == listed.keys()
    for path, methods in listed.items():
        assert methods <= told[path], path


# Every answer that it tells of, asked for


class Request(NamedTuple):
    """What to ask an operation for.

    Attributes:
        path: Values for the variable parts of its path.
        query: Its query.
        body: Its JSON body.
        headers: Its headers.
        files: Those of a form, in place of a JSON body.
    """

    path: Mapping[str, Any] = {}
    query: Mapping[str, Any] = {}
    body: Any = None
    headers: Mapping[str, str] = {}
    files: Mapping[str, bytes] | None = None


class World(NamedTuple):
    """Two people with a room, on a server."""

    server: Server
    ann: Person
    bob: Person
    room: Mapping[str, Any]


@pytest.fixture(scope="module")
def world(server: Server) -> World:
    ann, bob = make_person(server.url, new_name("ann")), make_person(server.url, new_name("bob"))
    return World(server, ann, bob, ann.open_room(bob))


def uploaded(world: World, *, is_attached: bool = False) -> Mapping[str, Any]:
    """Return the path of a file of Ann's."""
    answer = world.ann.http.post("/messenger/api/uploads/", files={"file": b"text"})
    assert answer.status_code == 201, answer.text
    file_id = answer.json()["id"]
    if is_attached:
        path = f"/messenger/api/chatrooms/{world.room['name']}/messages/"
        assert world.ann.post(path, {"attachments": [file_id]}).status_code == 201
    return {"file_id": file_id}


def reset_token(server: Server, person: Person) -> str:
    """Return a token for a new password, as an operator would print it."""
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "users", "reset-link", person.username],
        cwd=ROOT,
        env=server.env,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().partition("#")[2]


def another_session(person: Person) -> dict[str, Any]:
    """Log somebody in once more."""
    body = {"username": person.username, "password": PASSWORD}
    tokens: dict[str, Any] = httpx.post(f"{person.url}/accounts/api/token/", json=body).json()
    return tokens


def latest_session(person: Person) -> int:
    """Return the id of a session of somebody's that is not the one in use."""
    another_session(person)
    sessions = person.get("/accounts/api/sessions/").json()
    return max(each["id"] for each in sessions if not each["current"])


@contextmanager
def inside(server: Server) -> Iterator[None]:
    """Work on a server's database as one of its workers could."""
    app = create_app(Config.from_env(server.env))
    with app.app_context():
        yield
    services(app).engine.dispose()


@cache
def administrator(server: Server) -> Person:
    """Return the person who is made an administrator where one is needed."""
    return make_person(server.url)


def as_admin(world: World, **request: Any) -> Request:
    """Return a request of the only administrator."""
    admin = administrator(world.server)
    with inside(world.server):
        with writing() as connection:
            connection.execute(update(User).values(is_admin=False))
        operators.set_admin(admin.id, is_admin=True)
    return Request(headers=admin.bearer, **request)


def deactivated_person(world: World) -> Person:
    """Return somebody who can no longer log in."""
    person = make_person(world.server.url)
    with inside(world.server):
        operators.deactivate(person.id)
    return person


def open_invitation(world: World) -> int:
    """Return the id of an invitation."""
    as_admin(world)
    made = administrator(world.server).post("/accounts/api/admin/invitations/", {})
    return int(made.json()["id"])


def setup_code(world: World) -> str:
    """Return the code that makes the first administrator; there is none."""
    with inside(world.server):
        with writing() as connection:
            connection.execute(update(User).values(is_admin=False))
        code = setup.make_code()
    assert code
    return code


# What each operation answers well to. Whoever adds one adds a line.
GOOD: dict[str, Callable[[World], Request]] = {
    "list_users": lambda world: Request(),
    "create_user": lambda world: Request(
        body={
            "username": new_name(),
            "email": f"{secrets.token_hex(6)}@example.com",
            "password": PASSWORD,
        }
    ),
    "show_self": lambda world: Request(),
    "update_self": lambda world: Request(
        body={"email": f"{secrets.token_hex(6)}@example.com", "password": PASSWORD}
    ),
    "erase_self": lambda world: Request(
        body={"password": PASSWORD}, headers=make_person(world.ann.url).bearer
    ),
    "export_self": lambda world: Request(),
    "change_password": lambda world: Request(
        body={"old_password": PASSWORD, "new_password": PASSWORD},
        headers=make_person(world.ann.url).bearer,
    ),
    "ask_for_reset": lambda world: Request(body={"email": world.ann.email}),
    "confirm_reset": lambda world: Request(
        body={"token": reset_token(world.server, world.bob), "new_password": PASSWORD}
    ),
    "list_sessions": lambda world: Request(),
    "revoke_session": lambda world: Request(path={"session_id": latest_session(world.ann)}),
    "create_token": lambda world: Request(
        body={"username": world.ann.username, "password": PASSWORD}
    ),
    "refresh_token": lambda world: Request(body={"refresh": world.ann.refresh}),
    "verify_token": lambda world: Request(body={"token": world.ann.access}),
    "blacklist_token": lambda world: Request(
        body={"refresh": another_session(world.ann)["refresh"]}
    ),
    "show_profile": lambda world: Request(),
    "update_profile": lambda world: Request(body={"bio": "Био"}),
    "list_posts": lambda world: Request(),
    "create_post": lambda world: Request(
        body={"title": "T", "content": "C", "client_id": secrets.token_hex(8)}
    ),
    "search_messages": lambda world: Request(query={"q": "word", "room": world.room["name"]}),
    "search_user": lambda world: Request(query={"username": world.bob.username}),
    "add_friend": lambda world: Request(body={"username": world.bob.username}),
    "remove_friend": lambda world: Request(body={"username": world.bob.username}),
    "list_people": lambda world: Request(),
    "list_all_users": lambda world: as_admin(world),
    "update_user": lambda world: as_admin(
        world, path={"user_id": world.bob.id}, body={"is_active": True}
    ),
    "create_reset_link": lambda world: as_admin(world, path={"user_id": world.bob.id}),
    "list_invitations": lambda world: as_admin(world),
    "create_invitation": lambda world: as_admin(world, body={"days": 7}),
    "delete_invitation": lambda world: as_admin(
        world, path={"invitation_id": open_invitation(world)}
    ),
    "set_up": lambda world: Request(
        body={
            "code": setup_code(world),
            "username": new_name(),
            "email": f"{secrets.token_hex(6)}@example.com",
            "password": PASSWORD,
        }
    ),
    "list_blocks": lambda world: Request(),
    "block_user": lambda world: Request(body={"username": make_person(world.ann.url).username}),
    "unblock_user": lambda world: Request(path={"username": world.bob.username}),
    "show_push_key": lambda world: Request(),
    "subscribe": lambda world: Request(body=new_subscription()),
    "unsubscribe": lambda world: Request(body={"endpoint": "https://push.example.com/gone"}),
    "test_push": lambda world: Request(),
    "show_settings": lambda world: Request(),
    "update_settings": lambda world: Request(body={"language": "ru"}),
    "list_rooms": lambda world: Request(),
    "list_own_rooms": lambda world: Request(),
    "open_room": lambda world: Request(body={"recipient": make_person(world.ann.url).username}),
    "list_messages": lambda world: Request(path={"room_name": world.room["name"]}),
    "create_message": lambda world: Request(
        path={"room_name": world.room["name"]},
        body={"content": "C", "client_id": secrets.token_hex(8)},
    ),
    "show_message": lambda world: Request(path=sent(world)),
    "edit_message": lambda world: Request(path=sent(world), body={"content": "new"}),
    "delete_message": lambda world: Request(path=sent(world)),
    "edit_post": lambda world: Request(path={"post_id": written(world.ann)}, body={"title": "T"}),
    "delete_post": lambda world: Request(path={"post_id": written(world.ann)}),
    "upload_file": lambda world: Request(files={"file": b"text"}),
    "show_file": lambda world: Request(path=uploaded(world)),
    "delete_file": lambda world: Request(path=uploaded(world)),
    "list_chats": lambda world: Request(),
    "list_events": lambda world: Request(query={"after": 0}),
    "list_present": lambda world: Request(),
    "mark_read": lambda world: Request(path=in_room(world), body={"read_id": 1}),
    "mark_unread": lambda world: Request(path=in_room(world), body={"from_id": 1}),
    "mark_many_read": lambda world: Request(body={world.room["name"]: 1}),
    "create_group": lambda world: Request(
        body={"title": "Team", "members": [world.bob.username], "client_id": secrets.token_hex(8)}
    ),
    "show_room": lambda world: Request(path=in_room(world)),
    "change_room": lambda world: Request(path=in_group(world), body={"title": "T"}),
    "list_members": lambda world: Request(path=in_room(world)),
    "add_member": lambda world: Request(
        path=in_group(world), body={"username": make_person(world.ann.url).username}
    ),
    "change_member": lambda world: Request(
        path={**in_group(world), "username": world.bob.username}, body={"role": "admin"}
    ),
    "remove_member": lambda world: Request(
        path={**in_group(world), "username": world.bob.username}
    ),
    "show_picture": lambda world: Request(path={"name": "user_images/default.jpg"}),
    "show_life": lambda world: Request(),
    "show_readiness": lambda world: Request(),
    "show_document": lambda world: Request(),
    "show_page": lambda world: Request(),
    "show_service": lambda world: Request(),
}
NOBODY = "nobody at all"


def in_room(world: World) -> dict[str, Any]:
    """Return where the two people's room is."""
    return {"room_name": world.room["name"]}


def in_group(world: World, *, of_another: bool = False) -> dict[str, Any]:
    """Return where a new group of the two is, which ann has founded unless somebody else did."""
    founder = make_person(world.ann.url) if of_another else world.ann
    others = [person.username for person in (world.ann, world.bob) if person is not founder]
    body = {"title": "Team", "members": others}
    return {"room_name": founder.post("/messenger/api/groups/", body).json()["name"]}


def sent(world: World, *, by_another: bool = False) -> dict[str, Any]:
    """Return where a new message is that ann has sent, or somebody to her."""
    sender = make_person(world.ann.url) if by_another else world.ann
    room = sender.open_room(world.ann) if by_another else world.room
    path = f"/messenger/api/chatrooms/{room['name']}/messages/"
    message = sender.post(path, {"content": "C"}).json()
    return {"room_name": room["name"], "message_id": message["id"]}


def left_group(world: World) -> Request:
    """Return a request that makes a group again which ann has left meanwhile."""
    body = {"title": "Team", "members": [], "client_id": secrets.token_hex(8)}
    group = world.ann.post("/messenger/api/groups/", body).json()
    world.ann.http.delete(f"/messenger/api/chatrooms/{group['name']}/members/{world.ann.username}/")
    return Request(body=body)


def full_group(world: World) -> Request:
    """Return a request for a group of too many; nobody has all these names."""
    return Request(body={"title": "Team", "members": [new_name() for _ in range(1000)]})


def written(author: Person) -> int:
    """Return the id of a new post."""
    post = author.post("/profiles/api/posts/", {"title": "T", "content": "C"}).json()
    return int(post["id"])


def deleted(world: World) -> Request:
    """Return a request that sends a message again which was deleted meanwhile."""
    body = {"content": "C", "client_id": secrets.token_hex(8)}
    path = f"/messenger/api/chatrooms/{world.room['name']}/messages/"
    message = world.ann.post(path, body).json()
    world.ann.http.delete(f"{path}{message['id']}/")
    return Request(path=in_room(world), body=body)


def blocked_person(world: World) -> Person:
    """Return somebody with whom ann has a room, and who has blocked her since."""
    person = make_person(world.ann.url)
    world.ann.open_room(person)
    person.post("/profiles/api/blocks/", {"username": world.ann.username})
    return person


def stranger_who_blocks(world: World) -> Person:
    """Return somebody who has blocked ann before they had a room."""
    person = make_person(world.ann.url)
    person.post("/profiles/api/blocks/", {"username": world.ann.username})
    return person


def as_ann(_world: World) -> Request:
    """Return a request of somebody who is no administrator."""
    return Request(path={"user_id": 1, "invitation_id": 1})


# What some are refused besides.
REFUSED: dict[str, Sequence[Callable[[World], Request]]] = {
    "open_room": [lambda world: Request(body={"recipient": stranger_who_blocks(world).username})],
    "create_message": [
        lambda world: Request(
            path={"room_name": blocked_person(world).open_room(world.ann)["name"]},
            body={"content": "C"},
        ),
        deleted,
    ],
    "edit_message": [
        lambda world: Request(path=sent(world, by_another=True), body={"content": "C"}),
        lambda world: Request(path={**in_room(world), "message_id": 0}, body={"content": "C"}),
    ],
    "delete_message": [lambda world: Request(path=sent(world, by_another=True))],
    "edit_post": [
        lambda world: Request(
            path={"post_id": written(make_person(world.ann.url))}, body={"title": "T"}
        ),
    ],
    "delete_post": [lambda world: Request(path={"post_id": written(make_person(world.ann.url))})],
    "upload_file": [
        lambda world: Request(files={"other": b"text"}),
        lambda world: Request(body={"file": "text"}),
        lambda world: Request(files={"file": bytes(25 * 1024 * 1024 + 1)}),
    ],
    "show_file": [
        lambda world: Request(path=uploaded(world), query={"size": "large"}),
        lambda world: Request(path=uploaded(world), headers={"Range": "bytes=0-1"}),
    ],
    "delete_file": [lambda world: Request(path=uploaded(world, is_attached=True))],
    "mark_many_read": [lambda world: Request(body={NOBODY: 1})],
    "create_group": [
        left_group,
        full_group,
        lambda world: Request(
            body={"title": "T", "members": [stranger_who_blocks(world).username]}
        ),
        lambda world: Request(
            body={"title": "T", "members": [world.bob.username], "client_id": "made already"}
        ),
        lambda world: Request(
            body={"title": "T", "members": [world.bob.username], "client_id": "made already"}
        ),
    ],
    "change_room": [
        lambda world: Request(path=in_room(world), body={"title": "T"}),
        lambda world: Request(path=in_group(world, of_another=True), body={"title": "T"}),
    ],
    "add_member": [
        lambda world: Request(path=in_room(world), body={"username": world.bob.username}),
        lambda world: Request(path=in_group(world), body={"username": world.bob.username}),
        lambda world: Request(
            path=in_group(world), body={"username": stranger_who_blocks(world).username}
        ),
    ],
    "change_member": [
        lambda world: Request(
            path={**in_group(world), "username": world.ann.username}, body={"role": "member"}
        ),
        lambda world: Request(
            path={**in_group(world, of_another=True), "username": world.bob.username},
            body={"role": "member"},
        ),
    ],
    "remove_member": [
        lambda world: Request(path={**in_room(world), "username": world.bob.username}),
        lambda world: Request(
            path={**in_group(world, of_another=True), "username": world.bob.username}
        ),
    ],
    "update_user": [
        as_ann,
        lambda world: as_admin(
            world,
            path={"user_id": administrator(world.server).id},
            body={"is_admin": False},
        ),
    ],
    "create_reset_link": [
        as_ann,
        lambda world: as_admin(world, path={"user_id": deactivated_person(world).id}),
    ],
    "list_all_users": [as_ann],
    "list_invitations": [as_ann],
    "create_invitation": [as_ann],
    "delete_invitation": [as_ann],
}

# What is answered with other settings alone, see `test_answers_with_other_settings_…`.
WITH_OTHER_SETTINGS = {("create_user", "403"), ("ask_for_reset", "202")}


def test_knows_a_good_request_to_each_operation(document: Document) -> None:
    assert GOOD.keys() == document.operations.keys(), "add what is missing to GOOD"


@pytest.mark.parametrize("operation_id", GOOD)
def test_every_answer_is_given_as_it_says(
    document: Document, world: World, operation_id: str, documented: None
) -> None:
    """All but 503, for which the database has to be away, and 429, which has tests of its own."""
    operation = document.operations[operation_id]
    good = GOOD[operation_id](world)
    expected = {
        status
        for status in operation.said["responses"]
        if status not in ("429", "503") and (operation_id, status) not in WITH_OTHER_SETTINGS
    }
    with httpx.Client(base_url=world.ann.url, headers=world.ann.bearer, timeout=30) as http:

        def ask(request: Request, **options: Any) -> httpx.Response:
            path = operation.path.format_map(
                {name: quote(str(value), safe="/") for name, value in request.path.items()}
            )
            content = {} if request.body is None else {"json": request.body}
            return http.request(
                operation.method,
                path,
                params=request.query,
                files=request.files,
                **({"headers": request.headers} | content | options),
            )

        if operation.method == "GET":
            ask(good._replace(query={"limit": "0"} if not good.query else {}))
            ask(good._replace(query=dict.fromkeys(good.query, NOBODY)))
        if good.path:
            ask(good._replace(path=dict.fromkeys(good.path, NOBODY)))
        if good.body is not None:
            ask(good._replace(body={**good.body, next(iter(good.body)): 1}))
            ask(good._replace(body=dict.fromkeys(good.body, NOBODY)))
            xml = {**good.headers, "Content-Type": "application/xml"}
            ask(good, json=None, content=b"<a/>", headers=xml)
            ask(
                good,
                json=None,
                content=b" " * (1024 * 1024 + 1),
                headers={**good.headers, "Content-Type": "application/json"},
            )
        for refused in REFUSED.get(operation_id, ()):
            ask(refused(world))
        for _ in range(3):  # what others do at that moment may change the answer
            tag = ask(good).headers.get("ETag", "*")
            again = ask(good._replace(headers={**good.headers, "If-None-Match": tag}))
            if again.status_code == 304 or "304" not in expected:
                break
        del http.headers["Authorization"]
        ask(good._replace(headers={}))

    seen = {status for name, status in document.seen if name == operation_id}
    assert expected <= seen, f"never answered: {expected - seen}"


def test_answers_with_other_settings_are_as_it_says(document: Document, tmp_path: Path) -> None:
    settings = {"REGISTRATION": "closed", "SMTP_URL": "smtp://127.0.0.1:1?from=beseda@example.com"}
    app = create_app(make_config(tmp_path, sqlite_url(tmp_path), **settings))

    for operation_id, status in WITH_OTHER_SETTINGS:
        operation = document.operations[operation_id]
        content = operation.said["requestBody"]["content"]["application/json"]
        answer = app.test_client().post(operation.path, json=content["example"])
        assert str(answer.status_code) == status
        document.check("POST", operation.path, answer.status_code, answer.headers, answer.data)


# Has its 503, but asks the database later, behind the answer.
ASKS_LATER = {"ask_for_reset"}


@pytest.mark.parametrize("operation_id", sorted(GOOD.keys() - ASKS_LATER))
def test_is_away_with_the_database_as_it_says(
    document: Document, lonely: Flask, operation_id: str
) -> None:
    operation = document.operations[operation_id]
    content = operation.said.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("example")
    path = re.sub(r"{\w+}", "1", operation.path)
    with lonely.app_context():
        access, refresh = tokens.issue_access(1, 1), tokens.issue_refresh(1, 1)
    if body is not None:
        body = body | {key: refresh for key in ("refresh", "token") if key in body}

    with lonely.test_client().open(
        path,
        method=operation.method,
        json=body,
        query_string={"username": "1"} if operation_id == "search_user" else None,
        headers={"Authorization": f"Bearer {access}"},
    ) as answer:
        says_so = "503" in operation.said["responses"]
        if operation_id == "show_picture":
            says_so = False  # of the storage of pictures, which is not away
        assert (answer.status_code == 503) == says_so, answer.text
        document.check(operation.method, path, answer.status_code, answer.headers, answer.data)


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The application, and nobody listens where its database should be."""
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    app = create_app(make_config(tmp_path_factory.mktemp("lonely"), url))
    yield app
    services(app).engine.dispose()


# How it is served


def test_is_served_to_anybody_and_made_once(
    document: Document, routes: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = routes.test_client()
    first = client.get("/api/openapi.json")
    made = encoded.cache_info().misses
    again = client.get("/api/openapi.json")

    assert (first.status_code, first.content_type) == (200, "application/json")
    assert json.loads(first.data) == document.body
    assert first.data == again.data
    assert encoded.cache_info().misses == made


def test_errors_are_in_the_language_asked_for(routes: Flask) -> None:
    answer = routes.test_client().get("/api/openapi.json", headers={"Accept-Language": "en"})

    text = answer.data.decode()
    assert "There is no user with this name." in text
    assert "Нет пользователя" not in text
    assert answer.headers["Vary"] == "Accept-Language"


def test_groups_are_described_in_the_order_of_their_use(document: Document) -> None:
    tags = document.body["tags"]

    assert [tag["name"] for tag in tags][:4] == ["sessions", "accounts", "messenger", "chats"]
    assert all(tag["description"] for tag in tags)
    used = {operation.said["tags"][0] for operation in document.operations.values()}
    assert used == {tag["name"] for tag in tags}


def test_operations_stand_in_the_order_of_their_use(document: Document) -> None:
    """It is the order of the routes in their files."""
    names = [
        name
        for name, operation in document.operations.items()
        if operation.said["tags"] == ["sessions"]
    ]

    assert names == [
        *("create_token", "refresh_token", "verify_token", "blacklist_token"),
        *("list_sessions", "revoke_session"),
    ]


def test_says_once_what_holds_for_all_operations(document: Document) -> None:
    about = document.body["info"]["description"]
    said_once = {"Retry-After", "WWW-Authenticate", "ETag", "If-None-Match", "X-Request-ID"}
    said_once |= {f"X-RateLimit-{name}" for name in ("Limit", "Remaining", "Reset")}

    for operation in document.operations.values():
        named = {each["name"] for each in operation.said.get("parameters", ())}
        for response in operation.said["responses"].values():
            named |= response.get("headers", {}).keys()
        assert not named & said_once
    assert all(name.removeprefix("X-RateLimit") in about for name in said_once)


def test_example_of_a_bad_request_is_of_its_body(document: Document) -> None:
    """Some have headers or a query besides."""
    for name in ("create_message", "create_post", "create_group"):
        bad = document.operations[name].said["responses"]["400"]["content"]
        (example, *_) = bad["application/problem+json"]["examples"].values()
        body = document.operations[name].said["requestBody"]["content"]["application/json"]

        assert example["value"]["errors"].keys() & body["example"].keys(), name


def test_has_no_schema_that_nothing_refers_to(document: Document) -> None:
    text = json.dumps(document.body)

    for name in document.body["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text, name


def test_unchanged_response_is_not_sent_again(routes: Flask) -> None:
    client = routes.test_client()
    tag = client.get("/api/openapi.json").headers["ETag"]

    again = client.get("/api/openapi.json", headers={"If-None-Match": tag})
    other = client.get("/api/openapi.json", headers={"If-None-Match": '"another"'})

    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == tag
    assert other.status_code == 200


def test_has_no_method_that_this_file_forgets(document: Document) -> None:
    known = set(METHODS)

    assert all(item.keys() <= known for item in document.body["paths"].values())
