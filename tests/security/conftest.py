"""What attacks are tried on: a server as it is at home, and one behind a proxy and in a hurry."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Server

LISTED = "https://app.example"  # may talk to the server behind a proxy
REQUEST_SECONDS = 2
UPLOAD_SECONDS = 4


@pytest.fixture(scope="session")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that counts one proxy before it, and soon tires of slow clients."""
    folder: Path = tmp_path_factory.mktemp("proxied")
    settings = {
        "PROXY_HOPS": "1",
        "CORS_ORIGINS": LISTED,
        "REQUEST_SECONDS": str(REQUEST_SECONDS),
        "UPLOAD_SECONDS": str(UPLOAD_SECONDS),
    }
    with Server(folder, settings) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_defect_comes_to_light(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever is tried: it is no defect of ours, and the server answers afterwards."""
    servers = [
        request.getfixturevalue(name)
        for name in ("server", "proxied")
        if name in request.fixturenames
    ]
    begins = {server: server.log.stat().st_size for server in servers}
    yield
    for server, begin in begins.items():
        server.wait_ready()
        check_log(server, begin)


def check_log(server: Server, begin: int = 0) -> None:
    """Check that a server has logged no defect since its log had so many bytes."""
    with server.log.open("rb") as log:
        log.seek(begin)
        new = log.read().decode(errors="replace")
    for line in new.splitlines():
        assert "traceback" not in line.lower(), new[-4000:]
        assert "defect" not in line, new[-4000:]
