"""Makes a profile picture of whatever picture somebody sends. Pure: bytes in, bytes out.

What is sent is never stored: it is decoded and encoded anew, so nothing of the file but
its pixels is left, neither where a photograph was taken nor a script behind its end.
"""

import io
import warnings

from flask_babel import lazy_gettext as _
from PIL import Image, ImageOps

from app.http.fields import RefusedField

PICTURE_BYTES = 5 * 1024 * 1024
PICTURE_PIXELS = 40_000_000
PICTURE_SIDE = 512  # of the square that comes out

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
_QUALITY = 85
# Of the square that is worked on: what is done to all pixels of a large picture needs
# hundreds of megabytes, and more pixels than these make none of the 512 any better.
_WORKING_SIDE = 4 * PICTURE_SIDE

# A progressive JPEG paints the whole picture once a scan (ITU-T T.81, annex G), and a scan of
# nothing takes 60 bytes: 5 MB of them take minutes. Encoders make about 10; 5 MB of chance, such
# as the film behind a phone's picture, have the marker 76 times.
_SCAN = b"\xff\xda"
_SCANS_MAX = 250
_SCAN_PIXELS_MAX = 400_000_000  # scans × pixels: some three seconds

# Pillow (13.0) joins Exif segments one by one, in quadratic time. Cameras write one; 5 MB of film
# behind a picture have these two bytes some 80 times.
_EXIF_SEGMENT = b"\xff\xe1"
_EXIF_SEGMENTS_MAX = 300

# What a decoder takes beside the picture itself. Pillow's for WebP holds four canvases of 4 bytes a
# pixel, even of a still picture; that of a progressive JPEG all coefficients of all components.
_WEBP_PIXELS = 12_000_000
_CMYK_PIXELS = 20_000_000
_SIDE_MAX = 20_000

# What Pillow finds odd in a file is its sender's affair. It would be told in a line for each of
# up to 65,535 Exif tags, and Python remembers every line that it has not seen before.
warnings.filterwarnings("ignore", module=r"PIL\.")


class InvalidPicture(RefusedField):
    """It is no picture that we take."""


def avatar_from(data: bytes) -> bytes:
    """Return a square JPEG of a picture: upright, cropped about its centre, without metadata.

    Args:
        data: A JPEG, PNG, GIF or WebP file of up to `PICTURE_BYTES`; of an animation the
            first frame counts.

    Raises:
        InvalidPicture: It is something else, is broken, or is too large.
    """
    if len(data) > PICTURE_BYTES:
        raise InvalidPicture(_("The picture is larger than 5 MB."))
    if data.startswith(b"\xff\xd8") and data.count(_EXIF_SEGMENT) > _EXIF_SEGMENTS_MAX:
        raise _no_picture()
    try:
        # Only the header is read here; Pillow itself refuses, or warns of, far more pixels.
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            _check_effort(picture, data)
            return _encoded(_square(picture))
    except InvalidPicture:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:
        # Pillow's decoders raise whatever their format makes them stumble over.
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
    # A JPEG can be decoded at a fraction of its size, in a fraction of the time.
    picture.draft(None, (2 * PICTURE_SIDE, 2 * PICTURE_SIDE))
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    working = min(side, _WORKING_SIDE)
    square = picture.resize(
        (working, working), Image.Resampling.NEAREST, box=(left, top, left + side, top + side)
    )
    if square.mode.startswith("I"):
        # Converted, 16 bits would not be scaled to 8 but cut off: all but the darkest is white.
        square = square.convert("I").point(lambda value: value / 256).convert("L")
    # A square has the same centre whichever way it is turned, so this can wait until it is small.
    upright = _upright(square.convert("RGBA"))
    scaled = upright.resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    on_white = Image.new("RGB", scaled.size, "white")
    on_white.paste(scaled, mask=scaled.getchannel("A"))
    return on_white


def _upright(picture: Image.Image) -> Image.Image:
    # Of the metadata only the orientation is wanted. Where it cannot be read, browsers show the
    # picture as it lies, too.
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # Pillow raises whatever it stumbles over
        return picture


def _encoded(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()


def _too_many_pixels() -> InvalidPicture:
    return InvalidPicture(_("The picture has more than 40 megapixels."))


def _no_picture() -> InvalidPicture:
    return InvalidPicture(_("Send a picture: JPEG, PNG, GIF or WebP."))
