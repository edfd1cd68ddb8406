"""What is taken, what is refused and why. No file here is ever opened by a library that loads models."""

import contextlib
import io
import os
import pickle
import struct
import tarfile
import time
import zipfile

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium.engine.formats.recognise import check_beside, recognise
from podium.engine.formats.refusal import RefusedFile, Why
from podium.testing.model_files import protobuf_field as field
from podium.testing.model_files import tiny_gguf
from podium.testing.model_files import tiny_onnx as make_onnx
from podium.testing.model_files import tiny_onnx_tensor as tensor
from podium.testing.model_files import tiny_safetensors as make_safetensors

SUFFIXES = (".gguf", ".safetensors", ".onnx")


@pytest.fixture(scope="session")
def small():
    return {".gguf": tiny_gguf(), ".safetensors": make_safetensors(format="pt"), ".onnx": make_onnx()}


@pytest.fixture
def put(tmp_path):
    def put(name, data):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return put


def refused(path, name=""):
    with pytest.raises(RefusedFile) as caught:
        recognise(path, name)
    assert str(caught.value).startswith(f"{name or path.name} is refused ({caught.value.why}): ")
    return caught.value


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_whole_file_is_recognised_by_its_bytes_whatever_its_name(small, put, suffix):
    found = recognise(put(f"m{suffix}", small[suffix]))
    assert found.format == suffix[1:]
    assert found.size == len(small[suffix])
    assert recognise(put("without-suffix", small[suffix])).format == found.format


def test_facts_come_from_the_file(small, put):
    facts = {"general.architecture": "llama", "general.name": "Tiny", "general.license": "MIT"}
    assert recognise(put("m.gguf", small[".gguf"])).facts.items() >= facts.items()
    assert recognise(put("m.safetensors", small[".safetensors"])).facts == {"format": "pt"}


