"""Answers against the schemas of their requests: what fits, what does not, and what is too much to ask."""

import asyncio
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.gateway import answer_schemas
from podium.gateway.answer_schemas import MAX_ANSWER, MAX_SCHEMA, Fit, fit_of, fits

PERSON = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer", "minimum": 0},
        "role": {"enum": ["user", "admin"]},
        "friends": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
        "address": {"anyOf": [{"$ref": "#/$defs/address"}, {"type": "null"}]},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"address": {"type": "object", "required": ["city"]}},
}


def told(schema, value):
    return fit_of(json.dumps(schema).encode(), json.dumps(value))


@pytest.mark.parametrize(
    ("value", "fit"),
    [
        ({"name": "Ann"}, Fit.YES),
        ({"name": "Ann", "age": 3, "role": "user", "address": {"city": "Bonn"}, "friends": [{"name": "Ben"}]}, Fit.YES),
        ({"name": "Ann", "address": None}, Fit.YES),
        ({}, Fit.NO),
        ([], Fit.NO),
        ({"name": ""}, Fit.NO),
        ({"name": "Ann", "age": -1}, Fit.NO),
        ({"name": "Ann", "age": 1.5}, Fit.NO),
        ({"name": "Ann", "role": "king"}, Fit.NO),
        ({"name": "Ann", "address": {}}, Fit.NO),
        ({"name": "Ann", "friends": [{"name": "Ben", "friends": [{"nme": "Cleo"}]}]}, Fit.NO),
        ({"name": "Ann", "other": 1}, Fit.NO),
    ],
)
def test_an_answer_fits_its_schema_or_does_not(value, fit):
    assert told(PERSON, value) is fit


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "text"},
        {"required": "name"},
        {"enum": "name"},
        {"maxProperties": "1"},
        {"properties": []},
        [],
        {"$ref": "https://example.org/schema.json"},
        {"$ref": "#/$defs/none"},
        {"$ref": "file:///etc/passwd"},
        {"$defs": {"a": {"$schema": "http://json-schema.org/draft-07/schema#"}}, "$ref": "#/$defs/a"},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    ],
)
def test_what_is_no_schema_leads_away_or_goes_in_circles_tells_nothing(schema):
    assert told(schema, {"a": 1}) is Fit.UNKNOWN


def test_a_schema_that_is_broken_off_tells_nothing():
    assert fit_of(b'{"type": ', "1") is Fit.UNKNOWN


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "^(a+)+$"}}},
        {"patternProperties": {"^(a+)+$": False}, "additionalProperties": False},
        {"properties": {"a": {"format": "date"}}},
        {"unevaluatedProperties": False},
    ],
)
def test_what_could_take_for_ever_is_not_looked_at(schema):
    started = time.monotonic()
    assert told(schema, {"a": "a" * 200 + "!"}) is Fit.YES
    assert time.monotonic() - started < 5


def test_items_that_are_there_twice_are_found():
    schema = {"uniqueItems": True}
    assert told(schema, [{"a": 1, "b": 2}, {"b": 2, "a": 1}]) is Fit.NO
    assert told(schema, [[number] for number in range(5000)]) is Fit.YES
    assert told(schema, list(range(5001))) is Fit.UNKNOWN
    assert told({"uniqueItems": False}, [1, 1]) is Fit.YES


def explosive(depth):
    """Each level asks the next one twice."""
    levels = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(depth)}
    return {"$ref": "#/$defs/l0", "$defs": levels | {f"l{depth}": {"type": "object"}}}


def test_an_explosion_is_stopped(monkeypatch):
    assert told(explosive(3), {}) is Fit.YES
    taken = time.thread_time()
    assert told(explosive(40), {}) is Fit.UNKNOWN
    assert time.thread_time() - taken < 20 * answer_schemas.MAX_CPU_S  # two allowances and what surrounds them


async def test_what_is_too_long_or_too_much_at_once_is_left_alone(monkeypatch):
    assert await fits(b'{"type": "string"}', '"x"') is Fit.YES
    assert await fits(b" " * MAX_SCHEMA + b"{}", "1") is Fit.UNKNOWN
    assert await fits(b"{}", "1" * (MAX_ANSWER + 1)) is Fit.UNKNOWN
    monkeypatch.setattr(answer_schemas, "_MOST_WAITING", 1)
    found = await asyncio.gather(*(fits(b'{"type": "string"}', "1") for _ in range(3)))
    assert sorted(found) == [Fit.NO, Fit.UNKNOWN, Fit.UNKNOWN]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)
words = st.sampled_from(
    ["$ref", "$id", "$schema", "$anchor", "$dynamicRef", "type", "items", "allOf", "not", "if", "enum", "properties"]
)
schemas = st.recursive(
    st.booleans() | st.integers() | st.sampled_from(["#", "a", "http://x/", "object", "#a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)


@given(schemas, values)
def test_nothing_that_strangers_write_breaks_anything(schema, value):
    assert told(schema, value) in Fit


@given(values)
def test_what_is_listed_fits_and_nothing_else_does(value):
    assert told({"enum": [value]}, value) is Fit.YES
    assert told({"not": {"const": value}}, value) is Fit.NO
