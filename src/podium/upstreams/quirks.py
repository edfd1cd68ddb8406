"""Services that speak OpenAI's protocol with an accent: their requests and errors, put right.

Rules
1. A body in which nothing has to change stays the bytes it was: it is searched, not read.
2. What is renamed or rewritten means the same. What is left out without a word changes nothing in what a model says.
3. What a service refuses although the caller meant it is left out only with `unsupported: drop`, and is named then;
   else it goes out, and the service says no in its own words.
"""

import hashlib
import re
from dataclasses import dataclass

import msgspec

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.openai import encode_json
from podium.wire.translation import Unsupported

__all__ = ["Adapter", "Quirks", "openai_error"]


@dataclass(frozen=True, slots=True)
class Quirks:
    """How a service differs from OpenAI's own."""

    renamed: tuple[tuple[str, str], ...] = ()  # OpenAI's name of a field -> the service's
    unknown: frozenset[str] = frozenset()  # fields that it refuses, and that no model sees
    refused: frozenset[str] = frozenset()  # fields that it refuses, and that a model would heed
    zeros_refused: frozenset[str] = frozenset()  # fields that it refuses even where 0 says nothing
    has_developers: bool = True  # False: instructions have the role `system` only
    short_call_ids: bool = False  # a tool call's id has exactly nine letters and digits


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_decode_text = msgspec.json.Decoder(str).decode

_NULL = b"null"
_ZEROS = frozenset((b"0", b"0.0", _NULL))
_DEVELOPER = b'"developer"'
_SYSTEM = msgspec.Raw(b'"system"')
_SHORT_ID = re.compile(r"[a-zA-Z0-9]{9}\Z")


class Adapter:
    """Puts the requests to one service right."""

    __slots__ = ("_drops", "_marks", "_message_marks", "_quirks")

    def __init__(self, quirks: Quirks, unsupported: Unsupported = "reject") -> None:
        self._quirks = quirks
        self._drops = quirks.refused if unsupported == "drop" else frozenset()
        developers = () if quirks.has_developers else (_DEVELOPER,)
        self._message_marks = (*developers, *((b'"tool_call',) if quirks.short_call_ids else ()))
        names = {old for old, _ in quirks.renamed} | quirks.unknown | quirks.zeros_refused | self._drops
        self._marks = (*self._message_marks, *map(_mark, sorted(names)))

    def request(self, body: bytes) -> tuple[bytes, tuple[str, ...]]:
        """The body as the service takes it, and the fields that the caller meant and that were left out."""
        if not any(mark in body for mark in self._marks):
            return body, ()
        try:
            return self._changed(_decode_fields(body))
        except RecursionError:  # how deep is too deep depends on how deep we are ourselves
            raise InvalidRequest("The body is nested too deeply.", reason=Reason.INVALID_JSON) from None

    def _changed(self, fields: dict[str, msgspec.Raw]) -> tuple[bytes, tuple[str, ...]]:
        quirks = self._quirks
        for old, new in quirks.renamed:
            if old in fields and bytes(value := fields.pop(old)) != _NULL:
                fields[new] = value
        for name in fields.keys() & quirks.unknown:
            del fields[name]
        for name in fields.keys() & quirks.zeros_refused:
            if bytes(fields[name]) in _ZEROS:
                del fields[name]
        dropped = sorted(name for name in fields.keys() & self._drops if bytes(fields[name]) != _NULL)
        for name in dropped:
            del fields[name]
        messages = bytes(fields.get("messages", b""))
        if any(mark in messages for mark in self._message_marks):
            fields["messages"] = self._messages(fields["messages"])
        return encode_json(fields), tuple(dropped)

    def _messages(self, raw: msgspec.Raw) -> msgspec.Raw:
        try:
            messages = _decode_list(raw)
            for message in messages:
                if not self._quirks.has_developers and bytes(message.get("role", b"")) == _DEVELOPER:
                    message["role"] = _SYSTEM
                if self._quirks.short_call_ids:
                    _shorten_ids(message)
        except msgspec.ValidationError:
            return raw  # the service says what is wrong with it
        return msgspec.Raw(encode_json(messages))


def _mark(name: str) -> bytes:
    """What a body with this field holds. `user` is a role, too: it counts where it is a name, as encoders write it."""
    return encode_json(name) + (b":" if name == "user" else b"")


def _shorten_ids(message: dict[str, msgspec.Raw]) -> None:
    if "tool_call_id" in message:
        message["tool_call_id"] = _short_id(message["tool_call_id"])
    calls = message.get("tool_calls")
    if calls is None or bytes(calls) == _NULL:
        return
    decoded = _decode_list(calls)
    for call in decoded:
        if "id" in call:
            call["id"] = _short_id(call["id"])
    message["tool_calls"] = msgspec.Raw(encode_json(decoded))


def _short_id(raw: msgspec.Raw) -> msgspec.Raw:
    """Always the same for the same id: a call and its result stay together."""
    call_id = _decode_text(raw)
    if _SHORT_ID.match(call_id):
        return raw
    return msgspec.Raw(encode_json(hashlib.sha256(call_id.encode(errors="replace")).hexdigest()[:9]))


class _ErrorObject(msgspec.Struct):
    message: str


class _OpenAiError(msgspec.Struct):
    error: _ErrorObject


class _OtherError(msgspec.Struct):
    """What FastAPI, TGI, xAI, Mistral and older vLLM answer; the last one's `error` may be left out."""

    error: str | None = None
    message: msgspec.Raw = msgspec.Raw()
    detail: msgspec.Raw = msgspec.Raw()
    type: str | None = None
    error_type: str | None = None
    param: str | None = None
    code: str | int | None = None


_decode_openai_error = msgspec.json.Decoder(_OpenAiError).decode
_decode_other_error = msgspec.json.Decoder(_OtherError).decode
_FIRST_SERVER_ERROR = 500


def openai_error(status: int, body: bytes) -> bytes | None:
    """An error of another shape in OpenAI's; None when it has that already, or cannot be read."""
    try:
        _decode_openai_error(body)
    except (msgspec.ValidationError, RecursionError):
        pass
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    else:
        return None
    try:
        said = _decode_other_error(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    message = said.error or _text(said.message) or _text(said.detail)
    if not message:
        return None
    usual = "server_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error"
    code = str(said.code) if said.code is not None and said.code != status else None
    kind = said.type or said.error_type or usual
    return encode_json({"error": {"message": message, "type": kind, "param": said.param, "code": code}})


def _text(raw: msgspec.Raw) -> str:
    """A text as it is, anything else as JSON."""
    value = bytes(raw)
    if not value or value == _NULL:
        return ""
    return _decode_text(value) if value.startswith(b'"') else value.decode(errors="replace")
