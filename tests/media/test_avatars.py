"""Pictures: what is taken and how it comes out, and what is refused before it does harm."""

import io
import random
import struct
import subprocess
import sys
import time
import warnings
import zipfile
import zlib

import pytest
from PIL import Image, ImageCms, ImageDraw, ImageOps, PngImagePlugin

from app.media.avatars import PICTURE_BYTES, PICTURE_SIDE, avatar_from
from app.media.pictures import PICTURE_PIXELS, InvalidPicture

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)
FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
ORIENTATION, GPS, MAKE = 0x0112, 0x8825, 0x010F  # Exif 2.32, section 4.6

NO_PICTURE = "Send a picture: JPEG, PNG, GIF or WebP."
TOO_MANY_PIXELS = "The picture has more than 40 megapixels."


def encoded(image, kind, **how):
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def plain(mode="RGB", colour=GREEN, size=(60, 60)):
    return Image.new(mode, size, colour)


def noise(size=(64, 48)):
    pixels = random.Random(7).randbytes(size[0] * size[1] * 3)
    return Image.frombytes("RGB", size, pixels)


def result_of(data):
    """Return the avatar made of a picture, after a look at what every avatar has to be."""
    avatar = Image.open(io.BytesIO(avatar_from(data)))
    avatar.load()
    assert (avatar.format, avatar.mode) == ("JPEG", "RGB")
    assert avatar.size == (PICTURE_SIDE, PICTURE_SIDE)
    return avatar


def looks_like(seen, expected, tolerance=14):
    return all(abs(a - b) <= tolerance for a, b in zip(seen, expected, strict=True))


