"""Tells the type of a file by its content. What a sender says, or the name, decides nothing."""

import re
from codecs import getincrementaldecoder

HEAD_BYTES = 4096  # of a file, which are enough

PICTURES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
UNKNOWN = "application/octet-stream"

# Patterns of the first bytes. Nothing active is among them: HTML, SVG and scripts are unknown.
_SIGNATURES = tuple(
    (re.compile(pattern, re.DOTALL), media_type)
    for pattern, media_type in (
        (rb"\xff\xd8\xff", "image/jpeg"),
        (rb"\x89PNG\r\n\x1a\n", "image/png"),
        (rb"GIF8[79]a", "image/gif"),
        (rb"RIFF....WEBP", "image/webp"),
        # ISO base media, by its major brand (ISO/IEC 14496-12, section 4.3). The first box is
        # small, so its size begins with zeros, and nothing that is a text passes for a film.
        (rb"\x00\x00..ftyp(M4A|M4B)", "audio/mp4"),
        (rb"\x00\x00..ftyp(isom|iso[2-9]|mp4[12]|avc1|M4V|MSNV|dash)", "video/mp4"),
        (rb"\x00\x00..ftypqt  ", "video/quicktime"),
        (rb"\x00\x00..ftypavi[fs]", "image/avif"),
        (rb"\x00\x00..ftyp(heic|heix|mif1|msf1)", "image/heic"),
        # EBML, by its DocType (RFC 8794, section 11.2.7)
        (rb"\x1a\x45\xdf\xa3.{0,40}\x42\x82.webm", "video/webm"),
        (rb"\x1a\x45\xdf\xa3", "video/x-matroska"),
        (rb"ID3[\x02-\x04]|\xff[\xfb\xf3\xf2]", "audio/mpeg"),
        (rb"\xff[\xf1\xf9]", "audio/aac"),
        (rb"OggS.{24,}(OpusHead|\x01vorbis|Speex)", "audio/ogg"),
        (rb"fLaC", "audio/flac"),
        (rb"RIFF....WAVE", "audio/wav"),
        (rb"%PDF-", "application/pdf"),
        (rb"PK(\x03\x04|\x05\x06)", "application/zip"),
        (rb"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
        (rb"\x1f\x8b\x08", "application/gzip"),
    )
)
_TEXT = re.compile(rb"[^\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]*\Z")


def type_of(head: bytes) -> str:
    """Return the media type of a file.

    Args:
        head: Its first `HEAD_BYTES`.
    """
    for pattern, media_type in _SIGNATURES:
        if pattern.match(head):
            return media_type
    return "text/plain" if _is_plain_text(head) else UNKNOWN


def _is_plain_text(head: bytes) -> bool:
    # What begins with `<` may be HTML or XML, which are active.
    if not _TEXT.match(head) or head.lstrip(b"\xef\xbb\xbf \t\r\n\f\v")[:1] in (b"<", b""):
        return False
    try:
        getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True
