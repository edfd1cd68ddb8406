"""`usage` against the real admin application."""

import pytest

from podium.testing.events import make_event

DAY_NS = 86_400 * 10**9
START_NS = 1_760_000_000 * 10**9  # 2025-10-09


@pytest.fixture
def used(house):
    """Three exchanges of two tenants on two days, one of them failed."""
    house.record(
        make_event(started_unix_ns=START_NS, tenant="acme", cost_nanousd=4_000_000),
        make_event(started_unix_ns=START_NS + DAY_NS, tenant="acme", cost_nanousd=1_000, status=502),
        make_event(
            started_unix_ns=START_NS + DAY_NS,
            tenant="bob",
            model="large",
            cost_nanousd=9_000_000_000,
            cache_write_tokens=7,
        ),
    )


def test_usage_is_by_tenant_with_a_total_for_people(podium, used):
    lines = [line.split() for line in podium("usage").out.splitlines() if line.strip()]
    assert lines[0] == [
        "tenant",
        "exchanges",
        "errors",
        "input",
        "cached",
        "written",
        "output",
        "reasoning",
        "estimated",
        "cost",
    ]
    assert lines[2:] == [
        ["bob", "1", "0", "100", "40", "7", "20", "5", "0", "$9.000000"],
        ["acme", "2", "1", "200", "80", "0", "40", "10", "0", "$0.004001"],
        ["total", "3", "1", "300", "120", "7", "60", "15", "0", "$9.004001"],
    ]


def test_usage_by_several_groups_named_apart_or_with_commas(podium, used):
    apart = podium("usage", "--by", "tenant", "--by", "day", "--json").json
    assert apart == podium("usage", "--by", "tenant,day", "--json").json
    assert [row["group"] for row in apart["rows"]] == [
        {"tenant": "bob", "day": "2025-10-10"},
        {"tenant": "acme", "day": "2025-10-09"},
        {"tenant": "acme", "day": "2025-10-10"},
    ]
    assert apart["total"]["cost_nanousd"] == sum(row["cost_nanousd"] for row in apart["rows"])


def test_usage_by_a_tag_names_each_value_and_those_without(podium, house):
    house.record(make_event(tags="team=search", cost_nanousd=5), make_event(tags="project=x"))
    lines = [line.split() for line in podium("usage", "--by", "tag:team").out.splitlines() if line.strip()]
    assert lines[0][:2] == ["tag:team", "exchanges"]
    assert [line[0] for line in lines[2:]] == ["1", "search", "total"]


def test_usage_of_a_time_and_of_one_tenant(podium, used):
    count = lambda *words: podium("usage", *words, "--json").json["total"]["exchanges"]  # noqa: E731
    assert count("--since", "2025-10-10") == 2
    assert count("--until", "2025-10-10") == 1
    assert count("--since", "2025-10-10", "--tenant", "bob") == 1
    assert count("--model", "large") == 1
    assert count("--since", "1d") == 0
    assert podium("usage", "--since", "1d").out == "There is no exchange in this time.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--by", "colour"), "podium: --by takes tenant, key, model, provider, day or tag:NAME, not 'colour'.\n"),
        (("--by", "tag:two words"), "podium: `by` takes each of tenant, key, model, provider, day and tag:NAME "),
        (("--since", "yesterday"), "podium: --since: 'yesterday' is not a time.\nhint: Times are "),
        (("--since", "2025-10-10", "--until", "2025-10-09"), "podium: `since` must lie before `until`\n"),
    ],
)
def test_usage_refuses_what_is_wrong(podium, house, arguments, sentence):
    assert podium("usage", *arguments, code=1).err.startswith(sentence)
