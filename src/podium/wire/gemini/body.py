"""The body of a `generateContent` request, as far as OpenAI's chat needs it; the same for Vertex AI.

Reference: `GenerateContentRequest` of Google's generativelanguage v1beta, and the types of the official client.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "Body",
    "Content",
    "FileData",
    "FunctionCall",
    "FunctionCallingConfig",
    "FunctionDeclaration",
    "FunctionResponse",
    "GenerationConfig",
    "InlineData",
    "Instruction",
    "Output",
    "Part",
    "ThinkingConfig",
    "ToolConfig",
    "Tools",
]


class InlineData(msgspec.Struct, rename="camel"):
    """`data` is base64."""

    mime_type: str
    data: str


class FileData(msgspec.Struct, rename="camel"):
    """What the API fetches itself."""

    file_uri: str
    mime_type: str


class FunctionCall(msgspec.Struct):
    """A call that an earlier answer made; `args` is a JSON object."""

    id: str
    name: str
    args: msgspec.Raw


class Output(msgspec.Struct):
    """A tool's result as the text that it is.

    The API takes JSON objects as well, but reads their numbers as doubles: an id of 64 bits would be changed.
    """

    output: str


class FunctionResponse(msgspec.Struct):
    """The result of one call."""

    id: str
    name: str
    response: Output


class Part(msgspec.Struct, rename="camel", omit_defaults=True):
    """Exactly one of the first five says something."""

    text: str | None = None
    inline_data: InlineData | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    thought_signature: str | None = None


class Content(msgspec.Struct):
    """One turn."""

    role: Literal["user", "model"]
    parts: list[Part]


class Instruction(msgspec.Struct):
    """What the model has to keep to in all turns."""

    parts: list[Part]


class FunctionDeclaration(msgspec.Struct, rename="camel", omit_defaults=True):
    """A function that the model may call. The schema goes as it came: `parametersJsonSchema` takes JSON Schema."""

    name: str
    description: str | None = None
    parameters_json_schema: msgspec.Raw | UnsetType = UNSET


class Tools(msgspec.Struct, rename="camel"):
    """All functions."""

    function_declarations: list[FunctionDeclaration]


class FunctionCallingConfig(msgspec.Struct, rename="camel", omit_defaults=True):
    """Whether functions may or must be called; names only with ANY."""

    mode: Literal["AUTO", "ANY", "NONE"]
    allowed_function_names: list[str] | None = None


class ToolConfig(msgspec.Struct, rename="camel"):
    """How tools are used."""

    function_calling_config: FunctionCallingConfig


class ThinkingConfig(msgspec.Struct, rename="camel", omit_defaults=True):
    """How long the model thinks: by level from Gemini 3 on, by a number of tokens before."""

    include_thoughts: bool
    thinking_level: Literal["MINIMAL", "LOW", "MEDIUM", "HIGH"] | None = None
    thinking_budget: int | None = None


class GenerationConfig(msgspec.Struct, rename="camel", omit_defaults=True):
    """How to answer; None leaves a setting to the API."""

    candidate_count: int | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool | None = None
    logprobs: int | None = None
    response_mime_type: str | None = None
    response_json_schema: msgspec.Raw | UnsetType = UNSET
    thinking_config: ThinkingConfig | None = None


class Body(msgspec.Struct, rename="camel", omit_defaults=True):
    """The whole request."""

    contents: Sequence[Content]
    system_instruction: Instruction | None = None
    tools: list[Tools] | None = None
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig | None = None
