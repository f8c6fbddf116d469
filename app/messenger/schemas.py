"""The shapes of the wire: rooms, messages, and the frames of the chat socket."""

from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from flask_babel import lazy_gettext as _
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from app.database.types import LARGEST_ID
from app.http.fields import (
    ClientId,
    Flag,
    InSchema,
    NameText,
    RefusedField,
    TrimmedText,
    VisibleText,
    whole_number,
)
from app.http.json import encode
from app.http.validation import Body
from app.media.avatar_uploads import PictureField
from app.messenger.files.schemas import FileOut
from app.messenger.files.shown import shown_attachments
from app.messenger.models import MESSAGE_CHARS, TITLE_CHARS

Content = Annotated[VisibleText, Field(max_length=MESSAGE_CHARS, examples=["Привет!"])]


ATTACHMENTS_MAX = 10  # files of one message
_MISSING: Any = object()  # in the place of a text that was not sent

Title = Annotated[TrimmedText, Field(max_length=TITLE_CHARS, examples=["Команда"])]
History: TypeAlias = Literal["all", "joined"]
Role: TypeAlias = Literal["admin", "member"]


def _whole(value: Any) -> int:
    # A form has only texts, and 1.0 is a whole number in JSON, which knows one kind of numbers.
    number = whole_number(value) if isinstance(value, str) else value
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise RefusedField(_("A whole number from %(minimum)d on is expected.", minimum=0))
    return min(number, LARGEST_ID)


# A number beyond all ids stands for the largest, so the schema has no maximum.
MessageId = Annotated[Any, AfterValidator(_whole), InSchema(type="integer", minimum=0)]


class RoomIn(Body):
    recipient: NameText = Field(examples=["username"])


class RoomOut(TypedDict):
    id: Annotated[int, Field(examples=[1])]
    name: Annotated[str, Field(examples=["user1_user2"])]
    members: Annotated[list[int], Field(examples=[[1, 2]])]
    display_name: Annotated[str, Field(examples=["user2"])]


def _files(upload_ids: list[str]) -> list[str]:
    if len(upload_ids) > ATTACHMENTS_MAX:
        raise RefusedField(_("A message takes up to %(most)d files.", most=ATTACHMENTS_MAX))
    return upload_ids


