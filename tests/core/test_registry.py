import hashlib

import msgspec
import pytest

from podium.core.registry import Adapter, WeightFile, Weights, digest_of_files, load_digest, worker_name

A, B = (WeightFile(path=name, sha256=digit * 64, size=3) for name, digit in (("a.gguf", "a"), ("sub/b.json", "b")))


def weights(*files, main="a.gguf"):
    return Weights(source="file:/x", format="gguf", main=main, files=files)


def test_the_digest_is_that_of_what_sha256sum_prints():
    text = f"{'a' * 64}  a.gguf\n{'b' * 64}  sub/b.json\n"
    assert digest_of_files((B, A)) == hashlib.sha256(text.encode()).hexdigest() == weights(A, B).digest
    assert weights(A, B).size == 6


def test_what_is_loaded_counts_and_where_it_came_from_does_not():
    plain = weights(A, B)
    assert load_digest(plain) == load_digest(msgspec.structs.replace(plain, source="hf:x/y"))
    lora = Adapter(source="file:/l", file=B)
    others = [load_digest(plain, (lora,)), load_digest(plain, (msgspec.structs.replace(lora, scale=0.5),))]
    assert len({load_digest(plain), load_digest(weights(A, B, main="sub/b.json")), *others}) == 4
    assert worker_name("tuned", plain) == f"tuned@{load_digest(plain)[:12]}"


@pytest.mark.parametrize(
    "path", ["../a", "/a", "a/../b", ".hidden", "a/.b", "a//b", "a\\b", "", "a/", "a\n", "x" * 300]
)
def test_a_path_that_could_lead_elsewhere_is_no_path(path):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"path": path, "sha256": "a" * 64, "size": 1}, WeightFile)


@pytest.mark.parametrize(("files", "main"), [((A, A), "a.gguf"), ((A,), "other")])
def test_files_are_there_once_and_the_main_one_is_among_them(files, main):
    with pytest.raises(ValueError, match="path"):
        weights(*files, main=main)
