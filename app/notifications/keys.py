"""The key with which this server signs what it sends to push services (RFC 8292, "VAPID").

It is derived from `JWT_SECRET_KEY`, so there is nothing more to keep, and all machines have the
same one. Another `JWT_SECRET_KEY` ends all sessions, and with them all subscriptions.
"""

from base64 import urlsafe_b64encode

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.clock import utcnow

_TOKEN_SECONDS = 12 * 3600  # RFC 8292, section 2: at most 24 hours
_RENEW_SECONDS = 3600  # before its end a token is replaced
_TOKENS_MAX = 100  # push services whose tokens are kept

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# So many bytes more than the order has make every key as likely as any other (FIPS 186-5, A.2.1).
_SEED_BYTES = 40


def base64url(data: bytes) -> str:
    """Return data in base64url without padding (RFC 7515, section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class ServerKey:
    """The key pair of one installation.

    Args:
        secret: `JWT_SECRET_KEY`.
        contact: How the operators of push services reach the operator of this one: a `mailto:` or
            `https:` address; None if no setting tells it.
    """

    def __init__(self, secret: bytes, contact: str | None) -> None:
        seed = HKDF(hashes.SHA256(), _SEED_BYTES, salt=None, info=b"vapid").derive(secret)
        number = int.from_bytes(seed) % (_P256_ORDER - 1) + 1
        self._private = ec.derive_private_key(number, ec.SECP256R1())
        self._contact = contact
        self._tokens: dict[str, tuple[float, str]] = {}
        point = self._private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        self.public = base64url(point)  # what `pushManager.subscribe` takes

    def authorization(self, origin: str) -> str:
        """Return the header that says to a push service who sends.

        Args:
            origin: Of the push service.
        """
        now = utcnow().timestamp()
        ends_at, token = self._tokens.get(origin, (0.0, ""))
        if ends_at - _RENEW_SECONDS < now:
            ends_at = now + _TOKEN_SECONDS
            claims: dict[str, object] = {"aud": origin, "exp": int(ends_at)}
            if self._contact:
                claims["sub"] = self._contact
            token = jwt.encode(claims, self._private, algorithm="ES256")
            if len(self._tokens) >= _TOKENS_MAX:
                self._tokens.clear()
            self._tokens[origin] = ends_at, token
        return f"vapid t={token}, k={self.public}"
