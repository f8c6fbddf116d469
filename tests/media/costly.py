"""Small files that take much memory to decode, and whose heads do not tell."""

import struct


def webp_of_tables(side: int = 1024, groups: int = 65_536) -> bytes:
    """Return a lossless WebP that has five tables of 1 KiB for each 16 of its pixels.

    Source: RFC 9649, sections 3.7.2 (prefix codes) and 3.7.3 (a group of them for each block).
    """
    bits = _Bits()
    bits.put(0x2F, 8)  # the signature
    bits.put(side - 1, 14)
    bits.put(side - 1, 14)
    bits.put(0, 4)  # no alpha; version 0
    bits.put(0, 2)  # no transforms, no colour cache
    bits.put(0b0001, 4)  # several groups; blocks of 4 x 4
    bits.put(0, 1)  # the picture that names the group of each block has no colour cache either
    bits.put_codes_of_a_byte(256 + 24)  # green, and lengths
    bits.put_codes_of_a_byte(256)  # red
    for _ in ("blue", "alpha", "distance"):
        bits.put_only_zero()
    blocks = ((side + 3) // 4) ** 2
    for number in range(blocks):
        bits.put_byte(number % groups & 0xFF)
        bits.put_byte(number % groups >> 8)
    for _ in range(5 * min(groups, blocks)):
        bits.put_only_zero()
    data = bits.whole()
    return b"RIFF" + struct.pack("<I", 12 + len(data)) + b"WEBPVP8L" + _sized(data)


def _sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


class _Bits:
    def __init__(self) -> None:
        self._done = bytearray()
        self._value = self._count = 0

    def put(self, value: int, count: int) -> None:
        """Add the lowest bits of a number, the lowest one first."""
        self._value |= value << self._count
        self._count += count
        while self._count >= 8:
            self._done.append(self._value & 0xFF)
            self._value >>= 8
            self._count -= 8

    def put_only_zero(self) -> None:
        """Add a code with one symbol, 0, which takes no bits."""
        self.put(0b0001, 4)

    def put_codes_of_a_byte(self, symbols: int) -> None:
        """Add a code in which each of the first 256 symbols takes 8 bits."""
        self.put(0, 1)
        order = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8]  # of the lengths of lengths
        self.put(len(order) - 4, 4)
        for length in order:
            self.put(length in (0, 8), 3)
        self.put(0, 1)
        for symbol in range(symbols):
            self.put(symbol < 256, 1)

    def put_byte(self, value: int) -> None:
        """Add a symbol of such a code: its bits, the highest one first."""
        self.put(int(f"{value:08b}"[::-1], 2), 8)

    def whole(self) -> bytes:
        self.put(0, 24)
        return bytes(self._done) + b"\0" * (len(self._done) % 2)


def jpeg_of_a_scan_for_each_colour(side: int = 6320, colours: int = 3) -> bytes:
    """Return a JPEG that is not progressive, and whose coefficients are all kept nevertheless.

    Source: ITU-T T.81, B.2.3.
    """
    ids = range(1, colours + 1)
    jpeg = bytearray(b"\xff\xd8\xff\xdb\0\x43\0" + b"\1" * 64)
    jpeg += b"\xff\xc0" + struct.pack(">HBHHB", 8 + 3 * colours, 8, side, side, colours)
    jpeg += b"".join(bytes([each, 0x11, 0]) for each in ids)
    one_code = bytes([1] + [0] * 15)
    jpeg += b"\xff\xc4\0\x14\0" + one_code + b"\0" + b"\xff\xc4\0\x14\x10" + one_code + b"\0"
    blocks = ((side + 7) // 8) ** 2
    for each in ids:
        jpeg += b"\xff\xda\0\x08\1" + bytes([each, 0, 0, 63, 0]) + b"\0" * (blocks // 4 + 1)
    return bytes(jpeg) + b"\xff\xd9"
