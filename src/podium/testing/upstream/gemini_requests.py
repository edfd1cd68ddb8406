"""What Google's Gemini API takes as a request, and what it says to anything else."""

import math
import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from podium.testing.upstream.refusals import Refused
from podium.testing.upstream.speech import Asked, Tool

__all__ = ["read_gemini"]

_Name = Annotated[str, Meta(pattern="^[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}$")]

# https://ai.google.dev/api/caching#Schema; any other word of JSON Schema is an unknown field.
_SCHEMA_WORDS = frozenset(
    {"additionalProperties", "defs", "ref", "anyOf", "default", "description", "enum", "example", "format", "items"}
    | {"maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum"}
    | {"nullable", "pattern", "properties", "propertyOrdering", "required", "title", "type"}
)
_SCHEMA_TYPES = frozenset({"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"})


class _Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    pass


class _Blob(_Strict):
    mime_type: str
    data: str


class _FileData(_Strict):
    file_uri: str
    mime_type: str | None = None


class _FunctionCall(_Strict):
    name: _Name
    args: dict[str, Any] | None = None
    id: str | None = None


class _FunctionResponse(_Strict):
    name: _Name
    response: dict[str, Any]
    id: str | None = None


class _Part(_Strict):
    text: str | None = None
    inline_data: _Blob | None = None
    file_data: _FileData | None = None
    function_call: _FunctionCall | None = None
    function_response: _FunctionResponse | None = None
    thought: bool | None = None
    thought_signature: str | None = None

    @property
    def kinds(self) -> int:
        """How many of the fields that exclude each other are set."""
        data = (self.text, self.inline_data, self.file_data, self.function_call, self.function_response)
        return sum(one is not None for one in data)


class _Content(_Strict):
    parts: list[_Part] = []
    role: str | None = None

    @property
    def calls(self) -> list[str]:
        """Names of the functions that are called."""
        return [part.function_call.name for part in self.parts if part.function_call]

    @property
    def responses(self) -> list[str]:
        """Names of the functions that answered."""
        return [part.function_response.name for part in self.parts if part.function_response]


class _Declaration(_Strict):
    name: _Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    parameters_json_schema: Any = None
    response: dict[str, Any] | None = None
    response_json_schema: Any = None
    behavior: str | None = None


class _ToolSpec(_Strict):
    function_declarations: list[_Declaration] | None = None
    google_search: dict[str, Any] | None = None
    code_execution: dict[str, Any] | None = None
    url_context: dict[str, Any] | None = None


class _CallingConfig(_Strict):
    mode: Literal["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"] | None = None
    allowed_function_names: list[str] | None = None


class _ToolConfig(_Strict):
    function_calling_config: _CallingConfig | None = None


class _Thinking(_Strict):
    include_thoughts: bool | None = None
    thinking_budget: Annotated[int, Meta(ge=-1)] | None = None
    thinking_level: str | None = None


class _Generation(_Strict):
    stop_sequences: Annotated[list[str], Meta(max_length=5)] | None = None
    response_mime_type: Literal["text/plain", "application/json", "text/x.enum"] | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: Any = None
    response_modalities: list[str] | None = None
    candidate_count: Annotated[int, Meta(ge=1, le=8)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool | None = None
    logprobs: int | None = None
    thinking_config: _Thinking | None = None
    media_resolution: str | None = None


class _SafetySetting(_Strict):
    category: str
    threshold: str


class _Request(_Strict):
    contents: list[_Content] = []
    system_instruction: _Content | None = None
    tools: list[_ToolSpec] | None = None
    tool_config: _ToolConfig | None = None
    safety_settings: list[_SafetySetting] | None = None
    generation_config: _Generation | None = None
    cached_content: str | None = None
    labels: dict[str, str] | None = None
    model: str | None = None


class _Counting(_Strict):
    contents: list[_Content] | None = None
    generate_content_request: _Request | None = None


# Whose names are the caller's own.
_OWN_NAMES = frozenset({"args", "response", "parameters", "labels"}) | {
    f"{name}Schema" for name in ("response", "responseJson", "parametersJson")
}


def read_gemini(body: bytes, model: str, *, streamed: bool, counting: bool = False) -> Asked:
    """What a request asks for; Refused. `counting`: only its tokens are to be counted."""
    try:
        value = _camel(msgspec.json.decode(body))
        if counting:
            msgspec.convert(value, _Counting)
            return Asked(model=model)
        request = msgspec.convert(value, _Request)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"Invalid JSON payload received. {error}") from None
    _check_contents(request.contents)
    _check_function_turns(request.contents)
    _check_schemas(request)
    return _asked(request, model, streamed=streamed)


def _camel(value: Any) -> Any:
    """Names as the API describes them; it takes the names of its own source, too (`include_thoughts`)."""
    if isinstance(value, list):
        return [_camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub("_([a-z])", lambda found: found[1].upper(), name): one for name, one in value.items()}
    return {name: one if name in _OWN_NAMES else _camel(one) for name, one in named.items()}


