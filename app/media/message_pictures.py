"""Makes what is shown of a picture in a message: the picture, and a small one for lists.

Both are encoded anew, without metadata: where a photograph was taken is not told. A GIF stays as
it is, because it may be an animation.
"""

import io
from dataclasses import dataclass

from PIL import Image

from app.media.pictures import opened, upright, with_8_bits

SIDE_MAX = 2048  # pixels
SMALL_SIDE_MAX = 480
SMALL_TYPE = "image/webp"
GIF_BYTES = 5 * 1024 * 1024  # of a larger one nothing is shown

_QUALITY = 85
_WEBP_EFFORT = 2  # of 6: the default, 4, takes twice as long


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture as it is shown.

    Attributes:
        data: The picture; None: the file is it.
        small: A small one, of the type `SMALL_TYPE`; None: the picture is small itself.
        width: In pixels.
        height: In pixels.
    """

    data: bytes | None
    small: bytes | None
    width: int
    height: int


def shown_picture(data: bytes) -> ShownPicture:
    """Return what is shown of a JPEG, PNG, GIF or WebP.

    Raises:
        InvalidPicture: It is something else, is broken, or is too large.
    """
    with opened(data) as picture:
        if picture.format == "GIF":
            small = _small(_pixels(picture, SMALL_SIDE_MAX), picture.size)
            return ShownPicture(None, small, *picture.size)
        kept = "WEBP" if picture.format == "WEBP" else "PNG" if picture.format == "PNG" else "JPEG"
        pixels = _scaled(upright(_pixels(picture, SIDE_MAX)), SIDE_MAX)
        return ShownPicture(_encoded(pixels, kept), _small(pixels, pixels.size), *pixels.size)


def _pixels(picture: Image.Image, side: int) -> Image.Image:
    # Not all pixels of a large picture: that takes hundreds of megabytes.
    picture.draft(None, (side, side))
    working = side * 3 // 2  # enough to scale it well
    if max(picture.size) > working:
        exif, whole = picture.getexif(), picture
        picture = whole.resize(_fitting(whole.size, working), Image.Resampling.NEAREST)
        whole.close()  # 160 MB, perhaps, before more is made
        picture.getexif().update(exif)
    has_alpha = picture.has_transparency_data
    return with_8_bits(picture).convert("RGBA" if has_alpha else "RGB")


def _small(picture: Image.Image, size: tuple[int, int]) -> bytes | None:
    if max(size) <= SMALL_SIDE_MAX:
        return None
    return _encoded(_scaled(picture, SMALL_SIDE_MAX), "WEBP")


def _scaled(picture: Image.Image, side: int) -> Image.Image:
    if max(picture.size) <= side:
        return picture
    return picture.resize(_fitting(picture.size, side), Image.Resampling.LANCZOS)


def _fitting(size: tuple[int, int], side: int) -> tuple[int, int]:
    width, height = size
    scale = side / max(size)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _encoded(picture: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    options = {} if kind == "PNG" else {"quality": _QUALITY, "method": _WEBP_EFFORT}
    # What `info` has, a profile or a comment, would be written as well.
    picture.info.clear()
    picture.save(out, kind, exif=b"", **options)
    return out.getvalue()
