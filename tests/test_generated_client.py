"""Clients that public generators make of the document hold a conversation."""

import importlib
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import httpx
import pytest

from tests.factories import PASSWORD, new_name
from tests.servers import ROOT, Server

TYPESCRIPT = ROOT / "tests" / "typescript"
PACKAGE = "beseda_client"
OPENAPI_GENERATOR = "beseda_generated"
# It needs no formatting, and the generator knows neither pictures nor other files.
CONFIG = """
post_hooks: []
content_type_overrides: {image/jpeg: application/octet-stream, "*/*": application/octet-stream}
"""


class Call(Protocol):
    """A generated function: what it returns is the parsed answer."""

    def __call__(self, *arguments: Any, **named: Any) -> Any: ...


@pytest.fixture
def served(server: Server, tmp_path: Path) -> Path:
    """The document as it is served."""
    return save_document(server, tmp_path)


def save_document(server: Server, folder: Path) -> Path:
    path = folder / "openapi.json"
    path.write_bytes(httpx.get(f"{server.url}/api/openapi.json").content)
    return path


def run(*command: object, cwd: Path | None = None) -> str:
    """Run a command to its good end, and return what it printed."""
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def imported(folder: Path, package: str) -> Iterator[ModuleType]:
    """Import a package from a folder, and forget it afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module(package)
        for name in [each for each in sys.modules if each.partition(".")[0] == package]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def generated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A Python package that openapi-python-client has made."""
    folder = tmp_path_factory.mktemp("generated")
    config = folder / "config.yml"
    config.write_text(CONFIG)
    run(
        *(sys.executable, "-m", "openapi_python_client", "generate"),
        *("--path", save_document(server, folder), "--output-path", folder / PACKAGE),
        *("--config", config, "--meta", "none", "--fail-on-warning"),
    )
    with imported(folder, PACKAGE) as package:
        yield package


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


@pytest.mark.long
def test_client_of_openapi_generator_holds_a_conversation(
    served: Path, server: Server, tmp_path: Path
) -> None:
    """It comes with a Java of its own, and checks what it sends and gets by pydantic."""
    run(
        *(sys.executable, "-c", "import openapi_generator_cli as it; it.cli()"),
        *("generate", "-g", "python"),
        *("-i", served, "-o", tmp_path, "--package-name", OPENAPI_GENERATOR),
    )
    with imported(tmp_path, OPENAPI_GENERATOR) as client, ExitStack() as stack:
        for part in (tmp_path / OPENAPI_GENERATOR).rglob("*.py"):
            parts = part.relative_to(tmp_path).with_suffix("").parts
            importlib.import_module(".".join(parts).removesuffix(".__init__"))
        models = client.models

        def connect(token: str | None = None) -> Any:
            settings = client.Configuration(server.url, access_token=token)
            return stack.enter_context(client.ApiClient(settings))

        def log_in(name: str) -> Any:
            email = f"{secrets.token_hex(6)}@example.com"
            account = models.RegistrationIn(username=name, email=email, password=PASSWORD)
            assert client.AccountsApi(connect()).create_user(account).email == email
            asked = models.CredentialsIn(username=name, password=PASSWORD)
            return connect(client.SessionsApi(connect()).create_token(asked).access)

        ann, bob = new_name("ann"), new_name("bob")
        by_ann, by_bob = (client.MessengerApi(log_in(name)) for name in (ann, bob))

        room = by_ann.open_room(models.RoomIn(recipient=bob))
        sent = by_ann.create_message(room.name, models.MessageIn(content="Привет!"))
        (heard,) = by_bob.list_messages(room.name)
        with pytest.raises(client.exceptions.NotFoundException) as refused:
            by_ann.list_messages("no_room")

    assert (room.display_name, heard) == (bob, sent)
    assert (heard.user, heard.content) == (ann, "Привет!")
    assert refused.value.data.code == "room_not_found"


@pytest.mark.long
def test_types_of_openapi_typescript_hold_a_conversation(
    served: Path, server: Server, tmp_path: Path
) -> None:
    """The compiler, strict, finds each mistake that `conversation.ts` makes on purpose."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("Node.js is not there")
    folder = tmp_path / "typescript"
    shutil.copytree(TYPESCRIPT, folder)
    installed = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True
    )
    if installed.returncode != 0:
        pytest.skip(f"npm cannot install: {installed.stderr}")
    tools = folder / "node_modules" / ".bin"

    run(tools / "openapi-typescript", served, "--output", folder / "api.d.ts")
    run(tools / "tsc", "--project", folder)
    names = new_name("ann"), new_name("bob")
    said = run(node, folder / "made" / "conversation.js", server.url, *names, PASSWORD)

    assert said == "said and heard\n"
