"""What the families of models behind AWS Bedrock understand beyond the Converse API's common part.

A model's name tells its family: `anthropic.claude-...`, also behind a region (`eu.anthropic...`) and inside an ARN.
The ARN of an application's own inference profile tells nothing, and such a model gets nothing special.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from podium.wire.anthropic.upstream_models import Abilities, abilities_of

__all__ = ["Family", "family_of"]

# These think only when they are asked to, and some of them refuse to be told not to.
# https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html
_GENERATION_4 = re.compile(r"claude-[a-z]+-4(?!\d)")


@dataclass(frozen=True, slots=True)
class Family:
    """`claude` is what the API's Claude accepts, wherever it runs; None: the model is none."""

    maker: Literal["anthropic", "nova", "other"] = "other"
    claude: Abilities | None = None
    reasoning: Literal["none", "claude", "effort", "nova"] = "none"
    thinks_unasked: bool = False
    structured: bool = True  # answers and calls can be held to a JSON schema
    caches: bool = False  # understands cache points

    @property
    def serial_calls(self) -> bool:
        """True when it can be told to call one tool at a time; older Claudes refuse that at Bedrock."""
        return self.claude is not None and self.claude.strict_tools


@lru_cache(maxsize=1024)
def family_of(model: str) -> Family:
    """The family of a model id, an inference profile's id, or an ARN."""
    if "anthropic.claude" in model:
        claude = abilities_of(model)
        unasked = claude.thinking == "adaptive" and _GENERATION_4.search(model) is None
        return Family(
            "anthropic", claude, "claude", thinks_unasked=unasked, structured=claude.strict_tools, caches=True
        )
    if "amazon.nova-2" in model:  # https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
        return Family("nova", reasoning="nova", structured=False, caches=True)
    if "amazon.nova-" in model:
        return Family("nova", structured=False, caches=True)
    if "openai.gpt-oss" in model:
        return Family(reasoning="effort")
    return Family(caches=model.startswith("arn:"))  # who marks what to cache for a model that we cannot see knows it
