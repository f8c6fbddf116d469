"""The shapes of the wire: accounts and tokens."""

from typing import Annotated

from pydantic import BaseModel, Field

from app.validation import Body, NameText, Text, TrimmedText


class RegistrationIn(Body):
    """A new account. The rules of names, addresses and passwords are applied by the service."""

    username: NameText = Field(examples=["newuser"])
    email: NameText = Field(examples=["newuser@example.com"])
    password: Annotated[Text, Field(min_length=1, examples=["yourpassword"])]


class CredentialsIn(Body):
    username: NameText = Field(examples=["yourusername"])
    password: Annotated[Text, Field(min_length=1, examples=["yourpassword"])]


class RefreshIn(Body):
    refresh: TrimmedText = Field(examples=["refresh_token"])


class UserOut(BaseModel):
    id: int = Field(examples=[1])
    username: str = Field(examples=["user1"])
    email: str = Field(examples=["user1@example.com"])


class TokensOut(BaseModel):
    refresh: str = Field(examples=["refresh_token"])
    access: str = Field(examples=["access_token"])


class AccessOut(BaseModel):
    access: str = Field(examples=["new_access_token"])
