"""`import-users`: everybody of a file, or nobody, with the passwords they have."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from app.accounts import bulk_import
from app.accounts.bulk_import import ImportedUser, ImportRefused
from app.accounts.models import User
from app.cli.errors import DatabaseFailure
from app.clock import utcnow
from app.database.transactions import reading
from app.services import services
from tests.servers import ROOT, Server

# Made by Django 5.2: "yourpassword" each.
PBKDF2 = "pbkdf2_sha256$1000$Qw8XnLkzVb5sRt3mYp7cHd$V7I1rT3cPh3WhnjRg459srz/N1U9bN+Il4/4whcKAUA="
ARGON2 = "argon2$argon2id$v=19$m=102400,t=2,p=8$UXc4WG5Ma3pWYjVzUnQzbVlwN2NIZA$YSHphu18jbtIXda3DD8fGZHOPY/zKZkB1TbY2HwW3fs"
PASSWORD = "yourpassword"

ON_SQLITE = pytest.mark.parametrize("app", ["sqlite"], indirect=True)


def row(username: str, password: str = PBKDF2, email: str = "", **columns: str) -> str:
    cells = {"is_active": "1", "is_superuser": "0", "date_joined": "2020-02-29 10:00:00"} | columns
    return ",".join([username, email or f"{username}@example.com", password, *cells.values()])


def csv(folder: Path, *rows: str) -> str:
    header = "username,email,password,is_active,is_superuser,date_joined"
    file = folder / "users.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return str(file)


def users(app: Flask) -> dict[str, str]:
    """Return who is there: what is stored in the place of their passwords, by name."""
    with reading(services(app).engine) as connection:
        return dict(connection.execute(select(User.username, User.password_hash)).all())


def log_in(client: FlaskClient, username: str, password: str = PASSWORD) -> int:
    body = {"username": username, "password": password}
    return client.post("/accounts/api/token/", json=body).status_code


@pytest.mark.usefixtures("costly_hashes")
def test_people_log_in_with_the_passwords_they_had(
    app: Flask, client: FlaskClient, tmp_path: Path
) -> None:
    file = csv(
        tmp_path,
        row("ann"),
        row("борис", f'"{ARGON2}"', "boris@example.com", is_superuser="1"),
        row("eve", is_active="0"),
        row("kim", "!unusable"),
    )

    done = app.test_cli_runner().invoke(args=["import-users", file])

    assert done.exit_code == 0, done.output
    assert "Imported 4 users" in done.output
    assert "administrators: борис" in done.output
    assert [log_in(client, name) for name in ("ann", "борис", "eve", "kim")] == [200, 200, 401, 401]
    assert log_in(client, "ann", "another password") == 401
    # Whoever has logged in has one of our hashes now, and it is of the same password.
    stored = users(app)
    ours = {name for name in stored if stored[name].startswith("$argon2id$v=19$m=19456,t=2,p=1$")}
    assert ours == {"ann", "борис"}
    assert [log_in(client, name) for name in ("ann", "борис")] == [200, 200]
    with reading(services(app).engine) as connection:
        found = connection.execute(
            select(User.is_admin, func.min(User.created_at)).group_by(User.is_admin)
        ).all()
    assert {is_admin: str(at) for is_admin, at in found} == {
        False: "2020-02-29 10:00:00+00:00",
        True: "2020-02-29 10:00:00+00:00",
    }


def test_import_makes_nobody_if_one_row_is_refused(
    app: Flask, client: FlaskClient, tmp_path: Path
) -> None:
    registered = {"username": "Bob", "email": "x@example.com", "password": PASSWORD}
    assert client.post("/accounts/api/users/", json=registered).status_code == 201
    file = csv(
        tmp_path,
        row("ann"),
        row("bob"),
        row("eve", email="X@example.com"),
        row("k m", email="k@example.com"),
    )

    plain = app.test_cli_runner().invoke(args=["import-users", file])
    for_programs = app.test_cli_runner().invoke(args=["import-users", "--json", file])

    assert plain.exit_code == for_programs.exit_code == 1
    assert (
        "line 3 (record 2, 'bob'), username: A user with this name already exists." in plain.output
    )
    assert "3 users cannot be imported, so none was." in plain.output
    report = json.loads(for_programs.output)
    assert report["imported"] == 0
    assert [(each["line"], each["field"]) for each in report["refused"]] == [
        (3, "username"),
        (4, "email"),
        (5, "username"),
    ]
    assert PBKDF2 not in plain.output + for_programs.output
    assert list(users(app)) == ["Bob"]


def test_rehearsal_lets_nobody_in(app: Flask, tmp_path: Path) -> None:
    file = csv(tmp_path, row("ann"), row("bob"))

    plain = app.test_cli_runner().invoke(args=["import-users", "--dry-run", file])
    for_programs = app.test_cli_runner().invoke(args=["import-users", "--dry-run", "--json", file])

    assert plain.exit_code == for_programs.exit_code == 0
    assert "Could import 2 users" in plain.output
    assert json.loads(for_programs.output)["imported"] == 0
    assert users(app) == {}


def test_two_imports_at_once_let_everybody_in_once(app: Flask) -> None:
    imported_users = [
        ImportedUser(f"user{number}", f"user{number}@example.com", PBKDF2, True, False, utcnow())
        for number in range(1200)
    ]
    barrier = threading.Barrier(2)
    outcomes: list[int] = []

    def let_in() -> None:
        with app.app_context():
            barrier.wait()
            try:
                bulk_import.import_users(imported_users)
                outcomes.append(0)
            except ImportRefused as refused:
                outcomes.append(len(refused.errors))

    threads = [threading.Thread(target=let_in) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    first, second = sorted(outcomes)
    # The other one looks while they come in, so it may see some of them only.
    assert (first, 0 < second <= 1200) == (0, True)
    assert len(users(app)) == 1200


@ON_SQLITE
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "neither JSON nor CSV"),
        ("[]", "no users in it"),
        ('[{"model": "a.b"', "not valid JSON"),
    ],
)
def test_file_without_users_is_an_error(
    app: Flask, tmp_path: Path, content: str, reason: str
) -> None:
    (tmp_path / "dump").write_text(content)

    done = app.test_cli_runner().invoke(args=["import-users", str(tmp_path / "dump")])

    assert done.exit_code == 1
    assert reason in done.output


def test_missing_migration_is_reported_in_a_sentence(tmp_path: Path) -> None:
    # From the outside, as an operator sees it; the file comes through a pipe.
    content = Path(csv(tmp_path, row("ann"))).read_bytes()

    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "import-users", "-"],
        cwd=ROOT,
        env=Server(tmp_path).env,
        input=content,
        capture_output=True,
        check=False,
    )

    assert done.returncode == DatabaseFailure.exit_code
    assert b"./beseda db upgrade" in done.stderr
    assert b"Traceback" not in done.stderr
    assert PBKDF2.encode() not in done.stderr


def test_people_without_a_password_are_invited_to_choose_one(
    app: Flask, client: FlaskClient
) -> None:
    file = b"username,email\nann,ann@example.com\nbob,bob@example.com\n"

    rehearsed = app.test_cli_runner().invoke(args=["import-users", "-", "--dry-run"], input=file)
    done = app.test_cli_runner().invoke(args=["import-users", "-"], input=file)

    assert "/reset#" not in rehearsed.stdout
    lines = [line.split(",") for line in done.stdout.splitlines() if "/reset#" in line]
    assert [line[:2] for line in lines] == [["ann", "ann@example.com"], ["bob", "bob@example.com"]]
    assert log_in(client, "ann") == 401
    body = {"token": lines[0][2].partition("#")[2], "new_password": PASSWORD + "s"}
    assert client.post("/accounts/api/password/reset/confirm/", json=body).status_code == 200
    assert log_in(client, "ann", PASSWORD + "s") == 200
