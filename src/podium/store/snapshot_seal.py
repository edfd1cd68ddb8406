"""A published snapshot as sealed bytes, the same in a file and in the database.

    magic 8 · format version 2 · revision 8 · HMAC-SHA256 of version, revision and body 32 · body (msgpack)

The HMAC tells damage and foreign content from our own: a snapshot decides who may call what.
"""

import hmac

import msgspec

from podium.core.errors import OperatorError
from podium.core.snapshot import Snapshot, decode_snapshot, decode_snapshot_before, encode_snapshot

__all__ = ["FORMAT_VERSION", "HEAD_BYTES", "opened", "proved_revision", "sealed", "sealed_revision"]

FORMAT_VERSION = 3
_READ_FROM = 2  # of which the keys are an array
_MAGIC = b"PODIUMSN"
_VERSION = slice(8, 10)
_REVISION = slice(10, 18)
_SEAL = slice(18, 50)
HEAD_BYTES = 50


def sealed(snapshot: Snapshot, key: bytes) -> bytes:
    """The snapshot as bytes that only holders of `key` can make."""
    version = FORMAT_VERSION.to_bytes(2, "little")
    revision = snapshot.revision.to_bytes(8, "little")
    body = encode_snapshot(snapshot)
    return b"".join((_MAGIC, version, revision, _hmac(key, version + revision, body), body))


def sealed_revision(head: bytes) -> int:
    """The revision that the first `HEAD_BYTES` tell, unproved; 0: they are not of this format."""
    if len(head) < HEAD_BYTES or not head.startswith(_MAGIC):
        return 0
    if not _READ_FROM <= int.from_bytes(head[_VERSION], "little") <= FORMAT_VERSION:
        return 0
    return int.from_bytes(head[_REVISION], "little")


def proved_revision(data: bytes, key: bytes, name: str) -> int:
    """The revision of the snapshot in `data`, which is not decoded. OperatorError: as of `opened`."""
    _proved(data, key, name)
    return int.from_bytes(data[_REVISION], "little")


def opened(data: bytes, key: bytes, name: str) -> Snapshot:
    """The snapshot in `data`, which lives as long as its keys do.

    OperatorError about `name`: it is damaged, or was not sealed with `key`.
    """
    body = _proved(data, key, name)
    before = int.from_bytes(data[_VERSION], "little") < FORMAT_VERSION
    try:
        return decode_snapshot_before(body) if before else decode_snapshot(body)
    except msgspec.DecodeError as error:
        raise _unusable(name, f"does not fit this Podium ({error})") from error


def _proved(data: bytes, key: bytes, name: str) -> memoryview:
    """The body. Of many keys it is large: it is not copied, and others run while its hash is computed."""
    if not data.startswith(_MAGIC) or len(data) < HEAD_BYTES:
        raise _unusable(name, "is not a snapshot, or was cut")
    number = int.from_bytes(data[_VERSION], "little")
    if number > FORMAT_VERSION:
        raise OperatorError(
            f"{name} has format {number}, above this Podium's {FORMAT_VERSION}",
            hint="it was published by a newer Podium: upgrade this process too",
        )
    if number < _READ_FROM:
        raise _unusable(name, f"has the old format {number}")
    head, body = data[_VERSION] + data[_REVISION], memoryview(data)[HEAD_BYTES:]
    if not hmac.compare_digest(data[_SEAL], _hmac(key, head, body)):
        raise OperatorError(
            f"{name} is damaged, or was sealed with another secret.key",
            hint="all processes of one Podium need the same root secret (identity.root_secret, or secret.key in the"
            " data folder); when they have it, the control process publishes a new one at its start",
        )
    return body


def _hmac(key: bytes, head: bytes, body: bytes | memoryview) -> bytes:
    digest = hmac.new(key, head, "sha256")
    digest.update(body)
    return digest.digest()


def _unusable(name: str, why: str) -> OperatorError:
    return OperatorError(
        f"{name} {why}", hint="start the control process: it publishes a new one; delete the file if it does not"
    )
