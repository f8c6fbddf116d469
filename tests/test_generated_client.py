"""A client that a public generator makes of the document holds a conversation."""

import importlib
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import httpx
import pytest

from tests.factories import PASSWORD, new_name
from tests.servers import Server

PACKAGE = "beseda_client"
# It needs no formatting, and the generator knows neither pictures nor other files.
CONFIG = """
post_hooks: []
content_type_overrides: {image/jpeg: application/octet-stream, "*/*": application/octet-stream}
"""


class Call(Protocol):
    """A generated function: what it returns is the parsed answer."""

    def __call__(self, *arguments: Any, **named: Any) -> Any: ...


@pytest.fixture(scope="module")
def generated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A Python package, made of the document as it is served."""
    folder = tmp_path_factory.mktemp("generated")
    document, config = folder / "openapi.json", folder / "config.yml"
    document.write_bytes(httpx.get(f"{server.url}/api/openapi.json").content)
    config.write_text(CONFIG)
    made = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate"),
            *("--path", str(document), "--output-path", str(folder / PACKAGE)),
            *("--config", str(config), "--meta", "none", "--fail-on-warning"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module(PACKAGE)
        for name in [each for each in sys.modules if each.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


def test_every_part_of_it_compiles(generated: ModuleType) -> None:
    (folder,) = map(Path, generated.__path__)
    parts = [*folder.rglob("*.py")]

    assert len(parts) > 40
    for part in parts:
        importlib.import_module(
            ".".join([PACKAGE, *part.relative_to(folder).with_suffix("").parts])
        )


def test_holds_a_conversation(generated: ModuleType, server: Server) -> None:
    models = importlib.import_module(f"{PACKAGE}.models")

    def call(operation: str) -> Call:
        found: Call = importlib.import_module(f"{PACKAGE}.api.{operation}").sync
        return found

    with ExitStack() as stack:
        anybody = stack.enter_context(generated.Client(server.url))

        def log_in(name: str) -> Any:
            email = f"{secrets.token_hex(6)}@example.com"
            account = models.RegistrationIn(username=name, email=email, password=PASSWORD)
            assert call("accounts.create_user")(client=anybody, body=account).email == email
            body = models.CredentialsIn(username=name, password=PASSWORD)
            tokens = call("sessions.create_token")(client=anybody, body=body)
            return stack.enter_context(generated.AuthenticatedClient(server.url, tokens.access))

        ann, bob = new_name("ann"), new_name("bob")
        as_ann, as_bob = log_in(ann), log_in(bob)

        room = call("messenger.open_room")(client=as_ann, body=models.RoomIn(recipient=bob))
        said = [
            call("messenger.create_message")(room.name, client=client, body=models.MessageIn(text))
            for client, text in ((as_ann, "Привет!"), (as_bob, "И тебе 😀"))
        ]
        on_text = call("messenger.list_messages")(room.name, client=as_bob)
        call("profiles.create_post")(client=as_ann, body=models.PostIn("Пост 1", "Текст"))
        profile = call("profiles.show_profile")(client=as_ann)
        refused = call("messenger.list_messages")("no_room", client=as_ann)
        wrong = call("profiles.create_post")(client=as_ann, body=models.PostIn("", " "))

    assert room.display_name == bob
    assert [(each.user, each.content) for each in on_text] == [(ann, "Привет!"), (bob, "И тебе 😀")]
    assert [each.to_dict() for each in on_text] == [each.to_dict() for each in said]
    assert (profile.username, profile.posts[0].title) == (ann, "Пост 1")
    assert refused.code == "room_not_found"
    assert wrong.errors.to_dict().keys() == {"title", "content"}
