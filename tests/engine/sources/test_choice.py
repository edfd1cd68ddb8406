import pytest

from podium.core.errors import OperatorError
from podium.engine.formats.refusal import RefusedFile, Why
from podium.engine.sources.choice import choose, with_files_beside

HUB = [
    "README.md",
    "config.json",
    "tokenizer.json",
    "LICENSE",
    "model.safetensors",
    "pytorch_model.bin",
    "run.py",
    "a.png",
]


def test_the_weights_and_texts_are_taken_and_pickles_and_code_are_left():
    chosen = choose(HUB)
    assert (chosen.format, chosen.main) == ("safetensors", "model.safetensors")
    assert set(chosen.all) == {"model.safetensors", "config.json", "tokenizer.json", "LICENSE"}


def test_parts_belong_together():
    parts = [f"m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    chosen = choose([*reversed(parts), "config.json"])
    assert chosen.main == parts[0]
    assert list(chosen.weights) == parts


def test_of_several_models_one_has_to_be_chosen():
    names = ["m.Q4.gguf", "m.Q8.gguf", "sub/n.gguf"]
    with pytest.raises(OperatorError, match=r"m\.Q4\.gguf, m\.Q8\.gguf") as caught:
        choose(names)
    assert "--file" in caught.value.hint
    assert choose(names, "*Q8*").weights == ("m.Q8.gguf",)
    assert choose(names, "n.gguf").main == "sub/n.gguf"
    with pytest.raises(OperatorError, match="No model file matches"):
        choose(names, "*Q5*")


def test_where_there_are_only_pickles_that_is_the_reason():
    with pytest.raises(RefusedFile) as caught:
        choose(["config.json", "pytorch_model.bin"])
    assert caught.value.why is Why.PICKLE
    assert "safetensors" in caught.value.hint
    with pytest.raises(OperatorError, match="no GGUF, safetensors or ONNX"):
        choose(["README.md"])


def test_names_that_lead_elsewhere_are_not_seen():
    with pytest.raises(OperatorError):
        choose(["../m.gguf", "/m.gguf", "a/../m.gguf", ".cache/m.gguf"])


def test_texts_of_other_folders_are_left():
    chosen = choose(["onnx/model.onnx", "onnx/config.json", "tokenizer.json", "other/config.json"])
    assert set(chosen.beside) == {"onnx/config.json", "tokenizer.json"}
    whole = with_files_beside(chosen, ["model.onnx.data"])
    assert whole.weights == ("onnx/model.onnx", "onnx/model.onnx.data")
