import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.core.errors import InvalidRequest, UpstreamFailed
from podium.wire.openai import read_stream_event
from podium.wire.sse import split_events
from podium.wire.tool_calls import Arguments, CallReader, CallStart, Text, call_text
from podium.wire.tool_schema import grammar_schema
from podium.wire.tools import Offer, may_use_tools, translate_request
from podium.wire.worker_answers import AnswerCollector, translate_answer, translate_error
from podium.wire.worker_requests import ask_for_stream, is_plain_streamed_chat
from podium.wire.worker_streams import StreamTranslator

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": "get", "description": "Gets it.", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "get_more"}},
]
USER = {"role": "user", "content": "Weather in Köln?"}
OFFER = Offer(("get", "get_more"), must_call=False)
MUST = Offer(("get", "get_more"), must_call=True)


def numbered():
    numbers = itertools.count()
    return lambda: f"call_{next(numbers)}"


def translate(**fields):
    request = translate_request(json.dumps({"model": "m", "messages": [USER], "tools": TOOLS, **fields}).encode())
    return json.loads(request.body), request.offer


def refused(**fields):
    with pytest.raises(InvalidRequest) as caught:
        translate(**fields)
    return caught.value.parameter


# The request.


@pytest.mark.parametrize("fields", [{"tools": TOOLS}, {"functions": []}, {"tool_choice": "none"}])
def test_a_chat_with_tools_is_noticed(fields):
    assert may_use_tools(json.dumps({"model": "m", "messages": [USER], **fields}).encode())


@pytest.mark.parametrize("role", ["tool", "function", "developer"])
def test_a_chat_with_messages_that_the_model_does_not_know_is_noticed(role):
    assert may_use_tools(json.dumps({"messages": [{"role": role, "content": "x"}]}, separators=(",", ":")).encode())


def test_a_plain_streamed_chat_is_left_alone():
    body = {"model": "m", "messages": [USER], "stream": True}
    assert is_plain_streamed_chat(json.dumps(body).encode())
    assert is_plain_streamed_chat(json.dumps(body, separators=(",", ":")).encode())
    assert not is_plain_streamed_chat(json.dumps(body | {"n": 2}).encode())
    assert not is_plain_streamed_chat(json.dumps(body | {"tools": TOOLS}).encode())
    assert not is_plain_streamed_chat(json.dumps(body | {"stream": False}).encode())
    quoted = [{"role": "user", "content": '{"stream": true}'}]
    assert not is_plain_streamed_chat(json.dumps({"model": "m", "messages": quoted}).encode())
    assert not may_use_tools(json.dumps(body | {"n": 2}).encode())


def test_the_functions_go_into_the_system_message_and_the_grammar():
    body, offer = translate(tool_choice="required", temperature=0.5, stop=["x"], response_format={"type": "text"})
    assert offer == MUST
    assert body.keys() == {"model", "messages", "grammar", "temperature"}
    system, user = body["messages"]
    assert system["role"] == "system"
    assert '- get: Gets it. {"type":"object"' in system["content"]
    assert user == USER
    assert "start: call\n" in body["grammar"]
    assert '"additionalProperties":false' in body["grammar"]


def test_the_callers_own_system_message_stays_in_front():
    body, _ = translate(messages=[{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, USER])
    assert body["messages"][0]["content"].startswith("Be brief.\n\nFunctions")
    assert len(body["messages"]) == 2


def test_a_named_function_is_the_only_one_that_is_offered():
    body, offer = translate(tool_choice={"type": "function", "function": {"name": "get_more"}})
    assert offer == Offer(("get_more",), must_call=True)
    assert "Gets it." not in body["messages"][0]["content"]


def test_allowed_tools_are_the_only_ones_that_are_offered():
    tools = [{"type": "function", "function": {"name": "get"}}]
    _, offer = translate(tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}})
    assert offer == Offer(("get",), must_call=False)


