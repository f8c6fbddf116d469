"""`./beseda users …`: an operator helps people with their accounts."""

import secrets
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import partial
from typing import Any

import click
from flask.cli import AppGroup
from sqlalchemy import Row, select

from app.accounts import invitations, links, operators, registration, resets
from app.accounts.administration import USER_COLUMNS, UserDeactivated
from app.accounts.models import User
from app.accounts.one_time_tokens import OneTimeToken
from app.accounts.schemas import AccountIn, NewPasswordIn
from app.accounts.services import UserNotFound, get_user_by_name
from app.accounts.usernames import folded
from app.cli.output import CommandResult, command
from app.database.transactions import reading
from app.privacy import erasure
from app.services import services

users = AppGroup("users", help="Help people with their accounts.")
_command = partial(command, users)


class _NoSuchUser(UserNotFound):
    def __init__(self, name: str, similar: list[str]) -> None:
        super().__init__()
        hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
        self.detail = f"There is no user {name!r}.{hint}"
        self.similar = similar

    def body(self) -> dict[str, Any]:
        return super().body() | {"similar": self.similar}


class _UserDeactivated(UserDeactivated):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.detail = f"{name} is deactivated and cannot log in with a new password either."


@_command("list")
def list_users() -> CommandResult:
    """List all users."""
    query = select(*USER_COLUMNS).where(User.deleted_at.is_(None)).order_by(User.id)
    with reading() as connection:
        rows = connection.execute(query).all()
    table = [("id", "username", "email", "created", "")]
    table += [
        (
            str(row.id),
            row.username,
            row.email,
            f"{row.created_at:%Y-%m-%d}",
            _remarks(row.is_active, row.is_admin),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in table
    )
    return CommandResult(
        [row._asdict() for row in rows], "\n".join(line.rstrip() for line in lines)
    )


def _remarks(is_active: bool, is_admin: bool) -> str:
    remarks = {"administrator": is_admin, "deactivated": not is_active}
    return ", ".join(remark for remark, holds in remarks.items() if holds)


@_command("create")
@click.argument("name")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from the standard input.")
@click.option("--password-prompt", is_flag=True, help="Ask for the password.")
@click.option(
    "--hours",
    type=click.IntRange(1, 168),
    default=24,
    show_default=True,
    help="How long the link is valid, in hours.",
)
def create(
    name: str, email: str, password_stdin: bool, password_prompt: bool, hours: int
) -> CommandResult:
    """Create an account, even if REGISTRATION is closed.

    Without a password it prints a link (or a token) with which its owner chooses one.
    """
    has_password = password_stdin or password_prompt
    password = _read_password(password_stdin) if has_password else secrets.token_urlsafe(32)
    account = AccountIn.parse({"username": name, "email": email, "password": password})
    user = registration.create_user(account.username, account.email, account.password)
    if has_password:
        return CommandResult(_shown(user["id"]), note=f"{account.username} can log in.")
    return _reset_link(user["id"], hours)


@_command("set-password")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read it from the standard input.")
def set_password(name: str, password_stdin: bool) -> CommandResult:
    """Set a new password for NAME and end all their sessions.

    The command asks for it on the terminal, or reads it from the standard input. It is not an
    argument, because everybody on this machine could see it.
    """
    user = _find(name)
    new = NewPasswordIn.parse({"password": _read_password(password_stdin)})
    operators.set_password(user.id, new.password)
    return CommandResult(
        _shown(user.id), note=f"{user.username} has a new password; every session has ended."
    )


@_command("deactivate")
@click.argument("name")
def deactivate(name: str) -> CommandResult:
    """Log NAME out everywhere and keep them from logging in."""
    user = _find(name)
    operators.deactivate(user.id)
    return CommandResult(
        _shown(user.id), note=f"{user.username} is deactivated; every session has ended."
    )


@_command("activate")
@click.argument("name")
def activate(name: str) -> CommandResult:
    """Let NAME log in again."""
    user = _find(name)
    operators.activate(user.id)
    return CommandResult(_shown(user.id), note=f"{user.username} can log in.")


@_command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> CommandResult:
    """Erase the account of NAME, as its owner could do. This cannot be undone.

    Their messages stay in the rooms, as from a deleted user.
    """
    user = _find(name)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("There is no terminal to ask for confirmation: use --yes.")
        click.confirm(f"Erase the account of {user.username} for ever?", abort=True, err=True)
    erasure.erase(user.id)
    return CommandResult({"id": user.id}, note=f"The account of {user.username} is erased.")


@_command("make-admin")
@click.argument("name")
@click.option("--revoke", is_flag=True, help="Make NAME an ordinary user again.")
def make_admin(name: str, revoke: bool) -> CommandResult:
    """Make NAME an administrator."""
    user = _find(name)
    operators.set_admin(user.id, is_admin=not revoke)
    state = "no administrator any more" if revoke else "an administrator now"
    return CommandResult(_shown(user.id), note=f"{user.username} is {state}.")


@_command("invite")
@click.option("--days", type=click.IntRange(1, 365), default=7, show_default=True)
def invite(days: int) -> CommandResult:
    """Print a link with which one person may register.

    Without the page (WEB_CLIENT=off) it is a code for the API.
    """
    token = invitations.invite(timedelta(days=days))
    link = links.link_to("invite", token.secret) if links.has_page() else None
    note = f"One person may register with it, until {_spoken(token.expires_at)}."
    mode = services().config.REGISTRATION
    if mode != "invite":
        note += f" But REGISTRATION is {mode}, so no code is required."
    data = {"code": token.secret, "link": link, "expires_at": token.expires_at}
    return CommandResult(data, link or token.secret, note + _hint(link))


@_command("reset-link")
@click.argument("name")
@click.option("--hours", type=click.IntRange(1, 168), default=1, show_default=True)
def reset_link(name: str, hours: int) -> CommandResult:
    """Print a link with which NAME can choose a new password. It works once.

    It leads to PASSWORD_RESET_URL, or to the page. Without both it is a token for the API.
    """
    return _reset_link(_find(name).id, hours)


def _reset_link(user_id: int, hours: int) -> CommandResult:
    user = _shown(user_id)
    token: OneTimeToken | None = resets.issue(user_id, timedelta(hours=hours))
    if token is None:
        raise _UserDeactivated(user["username"])
    has_page = links.has_page() or services().config.PASSWORD_RESET_URL
    link = links.reset_link(token.secret) if has_page else None
    data = user | {"token": token.secret, "link": link, "expires_at": token.expires_at}
    until = _spoken(token.expires_at)
    note = f"{user['username']} chooses a password with it, once, until {until}."
    if link is None:
        note += (
            " It is the token of POST /accounts/api/password/reset/confirm/;"
            " set PASSWORD_RESET_URL to get links to a page of yours."
        )
    return CommandResult(data, link or token.secret, note + _hint(link))


def _hint(link: str | None) -> str:
    if link is None or not link.startswith("http://127.0.0.1:"):
        return ""
    return " Set PUBLIC_URL to get links with the address at which people reach this server."


def _spoken(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _find(name: str) -> Row[int, str, str]:
    with suppress(
        UserNotFound, UnicodeEncodeError
    ):  # UnicodeEncodeError: the argument is not UTF-8
        return get_user_by_name(name)
    with reading() as connection:
        rows = connection.execute(
            select(User.username, User.username_key, User.email_key).where(
                User.deleted_at.is_(None)
            )
        ).all()
    key = folded(name)
    similar = [row.username for row in rows if row.email_key == key]
    if not similar:
        names = {row.username_key: row.username for row in rows}
        similar = [names[each] for each in get_close_matches(key, names)]
    raise _NoSuchUser(name, similar)


def _shown(user_id: int) -> dict[str, Any]:
    with reading() as connection:
        return connection.execute(select(*USER_COLUMNS).where(User.id == user_id)).one()._asdict()


def _read_password(from_stdin: bool) -> str:
    if from_stdin:
        typed = sys.stdin.buffer.read().decode(errors="surrogateescape")
        return typed.removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise click.UsageError(
            "There is no terminal to ask for the password: use --password-stdin."
        )
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password
