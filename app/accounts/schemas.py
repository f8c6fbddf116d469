"""The shapes of the wire: accounts and tokens."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field
from typing_extensions import TypedDict

from app.accounts.devices import Kind
from app.accounts.models import EMAIL_CHARS, USERNAME_CHARS
from app.accounts.passwords import PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, strong_password
from app.accounts.registration import find_uninvited
from app.accounts.resets import find_token_errors
from app.accounts.services import find_taken
from app.accounts.usernames import normal_email, normal_username
from app.http.errors import BadInput, FieldErrors
from app.http.fields import Flag, InSchema, NameText, Text, TrimmedText, trimmed
from app.http.validation import Body

Username = Annotated[
    NameText,
    AfterValidator(normal_username),
    InSchema(format="username", maxLength=USERNAME_CHARS, pattern=None),
    Field(
        description="Letters with their marks, digits and `@ . + - _`; unique, ignoring case."
        " The letters of one name belong to one script."
    ),
]
Email = Annotated[
    NameText,
    AfterValidator(normal_email),
    InSchema(format="email", maxLength=EMAIL_CHARS, pattern=None),
]
NewPassword = Annotated[
    Text,
    AfterValidator(strong_password),
    InSchema(
        format="password",
        minLength=PASSWORD_CHARS_MIN,
        maxLength=PASSWORD_CHARS_MAX,
        pattern=None,
    ),
    Field(description="Not only digits, not the name or the address, not a very common one."),
]


class AccountIn(Body):
    """A new account."""

    username: Username = Field(examples=["newuser"])
    email: Email = Field(examples=["newuser@example.com"])
    password: NewPassword = Field(examples=["yourpassword"])

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Check a body and name all wrong fields at once.

        Names and addresses that are taken are among them, but not for a visitor who may not
        register: they must not learn who has an account.
        """
        is_object = isinstance(data, dict)
        forbidden = cls.find_forbidden(data if is_object else {})
        try:
            body = super().parse(data)
        except BadInput as error:
            if not is_object:
                raise
            errors = {**error.errors, **forbidden}
            if not forbidden:
                good = {
                    name: "" if name in errors else data[name] for name in ("username", "email")
                }
                errors |= find_taken(**good)
            raise BadInput(errors) from None
        if forbidden:
            raise BadInput(forbidden)
        return body

    @classmethod
    def find_forbidden(cls, data: Mapping[str, Any]) -> FieldErrors:  # noqa: ARG003
        """Return the reasons to refuse a body before looking at its fields."""
        return {}


class RegistrationIn(AccountIn):
    """A registration."""

    invitation: Text | None = Field(
        None,
        description="The code of an invitation, if registration requires one.",
    )

    @classmethod
    def find_forbidden(cls, data: Mapping[str, Any]) -> FieldErrors:
        """Return why the visitor may not register, or nothing."""
        invitation = data.get("invitation")
        return find_uninvited(invitation if isinstance(invitation, str) else None)


class UsernameIn(Body):
    username: NameText = Field(examples=["jane_doe"], description="A login; its case is ignored.")


_IN_COOKIE = (
    "For the page of this server: the refresh token comes as a cookie that no script can read, and"
    " `refresh` is empty."
)


class CredentialsIn(Body):
    username: NameText = Field(examples=["yourusername"])
    password: Annotated[Text, Field(min_length=1, examples=["yourpassword"])]
    cookie: Flag = Field(False, description=_IN_COOKIE)


class RefreshIn(Body):
    """A refresh token. The page of this server leaves it out and sends the cookie instead."""

    refresh: Annotated[Text, BeforeValidator(trimmed)] = Field("", examples=["refresh_token"])


class TokenIn(Body):
    token: TrimmedText = Field(examples=["access_token"])


class PasswordChangeIn(Body):
    old_password: Annotated[Text, Field(min_length=1, examples=["yourpassword"])]
    new_password: NewPassword = Field(examples=["correct horse battery"])
    cookie: Flag = Field(False, description=_IN_COOKIE)


class NewPasswordIn(Body):
    """An account that an operator creates."""

    password: NewPassword


class ResetIn(Body):
    email: Email = Field(examples=["newuser@example.com"])


class ResetConfirmIn(Body):
    """A token for a new password, and that password."""

    token: TrimmedText = Field(examples=["0f1e2d3c4b5a69788796a5b4c3d2e1f0"])
    new_password: NewPassword = Field(examples=["correct horse battery"])

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Check a body. A token that is not valid is named together with other wrong fields."""
        try:
            return super().parse(data)
        except BadInput as error:
            if not isinstance(data, dict) or "token" in error.errors:
                raise
            raise BadInput({**error.errors, **find_token_errors(data["token"])}) from None


class EmailChangeIn(Body):
    """A new address, and the password: an access token alone must not be enough."""

    email: Email = Field(examples=["newuser@example.com"])
    password: Annotated[Text, Field(min_length=1, examples=["yourpassword"])]


class DeviceOut(TypedDict):
    """What `client` tells about the device; null where it does not tell."""

    kind: Annotated[Kind, Field(examples=["computer"])]
    browser: Annotated[str | None, Field(examples=["Firefox"])]
    system: Annotated[str | None, Field(examples=["Linux"])]


class SessionOut(TypedDict):
    id: Annotated[int, Field(examples=[1])]
    created_at: Annotated[datetime, Field(examples=["2024-12-12T10:00:00Z"])]
    last_used_at: Annotated[datetime, Field(examples=["2024-12-12T12:00:00Z"])]
    address: Annotated[str, Field(examples=["192.0.2.7"])]
    client: Annotated[
        str, Field(examples=["Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"])
    ]
    device: DeviceOut
    current: Annotated[bool, Field(examples=[True])]


class SettingsIn(Body):
    """Changes of the caller's settings. A setting that is left out stays as it is."""

    language: Literal["ru", "en"] | None = Field(
        None,
        description="Of sentences, if a request has no `Accept-Language`; null: the server's.",
        examples=["ru"],
    )
    show_presence: Flag = Field(
        True,
        description="Others see when the caller is online; if not, the caller sees nobody.",
    )
    show_read: Flag = Field(
        True,
        description="Others see what the caller has read; if not, the caller sees no marks.",
    )
    push_text: Literal["full", "none"] = Field(
        "full", description="Whether a notification shows the text of the message."
    )


class SettingsOut(TypedDict):
    language: Annotated[Literal["ru", "en"] | None, Field(examples=["ru"])]
    show_presence: Annotated[bool, Field(examples=[True])]
    show_read: Annotated[bool, Field(examples=[True])]
    push_text: Annotated[Literal["full", "none"], Field(examples=["full"])]


class UserOut(TypedDict):
    id: Annotated[int, Field(examples=[1, 2])]
    username: Annotated[str, Field(examples=["user1", "user2"])]
    email: Annotated[str, Field(examples=["user1@example.com", "user2@example.com"])]


class OwnUserOut(UserOut):
    is_admin: Annotated[bool, Field(examples=[False])]


class DetailOut(TypedDict):
    detail: Annotated[str, Field(examples=["Пароль изменён."])]


class NothingOut(TypedDict):
    """An empty object, as SimpleJWT responds."""


class TokensOut(TypedDict):
    refresh: Annotated[str, Field(examples=["refresh_token"])]
    access: Annotated[str, Field(examples=["access_token"])]


class AccessOut(TypedDict):
    access: Annotated[str, Field(examples=["new_access_token"])]