def centre(avatar):
    return avatar.getpixel((PICTURE_SIDE // 2, PICTURE_SIDE // 2))


def refusal_of(data):
    with pytest.raises(InvalidPicture) as refused:
        avatar_from(data)
    return str(refused.value.sentence)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", size)


def png_of_size(width, height):
    """Return a PNG that says it is large, and whose pixels are not there to be decoded."""
    return png_header(width, height) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")


def gif_of_size(width, height):
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02D\x01\0"
    return screen + frame + b";"


def webp_of_size(width, height):
    canvas = b"\0" * 4 + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    chunks = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + encoded(plain(), "WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def jpeg_of_scans(scans, side=64):
    """Return a progressive JPEG, all black or grey, that paints its picture so many times."""
    blocks = (side // 8) ** 2
    tables = b"\xff\xdb\0\x43\0" + b"\1" * 64
    frame = b"\xff\xc2\0\x0b\x08" + struct.pack(">HH", side, side) + b"\1\1\x11\0"
    one_code = bytes([1] + [0] * 15)
    huffman = b"\xff\xc4\0\x14\0" + one_code + b"\0" + b"\xff\xc4\0\x14\x10" + one_code + b"\0"
    first = b"\xff\xda\0\x08\1\1\0\0\0\0" + b"\0" * (blocks // 8)
    another = b"\xff\xda\0\x08\1\1\0\1\x3f\0" + b"\0" * (blocks // 8)
    return b"\xff\xd8" + tables + frame + huffman + first + another * (scans - 1) + b"\xff\xd9"


def quarters(size=(120, 60)):
    """Return a wide picture whose central square has four colours, one a corner."""
    image = Image.new("RGB", size, "black")
    left, side = (size[0] - size[1]) // 2, size[1]
    draw = ImageDraw.Draw(image)
    half = side // 2
    for x, y, colour in [(0, 0, RED), (1, 0, GREEN), (0, 1, BLUE), (1, 1, WHITE)]:
        corner = (left + x * half, y * half)
        draw.rectangle((*corner, corner[0] + half - 1, corner[1] + half - 1), fill=colour)
    return image


def corners(avatar):
    near, far = PICTURE_SIDE // 8, PICTURE_SIDE * 7 // 8
    return [
        avatar.getpixel(place) for place in [(near, near), (far, near), (near, far), (far, far)]
    ]


# What is taken


@pytest.mark.parametrize("kind", FORMATS)
def test_picture_of_each_kind_is_taken(kind):
    assert looks_like(centre(result_of(encoded(plain(), kind))), GREEN)


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (512, 512), (2100, 2500)])
def test_picture_of_any_size_is_scaled_to_the_square(size):
    assert looks_like(centre(result_of(encoded(plain(size=size), "PNG"))), GREEN)


def test_largest_picture_is_taken():
    side = int(PICTURE_PIXELS**0.5)

    assert looks_like(centre(result_of(encoded(plain("L", 77, (side, side)), "PNG"))), [77] * 3)


def test_centre_of_a_picture_is_kept():
    colours = corners(result_of(encoded(quarters(), "PNG")))

    assert all(map(looks_like, colours, [RED, GREEN, BLUE, WHITE]))


def palette(transparent=None):
    image = Image.new("P", (60, 60), 1)
    image.putpalette([*RED, *BLUE])
    return image, {} if transparent is None else {"transparency": transparent}


@pytest.mark.parametrize(
    ("image", "kind", "how", "expected"),
    [
        pytest.param(plain("1", 0), "PNG", {}, (0, 0, 0), id="1 bit"),
        pytest.param(plain("L", 90), "PNG", {}, (90, 90, 90), id="grey"),
        pytest.param(plain("L", 90), "JPEG", {}, (90, 90, 90), id="grey JPEG"),
        pytest.param(plain("I;16", 128 * 256), "PNG", {}, (128, 128, 128), id="16 bits"),
        pytest.param(plain("CMYK", (255, 0, 255, 0)), "JPEG", {}, (0, 255, 0), id="CMYK"),
        pytest.param(plain("LA", (0, 0)), "PNG", {}, WHITE, id="transparent grey"),
        pytest.param(plain("LA", (90, 255)), "PNG", {}, (90, 90, 90), id="opaque grey"),
        pytest.param(plain("RGBA", (0, 0, 0, 0)), "PNG", {}, WHITE, id="transparent"),
        pytest.param(plain("RGBA", (255, 0, 0, 128)), "PNG", {}, (255, 127, 127), id="half"),
        pytest.param(
            plain("RGBA", (0, 0, 0, 0)), "WEBP", {"lossless": True}, WHITE, id="transparent WebP"
        ),
        pytest.param(*palette()[:1], "PNG", {}, BLUE, id="palette"),
        pytest.param(*palette()[:1], "GIF", {}, BLUE, id="palette GIF"),
        pytest.param(palette(1)[0], "PNG", palette(1)[1], WHITE, id="transparent palette"),
        pytest.param(palette(1)[0], "GIF", palette(1)[1], WHITE, id="transparent GIF"),
        pytest.param(plain("L", 0), "PNG", {"transparency": 0}, WHITE, id="transparent key, grey"),
        pytest.param(plain(), "PNG", {"transparency": GREEN}, WHITE, id="transparent key"),
    ],
)
def test_each_kind_of_colour_comes_out_right_and_transparency_is_white(image, kind, how, expected):
    assert looks_like(centre(result_of(encoded(image, kind, **how))), expected)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation_counts(kind):
    later = [plain(colour=colour) for colour in (RED, BLUE)]
    data = encoded(plain(), kind, save_all=True, append_images=later, duration=50)
    assert Image.open(io.BytesIO(data)).n_frames == 3

    assert looks_like(centre(result_of(data)), GREEN)


def test_later_frames_of_an_animation_are_not_even_read():
    data = encoded(
        noise(), "GIF", save_all=True, append_images=[ImageOps.invert(noise())], duration=50
    )
    whole = result_of(data)
    second = data.rindex(b"\x21\xf9\x04")  # its graphic control extension (GIF89a, section 23)

    assert result_of(data[:second] + b"\xff" * 200).tobytes() == whole.tobytes()


def test_phone_picture_with_a_second_one_behind_it_is_taken():
    data = encoded(plain(), "MPO", save_all=True, append_images=[plain(colour=RED)])

    assert looks_like(centre(result_of(data)), GREEN)


def test_progressive_jpeg_is_taken():
    assert looks_like(centre(result_of(encoded(plain(), "JPEG", progressive=True))), GREEN)
    assert result_of(jpeg_of_scans(100))


# Upright

TURNS = {  # Exif 2.32, 4.6.4: which way the camera was held → the corners as they should be seen
    1: [RED, GREEN, BLUE, WHITE],
    2: [GREEN, RED, WHITE, BLUE],
    3: [WHITE, BLUE, GREEN, RED],
    4: [BLUE, WHITE, RED, GREEN],
    5: [RED, BLUE, GREEN, WHITE],
    6: [BLUE, RED, WHITE, GREEN],
    7: [WHITE, GREEN, BLUE, RED],
    8: [GREEN, WHITE, RED, BLUE],
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", TURNS)
def test_picture_is_turned_upright(kind, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation

    seen = corners(result_of(encoded(quarters(), kind, exif=exif)))

    assert all(map(looks_like, seen, TURNS[orientation], [60] * 4)), seen


def test_large_jpeg_that_is_decoded_smaller_is_turned_as_well():
    exif = Image.Exif()
    exif[ORIENTATION] = 6

    seen = corners(result_of(encoded(quarters((4096, 2048)), "JPEG", exif=exif)))

    assert all(map(looks_like, seen, TURNS[6])), seen


# Nothing but the pixels

SECRET = "55.7558N 37.6173E"


def with_metadata(kind):
    exif = Image.Exif()
    exif[MAKE] = SECRET
    exif.get_ifd(GPS)[29] = SECRET  # GPSDateStamp is a text
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    how = {"exif": exif, "icc_profile": profile, "xmp": f"<x:xmpmeta>{SECRET}".encode()}
    if kind == "JPEG":
        how |= {"comment": SECRET}
    if kind == "PNG":
        how = {key: how[key] for key in ("exif", "icc_profile")}
        how |= {"pnginfo": PngImagePlugin.PngInfo()}
        how["pnginfo"].add_text("Comment", SECRET)
    if kind == "GIF":
        how = {"comment": SECRET}
    return encoded(plain(), kind, **how)


@pytest.mark.parametrize("kind", FORMATS)
def test_no_metadata_is_left(kind):
    data = with_metadata(kind)
    assert SECRET.encode() in data

    avatar = avatar_from(data)

    assert SECRET.encode() not in avatar
    picture = Image.open(io.BytesIO(avatar))
    assert not picture.getexif()
    assert picture.info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert [marker for marker, _ in picture.applist] == ["APP0"]


def test_nothing_of_a_polyglot_is_left():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("payload.html", "<script>alert(1)</script>")
    data = encoded(plain(), "JPEG", comment=b"<?php evil ?>")
    data += archive.getvalue() + b"<script>alert(1)</script>"
    assert zipfile.is_zipfile(io.BytesIO(data))

    avatar = avatar_from(data)

    assert avatar.endswith(b"\xff\xd9")
    assert not zipfile.is_zipfile(io.BytesIO(avatar))
    assert not any(part in avatar for part in (b"<script", b"<?php", b"payload", b"PK\x03\x04"))


# What is refused

SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><rect width="9" height="9"/></svg>'
)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"hello", id="text"),
        pytest.param(SVG, id="SVG"),
        pytest.param(b"<!doctype html><script>alert(1)</script>", id="HTML"),
        pytest.param(b"%PDF-1.7\n%%EOF", id="PDF"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", id="EPS"),
        pytest.param(encoded(plain(), "BMP"), id="BMP"),
        pytest.param(encoded(plain(), "TIFF"), id="TIFF"),
        pytest.param(encoded(plain(), "ICO"), id="ICO"),
        pytest.param(encoded(plain(), "PPM"), id="PPM"),
        pytest.param(b"\xff\xd8\xff", id="a beginning of a JPEG"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="a beginning of a PNG"),
        pytest.param(b"GIF89a", id="a beginning of a GIF"),
        pytest.param(b"RIFF\0\0\0\0WEBPVP8X", id="a beginning of a WebP"),
        pytest.param(png_of_size(0, 0), id="no pixels"),
        pytest.param(png_of_size(60, 60), id="pixels that are not there"),
    ],
)
def test_what_is_no_picture_is_refused(data):
    assert refusal_of(data) == NO_PICTURE


def test_file_that_is_too_large_is_refused():
    fitting = encoded(plain(), "JPEG").ljust(PICTURE_BYTES, b"\0")

    assert result_of(fitting)
    assert refusal_of(fitting + b"\0") == "The picture is larger than 5 MB."


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png_of_size(PICTURE_PIXELS + 1, 1), id="PNG, one pixel too many"),
        pytest.param(png_of_size(10_000, 10_000), id="PNG that Pillow warns of"),
        pytest.param(png_of_size(60_000, 60_000), id="PNG that Pillow refuses"),
        pytest.param(gif_of_size(6_400, 6_400), id="GIF"),
        pytest.param(gif_of_size(65_535, 65_535), id="largest GIF"),
        pytest.param(webp_of_size(16_383, 16_383), id="largest WebP"),
    ],
)
@pytest.mark.parametrize("warned", ["error", "ignore"])
def test_bomb_is_refused_by_its_header(data, warned):
    with warnings.catch_warnings():
        warnings.simplefilter(warned)

        assert refusal_of(data) == TOO_MANY_PIXELS


