import asyncio

import pytest

from podium.testing.events import make_event


@pytest.fixture(autouse=True)
def _used(house):
    events = (
        make_event(tenant="acme", model="a", cost_nanousd=5),
        make_event(tenant="acme", model="b", cost_nanousd=6, started_unix_ns=10 * 86_400 * 10**9),
        make_event(tenant="other", model="a", cost_nanousd=7),
    )
    asyncio.run(house.ledger.load("a", 1, events))


@pytest.mark.parametrize("params", [{"by": ["tenant", "model"]}, {"by": "tenant,model"}])
def test_groups_come_apart_or_with_commas(client, params):
    report = client.get("/admin/v1/usage", params=params).json()
    groups = [(row["group"]["tenant"], row["group"]["model"], row["cost_nanousd"]) for row in report["rows"]]
    assert groups == [("other", "a", 7), ("acme", "b", 6), ("acme", "a", 5)]
    assert report["total"]["cost_nanousd"] == 18


def test_a_tag_is_a_group_too(client, house):
    asyncio.run(house.ledger.load("a", 2, (make_event(tags="team=search", cost_nanousd=50),)))
    rows = client.get("/admin/v1/usage", params={"by": "tag:team"}).json()["rows"]
    assert [(row["group"], row["cost_nanousd"]) for row in rows] == [
        ({"tag:team": "search"}, 50),
        ({"tag:team": ""}, 18),
    ]


def test_filters_hold(client):
    report = client.get("/admin/v1/usage", params={"tenant": "acme", "until_unix_s": 11 * 86_400}).json()
    assert report["total"]["cost_nanousd"] == 6


@pytest.mark.parametrize(
    "params",
    [
        {"by": "moon"},
        {"by": "tag:"},
        {"by": ["day", "day"]},
        {"since_unix_s": "nan"},
        {"since_unix_s": "inf"},
        {"since_unix_s": -1},
        {"since_unix_s": 5, "until_unix_s": 5},
        {"tenant": "\0"},
    ],
)
def test_questions_without_an_answer_are_refused(client, params):
    assert client.get("/admin/v1/usage", params=params).status_code == 400
