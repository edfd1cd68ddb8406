import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.flags import Flag
from podium.delivery.flags.flagset import FlagSet
from podium.delivery.flags.values import ErrorCode, EvaluationReason


def told(evaluation):
    return evaluation.value, evaluation.variant, evaluation.reason


def test_a_flag_without_rules_is_static(flags):
    known = flags(motto={"type": "string", "variants": {"off": "", "x": "hi"}, "default": "x"})

    assert told(known.evaluate("motto", {})) == ("hi", "x", "STATIC")


def test_the_first_rule_that_holds_decides_and_else_the_default(flags):
    known = flags(
        size={
            "type": "number",
            "variants": {"small": 1, "large": 2.5, "huge": 9, "off": 0},
            "default": "small",
            "rules": [
                {"name": "gold", "when": [{"attribute": "tier", "in": ["gold"]}], "variant": "large"},
                {"when": [{"attribute": "tenant", "starts_with": ["ac"]}], "variant": "huge"},
            ],
        }
    )

    assert told(known.evaluate("size", {"tier": "gold", "tenant": "acme"})) == (2.5, "large", "TARGETING_MATCH")
    assert known.evaluate("size", {"tier": "gold"}).rule == "gold"
    assert told(known.evaluate("size", {"tenant": "acme"})) == (9, "huge", "TARGETING_MATCH")
    assert told(known.evaluate("size", {"tenant": "else"})) == (1, "small", "DEFAULT")


def test_all_conditions_of_a_rule_have_to_hold(flags):
    when = [{"attribute": "tier", "in": ["gold"]}, {"attribute": "user", "matches": ["*@acme.com"]}]
    known = flags(beta={"type": "boolean", "rules": [{"when": when, "variant": "on"}]})

    assert known.is_on("beta", {"tier": "gold", "user": "ann@acme.com"})
    assert not known.is_on("beta", {"tier": "gold", "user": "ann@else.com"})
    assert not known.is_on("beta", {"user": "ann@acme.com"})


def test_the_kill_switch_wins_over_everything(flags):
    known = flags(
        beta={
            "type": "boolean",
            "default": "on",
            "enabled": False,
            "rules": [{"variant": "on"}],
            "prerequisites": [{"flag": "gone", "variant": "on"}],
        }
    )

    assert told(known.evaluate("beta", {"tenant": "acme"})) == (False, "off", "DISABLED")


def test_a_flag_that_is_not_there_or_of_another_type_gives_an_error_and_no_value(flags):
    known = flags(beta={"type": "boolean", "default": "on"})

    assert known.evaluate("alpha", {}).error is ErrorCode.FLAG_NOT_FOUND
    wrong = known.evaluate("beta", {}, "string")
    assert (wrong.error, wrong.reason, wrong.value) == (ErrorCode.TYPE_MISMATCH, EvaluationReason.ERROR, None)
    assert "of type boolean, not string" in wrong.detail
    assert not known.is_on("alpha", {})


def test_a_split_without_its_attribute_says_which_one_is_missing(flags):
    known = flags(
        beta={"type": "boolean", "rules": [{"split": {"on": 100}}]},
        gamma={"type": "boolean", "rules": [{"split": {"on": 50, "off": 50}, "by": "device"}]},
    )

    assert told(known.evaluate("beta", {"targetingKey": "ann"})) == (True, "on", "SPLIT")
    assert known.evaluate("beta", {}).error is ErrorCode.TARGETING_KEY_MISSING
    missing = known.evaluate("gamma", {"targetingKey": "ann", "device": ""})
    assert missing.error is ErrorCode.TARGETING_KEY_MISSING
    assert "`device`" in missing.detail


def test_a_prerequisite_that_gives_something_else_turns_the_flag_off(flags):
    rules = [{"when": [{"attribute": "tenant", "in": ["acme"]}], "variant": "on"}]
    known = flags(
        engine={"type": "boolean", "rules": rules},
        button={"type": "boolean", "default": "on", "prerequisites": [{"flag": "engine", "variant": "on"}]},
        light={"type": "boolean", "default": "on", "prerequisites": [{"flag": "button", "variant": "on"}]},
    )

    assert told(known.evaluate("button", {"tenant": "acme"})) == (True, "on", "DEFAULT")
    off = known.evaluate("button", {})
    assert (told(off), off.prerequisite) == ((False, "off", "DISABLED"), "engine")
    assert known.is_on("light", {"tenant": "acme"})
    assert known.evaluate("light", {}).prerequisite == "button"


def test_a_split_that_is_needed_and_cannot_be_dealt_is_told_as_what_is_missing(flags):
    known = flags(
        engine={"type": "boolean", "rules": [{"split": {"on": 50, "off": 50}}]},
        button={"type": "boolean", "default": "on", "prerequisites": [{"flag": "engine", "variant": "on"}]},
    )

    assert known.evaluate("button", {}).error is ErrorCode.TARGETING_KEY_MISSING


def test_prerequisites_that_nobody_checked_end_in_an_error(flags):
    def needs(other):
        return {"type": "boolean", "default": "on", "prerequisites": [{"flag": other, "variant": "on"}]}

    chain = {f"f{number}": needs(f"f{number + 1}") for number in range(2000)}
    known = flags(self=needs("self"), a=needs("b"), b=needs("a"), lost=needs("gone"), **chain)

    for name in ("self", "a", "b", "lost", "f0"):
        assert known.evaluate(name, {}).error is ErrorCode.GENERAL, name
    assert {one.error for _, one in known.evaluate_all(["a", "b", "self"], {})} == {ErrorCode.GENERAL}


