"""Charges, accounts and answers as the scripts of budgets write and read them."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

from podium.economics.budgets.account import Account
from podium.economics.budgets.values import Charge, Crossing, Settlement, SettlementOutcome

__all__ = [
    "DAY_MS",
    "ChargeWords",
    "SliceCode",
    "SliceTold",
    "SliceWords",
    "account_from",
    "account_of",
    "crossing_of",
    "pack_charges",
    "settlement",
    "slice_told",
    "words_of_charge",
]

DAY_MS = 86_400_000
_LONGEST_MS = 400 * DAY_MS
_REMEMBERED = 20_000  # packed charges
_HOUR_NS = 3600 * 10**9
_ORDER = ("key", "unit", "amount", "hard", "bucket", "parts", "ttl_ms", "blob")
_pack = msgspec.msgpack.Encoder().encode


class SliceWords(msgspec.Struct, omit_defaults=True):
    """What the store is told of a slice; see `budgets_keep.lua`."""

    id: str
    version: int
    made: int  # Unix time, microseconds
    total: int
    keep: int
    ahead: int
    more: int
    new: bool = False  # the store has never answered to it
    last: bool = False  # it ends with this
    charge: dict[str, Any] | None = None  # as `words_of_charge`


class SliceCode(IntEnum):
    """What has become of a slice."""

    OLD = -1  # a later version is known
    UNKNOWN = 0  # or it has ended
    HELD = 1
    EXPIRED = 2  # its lease had ended; what it came to is counted all the same


class SliceTold(NamedTuple):
    """What the store answers of a slice."""

    code: SliceCode
    more: int  # that it holds now for exchanges to come
    left: int  # of the budget
    mark_ns: int
    recalled: bool  # nothing is to be ahead for a while
    crossings: tuple[Crossing, ...]


class ChargeWords:
    """Charges as `exchanges.lua` reads them, those of an account worked out once as far as they stay the same."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, tuple[Charge, int, tuple[str | int, ...]]] = {}

    def of(self, charge: Charge, unix_ns: int) -> tuple[str | int, ...]:
        """Key, unit, amount, hard, bucket, parts, ttl_ms, blob, as in `words_of_charge`; `charge` is of that moment."""
        known = self._known.get(charge.key)
        if known is None or known[0] is not charge or unix_ns > known[1]:
            words = words_of_charge(charge, unix_ns)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[charge.key] = (charge, unix_ns + _HOUR_NS, tuple(words[name] for name in _ORDER))
        return known[2]


def pack_charges(charges: Sequence[Charge], unix_ns: int) -> bytes:
    """Charges as the scripts read them."""
    return _pack([words_of_charge(charge, unix_ns) for charge in charges])


def words_of_charge(charge: Charge, unix_ns: int) -> dict[str, Any]:
    """A charge as the scripts read it; `unit` is an index of Lua, which begins at 1."""
    rule, length_ns = charge.rule, charge.bucket_ns
    until_ns = length_ns * (charge.buckets + 2) if length_ns else charge.end_ns - unix_ns
    return {
        "key": charge.key,
        "unit": 1 if rule.unit == "usd" else 2,
        "amount": rule.amount,
        "hard": rule.hard,
        "parts": charge.buckets if length_ns else 0,
        "bucket": unix_ns // length_ns if length_ns else 0,
        "ttl_ms": min(max(until_ns // 1_000_000, 0) + 2 * DAY_MS, _LONGEST_MS),
        "blob": msgspec.json.encode(charge).decode(),
    }


def account_of(raw: bytes, charge: Charge | None = None) -> Account:
    """An account from its packed state, under this charge or the one that it was last asked with."""
    return account_from(msgspec.msgpack.decode(raw), charge)


def account_from(state: dict[str, Any], charge: Charge | None = None) -> Account:
    """As `account_of`, of the state."""
    account = Account(charge or msgspec.json.decode(state["blob"], type=Charge))
    account.settled, account.reserved, account.running = state["settled"], state["reserved"], state["running"]
    account.mark_ns, account.mended_ns = state["mark"] * 1000, state["mended"] * 1000
    account.latest = state["latest"]
    account.running_before = state["earlier"]
    account._before = state["before"]  # noqa: SLF001 - its state, restored
    account._told = _pairs(state["told"])  # noqa: SLF001 - its state, restored
    if state["rolling"]:
        account._buckets = _pairs(state["buckets"])  # noqa: SLF001 - its state, restored
    return account


def _pairs(flat: Any) -> dict[Any, int]:
    """Lua does not know whether an empty table is a list or a map."""
    return dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}


_PLAIN: dict[str | bytes, Settlement] = {outcome.value: Settlement(outcome) for outcome in SettlementOutcome}
_PLAIN |= {outcome.value.encode(): Settlement(outcome) for outcome in SettlementOutcome}


def settlement(told: list[Any]) -> Settlement:
    """What a script answered to an end."""
    plain = _PLAIN[told[0]]
    return plain if len(told) == 1 else Settlement(plain.outcome, tuple(map(crossing_of, told[1:])))


def slice_told(told: list[Any]) -> SliceTold:
    """What a script answered of a slice."""
    code, more, left, mark_us, recalled, *crossings = told
    return SliceTold(SliceCode(code), more, left, mark_us * 1000, recalled == 1, tuple(map(crossing_of, crossings)))


def crossing_of(told: list[Any]) -> Crossing:
    """A soft mark that was reached."""
    charge = msgspec.json.decode(told[0], type=Charge)
    rule = charge.rule
    return Crossing(rule.budget, charge.key, charge.subject, float(told[1]), told[2], rule.amount, rule.unit)
