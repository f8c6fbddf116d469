"""`./beseda import-users`: imports the users of a Django project."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, BinaryIO

import click
from flask.cli import with_appcontext
from flask_babel import force_locale

from app.accounts import bulk_import, links, resets
from app.accounts.bulk_import import ImportedUser, ImportRefused
from app.accounts.passwords import UNUSABLE
from app.accounts.services import get_user_by_name
from app.cli.errors import report_errors
from app.database.engine import be_patient
from app.http.json import encode
from app.operations.django_dump import Dump, Refusal, UnreadableDump, read_dump
from app.services import services

LINK_LIFETIME = timedelta(days=7)


@click.command("import-users")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Only report what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Report in JSON, for a program.")
@with_appcontext
def import_users(file: BinaryIO, dry_run: bool, as_json: bool) -> None:
    """Import the users of a Django project: all in FILE, or none.

    FILE (- for the standard input) has the rows of auth_user, as CSV with a line of column names,
    or as the JSON or JSON lines that `manage.py dumpdata auth.user` writes. These columns are used:
    username, email, password (the hash: pbkdf2_sha256 or argon2), is_active, date_joined, and
    is_superuser or is_staff, either of which makes an administrator. Users keep their passwords and
    get new ids. For each user without a password the command prints a line with name, address and
    a link to choose one within a week.

    If one user cannot be imported, none is: the command reports who, where and why, and fails.
    """
    be_patient(services().engine)
    with force_locale("en"), report_errors():
        try:
            dump = read_dump(file.read())
        except UnreadableDump as error:
            raise click.ClickException(f"{file.name}: {error}") from None
        if not dump.users and not dump.refusals:
            raise click.ClickException(f"{file.name}: there are no users in it.")
        refusals = [*dump.refusals, *_let_in(dump, is_rehearsal=dry_run or bool(dump.refusals))]
        refusals.sort(key=lambda each: each.place.record)
        invited = [] if dry_run or refusals else _invite(dump)
        if as_json:
            click.echo(encode(_report(dump, refusals, dry_run) | {"invited": invited}))
        else:
            _tell(dump, refusals, dry_run)
            for each in invited:
                click.echo(f"{each['username']},{each['email']},{each['link'] or each['token']}")
    if refusals:
        raise SystemExit(1)


def _let_in(dump: Dump, *, is_rehearsal: bool) -> list[Refusal]:
    imported_users = [
        ImportedUser(
            user.username,
            user.email,
            user.password,
            user.is_active,
            user.is_admin,
            user.date_joined,
        )
        for _, user in dump.users
    ]
    try:
        bulk_import.import_users(imported_users, is_rehearsal=is_rehearsal)
    except ImportRefused as error:
        return [
            Refusal(dump.users[position][0], imported_users[position].username, name, sentence)
            for position, errors in error.errors.items()
            for name, sentences in errors.items()
            for sentence in sentences
        ]
    return []


def _invite(dump: Dump) -> list[dict[str, str | None]]:
    """Return links to a new password for the users without a password."""
    has_page = links.has_page() or services().config.PASSWORD_RESET_URL
    invited: list[dict[str, str | None]] = []
    for _, user in dump.users:
        if user.password == UNUSABLE and user.is_active:
            reset = resets.issue(get_user_by_name(user.username).id, LINK_LIFETIME)
            token = reset.secret if reset else None
            invited.append(
                {
                    "username": user.username,
                    "email": user.email,
                    "token": token,
                    "link": links.reset_link(token) if token and has_page else None,
                }
            )
    return invited


def _report(dump: Dump, refusals: Sequence[Refusal], dry_run: bool) -> dict[str, Any]:
    return {
        "imported": 0 if refusals or dry_run else len(dump.users),
        "dry_run": dry_run,
        "administrators": [user.username for _, user in dump.users if user.is_admin],
        "skipped": dump.skipped,
        "refused": [
            {
                "line": each.place.line,
                "record": each.place.record,
                "username": each.username,
                "field": each.field,
                "sentence": str(each.sentence),
            }
            for each in refusals
        ],
    }


def _tell(dump: Dump, refusals: Sequence[Refusal], dry_run: bool) -> None:
    for model, count in dump.skipped.items():
        click.echo(f"Skipped {count} records of {model}, which are not users.", err=True)
    if refusals:
        for line, record, username, field, sentence in (
            (*each.place, each.username, each.field, each.sentence) for each in refusals
        ):
            # repr, because a name may have control characters of the terminal.
            click.echo(
                f"line {line} (record {record}, {username!r}), {field}: {sentence}", err=True
            )
        count = len({each.place for each in refusals})
        raise click.ClickException(f"{count} users cannot be imported, so none was.")
    admins = [user.username for _, user in dump.users if user.is_admin]
    inactive = sum(not user.is_active for _, user in dump.users)
    click.echo(
        f"{'Could import' if dry_run else 'Imported'} {len(dump.users)} users;"
        f" deactivated, who cannot log in: {inactive or 'none'};"
        f" administrators: {', '.join(admins) or 'none'}.",
        err=True,
    )
