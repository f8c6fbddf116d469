"""Makes a profile picture of whatever picture somebody sends. Pure: bytes in, bytes out.

What is sent is never stored: it is decoded and encoded anew, so nothing of the file but
its pixels is left, neither where a photograph was taken nor a script behind its end.
"""

import io

from flask_babel import lazy_gettext as _
from PIL import Image, ImageOps

from app.validation import RefusedField

PICTURE_BYTES = 5 * 1024 * 1024
PICTURE_PIXELS = 40_000_000
PICTURE_SIDE = 512  # of the square that comes out

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
_QUALITY = 85
_ORIENTATION = 0x0112  # which way a camera was held (Exif 2.32, 4.6.4)

# Pillow would warn of fewer pixels than we take, and refuse later than we do.
Image.MAX_IMAGE_PIXELS = None


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
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            width, height = picture.size
            if width * height > PICTURE_PIXELS:
                raise InvalidPicture(_("The picture has more than 40 megapixels."))
            # A JPEG can be decoded at a fraction of its size, in a fraction of the time.
            picture.draft("RGB", (2 * PICTURE_SIDE, 2 * PICTURE_SIDE))
            return _encoded(_square(picture))
    except InvalidPicture:
        raise
    except Exception as error:
        # Pillow's decoders raise whatever their format makes them stumble over.
        raise InvalidPicture(_("Send a picture: JPEG, PNG, GIF or WebP.")) from error


def _square(picture: Image.Image) -> Image.Image:
    # Cropping and scaling come first: what is done to all of its pixels needs most memory.
    has_palette = picture.mode not in ("RGB", "RGBA", "L")
    square = ImageOps.fit(
        picture.convert("RGBA") if has_palette else picture, (PICTURE_SIDE, PICTURE_SIDE)
    )
    square.getexif()[_ORIENTATION] = picture.getexif().get(_ORIENTATION, 1)
    upright = ImageOps.exif_transpose(square).convert("RGBA")
    on_white = Image.new("RGB", upright.size, "white")
    on_white.paste(upright, mask=upright.getchannel("A"))
    return on_white


def _encoded(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()
