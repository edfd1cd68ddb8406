"""`exchanges` against the real admin application."""

import pytest

from podium.testing.events import make_call, make_event

CALLS = (
    make_call(provider="a", backend="a/x", reason="upstream_rate_limited", upstream_status=429, ended_ns=9_000_000),
    make_call(kind="fallback", model="other", provider="b", backend="b/y", cost_nanousd=1_500, output_tokens=20),
)
SERVED = {"provider": "b", "backend": "b/y", "version": "other-1@0", "served_model": "other"}


@pytest.fixture
def recorded(house):
    house.record(
        make_event(request_id="req/1", attempts=2, fallbacks=1, trail=CALLS, cache_write_tokens=3, **SERVED),
        make_event(id=b"\1" * 16, request_id="twice"),
        make_event(id=b"\2" * 16, request_id="twice", tenant="bob"),
        make_event(
            request_id="refused", status=429, reason="requests_limited", fault="caller", attempts=0, version="",
            upstream_ns=-1, first_byte_ns=-1, tags="project=shop,team=a"
        ),
    )  # fmt: skip


def test_show_tells_how_it_went_and_each_call(podium, recorded):
    lines = [line.rstrip() for line in podium("exchanges", "show", "req/1").out.splitlines() if line.strip()]

    assert lines[:9] == [
        "request    req/1",
        "started    2025-10-09 08:53:20Z",
        "caller     acme, key k00000000001",
        "asked for  small (chat.completions, streamed)",
        "served by  other, other-1@0 at b/y",
        "ended      200 ok",
        "time       700.0 ms, first content after 90.0 ms",
        "tokens     100 in, 40 of them cached, 3 written to the cache, 20 out, 5 of them reasoning",
        "cost       $0.000002",
    ]
    assert lines[9].split("  ")[0] == "call"
    assert [line.split() for line in lines[11:]] == [
        ["first", "a/x", "turn", "upstream_rate_limited", "429", "0.4", "9.0", "0", "0", "$0.000000"],
        ["fallback", "other", "b/y", "turn", "ok", "200", "0.4", "700.0", "0", "20", "$0.000002"],
    ]


def test_show_as_json_is_what_the_admin_api_answers(podium, recorded):
    (exchange,) = podium("exchanges", "show", "req/1", "--json").json["exchanges"]

    assert exchange["request_id"] == "req/1"
    assert [call["kind"] for call in exchange["calls"]] == ["first", "fallback"]


def test_an_exchange_without_a_call_says_so(podium, recorded):
    out = podium("exchanges", "show", "refused").out

    assert "served by  nobody\n" in out
    assert "ended      429 requests_limited (fault: caller)\n" in out
    assert "tags       project=shop, team=a\n" in out
    assert out.endswith("It made no call.\n")


def test_several_with_one_id_come_newest_first_and_one_tenant_s_alone(podium, recorded):
    shown = podium("exchanges", "show", "twice").out
    assert [line for line in shown.splitlines() if line.startswith("caller")] == [
        "caller     bob, key k00000000001",
        "caller     acme, key k00000000001",
    ]
    assert "bob" not in podium("exchanges", "show", "twice", "--tenant", "acme").out
    assert (
        f"podium exchanges show twice --before {'02' * 16}" in podium("exchanges", "show", "twice", "--limit", "1").out
    )


def test_an_id_that_nobody_used_is_one_sentence(podium, house):
    done = podium("exchanges", "show", "none", code=1)

    assert done.err.startswith("podium: there is no exchange with the request id `none`\nhint: the ledger has ")
