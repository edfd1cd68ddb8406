"""What Anthropic's Messages API takes as a request, and what it says to anything else."""

import math
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from podium.testing.upstream.refusals import Refused
from podium.testing.upstream.speech import Asked, Tool

__all__ = ["SIGNATURE", "read_anthropic"]

SIGNATURE = "EqoBsimulated/signature=="  # of every thinking block; the only one that is taken back

_MIN_THINKING = 1024
_Id = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]+$")]
_Name = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,128}$")]
_Text = Annotated[str, Meta(min_length=1)]
_Share = Annotated[float, Meta(ge=0, le=1)]


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Block(_Strict, tag_field="type"):
    cache_control: dict[str, str] | None = None


class _TextBlock(_Block, tag="text", kw_only=True):
    text: _Text
    citations: list[Any] | None = None


class _Source(_Strict, tag_field="type"):
    pass


class _Base64Source(_Source, tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf"]
    data: _Text


class _UrlSource(_Source, tag="url"):
    url: Annotated[str, Meta(pattern="^https?://")]


class _TextSource(_Source, tag="text"):
    media_type: Literal["text/plain"]
    data: str


class _ImageBlock(_Block, tag="image", kw_only=True):
    source: _Base64Source | _UrlSource


class _DocumentBlock(_Block, tag="document", kw_only=True):
    source: _Base64Source | _UrlSource | _TextSource
    title: str | None = None
    context: str | None = None
    citations: dict[str, bool] | None = None


class _ThinkingBlock(_Strict, tag="thinking", tag_field="type"):
    thinking: str
    signature: str


class _RedactedBlock(_Strict, tag="redacted_thinking", tag_field="type"):
    data: str


class _ToolUse(_Block, tag="tool_use", kw_only=True):
    id: _Id
    name: _Name
    input: dict[str, Any]


class _ToolResult(_Block, tag="tool_result", kw_only=True):
    tool_use_id: _Id
    content: str | list[_TextBlock | _ImageBlock | _DocumentBlock] | None = None
    is_error: bool | None = None


_AnyBlock = _TextBlock | _ImageBlock | _DocumentBlock | _ThinkingBlock | _RedactedBlock | _ToolUse | _ToolResult


class _Message(_Strict):
    role: Literal["user", "assistant"]
    content: str | list[_AnyBlock]


class _InputSchema(msgspec.Struct):
    type: Literal["object"]


class _ToolSpec(_Strict):
    name: _Name
    input_schema: msgspec.Raw
    description: str | None = None
    type: Literal["custom"] | None = None
    cache_control: dict[str, str] | None = None
    strict: bool | None = None


class _ToolChoice(_Strict):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(_Strict):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Meta(ge=_MIN_THINKING)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class _OutputFormat(_Strict):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class _OutputConfig(_Strict):
    format: _OutputFormat | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class _Request(_Strict):
    model: _Text
    messages: Annotated[list[_Message], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1)] | None = None  # only counting tokens may leave it out
    system: str | list[_TextBlock] | None = None
    stream: bool = False
    temperature: _Share | None = None
    top_p: _Share | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stop_sequences: list[str] | None = None
    tools: list[_ToolSpec] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    metadata: dict[str, str | None] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    cache_control: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(_Request)


def read_anthropic(body: bytes, *, counting: bool = False) -> Asked:
    """What a request asks for; Refused. `counting`: only its tokens are to be counted."""
    try:
        request = _decoder.decode(body)
        for tool in request.tools or ():
            msgspec.json.decode(tool.input_schema, type=_InputSchema)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"Invalid request: {error}") from None
    if request.max_tokens is None and not counting:
        raise Refused("max_tokens: Field required")
    if request.messages[0].role != "user":
        raise Refused('messages: first message must use the "user" role')
    for index, message in enumerate(request.messages):
        _check_content(index, message, last=index == len(request.messages) - 1)
    _check_tool_turns(request)
    _check_options(request)
    return _asked(request)


def _blocks(message: _Message) -> list[_AnyBlock]:
    return message.content if isinstance(message.content, list) else []


