"""Makes an avatar of a picture that somebody sends. Pure: bytes in, bytes out.

The file itself is never stored. It is decoded and encoded again, so only its pixels are left: no
place where a photograph was taken, no script behind its end.
"""

import io
import warnings

from flask_babel import lazy_gettext as _
from PIL import Image, ImageOps

from app.http.fields import RefusedField

PICTURE_BYTES = 5 * 1024 * 1024
PICTURE_PIXELS = 40_000_000
PICTURE_SIDE = 512  # pixels, of the square avatar

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
_QUALITY = 85
# A picture is reduced to this side first: work on all pixels of a large picture takes hundreds of
# megabytes, and more pixels than these do not improve the result.
_WORKING_SIDE = 4 * PICTURE_SIDE

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


def avatar_from(data: bytes) -> bytes:
    """Return a square JPEG of a picture: upright, cropped around its centre, without metadata.

    Args:
        data: A JPEG, PNG, GIF or WebP file of up to `PICTURE_BYTES`. The first frame of an
            animation is used.

    Raises:
        InvalidPicture: It is something else, is broken, or is too large.
    """
    if len(data) > PICTURE_BYTES:
        raise InvalidPicture(_("The picture is larger than 5 MB."))
    if data.startswith(b"\xff\xd8") and data.count(_EXIF_SEGMENT) > _EXIF_SEGMENTS_MAX:
        raise _no_picture()
    try:
        # This reads the header only. Pillow's own limit of pixels is far higher than ours.
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            _check_effort(picture, data)
            return _encoded(_square(picture))
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


def _square(picture: Image.Image) -> Image.Image:
    # A JPEG can be decoded at a fraction of its size, which is much faster.
    picture.draft(None, (2 * PICTURE_SIDE, 2 * PICTURE_SIDE))
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    working = min(side, _WORKING_SIDE)
    square = picture.resize(
        (working, working), Image.Resampling.NEAREST, box=(left, top, left + side, top + side)
    )
    if square.mode.startswith("I"):
        # `convert` would cut 16 bits off instead of scaling them to 8: almost all would be white.
        square = square.convert("I").point(lambda value: value / 256).convert("L")
    # The crop of the centre does not depend on the orientation, so turn the small square.
    upright = _upright(square.convert("RGBA"))
    scaled = upright.resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    on_white = Image.new("RGB", scaled.size, "white")
    on_white.paste(scaled, mask=scaled.getchannel("A"))
    return on_white


def _upright(picture: Image.Image) -> Image.Image:
    # If the orientation cannot be read the picture stays as it is; browsers do the same.
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # Pillow raises many types
        return picture


def _encoded(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()


def _too_many_pixels() -> InvalidPicture:
    return InvalidPicture(_("The picture has more than 40 megapixels."))


def _no_picture() -> InvalidPicture:
    return InvalidPicture(_("Send a picture: JPEG, PNG, GIF or WebP."))
