"""Validates the input of requests by pydantic models.

`@takes(SomeIn)` reads a request, validates it and raises `BadInput`. The same models describe the
API (OpenAPI).
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Self

from flask import g, request
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.http.annotations import Source, View, notes_of
from app.http.body import body_of
from app.http.errors import NON_FIELD, BadInput
from app.http.fields import SENTENCES, ClientId, RefusedField

BODY_BYTES = 1024 * 1024
STRANGER_FORM_BYTES = 256 * 1024  # of a form without a token: a form takes more time than JSON

_WRONG = _("This value is not right.")


class Body(BaseModel):
    """The base of all inputs. Unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, arbitrary_types_allowed=True)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        # Errors must not show inputs, which may be passwords or tokens: errors end up in a log.
        return []

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Validate a decoded body.

        Raises:
            BadInput: Some fields are wrong; all of them are named.
        """
        if not isinstance(data, dict):
            raise BadInput({NON_FIELD: [_("Send an object with fields.")]})
        if cls.model_config["extra"] == "ignore":
            # Only known keys: pydantic looks at each key, and there may be a hundred thousand.
            known = (field.alias or name for name, field in cls.model_fields.items())
            data = {name: data[name] for name in known if name in data}
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise BadInput(field_errors(error)) from None


class RetryIn(Body):
    """A header that replaces the field `client_id`."""

    key: ClientId | None = Field(None, alias="Idempotency-Key")


def takes(
    model: type[Body], source: Source = "body", *, max_bytes: int = BODY_BYTES
) -> Callable[[View], View]:
    """Validate the input of a view and pass it as the argument `body`, `query` or `headers`.

    Args:
        model: The model of the input.
        source: The source of the input, and the name of the argument.
        max_bytes: The maximum of a body with files; any other has at most `BODY_BYTES`.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def with_input(*args: Any, **kwargs: Any) -> Any:
            if "caller" not in g and not request.is_json:
                request.max_content_length = STRANGER_FORM_BYTES
            elif request.mimetype == "multipart/form-data":
                request.max_content_length = max_bytes
            kwargs[source] = model.parse(_READERS[source]())
            return view(*args, **kwargs)

        notes_of(with_input).inputs[source] = model
        checked: Any = with_input
        return checked  # type: ignore[no-any-return]

    return decorate


_READERS: Mapping[Source, Callable[[], Any]] = {
    "body": lambda: body_of(request),
    "query": lambda: dict(request.args.items()),
    "headers": lambda: dict(request.headers),
}


def field_errors(error: ValidationError) -> dict[str, list[str | LazyString]]:
    """Return our sentences for pydantic's errors, by field."""
    found: dict[str, list[str | LazyString]] = {}
    for each in error.errors(include_url=False, include_input=False):
        context = each.get("ctx", {})
        cause = context.get("error")
        if isinstance(cause, RefusedField):
            sentence: str | LazyString = cause.sentence
        else:
            kind = each["type"].removeprefix("string_")
            sentence = LazyString(_worded, SENTENCES.get(kind, _WRONG), context)
        found.setdefault(str(each["loc"][0]) if each["loc"] else NON_FIELD, []).append(sentence)
    return found


def _worded(sentence: LazyString, context: Mapping[str, Any]) -> str:
    return str(sentence).format_map(context)
