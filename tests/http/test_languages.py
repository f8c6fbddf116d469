"""Every sentence for people is there in both languages."""

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from flask_babel import force_locale, gettext

from app.http.languages import preferred
from tests.apps import set_config
from tests.servers import ROOT

FOLDER = ROOT / "app" / "translations" / "ru" / "LC_MESSAGES"


def russian() -> Catalog:
    with (FOLDER / "messages.po").open("rb") as file:
        return read_po(file, locale="ru")


def sentences_in_code() -> set[str]:
    return {found[2] for found in extract_from_dir(str(ROOT / "app"))}


def placeholders(sentence: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)\w|\{\w+\}", sentence))


def test_every_sentence_has_its_russian() -> None:
    translated = {message.id for message in russian() if message.id and message.string}

    assert sentences_in_code() == translated  # and none is left that nobody says


def test_russian_has_the_same_placeholders_and_is_russian() -> None:
    for message in russian():
        if message.id:
            assert placeholders(message.id) == placeholders(message.string), message.id
            assert re.search("[а-яё]", message.string.lower()), message.string
            assert not message.fuzzy


def test_sentences_come_in_the_language_asked_for(app) -> None:
    with app.app_context():
        for locale, sentence in (("ru", "Такого чата нет."), ("en", "There is no such chat.")):
            with force_locale(locale):
                assert gettext("There is no such chat.") == sentence


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "ru"),
        ("", "ru"),
        ("en", "en"),
        ("en-US,ru;q=0.5", "en"),
        ("en-GB;q=0.8, ru-RU;q=0.9", "ru"),
        ("de, fr;q=0.9, en;q=0.1", "en"),
        ("de", "ru"),
        ("*", "ru"),
        ("ru;q=0, *", "en"),
        ("en;q=0", "ru"),
        ("EN", "en"),
        ("ru, en", "ru"),
        ("en, ru", "en"),
        ("x" * 300 + ", en", "ru"),  # only its beginning is looked at
        ("de;q=0.9, " * 50 + "en", "ru"),
        ("\x80;q=\x80", "ru"),
    ],
)
def test_quality_decides_about_the_language(app, header: str | None, language: str) -> None:
    headers = {} if header is None else {"Accept-Language": header}
    with app.test_request_context(headers=headers):
        assert preferred() == language


def test_installation_has_a_language_of_its_own(app, monkeypatch: pytest.MonkeyPatch) -> None:
    set_config(app, monkeypatch, LANGUAGE="en")
    client = app.test_client()

    assert client.get("/nothing").json["detail"] == "There is no such thing here."
    in_russian = client.get("/nothing", headers={"Accept-Language": "ru"})
    assert in_russian.json["detail"] != "There is no such thing here."
    with app.app_context():
        assert preferred() == "en"


def test_codes_are_stable() -> None:
    """Programs go by them: one that changes here breaks clients."""
    codes = set()
    for path in Path(ROOT / "app").rglob("*.py"):
        codes |= set(re.findall(r'^\s+code = "(\w+)"', path.read_text(), re.M))

    assert codes == {
        "file_not_found",
        "in_use",
        "quota",
        "too_large",
        "blocked",
        "invitation_not_found",
        "database_unavailable",
        "database_encoding",
        "draining",
        "edit_too_late",
        "not_served_here",
        "error",
        "group_full",
        "invalid",
        "last_admin",
        "member_not_found",
        "message_deleted",
        "message_not_found",
        "no_active_account",
        "no_mail",
        "not_a_group",
        "not_admin",
        "not_authenticated",
        "not_found",
        "not_migrated",
        "not_yours",
        "outcome_unknown",
        "overloaded",
        "post_not_found",
        "registration_closed",
        "room_not_found",
        "session_not_found",
        "storage_unavailable",
        "throttled",
        "token_not_valid",
        "too_many_rooms",
        "too_many_sockets",
        "upgrade_required",
        "user_deactivated",
        "user_not_found",
    }
