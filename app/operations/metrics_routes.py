"""`/metrics`, for an operator's Prometheus."""

from hmac import compare_digest

from flask import Blueprint, Flask, Response, current_app, request
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app.accounts.tokens import NotAuthenticated, TokenNotValid, bearer_token
from app.http.annotations import undocumented
from app.services import services

bp = Blueprint("metrics", __name__)


@bp.get("/metrics")
@undocumented("for an operator's Prometheus, if METRICS_TOKEN is set")
def show_metrics() -> Response:
    """Return the metrics to a client with the token for them."""
    token = bearer_token(request.headers)
    if token is None:
        raise NotAuthenticated
    wanted = services().config.METRICS_TOKEN
    if not (wanted and compare_digest(token.encode(), wanted.get_secret_value().encode())):
        raise TokenNotValid
    metrics = services().metrics
    metrics.publish(current_app)
    return Response(metrics.text(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def init_app(app: Flask) -> None:
    """Count the requests of an application, and serve `/metrics` if `METRICS_TOKEN` is set."""
    app.after_request(services(app).metrics.note_request)
    if services(app).config.METRICS_TOKEN is not None:
        app.register_blueprint(bp)
