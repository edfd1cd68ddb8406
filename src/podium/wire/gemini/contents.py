"""The messages of a chat as Gemini's turns.

Rules
1. System and developer messages, wherever they stand, make the system instruction.
2. Messages of one role that follow each other make one turn. Results of tools make turns of their own: with other
   content in it, a turn would not count as the answer to its calls.
3. Empty text is left out, as the API refuses it; a request with nothing but instructions says them as the user.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from podium.core.errors import InvalidRequest
from podium.wire.chat.requests import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    RefusalPart,
    TextPart,
    ToolCall,
)
from podium.wire.chat.requests import Part as ChatPart
from podium.wire.gemini.body import Content, FunctionCall, FunctionResponse, Instruction, Output, Part
from podium.wire.gemini.media import media_part
from podium.wire.gemini.signatures import NO_SIGNATURE

__all__ = ["Conversation", "read_conversation"]

_Signatures = Mapping[tuple[int, int], str]
_arguments_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NO_ARGUMENTS = msgspec.Raw(b"{}")


class Conversation(msgspec.Struct):
    """What has been said."""

    contents: list[Content]
    instruction: Instruction | None


def read_conversation(messages: list[Message], signatures: _Signatures, *, sign_all: bool) -> Conversation:
    """The turns of a chat. `sign_all`: the first call of a turn must be signed, if only with `NO_SIGNATURE`.

    InvalidRequest: a message cannot be said to Gemini.
    """
    turns = _Turns(signatures, sign_all=sign_all)
    for index, message in enumerate(messages):
        turns.add(index, message)
    if turns.contents:
        return Conversation(turns.contents, Instruction(turns.system) if turns.system else None)
    if not turns.system:
        raise InvalidRequest("The messages are empty.", parameter="messages")
    return Conversation([Content("user", turns.system)], None)


class _Turns:
    """The turns so far."""

    __slots__ = ("_kind", "_names", "_sign_all", "_signatures", "contents", "system")

    def __init__(self, signatures: _Signatures, *, sign_all: bool) -> None:
        self.contents: list[Content] = []
        self.system: list[Part] = []
        self._signatures = signatures
        self._sign_all = sign_all
        self._names: dict[str, str] = {}  # of the function that each call called, by the call's id
        self._kind = ""  # of the last turn

    def add(self, index: int, message: Message) -> None:
        where = f"messages[{index}]"
        match message.role:
            case "system" | "developer":
                self.system += [Part(text=text) for text in _texts(message.content, where) if text]
            case "user":
                self._say("user", _parts(message.content, where))
            case "assistant":
                parts = _parts(message.content, where)
                if message.refusal:
                    parts.append(Part(text=message.refusal))
                self._say("assistant", parts + self._calls(index, message.tool_calls or []))
            case "tool":
                self._say("tool", [self._result(message, where)])
            case "function":
                raise InvalidRequest(
                    "Messages of the role `function` are not understood: use `tool`.", parameter=f"{where}.role"
                )

    def _say(self, kind: Literal["user", "assistant", "tool"], parts: list[Part]) -> None:
        if not parts:
            return
        if kind == self._kind:
            self.contents[-1].parts += parts
            return
        self._kind = kind
        self.contents.append(Content("model" if kind == "assistant" else "user", parts))

    def _calls(self, index: int, calls: list[ToolCall]) -> list[Part]:
        parts = []
        for place, call in enumerate(calls):
            self._names[call.id] = call.function.name
            arguments = _arguments(call, f"messages[{index}].tool_calls[{place}].function.arguments")
            part = Part(function_call=FunctionCall(id=call.id, name=call.function.name, args=arguments))
            part.thought_signature = self._signatures.get((index, place))
            if place == 0 and part.thought_signature is None and self._sign_all:
                part.thought_signature = NO_SIGNATURE
            parts.append(part)
        return parts

    def _result(self, message: Message, where: str) -> Part:
        call_id = message.tool_call_id or ""
        name = self._names.get(call_id)
        if name is None:
            raise InvalidRequest(
                "This is the result of a call that no earlier message makes.", parameter=f"{where}.tool_call_id"
            )
        output = Output("".join(_texts(message.content, where)))
        return Part(function_response=FunctionResponse(id=call_id, name=name, response=output))


def _arguments(call: ToolCall, where: str) -> msgspec.Raw:
    text = call.function.arguments
    if not text.strip():
        return _NO_ARGUMENTS
    try:
        _arguments_of(text)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest("The arguments of a tool call must be a JSON object.", parameter=where) from None
    return msgspec.Raw(text.encode())


def _parts(content: str | list[ChatPart] | None, where: str) -> list[Part]:
    if content is None or isinstance(content, str):
        return [Part(text=content)] if content else []
    return [
        part for index, given in enumerate(content) if (part := _part(given, f"{where}.content[{index}]")) is not None
    ]


def _part(part: ChatPart, where: str) -> Part | None:
    match part:
        case TextPart(text=text) | RefusalPart(refusal=text):
            return Part(text=text) if text else None
        case ImagePart() | AudioPart() | FilePart():
            return media_part(part, where)


def _texts(content: str | list[ChatPart] | None, where: str) -> list[str]:
    """The texts of a message that may hold nothing else."""
    if content is None or isinstance(content, str):
        return [content or ""]
    for index, part in enumerate(content):
        if not isinstance(part, TextPart):
            raise InvalidRequest("A message of this role can only hold text.", parameter=f"{where}.content[{index}]")
    return [part.text for part in content if isinstance(part, TextPart)]
