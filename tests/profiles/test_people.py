"""`people/`: found by id, by the beginning of their name, by likeness; never with an address."""

import pytest
from flask.testing import FlaskClient

from app.services import services
from tests.apps import make_app
from tests.visitors import Visitor, register

PEOPLE = "/profiles/api/people/"


@pytest.fixture
def team(client: FlaskClient) -> dict[str, Visitor]:
    names = ("anna", "Annabel", "joanna", "hannes", "bob_smith", "бо́рис", "zed")
    return {name: register(client, username=name) for name in names}


def names_of(answer: object) -> list[str]:
    return [each["username"] for each in answer.json]  # type: ignore[attr-defined]


def test_without_a_question_everybody_is_listed_without_an_address(
    team: dict[str, Visitor],
) -> None:
    answer = team["zed"].get(PEOPLE)

    assert names_of(answer) == list(team)
    assert {frozenset(each) for each in answer.json} == {frozenset(("id", "username", "image"))}
    assert answer.json[0]["image"] == "/media/user_images/default.jpg"
    assert "@" not in answer.text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("ann", ["anna", "Annabel", "hannes", "joanna"]),  # beginnings first, then the rest
        ("ANNA", ["anna", "Annabel", "joanna"]),
        ("b", ["bob_smith", "Annabel"]),
        ("bob_", ["bob_smith"]),  # `_` is a letter here, no wildcard
        ("b%", []),
        ("jonna", ["joanna", "anna", "Annabel"]),  # a letter is missing
        ("smiht", ["bob_smith"]),
        ("бо́", ["бо́рис"]),
        ("qqqq", []),
    ],
)
def test_best_matches_come_first(team: dict[str, Visitor], query: str, found: list[str]) -> None:
    answer = team["zed"].get(PEOPLE, query_string={"q": query})

    assert names_of(answer)[: len(found)] == found
    assert bool(found) == bool(answer.json)


def test_people_are_found_by_their_ids(team: dict[str, Visitor]) -> None:
    ids = [team["zed"].id, team["anna"].id, 999_999]
    answer = team["bob_smith"].get(PEOPLE, query_string={"ids": ",".join(map(str, ids))})

    assert names_of(answer) == ["anna", "zed"]
    assert team["zed"].get(PEOPLE, query_string={"ids": ""}).json == []
    assert names_of(team["zed"].get(PEOPLE, query_string={"ids": ids[0], "q": "ann"})) == []


def test_limit_cuts_at_the_end(team: dict[str, Visitor]) -> None:
    assert names_of(team["zed"].get(f"{PEOPLE}?limit=2")) == ["anna", "Annabel"]
    assert names_of(team["zed"].get(f"{PEOPLE}?q=ann&limit=1")) == ["anna"]
    assert len(team["zed"].get(f"{PEOPLE}?limit=999999").json) == len(team)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"ids": "1,x"}, "ids"),
        ({"ids": "-1"}, "ids"),
        ({"ids": ",".join(["1"] * 101)}, "ids"),
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"q": "a" * 151}, "q"),
        ({"q": "\0"}, "q"),
    ],
)
def test_bad_questions_are_refused_by_name(
    team: dict[str, Visitor], query: dict[str, str], field: str
) -> None:
    answer = team["zed"].get(PEOPLE, query_string=query)

    assert answer.status_code == 400
    assert set(answer.json["errors"]) == {field}


def test_nobody_is_listed_for_strangers_or_after_an_erasure(
    client: FlaskClient, team: dict[str, Visitor]
) -> None:
    team["anna"].delete("/accounts/api/users/me/", json={"password": "correct horse battery"})

    assert client.get(PEOPLE).status_code == 401
    assert team["anna"].get(PEOPLE).status_code == 401
    assert "anna" not in names_of(team["zed"].get(f"{PEOPLE}?q=anna"))


def test_nobody_asks_more_often_than_the_limit(tmp_path: object) -> None:
    app = make_app(tmp_path, RATELIMIT_ENABLED="true", RATELIMIT_PEOPLE="3/minute")  # type: ignore[arg-type]
    client = app.test_client()
    ann, bob = register(client), register(client)

    codes = [ann.get(f"{PEOPLE}?q={letter}").status_code for letter in "abcd"]

    assert codes == [200, 200, 200, 429]
    assert bob.get(PEOPLE).status_code == 200
    services(app).engine.dispose()


def test_sixty_questions_a_minute_are_the_limit_of_one_person(tmp_path: object) -> None:
    app = make_app(tmp_path, RATELIMIT_ENABLED="true")  # type: ignore[arg-type]
    ann, bob = (register(app.test_client()) for _ in range(2))

    answers = [ann.get(f"{PEOPLE}?ids={number}") for number in range(61)]

    assert [each.status_code for each in answers] == [200] * 60 + [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert answers[-1].json["code"] == "throttled"
    assert bob.get(PEOPLE).status_code == 200
    services(app).engine.dispose()
