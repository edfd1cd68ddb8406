from typing import get_args

import msgspec
import pytest

from podium.core.resources import SPECS, Kind, Model, Provider, SecretRef, spec_from_builtins

OPENAI = {"protocol": "openai", "base_url": "https://api.openai.com/v1"}
SMALLEST = {
    "Tenant": {},
    "Provider": OPENAI,
    "Version": {"backends": [{"provider": "local", "model": "smollm2"}]},
    "Model": {"version": "smollm2-q8"},
    "LimitPolicy": {"limits": [{"what": "concurrency", "amount": 1}]},
    "Budget": {"unit": "usd", "amount": 10, "period": "month"},
    "Price": {"model": "gpt-*", "input_usd_per_million": "0.15", "output_usd_per_million": "0.6"},
    "Flag": {"type": "boolean"},
    "Rollout": {"model": "chat", "candidate": "smollm3"},
    "Progress": {"phase": "running", "before": "smollm2", "salt": "abc"},
}


def test_every_kind_has_a_spec():
    assert set(SPECS) == set(get_args(Kind)) == set(SMALLEST)


@pytest.mark.parametrize("kind", SMALLEST)
def test_the_least_that_can_be_said_is_enough_and_comes_back_as_it_was(kind):
    spec = spec_from_builtins(kind, SMALLEST[kind])

    written = msgspec.json.decode(msgspec.json.encode(spec))

    assert written == SMALLEST[kind]
    assert spec_from_builtins(kind, written) == spec


@pytest.mark.parametrize("kind", SMALLEST)
def test_every_field_is_described(kind):
    described = msgspec.json.schema_components([SPECS[kind]])[1]

    for name, schema in described.items():
        for field, properties in schema.get("properties", {}).items():
            assert properties.get("description", "").endswith("."), f"{name}.{field}"


@pytest.mark.parametrize(
    ("kind", "value", "place"),
    [
        ("Tenant", {"suspendet": True}, "suspendet"),
        ("Tenant", {"suspended": "yes"}, r"\$\.suspended"),
        ("Tenant", {"models": ["a", 1]}, r"\$\.models\[1\]"),
        ("Tenant", {"display_name": "x" * 201}, r"\$\.display_name"),
        ("Provider", OPENAI | {"timeouts": {"connect_s": 0}}, r"\$\.timeouts\.connect_s"),
        ("Provider", OPENAI | {"protocol": "gopher"}, r"\$\.protocol"),
        ("Provider", OPENAI | {"max_connections": 0}, r"\$\.max_connections"),
        ("Provider", {"protocol": "openai"}, "base_url"),
        ("Provider", OPENAI | {"base_url": "ftp://x"}, "base_url"),
        ("Provider", {"protocol": "local", "base_url": "http://127.0.0.1"}, "base_url"),
        ("Provider", OPENAI | {"api_key": {}}, r"env.*file"),
        ("Provider", OPENAI | {"api_key": {"env": "A", "file": "b"}}, r"env.*file"),
        ("Provider", OPENAI | {"api_key": "sk-123"}, r"\$\.api_key"),
        ("Version", {"backends": []}, r"\$\.backends"),
        ("Version", {"backends": [{"provider": "a b", "model": "m"}]}, r"\$\.backends\[0\]\.provider"),
        ("Model", {"version": "v\n"}, r"\$\.version"),
        ("Model", {"version": "v", "endpoints": ["chat"]}, r"\$\.endpoints\[0\]"),
        ("LimitPolicy", {}, "limits"),
        ("LimitPolicy", {"limits": [{"what": "requests", "amount": 0}]}, r"\$\.limits\[0\]\.amount"),
        ("Budget", {"unit": "usd", "amount": 0, "period": "month"}, r"\$\.amount"),
        ("Price", SMALLEST["Price"] | {"input_usd_per_million": "-1"}, r"\$\.input_usd_per_million"),
        ("Price", SMALLEST["Price"] | {"input_usd_per_million": 0.15}, r"\$\.input_usd_per_million"),
        ("Price", SMALLEST["Price"] | {"output_usd_per_million": "0.0000000001"}, r"\$\.output_usd_per_million"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(kind, value, place):
    with pytest.raises(msgspec.ValidationError, match=place):
        spec_from_builtins(kind, value)


def test_specs_are_values():
    first = Provider(protocol="openai", base_url="https://a", api_key=SecretRef(env="KEY"))

    assert first == Provider(protocol="openai", base_url="https://a", api_key=SecretRef(env="KEY"))
    with pytest.raises(AttributeError):
        first.base_url = "https://b"


def test_the_defaults_are_the_careful_ones():
    assert spec_from_builtins("Provider", OPENAI).tls.verify
    assert Model(version="v").aliases == ()
