"""What `/` answers programs."""

from pydantic import BaseModel, Field


class ServiceOut(BaseModel):
    name: str = Field(examples=["Beseda"])
    openapi: str = Field(examples=["/api/openapi.json"], description="The OpenAPI document.")
    docs: str = Field(examples=["/api/docs/"], description="The same for people.")
    registration: str = Field(
        examples=["open"], description="Who may register: `open`, `invite` or `closed`."
    )
    password_reset_by_mail: bool = Field(
        examples=[True], description="Whether a lost password can be replaced by mail."
    )
    edit_seconds: int = Field(
        examples=[86400],
        description="How long one's own messages may be edited; 0: never, -1: always.",
    )
    upload_bytes: int = Field(examples=[25_000_000], description="How large a file may be.")
