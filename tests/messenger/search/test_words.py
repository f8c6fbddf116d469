"""What a word is, and what a question looks for: pure functions."""

import pytest

from app.messenger.search.words import (
    WORD_CHARS_MAX,
    WORDS_MAX,
    fold,
    in_other_layout,
    parse,
    words_of,
)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Ёлка", "елка"),
        ("ЙОД", "иод"),
        ("и\u0306од", "иод"),  # й as two characters, as macOS writes it
        ("Straße", "strasse"),
        ("café", "cafe"),
        ("ＡＢＣ", "abc"),
        ("ﬁn", "fin"),
    ],
)
def test_letters_that_are_typed_for_each_other_are_the_same(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_words_are_letters_and_digits_without_a_break() -> None:
    text = "Привет, мир! snake_case a-b 3.14 'quoted' \"x\" 👍 don't"
    assert list(words_of(text)) == [
        *("привет", "мир", "snake", "case", "a", "b", "3", "14", "quoted", "x", "don", "t"),
    ]


def test_long_words_are_found_by_their_beginning() -> None:
    assert list(words_of("ж" * 10_000)) == ["ж" * WORD_CHARS_MAX]
    assert parse("ж" * 200).words == (("ж" * WORD_CHARS_MAX,),)


@pytest.mark.parametrize(
    ("word", "beginnings"),
    [
        ("сообщения", ("сообщен",)),
        ("happy", ("happi", "happy")),
        ("ёлки", ("елк",)),
        ("я", ("я",)),
        ("42", ("42",)),
    ],
)
def test_word_matches_what_begins_with_it_or_with_its_stem(word: str, beginnings: tuple) -> None:
    assert parse(word).words == (beginnings,)


def test_phrase_is_exact_words_that_follow_each_other() -> None:
    question = parse('готово "Красная площадь" "" "не закрыта')
    assert question.phrases == (("красная", "площадь"), ("не", "закрыта"))
    assert question.words == (("готов",),)


@pytest.mark.parametrize("text", ["", "  ", '""', "!!! -- _ 👍", '"', "* OR NOT ( ) : &"[:1]])
def test_question_without_a_word_looks_for_nothing(text: str) -> None:
    question = parse(text)
    assert not question.words
    assert not question.phrases


def test_question_has_a_bound() -> None:
    assert len(parse("a " * 100).words) == WORDS_MAX


def test_other_layout_is_what_the_same_keys_type() -> None:
    assert in_other_layout("ghbdtn") == "привет"
    assert in_other_layout("руддщ") == "hello"
    assert in_other_layout("Ghbdtn vbh!") == "привет мир!"
