"""The shapes of the wire: erasure and export."""

from datetime import datetime
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from app.accounts.schemas import SettingsOut
from app.http.fields import Text
from app.http.validation import Body
from app.messenger.files.schemas import FileOut
from app.messenger.schemas import Role, RoomOut
from app.profiles.schemas import PostOut
from app.social.schemas import BlockedOut


class ErasureIn(Body):
    """The password: an access token alone must not be enough."""

    password: Annotated[Text, Field(min_length=1, examples=["yourpassword"])]


class OwnAccountOut(TypedDict):
    id: Annotated[int, Field(examples=[1])]
    username: Annotated[str, Field(examples=["user1"])]
    email: Annotated[str, Field(examples=["user1@example.com"])]
    is_admin: Annotated[bool, Field(examples=[False])]
    created_at: Annotated[datetime, Field(examples=["2024-12-12T10:00:00Z"])]


class PictureOut(TypedDict):
    """A picture with its bytes, so that it can be seen without this server."""

    content_type: Annotated[str, Field(examples=["image/jpeg"])]
    base64: Annotated[str, Field(examples=["/9j/4AAQSkZJRg=="])]


class FriendOut(TypedDict):
    id: Annotated[int, Field(examples=[2])]
    username: Annotated[str, Field(examples=["user2"])]


class OwnProfileOut(TypedDict):
    bio: Annotated[str, Field(examples=["Био"])]
    image: PictureOut | None  # null: the default one
    friends: list[FriendOut]


class OwnSessionOut(TypedDict):
    """A session. Ended sessions are kept for some time."""

    id: Annotated[int, Field(examples=[1])]
    created_at: Annotated[datetime, Field(examples=["2024-12-12T10:00:00Z"])]
    last_used_at: Annotated[datetime, Field(examples=["2024-12-12T12:00:00Z"])]
    expires_at: Annotated[datetime, Field(examples=["2025-01-11T10:00:00Z"])]
    revoked_at: datetime | None
    address: Annotated[str, Field(examples=["192.0.2.7"])]
    client: Annotated[str, Field(examples=["Mozilla/5.0"])]


class OwnBrowserOut(TypedDict):
    """A browser that is notified, as long as its session lasts."""

    id: Annotated[int, Field(examples=[1])]
    session_id: Annotated[int, Field(examples=[1])]
    endpoint: Annotated[str, Field(examples=["https://push.example.com/send/0b9c"])]
    created_at: Annotated[datetime, Field(examples=["2024-12-12T10:00:00Z"])]


class OwnPostOut(PostOut):
    client_id: str | None


class OwnBlockOut(BlockedOut):
    """Whom somebody has blocked; who has blocked them is not theirs to know."""

    created_at: Annotated[datetime, Field(examples=["2024-12-12T10:00:00Z"])]


class OwnRoomOut(RoomOut):
    created_at: Annotated[datetime, Field(examples=["2024-12-12T10:00:00Z"])]


class OwnMembershipOut(TypedDict):
    """A place in a room, also in one that was left."""

    room_id: Annotated[int, Field(examples=[1])]
    room: Annotated[str, Field(examples=["user1_user2"])]
    role: Annotated[Role, Field(examples=["member"])]
    joined_at: Annotated[datetime, Field(examples=["2024-12-12T10:00:00Z"])]
    is_member: Annotated[bool, Field(examples=[True], description="False: the room was left.")]
    muted: Annotated[bool, Field(examples=[False])]
    read_id: Annotated[int, Field(examples=[1], description="The message up to which all is read.")]


class OwnMessageOut(TypedDict):
    id: Annotated[int, Field(examples=[1])]
    room: Annotated[str, Field(examples=["user1_user2"])]
    content: Annotated[str, Field(examples=["Привет!"])]
    timestamp: Annotated[datetime, Field(examples=["2024-12-12T10:00:00Z"])]
    client_id: str | None
    reply_to: int | None
    edited_at: datetime | None


class OwnFileOut(FileOut):
    created_at: Annotated[datetime, Field(examples=["2024-12-12T10:00:00Z"])]
    message_id: Annotated[
        int | None, Field(examples=[1], description="null: no message has it yet.")
    ]


class ExportOut(TypedDict):
    """All data of a person, and of others only their names.

    It is sent while it is read from the database. An error in the middle, or a client that reads
    too slowly, cuts it off: then it is not valid JSON, and over HTTP/1.1 its last chunk is missing.
    """

    exported_at: Annotated[datetime, Field(examples=["2024-12-12T10:00:00Z"])]
    account: OwnAccountOut
    settings: SettingsOut
    profile: OwnProfileOut
    sessions: list[OwnSessionOut]
    notified_browsers: list[OwnBrowserOut]
    posts: list[OwnPostOut]
    blocks: list[OwnBlockOut]
    rooms: list[OwnRoomOut]
    memberships: list[OwnMembershipOut]
    messages: Annotated[
        list[OwnMessageOut], Field(description="By room; within one, oldest first.")
    ]
    files: Annotated[
        list[OwnFileOut], Field(description="As a list; each can be fetched by its `url`.")
    ]
