"""What is read out of a dump of Django's users, and what is refused, where and why."""

import json
from datetime import UTC, datetime

import pytest
from flask import Flask
from flask_babel import force_locale

from app.http import languages
from app.operations.django_dump import Dump, UnreadableDump, read_dump

HASH = "pbkdf2_sha256$1000$a1B2c3D4e5F6g7H8i9J0kL$1QBwBIW3RgygOFInXxEnb11AMwMkPs0i8FfwH1D64JM="
HEADER = "id,password,last_login,is_superuser,username,last_name,email,is_staff,is_active,date_joined,first_name"


def refused(dump: Dump, app: Flask) -> list[tuple[int, int, str, str]]:
    """Return line, record, field and sentence of all that was refused."""
    with app.app_context(), force_locale("en"):
        return [(*each.place, each.field, str(each.sentence)) for each in dump.refusals]


def record(username: str, **fields: object) -> dict[str, object]:
    return {"username": username, "email": f"{username}@example.com", "password": HASH} | fields


def lines(*records: object) -> bytes:
    return "\n".join(json.dumps(each) for each in records).encode()


@pytest.fixture
def app() -> Flask:
    """An application that only speaks."""
    app = Flask(__name__)
    languages.init_app(app)
    return app


def test_csv_of_the_table_as_sqlite_postgresql_and_others_write_it() -> None:
    dump = read_dump(
        f"{HEADER}\n"
        f'1,{HASH},,0,ann,"",Ann@example.com,0,1,"2024-11-24 09:02:51.362997",""\n'
        f"2,{HASH},,t,борис,Ивлев,boris@example.com,t,t,2024-11-24 12:02:51.590784+03,Борис\r\n"
        f"3,!x,,False,eve,,eve@example.com,False,False,2024-11-24T09:02:51Z,\n".encode("utf-8-sig")
    )

    assert dump.refusals == []
    users = [user for _, user in dump.users]
    assert [user.username for user in users] == ["ann", "борис", "eve"]
    assert users[0].email == "Ann@example.com"
    assert [user.password for user in users] == [HASH, HASH, "!"]
    assert [user.is_active for user in users] == [True, True, False]
    assert [user.is_admin for user in users] == [False, True, False]
    assert {user.date_joined for user in users} == {datetime(2024, 11, 24, 9, 2, 51, tzinfo=UTC)}


@pytest.mark.parametrize("delimiter", ["\t", ";"])
def test_csv_with_other_delimiters_and_few_columns(delimiter: str) -> None:
    rows = [("password", "email", "username"), (HASH, "ann@example.com", "ann")]

    ((_, user),) = read_dump("\n".join(delimiter.join(row) for row in rows).encode()).users

    assert (user.username, user.is_active, user.is_admin) == ("ann", True, False)


@pytest.mark.parametrize(
    ("field", "is_admin"), [("is_staff", True), ("is_superuser", True), ("is_active", False)]
)
def test_staff_and_superusers_are_administrators(field: str, is_admin: bool) -> None:
    ((_, user),) = read_dump(lines(record("ann", **{field: True}))).users

    assert user.is_admin == is_admin


@pytest.mark.parametrize("indent", [None, 2])
def test_dumpdata_with_other_models_in_it(indent: int | None) -> None:
    data = [
        {"model": "auth.group", "pk": 1, "fields": {"name": "g", "permissions": []}},
        {"model": "auth.user", "pk": 7, "fields": record("ann", groups=[1])},
        # Looks like one, but the project has the usual users.
        {"model": "mail.box", "pk": 1, "fields": record("box")},
        {"model": "auth.user", "pk": 9, "fields": record("bob")},
    ]

    dump = read_dump(json.dumps(data, indent=indent).encode())

    assert [user.username for _, user in dump.users] == ["ann", "bob"]
    assert dump.skipped == {"auth.group": 1, "mail.box": 1}
    assert [place.line for place, _ in dump.users] == ([1, 1] if indent is None else [10, 31])


def test_a_user_model_of_ones_own() -> None:
    dump = read_dump(
        lines(
            {"model": "people.member", "pk": 1, "fields": record("ann")},
            {"model": "people.badge", "pk": 1, "fields": {"username": "ann"}},
        )
    )

    assert [user.username for _, user in dump.users] == ["ann"]
    assert dump.skipped == {"people.badge": 1}


def test_every_refusal_says_where_and_why(app: Flask) -> None:
    dump = read_dump(
        lines(
            record("ann"),
            record("ann b", email="nobody", password="bcrypt$x"),
            record("bob", email=""),
            record("eve", is_active="perhaps", date_joined="yesterday"),
            {"username": "zoe"},
            "zoe",
            record("ANN", email="other@example.com"),
            record("kim", email="ANN@example.com"),
            record("a\0", email="a@example.com", password=HASH + "x" * 200),
            record("аnn", email="b@example.com"),
        )
    )

    assert [user.username for _, user in dump.users] == ["ann"]
    assert [(line, number, field) for line, number, field, _ in refused(dump, app)] == [
        (2, 2, "username"),
        (2, 2, "email"),
        (2, 2, "password"),
        (3, 3, "email"),
        (4, 4, "is_active"),
        (4, 4, "date_joined"),
        (5, 5, "email"),
        (6, 6, "non_field_errors"),
        (7, 7, "username"),
        (8, 8, "email"),
        (9, 9, "username"),
        (9, 9, "password"),
        (10, 10, "username"),
    ]
    said = {(line, field): sentence for line, _, field, sentence in refused(dump, app)}
    assert said[2, "email"] == "This is not an e-mail address."
    assert said[2, "password"].startswith("This is not a hash of Django's")
    assert said[3, "email"] == "This field may not be blank."
    assert said[4, "date_joined"] == "This is not a time such as 2024-12-12T10:00:00Z."
    assert said[7, "username"] == "The same value is in line 1 (record 1)."
    assert "look alike" in said[10, "username"]
    assert all(HASH not in sentence for sentence in said.values())


def test_lines_are_counted_as_an_editor_does(app: Flask) -> None:
    dump = read_dump(
        f'username,email,password,about\n"ann",x,{HASH},"two\nlines"\nbob,bob@example.com,{HASH}\n'
        f"eve,eve@example.com,{HASH},a,b,c\n".encode()
    )

    assert [user.username for _, user in dump.users] == ["bob"]
    assert [(line, number) for line, number, *_ in refused(dump, app)] == [(2, 1), (5, 3)]
    assert "more cells" in refused(dump, app)[1][3]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no username, no email"),
        (b"\n", "no username, no email"),
        (b"username,password\nann,x\n", "no email"),
        (b"\xff\xfe", "Line 1 is not UTF-8"),
        (b"username\n\n\xe9", "Line 3 is not UTF-8"),
        (b'username,email,password\n"ann', "line 2 is not valid CSV"),
        (b"[", "is the file complete"),
        (b"[]x", "is the file complete"),
        (json.dumps([record("ann")])[:-1].encode(), "is the file complete"),
        (json.dumps([record("ann"), record("bob")])[:-9].encode(), "line 1 is not valid JSON"),
        (lines(record("ann"), record("bob"))[:-9], "line 2 is not valid JSON"),
        (b'{"a":' * 100_000, "line 1 is not valid JSON"),
    ],
)
def test_file_that_cannot_be_read_as_a_whole(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableDump, match=reason):
        read_dump(data)
