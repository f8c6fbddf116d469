"""What administrators may do, and that nobody else may, not even a moment later."""

import threading
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from app.accounts import administration
from app.accounts.administration import LastAdmin, NotAdmin
from app.accounts.models import User
from app.database.transactions import reading, writing
from app.http.errors import ApiError
from tests.apps import set_config
from tests.factories import PASSWORD
from tests.visitors import Visitor, log_in, register

USERS = "/accounts/api/admin/users/"
INVITATIONS = "/accounts/api/admin/invitations/"


def make_admin(client: FlaskClient, stem: str = "admin") -> Visitor:
    visitor = register(client, stem)
    set_flags(client, visitor, is_admin=True)
    return visitor


def set_flags(client: FlaskClient, visitor: Visitor, **values: bool) -> None:
    with client.application.app_context(), writing() as connection:
        connection.execute(update(User).where(User.id == visitor.id).values(values))


@pytest.fixture
def admin(client: FlaskClient) -> Visitor:
    return make_admin(client)


@pytest.fixture
def ann(client: FlaskClient) -> Visitor:
    return register(client, "ann")


def test_users_are_listed_with_what_an_administrator_needs(admin: Visitor, ann: Visitor) -> None:
    answer = admin.get(USERS)

    assert [each["id"] for each in answer.json] == [admin.id, ann.id]
    shown = answer.json[1]
    assert shown.keys() == {
        *("id", "username", "email", "is_active", "is_admin", "created_at", "last_used_at"),
    }
    assert (shown["is_active"], shown["is_admin"], shown["email"]) == (True, False, ann.email)
    assert shown["last_used_at"].endswith("Z")


@pytest.mark.parametrize("part", [lambda ann: ann.username[1:].upper(), lambda ann: ann.email[2:]])
def test_users_are_found_by_a_part_of_name_or_address(
    admin: Visitor, ann: Visitor, part: Callable[[Visitor], str]
) -> None:
    found = admin.get(USERS, query_string={"q": part(ann)})

    assert [each["id"] for each in found.json] == [ann.id]
    for wildcard in ("%", "_", "/"):
        assert admin.get(USERS, query_string={"q": f"a{wildcard}n"}).json == []


def test_list_goes_on_where_it_ends(admin: Visitor, ann: Visitor) -> None:
    page = admin.get(f"{USERS}?limit=1&q=example.com")

    assert [each["id"] for each in page.json] == [ann.id]
    assert 'rel="prev"' in page.headers["Link"]
    assert "q=example.com" in page.headers["Link"]


def test_deactivated_user_is_shut_out_at_once_and_let_in_again(
    client: FlaskClient, admin: Visitor, ann: Visitor
) -> None:
    answer = admin.patch(f"{USERS}{ann.id}/", {"is_active": False})

    assert (answer.status_code, answer.json["is_active"]) == (200, False)
    assert ann.get("/accounts/api/users/me/").status_code == 401
    body = {"username": ann.username, "password": PASSWORD}
    assert client.post("/accounts/api/token/", json=body).status_code == 401
    admin.patch(f"{USERS}{ann.id}/", {"is_active": True})
    assert client.post("/accounts/api/token/", json=body).status_code == 200


def test_administrators_are_made_and_unmade(
    client: FlaskClient, admin: Visitor, ann: Visitor
) -> None:
    assert admin.patch(f"{USERS}{ann.id}/", {"is_admin": True}).json["is_admin"] is True
    assert ann.get(USERS).status_code == 200

    assert ann.patch(f"{USERS}{admin.id}/", {"is_admin": False}).status_code == 200
    assert admin.get(USERS).status_code == 403  # with the token that was an administrator's
    assert ann.patch(f"{USERS}{admin.id}/", {}).json["is_admin"] is False


@pytest.mark.parametrize("changes", [{"is_admin": False}, {"is_active": False}])
def test_the_last_administrator_stays(
    client: FlaskClient, admin: Visitor, changes: dict[str, bool]
) -> None:
    deactivated = make_admin(client)
    set_flags(client, deactivated, is_active=False)  # one who cannot log in does not count

    refused = admin.patch(f"{USERS}{admin.id}/", changes)

    assert (refused.status_code, refused.json["code"]) == (409, "last_admin")
    assert admin.get(USERS).status_code == 200


