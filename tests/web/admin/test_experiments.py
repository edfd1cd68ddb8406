import asyncio
import random

import pytest

from podium.control.documents import parse_documents
from podium.control.rollouts.moves import Asked, moved
from podium.control.rollouts.standing import Standings
from podium.delivery.phases import Happening
from podium.testing.events import make_event
from podium.testing.experiment_store import MemoryExperimentStore

HOUSE = """
{kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Version, name: v2, spec: {backends: [{provider: p, model: n}]}}
--- {kind: Model, name: chat, spec: {version: v1}}
--- {kind: Rollout, name: prompts, spec: {model: chat, strategy: ab,
    arms: [{name: long, version: v1}, {name: short, version: v2}],
    experiment: {hypothesis: Short is cheaper., primary: cost_nanousd, effect: -0.1, samples: 100}}}
--- {kind: Rollout, name: plain, spec: {model: chat, candidate: v2}}
"""
ALL = "/admin/v1/experiments"


@pytest.fixture
def declared(house):
    asyncio.run(house.plane.resources.apply(parse_documents(HOUSE), author="test"))
    house.plane.experiments._reports.store = MemoryExperimentStore(house.ledger.events.values)


@pytest.fixture
def running(client, declared, house):
    """It was started, is prepared, and had 300 exchanges."""

    async def prepare():
        standings = Standings(house.resource_store)
        standing = await standings.one("prompts")
        move = moved(standing, Happening.PREPARED, Asked("podium/rollouts", house.clock.unix_ns() / 1e9))
        assert await standings.write(standing, move, author="podium/rollouts")
        chance = random.Random(1)
        house.clock.advance(10)
        events = (
            make_event(
                started_unix_ns=house.clock.unix_ns() - 10**9,
                rollout="prompts",
                arm=("long", "short")[number % 2],
                subject=f"{number:016x}",
                model="chat",
                cost_nanousd=int(chance.gauss((1e6, 0.8e6)[number % 2], 1e5)),
            )
            for number in range(300)
        )
        await house.ledger.load("a/1", 1, tuple(events))

    assert client.post(f"{ALL}/prompts/start?message=half%20the%20prompt").json()["phase"] == "preparing"
    asyncio.run(prepare())


def test_an_experiment_is_listed_started_reported_and_stopped(client, running, house):
    (one,) = client.get(ALL).json()["experiments"]
    assert (one["name"], one["phase"], one["frozen"], one["exchanges"]) == ("prompts", "running", True, 150)
    report = client.get(f"{ALL}/prompts/report")
    assert report.status_code == 200
    assert (report.json()["complete"], report.json()["design"]) == (True, one["design"])
    assert report.json()["effects"][0]["finding"] == "better"
    assert report.json()["segments"][0]["name"] == "acme"
    stopped = client.post(f"{ALL}/prompts/stop?winner=short&message=cheaper")
    assert stopped.json()["phase"] == "promoted"
    newest = client.get("/admin/v1/revisions?limit=1").json()["revisions"][0]
    assert (newest["author"], newest["message"].endswith(": cheaper")) == (house.author, True)
    assert client.get("/admin/v1/resources/Model/chat").json()["spec"]["version"] == "v2"


def test_the_page_is_html_that_may_load_nothing(client, running):
    page = client.get(f"{ALL}/prompts/report.html")

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert page.text.startswith("<!doctype html>")
    assert "Short is cheaper." in page.text


def test_plans_are_made_of_what_is_known_and_said(client, running):
    known = client.post(f"{ALL}/plan", json={"experiment": "prompts"})
    assert known.status_code == 200
    assert (known.json()["known_from"], known.json()["base"]) == ("ledger", pytest.approx(0.9e6, rel=0.02))
    said = client.post(f"{ALL}/plan", json={"model": "x", "measure": "error_rate", "effect": 0.01, "base": 0.02})
    assert [one["method"] for one in said.json()["methods"]] == ["fixed", "sequential"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nobody/report", None, 404),
        ("GET", "/plain/report", None, 404),
        ("GET", "/prompts/report", None, 409),
        ("GET", "/prompts/report.html", None, 409),
        ("POST", "/plain/start", None, 404),
        ("POST", "/prompts/stop", None, 409),
        ("POST", "/prompts/stop?winner=tall", None, 400),
        ("POST", "/prompts/start?seen=12", None, 409),
        ("POST", "/plan", {"model": "chat"}, 400),
        ("POST", "/plan", {"model": "chat", "measure": "happiness"}, 400),
        ("POST", "/plan", {"experiment": "nobody"}, 404),
        ("POST", "/plan", {"surprise": 1}, 400),
    ],
)
def test_what_cannot_be_is_refused(client, declared, method, path, body, status):
    assert client.request(method, ALL + path, json=body).status_code == status


def test_strangers_learn_and_move_nothing(declared, stranger):
    assert stranger.get(ALL).status_code == 401
    assert stranger.get(f"{ALL}/prompts/report.html").status_code == 401
    assert stranger.post(f"{ALL}/prompts/start").status_code == 401


def test_while_the_database_is_away_it_is_told(client, declared, house):
    house.set_down(True)
    assert client.get(ALL).status_code == 503
