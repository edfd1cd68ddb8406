import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.registry import Adapter, Tool, WeightFile, Weights
from podium.core.resources import BackendSpec, Model, Version, spec_from_builtins
from podium.delivery.digest import same_version, version_digest, version_name

LOCAL = BackendSpec(provider="local", model="smollm2")
PLAIN = Version(backends=(LOCAL,))


def test_the_digest_of_a_spec_never_changes():
    """Golden: stored names of versions depend on it."""
    assert version_digest(PLAIN) == "3faba63eaaa2"
    full = Version(backends=(LOCAL,), parameters={"temperature": 0.2, "seed": 7}, system_prompt="Be kind.")
    assert version_digest(full) == "ce6c79a24eb1"


def test_the_name_carries_the_digest_and_is_a_valid_name():
    name = version_name("chat", PLAIN)
    assert name == f"chat@{version_digest(PLAIN)}"
    assert spec_from_builtins("Model", {"version": name}) == Model(version=name)


OTHER = BackendSpec(provider="openai", model="gpt-4o")


@pytest.mark.parametrize(
    "other",
    [
        Version(backends=(BackendSpec(provider="local", model="other"),)),
        Version(backends=(LOCAL, OTHER)),
        Version(backends=(LOCAL,), parameters={"seed": 7}),
        Version(backends=(LOCAL,), parameters={"seed": None}),
        Version(backends=(LOCAL,), system_prompt=" "),
    ],
)
def test_a_version_that_answers_with_something_else_has_a_different_digest(other):
    assert version_digest(other) != version_digest(PLAIN)
    assert not same_version(other, PLAIN)


@pytest.mark.parametrize(
    "other",
    [
        Version(backends=(LOCAL, BackendSpec(provider="elsewhere", model="smollm2"))),
        Version(backends=(BackendSpec(provider="elsewhere", model="smollm2", weight=0, region="eu"),)),
    ],
)
def test_where_a_version_runs_does_not_change_it(other):
    assert version_digest(other) == version_digest(PLAIN)
    assert same_version(other, PLAIN)


def test_the_order_of_backends_and_of_parameters_does_not_count():
    assert version_digest(Version(backends=(LOCAL, OTHER))) == version_digest(Version(backends=(OTHER, LOCAL)))
    one = Version(backends=(LOCAL,), parameters={"a": 1, "b": 2})
    two = Version(backends=(LOCAL,), parameters={"b": 2, "a": 1.0})
    assert version_digest(one) == version_digest(two)


def test_true_is_not_one():
    one, true = (Version(backends=(LOCAL,), parameters={"echo": value}) for value in (1, True))
    assert version_digest(one) != version_digest(true)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    )
)
def test_a_spec_that_was_stored_and_read_has_the_same_digest(parameters):
    spec = Version(backends=(LOCAL,), parameters=parameters)
    for codec in (msgspec.json, msgspec.msgpack):
        try:
            again = codec.decode(codec.encode(spec), type=Version)
        except (OverflowError, msgspec.MsgspecError):
            continue  # integers beyond 64 bits cannot be stored at all
        assert version_digest(again) == version_digest(spec)


WEIGHTS = Weights(
    source="hf:org/m@abc", format="gguf", main="m.gguf", files=(WeightFile(path="m.gguf", sha256="a" * 64, size=1),)
)
LORA = Adapter(source="file:l.gguf", file=WeightFile(path="l.gguf", sha256="b" * 64, size=1))
WEIGHED = Version(backends=(LOCAL,), weights=WEIGHTS)


def test_weights_are_what_they_are_and_not_what_a_provider_calls_them():
    assert version_digest(WEIGHED) == "f09aee80f589"  # golden, as above
    elsewhere = msgspec.structs.replace(WEIGHED, backends=(OTHER,))
    mirrored = msgspec.structs.replace(WEIGHED, weights=msgspec.structs.replace(WEIGHTS, source="https://m/m.gguf"))
    assert version_digest(WEIGHED) == version_digest(elsewhere) == version_digest(mirrored)


def test_adapters_their_order_and_strength_tools_and_guard_count():
    other = msgspec.structs.replace(LORA, file=WeightFile(path="l.gguf", sha256="c" * 64, size=1))
    changed = [
        {"adapters": (LORA,)},
        {"adapters": (LORA, other)},
        {"adapters": (other, LORA)},
        {"adapters": (msgspec.structs.replace(LORA, scale=0.5),)},
        {"tools": (Tool(name="look"),)},
        {"tools": (Tool(name="look", parameters={"type": "object"}),)},
        {"guard": "strict"},
        {"weights": None},
    ]
    digests = {version_digest(msgspec.structs.replace(WEIGHED, **one)) for one in changed}
    assert len(digests | {version_digest(WEIGHED)}) == len(changed) + 1


def test_what_is_noted_does_not_count():
    noted = msgspec.structs.replace(
        PLAIN, stage="live", notes="good", licence="MIT", data_sources=("ours",), parent="old", pinned=True
    )
    assert version_digest(noted) == version_digest(PLAIN)


def test_numbers_in_schemas_of_tools_are_told_apart_by_value_only():
    one, same = (
        msgspec.structs.replace(PLAIN, tools=(Tool(name="t", parameters={"a": [{"max": value}]}),))
        for value in (1, 1.0)
    )
    assert version_digest(one) == version_digest(same)
