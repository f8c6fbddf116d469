"""What a notification says, in both forms of Web Push at once.

Browsers that know Declarative Web Push show it as it is; in the others the service worker of the
page reads the same. Source: https://www.w3.org/TR/push-api/, declarative push message.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from flask_babel import force_locale, gettext

from app.http.json import encode
from app.notifications.keys import base64url
from app.notifications.push_service import BODY_BYTES_MAX

_FORMAT = 8030  # of the declarative form: it names RFC 8030
TEXT_CHARS = 300  # of a message; no phone shows more
_TOPIC_BYTES = 24  # 32 characters of base64url, the most that there may be (RFC 8030, section 5.4)


@dataclass(frozen=True, slots=True)
class Notice:
    """What one user is notified of.

    Attributes:
        room: The name of the room.
        title: The title of a group; None in a room of two.
        author: Who wrote.
        content: What.
        is_hidden: Whether the text and the names are left out (`push_text`).
        language: Of the sentences.
    """

    room: str
    title: str | None
    author: str
    content: str
    is_hidden: bool
    language: str


def topic_of(room_id: int) -> str:
    """Return by what a push service knows the newer notification of the same room."""
    return base64url(sha256(b"room %d" % room_id).digest()[:_TOPIC_BYTES])


def body_of(notice: Notice, site: str) -> bytes:
    """Return the notification of a message.

    Args:
        notice: What it says.
        site: The address of this server; empty where no setting tells it.
    """
    text = notice.content[:TEXT_CHARS] + ("…" if len(notice.content) > TEXT_CHARS else "")
    if notice.is_hidden:
        with force_locale(notice.language):
            title, text = "Beseda", gettext("There is a new message for you.")
    elif notice.title is None:
        title = notice.author
    else:
        title, text = notice.title, f"{notice.author}: {text}"
    return _encoded(title, text, f"{site}/chat/{quote(notice.room, safe='~')}", notice.room)


def test_body(language: str, site: str) -> bytes:
    """Return the notification with which somebody tries whether they work."""
    with force_locale(language):
        text = gettext("Notifications work on this device.")
    return _encoded("Beseda", text, f"{site}/settings", "test")


def _encoded(title: str, text: str, address: str, tag: str) -> bytes:
    shown: dict[str, Any] = {"title": title, "body": text, "navigate": address, "tag": tag}
    body = encode({"web_push": _FORMAT, "notification": shown})
    if len(body) > BODY_BYTES_MAX:  # characters that JSON writes in six bytes
        shown["body"] = text[: TEXT_CHARS // 4]
        body = encode({"web_push": _FORMAT, "notification": shown})
    return body