def _check_content(index: int, message: _Message, *, last: bool) -> None:
    if not message.content and not (last and message.role == "assistant"):
        raise Refused(
            f"messages.{index}: all messages must have non-empty content except for the optional final "
            "assistant message"
        )
    if last and message.role == "assistant" and isinstance(message.content, str) and message.content[-1:].isspace():
        raise Refused("messages: final assistant content cannot end with trailing whitespace")
    for place, block in enumerate(_blocks(message)):
        where = f"messages.{index}.content.{place}"
        if isinstance(block, _TextBlock) and not block.text.strip():
            raise Refused("messages: text content blocks must contain non-whitespace text")
        if message.role == "user" and isinstance(block, _ToolUse | _ThinkingBlock | _RedactedBlock):
            raise Refused(f"{where}: `{type(block).__struct_config__.tag}` blocks can only be in `assistant` messages")
        if message.role == "assistant" and isinstance(block, _ToolResult | _ImageBlock | _DocumentBlock):
            raise Refused(f"{where}: `{type(block).__struct_config__.tag}` blocks can only be in `user` messages")
        if isinstance(block, _ThinkingBlock) and block.signature != SIGNATURE:
            raise Refused(f"{where}: Invalid `signature` in `thinking` block")


def _check_tool_turns(request: _Request) -> None:
    """The results of a turn's calls come first in the next message, each once; a result needs its call."""
    waiting: list[str] = []
    used = False
    for index, message in enumerate(request.messages):
        blocks = _blocks(message)
        results = [block for block in blocks if isinstance(block, _ToolResult)]
        for block in results:
            if block.tool_use_id not in waiting:
                raise Refused(
                    f"messages.{index}.content.{blocks.index(block)}: unexpected `tool_use_id` found in `tool_result` "
                    f"blocks: {block.tool_use_id}. Each `tool_result` block must have a corresponding `tool_use` block "
                    "in the previous message."
                )
            waiting.remove(block.tool_use_id)
        if waiting or (results and any(not isinstance(block, _ToolResult) for block in blocks[: len(results)])):
            missing = ", ".join(waiting) or results[0].tool_use_id
            raise Refused(
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{missing}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            )
        waiting = [block.id for block in blocks if isinstance(block, _ToolUse)]
        used = used or bool(waiting)
    if waiting:
        raise Refused(
            f"messages.{len(request.messages) - 1}: `tool_use` ids were found without `tool_result` blocks "
            f"immediately after: {', '.join(waiting)}."
        )
    if used and not request.tools:
        raise Refused("Requests which include `tool_use` or `tool_result` blocks must define tools")


def _check_options(request: _Request) -> None:
    if any(not sequence.strip() for sequence in request.stop_sequences or ()):
        raise Refused("stop_sequences: each stop sequence must contain non-whitespace")
    names = [tool.name for tool in request.tools or ()]
    if len(names) != len(set(names)):
        raise Refused("tools: Tool names must be unique.")
    choice = request.tool_choice
    if choice is not None and choice.type in {"any", "tool"} and not names:
        raise Refused("tool_choice: Tools must be specified when using tool_choice")
    if choice is not None and choice.type == "tool" and choice.name not in names:
        raise Refused(f"tool_choice.tool.name: Tool '{choice.name}' not found in provided tools")
    if request.thinking is not None and request.thinking.type != "disabled":
        _check_thinking(request, request.thinking)


def _check_thinking(request: _Request, thinking: _Thinking) -> None:
    if thinking.type == "enabled" and thinking.budget_tokens is None:
        raise Refused("thinking.enabled.budget_tokens: Field required")
    if thinking.budget_tokens is not None and thinking.budget_tokens >= (request.max_tokens or math.inf):
        raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`")
    if request.temperature not in {None, 1.0}:
        raise Refused("`temperature` may only be set to 1 when thinking is enabled")
    if request.top_k is not None:
        raise Refused("`top_k` must be unset when thinking is enabled")
    if request.tool_choice is not None and request.tool_choice.type in {"any", "tool"}:
        raise Refused("Thinking may not be enabled when tool_choice forces tool use.")


def _asked(request: _Request) -> Asked:
    choice = request.tool_choice
    kind = choice.type if choice else "auto"
    named = choice.name if choice and kind == "tool" else None
    last = _blocks(request.messages[-1])
    output = request.output_config.format if request.output_config else None
    return Asked(
        model=request.model,
        streamed=request.stream,
        tools=tuple(
            Tool(tool.name, msgspec.json.decode(tool.input_schema))
            for tool in request.tools or ()
            if named is None or tool.name == named
        ),
        must_call=kind in {"any", "tool"},
        may_call=kind != "none" and not any(isinstance(block, _ToolResult) for block in last),
        parallel=not (choice and choice.disable_parallel_tool_use),
        schema=output.schema if output else None,
        reasoning=request.thinking is not None and request.thinking.type != "disabled",
        max_tokens=request.max_tokens or math.inf,
    )
