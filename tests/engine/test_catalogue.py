import re

import pytest

from podium.core.errors import OperatorError
from podium.engine.catalogue import CATALOGUE, ModelKind, find_model


def test_a_chat_and_an_embedding_model_are_built_in():
    assert {name: model.kind for name, model in CATALOGUE.items()} == {
        "smollm2": ModelKind.CHAT,
        "minilm": ModelKind.EMBEDDING,
    }


def test_an_unknown_model_is_answered_with_the_known_ones():
    with pytest.raises(OperatorError, match="gpt-9") as caught:
        find_model("gpt-9")
    assert "smollm2, minilm" in caught.value.hint


@pytest.mark.parametrize("model", CATALOGUE.values(), ids=lambda model: model.name)
def test_every_file_is_pinned(model):
    assert re.fullmatch("[0-9a-f]{64}", model.file.sha256)
    assert re.fullmatch("[0-9a-f]{64}", model.file.wheel_sha256)
    assert model.file.size > 0
