"""Types of files by their content."""

import pytest

from app.media.signatures import HEAD_BYTES, UNKNOWN, type_of

RUSSIAN = "Привет, мир! " * 1000


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "video/mp4"),
        (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
        (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", "video/webm"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x88matroska", "video/x-matroska"),
        (b"ID3\x04\0\0", "audio/mpeg"),
        (b"\xff\xfb\x90d", "audio/mpeg"),
        (b"OggS" + bytes(24) + b"OpusHead", "audio/ogg"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"%PDF-1.7", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"plain text\r\n", "text/plain"),
        (RUSSIAN.encode()[:HEAD_BYTES], "text/plain"),
        (("x" + RUSSIAN).encode()[:HEAD_BYTES], "text/plain"),  # cut within a letter
        (RUSSIAN.encode("cp1251"), UNKNOWN),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>", UNKNOWN),
        (b"\xef\xbb\xbf \r\n<!DOCTYPE html>", UNKNOWN),
        (b"<?xml version='1.0'?>", UNKNOWN),
        (b"\x7fELF\2\1\1", UNKNOWN),
        (b"<!--ftypisom--><script>", UNKNOWN),
        (b"", UNKNOWN),
        (b" \n", UNKNOWN),
        (bytes(range(256)), UNKNOWN),
    ],
)
def test_content_says_the_type(head: bytes, expected: str) -> None:
    assert type_of(head) == expected
