import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.control.documents import check_name, document_of, parse_documents, parse_files, parse_values, yaml_text
from podium.control.problems import InvalidDocuments
from podium.core.resources import BackendSpec, Provider, Resource, Tenant, Version

HOUSE = """\
kind: Provider
name: openai
spec:
  protocol: openai
  base_url: https://api.example.com/v1
  api_key: {env: OPENAI_API_KEY}
---
kind: Version
name: gpt-1
spec:
  backends:
    - provider: openai
      model: gpt-4o
  parameters:
    temperature: 0.5
"""


def problems_of(text, file="house.yaml"):
    with pytest.raises(InvalidDocuments) as caught:
        parse_documents(text, file=file)
    return [str(problem) for problem in caught.value.problems]


def test_yaml_documents_become_typed_resources():
    provider, version = parse_documents(HOUSE)
    assert isinstance(provider.spec, Provider)
    assert provider.spec.api_key.env == "OPENAI_API_KEY"
    assert version == Resource(
        "Version",
        "gpt-1",
        Version(backends=(BackendSpec(provider="openai", model="gpt-4o"),), parameters={"temperature": 0.5}),
    )


def test_json_reads_like_yaml_alone_and_as_an_array():
    documents = [document_of(resource) for resource in parse_documents(HOUSE)]
    assert parse_documents(json.dumps(documents)) == parse_documents(HOUSE)
    assert parse_documents(json.dumps(documents[0])) == parse_documents(HOUSE)[:1]
    assert parse_values(documents) == parse_documents(HOUSE)


def test_several_files_are_one_set():
    first, second = HOUSE.split("---\n")
    assert parse_files([("a.yaml", first), ("b.yaml", second)]) == parse_documents(HOUSE)


def test_an_empty_text_declares_nothing():
    assert parse_documents("") == ()
    assert parse_documents("---\n---\n# nothing\n") == ()


def test_each_wrong_field_is_told_with_file_line_and_key_path():
    text = HOUSE.replace("model: gpt-4o", "model: 4").replace("temperature: 0.5", "temperature: [1]")
    assert problems_of(text) == [
        "house.yaml:13: Version/gpt-1: spec.backends[0].model: Expected `str`, got `int` (put it in quotes)",
        "house.yaml:15: Version/gpt-1: spec.parameters: Expected `bool | int | float | str | null`, got `array`",
    ]


def test_wrong_fields_of_all_documents_are_told_at_once():
    text = HOUSE.replace("base_url", "base_ulr").replace("provider: openai", "provder: openai")
    assert problems_of(text) == [
        "house.yaml:5: Provider/openai: spec.base_ulr: there is no `base_ulr` here; did you mean `base_url`?",
        "house.yaml:12: Version/gpt-1: spec.backends[0]: Object contains unknown field `provder`",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kind: Modell\nname: a", "house.yaml:1: Modell/a: kind: there is no such kind; did you mean `Model`?"),
        ("kind: Tenant", "house.yaml:1: Tenant: `name` is missing"),
        ("kind: Tenant\nname: 5", "house.yaml:2: Tenant: name: `name` must be a string; put it in quotes"),
        ("kind: Tenant\nname: a\nspec: 5", "house.yaml:3: Tenant/a: spec: `spec` must be an object"),
        (
            "kind: Tenant\nname: a\nsepc: {}",
            "house.yaml:3: Tenant/a: sepc: there is no `sepc` here; did you mean `spec`?",
        ),
        ("kind: Tenant\nname: a\nname: b", "house.yaml:3: the key `name` is there twice"),
        (
            "kind: Tenant\nname: a\n---\nkind: Tenant\nname: a",
            "house.yaml:4: Tenant/a: is declared twice; first at house.yaml:1",
        ),
        ("just words", "house.yaml:1: a document is an object with `kind`, `name` and `spec`"),
        ("a: b: c", "house.yaml:1: not valid YAML: mapping values are not allowed in this context"),
        ("? [a]\n: b", "house.yaml:1: a key must be a string"),
        (
            "a: !!python/name:os.system x",
            "house.yaml:1: a: cannot be read as `tag:yaml.org,2002:python/name:os.system`",
        ),
        ("a: !!set {b}", "house.yaml:1: a: the tag `tag:yaml.org,2002:set` is not known"),
        ('a: "\\0"', "house.yaml:1: a: a string with a NUL or half a surrogate pair"),
        ("a: 99999999999999999999", "house.yaml:1: a: a whole number beyond 64 bits"),
        ("a: 1e999", "house.yaml:1: a: a number beyond all bounds"),
        ('{"a":\n1, "a": 2}', "house.yaml:2: the key `a` is there twice"),
        ('{"kind": "Tenant",\n"name": NaN}', "house.yaml:2: Tenant/NaN: there"),
    ],
)
def test_a_wrong_document_is_told_where(text, problem):
    if "NaN" in text:  # YAML has no NaN here: the word is a string, and a good name
        assert parse_documents(text)[0].name == "NaN"
    else:
        assert problem in problems_of(text)


