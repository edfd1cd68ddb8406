"""Reading and rewriting requests."""

import json
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import InvalidRequest
from podium.wire.openai import Change, read_request, request_text, rewrite_request

CHAT = "chat.completions"
MESSAGES = b'"messages":[{"role":"user","content":"hello"}]'


def chat(*fields):
    """A compact chat request with these fields, as spelled, between model and messages."""
    return b"{" + b",".join([b'"model":"m"', *fields, MESSAGES]) + b"}"


def refusal(body, endpoint=CHAT):
    with pytest.raises(InvalidRequest) as raised:
        read_request(endpoint, body)
    return raised.value


def test_what_decisions_need_is_read():
    request = read_request(
        CHAT,
        chat(
            b'"stream":true,"stream_options":{"include_usage":true},"max_tokens":7,"n":2',
            b'"user":"u","safety_identifier":"s","new":{"a":[1]}',
        ),
    )
    assert (request.model, request.stream, request.n, request.user, request.safety_identifier) == (
        "m",
        True,
        2,
        "u",
        "s",
    )
    assert request.wants_stream_usage
    assert (request.answer_token_limit, request.answers) == (7, 2)


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        (b'"max_tokens":5', 5),
        (b'"max_tokens":5,"max_completion_tokens":3', 3),
        (b'"max_tokens":-5', 0),
        (b'"max_tokens":5,"n":0', 5),
        (b'"max_tokens":null,"n":9', None),
    ],
)
def test_the_limit_of_output_tokens_is_that_of_one_choice(fields, limit):
    assert read_request(CHAT, chat(fields)).answer_token_limit == limit


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("completions", b'{"model":"m"}'),
        ("completions", b'{"model":"m","prompt":["a","b"]}'),
        ("embeddings", b'{"model":"m","input":[[1,2],[3]]}'),
        ("embeddings", b'{"input":"x","model":"org/name:tag"}'),
        (CHAT, chat(b'"stream":null,"stream_options":null,"max_tokens":null,"n":null,"user":null')),
        (CHAT, b" \n" + chat() + b"\n "),
        (CHAT, b'{"mod\\u0065l":"m",' + MESSAGES + b"}"),
        (CHAT, '{"model":"modèle-日本","messages":[{"role":"user","content":"\\ud83d\\ude00"}]}'.encode()),
    ],
)
def test_valid_requests_are_read(endpoint, body):
    assert read_request(endpoint, body).model == json.loads(body)["model"]


@pytest.mark.parametrize(
    ("endpoint", "body", "parameter"),
    [
        (CHAT, b'{"messages":[1]}', None),
        (CHAT, b'{"model":"m"}', None),
        (CHAT, b'{"model":"m","messages":[]}', "messages"),
        (CHAT, b'{"model":"m","messages":{}}', "messages"),
        (CHAT, b'{"model":"m","messages":"hello"}', "messages"),
        (CHAT, b'{"model":"",' + MESSAGES + b"}", "model"),
        (CHAT, b'{"model":null,' + MESSAGES + b"}", "model"),
        (CHAT, b'{"model":["m"],' + MESSAGES + b"}", "model"),
        (CHAT, chat(b'"stream":"true"'), "stream"),
        (CHAT, chat(b'"stream":1'), "stream"),
        (CHAT, chat(b'"max_tokens":true'), "max_tokens"),
        (CHAT, chat(b'"max_tokens":"5"'), "max_tokens"),
        (CHAT, chat(b'"max_tokens":1.5'), "max_tokens"),
        (CHAT, chat(b'"max_tokens":1e400'), "max_tokens"),
        (CHAT, chat(b'"max_tokens":1' + b"0" * 5000), "max_tokens"),
        (CHAT, chat(b'"stream_options":[]'), "stream_options"),
        (CHAT, chat(b'"stream_options":{"include_usage":1}'), "stream_options.include_usage"),
        ("embeddings", b'{"model":"m"}', None),
        (CHAT, b"[]", None),
        (CHAT, b'"model"', None),
        (CHAT, b"null", None),
    ],
)
def test_a_mistyped_request_is_refused_and_the_field_is_named(endpoint, body, parameter):
    error = refusal(body, endpoint)
    assert error.reason == "invalid_request"
    assert error.parameter == parameter
    assert error.message.endswith(".")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        chat()[:-1],
        chat() + b"{}",
        chat(b'"x":NaN'),
        chat(b'"x":Infinity'),
        chat(b'"x":-Infinity'),
        chat(b'"x":01'),
        chat(b'"x":"\x01"'),
        chat(b'"x":"\\x"'),
        chat(b"'x':1"),
        chat(b'"x":[1,]'),
        chat(b'"user":"\\ud800"'),
        b'{"model":"m","messages":[{"content":NaN}]}',
        b"\xef\xbb\xbf" + chat(),
        chat(b'"x":"\xff"'),
        chat(b'"x":"\xc3"'),
        chat(b'"x":"\xed\xa0\x80"'),
        chat().decode().encode("utf-16"),
        b"\x00" * 100,
        b"\x1f\x8b\x08\x00",
    ],
)
def test_what_is_not_json_in_utf8_is_refused(body):
    assert refusal(body).reason == "invalid_json"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("closed", [True, False])