def test_without_a_choice_the_model_may_answer_with_text_that_is_no_call():
    body, offer = translate()
    assert offer == OFFER
    assert "start: call | text\n" in body["grammar"]


@pytest.mark.parametrize("choice", ["auto", None])
def test_text_keeps_the_form_that_the_caller_wants(choice):
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": WEATHER}}
    body, _ = translate(tool_choice=choice, response_format=wanted)
    assert "text: %json" in body["grammar"]
    assert "response_format" not in body


def test_several_calls_are_allowed_only_when_they_are_asked_for():
    assert "{0,7}" in translate(parallel_tool_calls=True)[0]["grammar"]
    assert "{0,7}" not in translate(parallel_tool_calls=False)[0]["grammar"]
    assert "{0,7}" not in translate()[0]["grammar"]


def test_with_choice_none_no_function_is_offered():
    body, offer = translate(tool_choice="none", response_format={"type": "json_object"})
    assert offer is None
    assert body == {"model": "m", "messages": [USER], "response_format": {"type": "json_object"}}


def test_calls_and_results_in_the_history_become_plain_messages():
    call = {"id": "c1", "type": "function", "function": {"name": "get", "arguments": '{"city":"Köln"}'}}
    history = [
        {"role": "developer", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [{"type": "text", "text": "sun"}, {"type": "text", "text": "ny"}],
        },
    ]
    body, _ = translate(messages=history, tool_choice="none")
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": 'Let me see.\n<tool_call>{"name": "get", "arguments": {"city":"Köln"}}'},
        {"role": "user", "content": "<tool_response>get: sunny</tool_response>"},
    ]


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"functions": [{"name": "x"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools[1].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function"),
        ({"tools": TOOLS[1:] * 129}, "tools"),
        ({"tools": "x"}, "tools"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tool_choice": {"type": "custom"}}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"messages": [{"role": "function", "name": "x", "content": "y"}]}, "messages[0]"),
        ({"messages": [USER, {"role": "tool", "tool_call_id": "x", "content": "y"}]}, "messages[1].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": 3}]}]}, "messages[0].tool_calls[0].id"),
        ({"messages": [{"content": "x"}]}, "messages[0]"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(fields, parameter):
    assert refused(**fields) == parameter


# Schemas.


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"not": {}}, ".not"),
        ({"if": {}}, ".if"),
        ({"type": "array", "uniqueItems": True}, ".uniqueItems"),
        ({"contains": {}}, ".contains"),
        ({"type": "strin"}, ".type"),
        ({"pattern": "(?=a)b"}, ".pattern"),
        ({"pattern": "(?<!a)b"}, ".pattern"),
        ({"pattern": r"a\b"}, ".pattern"),
        ({"pattern": r"(a)\1"}, ".pattern"),
        ({"pattern": "["}, ".pattern"),
        ({"enum": []}, ".enum"),
        ({"$ref": "#/$defs/none"}, ".$ref"),
        ({"$ref": "http://127.0.0.1/x"}, ".$ref"),
        ({"minimum": 5, "maximum": 3}, ".minimum"),
        ({"minLength": "x"}, ".minLength"),
        ({"items": {"anyOf": [{"not": {}}]}}, ".items.anyOf[0].not"),
        ({"type": "object", "properties": {}, "required": ["x"]}, ".required"),
        (3, ""),
    ],
)
def test_a_schema_that_no_grammar_can_enforce_is_refused_by_name(schema, place):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": schema}}}}]
    assert refused(tools=tools) == f"tools[0].function.parameters.properties.a{place}"


def test_arguments_must_be_an_object():
    with pytest.raises(InvalidRequest):
        grammar_schema({"type": "string"}, "here")


def test_a_deep_schema_is_refused():
    schema = {}
    for _ in range(40):
        schema = {"properties": {"a": schema}}
    with pytest.raises(InvalidRequest, match="nested"):
        grammar_schema(schema, "here")


