"""Identifiers."""

import os

__all__ = ["event_id", "random_token"]

_ALPHABET = "0123456789abcdefghijkmnpqrstuvwxyz"  # 34 characters, no l and no o


def event_id(unix_ns: int) -> bytes:
    """16 bytes, ordered by millisecond, the rest random: a UUID version 7 (RFC 9562, section 5.7)."""
    value = bytearray((unix_ns // 1_000_000).to_bytes(6, "big") + os.urandom(10))
    value[6] = 0x70 | (value[6] & 0x0F)
    value[8] = 0x80 | (value[8] & 0x3F)
    return bytes(value)


def random_token(length: int) -> str:
    """`length` characters of 5.08 bits each, easy to read out and to double-click."""
    return "".join(_ALPHABET[byte % 34] for byte in _unbiased(length))


def _unbiased(length: int) -> bytes:
    kept = b""
    while len(kept) < length:
        kept += bytes(byte for byte in os.urandom(length * 2) if byte < 238)  # noqa: PLR2004 - 238 = 7 * 34
    return kept[:length]
