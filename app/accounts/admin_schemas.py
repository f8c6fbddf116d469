"""The shapes of the wire: what administrators send and get."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from app.accounts.models import EMAIL_CHARS
from app.accounts.schemas import AccountIn, OwnUserOut
from app.accounts.setup import find_code_errors
from app.http.errors import FieldErrors
from app.http.fields import Flag, Text, TrimmedText
from app.http.validation import Body


class SetupIn(AccountIn):
    """The account of the first administrator."""

    code: TrimmedText = Field(examples=["0f1e2d3c4b5a69788796a5b4c3d2e1f0"])

    @classmethod
    def find_forbidden(cls, data: Mapping[str, Any]) -> FieldErrors:
        """Return that the code is wrong, or nothing."""
        code = data.get("code")
        return find_code_errors(code if isinstance(code, str) else "")


class AdminUsersIn(Body):
    """The search in the list of users."""

    q: Annotated[Text, Field(max_length=EMAIL_CHARS)] = Field(
        "", description="A part of the name or the address.", examples=["jane"]
    )


class AdminUserIn(Body):
    """Changes of a user. A field that is left out stays as it is."""

    is_active: Flag = Field(True, description="Whether the user can log in.")
    is_admin: Flag = Field(False, description="Whether the user is an administrator.")


class AdminUserOut(OwnUserOut):
    is_active: Annotated[bool, Field(examples=[True])]
    created_at: Annotated[datetime, Field(examples=["2024-12-12T10:00:00Z"])]
    last_used_at: Annotated[
        datetime | None,
        Field(
            examples=["2024-12-12T12:00:00Z"],
            description="Of the newest session; null: there is none.",
        ),
    ]


class LinkOut(TypedDict):
    link: Annotated[
        str, Field(examples=["https://chat.example.com/reset#0f1e2d3c4b5a69788796a5b4c3d2e1f0"])
    ]
    expires_at: Annotated[datetime, Field(examples=["2024-12-12T13:00:00Z"])]


class InvitationIn(Body):
    days: Annotated[
        int, Field(ge=1, le=365, strict=False, description="Days until it expires.")
    ] = 7


class InvitationOut(TypedDict):
    id: Annotated[int, Field(examples=[1])]
    created_at: Annotated[datetime, Field(examples=["2024-12-12T10:00:00Z"])]
    expires_at: Annotated[datetime, Field(examples=["2024-12-19T10:00:00Z"])]
    used_by: Annotated[
        str | None,
        Field(
            examples=["jane_doe"], description="The user who registered with it; null: nobody yet."
        ),
    ]


class InvitationMadeOut(InvitationOut):
    link: Annotated[
        str, Field(examples=["https://chat.example.com/invite#0f1e2d3c4b5a69788796a5b4c3d2e1f0"])
    ]
