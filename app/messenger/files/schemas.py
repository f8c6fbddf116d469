"""The shapes of the wire: files."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

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


class FileOut(TypedDict):
    """A file as an upload returns it and messages show it."""

    id: Annotated[str, Field(examples=[_ID])]
    name: Annotated[str, Field(examples=["схема.png"])]
    type: Annotated[str, Field(examples=["image/png"], description="By its content.")]
    size: Annotated[int, Field(examples=[48213], description="In bytes.")]
    width: NotRequired[Annotated[int, Field(examples=[800])]]  # of pictures
    height: NotRequired[Annotated[int, Field(examples=[600])]]
    url: Annotated[str, Field(examples=[_URL])]
    small: NotRequired[Annotated[str, Field(examples=[f"{_URL}?size=small"])]]
