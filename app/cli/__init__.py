"""`./beseda …`: what an operator does from the command line, a file for each family."""

from flask import Flask

from app.cli import backup, copy_database, demo, epoch, import_users, search, users


def init_app(app: Flask) -> None:
    """Let an application be operated."""
    for command in (
        copy_database.copy_database,
        backup.backup,
        backup.restore,
        demo.demo,
        epoch.new_epoch,
        import_users.import_users,
        search.search,
        users.users,
    ):
        app.cli.add_command(command)
