"""What is kept beside messages: files, the index of words, browsers. No command forgets it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import config
from app import create_app
from app.messenger.search.index import index_all
from app.services import services
from config import Config
from tests.apps import SECRET_KEY, migrate, sqlite_url
from tests.buckets import KEYS, contents, new_url
from tests.factories import PASSWORD
from tests.messenger.files.test_uploads import PDF, fetched, sent
from tests.messenger.http import Caller, sign_up
from tests.notifications.phones import Phone
from tests.services import Databases


class Installation:
    """An installation in a folder of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.url = settings.get("DATABASE_URL", sqlite_url(folder))
        migrate(self.url)
        env = {
            "DATABASE_URL": self.url,
            "MEDIA_ROOT": str(folder / "media"),
            "JWT_SECRET_KEY": SECRET_KEY,
            "RATELIMIT_ENABLED": "false",
        }
        self.app = create_app(Config.from_env(env | settings))

    def run(self, *args: str | Path) -> Result:
        services(self.app).engine.dispose()  # commands are processes of their own
        return self.app.test_cli_runner().invoke(args=[str(each) for each in args])

    def index(self) -> None:
        """Do what a server does in its first seconds."""
        index_all(services(self.app).engine, lambda _count: None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config, "INSTANCE", tmp_path / "instance")  # has no key of ours
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def old(folder: Path) -> Iterator[Installation]:
    made = Installation(folder / "old")
    yield made
    services(made.app).engine.dispose()


def fill(installation: Installation) -> tuple[Caller, dict[str, Any]]:
    """Let Bob have a message with a file, words that are found, and a browser."""
    ann, bob = sign_up(installation.app, "ann"), sign_up(installation.app, "bob")
    room = ann.room_with(bob)
    upload = sent(ann, PDF, "план.pdf")
    ann.say(room, "Занзибар", attachments=[upload["id"]])
    bob.do("POST", "/accounts/api/push/", Phone(None, "/bob").subscription, 201)
    installation.index()
    assert found(bob) == ["Занзибар"]
    return bob, upload


def found(who: Caller) -> list[str]:
    return [each["content"] for each in who.get("/search/?q=занзибар")]


def browsers(who: Caller) -> list[str]:
    export = who.ask("GET", "/accounts/api/users/me/export/", buffered=True).json
    return [each["endpoint"] for each in export["notified_browsers"]]


def there(who: Caller, installation: Installation) -> Caller:
    """Return somebody at an installation that has the same people and the same key."""
    return Caller(installation.app, who.id, who.name, who.bearer)


def test_restored_installation_has_all_of_it(old: Installation, folder: Path) -> None:
    bob, upload = fill(old)
    assert old.run("backup", "--without-key", folder / "backup.tar").exit_code == 0
    new = Installation(folder / "new")

    restored = new.run("restore", folder / "backup.tar")

    assert restored.exit_code == 0, restored.output
    same = there(bob, new)
    assert fetched(same, upload["url"]).data == PDF
    assert browsers(same) == browsers(bob) == ["https://push.example.com/bob"]
    assert found(same) == []  # the index is built again
    new.index()
    assert found(same) == ["Занзибар"]
    services(new.app).engine.dispose()


def test_copied_database_has_all_of_it(
    old: Installation, folder: Path, databases: Databases
) -> None:
    bob, upload = fill(old)
    url = databases.create()
    copied = old.run("copy-database", url)
    assert copied.exit_code == 0, copied.output
    new = Installation(folder / "old", DATABASE_URL=url)  # with the same MEDIA_ROOT

    same = there(bob, new)
    assert fetched(same, upload["url"]).data == PDF
    assert browsers(same) == ["https://push.example.com/bob"]
    new.index()
    assert found(same) == ["Занзибар"]
    services(new.app).engine.dispose()
    databases.drop(url)


def test_erased_person_leaves_none_of_it(old: Installation) -> None:
    bob, _ = fill(old)
    own = sent(bob, PDF)
    bob.do("DELETE", "/accounts/api/users/me/", {"password": PASSWORD}, status=204)
    assert old.run("users", "list").exit_code == 0
    engine = services(old.app).engine
    with engine.connect() as connection:
        for table in ("push_subscriptions", "uploads"):
            query = f"SELECT count(*) FROM {table} WHERE user_id = {bob.id}"
            assert connection.exec_driver_sql(query).scalar() == 0
    root = services(old.app).config.MEDIA_ROOT
    assert not [path for path in root.rglob("*") if path.name.startswith(own["id"])]


def test_backup_beside_a_bucket_says_that_it_has_no_files(folder: Path, storage: str) -> None:
    url = new_url(storage)
    old = Installation(folder / "bucket", MEDIA_URL=url)
    bob, upload = fill(old)
    bucket = services(old.app).config.MEDIA_URL
    assert list(contents(bucket)) == [f"files/{upload['id']}"]

    written = old.run("backup", "--without-key", folder / "backup.tar")

    assert written.exit_code == 0, written.output
    assert "they are in the bucket of MEDIA_URL" in written.stderr
    new = Installation(folder / "new", MEDIA_URL=url)
    restored = new.run("restore", folder / "backup.tar")
    assert restored.exit_code == 0, restored.output
    assert fetched(there(bob, new), upload["url"]).data == PDF  # it has been there all the time
    for each in (old, new):
        services(each.app).engine.dispose()


def test_backup_with_files_is_not_restored_beside_a_bucket(
    old: Installation, folder: Path, storage: str
) -> None:
    fill(old)
    old.run("backup", "--without-key", folder / "backup.tar")
    new = Installation(folder / "new", MEDIA_URL=new_url(storage))

    refused = new.run("restore", folder / "backup.tar")

    assert refused.exit_code != 0
    assert "MEDIA_URL keeps them elsewhere" in refused.output
    services(new.app).engine.dispose()
