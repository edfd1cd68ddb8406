import os
from dataclasses import fields
from pathlib import Path

from podium.core.layout import DataFolder
from podium.engine.settings import EngineSettings


def test_models_lie_in_the_data_folder_unless_another_is_named():
    data = DataFolder(Path("data"))
    assert EngineSettings().store_folder(data) == Path("data/models")
    assert EngineSettings(models_dir="shared").store_folder(data) == Path("shared")


def test_a_model_leaves_one_core_to_the_gateway(monkeypatch):
    for cores, threads in ((1, 1), (2, 1), (8, 7)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid, n=cores: set(range(n)), raising=False)
        assert EngineSettings().thread_count() == threads
    assert EngineSettings(threads=3).thread_count() == 3


def test_every_setting_has_help():
    assert all(field.metadata.get("help") for field in fields(EngineSettings))
