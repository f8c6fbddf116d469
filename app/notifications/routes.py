"""`/accounts/api/push/`: which browsers of the caller are notified of messages."""

from flask import Blueprint, Response
from flask_babel import gettext

from app.accounts.schemas import DetailOut
from app.accounts.tokens import current_user, login_required
from app.http.annotations import documents_error, documents_response, returns
from app.http.errors import Overloaded
from app.http.json import json_response
from app.http.languages import preferred
from app.http.validation import takes
from app.limits.rules import limited
from app.notifications import subscriptions
from app.notifications.schemas import EndpointIn, PushKeyOut, SubscriptionIn
from app.services import services

bp = Blueprint("notifications", __name__, url_prefix="/accounts/api/push")


@bp.get("/")
@login_required
@returns(PushKeyOut)
def show_push_key() -> Response:
    """Show the key with which a browser subscribes to this server's notifications.

    It is the `applicationServerKey` of `pushManager.subscribe()` in a browser.
    """
    return json_response({"key": services().notifier.key.public})


@bp.post("/")
@login_required
@limited("push")
@takes(SubscriptionIn)
@returns(EndpointIn, 201)
@documents_response(200, "It was notified before.")
def subscribe(body: SubscriptionIn) -> Response:
    """Notify a browser of the caller's unread messages, as long as this session lasts.

    Send what `PushSubscription.toJSON()` returns. Repeating it changes nothing.
    """
    is_new = subscriptions.subscribe(current_user.id, current_user.session_id, body.browser)
    return json_response({"endpoint": body.endpoint}, 201 if is_new else 200)


@bp.delete("/")
@login_required
@takes(EndpointIn)
@returns(None, 204)
def unsubscribe(body: EndpointIn) -> Response:
    """Notify a browser of the caller no more.

    Without a subscription nothing changes. A logout ends subscriptions as well.
    """
    subscriptions.unsubscribe(current_user.id, body.endpoint)
    return Response(status=204)


@bp.post("/test/")
@login_required
@limited("push")
@returns(DetailOut, 202)
@documents_error(Overloaded)
def test_push() -> Response:
    """Send a notification to all browsers of the caller, to see whether they arrive.

    It says nothing of anybody's messages.
    """
    services().notifier.send_test(current_user.id, preferred())
    return json_response({"detail": gettext("A notification is on its way to your browsers.")}, 202)
