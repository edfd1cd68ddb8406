"""What a Claude can be asked for, told from its name.

Sources: Anthropic's migration guides for Claude 4.5, 4.6, 4.7, 5 and 5.5 and for API version 2026-10-21, and its pages
"Thinking", "Effort" and "Structured outputs". Lines are drawn below old models, whose list is closed: a Claude that is
not known counts as a new one. What is no Claude (others speak the protocol too) is asked as the protocol says.
"""

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Abilities", "abilities_of"]


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the API accepts for one model."""

    samples: bool = True  # temperature, top_p and top_k other than their defaults
    samples_by_both: bool = True  # temperature and top_p in one request
    thinking: Literal["", "budget", "adaptive"] = "budget"
    without_thinking: Literal["", "disabled", "between_tools"] = "disabled"  # "": it always thinks
    xhigh_effort: bool = False
    forced_tools: bool = True  # tool_choice `any` and `tool`
    strict_tools: bool = False


_OTHER = Abilities()
_UNKNOWN = (99, 0)
# Families and versions, as in claude-opus-4-5-20251101, claude-opus-4-20250514, claude-3-5-haiku, claude-sonnet-5.5.
_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_ALWAYS_THINKS_SINCE = {"opus": (5, 5), "fable": (0, 0), "mythos": (0, 0)}
_NO_FORCED_TOOLS_SINCE = {"opus": (5, 5), "sonnet": (5, 5), "fable": (5, 1), "mythos": (5, 1)}


def abilities_of(model: str) -> Abilities:
    """By the model's name at the provider; prefixes and dates do not matter."""
    name = model.lower()
    if "claude" not in name:
        return _OTHER
    found = _VERSION.search(name)
    version = (int(found[1]), int(found[2] or 0)) if found else _UNKNOWN
    family = next((family for family in ("opus", "sonnet", "haiku", "fable", "mythos") if family in name), "")
    return Abilities(
        samples=version <= (4, 6),
        samples_by_both=version < (4, 1),
        thinking="" if version < (3, 7) else "budget" if version < (4, 6) else "adaptive",
        without_thinking=_without_thinking(family, version),
        xhigh_effort=version >= (4, 7),
        forced_tools=version < _NO_FORCED_TOOLS_SINCE.get(family, (100, 0)),
        strict_tools=version >= (4, 5),
    )


def _without_thinking(family: str, version: tuple[int, int]) -> Literal["", "disabled", "between_tools"]:
    if version >= _ALWAYS_THINKS_SINCE.get(family, (100, 0)):
        return ""
    return "between_tools" if family == "sonnet" and version >= (5, 5) else "disabled"