def test_text_that_is_not_utf8_is_refused_with_its_line():
    assert problems_of(b"kind: Tenant\nname: \xff") == ["house.yaml:2: the text is not UTF-8"]


@pytest.mark.parametrize("text", ["[" * 50_000, "- " * 50_000, '{"a":' * 50_000, "a: &a {b: *a}", "&a [*a]"])
def test_deep_or_endless_nesting_is_refused(text):
    assert "nested more than 32 levels deep" in problems_of(text)[0]


def test_aliases_that_explode_are_refused():
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    assert "with aliases expanded" in problems_of(text)[0]


def test_a_text_over_the_size_limit_is_refused():
    assert "larger than" in problems_of("#" * (2 << 20) + "##")[0]


def test_yaml_words_of_old_are_strings():
    (tenant,) = parse_documents(
        "kind: Tenant\nname: no\nspec: {display_name: 2024-01-01, models: [yes, on, 0x10, 1:30]}"
    )
    assert tenant == Resource("Tenant", "no", Tenant(display_name="2024-01-01", models=("yes", "on", "0x10", "1:30")))


def test_json_keeps_what_yaml_would_read_otherwise():
    spec = {"backends": [{"provider": "p", "model": "\U0001f600"}], "parameters": {"x": 1e30, "y": "1e5", "z": "no"}}
    (version,) = parse_documents(json.dumps({"kind": "Version", "name": "v", "spec": spec}))
    assert version.spec.parameters == {"x": 1e30, "y": "1e5", "z": "no"}
    assert version.spec.backends[0].model == "\U0001f600"


@pytest.mark.parametrize("name", ["a/../b", "a//b", "a/", "a/./b", "", "-a", "a b", "a\n", "x" * 129])
def test_names_that_cannot_stand_in_a_path_are_refused(name):
    assert check_name(name)


@pytest.mark.parametrize("name", ["a", "gpt-4o", "meta/llama-3.1:8b@2", "x" * 128, "a..b"])
def test_names_of_the_trade_are_allowed(name):
    assert check_name(name) == ""


_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
_values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), _texts
)


@given(st.dictionaries(_texts, _values, max_size=5), _texts)
def test_what_is_exported_reads_as_the_same(parameters, prompt):
    spec = Version(backends=(BackendSpec(provider="p", model="m"),), parameters=parameters, system_prompt=prompt)
    resource = Resource("Version", "v", spec)
    for text in (yaml_text([resource]), json.dumps(document_of(resource))):
        (read,) = parse_documents(text)
        assert document_of(read) == document_of(resource)
        assert repr(read) == repr(resource)  # tells 1, 1.0 and true apart


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_read_or_refused(text):
    with suppress(InvalidDocuments):
        parse_documents(text)


@given(st.text(alphabet=list("kindname:spec{}[]&*! \n-?|>'\"%@`#,\\0etT"), max_size=80))
def test_any_text_that_looks_like_yaml_is_read_or_refused(text):
    with suppress(InvalidDocuments):
        parse_documents(text)
