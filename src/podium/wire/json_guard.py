"""Checks that keep two JSON readers from reading one body differently.

RFC 8259, section 4: what a duplicate name means is up to the reader. We decide by the last one, a model
server may act on the first: a request could be permitted for one model and answered by another. And some
readers (Go's) take `Model` for `model`.
"""

import json
import re

import msgspec

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason

__all__ = ["check_text", "refuse_duplicate_names"]

_ESCAPED_LETTER = re.compile(rb"\\u00(?:5[fF]|6[1-9a-fA-F]|7[0-9aA])")  # nobody escapes a-z or _ without a purpose
_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def check_text(body: bytes) -> None:
    """InvalidRequest when the body is not UTF-8."""
    if body.isascii():
        return
    try:
        str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not valid UTF-8 (byte {error.start}).", reason=Reason.INVALID_JSON) from None


def refuse_duplicate_names(body: bytes, names: frozenset[str]) -> None:
    """InvalidRequest when a name that decides something may stand twice in one object of the body.

    `body` is a JSON object; `names` are lower-case ASCII. The full check runs only when one of them seems to
    stand twice or is spelled with escapes; both are rare.
    """
    try:
        fields = _fields_of(body)
    except RecursionError:
        raise _too_deep() from None
    size = 1
    for name, value in fields.items():
        if name not in names and name.casefold() in names:
            raise InvalidRequest(f"Write {name.casefold()!r} instead of {name!r}.", parameter=name)
        size += len(name.encode()) + len(value) + 4  # two quotes, a colon, and a comma or the closing brace
    if size == len(body):
        return  # written without blanks, and nothing is left over that could be a name's second value
    if not any(_may_repeat(body, name) for name in names) and _ESCAPED_LETTER.search(body) is None:
        return
    try:
        json.loads(body, object_pairs_hook=_unique, parse_int=str)  # str: no limit on digits, and no need to convert
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> InvalidRequest:
    return InvalidRequest("The body is nested too deeply.", reason=Reason.INVALID_JSON)


def _may_repeat(body: bytes, name: str) -> bool:
    """True when the name stands before a colon more than once, at any depth."""
    quoted = b'"%b"' % name.encode()
    return body.count(quoted) > 1 and len(re.findall(re.escape(quoted) + rb"\s*:", body)) > 1


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
