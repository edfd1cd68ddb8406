"""Limits and budgets as callers meet them, through the whole data plane."""

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest

from podium.core.budgets import Budget
from podium.core.snapshot import KeyEntry, KeySecret
from podium.economics.budgets.rules import BudgetTable, Payer
from podium.identity.keys import digest_secret
from podium.testing.behaviour import BAD, Behaviour, Cut
from podium.testing.gateway import TEST_KEY, gateway_snapshot, limit_policy, running_gateway
from podium.testing.openai_requests import chat_body, openai_error, request_bytes
from podium.testing.raw_http import RawConnection
from podium.testing.waiting import eventually
from podium.web.settings import GatewayServerSettings


def budget(amount, **more):
    return msgspec.convert({"unit": "usd", "amount": amount, "period": "month"} | more, Budget)


def key_entry(**more):
    secret = KeySecret(digest=digest_secret(bytes(32), TEST_KEY.secret))
    return KeyEntry(id=TEST_KEY.id, tenant="test", name="test", secrets=(secret,), **more)


@asynccontextmanager
async def gateway_for(upstream, server=None, **declared):
    snapshot = gateway_snapshot(upstream.url, models=("m", "n"), **declared)
    async with running_gateway(snapshot, server=server) as gateway:
        yield gateway
        await eventually(lambda: gateway.in_flight == 0)
        assert gateway.flight.admitter.budgets.running == 0


async def ask(gateway, body=None, **headers):
    async with await RawConnection.open(gateway.port) as client:
        extra = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        await client.send(request_bytes(body or chat_body("m", max_tokens=100), key=TEST_KEY.text, headers=extra))
        return await client.read_response()


def standing(gateway, budgets, **payer):
    table = BudgetTable(budgets)
    now_ns = gateway.events[-1].started_unix_ns
    (one,) = gateway.flight.admitter.budgets.standing(table.charges(Payer(**payer), now_ns), now_ns)
    return one


async def statuses(gateway, *calls):
    return [(await ask(gateway, body, **headers)).status for body, headers in calls]


async def test_a_spent_budget_is_402_in_the_callers_words_and_costs_nothing(upstream):
    # The test's prices: a dollar for a million input tokens, two for output.
    budgets = {"small": budget("0.0005", per=["tenant"])}
    async with gateway_for(upstream, budgets=budgets) as gateway:
        answers = [await ask(gateway) for _ in range(40)]
        refused = [answer for answer in answers if answer.status == 402]
        assert answers[0].status == 200 and refused
        error = openai_error(refused[0])
        assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
        assert "small" in error["message"]
        await eventually(lambda: len(gateway.events) == 40)
        spent = sum(event.cost_nanousd for event in gateway.events)
        assert standing(gateway, budgets, tenant="test").settled == spent <= 500_000
        assert {event.reason for event in gateway.events} == {"ok", "budget_exhausted"}
        assert all(event.cost_nanousd == 0 for event in gateway.events if event.status == 402)
        assert len(upstream.requests) == 40 - len(refused)


@pytest.mark.parametrize("name", ["unavailable", "bad-request", "rate-limited"])
async def test_a_call_that_fails_gives_back_what_it_held(upstream, name):
    upstream.behaviour = BAD[name]
    budgets = {"b": budget("1")}
    async with gateway_for(upstream, budgets=budgets) as gateway:
        assert (await ask(gateway)).status >= 400
        await eventually(lambda: gateway.events)
        one = standing(gateway, budgets, tenant="test")
        assert (one.reserved, one.settled) == (0, 0)


async def test_a_caller_that_leaves_pays_for_what_it_got(upstream):
    upstream.behaviour = Behaviour(cut=Cut("middle", "stall"), chunks=60)
    budgets = {"b": budget("1")}
    async with gateway_for(upstream, budgets=budgets) as gateway:
        async with await RawConnection.open(gateway.port) as client:
            await client.send(request_bytes(chat_body("m", stream=True), key=TEST_KEY.text))
            await client.read_head()
            book = gateway.flight.admitter.budgets
            assert book.running == 1
        await eventually(lambda: gateway.events)
        one = standing(gateway, budgets, tenant="test")
        assert one.reserved == 0 and one.settled == gateway.events[0].cost_nanousd > 0


async def test_what_runs_holds_its_estimate(upstream):
    upstream.behaviour = Behaviour(cut=Cut("middle", "stall"))
    # Room for one call's estimate (about 100 output tokens at two dollars a million), not for two.
    async with gateway_for(upstream, budgets={"b": budget("0.0004")}) as gateway:
        async with await RawConnection.open(gateway.port) as client:
            await client.send(request_bytes(chat_body("m", stream=True, max_tokens=100), key=TEST_KEY.text))
            await client.read_head()
            upstream.behaviour = Behaviour()
            answer = await ask(gateway, chat_body("m", max_tokens=100))
            assert answer.status == 402 and answer.header("retry-after")
        await eventually(lambda: gateway.in_flight == 0)
        assert (await ask(gateway, chat_body("m", max_tokens=10))).status == 200


