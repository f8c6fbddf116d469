"""What the page does with texts: links, names, emoji, times, sentences."""

import re
from itertools import chain
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from app.web.assets import FOLDER

LINKS = [
    ("см. https://example.com/a.", ["см. ", ("https://example.com/a", "https://example.com/a"), "."]),
    ("(www.example.com)", ["(", ("https://www.example.com", "www.example.com"), ")"]),
    (
        "https://ru.wikipedia.org/wiki/Б_(буква)",
        [("https://ru.wikipedia.org/wiki/Б_(буква)", "https://ru.wikipedia.org/wiki/Б_(буква)")],
    ),
    ("пишите ann@firma.local!", ["пишите ", ("mailto:ann@firma.local", "ann@firma.local"), "!"]),
    ("«https://a.example/x»,", ["«", ("https://a.example/x", "https://a.example/x"), "»,"]),
    ("javascript:alert(1) data:text/html,x", ["javascript:alert(1) data:text/html,x"]),
    ("https:// и http://[", ["https:// и http://["]),
    ("обычный текст", ["обычный текст"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "parts"), LINKS)
def test_links_are_found_and_nothing_else(js: Any, text: str, parts: list[Any]) -> None:
    found = js("({split}, text) => split(text)", "text/links", argument=text)

    assert [
        each if isinstance(each, str) else (each["href"], each["text"]) for each in found
    ] == parts


def test_names_have_initials_and_a_lasting_hue(js: Any) -> None:
    names = ["Анна.Ковалёва", "max.orlov", "Пётр", "דניאל.כהן", "_", "😀"]

    found = js(
        "({initials, hue}, names) => names.map((name) => [initials(name), hue(name)])",
        "text/names",
        argument=names,
    )

    assert [each[0] for each in found] == ["АК", "MO", "П", "דכ", "_", "😀"]
    assert [each[1] for each in found] == [crc32(name.encode()) % 8 + 1 for name in names]


def test_only_a_few_emoji_are_shown_large(js: Any) -> None:
    texts = ["👍", "👍🏽 ❤️", "🇷🇺", "👨‍👩‍👧", "👍👍👍👍", "1", "ok 👍", " ", "#"]

    found = js("({isOnlyEmoji}, texts) => texts.map(isOnlyEmoji)", "text/onlyemoji", argument=texts)

    assert found == [True, True, True, True, False, False, False, False, False]


def test_emoji_are_found_by_words_of_both_languages(js: Any) -> None:
    found = js(
        "({findEmoji}) => ['огонь', 'Fire', 'спас'].map((text) => findEmoji(text).map((each) => each.sign))",
        "text/emoji",
    )

    assert found[0] == found[1] == ["🔥"]
    assert "🙏" in found[2]


def test_times_are_those_of_the_language(js: Any) -> None:
    found = js(
        """async ({speak, brief, day, moment}) => {
            const now = new Date("2026-11-28T12:00:00Z");
            const ages = ["2026-11-28T09:05:00Z", "2026-11-27T09:05:00Z", "2026-11-24T09:05:00Z", "2026-10-02T09:05:00Z", "2024-10-02T09:05:00Z"];
            const said = async (language) => (await speak(language), ages.map((age) => [brief(age, now), day(age, now), moment(age, now)]));
            return {en: await said("en"), ru: await said("ru")};
        }""",
        "i18n/index",
        "text/time",
    )

    assert found["ru"] == [
        ["12:05", "Сегодня", "сегодня в 12:05"],
        ["пт", "Вчера", "вчера в 12:05"],
        ["вт", "вторник, 24 ноября", "24 ноября"],
        ["2 окт.", "пятница, 2 октября", "2 октября"],
        ["2 окт. 2024 г.", "2 октября 2024 г.", "2 октября 2024 г."],
    ]
    assert [each[1] for each in found["en"][:3]] == ["Today", "Yesterday", "Tuesday, November 24"]


@pytest.mark.parametrize("language", ["ru", "en"])
def test_plurals_have_every_form_of_the_language(js: Any, language: str) -> None:
    missing = js(
        """async ({default: sentences}, language) => {
            const forms = new Intl.PluralRules(language).resolvedOptions().pluralCategories;
            return Object.entries(sentences)
                .filter(([, each]) => typeof each === "object" && forms.some((form) => !(form in each)))
                .map(([key]) => key);
        }""",
        f"i18n/{language}",
        argument=language,
    )

    assert missing == []


def sentences_in(js: Any, language: str) -> dict[str, Any]:
    found: dict[str, Any] = js("({default: all}) => all", f"i18n/{language}")
    return found


def gaps(sentence: Any) -> set[str]:
    texts = sentence.values() if isinstance(sentence, dict) else [sentence]
    return set(chain.from_iterable(re.findall(r"{(\w+)}", text) for text in texts))


def test_both_languages_say_the_same_things(js: Any) -> None:
    ru, en = sentences_in(js, "ru"), sentences_in(js, "en")

    assert ru.keys() == en.keys()
    assert {key for key in ru if gaps(ru[key]) != gaps(en[key])} == set()


def test_every_sentence_is_said_and_every_key_has_one(js: Any) -> None:
    keys = sentences_in(js, "ru").keys()
    code = [
        path.read_text() for path in Path(FOLDER / "js").rglob("*.js") if path.parent.name != "i18n"
    ]
    asked = {key for text in code for key in re.findall(r'\bt\("(\w+)"', text)}
    parts = {part for text in code for part in re.findall(r"\bt\(`(\w+_)\$\{", text)}
    named = {key for text in code for key in re.findall(r'"(\w+)"', text)}

    assert asked - keys == set()
    assert {key for key in keys - named if not key.startswith(tuple(parts))} == set()
