"""What `/` answers programs."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict


class ServiceOut(TypedDict):
    name: Annotated[str, Field(examples=["Beseda"])]
    openapi: Annotated[
        str, Field(examples=["/api/openapi.json"], description="The OpenAPI document.")
    ]
    docs: Annotated[str, Field(examples=["/api/docs/"], description="The same for people.")]
    registration: Annotated[
        str, Field(examples=["open"], description="Who may register: `open`, `invite` or `closed`.")
    ]
    password_reset_by_mail: Annotated[
        bool, Field(examples=[True], description="Whether a lost password can be replaced by mail.")
    ]
    edit_seconds: Annotated[
        int,
        Field(
            examples=[86400],
            description="How long one's own messages may be edited; 0: never, -1: always.",
        ),
    ]
    upload_bytes: Annotated[
        int, Field(examples=[25_000_000], description="How large a file may be.")
    ]
