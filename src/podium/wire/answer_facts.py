"""What became of an answer, in either dialect: why it ended, whether it says anything, and what."""

from typing import Any

import msgspec

from podium.wire.sse import event_data, split_events

__all__ = ["AnswerFacts", "asked_schema", "asks_for_json", "is_json", "messages_facts", "openai_facts", "streamed_text"]


class AnswerFacts(msgspec.Struct, frozen=True):
    """Of a whole answer. Of several choices the first counts, but that it is empty only if all of them are."""

    finish_reason: str = ""
    empty: bool = False
    refused: bool = False
    calls: bool = False  # of tools
    text: str = ""


class _Format(msgspec.Struct):
    type: str = ""


class _Output(msgspec.Struct):
    format: _Format | None = None


class _Asked(msgspec.Struct):
    response_format: _Format | None = None
    output_format: _Format | None = None
    output_config: _Output | None = None


_NAMES = (b'"response_format"', b'"output_format"', b'"output_config"')
_JSON = frozenset(("json_object", "json_schema"))
_decode_asked = msgspec.json.Decoder(_Asked).decode
_decode_any = msgspec.json.Decoder().decode


def asks_for_json(body: bytes) -> bool:
    """Whether a request wants its answer as JSON, by a schema or without."""
    if not any(name in body for name in _NAMES):
        return False
    try:
        asked = _decode_asked(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    within = None if asked.output_config is None else asked.output_config.format
    formats = (asked.response_format, asked.output_format, within)
    return any(one.type in _JSON for one in formats if one is not None)


class _Schema(msgspec.Struct):
    schema: msgspec.Raw = msgspec.Raw()


class _SchemaFormat(msgspec.Struct):
    type: str = ""
    schema: msgspec.Raw = msgspec.Raw()
    json_schema: _Schema | None = None


class _SchemaOutput(msgspec.Struct):
    format: _SchemaFormat | None = None


class _AskedSchema(msgspec.Struct):
    response_format: _SchemaFormat | None = None
    output_format: _SchemaFormat | None = None
    output_config: _SchemaOutput | None = None


_decode_schema = msgspec.json.Decoder(_AskedSchema).decode


def asked_schema(body: bytes) -> bytes | None:
    """The JSON schema that a request wants its answer in, as it stands there; None: there is none."""
    if b'"json_schema"' not in body:
        return None
    try:
        asked = _decode_schema(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    within = None if asked.output_config is None else asked.output_config.format
    for one in (asked.response_format, asked.output_format, within):
        if one is not None and one.type == "json_schema":
            found = one.schema if one.json_schema is None else one.json_schema.schema
            return bytes(found) or None
    return None


def is_json(text: str) -> bool:
    """Whether the whole text is JSON."""
    try:
        _decode_any(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return False
    return True


class _Message(msgspec.Struct):
    content: Any = None  # a text, or parts
    refusal: str | None = None
    tool_calls: list[msgspec.Raw] | None = None
    function_call: dict[str, Any] | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]


_decode_answer = msgspec.json.Decoder(_Answer).decode


def openai_facts(body: bytes) -> AnswerFacts | None:
    """Of a chat or a completion; None: it is of another shape."""
    try:
        choices = _decode_answer(body).choices
    except (msgspec.DecodeError, RecursionError):
        return None
    if not choices:
        return AnswerFacts(empty=True)
    first, message = choices[0], choices[0].message or _Message()
    reason = first.finish_reason or ""
    return AnswerFacts(
        finish_reason=reason,
        empty=all(map(_says_nothing, choices)),
        refused=bool(message.refusal) or reason == "content_filter",
        calls=bool(message.tool_calls or message.function_call),
        text=first.text or _text(message.content),
    )


def _says_nothing(choice: _Choice) -> bool:
    message = choice.message or _Message()
    said = (choice.text, _text(message.content), message.refusal, message.reasoning_content)
    return not (message.tool_calls or message.function_call or any(text and text.strip() for text in said))


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None


class _MessagesAnswer(msgspec.Struct):
    content: list[_Block]
    stop_reason: str | None = None


_decode_messages = msgspec.json.Decoder(_MessagesAnswer).decode


def messages_facts(body: bytes) -> AnswerFacts | None:
    """Of an answer of Anthropic's Messages; None: it is of another shape."""
    try:
        answer = _decode_messages(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    refused = answer.stop_reason == "refusal"
    told = [block.text or block.thinking or "" for block in answer.content if block.type in ("text", "thinking")]
    calls = any(block.type.endswith("tool_use") for block in answer.content)
    return AnswerFacts(
        finish_reason=answer.stop_reason or "",
        empty=not refused and len(told) == len(answer.content) and not any(text.strip() for text in told),
        refused=refused,
        calls=calls,
        text="".join(block.text or "" for block in answer.content if block.type == "text"),
    )


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    delta: _Block | None = None


_decode_event = msgspec.json.Decoder(_Event).decode


def streamed_text(events: bytes) -> str:
    """The content of a stream in either dialect: no reasoning, no calls; of several choices all that is said."""
    texts: list[str] = []
    for raw in split_events(events):
        data = event_data(raw)
        try:
            event = _decode_event(data or b"{}")
        except (msgspec.DecodeError, RecursionError):
            continue
        if event.delta is not None:
            texts.append(event.delta.text or "")
        texts += [choice.text or _text((choice.delta or _Message()).content) for choice in event.choices]
    return "".join(texts)
