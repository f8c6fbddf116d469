"""`backup` and `restore`: all that there was, or nothing; and nothing is lost on the way."""

import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from flask import Flask
from flask_migrate import downgrade, upgrade
from PIL import Image
from sqlalchemy import String, select, text, update

import config
from app import create_app
from app.accounts.registration import register
from app.database.transactions import reading, writing
from app.extensions import db
from app.media.avatars import avatar_from
from app.media.store import FolderStore
from app.messenger.events import MessengerEvents
from app.messenger.groups import create_group
from app.messenger.models import Room
from app.operations.backup_format import Installation, count_rows
from app.operations.backup_read import opened
from app.operations.backup_write import MEDIA_COLUMNS, write_backup
from app.profiles.models import Profile
from app.profiles.services import change_profile, write_post
from app.services import services
from config import Config
from tests.conftest import make_config, sqlite_url
from tests.delivery.faults import SETTINGS
from tests.delivery.load import Load, list_messages
from tests.servers import Server


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Flask]]:
    """Make installations, each in a folder of its own with a signing key of its own."""
    apps = []

    def start(name: str, *, is_migrated: bool = True, **settings: str) -> Flask:
        folder = tmp_path / name
        monkeypatch.setattr(config, "INSTANCE", folder)
        kept = {"DATABASE_URL": sqlite_url(folder), "MEDIA_ROOT": str(folder / "media")}
        app = create_app(Config.from_env(kept | settings))
        if is_migrated:
            with app.app_context():
                upgrade()
        apps.append(app)
        return app

    yield start
    for app in apps:
        services(app).engine.dispose()