def _or_files(value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> str:
    # Where a message has files its text may be left out: the server puts in their names.
    if value in ("", _MISSING) and info.data.get("attachments"):
        return ""
    if value is _MISSING:
        raise PydanticCustomError("missing", "missing")
    return str(check(value))


class MessageIn(Body):
    model_config = ConfigDict(json_schema_extra={"required": ["content"]})

    # Before the text, which may then be empty.
    attachments: (
        Annotated[list[str], AfterValidator(_files), InSchema(maxItems=ATTACHMENTS_MAX)] | None
    ) = Field(None, description="Ids of uploads of one's own, which no message has yet.")
    content: Annotated[Content, WrapValidator(_or_files)] = Field(
        default_factory=lambda: _MISSING, validate_default=True
    )
    client_id: ClientId | None = None
    reply_to: MessageId | None = None


class HistoryIn(Body):
    """Which messages, beside what `limit`, `before` and `after` say."""

    around: MessageId | None = Field(
        None, description="A message that stands in the middle. Not together with a cursor."
    )
    deleted: Flag = Field(False, description="Whether deleted messages are shown as such.")


class EditIn(Body):
    content: Content


class ReadIn(Body):
    """All up to this message is read."""

    read_id: MessageId = Field(examples=[9001])


class UnreadIn(Body):
    """All from this message on is unread."""

    from_id: MessageId = Field(examples=[9001])


class ReadManyIn(Body):
    """Names of rooms, each with the message up to which all is read there."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, MessageId]


class ReadMarkOut(TypedDict):
    read_id: Annotated[int, Field(examples=[9001])]
    unread: Annotated[int, Field(examples=[0], description="1,000 stands for that and more.")]


class GroupIn(Body):
    title: Title
    members: list[NameText] = Field(examples=[["user2"]])
    history: History = "all"
    client_id: ClientId | None = None


class RoomChangeIn(Body):
    """Changes of a room; what is not there stays as it is."""

    title: Title = ""
    history: History = "all"
    muted: Flag = Field(False, description="Of the caller's own, in any room.")
    image: PictureField = None


class RoleIn(Body):
    role: Role = Field(examples=["admin"])


class MemberOut(TypedDict):
    id: Annotated[int, Field(examples=[2])]
    username: Annotated[str, Field(examples=["user2"])]
    role: Annotated[Role, Field(examples=["member"])]
    joined_at: Annotated[datetime, Field(examples=["2026-12-01T10:00:00Z"])]


class ChatIn(Body):
    """A frame from a client."""

    message: Content
    client_id: ClientId | None = None


class MessageOut(TypedDict):
    id: Annotated[int, Field(examples=[1])]
    user: Annotated[str, Field(examples=["user1"])]
    content: NotRequired[Annotated[str, Field(examples=["Привет!"])]]
    timestamp: Annotated[datetime, Field(examples=["2023-12-01T10:00:00Z"])]
    client_id: NotRequired[str]  # only where its sender gave one
    edited_at: NotRequired[datetime]  # only where it was edited
    reply_to: NotRequired[int]  # only in a reply: the id of that message
    attachments: NotRequired[list[FileOut]]  # only where it has files
    fallback: NotRequired[bool]  # only if the text is the names of the files
    deleted_at: NotRequired[datetime]  # only with `deleted`, in place of the text


class ChatOut(TypedDict):
    """A room as the caller sees it."""

    id: Annotated[int, Field(examples=[17])]
    name: Annotated[str, Field(examples=["g~17"])]
    members: NotRequired[Annotated[list[int], Field(examples=[[1, 2, 5]])]]  # up to 100
    display_name: Annotated[str, Field(examples=["Команда"])]
    kind: Annotated[Literal["pair", "group"], Field(examples=["group"])]
    members_count: Annotated[int, Field(examples=[3])]
    role: NotRequired[Annotated[Role, Field(examples=["admin"])]]  # in groups
    image: Annotated[str | None, Field(examples=[None])]
    history: NotRequired[Annotated[History, Field(examples=["all"])]]  # of groups
    joined_id: Annotated[int, Field(examples=[8800])]
    muted: Annotated[bool, Field(examples=[False])]
    read_id: Annotated[int, Field(examples=[9001])]
    peer_read_id: NotRequired[int]  # in rooms of two, if the other one shows it
    unread: Annotated[int, Field(examples=[3], description="1,000 stands for that and more.")]
    event_id: Annotated[int, Field(examples=[9044], description="To sort by.")]
    last_message: MessageOut | None


# What a message shows only where it has it.
_OPTIONAL = ("client_id", "edited_at", "reply_to", "attachments")


def message_out(
    message_id: int, user: str, content: str, timestamp: datetime, *optional: Any
) -> dict[str, Any]:
    """Return a message as the API shows it, in a list, a response and a frame alike.

    Args:
        optional: `client_id`, `edited_at`, `reply_to` and what the message keeps of its files;
            None where there is none.
    """
    message: dict[str, Any] = {
        "id": message_id,
        "user": user,
        "content": content,
        "timestamp": timestamp,
    }
    given = zip(_OPTIONAL, optional, strict=False)
    message |= {name: value for name, value in given if value is not None}
    if (attachments := message.get("attachments")) is not None:
        message |= shown_attachments(attachments, content)
    return message


def history_out(row: Any) -> dict[str, Any]:
    """Return a row of a history as the API shows it: a deleted message without its text."""
    *message, deleted_at = row
    if deleted_at is None:
        return message_out(*message)
    message_id, user, _content, timestamp, *_optional = message
    return {"id": message_id, "user": user, "timestamp": timestamp, "deleted_at": deleted_at}


def message_bytes(*message: Any) -> bytes:
    """Return a message as JSON; takes what `message_out` takes."""
    return encode(message_out(*message))
