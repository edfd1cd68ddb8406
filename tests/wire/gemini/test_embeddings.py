"""Embeddings, there and back."""

import base64
import json
import struct

import pytest
from google.genai import types
from openai.types import CreateEmbeddingResponse

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.gemini.embeddings import translate_embeddings
from podium.wire.openai import read_answer_usage

VECTORS = {"embeddings": [{"values": [0.5, -1]}, {"values": [0.25, 2.0]}], "usageMetadata": {"promptTokenCount": 6}}


def translated(unsupported="reject", method="batchEmbedContents", **fields):
    body = json.dumps({"model": "gemini-embedding-001", "input": ["a", "b"]} | fields).encode()
    return translate_embeddings(body, unsupported=unsupported, method=method)


def test_several_inputs_make_a_batch():
    assert json.loads(translated(dimensions=2).body) == {
        "requests": [
            {
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": text}]},
                "outputDimensionality": 2,
            }
            for text in ("a", "b")
        ]
    }


def test_one_input_can_go_alone():
    body = json.loads(translated(method="embedContent", input="a", model="models/e", user="u").body)
    assert body == {"model": "models/e", "content": {"parts": [{"text": "a"}]}}


def test_vectors_come_back_as_openais():
    types.EmbedContentResponse.model_validate(VECTORS)
    answer = translated(encoding_format="float").answer(json.dumps(VECTORS).encode())
    parsed = CreateEmbeddingResponse.model_validate(json.loads(answer))
    assert [item.embedding for item in parsed.data] == [[0.5, -1.0], [0.25, 2.0]]
    assert [item.index for item in parsed.data] == [0, 1]
    assert parsed.model == "gemini-embedding-001"
    assert parsed.usage.prompt_tokens == parsed.usage.total_tokens == 6


def test_vectors_come_packed_for_those_who_ask():
    answer = json.loads(translated(encoding_format="base64").answer(json.dumps(VECTORS).encode()))
    assert struct.unpack("<2f", base64.b64decode(answer["data"][1]["embedding"])) == (0.25, 2.0)


def test_a_single_vector_is_understood_and_counts_may_be_missing():
    answer = translated(input="a").answer(b'{"embedding":{"values":[1]}}')
    assert json.loads(answer)["data"][0]["embedding"] == [1.0]
    assert read_answer_usage(answer) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"embeddings":[{"values":[1]}]}',
        b'{"embeddings":[{"values":["a"]},{"values":[1]}]}',
        b"\xff",
    ],
)
def test_what_is_no_answer_is_a_value_error(body):
    with pytest.raises(ValueError, match="embeddings"):
        translated().answer(body)


def test_a_number_that_no_float_holds_is_a_value_error():
    with pytest.raises(ValueError, match="embeddings"):
        translated(input="a", encoding_format="base64").answer(b'{"embeddings":[{"values":[1e300]}]}')


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"input": []}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": [[1], [2]]}, "input"),
        ({"input": ["a"] * 101}, "input"),
        ({"input": ["a", "b"], "method": "embedContent"}, "input"),
        ({"input": 7}, "input"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"task_type": "QUERY"}, "task_type"),
    ],
)
def test_what_cannot_be_embedded_is_refused(fields, parameter):
    with pytest.raises(InvalidRequest) as caught:
        translated(**fields)
    assert caught.value.parameter == parameter


def test_unknown_fields_can_be_dropped_and_no_json_is_refused():
    assert translated("drop", task_type="QUERY").dropped == ("task_type",)
    with pytest.raises(InvalidRequest) as caught:
        translate_embeddings(b"{", unsupported="drop")
    assert caught.value.reason is Reason.INVALID_JSON
