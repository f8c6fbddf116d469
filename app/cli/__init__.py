"""`flask --app wsgi …`: what an operator does from the command line, a file for each family."""

from flask import Flask

from app.cli import copying, data, demo, imports, users


def init_app(app: Flask) -> None:
    """Let an application be operated."""
    for command in (
        copying.copy_database,
        data.backup,
        data.restore,
        demo.demo,
        imports.import_users,
        users.users,
    ):
        app.cli.add_command(command)