def test_annotations_are_dropped_and_properties_may_have_any_name():
    schema = {"properties": {"not": {"format": "uri", "uniqueItems": False, "pattern": r"\d+\\b"}}}
    prepared = grammar_schema(schema, "here")
    assert prepared["properties"] == {"not": {"pattern": r"\d+\\b"}}


def test_an_object_is_closed_only_where_nothing_else_constrains_it():
    inner = {"properties": {"b": {"properties": {}}}}
    prepared = grammar_schema(
        {"properties": {"a": inner, "c": {"allOf": [inner]}, "d": inner | {"additionalProperties": True}}}, "x"
    )
    assert prepared["additionalProperties"] is False
    assert prepared["properties"]["a"]["additionalProperties"] is False
    assert prepared["properties"]["c"] == {"allOf": [inner]}
    assert prepared["properties"]["d"]["additionalProperties"] is True


def test_a_definition_is_not_closed_because_others_may_add_to_it():
    definitions = {"x": {"properties": {"b": {}}}}
    assert grammar_schema({"properties": {}, "$defs": definitions}, "x")["$defs"] == definitions


# The text of a call, and the answer.

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), values, max_size=4)


def cut(text, places):
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(ends)]


@given(
    st.lists(st.tuples(st.sampled_from(OFFER.names), objects), min_size=1, max_size=3),
    st.lists(st.integers(0), max_size=9),
)
def test_calls_are_read_in_any_pieces(calls, places):
    text = "\n".join(call_text(name, json.dumps(arguments)) for name, arguments in calls)
    reader = CallReader(OFFER.names)
    pieces = [piece for part in cut(text, places) for piece in reader.feed(part)] + reader.end()
    read = [[piece.name, ""] for piece in pieces if isinstance(piece, CallStart)]
    for piece in pieces:
        if isinstance(piece, Arguments):
            read[piece.index][1] += piece.text
    assert [(name, json.loads(arguments)) for name, arguments in read] == calls
    assert reader.calls == reader.closed == len(calls)
    assert not any(isinstance(piece, Text) for piece in pieces)


@given(
    st.text() | st.sampled_from(["<", "<tool", "<tool_cal", '<tool_call >{"name": "get"']),
    st.lists(st.integers(0), max_size=9),
)
def test_text_is_read_in_any_pieces(text, places):
    reader = CallReader(OFFER.names)
    pieces = [piece for part in cut(text, places) for piece in reader.feed(part)] + reader.end()
    assert "".join(piece.text for piece in pieces) == text


def test_a_call_that_is_cut_off_gives_what_there_is_at_every_length():
    whole = call_text("get", '{"city":"K"}')
    head = len(call_text("get", "")) - 1
    for length in range(len("<tool_call>"), len(whole)):
        reader = CallReader(OFFER.names)
        pieces = reader.feed(whole[:length]) + reader.end()
        expected = [] if length < head else [CallStart(0, "get")]
        given_text = whole[head:length].removesuffix("}" if length == len(whole) else "")
        assert pieces == expected + ([Arguments(0, given_text)] if given_text else [])


def chunk(index=0, usage=None, finish=None, **delta):
    choices = [{"finish_reason": finish, "index": index, "delta": delta}] if usage is None else []
    event = {"choices": choices, "created": 7, "id": "chatcmpl-1", "model": "m", "object": "chat.completion.chunk"}
    if usage is not None:
        event["usage"] = {
            "prompt_tokens": 10,
            "completion_tokens": usage,
            "total_tokens": 10 + usage,
            "prompt_tokens_details": {"cached_tokens": 4},
        }
    return b"data: " + json.dumps(event | {"timings": {"n": 1}}, ensure_ascii=False).encode() + b"\n\n"


def stream(texts, *, finish="stop", index=0, usage=None):
    events = [chunk(index, role="assistant", content=None)]
    events += [chunk(index, content=text) for text in texts]
    events.append(chunk(index, finish=finish))
    return b"".join(events) + (chunk(usage=usage) if usage is not None else b"")


DONE = b"data: [DONE]\n\n"


