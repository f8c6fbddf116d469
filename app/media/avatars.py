"""Makes an avatar of a picture that somebody sends. Pure: bytes in, bytes out.

The file itself is never stored. It is decoded and encoded again, so only its pixels are left: no
place where a photograph was taken, no script behind its end.
"""

import io

from PIL import Image

from app.media.pictures import TooManyBytes, opened, upright, with_8_bits

PICTURE_BYTES = 5 * 1024 * 1024
PICTURE_SIDE = 512  # pixels, of the square avatar

_QUALITY = 85
# A picture is reduced to this side first: work on all pixels of a large picture takes hundreds of
# megabytes, and more pixels than these do not improve the result.
_WORKING_SIDE = 4 * PICTURE_SIDE


def avatar_from(data: bytes) -> bytes:
    """Return a square JPEG of a picture: upright, cropped around its centre, without metadata.

    Args:
        data: A JPEG, PNG, GIF or WebP file of up to `PICTURE_BYTES`. The first frame of an
            animation is used.

    Raises:
        InvalidPicture: It is something else, is broken, or is too large.
    """
    if len(data) > PICTURE_BYTES:
        raise TooManyBytes
    with opened(data) as picture:
        return _encoded(_square(picture))


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
    picture.close()  # 160 MB, perhaps, before more is made
    # The crop of the centre does not depend on the orientation, so turn the small square.
    turned = upright(with_8_bits(square).convert("RGBA"))
    scaled = turned.resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    on_white = Image.new("RGB", scaled.size, "white")
    on_white.paste(scaled, mask=scaled.getchannel("A"))
    return on_white


def _encoded(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()
