"""What Schemathesis has to know beside the document: texts of our formats, and one check more."""

import io
import json
import os

import httpx
import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis.core import NotSet

from tests.factories import PASSWORD
from tests.problems import MEMBERS

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def _picture(size: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, "PNG")
    return out.getvalue()


_names = st.text(_LETTERS, min_size=6, max_size=20)

schemathesis.openapi.format("username", _names)
schemathesis.openapi.format("email", _names.map("{}@example.com".format))
schemathesis.openapi.format("password", _names.map("not common {}".format))
schemathesis.openapi.format("binary", st.tuples(*[st.integers(1, 9)] * 2).map(_picture))


@schemathesis.auth(refresh_interval=1)
class Login:
    """Logs in again and again, because sessions are ended, too."""

    def get(self, case, context) -> str:
        body = {"username": os.environ["SOMEBODY"], "password": PASSWORD}
        answer = httpx.post(f"{os.environ['SERVER']}/accounts/api/token/", json=body)
        token: str = answer.json()["access"]
        return token

    def set(self, case, data, context) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def filter_case(context, case) -> bool:
    """Leave out what OpenAPI cannot forbid: several cursors at once, and oneself for somebody else.

    And what no form can hold, but is there to be refused: it has nothing but texts under names.
    """
    if len({"before", "after", "around"} & (case.query or {}).keys()) > 1:
        return False
    if isinstance(case.body, NotSet):
        return True
    values = [*case.body.values()] if isinstance(case.body, dict) else [None]
    if case.media_type in FORMS and not all(isinstance(each, str | bytes) for each in values):
        return False
    return os.environ["SOMEBODY"] not in values


@schemathesis.check
def errors_have_one_form(ctx, response, case) -> None:
    """Every refusal is a problem document, to the last key."""
    if response.status_code < 400 or case.method in ("HEAD",):
        return
    problem = json.loads(response.content)
    assert response.headers["content-type"] == ["application/problem+json"]
    fields = problem.get("errors", {})
    assert set(problem) == MEMBERS | set(fields) | ({"errors"} if fields else set())
    assert (response.status_code == 400) == bool(fields)
