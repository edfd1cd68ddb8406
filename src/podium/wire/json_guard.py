"""Checks that keep two JSON readers from reading one body differently.

RFC 8259, section 4: what a duplicate name means is up to the reader. We decide by the last one, a model
server may act on the first: a request could be permitted for one model and answered by another.
"""

import json
import re

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason

__all__ = ["check_text", "refuse_duplicate_names"]

_ESCAPED_NAME = re.compile(rb'\\u[^"\\]*(?:\\.[^"\\]*)*"\s*:')


def check_text(body: bytes) -> None:
    """InvalidRequest when the body is not UTF-8."""
    if body.isascii():
        return
    try:
        str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not valid UTF-8 (byte {error.start}).", reason=Reason.INVALID_JSON) from None


def refuse_duplicate_names(body: bytes, names: tuple[bytes, ...]) -> None:
    """InvalidRequest when a name that decides something may stand twice in one object of the body.

    `names` are quoted, e.g. b'"model"'. The full check runs only when one of them occurs twice or a
    name is spelled with escapes; both are rare.
    """
    for name in names:
        if body.count(name) > 1:
            break
    else:
        if b"\\u" not in body or _ESCAPED_NAME.search(body) is None:
            return
    try:
        json.loads(body, object_pairs_hook=_unique)
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", reason=Reason.INVALID_JSON) from None


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidRequest(
                    f"The name {name[:64]!r} occurs twice in one object.",
                    reason=Reason.INVALID_JSON,
                    parameter=name[:64],
                )
            seen.add(name)
