"""The shapes of the wire: files."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from app.http.fields import InSchema
from app.http.validation import Body

_ID = "5f0c1d2e3a4b5c6d7e8f90a1b2c3d4e5"
_URL = f"/messenger/api/files/{_ID}/"


class UploadIn(Body):
    """The form of an upload, which is read piece by piece."""

    file: Annotated[Any, InSchema(type="string", format="binary", examples=["…"])]


class SizeIn(Body):
    size: Literal["small"] | None = Field(
        None, description="`small`: the small picture, if there is one, else the file."
    )


class FileOut(BaseModel):
    """A file as an upload returns it and messages show it."""

    id: str = Field(examples=[_ID])
    name: str = Field(examples=["схема.png"])
    type: str = Field(examples=["image/png"], description="By its content.")
    size: int = Field(examples=[48213], description="In bytes.")
    width: int | SkipJsonSchema[None] = Field(None, examples=[800])  # of pictures
    height: int | SkipJsonSchema[None] = Field(None, examples=[600])
    url: str = Field(examples=[_URL])
    small: str | SkipJsonSchema[None] = Field(None, examples=[f"{_URL}?size=small"])
