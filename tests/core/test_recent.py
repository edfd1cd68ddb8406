from hypothesis import given
from hypothesis import strategies as st

from podium.core.recent import Recent


@given(most=st.integers(2, 12), asked=st.lists(st.integers(0, 20), max_size=200))
def test_what_was_asked_for_lately_is_known_and_the_rest_is_bounded(most, asked):
    recent, order = Recent(most), []
    for key in asked:
        found = recent.get(key)
        lately = list(dict.fromkeys(reversed(order)))[: most // 2]
        assert found in (None, -key - 1)
        assert found is not None or key not in lately
        if found is None:
            recent.put(key, -key - 1)
        order.append(key)
        assert len(recent) <= most


def test_who_is_asked_for_again_and_again_stays_while_others_come_and_go():
    recent = Recent(10)
    recent.put("stays", 1)
    for number in range(1000):
        recent.put(number, number)
        assert recent.get("stays") == 1


def test_a_value_that_is_put_again_replaces_the_old_one():
    recent = Recent(4)
    for number in range(5):
        recent.put("same", number)
        recent.put(number, number)
    assert recent.get("same") == 4
