"""A function call as our workers' models write it, and the reading of it while it is being written.

A call is `<tool_call>{"name": "NAME", "arguments": ARGUMENTS}`, several stand on lines of their own. The worker
samples with a grammar, so all but the arguments is exactly this text, and the arguments are a JSON object.
"""

import re
from dataclasses import dataclass
from typing import Literal

import msgspec

__all__ = ["CALL_MARK", "Arguments", "CallReader", "CallStart", "Piece", "Text", "call_head", "call_text"]

CALL_MARK = "<tool_call>"
_STRUCTURE = re.compile(r'["{}\[\]]')
_STRING_END = re.compile(r'["\\]')


def call_head(name: str) -> str:
    """What a call of `name` starts with, up to its arguments."""
    return f'{CALL_MARK}{{"name": {msgspec.json.encode(name).decode()}, "arguments": '


def call_text(name: str, arguments: str) -> str:
    """A whole call."""
    return f"{call_head(name)}{arguments}}}"


@dataclass(frozen=True, slots=True)
class Text:
    """More text of an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call begins."""

    index: int  # of the call within the answer
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """More of the arguments of a call."""

    index: int
    text: str


Piece = Text | CallStart | Arguments


class CallReader:
    """Reads one choice's text, in any pieces."""

    __slots__ = ("_depth", "_escaped", "_heads", "_held", "_in_string", "_state", "calls", "closed")

    def __init__(self, names: tuple[str, ...]) -> None:
        self._heads = {call_head(name): name for name in names}
        self._state: Literal["head", "text", "arguments", "after"] = "head"
        self._held = ""
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.calls = 0
        self.closed = 0  # calls whose arguments are whole

    @property
    def is_text(self) -> bool:
        """True when the answer has turned out to be text."""
        return self._state == "text"

    def feed(self, text: str) -> list[Piece]:
        """What is certain after more text."""
        pieces: list[Piece] = []
        while text:
            if self._state == "text":
                pieces.append(Text(text))
                break
            if self._state == "arguments":
                end = self._scan(text)
                pieces.append(Arguments(self.calls - 1, text[:end]))
                text = text[end:]
            elif self._state == "after":
                text = text.lstrip("}\n \t\r")
                self._state = "head" if text else "after"
            else:
                text = self._head(text, pieces)
        return pieces

    def end(self) -> list[Piece]:
        """What was held back and is text after all. The start of a call that was cut off is not."""
        held, self._held = self._held, ""
        if not held or self.calls or held.startswith(CALL_MARK):
            return []
        self._state = "text"
        return [Text(held)]

    def _head(self, text: str, pieces: list[Piece]) -> str:
        """Try to complete a call's head; what follows it."""
        held = self._held + text
        self._held = ""
        for head, name in self._heads.items():
            if held.startswith(head):
                pieces.append(CallStart(self.calls, name))
                self.calls += 1
                self._state = "arguments"
                return held[len(head) :]
            if head.startswith(held):
                self._held = held
                return ""
        if self.calls:  # the grammar lets nothing but calls follow a call
            return ""
        self._state = "text"
        return held

    def _scan(self, text: str) -> int:
        """The index after the end of the arguments, or of `text` when they go on."""
        position = 0
        while position < len(text):
            if self._escaped:
                self._escaped = False
                position += 1
                continue
            found = (_STRING_END if self._in_string else _STRUCTURE).search(text, position)
            if found is None:
                break
            position = found.end()
            self._take(found.group())
            if self._depth == 0:
                self._state = "after"
                self.closed += 1
                return position
        return len(text)

    def _take(self, character: str) -> None:
        if character == '"':
            self._in_string = not self._in_string
        elif character == "\\":
            self._escaped = True
        else:
            self._depth += 1 if character in "{[" else -1
