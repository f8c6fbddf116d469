"""The shapes of the wire: friends."""

from pydantic import BaseModel, Field


class SentenceOut(BaseModel):
    message: str = Field(examples=["jane_doe добавлен в друзья."])
