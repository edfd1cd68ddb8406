import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.reasons import Reason
from podium.core.resources import Tenant
from podium.core.snapshot import KeyEntry
from podium.identity.permit import CompiledKey, NamePatterns, name_patterns, permit


def key(**fields):
    return KeyEntry(id="abc", tenant="acme", name="ci", secrets=(), **fields)


@pytest.mark.parametrize(
    ("patterns", "name", "matches"),
    [
        (("*",), "anything", True),
        (("**",), "", True),
        ((), "gpt-4o", False),
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-4o",), "GPT-4o", False),
        (("gpt-*",), "gpt-4o", True),
        (("gpt-*",), "gpt-", True),
        (("gpt-*",), "my-gpt-4o", False),
        (("*-mini",), "gpt-4o-mini", True),
        (("*-mini",), "gpt-4o-mini\n", False),
        (("a*b*c",), "a-b-b-c", True),
        (("a*b*c",), "acb", False),
        (("ab*ba",), "aba", False),
        (("gpt.4",), "gpt-4", False),
        (("x", "meta/*"), "meta/llama\n3", True),
    ],
)
def test_patterns_cover_whole_names(patterns, name, matches):
    assert NamePatterns(patterns).matches(name) is matches


@given(st.lists(st.text("ab*.", max_size=7), max_size=4), st.text("ab.\n", max_size=10))
def test_patterns_agree_with_fnmatch(patterns, name):
    expected = any(fnmatchcase(name, pattern) for pattern in patterns)
    assert NamePatterns(tuple(patterns)).matches(name) is expected


def test_a_hostile_name_costs_linear_time():
    patterns = NamePatterns(("*a" * 30 + "*b",))
    started = time.process_time()
    assert not patterns.matches("a" * 20_000)
    assert time.process_time() - started < 1  # backtracking would take years


def test_equal_patterns_are_compiled_once():
    assert name_patterns(("gpt-*",)) is name_patterns(("gpt-*",))


@pytest.mark.parametrize(
    ("entry", "tenant", "endpoint", "model", "reason"),
    [
        (key(), Tenant(), "chat.completions", "m", Reason.OK),
        (key(), Tenant(suspended=True), "chat.completions", "m", Reason.TENANT_SUSPENDED),
        (key(), None, "chat.completions", "m", Reason.TENANT_SUSPENDED),
        (key(endpoints=("embeddings",)), Tenant(), "chat.completions", "m", Reason.ENDPOINT_NOT_ALLOWED),
        (key(endpoints=("*",)), Tenant(), "chat.completions", "m", Reason.OK),
        (key(models=("gpt-*",)), Tenant(), "chat.completions", "m", Reason.MODEL_NOT_ALLOWED),
        (key(), Tenant(models=("gpt-*",)), "chat.completions", "m", Reason.MODEL_NOT_ALLOWED),
        (key(models=("gpt-*",)), Tenant(models=("*-mini",)), "chat.completions", "gpt-4o-mini", Reason.OK),
        (key(models=("gpt-*",)), Tenant(models=("*-mini",)), "chat.completions", "gpt-4o", Reason.MODEL_NOT_ALLOWED),
        (key(models=("gpt-*",)), Tenant(), "models", "", Reason.OK),
    ],
)
def test_permit_says_why(entry, tenant, endpoint, model, reason):
    assert permit(entry, tenant, endpoint, model) is reason
    assert CompiledKey(entry, tenant).permit(endpoint, model) is reason


def test_the_list_of_models_shows_what_key_and_tenant_both_cover():
    compiled = CompiledKey(key(models=("a", "b")), Tenant(models=("b", "c")))
    assert [name for name in "abcd" if compiled.may_use(name)] == ["b"]
