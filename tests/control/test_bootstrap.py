import asyncio
import stat

import pytest

from podium.control.bootstrap import declare_defaults, ensure_admin_key, ensure_root_secret
from podium.control.changes import state_of
from podium.control.resources import Resources
from podium.core.errors import OperatorError, Unavailable
from podium.core.layout import DataFolder
from podium.testing.memory_store import MemoryKeyStore


@pytest.fixture
def folder(tmp_path):
    return DataFolder(tmp_path / "data")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_first_start_declares_what_runs_here(resources):
    assert await declare_defaults(resources)
    state = state_of(await resources.export())
    assert state["Model", "smollm2"].spec.aliases == ("default",)
    assert state["Model", "minilm"].spec.endpoints == ("embeddings",)
    assert state["Version", "smollm2-1"].spec.backends[0].provider == "local"
    assert state["Price", "local"].spec.input_usd_per_million == "0"
    assert len([key for key in state if key[0] == "Price"]) > 5
    assert (await resources.revision(1)).author == "bootstrap"


async def test_a_later_start_brings_nothing_back(resources):
    await declare_defaults(resources)
    await resources.delete("Model", "minilm", author="alice")
    assert not await declare_defaults(resources)
    assert ("Model", "minilm") not in state_of(await resources.export())


async def test_of_two_first_starts_at_once_one_declares(resource_store, key_store, clock):
    both = [Resources(resource_store, key_store, clock) for _ in range(2)]
    assert sorted(await asyncio.gather(*map(declare_defaults, both))) == [False, True]


async def test_the_admin_key_is_made_once_and_kept_for_its_owner(resources, keys, folder, clock):
    await declare_defaults(resources)
    made = await ensure_admin_key(keys, resources, folder, clock)
    assert folder.admin_key_file.read_text() == made.text + "\n"
    assert mode(folder.admin_key_file) == 0o600
    assert mode(folder.path) == 0o700
    assert made.text not in repr(made)
    (record,) = await keys.all()
    assert (record.entry.admin, record.entry.tenant, record.created_by) == (True, "default", "bootstrap")
    assert await ensure_admin_key(keys, resources, folder, clock) is None
    assert [path.name for path in folder.path.iterdir()] == ["admin.key"]


async def test_a_crash_between_file_and_database_loses_no_key(resources, keys, key_store, folder, clock):
    await declare_defaults(resources)
    insert = key_store.insert

    async def crash(record):
        raise Unavailable("crashed here")

    key_store.insert = crash
    with pytest.raises(Unavailable):
        await ensure_admin_key(keys, resources, folder, clock)
    key_store.insert = insert
    written = folder.admin_key_file.read_text().strip()
    made = await ensure_admin_key(keys, resources, folder, clock)
    assert made.text == written
    assert [record.entry.id for record in await keys.all()] == [made.id]


async def test_two_processes_at_once_make_one_admin_key(resources, keys, folder, clock):
    await declare_defaults(resources)
    made = await asyncio.gather(*(ensure_admin_key(keys, resources, folder, clock) for _ in range(4)))
    (key,) = [one for one in made if one is not None]
    assert folder.admin_key_file.read_text().strip() == key.text
    assert len(await keys.all()) == 1


async def test_when_the_admin_key_was_revoked_a_new_one_replaces_it(resources, keys, folder, clock):
    await declare_defaults(resources)
    first = await ensure_admin_key(keys, resources, folder, clock)
    await keys.revoke(first.id, author="alice")
    second = await ensure_admin_key(keys, resources, folder, clock)
    assert second.id != first.id
    assert folder.admin_key_file.read_text().strip() == second.text
    assert mode(folder.admin_key_file) == 0o600


async def test_while_the_key_of_the_file_works_no_other_is_looked_at(
    resources, keys, key_store, folder, clock, monkeypatch
):
    await declare_defaults(resources)
    await ensure_admin_key(keys, resources, folder, clock)
    monkeypatch.delattr(type(key_store), "all")
    assert await ensure_admin_key(keys, resources, folder, clock) is None


async def test_an_admin_key_file_with_something_else_is_not_overwritten(resources, keys, folder, clock):
    await declare_defaults(resources)
    folder.path.mkdir()
    folder.admin_key_file.write_text("my notes")
    with pytest.raises(OperatorError, match="does not hold an API key"):
        await ensure_admin_key(keys, resources, folder, clock)


async def test_an_old_key_file_serves_a_new_database(resources, keys, folder, clock, resource_store):
    await declare_defaults(resources)
    first = await ensure_admin_key(keys, resources, folder, clock)
    from podium.control.keys import Keys

    fresh = Keys(MemoryKeyStore(), resource_store, b"pepper", clock)
    assert (await ensure_admin_key(fresh, resources, folder, clock)).text == first.text


def test_the_root_secret_is_made_once(folder):
    secret = ensure_root_secret(folder)
    assert len(secret) == 32
    assert ensure_root_secret(folder) == secret
    assert mode(folder.secret_file) == 0o600


@pytest.mark.parametrize("content", ["", "short", "g" * 64, "\xff"])
def test_a_damaged_root_secret_stops_the_start(folder, content):
    folder.path.mkdir()
    folder.secret_file.write_bytes(content.encode("latin-1"))
    with pytest.raises(OperatorError):
        ensure_root_secret(folder)


def test_a_folder_that_cannot_be_made_is_one_clear_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="cannot be"):
        ensure_root_secret(DataFolder(tmp_path / "file" / "data"))


def test_without_hard_links_the_secret_is_still_made_once(folder, monkeypatch):
    def refuse(self, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    secret = ensure_root_secret(folder)
    assert ensure_root_secret(folder) == secret
    assert mode(folder.secret_file) == 0o600
