"""The messages of a chat request -> the system prompt and the turns of a Converse request.

Rules
1. System and developer messages become the system prompt, wherever they stand.
2. Turns alternate: what one side says in several messages is one turn. Results of tools are the user's.
3. Bedrock refuses blank text, so it is left out; a turn that says nothing at all is none.
4. Without tools in the request Bedrock refuses calls and results in the history too: they are told as text.
"""

import hashlib
import re

import msgspec

from podium.core.errors import InvalidRequest
from podium.wire.bedrock.media import DocumentNames, audio_block, document_block, image_block, inexpressible
from podium.wire.bedrock.shapes import Block, CachePoint, ToolResult, ToolUse, Turn
from podium.wire.chat.requests import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    RefusalPart,
    TextPart,
    ToolCall,
    text_of,
)

__all__ = ["Conversation"]

_CALL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_TTLS = ("5m", "1h")
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Conversation:
    """Takes the messages in order; what they amount to is in `system` and `turns`."""

    def __init__(self, *, tools: bool, caches: bool) -> None:
        self.system: list[Block] = []
        self.turns: list[Turn] = []
        self._tools = tools
        self._caches = caches
        self._names = DocumentNames()
        self._called: dict[str, str] = {}  # names of functions by the calls' ids

    @property
    def answers_tools(self) -> bool:
        """True when the last turn holds results of tools: the model goes on with an answer that it began."""
        return bool(self.turns) and any(block.tool_result is not None for block in self.turns[-1].content)

    def add(self, message: Message) -> None:
        """Take the next message. InvalidRequest: Bedrock cannot be told what it says."""
        if message.role in {"system", "developer"}:
            self._add_system(message)
        elif message.role == "user":
            self._add_user(message)
        elif message.role == "assistant":
            self._add_assistant(message)
        elif message.role == "tool":
            self._add_result(message)
        else:
            raise inexpressible("Messages of role `function` are too old for AWS Bedrock: use tools.")

    def check(self) -> None:
        """InvalidRequest unless the conversation begins with a user who says something."""
        if not self.turns or self.turns[0].role != "user":
            raise InvalidRequest(
                "With AWS Bedrock a conversation begins with a user's message that is not blank.", parameter="messages"
            )

    def _add_system(self, message: Message) -> None:
        for part in _parts(message):
            if not isinstance(part, TextPart):
                raise inexpressible("AWS Bedrock takes text only as a system prompt.")
            self._append(self.system, Block(text=part.text), part.cache_control)

    def _add_user(self, message: Message) -> None:
        blocks: list[Block] = []
        for part in _parts(message):
            self._append(blocks, self._content(part), _mark_of(part))
        self._extend("user", blocks)

    def _add_assistant(self, message: Message) -> None:
        blocks: list[Block] = []
        for part in _parts(message):
            if isinstance(part, RefusalPart):
                self._append(blocks, Block(text=part.refusal))
            elif isinstance(part, TextPart):
                self._append(blocks, Block(text=part.text), part.cache_control)
            else:
                raise inexpressible("With AWS Bedrock an assistant's message holds text and calls only.")
        if message.refusal:
            self._append(blocks, Block(text=message.refusal))
        blocks += [self._call(call) for call in message.tool_calls or ()]
        self._extend("assistant", blocks)

    def _call(self, call: ToolCall) -> Block:
        function = call.function
        self._called[call.id] = function.name
        arguments = function.arguments.strip() or "{}"
        try:
            _decode_object(arguments)
        except (msgspec.DecodeError, RecursionError):
            raise inexpressible(f"The arguments of the call {call.id!r} are not a JSON object.") from None
        if not self._tools:
            return Block(text=f"[Called {function.name} with {arguments}]")
        return Block(tool_use=ToolUse(_call_id(call.id), function.name, msgspec.Raw(arguments.encode())))

    def _add_result(self, message: Message) -> None:
        if message.tool_call_id is None:
            raise InvalidRequest("A message of role `tool` needs `tool_call_id`.", parameter="messages")
        content: list[Block] = []
        mark = None
        for part in _parts(message):
            if isinstance(part, AudioPart):
                raise inexpressible("AWS Bedrock takes no sound as a tool's result.")
            self._append(content, self._content(part))
            mark = _mark_of(part) or mark
        if self._tools:
            blocks = [Block(tool_result=ToolResult(_call_id(message.tool_call_id), content))]
        else:
            name = self._called.get(message.tool_call_id, "the tool")
            blocks = [Block(text=f"[Result of {name}: {text_of(message.content)}]")]
            blocks += [block for block in content if block.text is None]
        self._append(blocks, None, mark)
        self._extend("user", blocks)

    def _content(self, part: Part) -> Block:
        if isinstance(part, TextPart):
            return Block(text=part.text)
        if isinstance(part, ImagePart):
            return image_block(part)
        if isinstance(part, FilePart):
            return document_block(part, self._names)
        if isinstance(part, AudioPart):
            return audio_block(part)
        raise inexpressible("With AWS Bedrock only an assistant's message holds a refusal.")

    def _extend(self, role: str, blocks: list[Block]) -> None:
        if not blocks:
            return
        if self.turns and self.turns[-1].role == role:
            self.turns[-1].content.extend(blocks)
        else:
            self.turns.append(Turn("user" if role == "user" else "assistant", blocks))

    def _append(self, blocks: list[Block], block: Block | None, mark: dict[str, str] | None = None) -> None:
        """Add a block unless it is blank, and a cache point where the caller marked the end of what to cache."""
        if block is not None and (block.text is None or block.text.strip()):
            blocks.append(block)
        if mark is not None and self._caches and blocks and blocks[-1].cache_point is None:
            ttl = mark.get("ttl")
            blocks.append(Block(cache_point=CachePoint("default", ttl if ttl in _TTLS else None)))


def _parts(message: Message) -> list[Part]:
    content = message.content
    return [TextPart(content)] if isinstance(content, str) else list(content or ())


def _mark_of(part: Part) -> dict[str, str] | None:
    return part.cache_control if isinstance(part, TextPart | ImagePart | FilePart) else None


def _call_id(call_id: str) -> str:
    """The id if Bedrock takes it, else one that always stands for it: other providers' ids may be longer."""
    if _CALL_ID.fullmatch(call_id):
        return call_id
    return "call_" + hashlib.sha256(call_id.encode(errors="surrogatepass")).hexdigest()[:32]
