"""The messages of a Messages request -> those of a chat.

Rules
1. Neighbouring messages of one role are one turn, as Anthropic's API reads them.
2. A tool's results become messages of the role `tool`; they stand before all else of the turn, because a chat
   wants them right behind the calls. An error is said with "Error: " before its text: a chat has no flag for it.
3. A `tool` message holds only text: images and files of a result follow in the user's message, and the result
   says so.
4. Thoughts of earlier answers are left out: no other model can use them.
"""

from typing import Literal

import msgspec

from podium.wire.anthropic.face_blocks import Content, Placed, Thinking, ToolResult, ToolUse, read_blocks
from podium.wire.anthropic.face_parts import Json, Parts, joined

__all__ = ["SaidMessage", "chat_messages"]

_BETWEEN_BLOCKS = "\n"  # as llama.cpp and vLLM join parts where a chat template takes no list


class SaidMessage(msgspec.Struct):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: Content


def chat_messages(messages: list[SaidMessage], system: Content | None, parts: Parts) -> list[Json]:
    """All messages of the chat, the system prompt first. InvalidRequest: a block is wrong, or rejected as a loss."""
    chat: list[Json] = []
    if system:
        chat.append({"role": "system", "content": parts.texts(read_blocks(system, "system"), _BETWEEN_BLOCKS)})
    for role, turn in _turns(messages):
        match role:
            case "user":
                chat += _user(turn, parts)
            case "assistant":
                chat += _assistant(turn, parts)
            case "system":
                chat.append({"role": "system", "content": parts.texts(turn, _BETWEEN_BLOCKS)})
    return chat


def _turns(messages: list[SaidMessage]) -> list[tuple[str, list[Placed]]]:
    turns: list[tuple[str, list[Placed]]] = []
    for number, message in enumerate(messages):
        placed = read_blocks(message.content, f"messages[{number}].content")
        if turns and turns[-1][0] == message.role:
            turns[-1][1].extend(placed)
        else:
            turns.append((message.role, placed))
    return turns


def _assistant(turn: list[Placed], parts: Parts) -> list[Json]:
    calls = [_call(block) for _, block in turn if isinstance(block, ToolUse)]
    spoken = [found for found in turn if not isinstance(found[1], (ToolUse, Thinking))]
    if not calls and not spoken:
        return []
    said = joined(parts.of(spoken), "")  # blocks of an answer are pieces of one text, cut by citations and calls
    message: Json = {"role": "assistant", "content": said or None if calls else said}
    if calls:
        message["tool_calls"] = calls
    return [message]


def _call(block: ToolUse) -> Json:
    arguments = str(msgspec.json.encode(block.input), "utf-8")
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


def _user(turn: list[Placed], parts: Parts) -> list[Json]:
    chat: list[Json] = []
    shown: list[Json] = []
    for path, block in turn:
        if isinstance(block, ToolResult):
            text, files = _result(path, block, parts)
            chat.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": text})
            shown += files
    shown += parts.of([found for found in turn if not isinstance(found[1], (ToolResult, Thinking))])
    if shown:
        chat.append({"role": "user", "content": joined(shown, _BETWEEN_BLOCKS)})
    return chat


def _result(path: str, result: ToolResult, parts: Parts) -> tuple[str, list[Json]]:
    """The text of a tool's result, and what of it the user's message has to show."""
    texts: list[str] = []
    files: list[Json] = []
    for part in parts.of(read_blocks(result.content, f"{path}.content")):
        if part["type"] == "text":
            texts.append(str(part["text"]))
        else:
            kind = "image" if part["type"] == "image_url" else "file"
            texts.append(f"({kind} {len(files) + 1}: see the next message of the user)")
            files.append(part)
    if files:
        files.insert(0, {"type": "text", "text": f"Shown by the tool call {result.tool_use_id}:"})
    text = _BETWEEN_BLOCKS.join(texts)
    return f"Error: {text}" if result.is_error else text, files
