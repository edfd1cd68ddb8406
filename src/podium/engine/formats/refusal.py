"""Why a file is not taken into the registry."""

from enum import StrEnum

from podium.core.errors import OperatorError

__all__ = ["RefusedFile", "Why"]


class Why(StrEnum):
    """The closed set of reasons."""

    PICKLE = "pickle"  # loading it would run code that is inside it
    ARCHIVE = "archive"  # an archive or a compressed file, which may hold anything
    UNKNOWN = "unknown_format"
    BROKEN = "broken"  # it says that it is of a format, and is not: cut off, or made up
    LEADS_OUT = "leads_out"  # it names files outside of its folder
    NO_FILE = "no_file"  # not a plain file that can be read


class RefusedFile(OperatorError):
    """A file that is not taken; `why` is the reason as one word."""

    def __init__(self, name: str, why: Why, detail: str, hint: str = "") -> None:
        super().__init__(f"{name} is refused ({why}): {detail}", hint=hint)
        self.why = why
