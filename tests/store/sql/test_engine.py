from pathlib import Path

import pytest

from podium.core.errors import OperatorError
from podium.store.settings import DatabaseSettings
from podium.store.sql import engine
from podium.store.sql.database import open_database
from podium.store.sql.engine import database_url

DEFAULT = Path("/data/podium.db")


def rendered(url):
    return database_url(DatabaseSettings(url=url), DEFAULT).render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (None, "sqlite+aiosqlite:////data/podium.db"),
        ("sqlite:///relative.db", "sqlite+aiosqlite:///relative.db"),
        ("postgresql://u:p%40ss@db:5433/podium", "postgresql+asyncpg://u:p%40ss@db:5433/podium"),
        ("postgres://db/podium", "postgresql+asyncpg://db/podium"),
        ("postgresql+asyncpg://db/podium?sslmode=require", "postgresql+asyncpg://db/podium?ssl=require"),
        ("postgresql:///podium?host=/run/pg", "postgresql+asyncpg:///podium?host=%2Frun%2Fpg"),
    ],
)
def test_usual_urls_are_understood(given, used):
    assert rendered(given) == used


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("mysql://u:secret@db/podium", "unknown scheme `mysql`"),
        ("postgresql+psycopg://u:secret@db/podium", "unknown scheme"),
        ("secret words", "is not a URL"),
        ("postgresql://u:secret@db:port/podium", "is not a URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///x.db?secret=1", "has options"),
        ("postgresql://u:secret@db/podium?target_session_attrs=any", "unknown option `target_session_attrs`"),
    ],
)
def test_other_urls_are_refused_without_quoting_them(given, complaint):
    with pytest.raises(OperatorError, match=complaint) as raised:
        rendered(given)
    assert str(raised.value).startswith("database.url ")
    assert "secret" not in str(raised.value) + raised.value.hint


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.raises(OperatorError, match="driver is not installed"):
        open_database(DatabaseSettings(url="postgresql://db/podium"), DEFAULT)


async def test_the_password_is_in_no_repr():
    database = open_database(DatabaseSettings(url="postgresql://u:secret@db/podium"), DEFAULT)
    assert "secret" not in repr(database)
    await database.close()


def test_a_folder_that_is_missing_is_one_clear_sentence(tmp_path):
    with pytest.raises(OperatorError, match="cannot be opened"):
        open_database(DatabaseSettings(), tmp_path / "none" / "podium.db")


async def test_the_file_is_private(tmp_path):
    database = open_database(DatabaseSettings(), tmp_path / "podium.db")
    await database.ping()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    await database.close()
