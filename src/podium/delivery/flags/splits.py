"""Dealing variants by shares: equal subjects get equal variants, and only what a change of shares must move moves.

Each variant has a draw for the subject, an exponentially distributed number that grows the slower the larger its
share; the least one wins (weighted rendezvous hashing). So a subject leaves a variant only for one whose share has
grown in comparison, and the others keep theirs, however many variants there are and in whatever order.
"""

import math
from collections.abc import Callable, Mapping
from hashlib import blake2b

__all__ = ["compile_split", "subject_text"]

_BYTES = 8
_SCALE = 2.0 ** -(8 * _BYTES)
_MOST_DIGITS = 2**63  # Python refuses to write very long numbers


def compile_split(salt: str, shares: Mapping[str, float]) -> Callable[[str], str]:
    """The variant of a subject. A share of 0 is never dealt."""
    dealt = {variant: share for variant, share in shares.items() if share > 0}
    if len(dealt) == 1:
        only = next(iter(dealt))
        return lambda _: only
    drawn = tuple((variant, share, _start(salt, variant)) for variant, share in dealt.items())

    def choose(subject: str) -> str:
        encoded = subject.encode("utf-8", "surrogatepass")
        best, chosen = math.inf, ""
        for variant, share, start in drawn:
            digest = start.copy()
            digest.update(encoded)
            uniform = (int.from_bytes(digest.digest(), "big") + 0.5) * _SCALE
            draw = -math.log(uniform) / share
            if draw < best:
                best, chosen = draw, variant
        return chosen or drawn[0][0]  # never the latter: a draw is finite, for 0 < uniform <= 1

    return choose


def _start(salt: str, variant: str) -> blake2b:
    return blake2b(f"{salt}\0{variant}\0".encode("utf-8", "surrogatepass"), digest_size=_BYTES, person=b"podium-flags")


def subject_text(value: object) -> str:
    """The text by which a value of an attribute is dealt; empty: it cannot be. `1` and `1.0` are one subject."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return str(value) if abs(value) < _MOST_DIGITS else ""
    return repr(value) if isinstance(value, float) and math.isfinite(value) else ""
