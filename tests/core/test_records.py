import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from podium.core.event import decode_event, encode_event
from podium.core.records import FeedbackRecord, JudgementRecord, Unknown, decode_record, encode_opinion
from podium.testing.events import make_event

SAID = FeedbackRecord(
    id=bytes(16), given_unix_s=1.5, tenant="acme", key_id="k", request_id="q", thumbs=0.0, score=0.25, comment="no"
)
JUDGED = JudgementRecord(
    id=bytes(16),
    given_unix_s=2.5,
    tenant="acme",
    exchange_id=b"x" * 16,
    judge="big",
    judge_version="big-1@abc",
    score_first=1.0,
    score_second=0.5,
    cost_nanousd=7,
)


@pytest.mark.parametrize("record", [SAID, JUDGED])
def test_opinions_are_read_back(record):
    assert decode_record(encode_opinion(record)) == record


def test_events_are_as_before_opinions_came():
    event = make_event()
    assert decode_record(encode_event(event)) == event


@pytest.mark.parametrize("record", [SAID, JUDGED])
def test_readers_before_opinions_came_take_none_for_an_event(record):
    with pytest.raises(msgspec.DecodeError):
        decode_event(encode_opinion(record))


def test_a_newer_kind_is_told_from_damage():
    assert decode_record(b"\xc1\x09anything") == Unknown(9)


def test_later_fields_are_no_obstacle():
    record = encode_opinion(JUDGED)
    longer = record[:2] + msgspec.msgpack.encode([*msgspec.msgpack.decode(record[2:]), "later", 5])
    assert decode_record(longer) == JUDGED


@given(some.binary(max_size=80))
def test_any_bytes_are_a_record_or_damage(data):
    for record in (data, b"\xc1" + data, b"\xc1\x01" + data):
        try:
            decode_record(record)
        except msgspec.DecodeError:
            continue
