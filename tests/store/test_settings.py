from dataclasses import fields

import pytest

from podium.store.settings import DatabaseSettings, JournalSettings


@pytest.mark.parametrize("settings", [JournalSettings, DatabaseSettings])
def test_every_field_has_help_and_a_default_that_is_valid(settings):
    assert settings()
    assert all(field.metadata["help"].endswith(".") for field in fields(settings))


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (JournalSettings, {"durability": "sometimes"}),
        (JournalSettings, {"sync_interval_ms": 0}),
        (JournalSettings, {"min_free_bytes": -1}),
        (JournalSettings, {"max_buffered_bytes": 10}),
        (DatabaseSettings, {"pool_size": 0}),
        (DatabaseSettings, {"statement_timeout_s": -1.0}),
    ],
)
def test_a_value_that_makes_no_sense_names_its_field(settings, wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
        settings(**wrong)
