"""Reads numbers and lengths out of bytes that nobody vouches for."""

from mmap import mmap

__all__ = ["Broken", "Reader"]

Buffer = bytes | mmap


class Broken(Exception):
    """The bytes are not what they say they are; the text says in what way."""


class Reader:
    """A place in a buffer that ends at `end`. Whatever would reach beyond it raises `Broken`."""

    __slots__ = ("_buffer", "at", "end")

    def __init__(self, buffer: Buffer, at: int = 0, end: int | None = None) -> None:
        self._buffer = buffer
        self.at = at
        self.end = len(buffer) if end is None else end

    @property
    def left(self) -> int:
        """Bytes from here to the end."""
        return self.end - self.at

    def skip(self, count: int) -> None:
        """Go on by `count` bytes."""
        if count < 0 or count > self.left:
            raise Broken(f"at byte {self.at} it promises {count} bytes, and {self.left} are left")
        self.at += count

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        start = self.at
        self.skip(count)
        return self._buffer[start : self.at]

    def number(self, width: int) -> int:
        """The next `width` bytes as an unsigned little-endian number."""
        return int.from_bytes(self.take(width), "little")

    def varint(self) -> int:
        """The next protobuf varint (https://protobuf.dev/programming-guides/encoding/#varints)."""
        value = 0
        for shift in range(0, 70, 7):
            self.skip(1)
            byte = self._buffer[self.at - 1]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the top bit: more follows
                return value
        raise Broken(f"the number before byte {self.at} does not end")

    def inside(self, count: int) -> "Reader":
        """A reader of the next `count` bytes alone; this one goes on behind them."""
        start = self.at
        self.skip(count)
        return Reader(self._buffer, start, self.at)
