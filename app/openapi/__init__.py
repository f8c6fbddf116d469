"""What a route says of itself where nothing else does: its errors, its other answers, its path.

What `@bp.input`, `@bp.output` and `@jwt_required()` say already is not repeated here;
`document.py` puts all of it together. A decorator that does something to requests or
answers, as `@paged` does, notes here what that means to a client.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.http.errors import ApiError

View = TypeVar("View", bound=Callable[..., Any])

_NOTES = "openapi_notes"


@dataclass(slots=True)
class Notes:
    """What is known of a view beside its declarations to APIFlask.

    Attributes:
        errors: What it may refuse with; an instance where a class alone makes no example.
        parameters: Parameter objects of OpenAPI.
        headers: Header objects of OpenAPI, which its good answers carry.
        answers: What it may answer besides, by status: a sentence, and the content where
            it is not that of `@bp.output`.
        unlisted: Why the document does not have it, if it does not.
    """

    errors: list[type[ApiError] | ApiError] = field(default_factory=list)
    parameters: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[int, tuple[str, dict[str, Any] | None]] = field(default_factory=dict)
    unlisted: str | None = None


def notes_of(view: Callable[..., Any]) -> Notes:
    """Return the notes of a view; all its decorators share them, as `functools.wraps` has it."""
    notes: Notes = view.__dict__.setdefault(_NOTES, Notes())
    return notes


def raises(*errors: type[ApiError] | ApiError) -> Callable[[View], View]:
    """Note what a view may refuse with, beside what follows from its other declarations."""

    def decorate(view: View) -> View:
        notes_of(view).errors.extend(errors)
        return view

    return decorate


def answers(
    status: int, sentence: str, content: dict[str, Any] | None = None
) -> Callable[[View], View]:
    """Note another good answer of a view.

    Args:
        status: Its status.
        sentence: When it is given.
        content: Media types and what they hold, as OpenAPI has it; as in `@bp.output` if None.
    """

    def decorate(view: View) -> View:
        notes_of(view).answers[status] = (sentence, content)
        return view

    return decorate


def carries(header: str, sentence: str) -> Callable[[View], View]:
    """Note a header of a view's good answers."""

    def decorate(view: View) -> View:
        notes_of(view).headers[header] = {"description": sentence, "schema": {"type": "string"}}
        return view

    return decorate


def in_path(name: str, sentence: str, example: Any) -> Callable[[View], View]:
    """Note what a variable part of a view's path is."""

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


def unlisted(reason: str) -> Callable[[View], View]:
    """Leave a view out of the document, and say why."""

    def decorate(view: View) -> View:
        notes_of(view).unlisted = reason
        return view

    return decorate
