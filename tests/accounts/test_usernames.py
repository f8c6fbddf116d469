"""What a username and an e-mail address may be, and when two of them are the same."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accounts.models import EMAIL_CHARS, USERNAME_CHARS, User
from app.accounts.usernames import folded, normal_email, normal_username, room_name
from app.http.fields import RefusedField

texts = st.text(max_size=40)
# Names that are likely to be accepted, with what is hard about them: letters that fold to more
# than one, that change their form when normalised, and marks.
names = st.text(
    st.one_of(
        st.sampled_from("@.+-_09aAzZßẞſıİijΣσςΐΰᾳﬁǅŉК\u0301\u0308\u0327\u0345"),
        st.characters(categories=["L", "Mn", "Nd"]),
    ),
    min_size=1,
    max_size=20,
)


def accepted(raw: str) -> str | None:
    """Return a username in its normal form, or None if it may not be one."""
    try:
        return normal_username(raw)
    except RefusedField:
        return None


@pytest.mark.parametrize(
    "name",
    [
        "newuser",
        "jane_doe",
        "Ann.Lee+chat@example.com",
        "-",
        "007",
        "Анна",
        "Ёлка_2",
        "Ελένη",
        "山田太郎",
        "ประยุทธ์",  # its vowels and tones are marks
        "שָׁלוֹם",
        "٣٤",  # digits of another script
        "a" * 150,
    ],
)
def test_username_is_kept(name: str) -> None:
    assert normal_username(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("  ann\t\n", "ann"),
        ("\u00a0ann\u3000", "ann"),
        ("ａｎｎ", "ann"),  # as wide as an ideograph
        ("ﬁona", "fiona"),
        ("²", "2"),
        ("Jose\u0301", "José"),  # as macOS spells it
        ("И\u0306", "Й"),
    ],
)
def test_username_is_stored_in_its_normal_form(raw: str, name: str) -> None:
    assert normal_username(raw) == name


@pytest.mark.parametrize("raw", ["", "   ", "a" * 151, "ﬁ" * 76])
def test_username_has_1_to_150_characters_in_its_normal_form(raw: str) -> None:
    with pytest.raises(RefusedField) as refused:
        normal_username(raw)
    assert "150" in str(refused.value.sentence)


def test_username_is_counted_after_it_is_normalised() -> None:
    assert normal_username("e\u0301" * 150) == "é" * 150


@pytest.mark.parametrize(
    "raw",
    [
        "ann lee",
        "a\tb",
        "a~2",  # tells rooms of one name apart
        "～",  # becomes `~`
        "a/b",
        "a／b",  # becomes `/`
        "a#b",
        "a?b",
        "a%b",
        "<b>",
        "a'b",
        "a,b",
        "a\\b",
        "a\0b",
        "a\u200bb",  # a space of no width
        "a\u200db",
        "a\u202eb",  # writes what follows from right to left
        "a\ufeff",
        "a\ud800",
        "😀",
        "Ⅷↂ",  # a number that is no digit
        "´",  # becomes a space with a mark
        "\u0301",
        "\u0301a",
        "1\u0301",
        "_\u0301",
    ],
)
def test_username_of_anything_else_is_refused(raw: str) -> None:
    with pytest.raises(RefusedField):
        normal_username(raw)


@pytest.mark.parametrize(
    "invisible",
    [
        "\u034f",
        "\u115f",
        "\u1160",
        "\u17b4",
        "\u180b",
        "\u180f",
        "\u3164",
        "\ufe00",
        "\ufe0f",
        "\uffa0",
        "\U000e0100",
        "\U000e01ef",
    ],
)
def test_username_has_no_letter_or_mark_that_shows_nothing(invisible: str) -> None:
    assert unicodedata.category(invisible)[0] in "LM"
    with pytest.raises(RefusedField):
        normal_username("ann" + invisible)


@pytest.mark.parametrize(
    "raw",
    [
        "аnn",  # а is Cyrillic
        "annа",
        "Αnn",  # Α is Greek
        "Аνν",
        "ann_и_bob",
        "µm",  # the micro sign becomes a Greek letter
        "Kот",  # K is Latin
        "анн\u1d43",  # a raised Latin letter
        "gօօgle",  # օ is Armenian
        "аննա",
        "Ꭺnn",  # Ꭺ is Cherokee
        "annⲟ",  # ⲟ is Coptic
        "ꓮnn",  # ꓮ is Lisu
        "b\u101db",  # a round letter of Myanmar
        "b\u096bb",  # a digit of Devanagari
        "b\u2d54b",  # Tifinagh
        "\u15afob",  # Canadian syllabics
        "user\u06f1",  # a Persian digit
        "admin\u2d7f",  # joins letters of Tifinagh, and does not show
        "admin\U0001107f",  # does so in Brahmi
        "b\u103d",  # a mark of Myanmar
        "анна_山田",
        "漢字김カ",  # Hangul and Katakana
    ],
)
def test_scripts_that_look_alike_do_not_mix(raw: str) -> None:
    with pytest.raises(RefusedField) as refused:
        normal_username(raw)
    assert "Latin" in str(refused.value.sentence)


@pytest.mark.parametrize(
    "raw", ["admi\u0307n", "j\u0307an", "\u0456\u0307gor", "\u012f\u0307", "i\u0323\u0307"]
)
def test_letter_that_loses_its_dot_to_a_mark_gets_no_dot_for_a_mark(raw: str) -> None:
    with pytest.raises(RefusedField):
        normal_username(raw)


@pytest.mark.parametrize("name", ["İpek", "Ċ", "ż", "i\u0308x", "Ann\u0307"])
def test_other_letters_have_their_dots(name: str) -> None:
    assert normal_username(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize("name", ["Արամ", "ꓮꓐ", "ᎠᏂ"])
def test_alphabets_that_look_like_others_have_names_of_their_own(name: str) -> None:
    assert normal_username(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "ann山田",
        "トヨタ自動車ann",
        "ハローー々",
        "ann김",
        "анна@2.0",
        "ann\u0331\u0323",
        "عمر٣",
        "हिंदी५",
    ],
)
def test_scripts_that_are_written_together_mix(name: str) -> None:
    assert normal_username(name) == unicodedata.normalize("NFKC", name)


@pytest.mark.parametrize("name", ["น้ำ", "မြွှေ", "ड़ीं", "b\u0331\u0332", "שָּׁלוֹם"])
def test_letter_has_the_marks_of_its_script(name: str) -> None:
    assert normal_username(name) == unicodedata.normalize("NFKC", name)


@pytest.mark.parametrize(
    "name", ["q" + "\u0331" * 3, "q" + "\u0331\u0332" * 74, "က" + "\u103d" * 5]
)
def test_letter_has_few_marks(name: str) -> None:
    with pytest.raises(RefusedField):
        normal_username(name)


@pytest.mark.slow
@given(st.one_of(texts, names))
def test_normal_username_is_normal_already(raw: str) -> None:
    name = accepted(raw)
    if name is not None:
        assert normal_username(name) == name
        assert unicodedata.is_normalized("NFKC", name)
        assert "~" not in name


@given(names)
def test_names_that_look_the_same_are_the_same_name(raw: str) -> None:
    spellings = [unicodedata.normalize(form, raw) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    assert len({accepted(spelling) for spelling in spellings}) == 1
    assert len({folded(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann", "aNN"),
        ("АННА", "анна"),
        ("Ёж", "ёЖ"),
        ("straße", "STRASSE"),
        ("straße", "STRAẞE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("Οδυσσευσ", "Οδυσσευς"),
        ("İpek", "i\u0307pek"),
        ("ΐ", "Ϊ́"),
        ("ᾳ", "ΑΙ"),
        (" ann ", "Ann"),
        ("ＡＮＮ", "ann"),
        ("Ann@Example.COM", "ann@example.com"),
    ],
)
def test_names_that_differ_in_case_are_one(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("ann", "anna"), ("ı", "i"), ("İ", "I"), ("е", "ё"), ("и", "й"), ("a_b", "a-b"), ("а", "a")],
)
def test_names_that_differ_otherwise_are_two(one: str, other: str) -> None:
    assert folded(one) != folded(other)


def test_each_letter_is_one_with_its_other_cases() -> None:
    letters = [chr(code) for code in range(0x110000) if chr(code).isalpha()]
    strays = [
        letter
        for letter in letters
        if not folded(letter) == folded(letter.lower()) == folded(letter.upper())
    ]
    assert strays == ["ı"]  # its capital is `I`, which belongs to `i`


@pytest.mark.slow
def test_key_of_each_character_is_its_own_key() -> None:
    # Code by code, as chance hardly finds the few that are difficult.
    assert [
        code for code in range(0x110000) if folded(folded(chr(code))) != folded(chr(code))
    ] == []


@given(st.one_of(texts, names))
def test_key_is_its_own_key(text: str) -> None:
    assert folded(folded(text)) == folded(text)


@given(names)
def test_case_of_an_accepted_name_does_not_matter(raw: str) -> None:
    name = accepted(raw)
    if name is not None and "ı" not in unicodedata.normalize("NFKD", name):
        assert folded(name.upper()) == folded(name.lower()) == folded(name)


@given(names)
def test_key_of_a_username_fits_its_column(raw: str) -> None:
    name = accepted(raw)
    if name is not None:
        assert len(folded(name)) <= len(name) * User.username_key.type.length / USERNAME_CHARS


@pytest.mark.parametrize(
    ("one", "other", "room"),
    [
        ("ann", "bob", "ann_bob"),
        ("Bob", "ann", "ann_Bob"),  # by code point alone `B` would come first
        ("b", "a_c", "a_c_b"),
        ("straßf", "strasse", "strasse_straßf"),
        ("яна", "Анна", "Анна_яна"),
        ("\ufa0e", "\U00020000", "\ufa0e_\U00020000"),  # by UTF-16 units the other way round
        ("a10", "a9", "a10_a9"),
    ],
)
def test_room_is_called_by_both_names_the_lower_first(one: str, other: str, room: str) -> None:
    assert room_name(one, other) == room
    assert room_name(other, one) == room


@given(names, names)
def test_room_is_called_the_same_whoever_asks(one: str, other: str) -> None:
    if folded(one) != folded(other):
        assert room_name(one, other) == room_name(other, one)


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        ("newuser@example.com", "newuser@example.com"),
        ("jane@example.com", "jane@example.com"),
        ("user1@example.com", "user1@example.com"),
        (" ann@example.com\n", "ann@example.com"),
        ("Ann.Lee+chat@Example.COM", "Ann.Lee+chat@example.com"),  # hosts have no case, people may
        ("анна@почта.рф", "анна@почта.рф"),
        ("ann@xn--mnchen-3ya.de", "ann@münchen.de"),
        ("ann@team.test", "ann@team.test"),
        ("a" * (EMAIL_CHARS - 12) + "@example.com", "a" * (EMAIL_CHARS - 12) + "@example.com"),
    ],
)
def test_email_is_an_address(raw: str, address: str) -> None:
    assert normal_email(raw) == address


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "ann",
        "@example.com",
        "ann@",
        "ann@localhost",
        "ann@@example.com",
        "ann lee@example.com",
        "ann@example..com",
        ".ann@example.com",
        "ann@-example.com",
        "ann@[127.0.0.1]",
        "Ann <ann@example.com>",
        "ann@example.com, bob@example.com",
        "ann@example.com\nBcc: bob@example.com",
        "ann\0@example.com",
        "ann@example.com\ud800",
        "a" * (EMAIL_CHARS - 11) + "@example.com",
        "ж" * 130 + "@example.com",  # 254 octets are what RFC 5321 means
    ],
)
def test_email_that_is_no_address_is_refused(raw: str) -> None:
    with pytest.raises(RefusedField):
        normal_email(raw)


def test_email_whose_key_has_no_room_is_refused() -> None:
    spacious = "\ufdfa" * 60  # each folds to eighteen characters
    with pytest.raises(RefusedField):
        normal_email(f"{spacious}@example.com")


@given(st.emails())
def test_normal_email_is_normal_already(raw: str) -> None:
    try:
        address = normal_email(raw)
    except RefusedField:
        return
    assert normal_email(address) == address
    assert len(folded(address)) <= User.email_key.type.length
