"""JSON Schema of what routes take and return, and examples made of it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

Json: TypeAlias = dict[str, Any]

REF = "#/components/schemas/"
_SENTENCES: Json = {"type": "array", "items": {"type": "string"}, "minItems": 1}

PROBLEM: Json = {
    "type": "object",
    "description": "An error (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for people."},
        "code": {"type": "string", "description": "A stable word for programs."},
    },
}
BAD_INPUT: Json = {
    "type": "object",
    "description": "Some fields are wrong; each of them is a member, too.",
    "required": [*PROBLEM["required"], "errors"],
    "properties": PROBLEM["properties"]
    | {
        "title": {
            "anyOf": [{"type": "string"}, _SENTENCES],
            "description": "Not a string if a field has this name.",
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


class _Generator(GenerateJsonSchema):
    """Makes neither titles of field names, as pydantic does, nor defaults."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> Json:
        return self.generate_inner(schema["schema"])  # what is not sent stays as it is


class Schemas:
    """The schemas of all types that routes name.

    Args:
        shapes: Those types: models, lists of them, and whatever else pydantic knows.

    Attributes:
        named: The schemas of models, by name.
    """

    def __init__(self, shapes: Iterable[Any]) -> None:
        mode: JsonSchemaMode = "validation"
        by_name = {str(shape): TypeAdapter(shape) for shape in shapes}
        self._schemas, made = TypeAdapter.json_schemas(
            [(name, mode, adapter) for name, adapter in by_name.items()],
            ref_template=f"{REF}{{model}}",
            schema_generator=_Generator,
        )
        self.named: Json = {**made.get("$defs", {}), "Problem": PROBLEM, "BadInput": BAD_INPUT}

    def of(self, shape: Any) -> Json:
        """Return the schema of a type; a model's is a reference to it."""
        return self._schemas[str(shape), "validation"]

    def resolved(self, schema: Json) -> Json:
        """Return a schema itself for a reference to it."""
        if "$ref" not in schema:
            return schema
        found: Json = self.named[schema["$ref"].removeprefix(REF)]
        return found

    def used_by(self, described: Json) -> Json:
        """Return the schemas to which something refers, and those to which these refer."""
        used: set[str] = set()
        waiting = [described]
        while waiting:
            new = set(_references(waiting.pop())) - used
            used |= new
            waiting += [self.named[name] for name in new]
        return {name: schema for name, schema in self.named.items() if name in used}

    def example(self, schema: Json, index: int = 0) -> Any:
        """Return the examples of fields, put together; None if there are none.

        The first example of each field makes the first object, and a list has as many items as
        there are examples of one field.
        """
        schema = self.resolved(schema)
        if examples := schema.get("examples"):
            return examples[min(index, len(examples) - 1)]
        if "const" in schema:
            return schema["const"]
        if schema.get("type") == "object":
            fields = {
                name: self.example(each, index)
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
            return [self.example(schema["items"], each) for each in range(count)]
        return None

    def _count_examples(self, schema: Json) -> int:
        schema = self.resolved(schema)
        fields = schema.get("properties", {"": schema}).values()
        return max(len(each.get("examples", ())) for each in fields)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference.removeprefix(REF)
        value = [*value.values()]
    if isinstance(value, list):
        for each in value:
            yield from _references(each)


def is_null(schema: Json) -> bool:
    """Tell whether a schema permits null alone."""
    return schema.get("type") == "null" or schema.get("const", ...) is None


def is_file(schema: Json) -> bool:
    """Tell whether a schema stands for a file."""
    return schema.get("format") == "binary"


def each_property(schema: Json, unwanted: Callable[[Json], bool]) -> Json:
    """Return the schema of an object without what is not wanted of its properties."""
    if "properties" not in schema:
        return schema
    found = {name: without(each, unwanted) for name, each in schema["properties"].items()}
    return schema | {"properties": {name: each for name, each in found.items() if each}}


def without(schema: Json, unwanted: Callable[[Json], bool]) -> Json:
    """Return a schema without those of its alternatives that are not wanted."""
    if "anyOf" not in schema:
        return {} if unwanted(schema) else schema
    wanted = [each for each in schema["anyOf"] if not unwanted(each)]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    if not wanted:
        return {}
    return (wanted[0] if len(wanted) == 1 else {"anyOf": wanted}) | rest


def filled(schema: Json) -> Json:
    """Return a schema without its empty members."""
    return {key: value for key, value in schema.items() if value}