def test_bombs_are_refused_without_a_change_of_what_others_may_open():
    assert Image.MAX_IMAGE_PIXELS == 89_478_485  # as Pillow has it


def test_jpeg_that_paints_its_picture_endlessly_is_refused():
    assert refusal_of(jpeg_of_scans(300)) == NO_PICTURE


def test_odd_metadata_does_not_fill_the_log():
    tags = [struct.pack("<HHII", tag, 7, 9_999, 8) for tag in range(1, 500)]  # all too long
    exif = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(tags) + b"\0" * 4
    data = encoded(plain(), "PNG", exif=exif)
    program = "import sys; from app.media.avatars import avatar_from; "
    program += "sys.stdout.buffer.write(avatar_from(sys.stdin.buffer.read()))"

    # In a process of its own, because pytest has filters of warnings of its own.
    run = subprocess.run(
        [sys.executable, "-c", program], input=data, capture_output=True, check=True
    )

    assert run.stdout.startswith(b"\xff\xd8")
    assert run.stderr == b""


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_picture_is_refused(kind):
    data = encoded(noise(), kind)

    for length in range(0, len(data) - 64, 97):
        assert refusal_of(data[:length]) == NO_PICTURE, length


def mutated(data, chance):
    """Return a file with some bytes flipped, cut out, repeated, or set to an extreme."""
    spoilt = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        # Half of the time in the header, where sizes and offsets stand.
        end = len(spoilt) if chance.random() < 0.5 else min(len(spoilt), 128)
        at = chance.randrange(end)
        match chance.randrange(4):
            case 0:
                spoilt[at] ^= 1 << chance.randrange(8)
            case 1:
                spoilt[at : at + 4] = chance.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff"])
            case 2:
                del spoilt[at : at + chance.randint(1, 16)]
            case 3:
                spoilt[at:at] = spoilt[at : at + chance.randint(1, 64)]
        if not spoilt:
            break
    return bytes(spoilt)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Pillow warns of broken metadata, and reads on