def _check_contents(contents: list[_Content]) -> None:
    if not contents:
        raise Refused("* GenerateContentRequest.contents: contents is not specified\n")
    for index, content in enumerate(contents):
        if content.role not in {"user", "model", "function", None} or (content.role is None and len(contents) > 1):
            raise Refused("Please use a valid role: user, model.")
        if not content.parts:
            raise Refused(f"* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty.\n")
        for place, part in enumerate(content.parts):
            if part.kinds != 1:
                raise Refused(
                    f"* GenerateContentRequest.contents[{index}].parts[{place}].data: required oneof field 'data' "
                    "must have one initialized field\n"
                )
        if content.calls and content.role != "model":
            raise Refused("Function call parts are only allowed in turns of the model.")
        if content.responses and content.role not in {"user", "function"}:
            raise Refused("Function response parts are only allowed in turns of the user.")


def _check_function_turns(contents: list[_Content]) -> None:
    """A turn of calls follows one of the user or of responses, and is answered by the next, name by name."""
    waiting: list[str] = []
    for index, content in enumerate(contents):
        if content.responses or waiting:
            if len(content.responses) != len(waiting):
                raise Refused(
                    "Please ensure that the number of function response parts is equal to the number of function call "
                    "parts of the function call turn."
                )
            if sorted(content.responses) != sorted(waiting):
                raise Refused("Please ensure that function response names match the names of the function calls.")
        if content.calls and (index == 0 or contents[index - 1].role == "model"):
            raise Refused(
                "Please ensure that function call turn comes immediately after a user turn or after a function "
                "response turn."
            )
        waiting = content.calls
    if waiting:
        raise Refused("Please ensure that function response turn comes immediately after a function call turn.")


def _check_schemas(request: _Request) -> None:
    generation = request.generation_config or _Generation()
    if generation.response_schema is not None:
        _check_schema(generation.response_schema, "generation_config.response_schema")
    has_schema = generation.response_schema is not None or generation.response_json_schema is not None
    if has_schema and generation.response_mime_type != "application/json":
        raise Refused("Function calling or response schema with response mime type other than JSON is unsupported")
    if generation.response_schema is not None and generation.response_json_schema is not None:
        raise Refused("Only one of response_schema and response_json_schema may be set.")
    for index, declaration in enumerate(_declarations(request)):
        if declaration.parameters is not None:
            _check_schema(declaration.parameters, f"tools[0].function_declarations[{index}].parameters")
            if declaration.parameters_json_schema is not None:
                raise Refused("Only one of parameters and parameters_json_schema may be set.")


def _check_schema(schema: Any, where: str) -> None:
    if not isinstance(schema, dict):
        return
    for word in schema:
        if word not in _SCHEMA_WORDS:
            raise Refused(f"Invalid JSON payload received. Unknown name \"{word}\" at '{where}': Cannot find field.")
    kind = schema.get("type")
    if kind is not None and (not isinstance(kind, str) or kind.upper() not in _SCHEMA_TYPES):
        raise Refused(f"Invalid value at '{where}.type': {kind!r}")
    if isinstance(kind, str) and kind.upper() == "ARRAY" and "items" not in schema:
        raise Refused(f"* GenerateContentRequest.{where}.items: missing field.\n")
    for name, part in (schema.get("properties") or {}).items():
        _check_schema(part, f"{where}.properties[{name}]")
    _check_schema(schema.get("items"), f"{where}.items")
    for index, part in enumerate(schema.get("anyOf") or ()):
        _check_schema(part, f"{where}.any_of[{index}]")


def _declarations(request: _Request) -> list[_Declaration]:
    return [one for tool in request.tools or () for one in tool.function_declarations or ()]


def _asked(request: _Request, model: str, *, streamed: bool) -> Asked:
    generation = request.generation_config or _Generation()
    calling = (request.tool_config.function_calling_config if request.tool_config else None) or _CallingConfig()
    declarations = _declarations(request)
    allowed = calling.allowed_function_names
    if allowed is not None and calling.mode not in {"ANY", "VALIDATED"}:
        raise Refused("allowed_function_names should only be set when the calling mode is ANY or VALIDATED.")
    if calling.mode == "ANY" and not declarations:
        raise Refused("Function calling config is set without function_declarations.")
    if unknown := set(allowed or ()) - {one.name for one in declarations}:
        raise Refused(f"allowed_function_names names functions that are not declared: {sorted(unknown)}")
    thinking = generation.thinking_config
    as_json = generation.response_mime_type == "application/json"
    return Asked(
        model=model,
        streamed=streamed,
        tools=tuple(
            Tool(one.name, one.parameters or one.parameters_json_schema)
            for one in declarations
            if allowed is None or one.name in allowed
        ),
        must_call=calling.mode == "ANY",
        may_call=calling.mode != "NONE" and not request.contents[-1].responses,
        schema=(generation.response_schema or generation.response_json_schema or {}) if as_json else None,
        reasoning=bool(thinking and thinking.include_thoughts),
        max_tokens=generation.max_output_tokens or math.inf,
        choices=generation.candidate_count or 1,
    )
