"""What OpenAI's API, and Azure's, take as a request, and what they say to anything else."""

import json
import math
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from podium.testing.upstream.protocols import Endpoint
from podium.testing.upstream.refusals import Refused
from podium.testing.upstream.speech import Asked, Tool

__all__ = ["read_openai"]

_Name = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
_Text = Annotated[str, Meta(min_length=1)]
_Count = Annotated[int, Meta(ge=1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _TextPart(_Strict, tag="text", tag_field="type"):
    text: str


class _RefusalPart(_Strict, tag="refusal", tag_field="type"):
    refusal: str


class _ImageUrl(_Strict):
    url: Annotated[str, Meta(pattern=r"^(https?://|data:image/)")]
    detail: str | None = None


class _ImagePart(_Strict, tag="image_url", tag_field="type"):
    image_url: _ImageUrl


class _AudioPart(_Strict, tag="input_audio", tag_field="type"):
    input_audio: dict[str, str]


class _FilePart(_Strict, tag="file", tag_field="type"):
    file: dict[str, str]


_UserPart = _TextPart | _ImagePart | _AudioPart | _FilePart
_UserParts = Annotated[list[_UserPart], Meta(min_length=1)]
_TextParts = Annotated[list[_TextPart], Meta(min_length=1)]


class _Function(_Strict):
    name: _Name
    arguments: str


class _Call(_Strict):
    id: _Text
    function: _Function
    type: str = "function"


class _Message(_Strict, tag_field="role"):
    name: str | None = None


class _System(_Message, tag="system", kw_only=True):
    content: str | _TextParts


class _Developer(_Message, tag="developer", kw_only=True):
    content: str | _TextParts


class _User(_Message, tag="user", kw_only=True):
    content: str | _UserParts


class _Assistant(_Message, tag="assistant"):
    content: str | list[_TextPart | _RefusalPart] | None = None
    tool_calls: list[_Call] | None = None
    refusal: str | None = None
    audio: dict[str, Any] | None = None
    annotations: list[Any] | None = None
    reasoning_content: str | None = None  # as DeepSeek and vLLM have it


class _ToolResult(_Message, tag="tool", kw_only=True):
    tool_call_id: _Text
    content: str | _TextParts


class _FunctionSpec(_Strict):
    name: _Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _ToolSpec(_Strict, tag="function", tag_field="type"):
    function: _FunctionSpec


class _ChosenFunction(_Strict):
    name: _Name


class _ChosenTool(_Strict, tag="function", tag_field="type"):
    function: _ChosenFunction


class _SchemaFormat(_Strict):
    name: _Name
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class _AsText(_Strict, tag="text", tag_field="type"):
    pass


class _AsJson(_Strict, tag="json_object", tag_field="type"):
    pass


class _AsSchema(_Strict, tag="json_schema", tag_field="type"):
    json_schema: _SchemaFormat


class _StreamOptions(_Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class _Generation(_Strict, kw_only=True):
    model: str = ""  # Azure has it in the path
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: _Count | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    user: str | None = None
    # Not OpenAI's own, but taken by most servers of this protocol.
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


class _Chat(_Generation, kw_only=True):
    messages: Annotated[list[_System | _Developer | _User | _Assistant | _ToolResult], Meta(min_length=1)]
    max_completion_tokens: _Count | None = None
    tools: Annotated[list[_ToolSpec], Meta(min_length=1, max_length=128)] | None = None
    tool_choice: str | _ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: _AsText | _AsJson | _AsSchema | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    metadata: dict[str, str] | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    service_tier: str | None = None
    store: bool | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    web_search_options: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    tool_choices: ClassVar[frozenset[str]] = frozenset({"none", "auto", "required"})


class _Completion(_Generation, kw_only=True):
    prompt: str | Annotated[list[Any], Meta(min_length=1)]
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    suffix: str | None = None


class _Embedding(_Strict, kw_only=True):
    model: str = ""
    input: str | Annotated[list[Any], Meta(min_length=1)]
    dimensions: _Count | None = None
    encoding_format: str | None = None
    user: str | None = None


_chat = msgspec.json.Decoder(_Chat)
_completion = msgspec.json.Decoder(_Completion)
_embedding = msgspec.json.Decoder(_Embedding)


def read_openai(endpoint: Endpoint, body: bytes, model: str) -> Asked:
    """What a request asks for; Refused. `model` is the one in the path, if any."""
    try:
        if endpoint is Endpoint.EMBEDDINGS:
            return _read_embedding(_embedding.decode(body), model)
        if endpoint is Endpoint.COMPLETIONS:
            return _read_completion(_completion.decode(body), model)
        return _read_chat(_chat.decode(body), model)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"Invalid request: {error}") from None


def _model(request: _Generation | _Embedding, model: str) -> str:
    name = model or request.model
    if not name:
        raise Refused("you must provide a model parameter")
    return name


def _read_chat(request: _Chat, model: str) -> Asked:
    _check_stream_options(request)
    _check_turns(request)
    choice, tools = request.tool_choice, request.tools or []
    if choice is not None and not tools:
        raise Refused("'tool_choice' is only allowed when 'tools' are specified.", parameter="tool_choice")
    if isinstance(choice, str) and choice not in request.tool_choices:
        raise Refused(f"Invalid value: '{choice}'.", parameter="tool_choice")
    names = [tool.function.name for tool in tools]
    if isinstance(choice, _ChosenTool) and choice.function.name not in names:
        raise Refused(f"Tool choice '{choice.function.name}' not found in 'tools'.", parameter="tool_choice")
    if request.parallel_tool_calls is not None and not tools:
        raise Refused("'parallel_tool_calls' is only allowed when 'tools' are specified.")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise Refused("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
    chosen = choice.function.name if isinstance(choice, _ChosenTool) else None
    last = request.messages[-1]
    return Asked(
        model=_model(request, model),
        streamed=bool(request.stream),
        tools=tuple(
            Tool(tool.function.name, tool.function.parameters)
            for tool in tools
            if chosen is None or tool.function.name == chosen
        ),
        must_call=choice == "required" or chosen is not None,
        may_call=choice != "none" and not isinstance(last, _ToolResult),
        parallel=request.parallel_tool_calls is not False,
        schema=_schema(request),
        reasoning=request.reasoning_effort not in {None, "none"},
        max_tokens=request.max_completion_tokens or request.max_tokens or math.inf,
        stream_usage=_include_usage(request),
        choices=request.n or 1,
    )


def _schema(request: _Chat) -> Any:
    form = request.response_format
    if isinstance(form, _AsSchema):
        return form.json_schema.schema or {}
    if isinstance(form, _AsJson):
        if "json" not in json.dumps(msgspec.to_builtins(request.messages)).lower():
            raise Refused("'messages' must contain the word 'json' in some form, to use 'response_format'.")
        return {}
    return None


def _check_stream_options(request: _Generation) -> None:
    if request.stream_options is not None and not request.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refused(message, parameter="stream_options")


def _include_usage(request: _Generation) -> bool:
    return bool(request.stream_options and request.stream_options.include_usage)


def _check_turns(request: _Chat) -> None:
    """Each tool call has a result right after it, and each result a call before it."""
    waiting: list[str] = []
    for index, message in enumerate(request.messages):
        if isinstance(message, _ToolResult):
            if message.tool_call_id not in waiting:
                raise Refused(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    "'tool_calls'.",
                    parameter=f"messages.[{index}].role",
                )
            waiting.remove(message.tool_call_id)
            continue
        _check_answered(waiting, index)
        if isinstance(message, _Assistant):
            if message.tool_calls is not None and not message.tool_calls:
                raise Refused(f"Invalid 'messages[{index}].tool_calls': empty array.")
            if not message.tool_calls and message.content is None and message.refusal is None:
                raise Refused(f"Invalid value for 'content': expected a string, got null. messages.[{index}].content")
            waiting = [call.id for call in message.tool_calls or []]
    _check_answered(waiting, len(request.messages))


def _check_answered(waiting: list[str], index: int) -> None:
    if waiting:
        raise Refused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(waiting)}",
            parameter=f"messages.[{index}].role",
        )


def _read_completion(request: _Completion, model: str) -> Asked:
    _check_stream_options(request)
    return Asked(
        model=_model(request, model),
        streamed=bool(request.stream),
        max_tokens=request.max_tokens or 16,  # the API's default
        stream_usage=_include_usage(request),
        choices=request.n or 1,
    )


def _read_embedding(request: _Embedding, model: str) -> Asked:
    if request.encoding_format not in {None, "float", "base64"}:
        raise Refused(f"Invalid value: '{request.encoding_format}'.", parameter="encoding_format")
    given = request.input
    many = isinstance(given, list) and not isinstance(given[0], int)
    return Asked(
        model=_model(request, model),
        inputs=tuple(str(one) for one in given) if many else (str(given),),
        dimensions=request.dimensions or 8,
        base64=request.encoding_format == "base64",
    )
