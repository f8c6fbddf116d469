"""What an operator does for people from the command line."""

import json
import os
import pty
import re
import select
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade

from app import create_app
from app.accounts import invitations
from app.accounts.models import User
from app.cli.users import users
from app.clock import utcnow
from app.services import services
from tests import processes
from tests.apps import set_config
from tests.conftest import make_config, sqlite_url
from tests.factories import PASSWORD, make_person, new_name
from tests.servers import ROOT, Server, free_port

NEW_PASSWORD = "another horse battery"
COMMAND = [sys.executable, "-m", "flask", "--app", "wsgi", "users"]


@pytest.fixture
def operate(app: Flask) -> Callable[..., Result]:
    """Run a command in this process."""

    def run(*arguments: str, stdin: str | bytes = "") -> Result:
        result = app.test_cli_runner().invoke(args=["users", *arguments], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


def in_process(
    server: Server, *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, as an operator would beside a server."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=server.env,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def register(client: FlaskClient, username: str | None = None) -> dict[str, Any]:
    name = username or new_name()
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    user: dict[str, Any] | None = client.post("/accounts/api/users/", json=body).json
    assert user is not None
    return user


def log_in(client: FlaskClient, username: str, password: str = PASSWORD) -> int:
    body = {"username": username, "password": password}
    return client.post("/accounts/api/token/", json=body).status_code


def confirm(client: FlaskClient, token: str) -> int:
    body = {"token": token, "new_password": NEW_PASSWORD}
    return client.post("/accounts/api/password/reset/confirm/", json=body).status_code


def bearer(client: FlaskClient, username: str) -> dict[str, str]:
    body = {"username": username, "password": PASSWORD}
    tokens = client.post("/accounts/api/token/", json=body).json
    assert tokens is not None
    return {"Authorization": f"Bearer {tokens['access']}"}


def is_in(client: FlaskClient, headers: dict[str, str]) -> bool:
    return client.get("/profiles/api/profile/", headers=headers).status_code == 200


# list


def test_list_shows_everybody_to_people_and_to_programs(
    client: FlaskClient, operate: Callable[..., Result]
) -> None:
    ann = register(client, "Анна")
    register(client, "bob")
    operate("make-admin", "Анна")
    operate("deactivate", "bob")

    table, found = operate("list"), json.loads(operate("list", "--json").stdout)

    assert [user["username"] for user in found] == ["Анна", "bob"]
    assert found[0] == ann | {
        "is_active": True,
        "is_admin": True,
        "created_at": found[0]["created_at"],
    }
    assert found[1]["is_active"] is False
    first, second, third = table.stdout.splitlines()
    assert first.split() == ["id", "username", "email", "created"]
    assert second.split()[:3] == [str(ann["id"]), "Анна", ann["email"]]
    assert second.endswith("administrator")
    assert third.endswith("deactivated")
    assert "password" not in table.stdout + json.dumps(found)


def test_list_of_nobody_is_empty(operate: Callable[..., Result]) -> None:
    assert json.loads(operate("list", "--json").stdout) == []
    assert operate("list").exit_code == 0


# create


def test_create_without_a_password_prints_a_link_to_one(
    client: FlaskClient, operate: Callable[..., Result]
) -> None:
    result = operate("create", "ann", "ann@example.com")

    assert result.exit_code == 0
    assert log_in(client, "ann") == 401
    link = result.stdout.strip()  # it is all that is on stdout
    assert confirm(client, link.partition("/reset#")[2]) == 200
    assert log_in(client, "ann", NEW_PASSWORD) == 200
    assert "ann" in result.stderr


def test_user_created_with_a_password_can_log_in(
    client: FlaskClient, operate: Callable[..., Result]
) -> None:
    result = operate(
        "create", "ann", "ann@example.com", "--password-stdin", "--json", stdin=PASSWORD + "\n"
    )

    made = json.loads(result.stdout)
    assert (made["username"], made["email"]) == ("ann", "ann@example.com")
    assert log_in(client, "ann") == 200


@pytest.mark.parametrize("mode", ["closed", "invite"])
def test_create_needs_no_invitation(
    app: Flask,
    client: FlaskClient,
    operate: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    set_config(app, monkeypatch, REGISTRATION=mode)

    assert operate("create", "ann", "ann@example.com").exit_code == 0
    assert operate("create", "ann", "other@example.com").exit_code == 1


def test_create_names_all_that_is_wrong_and_makes_nobody(
    client: FlaskClient, operate: Callable[..., Result]
) -> None:
    register(client, "ann")

    said = operate("create", "ann", "x", "--password-stdin", stdin="short")
    data = operate("create", "ann", "x", "--password-stdin", "--json", stdin="short")
    named = operate("create", "longenough", "a@b.example", "--password-stdin", stdin="LongEnough")

    assert said.exit_code == data.exit_code == named.exit_code == 1
    assert "username: A user with this name already exists." in said.stderr
    assert "email: This is not an e-mail address." in said.stderr
    assert "password: A password has at least 8 characters." in said.stderr
    problem = json.loads(data.stderr)
    assert set(problem["errors"]) == {"username", "email", "password"}
    assert problem["code"] == "invalid"
    assert "password: The password must not be your name" in named.stderr
    assert said.stdout == data.stdout == ""
    assert len(json.loads(operate("list", "--json").stdout)) == 1


# set-password


def test_set_password_ends_sessions_and_the_old_password(
    client: FlaskClient, operate: Callable[..., Result]
) -> None:
    register(client, "ann")
    headers = bearer(client, "ann")
    token = json.loads(operate("reset-link", "ann", "--json").stdout)["token"]

    result = operate("set-password", "ANN", "--password-stdin", stdin=f"{NEW_PASSWORD}\r\n")

    assert result.exit_code == 0
    assert not is_in(client, headers)
    assert confirm(client, token) == 400
    assert log_in(client, "ann") == 401
    assert log_in(client, "ann", NEW_PASSWORD) == 200


@pytest.mark.parametrize(
    "typed", ["", "short", "password1", "12345678901", "ann.smith", b"\xff" * 9, "nine\0chars"]
)
def test_set_password_asks_as_much_of_it_as_the_api(
    client: FlaskClient, operate: Callable[..., Result], typed: str | bytes
) -> None:
    register(client, "ann.smith")

    result = operate("set-password", "ann.smith", "--password-stdin", stdin=typed)

    assert result.exit_code == 1
    assert "password: " in result.stderr
    assert log_in(client, "ann.smith") == 200


def test_password_is_asked_for_only_where_somebody_can_answer(
    client: FlaskClient, operate: Callable[..., Result]
) -> None:
    register(client, "ann")

    result = operate("set-password", "ann", stdin=f"{NEW_PASSWORD}\n{NEW_PASSWORD}\n")

    assert result.exit_code == 2
    assert "--password-stdin" in result.stderr
    assert log_in(client, "ann") == 200


def test_password_is_no_argument(operate: Callable[..., Result]) -> None:
    assert operate("set-password", "ann", NEW_PASSWORD).exit_code == 2
    assert operate("create", "ann", "ann@example.com", NEW_PASSWORD).exit_code == 2


def test_password_that_is_typed_is_not_shown(server: Server) -> None:
    ann = make_person(server.url)
    with on_terminal(server, "set-password", ann.username) as (process, terminal):
        said = b""
        for prompt in (b"Password: ", b"Repeat for confirmation: "):
            said += read_until(terminal.fileno(), prompt)
            terminal.write(f"{NEW_PASSWORD}\n".encode())
        said += read_until(terminal.fileno(), b"has a new password")
        assert process.wait(30) == 0

    assert NEW_PASSWORD.encode() not in said
    assert ann.get("/profiles/api/profile/").status_code == 401


@contextmanager
def on_terminal(
    server: Server, *arguments: str
) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    """Run a command on a terminal, whose other end is ours."""
    ours, its = pty.openpty()
    process = processes.start(
        [*COMMAND, *arguments], cwd=ROOT, env=server.env, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    with closing(os.fdopen(ours, "r+b", buffering=0)) as terminal:
        yield process, terminal


def read_until(descriptor: int, expected: bytes) -> bytes:
    said = b""
    deadline = time.monotonic() + 30
    while expected not in said:
        left = deadline - time.monotonic()
        assert left > 0, said
        if select.select([descriptor], [], [], left)[0]:
            said += os.read(descriptor, 1024)
    return said


# delete


def test_deleted_user_is_gone(client: FlaskClient, operate: Callable[..., Result]) -> None:
    ann = register(client, "ann")
    register(client, "bob")
    headers = bearer(client, "ann")

    gone = operate("delete", "ANN", "--yes", "--json")

    assert (gone.exit_code, json.loads(gone.stdout)) == (0, {"id": ann["id"]})
    assert not is_in(client, headers)
    assert log_in(client, "ann") == 401
    assert [user["username"] for user in json.loads(operate("list", "--json").stdout)] == ["bob"]
    assert operate("delete", f"deleted~{ann['id']}", "--yes").exit_code == 1


def test_delete_without_a_terminal_needs_yes(
    client: FlaskClient, operate: Callable[..., Result]
) -> None:
    register(client, "ann")

    result = operate("delete", "ann", stdin="y\n")

    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert log_in(client, "ann") == 200


@pytest.mark.parametrize(("answer", "is_gone"), [("n", False), ("y", True)])
def test_delete_asks_for_confirmation_on_a_terminal(
    server: Server, answer: str, is_gone: bool
) -> None:
    ann = make_person(server.url)
    with on_terminal(server, "delete", ann.username) as (process, terminal):
        read_until(terminal.fileno(), b"for ever? [y/N]: ")
        terminal.write(f"{answer}\n".encode())
        read_until(terminal.fileno(), b"is erased" if is_gone else b"Aborted")
        assert process.wait(30) == (0 if is_gone else 1)

    assert (ann.get("/profiles/api/profile/").status_code == 401) is is_gone


# activate, deactivate, make-admin


def test_deactivated_user_is_out_until_activated(
    client: FlaskClient, operate: Callable[..., Result]
) -> None:
    register(client, "ann")
    headers = bearer(client, "ann")
    token = json.loads(operate("reset-link", "ann", "--json").stdout)["token"]

    out = operate("deactivate", "ann", "--json")
    was_out = not is_in(client, headers) and log_in(client, "ann") == 401
    back = operate("activate", "ann", "--json")

    assert was_out
    assert json.loads(out.stdout)["is_active"] is False
    assert json.loads(back.stdout)["is_active"] is True
    assert log_in(client, "ann") == 200
    assert not is_in(client, headers)  # that session is over for good
    assert confirm(client, token) == 400


def test_administrator_is_made_and_unmade(
    client: FlaskClient, operate: Callable[..., Result]
) -> None:
    register(client, "ann")

    made = json.loads(operate("make-admin", "ann", "--json").stdout)
    unmade = json.loads(operate("make-admin", "ann", "--revoke", "--json").stdout)

    assert (made["is_admin"], unmade["is_admin"]) == (True, False)


def test_log_of_a_command_is_no_part_of_its_json(server: Server) -> None:
    ann = make_person(server.url)

    done = in_process(server, "delete", ann.username, "--yes", "--json")

    assert json.loads(done.stdout)["id"] == ann.id
    assert "account erased" in done.stderr


# invite, reset-link


def test_invite_prints_a_link_or_where_there_is_no_page_a_code(
    app: Flask, operate: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, data = operate("invite"), json.loads(operate("invite", "--days", "1", "--json").stdout)
    set_config(app, monkeypatch, REGISTRATION="invite", PUBLIC_URL="https://chat.example")
    silent = operate("invite")
    set_config(app, monkeypatch, WEB_CLIENT="off")
    bare = operate("invite")

    with app.app_context():
        assert invitations.is_valid(text.stdout.partition("http://127.0.0.1:8000/invite#")[2])
        assert invitations.is_valid(silent.stdout.partition("https://chat.example/invite#")[2])
        assert invitations.is_valid(bare.stdout)
        assert invitations.is_valid(data["code"])
    assert data["expires_at"] < json.loads(operate("invite", "--json").stdout)["expires_at"]
    assert "REGISTRATION is open" in text.stderr
    assert "Set PUBLIC_URL" in text.stderr
    assert "PUBLIC_URL" not in silent.stderr + bare.stderr
    assert "REGISTRATION" not in silent.stderr
    assert operate("invite", "--days", "0").exit_code == 2


def test_reset_link_leads_to_our_page_or_that_of_the_operator_or_is_a_token(
    app: Flask,
    client: FlaskClient,
    operate: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(client, "ann")

    own = operate("reset-link", "ann")
    set_config(app, monkeypatch, WEB_CLIENT="off")
    bare = operate("reset-link", "ann")
    set_config(app, monkeypatch, PASSWORD_RESET_URL="https://chat.example/new")
    linked = operate("reset-link", "ann")
    data = json.loads(operate("reset-link", "ann", "--hours", "48", "--json").stdout)

    assert own.stdout.startswith("http://127.0.0.1:8000/reset#")
    assert linked.stdout.startswith("https://chat.example/new#token=")
    assert data["link"] == f"https://chat.example/new#token={data['token']}"
    assert confirm(client, linked.stdout.strip().partition("#token=")[2]) == 200
    assert confirm(client, bare.stdout.strip()) == 400  # of two, one


def test_there_is_no_reset_link_for_who_is_deactivated(
    client: FlaskClient, operate: Callable[..., Result]
) -> None:
    register(client, "ann")
    operate("deactivate", "ann")

    result = operate("reset-link", "ann", "--json")

    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(result.stderr)["code"] == "user_deactivated"


# Wrong input


@pytest.mark.parametrize(
    "command", ["set-password", "delete", "deactivate", "activate", "make-admin", "reset-link"]
)
def test_unknown_user_is_named_and_near_names_too(
    client: FlaskClient, operate: Callable[..., Result], command: str
) -> None:
    register(client, "Anna.Smith")
    register(client, "bob")

    for typed in ("ana.smith", "anna.smith@example.com"):
        result = operate(command, typed, "--json")
        assert (result.exit_code, result.stdout) == (1, "")
        problem = json.loads(result.stderr)
        assert (problem["code"], problem["similar"]) == ("user_not_found", ["Anna.Smith"])
    spoken = operate(command, "ana.smith")
    assert "There is no user 'ana.smith'. Did you mean Anna.Smith?" in spoken.stderr
    assert "Did you mean" not in operate(command, "zzzzzz").stderr


def test_owner_of_an_address_is_named(operate: Callable[..., Result]) -> None:
    operate("create", "bob", "Someone.Else@example.com")

    result = operate("reset-link", "someone.else@example.com", "--json")

    assert result.exit_code == 1
    assert json.loads(result.stderr)["similar"] == ["bob"]


def test_deleted_user_is_as_unknown_as_any(
    app: Flask, client: FlaskClient, operate: Callable[..., Result]
) -> None:
    user = register(client, "ann")
    with services(app).engine.begin() as connection:
        connection.execute(
            User.__table__.update().where(User.id == user["id"]).values(deleted_at=utcnow())
        )

    assert operate("activate", "ann").exit_code == 1
    assert "Did you mean" not in operate("reset-link", "anne").stderr
    assert json.loads(operate("list", "--json").stdout) == []


def test_name_that_is_no_text_is_unknown(operate: Callable[..., Result]) -> None:
    assert operate("deactivate", "ann\udcff").exit_code == 1
    assert operate("create", "ann\udcff", "ann@example.com").exit_code == 1


def test_the_page_for_operators_has_every_command() -> None:
    page = (ROOT / "docs" / "accounts.md").read_text().partition("## Commands")[2]
    rows = "".join(line for line in page.splitlines() if line.startswith("| `"))

    assert users.commands.keys() == set(re.findall(r"`([a-z][a-z-]+) ?", rows))


# Beside a server, and without one


def test_commands_go_beside_a_server_that_writes(server: Server) -> None:
    ann, bob = make_person(server.url), make_person(server.url)
    room = ann.open_room(bob)
    is_over = threading.Event()

    def chat() -> None:
        while not is_over.is_set():
            sent = bob.post(f"/messenger/api/chatrooms/{room['name']}/messages/", {"content": "x"})
            assert sent.status_code == 201

    chatter = threading.Thread(target=chat)
    chatter.start()
    try:
        done = in_process(server, "deactivate", ann.username)
    finally:
        is_over.set()
        chatter.join()

    assert done.returncode == 0, done.stderr
    assert ann.get("/profiles/api/profile/").status_code == 401


def test_command_waits_for_a_server_that_writes_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.transactions.TURN_SECONDS", 0.01)
    config = make_config(tmp_path, sqlite_url(tmp_path))
    with create_app(config).app_context():
        upgrade()
        services().engine.dispose()
    app = create_app(config)
    file = tmp_path / "beseda.db"
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        end = threading.Timer(0.5, writer.execute, ["COMMIT"])
        end.start()
        result = app.test_cli_runner().invoke(args=["users", "invite"])
        end.join()
    services(app).engine.dispose()

    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_unavailable_database_is_reported_in_a_sentence(tmp_path: Path, as_json: bool) -> None:
    url = f"postgresql://beseda:hidden@127.0.0.1:{free_port()}/beseda"
    app = create_app(make_config(tmp_path, url))

    result = app.test_cli_runner().invoke(args=["users", "list", *["--json"] * as_json])

    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "cannot be reached" in result.stderr
    assert "hidden" not in result.stderr
    if as_json:
        assert json.loads(result.stderr)["code"] == "database_unavailable"
    else:
        assert "refused" in result.stderr  # what the driver says


def test_missing_migration_is_reported_with_what_to_do(tmp_path: Path) -> None:
    app = create_app(make_config(tmp_path, sqlite_url(tmp_path)))

    result = app.test_cli_runner().invoke(args=["users", "create", "ann", "ann@example.com"])
    services(app).engine.dispose()

    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "./beseda db upgrade" in result.stderr
