"""Applications for tests: with a migrated database, and without a server between."""

import tempfile
from functools import cache
from pathlib import Path
from shutil import copyfile

import pytest
from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import make_url

from app import create_app
from app.services import services
from config import Config
from tests import processes

SECRET_KEY = "a secret of the tests, not of yours"


def make_config(folder: Path, database_url: str, **settings: str) -> Config:
    """Return the settings of an application that keeps its files in a folder."""
    return Config.from_env(
        {
            "DATABASE_URL": database_url,
            "JWT_SECRET_KEY": SECRET_KEY,
            "MEDIA_ROOT": str(folder / "media"),
            "LOG_LEVEL": "WARNING",
            "RATELIMIT_ENABLED": "false",
        }
        | settings
    )


def sqlite_url(folder: Path) -> str:
    """Return the URL of a SQLite file in a folder."""
    return f"sqlite:///{folder / 'beseda.db'}"


def make_app(folder: Path, database_url: str | None = None, **settings: str) -> Flask:
    """Return an application on a migrated database.

    Args:
        folder: Where it keeps its files.
        database_url: Of the database; by default a new SQLite file in the folder.
        settings: What is not as `make_config` has it.
    """
    url = database_url or sqlite_url(folder)
    migrate(url)
    return create_app(make_config(folder, url, **settings))


def set_config(app: Flask, monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    """Change settings of an application for the rest of a test."""
    changed = services(app).config.model_copy(update=settings)
    monkeypatch.setattr(services(app), "config", changed)


def migrate(database_url: str) -> None:
    """Create the tables of a database that is empty or that has those of an older release.

    A new SQLite file is the copy of one that this process has migrated before.
    """
    path = make_url(database_url).database
    if database_url.startswith("sqlite") and path and not Path(path).exists():
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copyfile(_migrated_sqlite(), path)
    else:
        _upgrade(database_url)


@cache
def _migrated_sqlite() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="beseda-tests-"))
    processes.remove_at_end(folder)
    _upgrade(sqlite_url(folder))
    return folder / "beseda.db"


def _upgrade(database_url: str) -> None:
    folder = Path(tempfile.gettempdir())  # nothing is written there
    app = create_app(make_config(folder, database_url))
    with app.app_context():
        upgrade()
    services(app).engine.dispose()
