"""Versions such as `2.1.0-beta.3`, in the order of Semantic Versioning 2.0.0, section 11."""

import re

__all__ = ["parse_version"]

Version = tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]

_PART = r"[0-9A-Za-z-]{1,64}"
_FORM = re.compile(
    rf"v?([0-9]{{1,9}})(?:\.([0-9]{{1,9}}))?(?:\.([0-9]{{1,9}}))?(?:-({_PART}(?:\.{_PART}){{0,15}}))?(?:\+[0-9A-Za-z.-]{{1,128}})?\Z",
    re.ASCII,
)
_LONGEST = 512


def parse_version(text: str) -> Version | None:
    """What orders versions; None: it is none. Parts that are left out are 0; what follows `+` does not count."""
    found = _FORM.match(text) if len(text) <= _LONGEST else None
    if found is None:
        return None
    major, minor, patch, before = found.groups()
    numbers = int(major), int(minor or 0), int(patch or 0)
    parts = before.split(".") if before else ()
    # Whole numbers order as numbers, and before words; a version before its release has parts, the release none.
    return numbers, before is None, tuple((False, int(p), "") if p.isdigit() else (True, 0, p) for p in parts)
