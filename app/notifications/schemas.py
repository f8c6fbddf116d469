"""The shapes of the wire: Web Push."""

from typing import Annotated

from cryptography.hazmat.primitives.asymmetric import ec
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from app.http.fields import InSchema, RefusedField, TrimmedText
from app.http.validation import Body
from app.notifications.endpoints import Endpoint, EndpointRefused
from app.notifications.models import AUTH_CHARS, ENDPOINT_CHARS, P256DH_CHARS
from app.notifications.push_service import Browser, decoded
from app.services import services

_SECRET_BYTES = 16  # RFC 8291, section 3.2
_WRONG_KEYS: LazyString = _("These are not the keys of a browser: p256dh and auth.")


def _endpoint(text: str) -> str:
    try:
        Endpoint.parse(text, allow_private=services().config.PUSH_ALLOW_PRIVATE)
    except EndpointRefused:
        raise RefusedField(_("This is not the public https address of a push service.")) from None
    return text


def _public_key(text: str) -> str:
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(text))
    except ValueError:
        raise RefusedField(_WRONG_KEYS) from None
    return text.rstrip("=")


def _secret(text: str) -> str:
    try:
        is_right = len(decoded(text)) == _SECRET_BYTES
    except ValueError:
        is_right = False
    if not is_right:
        raise RefusedField(_WRONG_KEYS)
    return text.rstrip("=")


class KeysIn(Body):
    """The keys for which notifications are encrypted (RFC 8291), in base64url."""

    p256dh: Annotated[
        TrimmedText, Field(max_length=P256DH_CHARS + 1), AfterValidator(_public_key)
    ] = Field(
        examples=[
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcx"
            "aOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
        ]
    )
    auth: Annotated[TrimmedText, Field(max_length=AUTH_CHARS + 2), AfterValidator(_secret)] = Field(
        examples=["BTBZMqHH6r4Tts7J_aSIgg"]
    )


class EndpointIn(Body):
    endpoint: Annotated[
        TrimmedText,
        Field(
            max_length=ENDPOINT_CHARS,
            examples=["https://push.example.com/send/0b9c"],
            description="Where the browser's push service takes notifications for it.",
        ),
    ]


class SubscriptionIn(EndpointIn):
    """What `PushSubscription.toJSON()` gives in a browser."""

    endpoint: Annotated[
        TrimmedText,
        Field(max_length=ENDPOINT_CHARS),
        AfterValidator(_endpoint),
        InSchema(format="uri", pattern=None),
    ] = Field(examples=["https://push.example.com/send/0b9c"])
    keys: KeysIn

    @property
    def browser(self) -> Browser:
        """The browser to be notified."""
        return Browser(self.endpoint, self.keys.p256dh, self.keys.auth)


class PushKeyOut(TypedDict):
    key: Annotated[
        str,
        Field(
            description="The public key of this server, for `pushManager.subscribe`.",
            examples=[
                "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIg"
                "Dll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"
            ],
        ),
    ]
