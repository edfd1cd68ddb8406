import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.key_table import KeyEntry, KeySecret, KeyTable

IDS = st.text(max_size=6)


def key(key_id, **more):
    return KeyEntry(id=key_id, tenant="acme", name=f"name of {key_id}", secrets=(KeySecret(digest=b"d" * 32),), **more)


def many(count):
    return [key(f"{number:012d}") for number in range(count)]


def by_id(table):
    return {entry.id: entry for entry in table}


@given(st.dictionaries(IDS, st.sampled_from(["", "gold"])), IDS)
def test_each_key_is_found_and_no_other(tiers, asked):
    table = KeyTable.of(key(key_id, tier=tier) for key_id, tier in tiers.items())
    assert len(table) == len(tiers)
    assert by_id(table) == {key_id: key(key_id, tier=tier) for key_id, tier in tiers.items()}
    for key_id, tier in tiers.items():
        assert table.find(key_id) == key(key_id, tier=tier)
    assert table.find(asked) == (key(asked, tier=tiers[asked]) if asked in tiers else None)


@given(st.sets(IDS), st.dictionaries(IDS, st.none() | st.sampled_from(["", "gold"])))
def test_a_changed_table_is_as_if_it_was_made_anew(before, changes):
    entries = {key_id: None if tier is None else key(key_id, tier=tier) for key_id, tier in changes.items()}
    changed = KeyTable.of(map(key, before)).changed(entries)
    after = {key_id: key(key_id) for key_id in before} | entries
    assert changed == KeyTable.of(entry for entry in after.values() if entry is not None)
    for key_id, entry in after.items():
        assert changed.find(key_id) == entry


def test_it_grows_and_shrinks_with_its_keys():
    entries = many(3000)
    table = KeyTable.of(())
    for begin in range(0, 3000, 300):
        table = table.changed({entry.id: entry for entry in entries[begin : begin + 300]})
    assert table == KeyTable.of(entries)
    assert len(table.data) < 1.1 * len(KeyTable.of(entries).data)
    table = table.changed({entry.id: None for entry in entries[5:]})
    assert table == KeyTable.of(entries[:5])
    assert len(table.data) < 1000


def test_no_page_is_long():
    ids = {entry.id for entry in many(20_000)}
    table = KeyTable.of(many(20_000))
    assert max(len(table._page(page)) for page in range(table._pages)) < 40
    assert {entry.id for entry in table} == ids


def test_of_several_with_one_id_the_last_one_counts():
    assert tuple(KeyTable.of((key("a"), key("b"), key("a", tier="gold")))) in {
        (key("a", tier="gold"), key("b")),
        (key("b"), key("a", tier="gold")),
    }


def test_what_is_read_back_is_not_copied():
    data = KeyTable.of(many(10)).data
    assert KeyTable(memoryview(data)).data.obj is data
    assert KeyTable(data) == KeyTable.of(many(10))


def test_tables_with_other_keys_differ():
    assert KeyTable.of(many(3)) != KeyTable.of(many(4))
    assert KeyTable.of(many(3)) != KeyTable.of([*many(2), key("x")])
    assert KeyTable.of(many(3)) != tuple(many(3))


@pytest.mark.parametrize("length", [0, 15, 16, 30, -1])
def test_what_is_no_table_is_refused(length):
    with pytest.raises(ValueError, match="table of keys"):
        KeyTable(KeyTable.of(many(3)).data[:length])


def test_a_key_of_a_later_version_is_read_as_far_as_we_know_it():
    later = msgspec.msgpack.encode([msgspec.to_builtins(key("a"), builtin_types=(bytes,)) | {"of_tomorrow": 1}])
    ours = KeyTable.of([key("a")]).data
    at = len(ours) - len(msgspec.msgpack.encode([key("a")]))
    data = ours[: at - 8] + (at + len(later)).to_bytes(8, "little") + later
    assert KeyTable(data).find("a") == key("a")
