"""Anthropic's Messages API as a face of Podium: bytes <-> values, as `wire.openai` does it for OpenAI's.

Only the fields that a decision needs are decoded; the rest of a request or an answer stays the bytes it was.
Reference: Anthropic's API description, and the shapes of the official Python client.
"""

from typing import Any, Literal

import msgspec

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.anthropic.face_errors import error_body, error_event, error_type, mistyped
from podium.wire.anthropic.face_events import DONE, EventReader, needs_reading, read_answer_usage
from podium.wire.json_guard import check_text, refuse_duplicate_names
from podium.wire.openai import Change, encode_json, override_fields

__all__ = [
    "DONE",
    "EventReader",
    "Request",
    "answer_text",
    "error_body",
    "error_event",
    "error_type",
    "needs_reading",
    "read_answer_usage",
    "read_request",
    "request_text",
    "rewrite_request",
]


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class Request(msgspec.Struct):
    """What decisions need of a request, in the words that OpenAI's requests use."""

    model: str
    max_tokens: int
    messages: list[msgspec.Raw]
    stream: bool | None = None
    system: str | list[msgspec.Raw] | None = None
    metadata: _Metadata | None = None

    @property
    def wants_stream_usage(self) -> Literal[True]:
        """Every stream of this protocol reports its usage."""
        return True

    @property
    def answer_token_limit(self) -> int:
        """The most tokens that the answer may have."""
        return max(self.max_tokens, 0)

    @property
    def answers(self) -> int:
        """There is always one."""
        return 1

    @property
    def user(self) -> str | None:
        """The caller's word for who asks."""
        return self.metadata.user_id if self.metadata is not None else None

    @property
    def safety_identifier(self) -> None:
        """This protocol has none."""
        return


_DECIDING_NAMES = frozenset(("model", "max_tokens", "messages", "stream", "system", "metadata"))
_decode_request = msgspec.json.Decoder(Request).decode


def read_request(body: bytes) -> Request:
    """The deciding fields of a request body; InvalidRequest says what is wrong with it."""
    check_text(body)
    try:
        request = _decode_request(body)
    except msgspec.ValidationError as error:
        raise mistyped(error) from None
    except (msgspec.DecodeError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else f"not valid JSON: {error}"
        raise InvalidRequest(f"The body is {reason}.", reason=Reason.INVALID_JSON) from None
    refuse_duplicate_names(body, _DECIDING_NAMES)
    if not request.model:
        raise InvalidRequest("`model` must not be empty.", parameter="model")
    if not request.messages:
        raise InvalidRequest("`messages` must hold at least one message.", parameter="messages")
    return request


class _SystemMessage(msgspec.Struct):
    """A version's system prompt as a message of a chat: the form that a Change holds it in."""

    content: str


class _System(msgspec.Struct):
    system: str | list[msgspec.Raw] | None = None


class _OfferedFunction(msgspec.Struct):
    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class _OfferedTool(msgspec.Struct):
    function: _OfferedFunction


_decode_tools = msgspec.json.Decoder(list[_OfferedTool]).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_system_message = msgspec.json.Decoder(_SystemMessage).decode
_decode_system = msgspec.json.Decoder(_System).decode

# Names of a version's parameters as a chat has them, and as Messages does. None: it means nothing here, because
# usage always comes and one answer is made.
_OWN_NAMES = {"stop": "stop_sequences", "max_completion_tokens": "max_tokens", "stream_options": None, "n": None}


def rewrite_request(body: bytes, change: Change) -> bytes:
    """The body with `change` made; every other field keeps its bytes. InvalidRequest: it is nested too deeply.

    Defaults and overrides are spelled as for a chat; `stop` and `max_completion_tokens` get their names here. What
    Messages has no field for (`seed`) stands there all the same: `to_chat` takes it over, Anthropic's own API
    refuses it in plain words.
    """
    try:
        return _rewritten(body, change)
    except RecursionError:  # how deep is too deep depends on how deep we are ourselves
        raise InvalidRequest("The body is nested too deeply.", reason=Reason.INVALID_JSON) from None


def _rewritten(body: bytes, change: Change) -> bytes:
    fields = _decode_fields(body)
    if change.model is not None:
        fields["model"] = msgspec.Raw(encode_json(change.model))
    for name, value in _in_own_words(change.defaults).items():
        fields.setdefault(name, value)
    override_fields(fields, _in_own_words(change.overrides))
    if change.tools is not None and "tools" not in fields:
        fields["tools"] = msgspec.Raw(encode_json([_in_messages(tool) for tool in _decode_tools(change.tools)]))
    if change.system_message is not None:
        prompt = _decode_system_message(change.system_message).content
        fields["system"] = msgspec.Raw(encode_json(_with_prompt(prompt, _decode_system(body).system)))
    return encode_json(fields)


def _in_messages(tool: _OfferedTool) -> dict[str, object]:
    """A function as Messages offers it: https://docs.claude.com/en/api/messages#body-tools."""
    function = tool.function
    described = {"description": function.description} if function.description else {}
    return {"name": function.name, **described, "input_schema": function.parameters or {"type": "object"}}


def _in_own_words(parameters: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    own: dict[str, msgspec.Raw] = {}
    for name, value in parameters.items():
        known = _OWN_NAMES.get(name, name)
        if known is not None:
            own[known] = msgspec.Raw(b"[%b]" % bytes(value)) if name == "stop" and bytes(value)[:1] == b'"' else value
    return own


def _with_prompt(prompt: str, system: str | list[msgspec.Raw] | None) -> object:
    """Ours first, as a block of its own: a text that every request shares is what a prompt cache can keep."""
    if not system:
        return prompt
    own = {"type": "text", "text": prompt}
    return [own, *system] if isinstance(system, list) else [own, {"type": "text", "text": system}]


def request_text(body: bytes) -> str:
    """The text that a request gives a model to read, for counting its tokens."""
    fields = msgspec.json.decode(body)
    parts = [fields.get(name) for name in ("system", "messages", "tools", "output_config", "output_format")]
    return "\n".join(text for part in parts for text in _strings(part))


def answer_text(body: bytes) -> str:
    """The text that a model wrote into a whole answer, for counting its tokens; of an unknown shape, none."""
    answer = msgspec.json.decode(body)
    content = answer.get("content") if isinstance(answer, dict) else None
    return "\n".join(_strings(content)) if isinstance(content, list) else ""


# What no model reads or writes as text: files as base64, thoughts that are sealed, and marks.
_SEALED = frozenset(("base64", "redacted_thinking"))
_MARKS = frozenset(("type", "id", "tool_use_id", "signature", "media_type"))


def _strings(value: Any) -> list[str]:
    """All strings in a decoded JSON value that a model reads or writes."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    if isinstance(value, dict) and not _is_sealed(value):
        said = [item for name, item in value.items() if not (name in _MARKS and isinstance(item, str))]
        return [text for item in said for text in _strings(item)]
    return []


def _is_sealed(block: dict[str, Any]) -> bool:
    kind = block.get("type")
    return isinstance(kind, str) and kind in _SEALED
