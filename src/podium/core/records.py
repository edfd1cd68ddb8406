"""What a gateway's journal holds: events of exchanges, and opinions about them.

A record begins with a byte that tells its kind. An event is an array of MessagePack. Every other kind begins with
0xC1, which MessagePack never uses (its specification, "Formats"), and a byte that names it; so no reader takes the one
for the other. The format of segments is the same for all: their frames hold any bytes. Readers before these kinds came
lay such a record aside as damaged, and read on.
"""

from typing import Final

import msgspec

from podium.core.event import Event, decode_event

__all__ = ["FeedbackRecord", "JudgementRecord", "Opinion", "Unknown", "decode_record", "encode_opinion"]

_MARK: Final = 0xC1


class FeedbackRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a user said of an exchange. Fields are only ever appended, with defaults. The comment is personal data."""

    id: bytes  # 16 bytes, as of events: in the order in which they were said
    given_unix_s: float
    tenant: str  # of the key that gave it, and so of the exchange
    key_id: str
    request_id: str
    exchange_id: bytes = b""  # empty: the gateway does not know which exchange it is about, or whether there is one
    user: str = ""
    thumbs: float | None = None  # 1: up, 0: down
    score: float | None = None
    task_done: float | None = None
    comment: str | None = None


class JudgementRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a judge said of an exchange's answer and another version's. Fields are only ever appended, with defaults."""

    id: bytes
    given_unix_s: float
    tenant: str
    exchange_id: bytes
    judge: str  # public name of the model
    judge_version: str
    score_first: float  # when this exchange's answer was shown first, from 0 (worse) to 1 (better)
    score_second: float  # and when it was shown second
    cost_nanousd: int = 0  # of the other answer and of the judge's calls


Opinion = FeedbackRecord | JudgementRecord


class Unknown(msgspec.Struct, frozen=True):
    """A record of a kind that only a newer Podium knows."""

    kind: int


_KINDS: dict[int, type[Opinion]] = {1: FeedbackRecord, 2: JudgementRecord}
_MARKS = {kind: bytes((_MARK, number)) for number, kind in _KINDS.items()}
_DECODERS = {number: msgspec.msgpack.Decoder(kind).decode for number, kind in _KINDS.items()}
_encode = msgspec.msgpack.Encoder().encode


def encode_opinion(opinion: Opinion) -> bytes:
    """A record for a journal."""
    return _MARKS[type(opinion)] + _encode(opinion)


def decode_record(record: bytes) -> Event | Opinion | Unknown:
    """What a record of a journal holds. msgspec.DecodeError: nothing that can be read."""
    if record[:1] != b"\xc1":
        return decode_event(record)
    if len(record) == 1:
        raise msgspec.DecodeError("a record without a kind")
    decode = _DECODERS.get(record[1])
    return Unknown(record[1]) if decode is None else decode(record[2:])
