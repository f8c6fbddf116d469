"""The commands of `./beseda`, one file for each group."""

from flask import Flask

from app.cli import backup, copy_database, demo, epoch, import_users, search, users


def init_app(app: Flask) -> None:
    """Register the commands of an application."""
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
