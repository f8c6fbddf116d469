"""Reads users from a dump of a Django project: CSV, or the JSON that `dumpdata` writes.

Pure: bytes in, users and refusals out. Its sentences are for operators, in English.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

from flask_babel import LazyString
from pydantic import AfterValidator, BeforeValidator, Field

from app.accounts import passwords
from app.accounts.models import User
from app.accounts.passwords import hash_of_django
from app.accounts.usernames import folded, normal_email, normal_username
from app.clock import utcnow
from app.http.errors import NON_FIELD, BadInput
from app.http.fields import NameText, RefusedField, Text
from app.http.validation import Body

_NEEDED = ("username", "email")
_USER_MODEL = "auth.user"
_HASH_CHARS: int = User.password_hash.type.length
_EXTRA_CELLS = "extra cells"
_BLANK = re.compile(r"\s*")


class UnreadableDump(Exception):
    """The file cannot be read; the text says why."""


class Place(NamedTuple):
    """The place of a record in the file: its first line, and its number."""

    line: int
    record: int


class Refusal(NamedTuple):
    """Why a user cannot be imported."""

    place: Place
    username: str
    field: str
    sentence: str | LazyString


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise RefusedField("This is not a time such as 2024-12-12T10:00:00Z.") from None
    return moment.replace(microsecond=0)


class DjangoUser(Body):
    """The columns of `auth_user` that are imported.

    Attributes:
        password: The encoded hash; empty: its owner gets a link to choose a password.
    """

    username: Annotated[NameText, AfterValidator(normal_username)]
    email: Annotated[NameText, AfterValidator(normal_email)]
    password: Annotated[Text, Field(max_length=_HASH_CHARS), AfterValidator(hash_of_django)] = (
        passwords.UNUSABLE
    )
    is_active: bool = True
    is_superuser: bool = False
    is_staff: bool = False
    date_joined: Annotated[datetime, BeforeValidator(_moment)] = Field(default_factory=utcnow)

    @property
    def is_admin(self) -> bool:
        """Whether the user is an administrator in Django: superuser or staff."""
        return self.is_superuser or self.is_staff


@dataclass
class Dump:
    """The contents of a file.

    Attributes:
        users: The users who can be imported, with their places.
        refusals: The users who cannot, with the reasons.
        skipped: The number of records of each other Django model.
    """

    users: list[tuple[Place, DjangoUser]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def read_dump(data: bytes) -> Dump:
    """Parse a CSV file with a line of column names, a JSON array, or JSON lines.

    Raises:
        UnreadableDump: It is none of these.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise UnreadableDump(f"Line {line} is not UTF-8.") from None
    is_json = text.lstrip().startswith(("[", "{"))
    records = list(_json_records(text) if is_json else _csv_records(text))
    dump = Dump()
    seen: dict[tuple[str, str], Place] = {}
    for number, (line, record) in enumerate(_users_of(records, dump.skipped), start=1):
        _take(dump, seen, Place(line, number), record)
    return dump


def _take(dump: Dump, seen: dict[tuple[str, str], Place], place: Place, record: Any) -> None:
    try:
        if isinstance(record, dict) and _EXTRA_CELLS in record:
            raise BadInput({NON_FIELD: ["This line has more cells than the first one."]})
        user = DjangoUser.parse(record)
    except BadInput as error:
        username = str(record.get("username", "")) if isinstance(record, dict) else ""
        dump.refusals += [
            Refusal(place, username, name, sentence)
            for name, sentences in error.errors.items()
            for sentence in sentences
        ]
        return
    repeats = []
    for name in ("username", "email"):
        first = seen.setdefault((name, folded(getattr(user, name))), place)
        if first != place:
            sentence = f"The same value is in line {first.line} (record {first.record})."
            repeats.append(Refusal(place, user.username, name, sentence))
    dump.refusals += repeats
    if not repeats:
        dump.users.append((place, user))


def _users_of(
    records: list[tuple[int, Any]], skipped: Counter[str]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # `dumpdata` wraps each row and writes other tables too. A project with its own user model has
    # another name for it: there a record with a name and a password counts as a user.
    has_usual_model = any(_model_of(record) == _USER_MODEL for _, record in records)
    for line, record in records:
        model = _model_of(record)
        if model is None:
            yield line, record
        elif model == _USER_MODEL if has_usual_model else _looks_like_user(record["fields"]):
            yield line, record["fields"]
        else:
            skipped[model] += 1


def _looks_like_user(fields: Mapping[str, Any]) -> bool:
    return "username" in fields and "email" in fields


def _model_of(record: Any) -> str | None:
    is_wrapped = isinstance(record, dict) and isinstance(record.get("fields"), dict)
    return str(record.get("model")) if is_wrapped else None


def _csv_records(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.DictReader(
        io.StringIO(text, newline=""), restkey=_EXTRA_CELLS, delimiter=delimiter, strict=True
    )
    line = 1
    try:
        missing = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
        if missing:
            raise UnreadableDump(
                f"This is neither JSON nor CSV with a first line that names the columns"
                f" {', '.join(_NEEDED)}: there is no {', no '.join(missing)}."
            )
        line = rows.line_num + 1
        for row in rows:
            # An empty cell means: no value.
            yield line, {name: cell for name, cell in row.items() if cell}
            line = rows.line_num + 1
    except csv.Error as error:
        raise UnreadableDump(
            f"The record that begins in line {line} is not valid CSV: {error}."
        ) from None


def _json_records(text: str) -> Iterator[tuple[int, Any]]:
    # Decode one value after the other: the standard library does not tell where a nested value
    # begins.
    decode = json.JSONDecoder().raw_decode
    position = _after_blanks(text, 0)
    is_array = text[position] == "["
    position = _after_blanks(text, position + is_array)
    line, counted = 1, 0
    while position < len(text) and not (is_array and text[position] == "]"):
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decode(text, position)
        except (ValueError, RecursionError):
            raise UnreadableDump(
                f"The record that begins in line {line} is not valid JSON; is the file complete?"
            ) from None
        yield line, value
        position = _after_blanks(text, position)
        if is_array and text[position : position + 1] == ",":
            position = _after_blanks(text, position + 1)
    if is_array and text[position:].rstrip() != "]":
        raise UnreadableDump(
            "The JSON array does not end where the file ends; is the file complete?"
        )


def _after_blanks(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found else position
