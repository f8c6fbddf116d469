"""What may come in: the bodies and queries of requests, declared as pydantic models.

`@bp.input(SomeBody)` of APIFlask reads them through `InputAdapter` below, which
takes JSON or form fields and refuses the rest in the words of `errors.py`. The same
declarations describe the API (OpenAPI).
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import parse_qsl

import orjson
from apiflask.schema_adapters import registry
from apiflask.schema_adapters.pydantic import PydanticAdapter
from flask import Request
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema, PydanticCustomError
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from app.database.types import CLIENT_ID_CHARS
from app.http.errors import NON_FIELD, BadInput

JSON_OR_FORM = "json_or_form"
FORM_AND_FILES = "form_and_files"
QUERY = "query"
HEADERS = "headers"

LARGEST_ID = 2**63 - 1

# The words for what pydantic finds; a type that is not here says only that the value is wrong.
_SENTENCES = {
    "missing": _("This field is required."),
    "type": _("This must be text."),
    "too_short": _("This field may not be blank."),
    "too_long": _("This is longer than {max_length} characters."),
    "unstorable": _("This text has a character that cannot be stored."),
    "blank": _("This field may not be blank."),
}
_NO_UTF8 = _("This is not UTF-8.")
_WRONG = _("This value is not right.")


_CLIENT_ID = "What the client calls it: sent again under the same one, nothing is stored twice."


class Body(BaseModel):
    """What a client sends. Unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, arbitrary_types_allowed=True)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        # Passwords and tokens are among it, and what is printed ends up in a log.
        return []

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Check a decoded body.

        Raises:
            BadInput: Some fields are wrong; all of them are named.
        """
        if not isinstance(data, dict):
            raise BadInput({NON_FIELD: [_("Send an object with fields.")]})
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise BadInput(field_errors(error)) from None


class RefusedField(ValueError):
    """A value that a rule of ours refuses, with the sentence that says why."""

    def __init__(self, sentence: str | LazyString) -> None:
        super().__init__()
        self.sentence = sentence


def field_errors(error: ValidationError) -> dict[str, list[str | LazyString]]:
    """Return our sentences for what pydantic has found, by field."""
    found: dict[str, list[str | LazyString]] = {}
    for each in error.errors(include_url=False, include_input=False):
        context = each.get("ctx", {})
        cause = context.get("error")
        if isinstance(cause, RefusedField):
            sentence: str | LazyString = cause.sentence
        else:
            kind = each["type"].removeprefix("string_")
            sentence = LazyString(_worded, _SENTENCES.get(kind, _WRONG), context)
        found.setdefault(str(each["loc"][0]) if each["loc"] else NON_FIELD, []).append(sentence)
    return found


def _worded(sentence: LazyString, context: Mapping[str, Any]) -> str:
    return str(sentence).format_map(context)


def _storable(text: str) -> str:
    # PostgreSQL stores no U+0000 in text, and half of a surrogate pair is no character at all.
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


def _trimmed(text: Any) -> Any:
    return text.strip() if isinstance(text, str) else text


class InSchema:
    """Says in JSON Schema what it can of a rule that a function checks.

    Args:
        keywords: Of JSON Schema; None takes one away. Patterns have to mean the same in
            JavaScript and in Python.
    """

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = {**handler(core_schema), **self.keywords}
        return {name: value for name, value in schema.items() if value is not None}


Text = Annotated[str, AfterValidator(_storable), InSchema(pattern=r"^[^\x00]*$")]
# Bounded before anything is done with it: normalising a long run of combining marks takes
# quadratic time. Four code points are more than one letter of a name is ever written with.
NAME_CHARS_TYPED = 600

# All that `str.isspace` knows, character by character: `\s` is more in JavaScript, and less.
_NOT_VISIBLE = r"\x00\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

VisibleText = Annotated[
    Text,
    AfterValidator(_visible),
    InSchema(pattern=rf"^[^\x00]*[^{_NOT_VISIBLE}][^\x00]*$", minLength=1),
]
TrimmedText = Annotated[VisibleText, BeforeValidator(_trimmed)]
NameText = Annotated[TrimmedText, Field(max_length=NAME_CHARS_TYPED)]
ClientId = Annotated[Text, Field(min_length=1, max_length=CLIENT_ID_CHARS, description=_CLIENT_ID)]


class RetryIn(Body):
    """The header that may stand in the place of a `client_id`."""

    key: ClientId | None = Field(None, alias="Idempotency-Key")


def decode_json(raw: bytes | str) -> Any:
    """Read a JSON text.

    Raises:
        BadInput: It is none, or nested beyond sense.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    # orjson refuses a lone surrogate (`"\ud800"`) together with the whole text. The standard
    # library lets it pass, and then the field that has it can be named.
    try:
        return json.loads(
            raw if isinstance(raw, str) else raw.decode(), parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise BadInput({NON_FIELD: [_("This is not valid JSON.")]}) from None


def _decode_form(raw: bytes) -> dict[str, str]:
    # As in Django, the last of several fields of one name counts. What is no UTF-8 becomes lone
    # surrogates, which the field they are in will refuse.
    form = raw.decode(errors="surrogateescape")
    return dict(parse_qsl(form, keep_blank_values=True, errors="surrogateescape"))


def _no_constant(name: str) -> None:
    raise ValueError(name)


class InputAdapter(PydanticAdapter):
    """Reads a request for APIFlask's `@bp.input`, as Django REST Framework would.

    APIFlask's own adapter takes a body of any content type for JSON and an array for an
    empty object, and words its errors in English.
    """

    model_class: type[Body]

    def validate_input(self, request: Request, location: str, **_options: Any) -> Body:
        if location == QUERY:
            return self.model_class.parse(request.args.to_dict())
        if location == HEADERS:
            return self.model_class.parse(dict(request.headers))
        return self.model_class.parse(body_of(request))


registry.register("pydantic", InputAdapter)


def body_of(request: Request) -> Any:
    """Return the decoded body of a request: JSON, or form fields with their files.

    Raises:
        BadInput: The body is not valid JSON, or not UTF-8.
        UnsupportedMediaType: It is neither JSON nor a form.
        RequestEntityTooLarge: It is larger than this route takes.
    """
    if request.is_json:
        return decode_json(_raw_body(request))
    if request.mimetype == "application/x-www-form-urlencoded":
        return _decode_form(_raw_body(request))
    if request.mimetype == "multipart/form-data":
        raw = request.get_data(cache=True)
        fields = request.form.to_dict()
        # Werkzeug puts U+FFFD for what is no UTF-8: such a text is not what was sent.
        broken = {
            name: [_NO_UTF8]
            for name, text in fields.items()
            if "\ufffd" in text and text.encode() not in raw
        }
        if broken:
            raise BadInput(broken)
        return fields | request.files.to_dict()
    if not request.mimetype and not _raw_body(request):
        return {}
    raise UnsupportedMediaType


def _raw_body(request: Request) -> bytes:
    raw = request.get_data(cache=False)
    # Of a body that does not say how long it is Werkzeug reads as much as is allowed, and
    # does not tell whether there was more.
    most = request.max_content_length
    if request.content_length is None and most is not None and len(raw) >= most:
        raise RequestEntityTooLarge
    return raw


def whole_number(text: str) -> int | None:
    """Return the number that ASCII digits stand for, cut to the largest id; None if it is none."""
    if not (text.isascii() and text.isdigit()):
        return None
    return int(text) if len(text) < len(str(LARGEST_ID)) else LARGEST_ID
