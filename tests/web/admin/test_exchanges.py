import asyncio

import pytest

from podium.testing.events import make_call, make_event

CALLS = (
    make_call(provider="a", backend="a/x", reason="upstream_error", upstream_status=503, ended_ns=2_000_000),
    make_call(kind="retry", provider="b", backend="b/y", why="fewest_in_flight", started_ns=3_000_000),
)


@pytest.fixture(autouse=True)
def _recorded(house):
    events = (
        make_event(id=b"\1" * 16, request_id="req/1:+=@._-", user="alice@example.org", trail=CALLS, attempts=2),
        make_event(id=b"\2" * 16, request_id="twice"),
        make_event(id=b"\3" * 16, request_id="twice", tenant="other", provider="local"),
        make_event(request_id="refused", attempts=0, upstream_ns=-1, first_byte_ns=-1, status=429, fault="caller"),
    )
    asyncio.run(house.ledger.load("a", 1, events))


def get(client, request_id, **params):
    return client.get(f"/admin/v1/exchanges/{request_id}", params=params)


def test_an_exchange_is_shown_with_each_of_its_calls(client):
    answer = get(client, "req/1:+=@._-")

    assert answer.status_code == 200
    (exchange,) = answer.json()["exchanges"]
    assert (exchange["id"], exchange["request_id"], exchange["tenant"]) == ("01" * 16, "req/1:+=@._-", "acme")
    assert (exchange["cost_nanousd"], exchange["ttft_ms"], exchange["duration_ms"]) == (1_500, 90.0, 700.0)
    first, second = exchange["calls"]
    assert first == {
        "kind": "first",
        "model": "small",
        "provider": "a",
        "backend": "a/x",
        "why": "turn",
        "reason": "upstream_error",
        "upstream_status": 503,
        "started_ms": 0.4,
        "ended_ms": 2.0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_nanousd": 0,
    }
    assert (second["kind"], second["backend"], second["why"]) == ("retry", "b/y", "fewest_in_flight")


def test_nothing_personal_is_in_it(client):
    assert "alice@example.org" not in get(client, "req/1:+=@._-").text


def test_the_only_call_of_an_exchange_is_shown_too(client):
    (exchange,) = get(client, "twice", tenant="acme").json()["exchanges"]

    (call,) = exchange["calls"]
    assert (call["kind"], call["backend"], call["reason"]) == ("first", "local/smollm2", "ok")
    assert (call["input_tokens"], call["cost_nanousd"], call["upstream_status"]) == (100, 1_500, None)


def test_a_refused_exchange_made_no_call(client):
    (exchange,) = get(client, "refused").json()["exchanges"]

    assert (exchange["status"], exchange["calls"], exchange["ttft_ms"]) == (429, [], None)


def test_exchanges_with_one_request_id_come_in_pages(client):
    first = get(client, "twice", limit=1).json()
    assert [exchange["tenant"] for exchange in first["exchanges"]] == ["other"]
    second = get(client, "twice", limit=1, before=first["next_before"]).json()
    assert [exchange["tenant"] for exchange in second["exchanges"]] == ["acme"]
    assert second["next_before"] is None


@pytest.mark.parametrize(
    ("request_id", "params", "status"),
    [
        ("none", {}, 404),
        ("twice", {"tenant": "nobody"}, 404),
        ("twice", {"before": "zz"}, 400),
        ("twice", {"before": "0" * 31}, 400),
        ("twice", {"limit": 0}, 400),
        ("%C3%BC", {}, 400),
    ],
)
def test_what_is_not_there_and_what_is_wrong(client, request_id, params, status):
    answer = get(client, request_id, **params)

    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_stranger_is_told_nothing(stranger, house):
    assert stranger.get("/admin/v1/exchanges/twice").status_code == 401
    bob = {"authorization": f"Bearer {house.bob.text}"}
    assert stranger.get("/admin/v1/exchanges/twice", headers=bob).status_code == 403
