"""The shapes of the wire: profiles and posts."""

from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from flask_babel import lazy_gettext as _
from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from app.accounts.models import USERNAME_CHARS
from app.http.fields import (
    ClientId,
    InSchema,
    RefusedField,
    Text,
    TrimmedText,
    VisibleText,
    whole_number,
)
from app.http.pagination import USERS_MAX
from app.http.validation import Body
from app.media.avatar_uploads import PictureField
from app.profiles.models import BIO_CHARS, POST_CHARS, TITLE_CHARS

PEOPLE_IDS_MAX = 100


class PostIn(Body):
    title: Annotated[TrimmedText, Field(max_length=TITLE_CHARS, examples=["Новый пост"])]
    content: Annotated[VisibleText, Field(max_length=POST_CHARS, examples=["Текст"])]
    client_id: ClientId | None = None


class PostChangeIn(Body):
    """Changes of a post. A field that is left out stays as it is."""

    title: Annotated[TrimmedText, Field(max_length=TITLE_CHARS, examples=["Новый пост"])] = ""
    content: Annotated[VisibleText, Field(max_length=POST_CHARS, examples=["Текст"])] = ""


class ProfileIn(Body):
    """Changes of one's own profile. A field that is left out stays as it is."""

    bio: Annotated[Text, Field(max_length=BIO_CHARS, examples=["Био"])] = ""
    image: PictureField = None


def _ids(text: Any) -> Any:
    parts = [part for part in str(text).split(",") if part.strip()]
    numbers = [whole_number(part.strip()) for part in parts]
    if len(numbers) > PEOPLE_IDS_MAX or None in numbers:
        raise RefusedField(_("Up to 100 ids, separated by commas, are expected."))
    return tuple(numbers)


def _limit(text: Any) -> Any:
    number = whole_number(str(text))
    if number is None or number < 1:
        raise RefusedField(_("A whole number from %(minimum)d on is expected.", minimum=1))
    return min(number, USERS_MAX)


class PeopleIn(Body):
    """A search for people."""

    q: Annotated[Text, Field(max_length=USERNAME_CHARS)] = Field(
        "", description="The beginning of a name, or something similar.", examples=["jane"]
    )
    ids: Annotated[
        tuple[int, ...] | None,
        BeforeValidator(_ids),
        InSchema(type="string", anyOf=None),
        Field(description="Only people with these ids, separated by commas, up to 100."),
    ] = None
    limit: Annotated[
        int,
        BeforeValidator(_limit),
        InSchema(minimum=1),
        Field(description="The maximum number of people; 1000 if it is left out or larger."),
    ] = USERS_MAX


class PersonOut(TypedDict):
    id: Annotated[int, Field(examples=[2])]
    username: Annotated[str, Field(examples=["jane_doe"])]
    image: Annotated[str, Field(examples=["/media/user_images/default.jpg"])]
    online: NotRequired[
        Annotated[
            Literal[True] | None,
            Field(description="Only if the caller may see that the person is online."),
        ]
    ]


class PostOut(TypedDict):
    id: Annotated[int, Field(examples=[1, 2])]
    title: Annotated[str, Field(examples=["Пост 1", "Пост 2"])]
    content: Annotated[str, Field(examples=["Текст"])]
    created_at: Annotated[
        datetime, Field(examples=["2024-12-12T10:00:00Z", "2024-12-12T12:00:00Z"])
    ]
    author: Annotated[str, Field(examples=["example_user"])]


class ProfilePartOut(TypedDict):
    image: Annotated[str, Field(examples=["/media/user_images/default.jpg"])]
    bio: Annotated[str, Field(examples=["Био"])]
    friends: Annotated[list[int], Field(examples=[[2]])]


class ProfileOut(TypedDict):
    id: Annotated[int, Field(examples=[1])]
    username: Annotated[str, Field(examples=["example_user"])]
    email: Annotated[str, Field(examples=["example@example.com"])]
    profile: ProfilePartOut
    posts: list[PostOut]


# Further examples for the API document.
NEW_POST = {
    "id": 3,
    "title": "Новый пост",
    "content": "Текст",
    "created_at": "2024-12-12T15:00:00Z",
    "author": "example_user",
}
JANE = {
    "id": 2,
    "username": "jane_doe",
    "email": "jane@example.com",
    "profile": {"image": "/media/user_images/default.jpg", "bio": "Jane's bio", "friends": []},
    "posts": [],
}