def test_the_built_in_models_are_taken(models):
    kinds = {recognise(path).format for path in models.glob("sha256-*")}
    assert kinds == {"gguf", "onnx"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_name_that_says_another_format_is_refused(small, put, suffix):
    other = SUFFIXES[SUFFIXES.index(suffix) - 1]
    assert refused(put(f"m{other}", small[suffix])).why is Why.BROKEN


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_cut_off_anywhere_is_refused(small, put, suffix):
    data = small[suffix]
    for length in range(0, len(data) - 32, max(1, len(data) // 60)):  # the last bytes may be padding
        assert refused(put(f"m{suffix}", data[:length])).why in {Why.BROKEN, Why.UNKNOWN}


# Pickles and their hiding-places.


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/podium-was-here",)


def torch_zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
        archive.writestr("archive/data/0", bytes(64))
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".pkl", ".ckpt", ".PT", ".joblib"])
def test_names_of_pickles_are_refused_whatever_is_in_them(small, put, suffix):
    error = refused(put(f"model{suffix}", small[".gguf"]))
    assert error.why is Why.PICKLE
    assert "runs what is inside" in error.message


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_under_a_safe_name_is_refused(put, suffix, protocol):
    for value in (Evil(), {"a": 1}):
        assert refused(put(f"m{suffix}", pickle.dumps(value, protocol))).why is Why.PICKLE


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_zip_with_pickles_is_refused_also_behind_a_good_model(small, put, suffix):
    assert refused(put(f"m{suffix}", torch_zip())).why is Why.PICKLE
    assert refused(put(f"n{suffix}", small[suffix] + torch_zip())).why is Why.PICKLE


def test_bytes_behind_a_model_are_refused(small, put):
    for suffix in SUFFIXES:
        assert refused(put(f"m{suffix}", small[suffix] + pickle.dumps(Evil()) * 9)).why is Why.BROKEN


def test_archives_and_programs_are_told_as_what_they_are(put):
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as archive:
        archive.writestr("model.gguf", b"GGUF")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"), io.BytesIO(b""))
    cases = {plain.getvalue(): "zip", tar.getvalue(): "tar", b"\x1f\x8b" + bytes(30): "gzip"}
    for data, word in cases.items():
        error = refused(put("m.gguf", data))
        assert error.why is Why.ARCHIVE
        assert word in error.message
    others = {
        b"\x93NUMPY\x01\0" + bytes(20): "NumPy",
        b"\x89HDF\r\n\x1a\n" + bytes(20): "HDF5",
        b"#!/bin/sh\n" * 3: "program",
    }
    for data, word in others.items():
        error = refused(put("m.onnx", data))
        assert error.why is Why.UNKNOWN
        assert word in error.message


# Headers that lie.


def head(tensors=0, entries=0, rest=b"", version=3):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + rest


HUGE = 2**63
HOSTILE_GGUF = {
    "tensors": head(tensors=HUGE),
    "entries": head(entries=HUGE, rest=bytes(100)),
    "version": head(version=0x03000000),
    "key": head(entries=1, rest=struct.pack("<Q", HUGE) + bytes(100)),
    "text": head(entries=1, rest=struct.pack("<QcIQ", 1, b"k", 8, HUGE) + bytes(100)),
    "list of numbers": head(entries=1, rest=struct.pack("<QcIIQ", 1, b"k", 9, 4, HUGE) + bytes(100)),
    "list of texts": head(entries=1, rest=struct.pack("<QcIIQ", 1, b"k", 9, 8, 2**40) + bytes(100)),
    "list of lists": head(entries=1, rest=struct.pack("<QcIIQ", 1, b"k", 9, 9, 1) + bytes(100)),
    "type of value": head(entries=1, rest=struct.pack("<QcI", 1, b"k", 99) + bytes(100)),
    "dimensions": head(tensors=1, rest=struct.pack("<QcI", 1, b"t", 2**31) + bytes(100)),
    "size": head(tensors=1, rest=struct.pack("<QcIQQIQ", 1, b"t", 2, HUGE, HUGE, 0, 0) + bytes(100)),
    "offset": head(tensors=1, rest=struct.pack("<QcIQIQ", 1, b"t", 1, 1, 99, HUGE) + bytes(100)),
    "odd offset": head(tensors=1, rest=struct.pack("<QcIQIQ", 1, b"t", 1, 1, 0, 3) + bytes(100)),
    "alignment": head(entries=1, rest=struct.pack("<Q17sII", 17, b"general.alignment", 4, 0) + bytes(100)),
}


@pytest.mark.parametrize("case", HOSTILE_GGUF)
def test_a_gguf_header_that_lies_is_refused_at_once(put, case):
    started = time.perf_counter()
    assert refused(put("m.gguf", HOSTILE_GGUF[case])).why is Why.BROKEN
    assert time.perf_counter() - started < 2


def one(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


HOSTILE_SAFETENSORS = {
    "length": struct.pack("<Q", 99_000_000) + b"{" + bytes(100),
    "no json": struct.pack("<Q", 20) + b"{" + bytes(100),
    "deep": struct.pack("<Q", 200_010) + b'{"a":' * 40_002 + bytes(100),
    "hole": make_safetensors({**one(), "b": one(offsets=(16, 24))["a"]}, bytes(24)),
    "overlap": make_safetensors({**one(), "b": one(offsets=(4, 12))["a"]}, bytes(12)),
    "backwards": make_safetensors(one(offsets=(8, 0)), bytes(8)),
    "beyond": make_safetensors(one(shape=(4,), offsets=(0, 16)), bytes(8)),
    "shape": make_safetensors(one(shape=(3,)), bytes(8)),
    "negative": make_safetensors(one(shape=(-1, -2)), bytes(8)),
    "type": make_safetensors(one(dtype="PICKLE"), bytes(8)),
    "metadata": make_safetensors({"__metadata__": {"a": {"b": 1}}, **one()}, bytes(8)),
}


@pytest.mark.parametrize("case", HOSTILE_SAFETENSORS)
def test_a_safetensors_header_that_lies_is_refused(put, case):
    assert refused(put("m.safetensors", HOSTILE_SAFETENSORS[case])).why is Why.BROKEN


def nested(depth):
    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))  # a node with an attribute with a graph
    return graph