def test_two_administrators_who_demote_each_other_leave_one(
    app: Flask, client: FlaskClient
) -> None:
    admins = [make_admin(client), make_admin(client)]
    barrier = threading.Barrier(2)
    refused: list[ApiError] = []

    def demote(me: Visitor, other: Visitor) -> None:
        barrier.wait()
        with app.app_context():
            try:
                administration.change_user(me.id, other.id, {"is_admin": False})
            except (NotAdmin, LastAdmin) as error:
                refused.append(error)

    for _ in range(5):
        for each in admins:
            set_flags(client, each, is_admin=True)
        refused.clear()
        threads = [
            threading.Thread(target=demote, args=pair) for pair in (admins, reversed(admins))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [type(each) for each in refused] == [NotAdmin]
        with app.app_context(), reading() as connection:
            assert len(connection.scalars(select(User.id).where(User.is_admin)).all()) == 1


def test_reset_link_gives_a_new_password(client: FlaskClient, admin: Visitor, ann: Visitor) -> None:
    answer = admin.post(f"{USERS}{ann.id}/reset-link/")

    assert answer.status_code == 201
    page, _, token = answer.json["link"].partition("#")
    assert page == "http://localhost/reset"
    body = {"token": token, "new_password": PASSWORD + "!"}
    assert client.post("/accounts/api/password/reset/confirm/", json=body).status_code == 200
    assert ann.get("/accounts/api/users/me/").status_code == 401


def test_links_lead_to_this_server_or_where_the_operator_says(
    app: Flask, admin: Visitor, ann: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def links() -> list[str]:
        made = (admin.post(f"{USERS}{ann.id}/reset-link/"), admin.post(INVITATIONS, {}))
        return [each.json["link"].partition("#")[0] for each in made]

    assert links() == ["http://localhost/reset", "http://localhost/invite"]
    set_config(app, monkeypatch, PUBLIC_URL="https://chat.example")
    assert links() == ["https://chat.example/reset", "https://chat.example/invite"]
    set_config(app, monkeypatch, PASSWORD_RESET_URL="https://other.example/new")
    assert links() == ["https://other.example/new", "https://chat.example/invite"]


def test_deactivated_user_gets_no_reset_link(
    client: FlaskClient, admin: Visitor, ann: Visitor
) -> None:
    set_flags(client, ann, is_active=False)

    refused = admin.post(f"{USERS}{ann.id}/reset-link/")

    assert (refused.status_code, refused.json["code"]) == (409, "user_deactivated")
    for nobody in ("999", "0", "x", "9" * 30):
        assert admin.post(f"{USERS}{nobody}/reset-link/").status_code == 404
        assert admin.patch(f"{USERS}{nobody}/", {"is_active": False}).status_code == 404


def test_erased_user_is_no_user_any_more(admin: Visitor, ann: Visitor) -> None:
    ann.delete("/accounts/api/users/me/", json={"password": PASSWORD})

    assert [each["id"] for each in admin.get(USERS).json] == [admin.id]
    assert admin.patch(f"{USERS}{ann.id}/", {"is_active": True}).status_code == 404
    assert admin.post(f"{USERS}{ann.id}/reset-link/").status_code == 404


def test_invitation_lets_one_person_in(
    app: Flask, client: FlaskClient, admin: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_config(app, monkeypatch, REGISTRATION="invite")
    made = admin.post(INVITATIONS, {"days": 2})

    assert made.status_code == 201
    page, _, code = made.json["link"].partition("#")
    assert page == "http://localhost/invite"
    listed = {key: value for key, value in made.json.items() if key != "link"}
    assert admin.get(INVITATIONS).json == [listed]  # without the code, which is nowhere else
    account = {"username": "zoe", "email": "zoe@example.com", "password": PASSWORD}
    assert (
        client.post("/accounts/api/users/", json=account | {"invitation": code}).status_code == 201
    )
    assert admin.get(INVITATIONS).json[0]["used_by"] == "zoe"


def test_invitation_is_taken_back(
    app: Flask, client: FlaskClient, admin: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_config(app, monkeypatch, REGISTRATION="invite")
    made = admin.post(INVITATIONS, {}).json

    assert admin.delete(f"{INVITATIONS}{made['id']}/").status_code == 204
    assert admin.delete(f"{INVITATIONS}{made['id']}/").status_code == 404
    code = made["link"].partition("#")[2]
    account = {"username": "zoe", "email": "zoe@example.com", "password": PASSWORD}
    refused = client.post("/accounts/api/users/", json=account | {"invitation": code})
    assert set(refused.json["errors"]) == {"invitation"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (INVITATIONS, {"days": 0}, "days"),
        (INVITATIONS, {"days": "soon"}, "days"),
        (INVITATIONS, {"days": 366}, "days"),
    ],
)
def test_bad_values_are_named(
    admin: Visitor, path: str, body: dict[str, object], field: str
) -> None:
    answer = admin.post(path, body)

    assert (answer.status_code, set(answer.json["errors"])) == (400, {field})
    assert admin.get(INVITATIONS).json == []


ATTEMPTS: dict[str, Callable[[Visitor, int], TestResponse]] = {
    "list users": lambda who, _: who.get(USERS),
    "change a user": lambda who, other: who.patch(f"{USERS}{other}/", {"is_admin": True}),
    "make a reset link": lambda who, other: who.post(f"{USERS}{other}/reset-link/"),
    "list invitations": lambda who, _: who.get(INVITATIONS),
    "invite": lambda who, _: who.post(INVITATIONS, {}),
    "take back an invitation": lambda who, _: who.delete(f"{INVITATIONS}1/"),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_nobody_else_may(client: FlaskClient, admin: Visitor, ann: Visitor, attempt: str) -> None:
    admin.post(INVITATIONS, {})
    demoted, deactivated = make_admin(client), make_admin(client)
    set_flags(client, demoted, is_admin=False)
    set_flags(client, deactivated, is_active=False)
    stranger = Visitor(client, 0, "", "", "", "")

    for who, status in ((ann, 403), (demoted, 403), (deactivated, 401), (stranger, 401)):
        refused = ATTEMPTS[attempt](who, ann.id)
        assert refused.status_code == status
        assert status == 401 or refused.json["code"] == "not_admin"

    assert len(admin.get(INVITATIONS).json) == 1
    assert log_in(client, ann).get("/accounts/api/users/me/").json["is_admin"] is False


@pytest.mark.parametrize(
    "use_case",
    [
        lambda me, other: administration.change_user(me, other, {"is_active": False}),
        lambda me, other: administration.issue_reset(me, other),
        lambda me, _: administration.invite(me, administration.invitations.LIFETIME),
        lambda me, _: administration.delete_invitation(me, 1),
    ],
)
def test_who_is_demoted_between_request_and_transaction_is_refused(
    app: Flask, client: FlaskClient, ann: Visitor, use_case: Callable[[int, int], object]
) -> None:
    make_admin(client)
    demoted = make_admin(client)
    set_flags(client, demoted, is_admin=False)

    with app.app_context(), pytest.raises(NotAdmin):
        use_case(demoted.id, ann.id)
