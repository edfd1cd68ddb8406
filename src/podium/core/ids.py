"""Identifiers."""

import os
import random

__all__ = ["event_id", "random_token"]

_ALPHABET = "0123456789abcdefghijkmnpqrstuvwxyz"  # 34 characters, no l and no o
_LOW_62 = (1 << 62) - 1
_random_bits = random.Random(os.urandom(32)).getrandbits  # noqa: S311 - see event_id


def event_id(unix_ns: int) -> bytes:
    """16 bytes, ordered by millisecond, the rest random: a UUID version 7 (RFC 9562, section 5.7).

    Unique, not secret: the bits come from a generator that the operating system seeded once.
    """
    bits = _random_bits(74)
    value = (unix_ns // 1_000_000) << 80 | 0x7 << 76 | (bits >> 62) << 64 | 0x2 << 62 | bits & _LOW_62
    return value.to_bytes(16, "big")


def random_token(length: int) -> str:
    """`length` characters of 5.08 bits each, easy to read out and to double-click."""
    return "".join(_ALPHABET[byte % 34] for byte in _unbiased(length))


def _unbiased(length: int) -> bytes:
    kept = b""
    while len(kept) < length:
        kept += bytes(byte for byte in os.urandom(length * 2) if byte < 238)  # noqa: PLR2004 - 238 = 7 * 34
    return kept[:length]
