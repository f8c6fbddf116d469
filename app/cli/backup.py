"""`./beseda backup` and `./beseda restore`: all data of an installation in one file."""

from pathlib import Path

import click
from flask.cli import with_appcontext
from sqlalchemy import URL

from app.database import revisions
from app.media.store import FolderStore
from app.operations.backup_format import BackupError, Installation, Manifest
from app.operations.backup_read import opened
from app.operations.backup_restore import restore as restore_backup
from app.operations.backup_write import write_backup
from app.services import services
from config import kept_key


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--without-key", is_flag=True, help="Leave the signing key out.")
@with_appcontext
def backup(file: Path, without_key: bool) -> None:
    """Back up an installation on SQLite to FILE, also while it is served from.

    In it are the database, all pictures that are kept in MEDIA_ROOT, and the signing key if
    JWT_SECRET_KEY is not set, so that after a restore everybody is still logged in. Whoever has
    the file can read all that was said and, with the key, log in as anybody: it is made for its
    owner alone (mode 0600); keep it like that. It is read back and checked before it gets its
    name. A file that is there already is never overwritten.
    """
    source = _installation("pg_dump --format=custom --file=FILE")
    if without_key:
        source = Installation(source.database, source.pictures, None)
    try:
        manifest = write_backup(source, file)
    except (BackupError, OSError) as error:
        raise click.ClickException(_printable(error)) from None
    click.echo(f"{file}, {file.stat().st_size:,} bytes: {_described(manifest)}.")
    if source.pictures is None:
        click.echo("The pictures are not in it: MEDIA_URL keeps them elsewhere.")
    if manifest.missing:
        click.echo(
            f"Warning: {len(manifest.missing)} pictures are named in the database and are not in"
            f" MEDIA_ROOT: {', '.join(manifest.missing)}",
            err=True,
        )


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Replace all that this installation has.")
@with_appcontext
def restore(file: Path, replace: bool) -> None:
    """Restore from FILE, which `backup` has made, to an installation on SQLite.

    The server has to be stopped. All of FILE is checked before anything is changed. An
    installation that has anything in it is refused, unless --replace says that all of it may go.
    """
    target = _installation("pg_restore --no-owner --dbname")
    try:
        with opened(file, target.database.parent) as found:
            restore_backup(found, target, replace=replace)
            manifest = found.manifest
    except (BackupError, OSError) as error:
        raise click.ClickException(_printable(error)) from None
    click.echo(f"Restored from {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC: {_described(manifest)}.")
    if target.key is None:
        click.echo("JWT_SECRET_KEY is set and holds: people whose tokens it has not signed log in.")
    elif not manifest.has_key:
        click.echo("There is no signing key in the backup: everybody has to log in again.")
    if manifest.revision not in revisions.heads():
        click.echo("It is of an earlier release. Now run: ./beseda db upgrade")


def _installation(command_of_postgresql: str) -> Installation:
    url: URL = services().engine.url
    if url.get_backend_name() != "sqlite" or not url.database:
        shown = url._replace(drivername="postgresql", password=None).render_as_string()
        raise click.ClickException(
            "This installation is on PostgreSQL, which has its own tools. Run"
            f" {command_of_postgresql} '{shown}', and keep a copy of the pictures (MEDIA_ROOT)."
        )
    store = services().media
    pictures = store if isinstance(store, FolderStore) else None
    return Installation(Path(url.database), pictures, _key_in_use())


def _key_in_use() -> Path | None:
    # The one that is kept, unless the environment gives another.
    path = kept_key()
    in_use = services().config.JWT_SECRET_KEY.get_secret_value()
    return path if path.is_file() and path.read_text().strip() == in_use else None


def _described(manifest: Manifest) -> str:
    rows = [f"{count:,} {table.replace('_', ' ')}" for table, count in manifest.tables.items()]
    key = "the signing key" if manifest.has_key else "no signing key"
    return ", ".join([*rows, f"{len(manifest.pictures):,} pictures", key])


def _printable(error: Exception) -> str:
    # A file from somebody else may bring names that would move the cursor of the terminal.
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(error))
