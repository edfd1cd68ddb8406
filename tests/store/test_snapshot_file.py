import hmac
import os
import stat

import msgspec
import pytest

from podium.core.errors import OperatorError
from podium.core.resources import Tenant
from podium.core.snapshot import KeyEntry, KeySecret, Snapshot
from podium.store.snapshot_file import keep_newer, read_revision, read_snapshot, snapshot_stamp, write_snapshot
from podium.store.snapshot_seal import sealed

KEY = b"k" * 32
SNAPSHOT = Snapshot(
    revision=3,
    published_unix_s=1.5,
    keys=(KeyEntry(id="abc", tenant="acme", name="ci", secrets=(KeySecret(digest=b"\x00\xff" * 16),)),),
    tenants={"acme": Tenant(display_name="Acme")},
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "snapshot.bin"


def test_a_snapshot_comes_back_as_it_was_written(path):
    write_snapshot(path, KEY, SNAPSHOT)
    assert read_snapshot(path, KEY) == SNAPSHOT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["snapshot.bin"]


def test_a_cut_is_noticed_at_every_byte(path):
    write_snapshot(path, KEY, SNAPSHOT)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(OperatorError, match=r"is not a snapshot|is damaged"):
            read_snapshot(path, KEY)


def test_a_changed_byte_is_noticed_everywhere(path):
    write_snapshot(path, KEY, SNAPSHOT)
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x40
        path.write_bytes(changed)
        with pytest.raises(OperatorError):
            read_snapshot(path, KEY)


def test_another_key_is_refused_without_telling_either(path):
    write_snapshot(path, KEY, SNAPSHOT)
    with pytest.raises(OperatorError, match=r"another secret\.key") as raised:
        read_snapshot(path, b"other" * 7)
    assert "kkkk" not in str(raised.value) and "other" * 7 not in str(raised.value)


def test_a_newer_format_is_named_as_such(path):
    write_snapshot(path, KEY, SNAPSHOT)
    data = bytearray(path.read_bytes())
    data[8] = 4
    path.write_bytes(data)
    with pytest.raises(OperatorError, match="format 4") as raised:
        read_snapshot(path, KEY)
    assert "newer Podium" in raised.value.hint


def test_an_older_format_is_no_snapshot(path):
    write_snapshot(path, KEY, SNAPSHOT)
    data = bytearray(path.read_bytes())
    data[8] = 1
    path.write_bytes(data)
    with pytest.raises(OperatorError, match="old format 1"):
        read_snapshot(path, KEY)


def test_what_the_version_before_published_is_read(path):
    """Format 2: msgpack with every field, the keys as an array; the seal is over version, revision and body."""
    entry = {
        "id": "abc", "tenant": "acme", "name": "ci", "secrets": [{"digest": b"\x00\xff" * 16, "expires_unix_s": None}],
        "models": ["*"], "endpoints": ["*"], "admin": False, "expires_unix_s": None, "revoked_unix_s": None,
        "tier": "", "tags": "",
    }  # fmt: skip
    whole = {"revision": 3, "published_unix_s": 1.5, "keys": [entry], "tenants": {"acme": {"display_name": "Acme"}}}
    body = msgspec.msgpack.encode(whole)
    head = (2).to_bytes(2, "little") + (3).to_bytes(8, "little")
    path.write_bytes(b"PODIUMSN" + head + hmac.digest(KEY, head + body, "sha256") + body)
    assert read_snapshot(path, KEY) == SNAPSHOT
    assert not keep_newer(path, sealed(SNAPSHOT, KEY))


def test_the_revision_is_proved_without_the_rest(path):
    write_snapshot(path, KEY, SNAPSHOT)
    assert read_revision(path, KEY) == 3
    with pytest.raises(OperatorError, match="another secret"):
        read_revision(path, b"other" * 7)


def test_of_two_copies_the_newer_one_is_kept(path):
    def copy(revision):
        return keep_newer(path, sealed(Snapshot(revision=revision, published_unix_s=1.0), KEY))

    assert copy(5)
    assert not copy(4)
    assert not copy(5)
    assert read_snapshot(path, KEY).revision == 5
    assert copy(6)
    assert read_snapshot(path, KEY).revision == 6


@pytest.mark.parametrize("damaged", [b"", b"PODIUMSN", b"x" * 100, b"PODIUMSN\x01\x00" + b"\xff" * 90])
def test_a_copy_replaces_what_is_no_snapshot(path, damaged):
    path.write_bytes(damaged)
    assert keep_newer(path, sealed(SNAPSHOT, KEY))
    assert read_snapshot(path, KEY) == SNAPSHOT


def test_no_file_is_told_apart_from_a_bad_one(path):
    with pytest.raises(FileNotFoundError):
        read_snapshot(path, KEY)
    path.mkdir()
    with pytest.raises(OperatorError, match="cannot be read"):
        read_snapshot(path, KEY)


def test_a_snapshot_that_cannot_be_written_leaves_the_old_one(path, monkeypatch):
    write_snapshot(path, KEY, SNAPSHOT)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OperatorError, match="No space left"):
        write_snapshot(path, KEY, Snapshot(revision=4, published_unix_s=2.0))
    assert read_snapshot(path, KEY) == SNAPSHOT
    assert [file.name for file in path.parent.iterdir()] == ["snapshot.bin"]


def test_the_stamp_of_what_was_written_is_told(path):
    assert write_snapshot(path, KEY, SNAPSHOT) == snapshot_stamp(path)


def test_the_stamp_changes_with_each_publication_even_of_the_same_content(path):
    assert snapshot_stamp(path) is None
    stamps = []
    for _ in range(3):
        write_snapshot(path, KEY, SNAPSHOT)
        stamps.append(snapshot_stamp(path))
    assert stamps[0] != stamps[1] != stamps[2]