@pytest.mark.parametrize("kind", FORMATS)
def test_spoilt_file_is_a_picture_or_is_refused_and_nothing_else(kind):
    chance = random.Random(f"spoil {kind}")
    originals = [with_metadata(kind), encoded(noise(), kind)]
    if kind != "JPEG":
        originals.append(
            encoded(noise(), kind, save_all=True, append_images=[plain(size=(64, 48))])
        )
    refusals = []

    for turn in range(300):
        try:
            result_of(mutated(originals[turn % len(originals)], chance))
        except InvalidPicture as refusal:
            refusals.append(str(refusal.sentence))

    assert len(refusals) > 30
    assert set(refusals) <= {NO_PICTURE, TOO_MANY_PIXELS}


# Small files that would take much


def test_orientation_that_cannot_be_read_is_ignored() -> None:
    png = encoded(Image.new("RGB", (8, 8), "teal"), "PNG")
    chunk = b"eXIf" + bytes(8)
    exif = struct.pack(">I", 8) + chunk + struct.pack(">I", zlib.crc32(chunk))

    avatar = avatar_from(png[:33] + exif + png[33:])  # behind the header

    assert Image.open(io.BytesIO(avatar)).size == (512, 512)


TOO_MUCH_MEMORY = {
    "WEBP": lambda: encoded(Image.new("RGB", (3800, 3800)), "WEBP"),
    "CMYK in passes": lambda: encoded(plain("CMYK", 0, (4950, 4950)), "JPEG", progressive=True),
    "all colours in passes": lambda: encoded(
        plain(size=(5700, 5700)), "JPEG", progressive=True, subsampling=0
    ),
}
LARGEST = {
    "WEBP": lambda: encoded(Image.new("RGB", (3520, 3520)), "WEBP"),
    "CMYK": lambda: encoded(plain("CMYK", 0, (6320, 6320)), "JPEG"),
    "few colours in passes": lambda: encoded(plain(size=(6320, 6320)), "JPEG", progressive=True),
    "all colours in passes": lambda: encoded(
        plain(size=(5600, 5600)), "JPEG", progressive=True, subsampling=0
    ),
    "PNG": lambda: encoded(plain("RGBA", 0, (6320, 6320)), "PNG"),
    "GIF": lambda: encoded(plain("P", 0, (6320, 6320)), "GIF"),
}


@pytest.mark.parametrize("name", TOO_MUCH_MEMORY)
def test_picture_that_takes_too_much_memory_is_refused(name: str) -> None:
    assert refusal_of(TOO_MUCH_MEMORY[name]()).startswith("The picture takes too much memory.")


MEASURE = """
import sys
from app.media.avatars import avatar_from
def peak(): return next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line)
picture = open(sys.argv[1], "rb").read()
before = peak()
avatar_from(picture)
print((peak() - before) // 1024)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", LARGEST)
def test_largest_pictures_stay_within_their_memory(name: str, tmp_path) -> None:
    picture = tmp_path / "picture"
    picture.write_bytes(LARGEST[name]())

    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, picture], capture_output=True, text=True, check=True
    )

    assert int(measured.stdout) < 225  # MiB; a worker has 120 already, and may have 350


def test_jpeg_of_many_exif_segments_is_refused_at_once() -> None:
    jpeg = encoded(Image.new("RGB", (8, 8)), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 18) + b"Exif\0\0II*\0\x08\0\0\0\0\0"
    began = time.monotonic()

    with pytest.raises(InvalidPicture):
        avatar_from(jpeg[:2] + segment * 200_000 + jpeg[2:])

    assert time.monotonic() - began < 1


def test_long_and_narrow_pictures_are_refused() -> None:
    with pytest.raises(InvalidPicture):
        avatar_from(encoded(Image.new("L", (1, 30_000)), "PNG"))
