"""`flask --app wsgi …`: what an operator does from the command line, a file for each family."""

from flask import Flask

from app.commands import imports, users


def init_app(app: Flask) -> None:
    """Let an application be operated."""
    app.cli.add_command(imports.import_users)
    app.cli.add_command(users.users)
