"""The shapes of the wire: what is somebody's."""

from typing import Annotated

from pydantic import Field

from app.validation import Body, Text


class ErasureIn(Body):
    """The password says that its owner wants it, and not who found the token."""

    password: Annotated[Text, Field(min_length=1, examples=["yourpassword"])]
