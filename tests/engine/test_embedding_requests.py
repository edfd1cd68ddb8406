import base64
import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import InvalidRequest, NotFound
from podium.engine.embedding_requests import decode_request, encode_error, encode_models, encode_response


def decode(**body):
    return decode_request(json.dumps(body).encode(), dimensions=384)


@pytest.mark.parametrize(
    ("given_input", "texts"), [("a", ("a",)), (["a", "b"], ("a", "b")), ([" "], (" ",)), (["a"] * 2048, ("a",) * 2048)]
)
def test_a_string_or_an_array_of_strings_is_read(given_input, texts):
    assert decode(model="minilm", input=given_input).texts == texts


@pytest.mark.parametrize("value", ["", [], [""], ["a", ""], None, 1, {"a": 1}, [None], [["a"]], ["a"] * 2049])
def test_other_inputs_are_the_callers_error(value):
    with pytest.raises(InvalidRequest) as caught:
        decode(input=value)
    assert caught.value.parameter == "input"


def test_a_missing_input_is_named():
    with pytest.raises(InvalidRequest, match="input") as caught:
        decode(model="minilm")
    assert caught.value.parameter == "input"


def test_an_unknown_encoding_is_named():
    with pytest.raises(InvalidRequest) as caught:
        decode(input="a", encoding_format="hex")
    assert caught.value.parameter == "encoding_format"


@pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]], ["a", [1]]])
def test_token_ids_are_refused_with_the_reason(tokens):
    with pytest.raises(InvalidRequest, match="tokenizer of its own"):
        decode(input=tokens)


@pytest.mark.parametrize("dimensions", [None, 384])
def test_the_models_own_dimensions_are_accepted(dimensions):
    assert decode(input="a", dimensions=dimensions).texts == ("a",)


@pytest.mark.parametrize("dimensions", [0, 1, 383, 385])
def test_other_dimensions_are_refused(dimensions):
    with pytest.raises(InvalidRequest) as caught:
        decode(input="a", dimensions=dimensions)
    assert caught.value.parameter == "dimensions"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"input": "\xff"}', b"[" * 100_000, b"[]", b'"a"', b"null"])
def test_broken_bodies_are_the_callers_error(body):
    with pytest.raises(InvalidRequest):
        decode_request(body, dimensions=384)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    with contextlib.suppress(InvalidRequest):
        assert decode_request(body, dimensions=384).texts


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_vectors_come_back_in_the_asked_form_and_order(encoding):
    vectors = [np.array([0.6, 0.8], np.float32), np.array([1.0, 0.0], np.float32)]
    request = decode(input=["a", "b"], encoding_format=encoding)
    answer = json.loads(encode_response(request, vectors, model="minilm", tokens=7))
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert (answer["object"], answer["model"]) == ("list", "minilm")
    assert [entry["index"] for entry in answer["data"]] == [0, 1]
    for entry, vector in zip(answer["data"], vectors, strict=True):
        got = entry["embedding"]
        read = np.frombuffer(base64.b64decode(got), "<f4") if encoding == "base64" else np.array(got, np.float32)
        assert np.array_equal(read, vector)


def test_an_error_is_openais_object():
    error = json.loads(encode_error(NotFound("There is no such thing.")))
    assert error == {
        "error": {
            "message": "There is no such thing.",
            "type": "invalid_request_error",
            "param": None,
            "code": "route_not_found",
        }
    }


def test_the_model_is_listed():
    assert json.loads(encode_models("minilm", 5))["data"][0]["id"] == "minilm"
