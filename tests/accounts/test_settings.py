"""Settings of a user: all at once or one by one, and a language where a request asks for none."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.visitors import log_in, register

SETTINGS = "/accounts/api/settings/"
DEFAULTS = {"language": None, "show_presence": True, "show_read": True, "push_text": "full"}


@pytest.mark.parametrize(
    "changes",
    [{}, {"show_read": False}, {"language": "en", "show_presence": False, "push_text": "none"}],
)
def test_what_is_given_changes_and_the_rest_stays(
    client: FlaskClient, changes: dict[str, Any]
) -> None:
    ann = register(client)
    assert ann.get(SETTINGS).json == DEFAULTS

    answer = ann.patch(SETTINGS, changes)

    assert answer.status_code == 200
    assert answer.json == log_in(client, ann).get(SETTINGS).json == DEFAULTS | changes


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"language": "fr", "push_text": "half"}, {"language", "push_text"}),
        ({"show_read": None}, {"show_read"}),
        ({"show_presence": "perhaps"}, {"show_presence"}),
        ({"show_presence": 1, "show_read": 0.0}, {"show_presence", "show_read"}),
        ([], {"non_field_errors"}),
    ],
)
def test_bad_values_are_named_and_change_nothing(
    client: FlaskClient, changes: Any, fields: set[str]
) -> None:
    ann = register(client)

    answer = ann.patch(SETTINGS, changes)

    assert answer.status_code == 400
    assert set(answer.json["errors"]) == fields
    assert ann.get(SETTINGS).json == DEFAULTS


@pytest.mark.parametrize(("text", "value"), [("0", False), ("false", False), ("on", True)])
def test_form_has_words_for_true_and_false(client: FlaskClient, text: str, value: bool) -> None:
    ann = register(client)

    answer = client.patch(SETTINGS, data={"show_read": text}, headers=ann.headers)

    assert answer.json == DEFAULTS | {"show_read": value}


def test_settings_are_their_owners(client: FlaskClient) -> None:
    ann, bob = register(client), register(client)

    ann.patch(SETTINGS, {"language": "en"})

    assert bob.get(SETTINGS).json == DEFAULTS
    assert client.get(SETTINGS).status_code == 401
    assert client.patch(SETTINGS, json={"language": "en"}).status_code == 401


@pytest.mark.parametrize(
    ("setting", "asked", "is_russian"),
    [
        (None, None, True),
        ("en", None, False),
        ("en", "ru", True),  # what the request says counts first
        ("ru", "en", False),
        ("en", "fr", False),  # it asks for none of ours
    ],
)
def test_language_counts_where_the_request_says_nothing(
    client: FlaskClient, setting: str | None, asked: str | None, is_russian: bool
) -> None:
    ann = register(client)
    ann.patch(SETTINGS, {"language": setting})
    if asked:
        ann.headers["Accept-Language"] = asked

    sentence = ann.get("/messenger/api/chatrooms/none/messages/").json["detail"]

    assert any("а" <= letter <= "я" for letter in sentence) == is_russian
