"""What the families of models behind AWS Bedrock understand beyond the Converse API's common part.

A model's name tells its family: `anthropic.claude-...`, also behind a region (`eu.anthropic...`) and inside an ARN.
The ARN of an application's own inference profile tells nothing, and such a model gets nothing special.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

__all__ = ["Family", "family_of"]

Reasoning = Literal["none", "budget", "adaptive", "effort", "nova"]

_CLAUDE = re.compile(r"anthropic\.claude-([a-z0-9.-]+)")
# Claude 2 to 3.5 cannot think; 3.7 to 4.5 think within a budget of tokens; later ones decide for themselves.
# https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html
_CANNOT_THINK = re.compile(r"instant|v\d|\d(?!-7-sonnet)")
_BUDGET = re.compile(r"3-7-sonnet|(?:opus|sonnet|haiku)-4(?:-[0-5])?(?:-\d{6}|-v\d|$)")
_NO_XHIGH = re.compile(r"(?:opus|sonnet|haiku)-4-6")
_SERIAL_CALLS_FROM = re.compile(r"(?:opus|sonnet|haiku)-4-5")
_THREE_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}


@dataclass(frozen=True, slots=True)
class Family:
    """`efforts`: what OpenAI's `reasoning_effort` is called there; a value that is missing cannot be expressed."""

    maker: Literal["anthropic", "nova", "other"] = "other"
    reasoning: Reasoning = "none"
    efforts: tuple[tuple[str, str], ...] = ()
    caches: bool = False  # understands cache points
    serial_calls: bool = False  # can be told to call one tool at a time

    def effort(self, wanted: str) -> str | None:
        """The model's word for an effort; None when it has none."""
        return dict(self.efforts).get(wanted)


def _efforts(*, xhigh: bool = False) -> tuple[tuple[str, str], ...]:
    return tuple((_THREE_EFFORTS | ({"xhigh": "xhigh"} if xhigh else {})).items())


@lru_cache(maxsize=1024)
def family_of(model: str) -> Family:
    """The family of a model id, an inference profile's id, or an ARN."""
    if (claude := _CLAUDE.search(model)) is not None:
        return _claude(claude[1])
    if "amazon.nova-2" in model:  # https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
        return Family("nova", "nova", _efforts(), caches=True)
    if "amazon.nova-" in model:
        return Family("nova", caches=True)
    if "openai.gpt-oss" in model:
        return Family(reasoning="effort", efforts=_efforts())
    return Family(caches=model.startswith("arn:"))  # who marks what to cache for a model that we cannot see knows it


def _claude(version: str) -> Family:
    if _CANNOT_THINK.match(version):
        return Family("anthropic", caches=True)
    if _BUDGET.match(version):
        serial = _SERIAL_CALLS_FROM.match(version) is not None
        return Family("anthropic", "budget", _efforts(), caches=True, serial_calls=serial)
    efforts = _efforts(xhigh=_NO_XHIGH.match(version) is None)
    return Family("anthropic", "adaptive", efforts, caches=True, serial_calls=True)
