"""Pairs of requests, answers and streams, both sides held against the official clients' types."""

import json
from pathlib import Path

import pytest
from google.genai import types
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from podium.wire.gemini.requests import translate_request
from podium.wire.openai import DONE, read_answer_usage, read_stream_event
from podium.wire.sse import split_events

PAIRS = sorted((Path(__file__).parent / "golden").glob("*.json"))
BODY_PARTS = {
    "systemInstruction": types.Content,
    "toolConfig": types.ToolConfig,
    "generationConfig": types.GenerationConfig,
}


@pytest.fixture(params=PAIRS, ids=lambda path: path.stem)
def pair(request):
    return json.loads(request.param.read_text())


@pytest.fixture
def translated(pair):
    body = json.dumps(pair["request"], ensure_ascii=False).encode()
    return translate_request(
        body, unsupported="drop", created_unix_s=1_700_000_000, fallback_id="chatcmpl-0123456789abcdef"
    )


def sse(events, end=b"\r\n\r\n"):
    return b"".join(b"data: " + json.dumps(event, ensure_ascii=False).encode() + end for event in events)


def understood(stream):
    events = [event.removeprefix(b"data: ").strip() for event in split_events(stream)]
    return [data.decode() if data == b"[DONE]" else json.loads(data) for data in events]


def test_a_request_says_the_same_to_gemini(pair, translated):
    assert json.loads(translated.body) == pair["gemini_request"]
    assert list(translated.dropped) == pair["dropped"]


def test_a_request_is_one_of_googles(pair):
    body = dict(pair["gemini_request"])
    for content in body.pop("contents"):
        types.Content.model_validate(content)
    for tool in body.pop("tools", []):
        types.Tool.model_validate(tool)
    for name, value in body.items():
        BODY_PARTS[name].model_validate(value)


def test_what_comes_back_is_googles(pair):
    for answer in (pair["gemini_answer"], *pair["gemini_stream"]):
        types.GenerateContentResponse.model_validate(answer)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_whole_answer_says_the_same_to_the_caller(pair, translated, indent):
    answer = translated.answer(json.dumps(pair["gemini_answer"], indent=indent).encode())
    assert json.loads(answer) == pair["answer"]
    ChatCompletion.model_validate(pair["answer"])
    assert (read_answer_usage(answer) is None) == ("usage" not in pair["answer"])


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_a_stream_says_the_same_to_the_caller(pair, translated, end):
    assert understood(translated.stream().feed(sse(pair["gemini_stream"], end))) == pair["stream"]


def test_a_stream_is_one_of_openai_and_is_understood_by_the_relay(pair, translated):
    stream = translated.stream().feed(sse(pair["gemini_stream"]))
    *events, end = split_events(stream)
    for event in events:
        ChatCompletionChunk.model_validate(json.loads(event.removeprefix(b"data: ")))
    *said, usage = map(read_stream_event, events)
    assert any(event.finished for event in said)
    assert usage.usage_only and usage.usage is not None
    assert end == DONE


def test_a_stream_says_the_same_wherever_it_is_cut(pair, translated):
    stream = sse(pair["gemini_stream"])
    whole = translated.stream().feed(stream)
    for cut in range(len(stream)):
        translation = translated.stream()
        early = translation.feed(stream[:cut])
        assert DONE not in early, cut
        assert early + translation.feed(stream[cut:]) == whole, cut


def test_ids_of_calls_are_unique_and_short_enough_for_openai(pair):
    said = [choice["message"] for choice in pair["answer"]["choices"]]
    ids = [call["id"] for message in said for call in message.get("tool_calls", ())]
    assert len(set(ids)) == len(ids)
    assert all(len(call_id) <= 40 for call_id in ids)
