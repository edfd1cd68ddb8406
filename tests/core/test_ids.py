import re
import uuid

from hypothesis import given
from hypothesis import strategies as st

from podium.core.ids import event_id, random_token


@given(st.integers(0, 2**48 * 1_000_000 - 1))
def test_an_event_id_is_a_uuid_of_version_7_that_tells_its_millisecond(unix_ns):
    value = event_id(unix_ns)
    parsed = uuid.UUID(bytes=value)

    assert parsed.variant == uuid.RFC_4122
    assert parsed.bytes[6] >> 4 == 7
    assert int.from_bytes(value[:6], "big") == unix_ns // 1_000_000


@given(st.integers(0, 2**63), st.integers(1, 10_000))
def test_event_ids_are_ordered_by_millisecond(unix_ns, later_ms):
    assert event_id(unix_ns)[:6] < event_id(unix_ns + later_ms * 1_000_000)[:6]


def test_event_ids_of_one_instant_differ():
    assert len({event_id(0) for _ in range(1_000)}) == 1_000


@given(st.integers(0, 200))
def test_a_token_has_the_length_that_was_asked_for_and_no_confusing_letters(length):
    assert re.fullmatch(rf"[0-9a-km-np-z]{{{length}}}", random_token(length))


def test_all_characters_of_a_token_are_equally_likely():
    text = random_token(34_000)

    counts = {character: text.count(character) for character in set(text)}

    assert len(counts) == 34
    assert all(700 < count < 1_300 for count in counts.values())  # 1,000 each; nine standard deviations
