"""What a check of `podium doctor` says."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Status", "fail", "ok", "warn"]


class Status(StrEnum):
    """How it stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was checked, what was found, and what to do about it."""

    check: str
    status: Status
    text: str
    advice: str = ""


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, Status.OK, text)


def warn(check: str, text: str, advice: str = "") -> Finding:
    """Podium runs, but not as well as it could."""
    return Finding(check, Status.WARN, text, advice)


def fail(check: str, text: str, advice: str = "") -> Finding:
    """Something does not work."""
    return Finding(check, Status.FAIL, text, advice)
