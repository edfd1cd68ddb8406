"""Whole answers: what cannot be read, what broke off, and the counts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.usage import Usage
from podium.wire.gemini.answers import Answering, translate_answer
from podium.wire.openai import read_answer_usage

ANSWERING = Answering("m", 1_700_000_000, "chatcmpl-" + "9" * 60, 1)


def answer(body):
    return translate_answer(body if isinstance(body, bytes) else json.dumps(body).encode(), answering=ANSWERING)


def candidate(*parts, finish="STOP"):
    return {"content": {"parts": list(parts)}, "finishReason": finish}


def choice(*parts, finish="STOP"):
    return json.loads(answer({"candidates": [candidate(*parts, finish=finish)]}))["choices"][0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"{}",
        b'{"candidates":[]}',
        b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}',
        b'{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}',
        b'{"candidates":[{"finishReason":"NEW"}]}',
        b'{"candidates":[{"finishReason":"STOP","content":{"parts":[{"functionCall":{"name":"f","args":{"a":"\xff"}}}]}}]}',
        b'{"error":{"code":500}}',
        b"[" * 5000,
    ],
)
def test_what_is_no_answer_is_a_value_error(body):
    with pytest.raises(ValueError):
        answer(body)


@given(st.binary(max_size=60))
def test_bytes_are_an_answer_or_a_value_error(body):
    with pytest.raises(ValueError):
        answer(body)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("LANGUAGE", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
    ],
)
def test_each_ending_has_its_word(reason, finish):
    assert choice({"text": "a"}, finish=reason)["finish_reason"] == finish


def test_calls_that_were_cut_off_did_not_end_well():
    call = {"functionCall": {"name": "f", "args": {}}}
    assert choice(call)["finish_reason"] == "tool_calls"
    assert choice(call, finish="MAX_TOKENS")["finish_reason"] == "length"


def test_ids_of_calls_differ_even_where_gemini_repeats_its_own():
    call = {"functionCall": {"name": "f", "id": "same"}}
    ids = [call["id"] for call in choice(call, call, {"functionCall": {"name": "f"}})["message"]["tool_calls"]]
    assert len(set(ids)) == 3
    assert ids[0] == "same"
    assert all(len(call_id) <= 40 for call_id in ids)


def test_arguments_keep_their_digits_and_lose_their_blanks():
    body = b'{"candidates":[{"finishReason":"STOP","content":{"parts":[{"functionCall":{"name":"f","args":{ "n" : 12345678901234567890.10,\n "s": "a b" }}}]}}]}'
    call = json.loads(answer(body))["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["arguments"] == '{"n":12345678901234567890.10,"s":"a b"}'


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({}, None),
        ({"totalTokenCount": 3}, None),
        ({"promptTokenCount": -1}, None),
        ({"promptTokenCount": 10**13}, None),
        ({"promptTokenCount": 3, "candidatesTokenCount": -5, "thoughtsTokenCount": 5}, None),
        ({"promptTokenCount": 3}, Usage(input_tokens=3)),
        ({"promptTokenCount": 3, "cachedContentTokenCount": 9}, Usage(input_tokens=3, cached_input_tokens=3)),
        (
            {
                "promptTokenCount": 10,
                "cachedContentTokenCount": 4,
                "toolUsePromptTokenCount": 5,
                "candidatesTokenCount": 7,
                "thoughtsTokenCount": 20,
            },
            Usage(input_tokens=15, cached_input_tokens=4, output_tokens=27, reasoning_tokens=20),
        ),
    ],
)
def test_counts_are_told_whole_or_not_at_all(counts, usage):
    body = answer({"candidates": [candidate({"text": "a"})], "usageMetadata": counts})
    assert read_answer_usage(body) == usage
