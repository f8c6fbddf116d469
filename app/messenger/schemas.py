"""The shapes of the wire: rooms, messages, and the frames of the chat socket."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from app.http.fields import ClientId, NameText, VisibleText
from app.http.json import encode
from app.http.validation import Body
from app.messenger.models import MESSAGE_CHARS

Content = Annotated[VisibleText, Field(max_length=MESSAGE_CHARS, examples=["Привет!"])]


class RoomIn(Body):
    recipient: NameText = Field(examples=["username"])


class RoomOut(BaseModel):
    id: int = Field(examples=[1])
    name: str = Field(examples=["user1_user2"])
    members: list[int] = Field(examples=[[1, 2]])
    display_name: str = Field(examples=["user2"])


class MessageIn(Body):
    content: Content
    client_id: ClientId | None = None


class ChatIn(Body):
    """A frame from a client."""

    message: Content
    client_id: ClientId | None = None


class MessageOut(BaseModel):
    id: int = Field(examples=[1])
    user: str = Field(examples=["user1"])
    content: str = Field(examples=["Привет!"])
    timestamp: datetime = Field(examples=["2023-12-01T10:00:00Z"])
    client_id: str | SkipJsonSchema[None] = None  # only where its sender gave one
    edited_at: datetime | SkipJsonSchema[None] = None  # only where it was edited
    reply_to: int | SkipJsonSchema[None] = None  # only in a reply: the id of that message


# What a message shows only where it has it.
_OPTIONAL = ("client_id", "edited_at", "reply_to")


def message_out(
    message_id: int, user: str, content: str, timestamp: datetime, *optional: Any
) -> dict[str, Any]:
    """Return a message as the API shows it, in a list, a response and a frame alike.

    Args:
        optional: `client_id`, `edited_at` and `reply_to`; None where there is none.
    """
    message = {"id": message_id, "user": user, "content": content, "timestamp": timestamp}
    given = zip(_OPTIONAL, optional, strict=False)
    return message | {name: value for name, value in given if value is not None}


def message_bytes(*message: Any) -> bytes:
    """Return a message as JSON; takes what `message_out` takes."""
    return encode(message_out(*message))
