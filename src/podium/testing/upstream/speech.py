"""What is asked of a model and what it says, whatever the protocol."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

from podium.core.usage import Usage
from podium.testing.upstream.behaviours import Behaviour, Stop
from podium.testing.upstream.instances import instance_of

__all__ = ["Asked", "Speech", "Tool", "ToolCall", "speak"]

_PIECE = 8  # characters
_THOUGHTS = 3
_EMPTY_TOOL_ARGUMENTS = "{}"


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `schema` is JSON Schema, or near it."""

    name: str
    schema: Any = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was found good."""

    model: str
    streamed: bool = False
    tools: tuple[Tool, ...] = ()
    must_call: bool = False
    may_call: bool = True  # tools may be called at all, in this turn
    parallel: bool = True
    schema: Any = None  # JSON is wanted; {} for any
    reasoning: bool = False
    max_tokens: float = math.inf
    stream_usage: bool = True  # the usage of a stream is wanted
    choices: int = 1
    inputs: tuple[str, ...] = ()  # of embeddings
    dimensions: int = 8
    base64: bool = False
    version: str = ""  # what the answer's form depends on besides


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call; `arguments` is JSON, `pieces` are its parts as they are streamed."""

    number: int
    name: str
    arguments: str

    @property
    def pieces(self) -> tuple[str, ...]:
        """The arguments in parts; at least one."""
        return _cut(self.arguments)

    @property
    def values(self) -> Any:
        """The arguments, decoded."""
        return json.loads(self.arguments)


@dataclass(frozen=True, slots=True)
class Speech:
    """What the model says, in the pieces that a stream has."""

    stop: Stop
    usage: Usage
    report_usage: bool = True
    reasoning: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = field(default=())


def _cut(text: str) -> tuple[str, ...]:
    return tuple(text[start : start + _PIECE] for start in range(0, len(text), _PIECE)) or ("",)


def speak(asked: Asked, behaviour: Behaviour) -> Speech:
    """What is said to a request. Each piece counts as one token."""
    thoughts = behaviour.reasoning if behaviour.reasoning is not None else _THOUGHTS if asked.reasoning else 0
    reasoning = tuple(f"thought{number} " for number in range(thoughts))
    calls = _calls(asked, behaviour)
    text = () if calls and behaviour.text is None else _text(asked, behaviour)
    room = max(1, min(asked.max_tokens, len(text)))
    cut_short = len(text) > room
    text = text[: int(room)] if cut_short else text
    output = len(reasoning) + len(text) + sum(len(call.pieces) for call in calls)
    usage = Usage(
        input_tokens=behaviour.input_tokens + behaviour.cached_tokens + behaviour.cache_write_tokens,
        cached_input_tokens=behaviour.cached_tokens,
        cache_write_tokens=behaviour.cache_write_tokens,
        output_tokens=output * asked.choices,
        reasoning_tokens=len(reasoning) * asked.choices,
    )
    stop = behaviour.stop or (Stop.TOOL_CALLS if calls else Stop.LENGTH if cut_short else Stop.STOP)
    return Speech(stop, usage, behaviour.usage, reasoning, text, calls)


def _calls(asked: Asked, behaviour: Behaviour) -> tuple[ToolCall, ...]:
    if not asked.tools or not asked.may_call:
        return ()
    count = behaviour.calls if behaviour.calls is not None else 1
    if asked.must_call:
        count = max(1, count)
    if not asked.parallel:
        count = min(1, count)
    tools = [asked.tools[number % len(asked.tools)] for number in range(count)]
    return tuple(ToolCall(number, tool.name, _arguments(tool)) for number, tool in enumerate(tools))


def _arguments(tool: Tool) -> str:
    if not tool.schema:
        return _EMPTY_TOOL_ARGUMENTS
    return json.dumps(instance_of(tool.schema), ensure_ascii=False)


def _text(asked: Asked, behaviour: Behaviour) -> tuple[str, ...]:
    if behaviour.text is not None:
        words = [f"{word} " for word in behaviour.text.split(" ")]
        return (*words[:-1], words[-1][:-1])
    if asked.schema is not None:
        return _cut(json.dumps(instance_of(asked.schema or {"type": "object"}), ensure_ascii=False))
    return tuple(f"word{number} " for number in range(behaviour.chunks))
