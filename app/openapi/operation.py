"""One method of one path, as OpenAPI describes it: put together from the notes of its view."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from app.http.annotations import GoodResponse, notes_of
from app.http.errors import ApiError, BadInput, DatabaseUnavailable, as_api_error
from app.http.validation import field_errors
from app.openapi.schemas import REF, Json, Schemas, each_property, filled, is_file, is_null, without

_JSON = "application/json"
_MULTIPART = "multipart/form-data"


class Operation:
    """The description of a view.

    Args:
        endpoint: Its blueprint and its name, as Flask has them.
        view: Its function, with all its decorators.
        schemas: The schemas of all types.
    """

    def __init__(self, endpoint: str, view: Callable[..., Any], schemas: Schemas) -> None:
        self._tag, _, self._name = endpoint.rpartition(".")
        self._view = view
        self._schemas = schemas
        self._notes = notes_of(view)

    def described(self) -> Json:
        """Return the operation object."""
        summary, _, more = cleandoc(self._view.__doc__ or "").partition("\n")
        body = self._notes.inputs.get("body")
        operation: Json = {
            "operationId": self._name,
            "tags": [self._tag],
            "summary": summary.rstrip("."),
            "description": (more.strip() or summary)
            + ("" if self._notes.needs_token else "\n\nNo token is needed."),
            "parameters": self._parameters(),
            "requestBody": body and self._request(body),
        }
        responses = dict(sorted((self._good_responses() | self._refusals()).items()))
        return filled(operation) | {
            "security": [{"bearer": []}] if self._notes.needs_token else [],
            "responses": responses,
        }

    def _parameters(self) -> list[Json]:
        found = []
        for source, model in self._notes.inputs.items():
            if source == "body":
                continue
            schema = self._schemas.resolved(self._schemas.of(model))
            for name, value in schema["properties"].items():
                found.append(
                    {
                        "name": name,
                        "in": "header" if source == "headers" else source,
                        "required": name in schema.get("required", ()),
                        "description": value.get("description", schema.get("description")),
                        "schema": without(value, is_null),
                    }
                    | ({"example": value["examples"][0]} if "examples" in value else {})
                )
        return found + self._notes.parameters

    def _request(self, model: type[BaseModel]) -> Json:
        # One shape: that forms are taken as well is said once, at the top. But JSON has no files;
        # and forms, which have them, have no null.
        reference = self._schemas.of(model)
        whole = self._schemas.resolved(reference)
        by_type = {_JSON: reference}
        if each_property(whole, is_file) != whole:
            by_type[_MULTIPART] = each_property(whole, is_null) | {"title": None}
        if any(is_file(whole["properties"][name]) for name in whole.get("required", ())):
            del by_type[_JSON]
        example = self._schemas.example(whole)
        content = {
            kind: {"schema": filled(schema)} | ({"example": example} if example else {})
            for kind, schema in by_type.items()
        }
        return {"required": bool(whole.get("required")), "content": content}

    def _good_responses(self) -> Json:
        found: Json = {}
        usual: Json = {}
        if self._notes.output:
            status, output = self._notes.output
            usual = self._content(output)
            found[str(status)] = self._good_response(status, HTTPStatus(status).phrase, usual)
        for status, response in self._notes.responses.items():
            content = usual if response.content is None else response.content
            found[str(status)] = self._good_response(status, response.sentence, content)
        return found

    def _good_response(self, status: int, sentence: str | None, content: Json) -> Json:
        headers = self._notes.headers if status != HTTPStatus.NOT_MODIFIED else {}
        return filled({"description": sentence, "headers": headers, "content": content})

    def _content(self, output: GoodResponse) -> Json:
        if output.shape is None:
            return {}
        schema = self._schemas.of(output.shape)
        return {_JSON: {"schema": schema, "example": output.example or self._example_of(schema)}}

    def _example_of(self, schema: Json) -> Any:
        return self._schemas.example(schema)

    def _refusals(self) -> Json:
        found: Json = {}
        for error in sorted(self._errors(), key=lambda each: each.status):
            response = found.setdefault(
                str(error.status),
                {
                    "description": HTTPStatus(error.status).phrase,
                    "content": {
                        "application/problem+json": {
                            "schema": {
                                "$ref": REF + ("BadInput" if error.status == 400 else "Problem")
                            },
                            "examples": {},
                        }
                    },
                },
            )
            examples = response["content"]["application/problem+json"]["examples"]
            examples.setdefault(*_example_of_error(error))
        return found

    def _errors(self) -> Iterable[ApiError]:
        inputs = self._notes.inputs
        # The body first: of several examples for a 400 the first one is shown.
        yield from map(
            _refused, sorted(inputs.values(), key=lambda each: each != inputs.get("body"))
        )
        if "body" in inputs:
            yield as_api_error(RequestEntityTooLarge())
            yield as_api_error(UnsupportedMediaType())
        if self._notes.needs_token or "body" in inputs:
            yield DatabaseUnavailable()
        for error in self._notes.errors:
            yield error if isinstance(error, ApiError) else error()


def _refused(model: type[BaseModel]) -> BadInput:
    # The errors of nothing at all, or, where that is allowed, of a first field of a wrong type.
    first = next(iter(model.model_fields), "user1_user2")  # a model without fields takes any name
    candidates: tuple[Json, ...] = ({}, {first: 1}, {first: -1}, {first: []})
    for wrong in candidates:
        try:
            model.model_validate(wrong, by_alias=True, by_name=True)
        except ValidationError as error:
            return BadInput(field_errors(error))
    raise LookupError(f"{model.__name__} takes everything")


def _example_of_error(error: ApiError) -> tuple[str, Json]:
    # What Werkzeug refuses has one class for all of it, whose name says nothing to readers.
    name = type(error).__name__
    if name.startswith("_"):
        return error.code, {"value": error.body()}
    summary = cleandoc(type(error).__doc__ or "").partition("\n")[0]
    return name, {"summary": summary, "value": error.body()}
