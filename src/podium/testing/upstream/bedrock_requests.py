"""What Amazon Bedrock's Converse takes as a request, and what it says to anything else."""

import json
import math
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from podium.testing.upstream.refusals import Refused
from podium.testing.upstream.speech import Asked, Tool

__all__ = ["read_bedrock"]

_Name = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
_Id = Annotated[str, Meta(pattern="^[a-zA-Z0-9_.:-]{1,64}$")]
_Text = Annotated[str, Meta(min_length=1)]
_Share = Annotated[float, Meta(ge=0, le=1)]


class _Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    pass


class _Union(_Strict):
    """Exactly one field is set."""

    def set_fields(self) -> list[str]:
        """Names of what is set."""
        return [name for name in self.__struct_fields__ if getattr(self, name) is not None]


class _Source(_Union):
    bytes: _Text | None = None
    s3_location: dict[str, str] | None = None
    text: str | None = None


class _Image(_Strict):
    format: Literal["png", "jpeg", "gif", "webp"]
    source: _Source


class _Document(_Strict):
    name: _Text
    source: _Source
    format: str | None = None


class _ToolUse(_Strict):
    tool_use_id: _Id
    name: _Name
    input: Any


class _ResultBlock(_Union):
    text: str | None = None
    json: Any = None
    image: _Image | None = None
    document: _Document | None = None


class _ToolResult(_Strict):
    tool_use_id: _Id
    content: list[_ResultBlock]
    status: Literal["success", "error"] | None = None


class _ReasoningText(_Strict):
    text: str
    signature: str | None = None


class _Reasoning(_Union):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None


class _CachePoint(_Strict):
    type: Literal["default"]
    ttl: str | None = None


class _Block(_Union):
    text: str | None = None
    image: _Image | None = None
    document: _Document | None = None
    tool_use: _ToolUse | None = None
    tool_result: _ToolResult | None = None
    reasoning_content: _Reasoning | None = None
    cache_point: _CachePoint | None = None
    guard_content: dict[str, Any] | None = None


class _Message(_Strict):
    role: Literal["user", "assistant"]
    content: list[_Block]


class _SystemBlock(_Union):
    text: _Text | None = None
    cache_point: _CachePoint | None = None
    guard_content: dict[str, Any] | None = None


class _Inference(_Strict):
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: _Share | None = None
    top_p: _Share | None = None
    stop_sequences: Annotated[list[_Text], Meta(max_length=2500)] | None = None


class _InputSchema(_Strict):
    json: dict[str, Any]


class _ToolSpec(_Strict):
    name: _Name
    input_schema: _InputSchema
    description: _Text | None = None
    strict: bool | None = None


class _Tool(_Union):
    tool_spec: _ToolSpec | None = None
    cache_point: _CachePoint | None = None


class _Named(_Strict):
    name: _Name


class _Empty(_Strict):
    pass


class _Choice(_Union):
    auto: _Empty | None = None
    any: _Empty | None = None
    tool: _Named | None = None


class _ToolConfig(_Strict):
    tools: Annotated[list[_Tool], Meta(min_length=1)]
    tool_choice: _Choice | None = None


class _JsonSchema(_Strict):
    schema: str
    name: str | None = None
    description: str | None = None


class _Structure(_Strict):
    json_schema: _JsonSchema


class _TextFormat(_Strict):
    type: Literal["json_schema"]
    structure: _Structure


class _OutputConfig(_Strict):
    text_format: _TextFormat | None = None
    effort: str | None = None


class _Request(_Strict):
    messages: list[_Message] = []
    system: list[_SystemBlock] | None = None
    inference_config: _Inference | None = None
    tool_config: _ToolConfig | None = None
    output_config: _OutputConfig | None = None
    guardrail_config: dict[str, str] | None = None
    additional_model_request_fields: dict[str, Any] | None = None
    additional_model_response_field_paths: list[str] | None = None
    request_metadata: dict[str, str] | None = None
    prompt_variables: dict[str, Any] | None = None
    performance_config: dict[str, str] | None = None
    service_tier: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(_Request)


def read_bedrock(body: bytes, model: str, *, streamed: bool) -> Asked:
    """What a request asks for; Refused."""
    try:
        request = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"The value at your request is invalid: {error}") from None
    _check_roles(request.messages)
    for index, message in enumerate(request.messages):
        for place, block in enumerate(message.content):
            _check_block(f"messages.{index}.content.{place}", message.role, block)
    _check_tool_turns(request)
    return _asked(request, model, streamed=streamed)


