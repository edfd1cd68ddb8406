import msgspec
from hypothesis import given
from hypothesis import strategies as st

from podium.core.flags import Flag
from podium.delivery.flags.constant import only_variant
from podium.delivery.flags.flagset import FlagSet
from podium.delivery.flags.rings import endless_or_deep


def flags(**needs):
    """Flags by name, each with the names of those that it needs."""
    return {
        name: msgspec.convert(
            {"type": "boolean", "default": "on", "prerequisites": [{"flag": one, "variant": "on"} for one in others]},
            Flag,
        )
        for name, others in needs.items()
    }


def test_rings_are_told_with_their_way_and_those_who_lead_into_them_are_not_blamed():
    problems = endless_or_deep(flags(a=["b"], b=["c"], c=["b"], alone=[], me=["me"]))

    assert problems == {
        "b": "leads back to the flag itself: b -> c -> b",
        "c": "leads back to the flag itself: c -> b -> c",
        "me": "leads back to the flag itself: me -> me",
    }


def test_eight_deep_is_deep_enough_however_long_the_chain():
    chain = {f"f{number}": [f"f{number + 1}"] for number in range(3000)}
    problems = endless_or_deep(flags(**chain, f3000=[]))

    assert len(problems) == 3000 - 8
    assert problems["f0"] == "leads 3000 flags deep, and more than 8 are too many"
    assert "f2992" not in problems


GRAPHS = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefx"), max_size=3, unique=True), max_size=6
)


@given(GRAPHS)
def test_what_is_found_right_can_be_evaluated_and_what_is_not_cannot(needs):
    known = flags(**needs)
    wrong = endless_or_deep(known)
    evaluated = FlagSet(known)

    for name in known:
        if name in wrong:
            assert evaluated.evaluate(name, {}).error is not None
        elif not wrong and all(other in known for others in needs.values() for other in others):
            assert evaluated.is_on(name, {})


def only(**spec):
    return only_variant(msgspec.convert({"type": "boolean"} | spec, Flag))


def test_what_everybody_is_given_is_found_without_evaluating():
    gold = [{"attribute": "tier", "in": ["gold"]}]

    assert only() == "off"
    assert only(default="on") == "on"
    assert only(default="on", enabled=False) == "off"
    assert only(default="on", rules=[{"when": gold, "variant": "off"}]) is None
    assert only(default="on", rules=[{"when": gold, "variant": "on"}]) == "on"
    assert only(rules=[{"split": {"on": 100, "off": 0}}]) == "on"
    assert only(rules=[{"split": {"on": 99, "off": 1}}]) is None
    assert only(rules=[{"variant": "on"}, {"when": gold, "variant": "off"}]) == "on"
    assert only(default="on", prerequisites=[{"flag": "other", "variant": "on"}]) is None
    assert only(prerequisites=[{"flag": "other", "variant": "on"}]) == "off"