def translator(offer, *, choices=1, usage=True):
    return StreamTranslator(offer, numbered(), choices_per_prompt=choices, report_usage=usage)


def decoded(output):
    return [json.loads(event[6:]) for event in split_events(output) if event != DONE]


CALL_STREAM = stream(["<tool", '_call>{"name": "ge', 't", "arguments": {"ci', 'ty": "Kö', 'ln"', "}}"], usage=9) + DONE


def test_a_streamed_call_becomes_openais_deltas():
    output = translator(MUST).feed(CALL_STREAM)
    assert output.endswith(DONE)
    *events, usage = decoded(output)
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas == [
        {"role": "assistant", "content": None},
        {
            "tool_calls": [
                {"index": 0, "id": "call_0", "type": "function", "function": {"arguments": "", "name": "get"}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"ci'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'ty": "Kö'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'ln"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
        {},
    ]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None] * 6 + ["tool_calls"]
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 19


@pytest.mark.parametrize(
    "data",
    [
        CALL_STREAM,
        stream(["<", "too", " small"], usage=3) + DONE,
        b": hello\r\n\r\n" + CALL_STREAM.replace(b"\n", b"\r\n"),
    ],
    ids=["call", "text", "crlf"],
)
def test_a_stream_is_the_same_at_every_byte_boundary(data):
    whole = translator(OFFER).feed(data)
    assert len(whole) > 500
    for place in range(len(data) + 1):
        halves = translator(OFFER)
        assert halves.feed(data[:place]) + halves.feed(data[place:]) == whole
    bytewise = translator(OFFER)
    assert b"".join(bytewise.feed(data[i : i + 1]) for i in range(len(data))) == whole


@settings(max_examples=50)
@given(objects, st.lists(st.integers(0), max_size=9), st.lists(st.integers(0), max_size=9))
def test_any_call_comes_through_in_any_pieces(arguments, text_places, byte_places):
    text = call_text("get_more", json.dumps(arguments, ensure_ascii=False))
    data = stream(cut(text, text_places)) + DONE
    running, output = translator(MUST), b""
    ends = sorted({place % len(data) for place in byte_places} | {0, len(data)})
    for start, end in itertools.pairwise(ends):
        output += running.feed(data[start:end])
    calls = [call for event in decoded(output) for call in event["choices"][0]["delta"].get("tool_calls", [])]
    assert calls[0]["function"]["name"] == "get_more"
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == arguments


def test_held_back_text_comes_out_in_the_end():
    events = decoded(translator(OFFER).feed(stream(["<", "tool"], finish="length")))
    assert [event["choices"][0]["delta"].get("content") for event in events] == [None, "<tool", None]
    assert events[-1]["choices"][0]["finish_reason"] == "length"


def test_a_call_that_is_cut_off_ends_with_length():
    for finish in ("length", "stop"):
        events = decoded(translator(MUST).feed(stream([call_text("get", "{")[:-1]], finish=finish)))
        assert events[-1]["choices"][0]["finish_reason"] == "length"
        assert events[-2]["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == "{"


def test_an_answer_that_is_cut_off_between_two_calls_ends_with_length():
    events = decoded(translator(MUST).feed(stream([call_text("get", "{}"), "\n<tool"], finish="length")))
    assert events[-1]["choices"][0]["finish_reason"] == "length"


def test_a_worker_that_ignores_the_grammar_is_noticed():
    with pytest.raises(InvalidRequest):
        translator(MUST).feed(stream(["Paris"]))
    body = json.dumps({"choices": [{"index": 0, "message": {"content": "Paris"}, "finish_reason": "stop"}]}).encode()
    with pytest.raises(InvalidRequest):
        translate_answer(body, MUST, numbered())


def test_usage_is_reported_only_when_it_was_asked_for():
    assert b'"usage"' not in translator(MUST, usage=False).feed(CALL_STREAM)


def test_choices_that_arrive_mixed_are_kept_apart_and_their_usage_is_added_up():
    call = [call_text("get", '{"a":1}')]
    data = b"".join([stream(call, index=1, usage=5), b"data: null\n\n", stream(["Hi"], usage=2), DONE])
    *events, last = decoded(translator(OFFER, choices=2).feed(data))
    assert {event["choices"][0]["index"]: event["choices"][0]["finish_reason"] for event in events} == {
        1: "tool_calls",
        0: "stop",
    }
    assert last["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 4},
    }


def test_events_that_are_not_chunks_pass():
    error = b'data: {"error":{"message":"x","type":"server_error","code":500}}\n\n'
    for event in (error, b"data: nonsense\n\n", b": ping\n\n"):
        assert translator(OFFER).feed(event) == event


def test_the_gateway_sees_content_in_translated_events():
    events = [read_stream_event(event) for event in split_events(translator(MUST).feed(CALL_STREAM))]
    assert [event.has_content for event in events].index(True) == 1
    assert events[-1].done and events[-2].usage_only and events[-3].finished


def test_a_whole_answer_says_what_its_stream_says():
    text = call_text("get", '{"city": "Köln"}') + "\n" + call_text("get_more", "{}")
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
    }
    choice = json.loads(translate_answer(json.dumps(body).encode(), OFFER, numbered()))["choices"][0]
    assert choice == {
        "index": 0,
        "finish_reason": "tool_calls",
        "message": {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_0", "type": "function", "function": {"arguments": '{"city": "Köln"}', "name": "get"}},
                {"id": "call_1", "type": "function", "function": {"arguments": "{}", "name": "get_more"}},
            ],
        },
    }


def test_a_text_answer_stays_text():
    body = {"choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "<tool"}}]}
    choice = json.loads(translate_answer(json.dumps(body).encode(), OFFER, numbered()))["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "<tool"}
    assert choice["finish_reason"] == "length"


def test_an_answer_that_is_no_json_passes():
    assert translate_answer(b"<html>", OFFER, numbered()) == b"<html>"


def test_a_stream_becomes_a_whole_answer():
    collector = AnswerCollector(choices_per_prompt=2)
    data = stream(["a", "b"], index=1, usage=5) + stream(["c"], usage=2, finish="length") + DONE
    wanted = [collector.feed(data[i : i + 7]) for i in range(0, len(data), 7)]
    assert wanted == [True] * (len(wanted) - 1) + [False]
    answer = json.loads(collector.body())
    assert answer["object"] == "chat.completion"
    assert [(choice["message"], choice["finish_reason"]) for choice in answer["choices"]] == [
        ({"role": "assistant", "content": "c"}, "length"),
        ({"role": "assistant", "content": "ab"}, "stop"),
    ]
    assert answer["usage"]["completion_tokens"] == 7


def test_a_stream_that_breaks_becomes_no_answer():
    collector = AnswerCollector(choices_per_prompt=2)
    collector.feed(stream(["a"]))
    with pytest.raises(UpstreamFailed):
        collector.body()
    for event in (b'data: {"error":{"message":"x"}}\n\n', b"data: nonsense\n\n"):
        with pytest.raises(UpstreamFailed):
            collector.feed(event)


def test_a_request_can_ask_for_a_stream():
    body = json.loads(ask_for_stream(b'{"n":2,"stream":null,"stream_options":null}'))
    assert body == {"n": 2, "stream": True, "stream_options": {"include_usage": True}}


def test_errors_are_in_openais_words():
    too_long = (
        b'{"error":{"code":400,"message":"request (9 tokens) exceeds","type":"exceed_context_size_error","n_ctx":2}}'
    )
    assert json.loads(translate_error(too_long, "chat.completions"))["error"] == {
        "message": "request (9 tokens) exceeds",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    wrong = b'{"error":{"code":400,"message":"Field \'n\': too many","type":"invalid_request_error"}}'
    assert json.loads(translate_error(wrong, "completions"))["error"]["param"] == "n"
    assert translate_error(b"<html>", "completions") == b"<html>"