def _check_roles(messages: list[_Message]) -> None:
    if not messages or messages[0].role != "user":
        raise Refused(
            "A conversation must start with a user message. Try again with a conversation that starts with a user "
            "message."
        )
    for index, message in enumerate(messages):
        if not message.content:
            raise Refused(f"The content field in the Message object at messages.{index} is empty.")
        if message.role != ("user", "assistant")[index % 2]:
            raise Refused(
                "A conversation must alternate between user and assistant roles. Make sure the conversation "
                "alternates between user and assistant roles and try again."
            )


def _check_block(where: str, role: str, block: _Block) -> None:
    kinds = block.set_fields()
    if len(kinds) != 1:
        raise Refused(f"The ContentBlock object at {where} must set one of the following keys: text, image, toolUse…")
    if block.text is not None and not block.text.strip():
        raise Refused(f"The text field in the ContentBlock object at {where} is blank. Add text to the text field.")
    if (block.tool_use or block.reasoning_content) and role != "assistant":
        raise Refused(f"The ContentBlock object at {where} is only allowed in messages of the assistant.")
    if (block.tool_result or block.image or block.document) and role != "user":
        raise Refused(f"The ContentBlock object at {where} is only allowed in messages of the user.")
    if block.tool_use and not isinstance(block.tool_use.input, dict):
        raise Refused(f"The format of the value at {where}.toolUse.input is invalid. Provide a json object.")
    for place, part in enumerate(block.tool_result.content if block.tool_result else ()):
        if len(part.set_fields()) != 1:
            raise Refused(f"The ToolResultContentBlock at {where}.toolResult.content.{place} must set one key.")
        if part.json is not None and not isinstance(part.json, dict):
            raise Refused(
                f"The format of the value at {where}.toolResult.content.{place}.json is invalid. Provide a json "
                "object for the field and try again."
            )


def _check_tool_turns(request: _Request) -> None:
    """The next message has one result for each call, and no other."""
    waiting: list[str] = []
    used = False
    for index, message in enumerate(request.messages):
        results = [block.tool_result.tool_use_id for block in message.content if block.tool_result]
        if missing := set(waiting) - set(results):
            raise Refused(
                f"Expected toolResult blocks at messages.{index}.content for the following Ids: "
                f"{', '.join(sorted(missing))}, but found: {', '.join(results)}"
            )
        if len(results) > len(waiting) or set(results) - set(waiting):
            raise Refused(
                f"The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks "
                "of previous turn."
            )
        waiting = [block.tool_use.tool_use_id for block in message.content if block.tool_use]
        used = used or bool(waiting)
    if waiting:
        raise Refused(f"Expected toolResult blocks for the following Ids: {', '.join(waiting)}")
    if used and request.tool_config is None:
        raise Refused("The toolConfig field must be defined when using toolUse and toolResult content blocks.")


def _asked(request: _Request, model: str, *, streamed: bool) -> Asked:
    tools = [tool.tool_spec for tool in request.tool_config.tools if tool.tool_spec] if request.tool_config else []
    choice = (request.tool_config.tool_choice if request.tool_config else None) or _Choice(auto=_Empty())
    if len(choice.set_fields()) != 1:
        raise Refused("The toolChoice object must set one of the following keys: auto, any, tool.")
    named = choice.tool.name if choice.tool else None
    if named is not None and named not in {tool.name for tool in tools}:
        raise Refused(f"The tool {named} in toolChoice is not in tools.")
    additional = request.additional_model_request_fields or {}
    thinking = additional.get("thinking") or additional.get("reasoning_config")
    inference = request.inference_config or _Inference()
    return Asked(
        model=model,
        streamed=streamed,
        tools=tuple(Tool(tool.name, tool.input_schema.json) for tool in tools if named in {None, tool.name}),
        must_call=choice.auto is None,
        may_call=not any(block.tool_result for block in request.messages[-1].content),
        schema=_schema(request.output_config),
        reasoning=isinstance(thinking, dict) and thinking.get("type") != "disabled",
        max_tokens=inference.max_tokens or math.inf,
    )


def _schema(output: _OutputConfig | None) -> Any:
    if output is None or output.text_format is None:
        return None
    try:
        return json.loads(output.text_format.structure.json_schema.schema)
    except ValueError:
        raise Refused("outputConfig.textFormat.structure.jsonSchema.schema is not JSON.") from None
