"""How much of a limit is left, and how a response says so."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, Response, g
from flask_babel import lazy_gettext as _

from app.clock import utcnow
from app.http.annotations import documents_error
from app.http.errors import ApiError

View = TypeVar("View", bound=Callable[..., Any])

HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """What a rule leaves somebody.

    Attributes:
        amount: What is allowed.
        remaining: What is left of it.
        seconds: Until there is more.
    """

    amount: int
    remaining: int
    seconds: float

    @property
    def whole_seconds(self) -> int:
        """The seconds rounded up, so that whoever waits for them has waited long enough."""
        return max(math.ceil(self.seconds), 1)

    def headers(self) -> dict[str, str]:
        """Return the usual headers of rate limits; the reset is in Unix time."""
        reset = int(utcnow().timestamp()) + self.whole_seconds
        return dict(zip(HEADERS, map(str, (self.amount, self.remaining, reset)), strict=True))


class Throttled(ApiError):
    """It was done too often."""

    status = 429
    code = "throttled"
    detail = _("That was too often. Please try again a little later.")

    def __init__(self, status: RateLimitStatus) -> None:
        super().__init__(status.headers() | {"Retry-After": str(status.whole_seconds)})


def may_throttle(view: View) -> View:
    """Note that a view is limited, for those that call `consume`; `limited` does it by itself."""
    return documents_error(Throttled(RateLimitStatus(amount=10, remaining=0, seconds=30)))(view)


def statuses() -> list[RateLimitStatus]:
    """Return those of the current request; its response tells the tightest."""
    if "rate_limit_statuses" not in g:
        g.rate_limit_statuses = []
    found: list[RateLimitStatus] = g.rate_limit_statuses
    return found


def init_app(app: Flask) -> None:
    """Let the responses of an application say what is left."""
    app.after_request(_add_headers)


def _add_headers(response: Response) -> Response:
    found: list[RateLimitStatus] = g.get("rate_limit_statuses", [])
    if found and response.status_code != Throttled.status:
        response.headers.update(min(found, key=lambda each: each.remaining).headers())
    return response
