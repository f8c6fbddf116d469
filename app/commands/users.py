"""`flask --app wsgi users …`: how an operator helps people with their accounts."""

import click
from flask.cli import AppGroup

from app.accounts import services
from app.accounts.services import UserNotFound

users = AppGroup("users", help="Help people with their accounts.")


@users.command("make-admin")
@click.argument("username")
def make_admin(username: str) -> None:
    """Let USERNAME see all chat rooms in their list."""
    try:
        services.make_admin(username)
    except UserNotFound:
        raise click.ClickException(f"There is no user {username!r}.") from None
    click.echo(f"{username} is an administrator now.")
