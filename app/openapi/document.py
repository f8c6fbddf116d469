"""Makes the OpenAPI document of what the routes declare: the same things that check a request.

Inputs and outputs are those of APIFlask's `@bp.input` and `@bp.output`, and pydantic says
what they look like; who needs a token is read off `@jwt_required`; errors are rendered by
their own classes; `app.openapi` has the notes beside a route. What follows from these for
every route, follows here. (APIFlask's own generator knows neither our error bodies nor
Flask's plain blueprints.)
"""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from inspect import cleandoc
from re import sub
from typing import Any, TypeAlias

from flask import Flask
from flask_babel import force_locale
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.routing import Rule

from app.accounts import tokens
from app.http.errors import ApiError, BadInput, DatabaseUnavailable, as_api_error
from app.http.validation import HEADERS, field_errors
from app.limits import rules
from app.openapi import Notes, notes_of

Json: TypeAlias = dict[str, Any]

VERSION = "1.0.0"  # of the API: the first number changes with what breaks clients

_ABOUT = """\
Accounts, profiles, friends, posts and live chat.

- **Bodies** are JSON or form fields; unknown keys are ignored. At most 1 MiB, 6 MiB with a picture.
- **Paths** may be written without their last slash.
- **Lists** are bare arrays, oldest first. `limit`, `before` and `after` choose a part; the `Link`
  header (RFC 8288) leads to the one before and the one after, where there is more.
- **Errors** are `application/problem+json` (RFC 9457) with a `code` for programs and a `detail` for
  people. A 400 has `errors`, and each wrong field once more at the top level. Beside what is listed
  with each operation: 405 for another method, 404 for another path, and 500 for a defect of ours.
- **Sentences** are Russian, or English where `Accept-Language` prefers it.
- **Retries** are safe with a `client_id` or an `Idempotency-Key`: nothing is stored twice.
- **Live chat** is a WebSocket, `/messenger/ws/ws/chat/<room_name>/`, which OpenAPI cannot describe;
  `docs/websocket.md` does.
"""
_REF = "#/components/schemas/"
_JSON = "application/json"
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_FILE = "binary"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_SENTENCES: Json = {"type": "array", "items": {"type": "string"}, "minItems": 1}

_PROBLEM: Json = {
    "type": "object",
    "description": "A refusal (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for people."},
        "code": {"type": "string", "description": "A stable word for programs."},
    },
}
_BAD_INPUT: Json = {
    "type": "object",
    "description": "A refusal of some fields, each of which is a member, too.",
    "required": [*_PROBLEM["required"], "errors"],
    "properties": _PROBLEM["properties"]
    | {
        "title": {
            "anyOf": [{"type": "string"}, _SENTENCES],
            "description": "No string if a field is called so.",
        },
        "errors": {
            "type": "object",
            "description": "What is wrong with each field; `non_field_errors` is none of them.",
            "minProperties": 1,
            "additionalProperties": _SENTENCES,
        },
    },
    "additionalProperties": _SENTENCES,
}

