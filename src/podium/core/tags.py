"""Tags of an exchange: names and values that its cost is told by, such as `project=search,team=a`."""

import re
from collections.abc import Mapping

__all__ = ["MAX_TAGS", "encode_tags", "merge_tags", "parse_tags"]

MAX_TAGS = 8
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_VALUE = re.compile(r"[!-+\--~](?:[ -+\--~]{0,126}[!-+\--~])?")  # printable ASCII without comma, no space at the ends


def parse_tags(text: str) -> dict[str, str]:
    """Names and values of `name=value,name=value`; space around them and empty parts do not count.

    ValueError says what is wrong.
    """
    tags: dict[str, str] = {}
    for part in text.split(","):
        if not part or part.isspace():
            continue
        name, equals, value = part.partition("=")
        name = name.strip(" \t")
        if not equals:
            raise ValueError("a tag has the form `name=value`")
        if name in tags:
            raise ValueError(f"the tag {name[:64]!a} is there twice")
        tags[name] = value.strip(" \t")
        if len(tags) > MAX_TAGS:
            raise ValueError(_TOO_MANY)
    _check(tags)
    return tags


def encode_tags(tags: Mapping[str, str]) -> str:
    """`name=value,name=value`, sorted by name: one text for the same tags. ValueError says what is wrong."""
    _check(tags)
    return ",".join([f"{name}={tags[name]}" for name in sorted(tags)])


def merge_tags(own: str, given: str) -> str:
    """The canonical text of a key's `own` tags, which win, and those that a request has `given`.

    `own` is canonical. ValueError says what is wrong with `given`.
    """
    if not given:
        return own
    return encode_tags(parse_tags(given) | parse_tags(own))


_TOO_MANY = f"there are more than {MAX_TAGS} tags"


def _check(tags: Mapping[str, str]) -> None:
    if len(tags) > MAX_TAGS:
        raise ValueError(_TOO_MANY)
    for name, value in tags.items():
        if not _NAME.fullmatch(name):
            raise ValueError("the name of a tag has 1 to 64 letters, digits and `_` `.` `-`")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value of the tag {name!r} has 1 to 128 printable ASCII characters without a comma")
