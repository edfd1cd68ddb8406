"""Error answers of gateway and admin API, read leniently: whatever is missing is empty."""

import msgspec

__all__ = ["ErrorAnswer", "ErrorDetail", "Problem"]


class Problem(msgspec.Struct, frozen=True):
    """One of several things to mend."""

    message: str = ""
    kind: str = ""
    name: str = ""
    path: str = ""


class ErrorDetail(msgspec.Struct, frozen=True):
    """What is wrong. The gateway says `code`, the admin API `reason`."""

    message: str = ""
    hint: str = ""
    code: str | None = None
    reason: str = ""
    problems: tuple[Problem, ...] = ()


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of an answer with a status of 400 and above, and of an event that breaks a stream off."""

    error: ErrorDetail