_HEADERS: Json = {
    "X-Request-ID": {
        "description": "Names this request in the server's log.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which it may work.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-RateLimit-Limit": {
        "description": "How often this may be done.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "X-RateLimit-Remaining": {
        "description": "How often it still may.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-RateLimit-Reset": {
        "description": "Until when, in seconds since 1970.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "What kind of token is expected.",
        "required": True,
        "schema": {"const": "Bearer"},
    },
}
_PARAMETERS: Json = {
    "Accept-Language": {
        "name": "Accept-Language",
        "in": "header",
        "description": "The language of sentences for people: Russian, or English (`en`).",
        "schema": {"type": "string"},
        "example": "ru",
    },
    "X-Request-ID": {
        "name": "X-Request-ID",
        "in": "header",
        "description": "Becomes the id of this request if it is a plain one"
        " (up to 128 of `A-Z a-z 0-9 . _ -`).",
        "schema": {"type": "string"},
    },
}


class _Schemas(GenerateJsonSchema):
    """Without the titles that pydantic makes of field names, and without defaults."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> Json:
        return self.generate_inner(schema["schema"])  # what is not sent stays as it is


def build(app: Flask) -> Json:
    """Return the OpenAPI document of an application."""
    rules = sorted(_listed(app), key=lambda rule: rule.rule)
    schemas = _schemas_of(app.view_functions[rule.endpoint] for rule in rules)
    paths: Json = {}
    with force_locale("ru"):
        for rule in rules:
            path = sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
            item = paths.setdefault(
                path,
                {"parameters": [{"$ref": f"#/components/parameters/{n}"} for n in _PARAMETERS]},
            )
            for method in _METHODS:
                if method in (rule.methods or ()):
                    view = app.view_functions[rule.endpoint]
                    item[method.lower()] = _Operation(view, schemas).described(rule)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Beseda", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {name: _each_property(each, _is_file) for name, each in schemas.items()},
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _listed(app: Flask) -> Iterable[Rule]:
    for rule in app.url_map.iter_rules():
        if not rule.websocket and notes_of(app.view_functions[rule.endpoint]).unlisted is None:
            yield rule


def _declared(view: Callable[..., Any]) -> Mapping[str, Any]:
    # Where APIFlask (3.1) keeps what its decorators were told.
    return getattr(view, "_spec", {})


def _schemas_of(views: Iterable[Callable[..., Any]]) -> Json:
    models: dict[type[BaseModel], None] = {}
    for view in views:
        declared = _declared(view)
        found = [declared.get("body"), declared.get("response", {}).get("schema")]
        found += [model for model, _ in declared.get("args", ())]
        models |= {each: None for each in found if _is_model(each)}
    made: Json
    _, made = models_json_schema(
        [(model, "validation") for model in models],
        ref_template=f"{_REF}{{model}}",
        schema_generator=_Schemas,
    )
    return {**made.get("$defs", {}), "Problem": _PROBLEM, "BadInput": _BAD_INPUT}


def _is_model(declared: Any) -> bool:
    return isinstance(declared, type) and issubclass(declared, BaseModel)


class _Operation:
    """One method of one path.

    Args:
        view: Its function, with all its decorators.
        schemas: The schemas of all models, by name.
    """

    def __init__(self, view: Callable[..., Any], schemas: Json) -> None:
        self._view = view
        self._schemas = schemas
        self._notes: Notes = notes_of(view)
        self._declared = _declared(view)
        self._needs_token = tokens.are_asked_by(view)

    def described(self, rule: Rule) -> Json:
        """Return the operation object."""
        summary, _, more = cleandoc(self._view.__doc__ or "").partition("\n")
        body = self._declared.get("body")
        operation: Json = {
            "operationId": rule.endpoint.rpartition(".")[2],
            "tags": [rule.endpoint.partition(".")[0]],
            "summary": summary.rstrip("."),
            "description": more.strip(),
            "parameters": self._parameters(),
            "requestBody": body and self._request(body),
        }
        responses = dict(sorted((self._good_answers() | self._refusals()).items()))
        if "429" in responses:  # what is limited says with every answer how much is left
            of_limits = {name: responses["429"]["headers"][name] for name in rules.HEADERS}
            for answer in responses.values():
                answer["headers"] = answer["headers"] | of_limits
        return _filled(operation) | {
            "security": [{"bearer": []}] if self._needs_token else [],
            "responses": responses,
        }

    def _parameters(self) -> list[Json]:
        found = []
        for model, location in self._declared.get("args", ()):
            schema = self._schemas[model.__name__]
            for name, value in schema["properties"].items():
                found.append(
                    {
                        "name": name,
                        "in": "header" if location == HEADERS else location,
                        "required": name in schema.get("required", ()),
                        "schema": _without(value, _is_null),
                    }
                    | ({"example": value["examples"][0]} if "examples" in value else {})
                )
        return found + self._notes.parameters

    def _request(self, model: type[BaseModel]) -> Json:
        # JSON has no files, and forms have no null; only multipart has files.
        whole = self._schemas[model.__name__]
        in_form = _each_property(whole, _is_null) | {"title": None}
        by_type = {
            _JSON: {"$ref": f"{_REF}{model.__name__}"},
            _FORMS[0]: _each_property(in_form, _is_file),
            _FORMS[1]: in_form,
        }
        example = self._example(whole)
        content = {
            kind: {"schema": _filled(schema)} | ({"example": example} if example else {})
            for kind, schema in by_type.items()
        }
        return {"required": bool(whole.get("required")), "content": content}

    def _good_answers(self) -> Json:
        found: Json = {}
        content: Json = {}
        headers = self._notes.headers | {
            "X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}
        }
        if output := self._declared.get("response"):
            if _is_model(output["schema"]):
                schema: Json = {"$ref": f"{_REF}{output['schema'].__name__}"}
                if output["schema_adapter_many"]:
                    schema = {"type": "array", "items": schema}
                example = output["example"] or self._example(schema)
                content = {_JSON: {"schema": schema, "example": example}}
            found[str(output["status_code"])] = {
                "description": output["description"] or HTTPStatus(output["status_code"]).phrase,
                "headers": headers,
            } | ({"content": content} if content else {})
        for status, (sentence, other) in self._notes.answers.items():
            found[str(status)] = {"description": sentence, "headers": headers} | (
                {"content": content} if other is None else {"content": other} if other else {}
            )
        return found

    def _refusals(self) -> Json:
        found: Json = {}
        for error in sorted(self._errors(), key=lambda each: each.status):
            answer = found.setdefault(
                str(error.status),
                {
                    "description": HTTPStatus(error.status).phrase,
                    "headers": {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}},
                    "content": {
                        "application/problem+json": {
                            "schema": {
                                "$ref": _REF + ("BadInput" if error.status == 400 else "Problem")
                            },
                            "examples": {},
                        }
                    },
                },
            )
            for name in error.headers:
                answer["headers"][name] = {"$ref": f"#/components/headers/{name}"}
            examples = answer["content"]["application/problem+json"]["examples"]
            examples.setdefault(*_example_of(error))
        return found

    def _errors(self) -> Iterable[ApiError]:
        body, args = self._declared.get("body"), self._declared.get("args", ())
        for model in [body, *(model for model, _ in args)]:
            if model is not None:
                yield _refused(model)
        if body is not None:
            yield as_api_error(RequestEntityTooLarge())
            yield as_api_error(UnsupportedMediaType())
        if self._needs_token:
            yield tokens.NotAuthenticated()
            yield tokens.TokenNotValid()
        if self._needs_token or body is not None:
            yield DatabaseUnavailable()
        for error in self._notes.errors:
            yield error if isinstance(error, ApiError) else error()

    def _example(self, schema: Json, index: int = 0) -> Any:
        # The examples of fields, put together; None if there are none. The first example of
        # each field makes the first object, and a list has as many items as there are examples.
        if "$ref" in schema:
            return self._example(self._schemas[schema["$ref"].removeprefix(_REF)], index)
        if examples := schema.get("examples"):
            return examples[min(index, len(examples) - 1)]
        if "const" in schema:
            return schema["const"]
        if schema.get("type") == "object":
            fields = {
                name: self._example(each, index)
                for name, each in schema.get("properties", {}).items()
            }
            required = schema.get("required", ())
            return {
                name: value
                for name, value in fields.items()
                if value is not None or name in required  # which may be null, then
            }
        if "items" in schema:
            count = self._count_examples(schema["items"])
            return [self._example(schema["items"], each) for each in range(count)]
        return None

    def _count_examples(self, schema: Json) -> int:
        if "$ref" in schema:
            return self._count_examples(self._schemas[schema["$ref"].removeprefix(_REF)])
        fields = schema.get("properties", {"": schema}).values()
        return max(len(each.get("examples", ())) for each in fields)


def _refused(model: type[BaseModel]) -> BadInput:
    # What comes of nothing at all, or, where that is allowed, of a first field that is no text.
    for nothing in ({}, {next(iter(model.model_fields)): 1}):
        try:
            model.model_validate(nothing, by_alias=True, by_name=True)
        except ValidationError as error:
            return BadInput(field_errors(error))
    raise LookupError(f"{model.__name__} takes everything")


def _filled(schema: Json) -> Json:
    return {key: value for key, value in schema.items() if value}


def _example_of(error: ApiError) -> tuple[str, Json]:
    # What Werkzeug refuses has one class for all of it, which says nothing to readers.
    name = type(error).__name__
    if name.startswith("_"):
        return error.code, {"value": error.body()}
    summary = cleandoc(type(error).__doc__ or "").partition("\n")[0]
    return name, {"summary": summary, "value": error.body()}


def _is_null(schema: Json) -> bool:
    return schema.get("type") == "null"


def _is_file(schema: Json) -> bool:
    return schema.get("format") == _FILE


def _each_property(schema: Json, unwanted: Callable[[Json], bool]) -> Json:
    if "properties" not in schema:
        return schema
    found = {name: _without(each, unwanted) for name, each in schema["properties"].items()}
    return schema | {"properties": {name: each for name, each in found.items() if each}}


def _without(schema: Json, unwanted: Callable[[Json], bool]) -> Json:
    # Of a choice of schemas, those that are wanted; what else is said of them stays.
    if "anyOf" not in schema:
        return {} if unwanted(schema) else schema
    wanted = [each for each in schema["anyOf"] if not unwanted(each)]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    if not wanted:
        return {}
    return (wanted[0] if len(wanted) == 1 else {"anyOf": wanted}) | rest