HOSTILE_ONNX = {
    "length": b"\x08\x0a\x3a\xff\xff\xff\xff\x7f" + bytes(20),
    "endless number": b"\x08\x0a\x3a" + b"\xff" * 30,
    "no opset": field(1, 10) + field(7, field(2, b"graph without an opset")),
    "foreign field": make_onnx() + field(90, b"x"),
    "deep": make_onnx(graph=nested(200)),
    "long name": make_onnx(tensor("x" * 5000)),
}


@pytest.mark.parametrize("case", HOSTILE_ONNX)
def test_an_onnx_message_that_lies_is_refused(put, case):
    assert refused(put("m.onnx", HOSTILE_ONNX[case])).why is Why.BROKEN


def test_tensors_in_other_files_of_the_folder_are_named(put):
    found = recognise(put("m.onnx", make_onnx(tensor("weights.data"), tensor("more/weights.data"))))
    assert found.beside == ("more/weights.data", "weights.data")


WAYS_OUT = ("../secret", "/etc/passwd", "a/../../b", "..\\b", "C:/x", "", "./x", "a//b")


@pytest.mark.parametrize("location", WAYS_OUT)
def test_tensors_outside_of_the_folder_are_refused(put, location):
    assert refused(put("m.onnx", make_onnx(tensor(location)))).why is Why.LEADS_OUT


def test_a_way_out_is_found_wherever_tensors_can_be(put):
    out = tensor("../secret")
    places = {
        "attribute": field(1, field(5, field(5, out))),
        "list of an attribute": field(1, field(5, field(10, out))),
        "sparse": field(15, field(1, out)),
        "graph of an attribute": field(1, field(5, field(6, field(5, out)))),
        "graphs of an attribute": field(1, field(5, field(11, field(5, out)))),
        "sparse attribute": field(1, field(5, field(22, field(2, out)))),
    }
    for graph in places.values():
        assert refused(put("m.onnx", make_onnx(graph=graph))).why is Why.LEADS_OUT
    for message in (field(25, field(7, field(5, field(5, out)))), field(20, field(1, field(5, out)))):
        assert refused(put("m.onnx", make_onnx() + message)).why is Why.LEADS_OUT


def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.gguf")
    assert refused(tmp_path / "m.gguf").why is Why.NO_FILE
    assert refused(tmp_path).why is Why.NO_FILE
    assert refused(tmp_path / "gone.gguf").why is Why.NO_FILE


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(SUFFIXES), st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=9)), max_size=4), st.data()
)
def test_no_bytes_do_anything_but_being_taken_or_refused(small, tmp_path, suffix, changes, data):
    changed = bytearray(small[suffix])
    for at, piece in changes:
        changed[at : at + len(piece)] = piece
    cut = data.draw(st.integers(0, len(changed)))
    path = tmp_path / f"m{suffix}"
    path.write_bytes(changed[:cut] if data.draw(st.booleans()) else changed)
    with contextlib.suppress(RefusedFile):
        assert recognise(path).format in {"gguf", "safetensors", "onnx"}


# Files beside the weights.


def test_texts_may_lie_beside_weights_and_nothing_else(put):
    check_beside(put("config.json", b"{}"), "config.json")
    check_beside(put("LICENSE", "© us".encode()), "LICENSE")
    for name, data in (
        ("run.py", b"print()"),
        ("vocab.bin", b"text"),
        ("tokenizer.model", b"\x0a\xff\xfe" * 9),
        ("config.json", pickle.dumps({}, 4)),
        ("a.json", pickle.dumps(Evil(), 0)),
    ):
        with pytest.raises(RefusedFile):
            check_beside(put(name, data), name)


def test_what_the_format_s_own_library_writes_is_taken(tmp_path):
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "ccc"])
    writer.add_tensor("one", np.ones((4, 32), dtype=np.float32))
    writer.add_tensor("two", np.zeros((1, 34), dtype=np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    assert recognise(path).format == "gguf"
    assert gguf.GGUFReader(path).get_field("general.architecture").contents() == "llama"


def test_the_small_gguf_of_the_tests_is_one_for_the_format_s_own_library(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_gguf())
    assert {one.name: one.tensor_type.name for one in gguf.GGUFReader(path).tensors} == {"one": "F32", "two": "Q8_0"}
