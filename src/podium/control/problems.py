"""What is wrong with a set of documents, or with the state that they would make.

All problems are found before any is reported, so that a file is mended in one go.
"""

from collections.abc import Iterable

import msgspec

from podium.core.errors import Conflict, InvalidRequest

__all__ = ["InvalidDocuments", "Problem", "StateConflict", "raise_problems"]

_SHOWN = 5


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing to mend."""

    message: str
    kind: str = ""  # "" here and below: not known, or not about one resource
    name: str = ""
    path: str = ""  # inside the document, e.g. `spec.backends[0].provider`
    file: str = ""
    line: int = 0  # first line is 1; 0: not known
    conflict: bool = False  # the state forbids it, not the document

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file or self._line_alone()
        resource = f"{self.kind}/{self.name}" if self.kind and self.name else self.kind or self.name
        return ": ".join(part for part in (place, resource, self.path, self.message) if part)

    def _line_alone(self) -> str:
        return f"line {self.line}" if self.line else ""


class InvalidDocuments(InvalidRequest):
    """Documents that cannot be applied; `problems` has all of the reasons."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(_summary(self.problems), parameter=self.problems[0].path or None)


class StateConflict(Conflict):
    """A change that the present state forbids; `problems` has all of the reasons."""

    def __init__(self, problems: Iterable[Problem], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__(_summary(self.problems), hint=hint, parameter=self.problems[0].path or None)


def raise_problems(problems: tuple[Problem, ...]) -> None:
    """Raise what is wrong, when something is: a `StateConflict` if the state has a part in it."""
    if not problems:
        return
    if any(problem.conflict for problem in problems):
        raise StateConflict(problems)
    raise InvalidDocuments(problems)


def _summary(problems: tuple[Problem, ...]) -> str:
    lines = [str(problem) for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"and {len(problems) - _SHOWN} more")
    return "; ".join(lines)
