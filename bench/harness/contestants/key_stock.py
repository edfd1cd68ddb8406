"""Puts many models and API keys into a Podium's database: checked and written by its own code, without a network."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
from sqlalchemy import insert, text

from harness.load.scripts import SUBJECT_MODEL, subject_key
from harness.request import MODEL
from podium.control.resources import Resources
from podium.core.clock import SystemClock
from podium.core.layout import DataFolder
from podium.core.resources import BackendSpec, Model, Resource, Version
from podium.core.snapshot import KeyEntry, KeySecret
from podium.identity.keys import derive_secret, digest_secret, parse_api_key
from podium.store.settings import DatabaseSettings
from podium.store.sql.database import open_database
from podium.store.sql.keys import SqlKeyStore
from podium.store.sql.resources import SqlResourceStore
from podium.store.sql.tables import api_keys

__all__ = ["put_keys", "put_models"]

_AT_ONCE = 20_000
_MODELS_AT_ONCE = 2_000
_COUNT = text("UPDATE counters SET value = value + :count WHERE name = 'api_keys'")  # tells control that they are there


def put_models(data: Path, count: int) -> None:
    """Declare the models with the numbers below `count`; nothing may run there.

    Each two are names of one version: a Podium has 20,000 resources at most, and tenants are among them.
    """
    asyncio.run(_declare(DataFolder(data), count))


async def _declare(folder: DataFolder, count: int) -> None:
    database = open_database(DatabaseSettings(), folder.database_file)
    try:
        resources = Resources(SqlResourceStore(database), SqlKeyStore(database), SystemClock())
        for begin in range(0, count, _MODELS_AT_ONCE):
            numbers = range(begin, min(begin + _MODELS_AT_ONCE, count))
            documents = [one for number in numbers for one in _model(number)]
            await resources.apply(documents, author="bench", message="models")
    finally:
        await database.close()


def _model(number: int) -> Iterator[Resource]:
    version = f"version-{number // 2:05d}"
    if number % 2 == 0:
        yield Resource("Version", version, Version(backends=(BackendSpec(provider="mock", model=MODEL),)))
    yield Resource("Model", SUBJECT_MODEL % number, Model(version=version))


def put_keys(data: Path, count: int, *, tenants: int) -> None:
    """Insert the keys with the numbers below `count`, spread over the tenants `tenant-0`...; nothing may run there."""
    folder = DataFolder(data)
    pepper = derive_secret(bytes.fromhex(folder.secret_file.read_text().strip()), "api-keys")
    asyncio.run(_put(folder, pepper, count, tenants))


async def _put(folder: DataFolder, pepper: bytes, count: int, tenants: int) -> None:
    database = open_database(DatabaseSettings(), folder.database_file)
    try:
        rows = (_row(pepper, number, f"tenant-{number % tenants}") for number in range(count))
        while batch := list(itertools.islice(rows, _AT_ONCE)):
            async with database.write() as connection:
                await connection.execute(_COUNT, {"count": len(batch)})
                await connection.execute(insert(api_keys), batch)
    finally:
        await database.close()


def _row(pepper: bytes, number: int, tenant: str) -> dict[str, object]:
    key = parse_api_key(subject_key(number))
    assert key is not None
    secret = KeySecret(digest=digest_secret(pepper, key.secret))
    entry = KeyEntry(id=key.id, tenant=tenant, name=f"service {number}", secrets=(secret,))
    return {
        "id": key.id,
        "tenant": tenant,
        "entry": msgspec.json.encode(entry).decode(),
        "created_unix_s": 1.7e9 + number,
        "created_by": "bench",
    }
