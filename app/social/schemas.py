"""The shapes of the wire: friends and blocks."""

from pydantic import BaseModel, Field


class SentenceOut(BaseModel):
    message: str = Field(examples=["jane_doe добавлен в друзья."])


class BlockedOut(BaseModel):
    id: int = Field(examples=[2])
    username: str = Field(examples=["jane_doe"])
