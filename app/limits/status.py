"""How much of a limit is left, and the headers that tell it."""

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
    """The state of a limit.

    Attributes:
        amount: The limit.
        remaining: What is left of it.
        seconds: The time until the limit is reset.
    """

    amount: int
    remaining: int
    seconds: float

    @property
    def whole_seconds(self) -> int:
        """The seconds rounded up, so that a client that waits for them waits long enough."""
        return max(math.ceil(self.seconds), 1)

    def headers(self) -> dict[str, str]:
        """Return the `X-RateLimit-*` headers; the reset is in Unix time."""
        reset = int(utcnow().timestamp()) + self.whole_seconds
        return dict(zip(HEADERS, map(str, (self.amount, self.remaining, reset)), strict=True))


class Throttled(ApiError):
    """A rate limit is exceeded."""

    status = 429
    code = "throttled"
    detail = _("That was too often. Please try again a little later.")

    def __init__(self, status: RateLimitStatus) -> None:
        super().__init__(status.headers() | {"Retry-After": str(status.whole_seconds)})


def may_throttle(view: View) -> View:
    """Note that a view calls `consume`; `limited` notes it by itself."""
    return documents_error(Throttled(RateLimitStatus(amount=10, remaining=0, seconds=30)))(view)


def statuses() -> list[RateLimitStatus]:
    """Return the limits that the current request counted for; its response tells the tightest."""
    if "rate_limit_statuses" not in g:
        g.rate_limit_statuses = []
    found: list[RateLimitStatus] = g.rate_limit_statuses
    return found


def init_app(app: Flask) -> None:
    """Add the headers to the responses of an application."""
    app.after_request(_add_headers)


def _add_headers(response: Response) -> Response:
    found: list[RateLimitStatus] = g.get("rate_limit_statuses", [])
    if found and response.status_code != Throttled.status:
        response.headers.update(min(found, key=lambda each: each.remaining).headers())
    return response
