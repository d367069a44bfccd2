"""How the recipe of a file is written and read: numbers, bytes, runs of bytes with their size."""

from __future__ import annotations

from lmc.errors import Corrupt


class Odd(Exception):
    """The file is damaged, or is written in a way that is not understood."""


class Writer:
    """Writes a recipe, or the payload of a frame that holds one."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def number(self, value: int) -> None:
        while value >= 128:
            self._parts.append(bytes([value & 127 | 128]))
            value >>= 7
        self._parts.append(bytes([value]))

    def signed(self, value: int) -> None:
        """0, -1, 1, -2, … as the numbers 0, 1, 2, 3, …"""
        self.number(2 * value if value >= 0 else -2 * value - 1)

    def raw(self, data: bytes) -> None:
        self._parts.append(data)

    def blob(self, data: bytes) -> None:
        self.number(len(data))
        self.raw(data)

    def done(self) -> bytes:
        return b"".join(self._parts)


class Reader:
    """Reads what a `Writer` wrote; raises Corrupt where it does not hold what it should."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, most: int = (1 << 63) - 1) -> int:
        value = 0
        for shift in range(0, 63, 7):
            byte = self.raw(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                if (byte == 0 and shift > 0) or value > most:
                    break
                return value
        raise Corrupt("a number in a frame is out of range")

    def signed(self, most: int) -> int:
        """`most`: of the number that stands for it."""
        number = self.number(most)
        return number // 2 if number % 2 == 0 else -(number // 2) - 1

    def raw(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise Corrupt("a frame, or its recipe, ends too early")
        self._at += size
        return part

    def blob(self) -> bytes:
        return self.raw(self.number())

    def rest(self) -> bytes:
        return self.raw(len(self._data) - self._at)

    def end(self) -> None:
        if self._at != len(self._data):
            raise Corrupt("the recipe of an image is too long")