def test_deep_nesting_is_refused_not_followed(opening, closed):
    closing = bytes(reversed(opening.replace(b'"a":', b"").translate(bytes.maketrans(b"[{", b"]}"))))
    value = opening * 50_000 + b"1" + (closing * 50_000 if closed else b"")
    assert refusal(chat(b'"x":' + value)).reason == "invalid_json"


def test_no_depth_of_nesting_is_a_bug_of_ours():
    for depth in range(600, 1100):
        body = chat(b'"x":' + b"[" * depth + b"]" * depth, b'"y":[{"model":1}]')
        try:
            read_request(CHAT, body)
            rewrite_request(body, Change(model="other", include_usage=True))
        except InvalidRequest as error:
            assert error.reason == "invalid_json"  # noqa: PT017 - how deep is too deep depends on our own stack


@pytest.mark.parametrize(
    "fields",
    [
        (b'"model":"other"',),
        (b'"mod\\u0065l":"other"',),
        (b'"\\u006d\\u006f\\u0064\\u0065\\u006c":"other"',),
        (b'"model" \n:"other"',),
        (b'"stream":true', b'"stream":false'),
        (b'"stream":true', b'"str\\u0065am":false'),
        (b'"max_tokens":1', b'"max\\u005Ftokens":100000'),
        (b'"stream_options":{}', b'"stream_options":{}'),
        (b'"n":1', b'"n":100'),
        (b'"user":"a"', b'"user":"b"'),
        (b'"messages":[1]',),
        (b'"safety_identifier":"a"', b'"safety_identifier":"b"'),
    ],
)
@pytest.mark.parametrize("blanks", [False, True])
def test_a_deciding_name_cannot_stand_twice(fields, blanks):
    body = chat(*fields)
    error = refusal(body.replace(b",", b" , ") if blanks else body)
    assert error.reason == "invalid_json"
    assert "twice" in error.message


@pytest.mark.parametrize("name", ["Model", "MODEL", "mOdel", "\u017ftream", "STREAM", "max_to\u212aens", "N", "User"])
def test_a_name_that_a_careless_reader_takes_for_a_deciding_one_is_refused(name):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], name: "other"}).encode()
    assert refusal(body).parameter == name
    assert refusal(body.replace(b" ", b"")).parameter == name


def test_deciding_names_deeper_down_and_in_text_decide_nothing():
    messages = [{"role": "user", "content": '"model":"x","model":"y" \\"model\\":'}] * 3
    tool = {"type": "function", "function": {"parameters": {"properties": {"model": {}, "n": {}, "user": {}}}}}
    value = {"model": "m", "messages": messages, "tools": [tool, tool], "Other": 1, "seed": 10**4000}
    for separators in ((",", ":"), (", ", ": "), (" ,\n", " :\t")):
        body = json.dumps(value, separators=separators).encode()
        assert read_request(CHAT, body).model == "m"


def test_numbers_of_any_length_are_left_to_the_upstream():
    body = chat(b'"seed":1' + b"0" * 6000, b'"x":[{"model":1}, {"model":2}]')
    assert read_request(CHAT, body).model == "m"


NAMES = st.sampled_from(["model", "mod\\u0065l", "stream", "n", "x", "y", "\\n", "é", "model2"])


