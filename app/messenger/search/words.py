"""What a word is to the search: how texts are cut into words, and what a question looks for.

The index holds the words as they are written, folded. The question alone is stemmed, and looks for
words that begin with its stems. So one index serves every language, needs no extension of the
database, and both databases answer alike.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import snowballstemmer

WORD_CHARS_MAX = 100  # of a word; what is longer is found by its beginning
WORDS_MAX = 12  # of a question, phrases included

_WORD = re.compile(r"[^\W_]+")
_PHRASE = re.compile(r'"([^"]*)"?')
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")

_LATIN_KEYS = "`qwertyuiop[]asdfghjkl;'zxcvbnm,."
_CYRILLIC_KEYS = "ёйцукенгшщзхъфывапролджэячсмитьбю"
_OTHER_KEYS = str.maketrans(
    _LATIN_KEYS + _CYRILLIC_KEYS,
    _CYRILLIC_KEYS + _LATIN_KEYS,
)


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody looks for; a message has to have all of it.

    Attributes:
        words: For each word of the question the beginnings that match it, any one of them.
        phrases: Exact words that follow each other.
    """

    words: tuple[tuple[str, ...], ...]
    phrases: tuple[tuple[str, ...], ...]


def fold(text: str) -> str:
    """Return a text in which letters that people type for each other are the same.

    Case does not matter, nor do marks above letters: ё is е, й is и, é is e.
    Source: Unicode Standard Annex 15 (NFKD) and section 3.13 (default case folding).
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(each for each in decomposed if not unicodedata.combining(each))


def words_of(text: str) -> Iterator[str]:
    """Yield the folded words of a text, in order: letters and digits without a break."""
    for match in _WORD.finditer(fold(text)):
        yield match[0][:WORD_CHARS_MAX]


def parse(text: str) -> Question:
    """Return what a question looks for; without any word, a question that looks for nothing."""
    phrases = tuple(words for each in _PHRASE.findall(text) if (words := tuple(words_of(each))))
    rest = _PHRASE.sub(" ", text)
    typed = _WORD.findall(unicodedata.normalize("NFC", rest))
    beginnings = tuple(_beginnings(word) for word in typed)
    return Question(beginnings[:WORDS_MAX], phrases[:WORDS_MAX])


def _beginnings(word: str) -> tuple[str, ...]:
    folded = fold(word)[:WORD_CHARS_MAX]
    language = "russian" if _CYRILLIC.search(word) else "english"
    stem = fold(_stemmer(language).stemWord(word.casefold()))[:WORD_CHARS_MAX]
    if len(stem) < 2:
        return (folded,)
    # A stem may be no beginning of its own word: happy → happi.
    return (stem,) if folded.startswith(stem) else (stem, folded)


@cache
def _stemmer(language: str) -> "snowballstemmer.stemmer":
    return snowballstemmer.stemmer(language)


def in_other_layout(text: str) -> str:
    """Return what the same keys type in the other keyboard layout, English or Russian."""
    return text.casefold().translate(_OTHER_KEYS)
