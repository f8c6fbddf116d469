"""Files that are sent to do harm, opened in a real browser: none of them runs."""

import io
from collections.abc import Callable

from PIL import Image
from playwright.sync_api import Error, Page

from tests.factories import PASSWORD, make_person
from tests.servers import Server

SCRIPT = "<script>document.title = 'ran'; alert(1)</script>"
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)">{SCRIPT}</svg>'


def gif() -> bytes:
    out = io.BytesIO()
    Image.new("P", (60, 40)).save(out, "GIF")
    return out.getvalue()


# By name, with what a browser makes of them: None: it saves them.
FILES: dict[str, tuple[bytes, str | None]] = {
    "page.html": (SCRIPT.encode(), None),
    "photo.png": (SVG.encode(), None),
    "letter.pdf": (b"%PDF-1.7\n" + SCRIPT.encode(), None),
    "text.txt": (b"text " + SCRIPT.encode(), None),
    "film.html": (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + SCRIPT.encode(), "video/mp4"),
    "sound.html": (b"RIFF<!--WAVEfmt -->" + SCRIPT.encode(), "audio/wav"),
    "song.html": (b"ID3\x04\0\0" + SCRIPT.encode(), "audio/mpeg"),
    "dance.html": (gif() + SCRIPT.encode(), "image/gif"),
}


def test_no_file_runs_a_script(server: Server, open_tab: Callable[[str], Page]) -> None:
    eve = make_person(server.url)
    uploads = {
        name: eve.http.post("/messenger/api/uploads/", files={"file": (name, data, "text/html")})
        for name, (data, _) in FILES.items()
    }
    tab = open_tab(f"{server.url}/healthz")
    tab.context.request.post(  # the cookie that opens files
        f"{server.url}/accounts/api/token/",
        data={"username": eve.username, "password": PASSWORD},
        headers={"Origin": server.url},
    )
    alerts: list[str] = []
    tab.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    shown = {}
    for name, upload in uploads.items():
        assert upload.status_code == 201, upload.text
        url = server.url + upload.json()["url"]
        try:
            answer = tab.goto(url)
        except Error as error:
            assert "Download is starting" in str(error), error  # noqa: PT017
            shown[name] = None
            continue
        assert answer is not None
        assert answer.status in (200, 206)
        shown[name] = tab.evaluate("document.contentType")
        assert tab.title() != "ran"
        assert tab.evaluate("window.origin") == "null"  # a sandbox: nobody's cookies and storage

    assert shown == {name: kind for name, (_, kind) in FILES.items()}
    assert alerts == []