async def test_a_budget_that_only_tells_refuses_nobody(upstream):
    budgets = {"b": budget("0.000001", hard=False)}
    async with gateway_for(upstream, budgets=budgets) as gateway:
        assert (await ask(gateway)).status == 200


async def test_budgets_count_by_tags_of_key_and_request(upstream):
    budgets = {"team": budget("0.0003", per=["tag:team"])}
    entry = key_entry(tags="team=red")
    async with gateway_for(upstream, budgets=budgets, key=entry) as gateway:
        assert (await ask(gateway, x_podium_tags="team=blue,project=x")).status == 200  # the key's own wins
        await eventually(lambda: gateway.events)
        assert gateway.events[0].tags == "project=x,team=red"
        assert standing(gateway, budgets, tags=(("team", "red"),)).settled > 0
        bad = await ask(gateway, x_podium_tags="no equals sign")
        assert bad.status == 400 and "x-podium-tags" in openai_error(bad)["message"]


async def test_limits_of_limits_and_budgets_are_given_back_together(upstream):
    limits = {"l": limit_policy(requests=2)}
    async with gateway_for(upstream, limits=limits, budgets={"b": budget("0.0000001")}) as gateway:
        for _ in range(4):  # refused by the budget: the limit's room comes back each time
            assert (await ask(gateway)).status == 402


@pytest.mark.parametrize(
    ("policy", "calls", "expected"),
    [
        ({"per": ["model"]}, ("m", "m", "n"), [200, 429, 200]),
        ({"per": ["user"]}, ("m:ann", "m:ann", "m:bob"), [200, 429, 200]),
        ({"per": [], "where": {"model": ["n"]}}, ("m", "m", "n", "n"), [200, 200, 200, 429]),
        ({"per": ["tier"], "where": {"tier": ["gold"]}}, ("m", "m"), [200, 429]),
        ({"per": ["tier"], "where": {"tier": ["silver"]}}, ("m", "m"), [200, 200]),
        ({"per": ["ip"], "where": {"ip": ["127.0.0.0/8"]}}, ("m", "m"), [200, 429]),
        ({"per": ["key"], "where": {"key": ["other*"]}}, ("m", "m"), [200, 200]),
    ],
)
async def test_a_limit_counts_by_whatever_it_names(upstream, policy, calls, expected):
    limits = {"l": limit_policy(requests=1, **policy)}
    async with gateway_for(upstream, limits=limits, key=key_entry(tier="gold")) as gateway:
        found = []
        for call in calls:
            model, _, user = call.partition(":")
            body = chat_body(model, **({"user": user} if user else {}))
            found.append((await ask(gateway, body)).status)
        assert found == expected


async def test_addresses_behind_a_trusted_proxy_are_told_apart(upstream):
    limits = {"l": limit_policy(requests=1, per=["ip"])}
    server = GatewayServerSettings(port=0, trusted_proxies="127.0.0.1")
    async with gateway_for(upstream, server, limits=limits) as gateway:
        found = [(await ask(gateway, x_forwarded_for=address)).status for address in ("192.0.2.1", "192.0.2.2")]
        again = await ask(gateway, x_forwarded_for="192.0.2.1")
        assert [*found, again.status] == [200, 200, 429]


async def test_a_refusal_says_when_to_come_again_and_how_the_limits_stand(upstream):
    async with gateway_for(upstream, limits={"l": limit_policy(requests=1, tokens=100_000)}) as gateway:
        await ask(gateway)
        answer = await ask(gateway)
        assert answer.status == 429
        assert int(answer.header("retry-after-ms")) <= 1000 * int(answer.header("retry-after")) <= 60_000
        assert answer.header("x-ratelimit-remaining-requests") == "0"
        assert int(answer.header("x-ratelimit-remaining-tokens")) > 0


async def test_a_request_that_is_too_large_for_its_limit_is_not_told_to_come_again(upstream):
    async with gateway_for(upstream, limits={"l": limit_policy(tokens=50)}) as gateway:
        answer = await ask(gateway, chat_body("m", max_tokens=1000))
        assert (answer.status, answer.header("x-should-retry"), answer.header("retry-after")) == (429, "false", None)


async def test_many_at_once_never_spend_more_than_the_budget(upstream):
    budgets = {"b": budget("0.002")}
    async with gateway_for(upstream, budgets=budgets) as gateway:
        answers = await asyncio.gather(*(ask(gateway) for _ in range(60)))
        assert {answer.status for answer in answers} == {200, 402}
        await eventually(lambda: len(gateway.events) == 60)
        assert sum(event.cost_nanousd for event in gateway.events) <= 2_000_000
