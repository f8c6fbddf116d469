"""`./beseda backup` and `./beseda restore`: all data of an installation in one file."""

from pathlib import Path

import click
from flask.cli import with_appcontext
from sqlalchemy import URL

from app.database import revisions
from app.media.folder import MediaFolder
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
    """Back up an installation on SQLite to FILE, also while the server runs.

    FILE contains the database, all pictures and files of MEDIA_ROOT, and the signing key if
    JWT_SECRET_KEY is not set, so that everybody is still logged in after a restore. Anybody who has
    FILE can read all messages and, with the key, log in as anybody: only its owner can read it
    (mode 0600); keep it so. It is read back and checked before it gets its name. An existing file
    is never overwritten.
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
        click.echo(
            "The pictures and files are not in it: they are in the bucket of MEDIA_URL.", err=True
        )
    if manifest.missing:
        click.echo(
            f"Warning: {len(manifest.missing)} files that the database names are not in"
            f" MEDIA_ROOT: {', '.join(manifest.missing)}",
            err=True,
        )


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Replace all data of this installation.")
@with_appcontext
def restore(file: Path, replace: bool) -> None:
    """Restore an installation on SQLite from FILE, which `backup` has written.

    Stop the server first. All of FILE is checked before anything is changed. An installation that
    is not empty is refused; --replace deletes all its data.
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
        click.echo(
            "JWT_SECRET_KEY is set and stays: tokens of another key are not valid any more.",
            err=True,
        )
    elif not manifest.has_key:
        click.echo("The backup has no signing key: everybody has to log in again.", err=True)
    if manifest.revision not in revisions.heads():
        click.echo("The backup is of an earlier release. Now run: ./beseda db upgrade", err=True)


def _installation(command_of_postgresql: str) -> Installation:
    url: URL = services().engine.url
    if url.get_backend_name() != "sqlite" or not url.database:
        shown = url._replace(drivername="postgresql", password=None).render_as_string()
        raise click.ClickException(
            "This installation is on PostgreSQL, which has its own tools. Run"
            f" {command_of_postgresql} '{shown}', and keep a copy of the files (MEDIA_ROOT)."
        )
    config = services().config
    pictures = MediaFolder(config.MEDIA_ROOT) if config.MEDIA_URL is None else None
    return Installation(Path(url.database), pictures, _key_in_use())


def _key_in_use() -> Path | None:
    # The file of the signing key, unless the environment sets the key.
    path = kept_key()
    in_use = services().config.JWT_SECRET_KEY.get_secret_value()
    return path if path.is_file() and path.read_text().strip() == in_use else None


def _described(manifest: Manifest) -> str:
    rows = [f"{count:,} {table.replace('_', ' ')}" for table, count in manifest.tables.items()]
    key = "the signing key" if manifest.has_key else "no signing key"
    return ", ".join([*rows, f"{len(manifest.pictures):,} files", key])


def _printable(error: Exception) -> str:
    # A foreign file may have names with control characters of the terminal.
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(error))
