"""What a request to AWS Bedrock's Converse API is made of.

Names and limits are those of the service's own description (bedrock-runtime, 2023-09-30). A union there is a
struct here of which one field is set. Binary values are base64 text, as JSON carries them.
"""

from typing import Literal

import msgspec

__all__ = [
    "AdditionalFields",
    "Audio",
    "Block",
    "CachePoint",
    "ConverseRequest",
    "Document",
    "Image",
    "InferenceConfig",
    "JsonSchemaDefinition",
    "JsonText",
    "NovaReasoning",
    "NovaSampling",
    "OutputConfig",
    "OutputStructure",
    "SerialToolChoice",
    "Source",
    "TextFormat",
    "Thinking",
    "ToolChoice",
    "ToolConfig",
    "ToolEntry",
    "ToolName",
    "ToolResult",
    "ToolSpec",
    "ToolUse",
    "Turn",
]


class Source(msgspec.Struct):
    """`data` is base64."""

    data: str = msgspec.field(name="bytes")


class Image(msgspec.Struct):
    """Of a user's turn or a tool's result."""

    format: str
    source: Source


class Document(msgspec.Struct):
    """`name` has to be unlike any other of the request."""

    format: str
    name: str
    source: Source


class Audio(msgspec.Struct):
    """Of a user's turn."""

    format: str
    source: Source


class ToolUse(msgspec.Struct, rename="camel"):
    """A call that the model made; `input` is a JSON object."""

    tool_use_id: str
    name: str
    input: msgspec.Raw


class ToolResult(msgspec.Struct, rename="camel"):
    """What came of a call."""

    tool_use_id: str
    content: list["Block"]


class CachePoint(msgspec.Struct, omit_defaults=True):
    """All that is before it may be cached."""

    type: Literal["default"]
    ttl: str | None = None


class Block(msgspec.Struct, rename="camel", omit_defaults=True):
    """A piece of a turn, of a system prompt or of a tool's result."""

    text: str | None = None
    image: Image | None = None
    document: Document | None = None
    audio: Audio | None = None
    tool_use: ToolUse | None = None
    tool_result: ToolResult | None = None
    cache_point: CachePoint | None = None


class Turn(msgspec.Struct):
    """What one side says until the other one speaks."""

    role: Literal["user", "assistant"]
    content: list[Block]


class InferenceConfig(msgspec.Struct, rename="camel", omit_defaults=True):
    """What every model understands."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None


class JsonText(msgspec.Struct):
    """A JSON value, given as JSON."""

    json: msgspec.Raw


class ToolSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    """A function that the model may call."""

    name: str
    input_schema: JsonText
    description: str | None = None
    strict: bool | None = None


class ToolEntry(msgspec.Struct, rename="camel"):
    """One of the tools."""

    tool_spec: ToolSpec


class ToolName(msgspec.Struct):
    """Names a function."""

    name: str


class ToolChoice(msgspec.Struct, omit_defaults=True):
    """Whether the model has to call a tool."""

    auto: dict[str, str] | None = None
    any: dict[str, str] | None = None
    tool: ToolName | None = None


class ToolConfig(msgspec.Struct, rename="camel", omit_defaults=True):
    """The tools, and whether one has to be called."""

    tools: list[ToolEntry]
    tool_choice: ToolChoice | None = None


class JsonSchemaDefinition(msgspec.Struct, omit_defaults=True):
    """`schema` is JSON as text."""

    schema: str
    name: str | None = None
    description: str | None = None


class OutputStructure(msgspec.Struct, rename="camel"):
    """What the answer has to look like."""

    json_schema: JsonSchemaDefinition


class TextFormat(msgspec.Struct):
    """The form of the answer's text."""

    type: Literal["json_schema"]
    structure: OutputStructure


class OutputConfig(msgspec.Struct, rename="camel", omit_defaults=True):
    """How the answer is to be made."""

    text_format: TextFormat | None = None
    effort: str | None = None


class Thinking(msgspec.Struct, omit_defaults=True):
    """Anthropic's: how a model may think."""

    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: int | None = None
    display: Literal["summarized"] | None = None


class SerialToolChoice(msgspec.Struct, omit_defaults=True):
    """Anthropic's: one call at a time."""

    type: Literal["auto", "any", "tool"]
    disable_parallel_tool_use: bool | None = None
    name: str | None = None


class NovaReasoning(msgspec.Struct, rename="camel"):
    """Amazon Nova 2's."""

    type: Literal["enabled"]
    max_reasoning_effort: str


class NovaSampling(msgspec.Struct, rename="camel"):
    """Amazon Nova's."""

    top_k: int


class AdditionalFields(msgspec.Struct, omit_defaults=True):
    """What only some models understand, in their own words."""

    thinking: Thinking | None = None
    top_k: int | None = None
    tool_choice: SerialToolChoice | None = None
    reasoning_effort: str | None = None
    nova_reasoning: NovaReasoning | None = msgspec.field(default=None, name="reasoningConfig")
    nova_sampling: NovaSampling | None = msgspec.field(default=None, name="inferenceConfig")


class ConverseRequest(msgspec.Struct, rename="camel", omit_defaults=True):
    """The body; the model is in the path."""

    messages: list[Turn]
    system: list[Block] | None = None
    inference_config: InferenceConfig | None = None
    tool_config: ToolConfig | None = None
    output_config: OutputConfig | None = None
    additional_model_request_fields: AdditionalFields | None = None
