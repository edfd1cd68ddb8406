"""What the data plane reads: everything declared, at one revision, immutable.

The control plane publishes it as one file; a gateway compiles it into look-ups and swaps them at once.
"""

import msgspec

from podium.core.budgets import Budget
from podium.core.flags import Flag
from podium.core.key_table import KeyEntry, KeySecret, KeyTable
from podium.core.limits import LimitPolicy
from podium.core.resources import Model, Price, Provider, Tenant, Version
from podium.core.rollouts import Progress, Rollout

__all__ = [
    "KeyEntry",
    "KeySecret",
    "KeyTable",
    "Snapshot",
    "decode_snapshot",
    "decode_snapshot_before",
    "encode_snapshot",
]

_KEY_TABLE = 1  # msgpack's extension type


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the data plane needs to know."""

    revision: int  # grows with each publication
    published_unix_s: float
    keys: KeyTable = KeyTable.of(())
    tenants: dict[str, Tenant] = {}
    providers: dict[str, Provider] = {}
    versions: dict[str, Version] = {}
    models: dict[str, Model] = {}
    limit_policies: dict[str, LimitPolicy] = {}
    budgets: dict[str, Budget] = {}
    prices: dict[str, Price] = {}
    flags: dict[str, Flag] = {}
    rollouts: dict[str, Rollout] = {}
    progress: dict[str, Progress] = {}  # of rollouts, by the same names

    def __post_init__(self) -> None:
        # A few keys may be given as any iterable.
        if not isinstance(self.keys, KeyTable):
            msgspec.structs.force_setattr(self, "keys", KeyTable.of(self.keys))

    def only_keys_differ(self, other: "Snapshot") -> bool:
        """Whether everything is declared as in `other`; takes a while when there are thousands of models."""
        names = set(self.__struct_fields__) - {"revision", "published_unix_s", "keys"}
        return all(getattr(self, name) == getattr(other, name) for name in names)


def _packed(value: object) -> msgspec.msgpack.Ext:
    if isinstance(value, KeyTable):
        return msgspec.msgpack.Ext(_KEY_TABLE, value.data)
    raise TypeError(f"a snapshot holds no {type(value).__name__}")


def _unpacked(code: int, data: memoryview) -> KeyTable | msgspec.msgpack.Ext:
    """The table stays where it is: `data` is a view of what is decoded."""
    if code != _KEY_TABLE:
        return msgspec.msgpack.Ext(code, data)
    try:
        return KeyTable(data)
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error


class _Before(Snapshot, frozen=True, kw_only=True):
    """As the version before published it."""

    keys: tuple[KeyEntry, ...] = ()  # type: ignore[assignment]  # that is what differs


def decode_snapshot_before(body: bytes | memoryview) -> Snapshot:
    """A snapshot of the version before, whose keys are an array."""
    found = _decode_before(body)
    return Snapshot(**{name: getattr(found, name) for name in Snapshot.__struct_fields__})


_decode_before = msgspec.msgpack.Decoder(_Before).decode
encode_snapshot = msgspec.msgpack.Encoder(enc_hook=_packed).encode
decode_snapshot = msgspec.msgpack.Decoder(Snapshot, ext_hook=_unpacked).decode