def picture(color: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(out, "PNG")
    return out.getvalue()


def fill(app: Flask, *names: str) -> None:
    with app.app_context():
        for name in names:
            user = register(name, f"{name}@example.com", "correct horse battery")
            write_post(user["id"], name, "Пост", f"Текст {name}")
            change_profile(user["id"], {"bio": name, "image": picture("red")})


def run(app: Flask, *args: str | Path) -> Result:
    # Commands are processes of their own: what a test had open is closed.
    services(app).engine.dispose()
    return app.test_cli_runner().invoke(args=[str(each) for each in args])


def content(app: Flask) -> dict[str, Any]:
    """Return all rows but the epoch, which a restore draws anew, all pictures and the key."""
    engine = services(app).engine
    with reading(engine) as connection:
        tables = connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'"))
        found: dict[str, Any] = {
            table: connection.execute(text(f"SELECT * FROM {table} ORDER BY 1")).all()
            for table in tables.all()
            if table != "installation"
        }
    engine.dispose()
    folder = Path(engine.url.database).parent
    files = [path for path in folder.rglob("*") if path.suffix in (".jpg", "") and path.is_file()]
    return found | {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_restored_database_is_in_another_epoch(
    start: Callable[..., Flask], tmp_path: Path
) -> None:
    old, file = start("old"), tmp_path / "backup.tar"
    epoch = MessengerEvents(services(old).engine).epoch()
    run(old, "backup", file)
    new = start("new", is_migrated=False)

    run(new, "restore", file)

    restored = MessengerEvents(services(new).engine).epoch()
    services(new).engine.dispose()
    assert restored not in (epoch, "")


def test_the_picture_of_a_group_is_in_the_backup(
    start: Callable[..., Flask], tmp_path: Path
) -> None:
    old, file = start("old"), tmp_path / "backup.tar"
    fill(old, "ann")
    with old.app_context():
        image = services().media.save(avatar_from(picture("green")))
        room_id, _ = create_group(1, "Team", [], "all")
        with writing() as connection:
            connection.execute(update(Room).where(Room.id == room_id).values(image=image))
    run(old, "backup", file)
    new = start("new", is_migrated=False)

    run(new, "restore", file)

    assert services(new).media.find(image) is not None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_all_that_there_was_is_there_again(start: Callable[..., Flask], tmp_path: Path) -> None:
    old, file = start("old"), tmp_path / "backup.tar"
    fill(old, "ann", "борис")
    with old.app_context(), writing() as connection:  # the highest id is never used again
        connection.execute(text("DELETE FROM posts WHERE id = 2"))

    backed_up = run(old, "backup", file)
    before = content(old)
    new = start("new", is_migrated=False)
    restored = run(new, "restore", file)

    assert (backed_up.exit_code, restored.exit_code) == (0, 0), backed_up.output + restored.output
    for said in (backed_up.output, restored.output):
        assert "2 users" in said
        assert "2 files, the signing key" in said
    assert content(new) == before
    assert {name for name in before if "jpg" in name} != set()
    assert [
        mode(file),
        mode(tmp_path / "new" / "beseda.db"),
        mode(tmp_path / "new" / "jwt_secret_key"),
    ] == [0o600] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "new", "old"]


def test_backup_is_not_overwritten(start: Callable[..., Flask], tmp_path: Path) -> None:
    old, file = start("old"), tmp_path / "backup.tar"
    file.write_text("precious")

    done = run(old, "backup", file)

    assert done.exit_code == 1
    assert "not overwritten" in done.output
    assert file.read_text() == "precious"


def test_key_stays_where_it_is_when_asked_to(start: Callable[..., Flask], tmp_path: Path) -> None:
    old, file = start("old"), tmp_path / "backup.tar"

    run(old, "backup", "--without-key", file)
    new = start("new", is_migrated=False)
    key = (tmp_path / "new" / "jwt_secret_key").read_text()
    restored = run(new, "restore", file)

    with tarfile.open(file) as tar:
        assert sorted(tar.getnames()) == ["beseda.db", "manifest.json"]
    assert restored.exit_code == 0
    assert "everybody has to log in again" in restored.output
    assert (tmp_path / "new" / "jwt_secret_key").read_text() == key


def test_key_of_the_environment_is_neither_backed_up_nor_replaced(
    start: Callable[..., Flask], tmp_path: Path
) -> None:
    given, file = {"JWT_SECRET_KEY": "given by the environment, 32 bytes"}, tmp_path / "backup.tar"
    start("old")  # has kept one of its own, which is not in use any more
    old = start("old", **given)

    run(old, "backup", file)
    kept, given_key = tmp_path / "kept.tar", tmp_path / "new" / "jwt_secret_key"
    run(start("other"), "backup", kept)
    restored = run(start("new", is_migrated=False, **given), "restore", kept)

    with tarfile.open(file) as tar:
        assert "jwt_secret_key" not in tar.getnames()
    assert restored.exit_code == 0
    assert "JWT_SECRET_KEY is set and stays" in restored.output
    assert not given_key.exists()


def test_installation_with_anything_in_it_is_refused_unless_it_may_go(
    start: Callable[..., Flask], tmp_path: Path
) -> None:
    old, new, file = start("old"), start("new"), tmp_path / "backup.tar"
    fill(old, "ann")
    fill(new, "eve", "kim")
    start("old")  # whose key is the one that the command sees
    run(old, "backup", file)
    was, start_new = content(new), start("new")

    refused = run(start_new, "restore", file)
    unchanged = content(new)
    replaced = run(start_new, "restore", "--replace", file)

    assert refused.exit_code == 1
    assert "2 users" in refused.output
    assert "--replace" in refused.output
    assert unchanged == was
    assert replaced.exit_code == 0
    assert content(new) == content(old)


def test_pictures_alone_make_an_installation_that_is_not_empty(
    start: Callable[..., Flask], tmp_path: Path
) -> None:
    old, new, file = start("old"), start("new"), tmp_path / "backup.tar"
    run(old, "backup", file)
    services(new).media.save(picture("blue"))

    assert "1 files" in run(new, "restore", file).output


@pytest.mark.server
def test_nothing_that_was_acknowledged_is_missing_from_a_backup_made_under_load(
    tmp_path: Path,
) -> None:
    file = tmp_path / "backup.tar"
    old, new = (Server(tmp_path / name, SETTINGS) for name in ("old", "new"))
    for server in (old, new):
        server.folder.mkdir()
    of_old, of_new = (
        create_app(make_config(server.folder, sqlite_url(server.folder))) for server in (old, new)
    )
    with old, Load([old.url]) as load:
        load.wait_until_busy()
        acked = list(load.history.acks)
        made = run(of_old, "backup", file)
        while_served = run(of_old, "restore", "--replace", file)
        load.wait_until_live(3)
    assert made.exit_code == 0, made.output
    assert while_served.exit_code == 1
    assert "First stop the server" in while_served.output
    assert load.problems() == []

    restored = run(of_new, "restore", file)
    assert restored.exit_code == 0, restored.output
    new.start()
    try:
        for room, owner in load.owners.items():
            with httpx.Client(base_url=new.url, headers=owner.bearer, timeout=30) as http:
                found = list_messages(replace(owner, http=http), room)
            # It is what there was at one moment: the beginning of what there was in the end.
            assert found == load.history.stored[room][: len(found)]
            assert {ack.message for ack in acked if ack.room == room} <= set(found)
        with Load([new.url]) as more:
            more.wait_until_busy()
    finally:
        new.stop()
    print(load.report(), more.report(), sep="\n")
    assert more.problems() == []


class ReplacedMeanwhile(FolderStore):
    """A store in which, once, a picture is replaced in the moment when it is looked for."""

    app: Flask
    is_done = False

    def find(self, name: str) -> Any:
        if not self.is_done:
            self.is_done = True
            with self.app.app_context():
                change_profile(1, {"image": picture("blue")})
        return super().find(name)


def test_picture_that_is_replaced_during_the_backup_is_there_as_one_of_both(
    start: Callable[..., Flask], tmp_path: Path
) -> None:
    app, file = start("old"), tmp_path / "backup.tar"
    fill(app, "ann", "bob")
    store = ReplacedMeanwhile(tmp_path / "old" / "media")
    store.app = app

    manifest = write_backup(Installation(tmp_path / "old" / "beseda.db", store, None), file)

    with reading(services(app).engine) as connection:
        now = set(connection.scalars(select(Profile.image)))
    assert set(manifest.pictures) == now
    assert manifest.missing == []


def test_picture_that_has_long_been_missing_is_reported(
    start: Callable[..., Flask], tmp_path: Path
) -> None:
    app, file = start("old"), tmp_path / "backup.tar"
    fill(app, "ann")
    (name,) = services(app).media.names()
    services(app).media.delete(name)

    done = run(app, "backup", file)

    assert done.exit_code == 0
    assert "Warning: 1 files" in done.output
    assert name in done.output


# Backups that are none


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with tarfile.open(file) as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}
    change(files)
    with tarfile.open(file, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[data.index(b"correct horse")] ^= 1
    file.write_bytes(data)


def forge(**values: Any) -> Callable[[Path], None]:
    def change(files: dict[str, bytes]) -> None:
        manifest = json.loads(files["manifest.json"])
        files["manifest.json"] = json.dumps(manifest | values).encode()

    return lambda file: rewritten(file, change)


def smuggle(file: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        manifest = json.loads(files["manifest.json"])
        manifest["files"]["media/../../evil"] = manifest["files"]["beseda.db"]
        files["manifest.json"] = json.dumps(manifest).encode()
        files["media/../../evil"] = files["beseda.db"]

    rewritten(file, change)


def alter(statement: str) -> Callable[[Path], None]:
    """Let somebody change the database in a backup, and its manifest with it."""

    def change(files: dict[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "beseda.db")
            path.write_bytes(files["beseda.db"])
            with closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA journal_mode = DELETE")
                database.execute(statement)
                database.commit()
                tables = count_rows(database)
            files["beseda.db"] = data = path.read_bytes()
        manifest = json.loads(files["manifest.json"])
        digest = hashlib.sha256(data).hexdigest()
        manifest["files"]["beseda.db"] = {"bytes": len(data), "sha256": digest}
        files["manifest.json"] = json.dumps(manifest | {"tables": tables}).encode()

    return lambda file: rewritten(file, change)


def replace_picture(**attributes: Any) -> Callable[[Path], None]:
    """Let a picture of a backup be a member of another kind."""

    def change(file: Path) -> None:
        with tarfile.open(file) as tar:
            members = [(member, tar.extractfile(member).read()) for member in tar.getmembers()]
        with tarfile.open(file, "w") as tar:
            for member, data in members:
                if member.name.startswith("media/"):
                    for name, value in attributes.items():
                        setattr(member, name, value)
                    member.linkname = member.name
                    member.size = 0 if "type" in attributes else member.size
                tar.addfile(member, io.BytesIO(data))

    return change


SPARSE = {"GNU.sparse.major": "0", "GNU.sparse.size": str(2**50), "GNU.sparse.map": "0,0"}
PROMOTE = "BEGIN UPDATE users SET is_admin = 1 WHERE id = NEW.id; END"


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (alter(f"CREATE TRIGGER t AFTER INSERT ON users {PROMOTE}"), "look at trigger 't'"),
        (alter("CREATE VIEW v AS SELECT * FROM users"), "look at view 'v'"),
        (alter("ALTER TABLE users ADD evil DEFAULT 1"), "look at table 'users'"),
        (alter('CREATE TABLE "x\x1b[2JEVIL" (id)'), "x\\x1b[2JEVIL"),
        (replace_picture(type=tarfile.SYMTYPE), "there is no media/"),
        (replace_picture(type=tarfile.LNKTYPE), "there is no media/"),
        (replace_picture(type=tarfile.FIFOTYPE), "there is no media/"),
        (replace_picture(pax_headers=SPARSE), "there is no media/"),
        (cut_short, "not complete"),
        (flip_a_bit, "is wrong"),
        (lambda file: file.write_bytes(b""), "not a backup"),
        (lambda file: file.write_text("not a tar" * 1000), "not a backup"),
        (
            lambda file: rewritten(file, lambda files: files.pop("manifest.json")),
            "no manifest.json",
        ),
        (lambda file: rewritten(file, lambda files: files.pop("beseda.db")), "no beseda.db"),
        (forge(tables={"users": 5}), "not the one that its manifest describes"),
        (forge(revision="9999"), "not the one that its manifest describes"),
        (forge(format=2), "cannot be understood"),
        (smuggle, "does not belong"),
    ],
)
def test_backup_that_is_damaged_changes_nothing(
    start: Callable[..., Flask], tmp_path: Path, harm: Callable[[Path], None], reason: str
) -> None:
    app, file = start("only"), tmp_path / "backup.tar"
    fill(app, "ann")
    with app.app_context():
        write_post(1, "ann", "correct horse", "Текст")
    assert run(app, "backup", file).exit_code == 0
    before = content(app)
    harm(file)

    done = run(app, "restore", "--replace", file)

    assert done.exit_code == 1
    assert reason in done.output
    assert content(app) == before


def test_backup_of_a_later_release_is_refused(start: Callable[..., Flask], tmp_path: Path) -> None:
    app, file = start("only"), tmp_path / "backup.tar"
    with app.app_context(), writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert run(app, "backup", file).exit_code == 0

    done = run(app, "restore", "--replace", file)

    assert done.exit_code == 1
    assert "later release" in done.output


def test_backup_of_an_earlier_release_is_restored_and_to_be_migrated(
    start: Callable[..., Flask], tmp_path: Path
) -> None:
    app, file = start("only"), tmp_path / "backup.tar"
    with app.app_context():
        downgrade(revision="0001")
    assert run(app, "backup", file).exit_code == 0

    done = run(app, "restore", "--replace", file)

    assert done.exit_code == 0
    assert "./beseda db upgrade" in done.output
    with opened(file, tmp_path) as backup:
        assert backup.manifest.revision == "0001"


def test_damaged_database_is_not_backed_up(start: Callable[..., Flask], tmp_path: Path) -> None:
    app, file = start("only"), tmp_path / "backup.tar"
    fill(app, "ann")
    with reading(services(app).engine) as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    services(app).engine.dispose()
    path = tmp_path / "only" / "beseda.db"
    with path.open("r+b") as database:
        database.seek(4096)
        database.write(b"\xff" * (path.stat().st_size - 4096))

    done = run(app, "backup", file)

    assert done.exit_code == 1
    assert not file.exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["only"]


@pytest.mark.parametrize("arguments", [("backup", "x.tar"), ("restore", __file__)])
def test_postgresql_has_its_own_tools(tmp_path: Path, arguments: tuple[str, str]) -> None:
    url = "postgresql://someone:hidden@127.0.0.1:1/beseda"
    app = create_app(make_config(tmp_path, url))

    done = run(app, *arguments)

    assert done.exit_code == 1
    assert {"backup": "pg_dump", "restore": "pg_restore"}[arguments[0]] in done.output
    assert "postgresql://someone@127.0.0.1:1/beseda" in done.output
    assert "hidden" not in done.output


def test_every_column_that_names_a_file_is_looked_at() -> None:
    named = {
        column.name
        for table in db.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, String) and column.type.length == 255  # as names of files are
    }

    # The name of an upload is what its sender calls it; its file is named by its id.
    assert named - {"password_hash", "name"} == set(MEDIA_COLUMNS)


def test_backup_goes_to_a_disk_without_hard_links(
    start: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    app, file = start("only"), tmp_path / "backup.tar"

    first, second = run(app, "backup", file), run(app, "backup", file)

    assert first.exit_code == 0, first.output
    assert mode(file) == 0o600
    assert "not overwritten" in second.output
