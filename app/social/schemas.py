"""The shapes of the wire: friends and blocks."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict


class SentenceOut(TypedDict):
    message: Annotated[str, Field(examples=["jane_doe добавлен в друзья."])]


class BlockedOut(TypedDict):
    id: Annotated[int, Field(examples=[2])]
    username: Annotated[str, Field(examples=["jane_doe"])]
