import msgspec
import pytest

from podium.control.specs import resource_from_values, values_of
from podium.core.flags import Flag
from podium.core.resources import spec_from_builtins


def flag(**spec):
    return spec_from_builtins("Flag", spec)


def test_a_boolean_flag_needs_no_variants():
    made = flag(type="boolean")

    assert made.values == {"on": True, "off": False}
    assert (made.default, made.off, made.enabled, made.readers) == ("off", "off", True, ("*",))


def test_a_flag_with_everything_is_the_same_after_it_was_stored():
    spec = {
        "type": "json",
        "variants": {"small": {"lines": 3, "words": ["a", None, 1.5]}, "none": []},
        "default": "small",
        "off": "none",
        "enabled": False,
        "rules": [
            {
                "name": "staff",
                "when": [
                    {"attribute": "tenant", "in": ["acme", 1, True, 2.5]},
                    {"attribute": "app", "semver_at_least": "2.1", "semver_below": "3.0.0-rc.1", "not_in": ["2.2"]},
                ],
                "split": {"small": 99.9, "none": 0.1},
                "by": "user",
            }
        ],
        "prerequisites": [{"flag": "other", "variant": "on"}],
        "salt": "pepper",
        "readers": ["acme"],
        "owner": "search team",
        "stale_after_days": 30,
    }

    made = flag(**spec)

    assert values_of(made) == spec
    assert resource_from_values("Flag", "x", msgspec.json.decode(msgspec.json.encode(values_of(made)))).spec == made
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Flag) == made


TWO = {"a": 1, "b": 2.5}


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"type": "color"}, "$.type"),
        ({"type": "string"}, "`variants` is empty"),
        ({"type": "boolean", "variants": {"on": "true", "off": False}}, "`variants.on` is not `true` or `false`"),
        ({"type": "number", "variants": {"off": True}}, "`variants.off` is no number"),
        ({"type": "number", "variants": {"off": float("inf")}}, "`variants.off` is beyond what JSON numbers"),
        ({"type": "number", "variants": {"off": 2**54}}, "`variants.off` is beyond"),
        ({"type": "string", "variants": {"off": 1}}, "`variants.off` is no text"),
        ({"type": "string", "variants": {"off": "x" * 16_400}}, "`variants.off` is longer than 16384 bytes"),
        ({"type": "json", "variants": {"off": "x"}}, "`variants.off` is no object and no list"),
        ({"type": "json", "variants": {"off": [float("nan")]}}, "`variants.off` is beyond"),
        ({"type": "json", "variants": {"off": {"a": b"x"}}}, "`variants.off` is no JSON"),
        ({"type": "number", "variants": TWO}, "`default`: there is no variant `off`; there are a, b"),
        ({"type": "number", "variants": TWO, "default": "a"}, "`off`: there is no variant `off`"),
        ({"type": "boolean", "variants": {"o n": True}}, "$.variants"),
        ({"type": "boolean", "rules": [{"variant": "maybe"}]}, "`rules[0].variant`: there is no variant `maybe`"),
        ({"type": "boolean", "rules": [{"split": {"on": 50, "to": 50}}]}, "`rules[0].split`: there is no variant `to`"),
        ({"type": "boolean", "rules": [{}]}, "exactly one of `variant` and `split` - at `$.rules[0]`"),
        ({"type": "boolean", "rules": [{"variant": "on", "split": {"on": 100}}]}, "exactly one of"),
        ({"type": "boolean", "rules": [{"split": {"on": 50, "off": 49}}]}, "99 percent together, not 100"),
        ({"type": "boolean", "rules": [{"split": {"on": 101, "off": -1}}]}, "$.rules[0].split"),
        ({"type": "boolean", "rules": [{"variant": "on", "by": "user"}]}, "`by` is for `split`"),
        ({"type": "boolean", "rules": [{"variant": "on", "when": [{"attribute": "user"}]}]}, "$.rules[0].when[0]"),
        ({"type": "boolean", "rules": [{"variant": "on", "when": [{"attribute": "a b", "in": [1]}]}]}, "attribute"),
        (
            {"type": "boolean", "rules": [{"variant": "on", "when": [{"attribute": "a", "semver_below": "x"}]}]},
            "$.rules[0].when[0].semver_below",
        ),
        (
            {"type": "boolean", "rules": [{"variant": "on", "when": [{"attribute": "a", "contains": "x"}]}]},
            "unknown field `contains` - at `$.rules[0].when[0]`",
        ),
        ({"type": "boolean", "prerequisites": [{"flag": "a", "variant": "on"}] * 2}, "names a flag twice"),
        ({"type": "boolean", "stale_after_days": 0}, "$.stale_after_days"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(spec, complaint):
    with pytest.raises(msgspec.ValidationError) as raised:
        flag(**spec)

    assert complaint in str(raised.value)


def test_values_that_are_nested_too_deeply_are_refused():
    value = []
    for _ in range(17):
        value = [value]

    with pytest.raises(msgspec.ValidationError, match="nested deeper than 16"):
        flag(type="json", variants={"off": value})
