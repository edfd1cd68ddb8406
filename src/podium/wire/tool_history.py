"""The messages of a chat with function calls, for models that know only plain ones."""

import msgspec

from podium.core.errors import InvalidRequest
from podium.wire.openai import encode_json
from podium.wire.tool_calls import call_text

__all__ = ["instruct", "invalid_shape", "plain_messages"]

_NULL = msgspec.Raw(b"null")


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str


class _ToolCall(msgspec.Struct):
    id: str
    function: _CalledFunction


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Message(msgspec.Struct, omit_defaults=True):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: msgspec.Raw = _NULL


class _PlainMessage(msgspec.Struct):
    role: str
    content: str


class _Role(msgspec.Struct):
    role: str
    tool_calls: msgspec.Raw = _NULL
    function_call: msgspec.Raw = _NULL


_decode_role = msgspec.json.Decoder(_Role).decode
_decode_message = msgspec.json.Decoder(_Message).decode


def plain_messages(messages: list[msgspec.Raw]) -> list[msgspec.Raw]:
    """The messages with calls and their results as text; others stay the bytes they were.

    InvalidRequest names the message that is wrong.
    """
    return _History().rewrite(messages)


def instruct(messages: list[msgspec.Raw], instructions: str) -> list[msgspec.Raw]:
    """The messages with the instructions at the end of the system message."""
    if not messages or _decode_role(messages[0]).role != "system":
        return [_plain("system", instructions), *messages]
    first = _read(messages[0], "messages[0]")
    given = _text_of(first.content)
    return [_plain("system", f"{given}\n\n{instructions}" if given else instructions), *messages[1:]]


class _History:
    """The messages of a chat; those that a model's template does not know become plain ones, others stay."""

    def __init__(self) -> None:
        self._called: dict[str, str] = {}  # id of a call -> the function's name

    def rewrite(self, messages: list[msgspec.Raw]) -> list[msgspec.Raw]:
        return [self._message(message, f"messages[{index}]") for index, message in enumerate(messages)]

    def _message(self, raw: msgspec.Raw, where: str) -> msgspec.Raw:
        try:
            message = _decode_role(raw)
        except msgspec.ValidationError as error:
            raise invalid_shape(error, where) from None
        if message.role == "function" or message.function_call != _NULL:
            message_ = "Messages of the old function calling are not supported by this model: use `tools`."
            raise InvalidRequest(message_, parameter=where)
        if message.role == "developer":
            return _plain("system", _text_of(_read(raw, where).content))
        if message.role == "tool":
            return self._result(_read(raw, where), where)
        if message.tool_calls != _NULL:
            return self._calls(_read(raw, where))
        return raw

    def _result(self, message: _Message, where: str) -> msgspec.Raw:
        name = self._called.get(message.tool_call_id or "")
        if name is None:
            text = "A message with role `tool` must answer a call in an earlier message's `tool_calls`."
            raise InvalidRequest(text, parameter=f"{where}.tool_call_id")
        return _plain("user", f"<tool_response>{name}: {_text_of(message.content)}</tool_response>")

    def _calls(self, message: _Message) -> msgspec.Raw:
        calls = message.tool_calls or []
        self._called |= {call.id: call.function.name for call in calls}
        text = _text_of(message.content)
        lines = [text] if text else []
        return _plain(
            message.role,
            "\n".join(lines + [call_text(call.function.name, call.function.arguments) for call in calls]),
        )


def _read(raw: msgspec.Raw, where: str) -> _Message:
    try:
        return _decode_message(raw)
    except msgspec.ValidationError as error:
        raise invalid_shape(error, where) from None


def _text_of(content: str | list[_Part] | None) -> str:
    if isinstance(content, list):
        return "".join(part.text for part in content)
    return content or ""


def _plain(role: str, content: str) -> msgspec.Raw:
    return msgspec.Raw(encode_json(_PlainMessage(role, content)))


def invalid_shape(error: msgspec.ValidationError, where: str = "") -> InvalidRequest:
    """The caller's error for JSON of another shape; `where` is the place of what was decoded."""
    message, _, path = str(error).partition(" - at `$")
    return InvalidRequest(f"{message}.", parameter=(where + path).strip("`.") or None)
