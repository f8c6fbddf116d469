"""Opens pictures that strangers send, within bounds on the memory and the time that they take."""

import io
import warnings
from collections.abc import Iterator, Sequence
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
_SCAN_PIXELS_MAX = 800_000_000  # scans × pixels: mozjpeg writes up to 20 scans

# Pillow (13.0) joins Exif segments one by one, in quadratic time. Cameras write one segment; 5 MB
# of film behind a picture contain these two bytes about 80 times.
_EXIF_SEGMENT = b"\xff\xe1"
_EXIF_SEGMENTS_MAX = 300

# What decoders need of memory, in bytes a pixel, measured with Pillow 13.0. Its WebP decoder holds
# four canvases and some more, also of a still picture. A JPEG is decoded at a fraction of its size,
# but all coefficients of a progressive one are held. `decoder.py` bounds what no head tells.
_WEBP_BYTES = 17.5
_OTHER_BYTES = 4.5
_COEFFICIENT_BYTES = 2.25
MEMORY_MAX = 217_000_000  # with a worker's 120 MiB it stays below 350 MiB
_SIDE_MAX = 20_000

# Pillow warns of oddities in a file, once for each of up to 65,535 Exif tags, and Python remembers
# every warning.
warnings.filterwarnings("ignore", module=r"PIL\.")


class InvalidPicture(RefusedField):
    """The picture is refused."""

    because = _("Send a picture: JPEG, PNG, GIF or WebP.")

    def __init__(self) -> None:
        super().__init__(self.because)

    def __reduce__(self) -> tuple[type["InvalidPicture"], tuple[()]]:
        return type(self), ()  # a sentence that is still to be translated cannot be pickled


class TooManyBytes(InvalidPicture):
    """The file is too large for an avatar."""

    because = _("The picture is larger than 5 MB.")


class TooManyPixels(InvalidPicture):
    """The picture is too large."""

    because = _("The picture has more than 40 megapixels.")


class TooMuchMemory(InvalidPicture):
    """It would take more memory than there is for a picture."""

    because = _("The picture takes too much memory. Send it as a plain JPEG.")


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
        raise InvalidPicture
    try:
        # This reads the header only. Pillow's own limit of pixels is far higher than ours.
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            _check_effort(picture, data)
            yield picture
    except InvalidPicture:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels from error
    except MemoryError as error:
        raise TooMuchMemory from error
    except Exception as error:
        # Pillow's decoders raise many types of exceptions.
        raise InvalidPicture from error


def _check_effort(picture: Image.Image, data: bytes) -> None:
    width, height = picture.size
    pixels = width * height
    if pixels > PICTURE_PIXELS or max(width, height) > _SIDE_MAX:
        raise TooManyPixels
    if picture.format in ("JPEG", "MPO"):
        scans = data.count(_SCAN)
        is_progressive = bool(picture.info.get("progressive"))
        if scans > _SCANS_MAX or (is_progressive and scans * pixels > _SCAN_PIXELS_MAX):
            raise InvalidPicture
    if pixels * _bytes_of_a_pixel(picture) > MEMORY_MAX:
        raise TooMuchMemory


def _bytes_of_a_pixel(picture: Image.Image) -> float:
    if picture.format == "WEBP":
        return _WEBP_BYTES
    if picture.format not in ("JPEG", "MPO"):
        return _OTHER_BYTES
    if not picture.info.get("progressive"):
        return 1
    layers: Sequence[tuple[int, int, int, int]] = picture.layer  # type: ignore[attr-defined]
    samples = [(across, down) for _id, across, down, _table in layers]
    largest = max(across for across, _ in samples) * max(down for _, down in samples)
    return _COEFFICIENT_BYTES * sum(across * down for across, down in samples) / largest


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
