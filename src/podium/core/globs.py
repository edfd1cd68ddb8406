"""Texts with `*` for any run of characters, compiled."""

from collections.abc import Callable, Sequence

__all__ = ["one_of"]


def one_of(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a text is covered by one of the patterns, in time linear in the text: whoever calls chooses it."""
    if any(pattern.strip("*") == "" and pattern for pattern in patterns):
        return lambda _: True
    exact = frozenset(pattern for pattern in patterns if "*" not in pattern)
    globs = tuple(_glob(pattern) for pattern in patterns if "*" in pattern)
    if not globs:
        return exact.__contains__

    def covers(text: str) -> bool:
        if text in exact:
            return True
        for matches in globs:  # noqa: SIM110 - exchanges wait for it, and `any` takes twice as long
            if matches(text):
                return True
        return False

    return covers


def _glob(pattern: str) -> Callable[[str], bool]:
    """Leftmost places of the middle parts are as good as any later ones."""
    first, *middle, last = pattern.split("*")

    def matches(text: str) -> bool:
        if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
            return False
        at, end = len(first), len(text) - len(last)
        for part in middle:
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True

    return matches
