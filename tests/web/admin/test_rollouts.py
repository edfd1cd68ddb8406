import asyncio

import pytest

from podium.control.documents import parse_documents
from podium.control.keys import NewKey
from podium.control.rollouts.moves import Asked, moved
from podium.control.rollouts.standing import Standings
from podium.delivery.analysis.evidence import Bundle, encode_bundle
from podium.delivery.phases import Happening

HOUSE = """
{kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Version, name: v2, spec: {backends: [{provider: p, model: n}]}}
--- {kind: Model, name: chat, spec: {version: v1}}
--- {kind: Rollout, name: r, spec: {model: chat, candidate: v2, approval: {before: [promote]}}}
"""
ALL = "/admin/v1/rollouts"


@pytest.fixture
def declared(house):
    asyncio.run(house.plane.resources.apply(parse_documents(HOUSE), author="test"))


@pytest.fixture
def happen(house):
    """Let something happen to `r`, as the loop does."""

    async def happening(what):
        standings = Standings(house.resource_store)
        standing = await standings.one("r")
        move = moved(standing, what, Asked("podium/rollouts", house.clock.unix_ns() / 1e9))
        assert await standings.write(standing, move, author="podium/rollouts")

    return lambda what: asyncio.run(happening(what))


@pytest.fixture
def carol(house):
    new = NewKey(tenant="acme", name="carol", admin=True)
    key = asyncio.run(house.plane.keys.create(new, created_by="test"))
    return {"authorization": f"Bearer {key.text}"}


def test_a_rollout_is_listed_started_promoted_approved_and_undone(client, declared, happen, carol, house):
    (one,) = client.get(ALL).json()["rollouts"]
    assert (one["name"], one["phase"], one["before"], one["waits"]) == ("r", "pending", "v1", True)
    started = client.post(f"{ALL}/r/start?message=new%20prompt")
    assert (started.status_code, started.json()["phase"]) == (200, "preparing")
    happen(Happening.PREPARED)
    one = client.get(f"{ALL}/r").json()
    assert [(arm["name"], arm["percent"]) for arm in one["arms"]] == [("candidate", 5.0), ("baseline", 5.0)]
    assert client.post(f"{ALL}/r/pause").json()["phase"] == "paused"
    assert client.post(f"{ALL}/r/resume").json()["phase"] == "running"
    asked = client.post(f"{ALL}/r/promote?to_end=true").json()
    assert (asked["reason"], asked["approvals_missing"], asked["asked_by"]) == (
        "waits_for_promotion",
        1,
        house.author,
    )
    refused = client.post(f"{ALL}/r/approve")
    assert (refused.status_code, "who asked" in refused.json()["error"]["message"]) == (409, True)
    assert client.post(f"{ALL}/r/approve", headers=carol).json()["phase"] == "promoted"
    assert client.get("/admin/v1/resources/Model/chat").json()["spec"]["version"] == "v2"
    assert client.post(f"{ALL}/r/undo").json()["phase"] == "returned"
    newest = client.get("/admin/v1/revisions?limit=1").json()["revisions"][0]
    assert newest["author"] == house.author


def test_the_second_operator_gets_a_conflict_that_says_what_happened(client, declared, happen, carol):
    seen = client.post(f"{ALL}/r/start").json()["changed_unix_s"]
    assert client.post(f"{ALL}/r/abort?message=wrong%20one&seen={seen!r}").status_code == 200
    late = client.post(f"{ALL}/r/abort?seen={seen!r}", headers=carol)
    assert late.status_code == 409
    error = late.json()["error"]
    assert "wrong one" in error["message"]
    assert "/alice" in error["message"]
    assert "aborted" in error["message"]


def test_strangers_move_nothing(declared, stranger):
    assert stranger.post(f"{ALL}/r/start").status_code == 401


def test_what_is_not_there_or_not_possible(client, declared):
    assert client.get(f"{ALL}/x").status_code == 404
    assert client.post(f"{ALL}/x/start").status_code == 404
    assert client.post(f"{ALL}/r/undo").status_code == 409
    assert client.post(f"{ALL}/r/start?seen=-1").status_code == 400


class Shelf:
    """One bundle, of another rollout than it may be asked for."""

    def __init__(self, bundle):
        self.key, self.body = encode_bundle(bundle)
        self.bundle = bundle

    async def evidence(self, key):
        return self.bundle if key == self.key else None

    async def evidence_of(self, name, *, limit):
        return ((self.key, self.bundle.decided_unix_s),) if name == self.bundle.name else ()


def test_what_a_decision_was_made_on_can_be_read(client, declared, house):
    rollout = asyncio.run(house.plane.resources.get("Rollout", "r")).spec
    bundle = Bundle(
        name="r",
        decided_unix_s=5.0,
        happening="burst",
        reason="burst",
        detail="10 in a row",
        rollout=rollout,
        progress=None,
        verdict=None,
    )
    shelf = house.plane.rollouts._shelf = Shelf(bundle)
    assert client.get(f"{ALL}/r/evidence").json()["evidence"] == [{"id": shelf.key, "decided_unix_s": 5.0}]
    assert client.get(f"{ALL}/x/evidence").json()["evidence"] == []
    read = client.get(f"{ALL}/r/evidence/{shelf.key}")
    assert (read.json()["detail"], read.json()["rollout"]["candidate"]) == ("10 in a row", "v2")
    assert client.get(f"{ALL}/x/evidence/{shelf.key}").status_code == 404
    assert client.get(f"{ALL}/r/evidence/unknown").status_code == 404


def test_while_the_database_is_away_it_is_told(client, declared, house):
    client.get(ALL)
    house.set_down(True)
    assert client.post(f"{ALL}/r/start").status_code == 503
