"""Notes on views for the OpenAPI document, which `app/openapi/` writes from them.

Decorators that change a request or a response, such as `takes` and `paged`, note here what that
means for a client. The decorators of this file only note.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel

from app.http.errors import ApiError

View = TypeVar("View", bound=Callable[..., Any])
Source: TypeAlias = Literal["body", "query", "headers"]
Json: TypeAlias = dict[str, Any]

_NOTES = "openapi_notes"


@dataclass(frozen=True, slots=True)
class GoodResponse:
    """A successful response of a view.

    Attributes:
        shape: The type of its JSON body, such as `list[UserOut]`; None: it has no JSON body.
        example: An example of the body, if the examples of its fields do not make a good one.
        sentence: When it is sent; None: the reason phrase of its status is enough.
        content: Its media types in OpenAPI's form; None: JSON of `shape`.
    """

    shape: Any = None
    example: Any = None
    sentence: str | None = None
    content: Json | None = None


@dataclass(slots=True)
class Notes:
    """The notes on one view.

    Attributes:
        needs_token: Whether it refuses requests without an access token.
        inputs: The models of its inputs, by their source.
        output: The status and the body of its usual response.
        responses: Its other successful responses, by status.
        errors: Its errors; an instance where a class alone makes no example.
        parameters: Parameter objects of OpenAPI.
        headers: Header objects of OpenAPI, of its successful responses.
        undocumented: Why the document leaves it out; None: it does not.
    """

    needs_token: bool = False
    inputs: dict[Source, type[BaseModel]] = field(default_factory=dict)
    output: tuple[int, GoodResponse] | None = None
    responses: dict[int, GoodResponse] = field(default_factory=dict)
    errors: list[type[ApiError] | ApiError] = field(default_factory=list)
    parameters: list[Json] = field(default_factory=list)
    headers: dict[str, Json] = field(default_factory=dict)
    undocumented: str | None = None


def notes_of(view: Callable[..., Any]) -> Notes:
    """Return the notes on a view. They survive decorators that use `functools.wraps`."""
    notes: Notes = view.__dict__.setdefault(_NOTES, Notes())
    return notes


def returns(shape: Any, status: int = 200, *, example: Any = None) -> Callable[[View], View]:
    """Note the usual response of a view.

    Args:
        shape: The type of the JSON body, such as `list[UserOut]`; None: there is no body.
        status: Its status.
        example: An example of the body, if the examples of its fields do not make a good one.
    """

    def decorate(view: View) -> View:
        notes_of(view).output = (status, GoodResponse(shape, example))
        return view

    return decorate


def documents_response(
    status: int, sentence: str, content: Json | None = None
) -> Callable[[View], View]:
    """Note another successful response of a view.

    Args:
        status: Its status.
        sentence: When it is sent.
        content: Its media types in OpenAPI's form; None: the body of `returns`.
    """

    def decorate(view: View) -> View:
        notes_of(view).responses[status] = GoodResponse(sentence=sentence, content=content)
        return view

    return decorate


def documents_error(*errors: type[ApiError] | ApiError) -> Callable[[View], View]:
    """Note errors of a view, beside those that its other decorators note."""

    def decorate(view: View) -> View:
        notes_of(view).errors.extend(errors)
        return view

    return decorate


def documents_header(header: str, sentence: str) -> Callable[[View], View]:
    """Note a header of a view's successful responses."""

    def decorate(view: View) -> View:
        notes_of(view).headers[header] = {"description": sentence, "schema": {"type": "string"}}
        return view

    return decorate


def documents_path(name: str, sentence: str, example: Any) -> Callable[[View], View]:
    """Note the meaning of a variable part of a view's path."""

    def decorate(view: View) -> View:
        notes_of(view).parameters.append(
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": sentence,
                "schema": {"type": "integer" if isinstance(example, int) else "string"},
                "example": example,
            }
        )
        return view

    return decorate


def takes_file(model: type[BaseModel]) -> Callable[[View], View]:
    """Note that a view reads a form with a file by itself, piece by piece.

    Args:
        model: The fields of the form, for the description alone.
    """

    def decorate(view: View) -> View:
        notes_of(view).inputs["body"] = model
        return view

    return decorate


def undocumented(reason: str) -> Callable[[View], View]:
    """Leave a view out of the document, and say why."""

    def decorate(view: View) -> View:
        notes_of(view).undocumented = reason
        return view

    return decorate
