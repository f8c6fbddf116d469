"""Holds answers of a server against the OpenAPI document, to the last key and header."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker

METHODS = ("get", "post", "put", "patch", "delete")
# What the description of the API says once, for all answers with these statuses.
RATE_LIMIT = {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
ALWAYS = {
    "304": {"etag"},
    "401": {"www-authenticate"},
    "429": {"retry-after"} | RATE_LIMIT,
    "503": {"retry-after"},
}
# What an answer may have beside what its operation says: of HTTP itself, and for browsers.
COMMON = {
    "etag",
    *("x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
    *("connection", "content-length", "content-type", "date", "server", "keep-alive"),
    *("cache-control", "content-security-policy", "referrer-policy", "x-content-type-options"),
    *(
        "transfer-encoding",
        "last-modified",
        "accept-ranges",
        "content-disposition",
        "vary",
        "expires",
    ),
}


class Operation(NamedTuple):
    """One method of one path, and what the document says of it."""

    method: str
    path: str
    said: Mapping[str, Any]


class Document:
    """An OpenAPI document that answers can be checked against.

    Attributes:
        body: The document.
        operations: Its operations by their ids.
        seen: Which answers were checked: operation id and status.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body
        self.operations = {
            item[method]["operationId"]: Operation(method.upper(), path, item[method])
            for path, item in body["paths"].items()
            for method in METHODS
            if method in item
        }
        self.seen: set[tuple[str, str]] = set()
        # A key that is not in the document is one that nobody knows of.
        self._components = json.loads(json.dumps(body["components"]))
        for name, schema in self._components["schemas"].items():
            if name.endswith("Out") or name == "Problem":
                schema["additionalProperties"] = False

    def find(self, method: str, url: str) -> Operation | None:
        """Return the operation that a request is for."""
        path = urlsplit(url).path
        for operation in self.operations.values():
            pattern = re.sub(r"\\{name\\}", ".+", re.escape(operation.path))
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", pattern).removesuffix("/") + "/?"
            if operation.method == method and re.fullmatch(pattern, path):
                return operation
        return None

    def check(
        self, method: str, url: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Check that an answer is one that the document tells of."""
        operation = self.find(method, url)
        if operation is None or status == 405:
            return
        name = operation.said["operationId"]
        where = f"{name}: {status}"
        headers = {key.lower(): value for key, value in headers.items()}
        assert str(status) in operation.said["responses"], (
            f"{where} is not in the document: {body!r}"
        )
        answer = operation.said["responses"][str(status)]
        always = ALWAYS.get(str(status), set())
        if "304" in operation.said["responses"] and status == 200:
            always = {"etag"}
        # A 304 repeats headers of the 200 (RFC 9110, section 15.4.5).
        stated = operation.said["responses"]["200"] if status == 304 else answer
        self._check_headers(stated.get("headers", {}), headers, always, where)
        content = answer.get("content", {})
        if content:
            kind = headers["content-type"].partition(";")[0]
            kind = kind if kind in content else "*/*"  # files are of any type
            assert kind in content, f"{where} comes as {headers['content-type']}"
            if kind.endswith("json"):
                self._check_body(content[kind], json.loads(body), where)
        else:
            assert not body, f"{where} has a body"
        self.seen.add((name, str(status)))

    def check_value(self, schema: Mapping[str, Any], value: Any, where: str) -> None:
        """Check a value against a schema of the document."""
        whole = {**schema, "components": self._components}
        errors = Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(value)
        assert not (told := [error.message for error in errors]), f"{where}: {told}"

    def _check_body(self, said: Mapping[str, Any], body: Any, where: str) -> None:
        self.check_value(said["schema"], body, where)
        if "examples" in said:
            codes = {example["value"]["code"] for example in said["examples"].values()}
            assert body["code"] in codes, (
                f"{where} has the code {body['code']}, not in the document"
            )

    def _check_headers(
        self, said: Mapping[str, Any], headers: Mapping[str, str], always: set[str], where: str
    ) -> None:
        assert always <= headers.keys(), f"{where} has no {always - headers.keys()}"
        known = {name.lower() for name in said} | COMMON | always
        other = {
            name for name in headers if name not in known and not name.startswith("access-control-")
        }
        assert not other, f"{where} has headers that the document does not have: {other}"
