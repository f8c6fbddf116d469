"""Opens pictures that strangers send, within bounds on the memory and the time that they take."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from flask_babel import lazy_gettext as _
from PIL import Image, ImageOps

from app.http.fields import RefusedField

PICTURE_PIXELS = 40_000_000

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP")

# Each scan of a progressive JPEG covers the whole picture (ITU-T T.81, annex G). An empty scan has
# 60 bytes, so 5 MB of them take minutes to decode. Encoders write about 10 scans; 5 MB of random
# bytes, such as the film behind a phone's picture, contain the marker 76 times.
_SCAN = b"\xff\xda"
_SCANS_MAX = 250
_SCAN_PIXELS_MAX = 400_000_000  # scans × pixels: about three seconds

# Pillow (13.0) joins Exif segments one by one, in quadratic time. Cameras write one segment; 5 MB
# of film behind a picture contain these two bytes about 80 times.
_EXIF_SEGMENT = b"\xff\xe1"
_EXIF_SEGMENTS_MAX = 300

# Limits for decoders that need much memory beside the picture. Pillow's WebP decoder holds four
# canvases of 4 bytes per pixel, even for a still picture; that of progressive JPEGs holds all
# coefficients of all components.
_WEBP_PIXELS = 12_000_000
_CMYK_PIXELS = 20_000_000
_SIDE_MAX = 20_000

# Pillow warns of oddities in a file, once for each of up to 65,535 Exif tags, and Python remembers
# every warning.
warnings.filterwarnings("ignore", module=r"PIL\.")


class InvalidPicture(RefusedField):
    """The picture is refused."""


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Open a picture; it is decoded when its pixels are first asked for.

    Args:
        data: A JPEG, PNG, GIF or WebP file.

    Raises:
        InvalidPicture: It is something else, is broken, or is too large; also where the block
            that works with it finds out.
    """
    if data.startswith(b"\xff\xd8") and data.count(_EXIF_SEGMENT) > _EXIF_SEGMENTS_MAX:
        raise _no_picture()
    try:
        # This reads the header only. Pillow's own limit of pixels is far higher than ours.
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            _check_effort(picture, data)
            yield picture
    except InvalidPicture:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:
        # Pillow's decoders raise many types of exceptions.
        raise _no_picture() from error


def _check_effort(picture: Image.Image, data: bytes) -> None:
    width, height = picture.size
    pixels = width * height
    if pixels > PICTURE_PIXELS or max(width, height) > _SIDE_MAX:
        raise _too_many_pixels()
    if picture.format == "WEBP" and pixels > _WEBP_PIXELS:
        raise InvalidPicture(_("A WebP picture may have 12 megapixels."))
    if picture.format in ("JPEG", "MPO"):
        if picture.mode == "CMYK" and pixels > _CMYK_PIXELS:
            raise _too_many_pixels()
        scans = data.count(_SCAN)
        is_progressive = bool(picture.info.get("progressive"))
        if scans > _SCANS_MAX or (is_progressive and scans * pixels > _SCAN_PIXELS_MAX):
            raise _no_picture()


def with_8_bits(picture: Image.Image) -> Image.Image:
    """Return a picture of 16 bits a channel with 8, and any other as it is.

    `convert` would cut 16 bits off instead of scaling them to 8: almost all would be white.
    """
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda value: value / 256).convert("L")
    return picture


def upright(picture: Image.Image) -> Image.Image:
    """Return a picture turned as its Exif says."""
    # If the orientation cannot be read the picture stays as it is; browsers do the same.
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # Pillow raises many types
        return picture


def _too_many_pixels() -> InvalidPicture:
    return InvalidPicture(_("The picture has more than 40 megapixels."))


def _no_picture() -> InvalidPicture:
    return InvalidPicture(_("Send a picture: JPEG, PNG, GIF or WebP."))
