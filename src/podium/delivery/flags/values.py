"""What an evaluation of a flag says, in OpenFeature's words."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

__all__ = ["Context", "ErrorCode", "Evaluation", "EvaluationReason", "failure"]

Context = Mapping[str, object]  # attributes of whom or what a flag is evaluated for, by name


class EvaluationReason(StrEnum):
    """Why this variant."""

    STATIC = "STATIC"  # the flag has no rules
    DEFAULT = "DEFAULT"  # no rule holds
    TARGETING_MATCH = "TARGETING_MATCH"  # a rule names the variant
    SPLIT = "SPLIT"  # a rule deals variants by shares
    DISABLED = "DISABLED"  # the flag, or one that it depends on, is off
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """Why there is no variant."""

    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"  # also of another attribute that a split goes by
    PARSE_ERROR = "PARSE_ERROR"  # of a request
    INVALID_CONTEXT = "INVALID_CONTEXT"  # of a request
    GENERAL = "GENERAL"


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a flag gives. With reason ERROR there is no variant, and `value` is None."""

    reason: EvaluationReason
    variant: str = ""
    value: Any = None
    rule: str = ""  # the name of the rule that decided, when it has one
    prerequisite: str = ""  # the flag that did not give what this one needs
    error: ErrorCode | None = None
    detail: str = ""  # of the error, for people


def failure(error: ErrorCode, detail: str) -> Evaluation:
    """An evaluation that gives nothing."""
    return Evaluation(reason=EvaluationReason.ERROR, error=error, detail=detail)
