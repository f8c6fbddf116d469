"""The types of fields that clients send: texts, names, ids."""

from typing import Annotated, Any

from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

from app.database.types import CLIENT_ID_CHARS, LARGEST_ID

# Normalizing a long run of combining marks takes quadratic time, so the length is checked first. No
# letter of a name takes more than four code points.
NAME_CHARS_TYPED = 600

# The sentences for pydantic's error types; any other type gets "This value is not right."
SENTENCES = {
    "missing": _("This field is required."),
    "type": _("This must be text."),
    "too_short": _("This field may not be blank."),
    "too_long": _("This is longer than {max_length} characters."),
    "unstorable": _("This text has a character that cannot be stored."),
    "blank": _("This field may not be blank."),
}


class RefusedField(ValueError):
    """A value breaks one of our rules; the sentence says which."""

    def __init__(self, sentence: str | LazyString) -> None:
        super().__init__()
        self.sentence = sentence


class InSchema:
    """Describes a rule that a function checks in JSON Schema, as far as possible.

    Args:
        keywords: Keywords of JSON Schema; None removes one. Patterns must mean the same in
            JavaScript and Python.
    """

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = {**handler(core_schema), **self.keywords}
        return {name: value for name, value in schema.items() if value is not None}


def _storable(text: str) -> str:
    # PostgreSQL cannot store U+0000 in a text, and half of a surrogate pair is not a character.
    try:
        storable = "\0" not in text and bool(text.encode())
    except UnicodeEncodeError:
        storable = False
    if text and not storable:
        raise PydanticCustomError("unstorable", "a character that cannot be stored")
    return text


def _visible(text: str) -> str:
    if not text or text.isspace():
        raise PydanticCustomError("blank", "blank")
    return text


def trimmed(text: Any) -> Any:
    """Return a text without white space around it, and any other value unchanged."""
    return text.strip() if isinstance(text, str) else text


# The characters of `str.isspace`, one by one: JavaScript's `\s` is a different set.
_NOT_VISIBLE = r"\x00\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

Text = Annotated[str, AfterValidator(_storable), InSchema(pattern=r"^[^\x00]*$")]
VisibleText = Annotated[
    Text,
    AfterValidator(_visible),
    InSchema(pattern=rf"^[^\x00]*[^{_NOT_VISIBLE}][^\x00]*$", minLength=1),
]
TrimmedText = Annotated[VisibleText, BeforeValidator(trimmed)]
NameText = Annotated[TrimmedText, Field(max_length=NAME_CHARS_TYPED)]
ClientId = Annotated[
    Text,
    Field(
        min_length=1,
        max_length=CLIENT_ID_CHARS,
        description="The client's own id of it. A second one with the same id is not stored.",
    ),
]


def _no_number(value: Any) -> Any:
    # A form has only texts, of which pydantic reads "true", "1", "on" and their opposites. JSON has
    # true and false, so a number there is a mistake.
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError("bool_type", "a number")
    return value


Flag = Annotated[bool, BeforeValidator(_no_number)]


def whole_number(text: str) -> int | None:
    """Return the number in a text of ASCII digits, at most the largest id; None for other texts."""
    if not (text.isascii() and text.isdigit()):
        return None
    return int(text) if len(text) < len(str(LARGEST_ID)) else LARGEST_ID
