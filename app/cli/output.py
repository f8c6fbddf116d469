"""The output and the exit codes of commands, for people and scripts.

A command prints its result on stdout, as JSON with `--json`; other sentences and the log go to
stderr. The exit code is 1 if the command was refused (nothing was changed), 2 for wrong arguments,
3 if the database is not available or not migrated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click
from flask.cli import AppGroup
from flask_babel import force_locale
from sqlalchemy.exc import SQLAlchemyError

from app.cli.errors import DatabaseFailure
from app.database.engine import be_patient
from app.database.errors import first_line_of, is_unavailable
from app.http.errors import ApiError, BadInput, DatabaseUnavailable
from app.http.json import encode
from app.operations.health import check_tables
from app.services import services


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The output of a command.

    Attributes:
        data: The result for programs, with `--json`.
        text: The result for people, and for `$(…)`.
        note: A sentence for people, on stderr.
    """

    data: Any
    text: str = ""
    note: str = ""


class _Refusal(click.ClickException):
    def __init__(self, error: ApiError, cause: BaseException | None, as_json: bool) -> None:
        text = str(error.detail)
        if isinstance(error, BadInput):
            said = ((field, each) for field, all_of in error.errors.items() for each in all_of)
            text = "\n".join(f"{field}: {sentence}" for field, sentence in said)
        if isinstance(error, DatabaseUnavailable) and cause:
            text += f"\n{first_line_of(cause)}"
        super().__init__(text)
        if error.status == DatabaseUnavailable.status:
            self.exit_code = DatabaseFailure.exit_code  # type: ignore[misc]
        self._problem = error.body() if as_json else None

    def show(self, file: Any = None) -> None:
        if self._problem is None:
            super().show(file)
        else:
            click.echo(encode(self._problem), err=True)


def command(
    group: AppGroup, name: str
) -> Callable[[Callable[..., CommandResult]], Callable[..., None]]:
    """Turn a function that returns its output or raises an `ApiError` into a command."""

    def register(function: Callable[..., CommandResult]) -> Callable[..., None]:
        @group.command(name)
        @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
        @wraps(function)
        def run(as_json: bool, **arguments: Any) -> None:
            with force_locale("en"):  # like all other output of commands
                said = _attempt(function, arguments, as_json)
            if as_json:
                click.echo(encode(said.data))
                return
            if said.text:
                click.echo(said.text)
            if said.note:
                click.echo(said.note, err=True)

        return run

    return register


def _attempt(
    function: Callable[..., CommandResult], arguments: Mapping[str, Any], as_json: bool
) -> CommandResult:
    problem: ApiError
    try:
        be_patient(services().engine)
        check_tables()
        return function(**arguments)
    except ApiError as error:
        problem, cause = error, error.__cause__
    except SQLAlchemyError as error:
        if not is_unavailable(error):
            raise
        problem, cause = DatabaseUnavailable(), error
    raise _Refusal(problem, cause, as_json)