def test_what_many_flags_depend_on_is_evaluated_once(flags):
    """Eight flags deep and eight wide would be 16 million evaluations without a memory."""
    specs = {}
    for depth in range(8):
        needs = [{"flag": f"f{depth + 1}_{n}", "variant": "on"} for n in range(8)] if depth < 7 else []
        specs |= {f"f{depth}_{n}": {"type": "boolean", "default": "on", "prerequisites": needs} for n in range(8)}

    assert flags(**specs).is_on("f0_0", {})


def test_all_flags_at_once_give_what_each_gives(flags):
    rules = [{"split": {"on": 50, "off": 50}}]
    known = flags(
        a={"type": "boolean", "rules": rules},
        b={"type": "boolean", "default": "on", "prerequisites": [{"flag": "a", "variant": "on"}]},
        c={"type": "boolean", "prerequisites": [{"flag": "b", "variant": "on"}], "rules": rules},
    )

    for subject in map(str, range(50)):
        context = {"targetingKey": subject}
        assert dict(known.evaluate_all(known, context)) == {name: known.evaluate(name, context) for name in known}


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10))
CONTEXTS = st.dictionaries(
    st.sampled_from(["targetingKey", "tenant", "a", "b", "tag:x"]),
    st.one_of(
        SCALARS,
        st.lists(SCALARS, max_size=3),
        st.dictionaries(st.text(max_size=3), SCALARS, max_size=2),
        st.sampled_from(["\ud800", 10**5000, -(10**5000), "1.2.3", "9" * 10_000, b"x", object()]),
    ),
)
CONDITIONS = st.fixed_dictionaries(
    {"attribute": st.sampled_from(["targetingKey", "tenant", "a", "b", "tag:x", "never"])},
    optional={
        "in": st.lists(st.one_of(st.booleans(), st.integers(-9, 9), st.text(max_size=3)), min_size=1, max_size=3),
        "not_in": st.lists(st.one_of(st.booleans(), st.integers(-9, 9), st.text(max_size=3)), min_size=1, max_size=3),
        "matches": st.lists(st.text("ab*", min_size=1, max_size=5), min_size=1, max_size=3),
        "starts_with": st.lists(st.text("ab1", min_size=1, max_size=2), min_size=1, max_size=2),
        "at_least": st.floats(-9, 9),
        "below": st.floats(-9, 9),
        "semver_at_least": st.sampled_from(["1", "1.2", "1.2.3-rc.1"]),
        "semver_below": st.sampled_from(["2", "1.3", "1.2.3+build"]),
        "present": st.just(True),
    },
).filter(lambda one: len(one) > 1)
RULES = st.one_of(
    st.fixed_dictionaries({"when": st.lists(CONDITIONS, max_size=3), "variant": st.sampled_from(["on", "off"])}),
    st.fixed_dictionaries(
        {
            "when": st.lists(CONDITIONS, max_size=3),
            "split": st.sampled_from([{"on": 50, "off": 50}, {"on": 100}, {"on": 0, "off": 100}]),
            "by": st.sampled_from(["targetingKey", "a"]),
        }
    ),
)
NAMES = ["f", "g", "h"]
FLAGS = st.dictionaries(
    st.sampled_from(NAMES),
    st.fixed_dictionaries(
        {
            "type": st.just("boolean"),
            "enabled": st.booleans(),
            "default": st.sampled_from(["on", "off"]),
            "rules": st.lists(RULES, max_size=3),
            "prerequisites": st.lists(
                st.fixed_dictionaries({"flag": st.sampled_from([*NAMES, "gone"]), "variant": st.just("on")}),
                max_size=2,
                unique_by=lambda one: one["flag"],
            ),
        }
    ),
)


@given(specs=FLAGS, context=CONTEXTS, name=st.sampled_from([*NAMES, "gone"]))
def test_every_flag_gives_a_value_of_a_variant_or_an_error_for_any_context(specs, context, name):
    known = FlagSet({one: msgspec.convert(spec, Flag) for one, spec in specs.items()})

    found = known.evaluate(name, context)

    if found.error is None:
        assert found.value is known.flag(name).values[found.variant]
        assert found.reason is not EvaluationReason.ERROR
    else:
        assert (found.value, found.variant, found.reason) == (None, "", EvaluationReason.ERROR)
        assert found.detail
    assert found == known.evaluate(name, context)


@pytest.mark.parametrize("wanted", ["string", "number", "json"])
def test_a_type_that_was_asked_for_is_looked_at_before_rules(flags, wanted):
    known = flags(beta={"type": "boolean", "rules": [{"split": {"on": 100}}]})

    assert known.evaluate("beta", {}, wanted).error is ErrorCode.TYPE_MISMATCH


def test_only_what_is_asked_for_is_made_ready_however_many_flags_there_are(flags):
    rules = [{"when": [{"attribute": "tier", "in": ["gold"]}], "variant": "on"}, {"split": {"on": 25, "off": 75}}]
    known = flags(**{f"f{number}": {"type": "boolean", "rules": rules} for number in range(1000)})

    for _ in range(2):
        for name in ("f1", "f500", "f999"):
            assert known.evaluate(name, {"tier": "gold"}).value is True

    assert set(known._compiled) == {"f1", "f500", "f999"}