@given(st.lists(st.tuples(NAMES, st.sampled_from(["1", '"m"', "true", "null", "[]", '{"model":1}'])), max_size=6))
def test_what_is_accepted_reads_the_same_from_the_first_as_from_the_last(pairs):
    body = "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + ',"messages":[1]}'
    try:
        request = read_request(CHAT, body.encode())
    except InvalidRequest:
        return
    read = json.loads(body, object_pairs_hook=lambda found: found)
    for name in ("model", "stream", "n"):
        values = [value for key, value in read if key == name]
        assert values in ([], [getattr(request, name)])


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body):
    for candidate in (body, chat(body), b"{" + body + b"}"):
        for endpoint in (CHAT, "completions", "embeddings"):
            try:
                assert read_request(endpoint, candidate).model
            except InvalidRequest as error:
                assert error.message  # noqa: PT017 - either is fine, nothing else is


def test_a_text_full_of_escapes_takes_no_longer_than_another():
    text = '\\u4f60\\\\\\"' * 50_000
    body = f'{{"model": "m", "messages": [{{"role": "user", "content": "{text}"}}]}}'.encode()
    started = time.process_time()
    read_request(CHAT, body)
    assert time.process_time() - started < 2  # a reader that starts over at each escape needs minutes


# Rewriting.


def raw(value):
    return msgspec.Raw(json.dumps(value).encode())


def test_unknown_fields_keep_their_bytes():
    body = b'{"model":"m","x": {"a" : [1.10, 1e3,\n"\\u00e9"]},"y":1' + b"0" * 50 + b"," + MESSAGES + b"}"
    rewritten = rewrite_request(body, Change(model="other"))
    assert b'{"a" : [1.10, 1e3,\n"\\u00e9"]}' in rewritten
    assert b'"y":1' + b"0" * 50 in rewritten
    assert json.loads(rewritten) == json.loads(body) | {"model": "other"}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": True}, {"extra": [1]}])
def test_asking_for_usage_keeps_the_other_stream_options(options):
    body = json.dumps({"model": "m", "stream": True, "stream_options": options}).encode()
    rewritten = json.loads(rewrite_request(body, Change(include_usage=True)))
    assert rewritten["stream_options"] == (options or {}) | {"include_usage": True}


def test_asking_for_usage_where_no_options_are():
    assert json.loads(rewrite_request(b'{"model":"m"}', Change(include_usage=True))) == {
        "model": "m",
        "stream_options": {"include_usage": True},
    }


def test_defaults_fill_only_what_the_caller_left_open():
    change = Change(defaults={"temperature": raw(0.5), "top_p": raw(0.9), "stop": raw(None)})
    rewritten = json.loads(rewrite_request(b'{"temperature":null,"model":"m","top_p":1}', change))
    assert rewritten == {"temperature": None, "model": "m", "top_p": 1, "stop": None}


def test_the_system_message_stands_before_the_callers_messages():
    system = {"role": "system", "content": "Be brief. \u2028"}
    rewritten = rewrite_request(chat(), Change(system_message=raw(system)))
    assert json.loads(rewritten)["messages"] == [system, {"role": "user", "content": "hello"}]
    assert b'{"role":"user","content":"hello"}' in rewritten
    assert json.loads(rewrite_request(b'{"prompt":"x"}', Change(system_message=raw(system)))) == {"prompt": "x"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=5))
def test_whatever_else_is_in_a_request_is_in_it_afterwards(fields):
    body = json.dumps(fields | {"model": "m"}).encode()
    rewritten = rewrite_request(body, Change(model='o"\\ther'))
    assert json.loads(rewritten) == fields | {"model": 'o"\\ther'}


def test_the_text_of_a_request_is_what_a_model_reads():
    content = [{"type": "text", "text": "two"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    messages = [{"role": "user", "content": "one"}, {"role": "user", "content": content}]
    text = request_text(json.dumps({"model": "m", "messages": messages, "user": "somebody"}).encode())
    assert "one" in text and "two" in text
    assert "base64" not in text and "somebody" not in text
    assert request_text(b'{"model":"m","prompt":"three"}') == "three"
    assert request_text(b'{"model":"m","input":["four","five"]}') == "four\nfive"
    assert request_text(b'{"model":"m","input":[1,2,3]}') == ""
