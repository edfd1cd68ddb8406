# ruff: noqa: D102, PLR2004 - the names of tests are their sentences, and numbers are their subject
"""What every store must do: podium.control.ports, as tests.

Subclass a suite in a test module and give it its fixture: two stores over the same data, such as two
processes would have (one store twice, when it lives in memory)::

    class TestSqlKeyStore(KeyStoreConformance):
        @pytest.fixture
        def key_stores(self, database, second_database): ...
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

import msgspec

from podium.control.ports import (
    ApiKeyRecord,
    Change,
    KeyStore,
    LeaderLease,
    Ledger,
    ResourceStore,
    UsageQuery,
    UsageRow,
)
from podium.core.errors import Conflict
from podium.core.resources import Resource, Tenant
from podium.core.snapshot import KeyEntry, KeySecret
from podium.economics.budgets.spending import SpendQuery
from podium.testing.events import make_call, make_event

__all__ = ["KeyStoreConformance", "LeaderLeaseConformance", "LedgerConformance", "ResourceStoreConformance"]

_HOUR_NS = 3600 * 10**9
_MIDNIGHT_S = 1_760_054_400  # 2025-10-10 00:00 UTC
_MIDNIGHT_NS = _MIDNIGHT_S * 10**9
_EVENT_S = 1_760_000_000  # when `make_event`'s exchanges start, in the middle of an hour


async def _raised(kind: type[Exception], work: Awaitable[object]) -> Exception:
    try:
        await work
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


async def _outcomes(*work: Awaitable[object]) -> list[Any]:
    return await asyncio.gather(*work, return_exceptions=True)


def _created(name: str, display_name: str = "") -> Change:
    return Change("Tenant", name, None, {"display_name": display_name} if display_name else {})


class ResourceStoreConformance:
    """Of ResourceStore. Fixture: `resource_stores`."""

    async def test_nothing_is_revision_zero(self, resource_stores: tuple[ResourceStore, ResourceStore]) -> None:
        store, _ = resource_stores
        assert await store.current() == (0, ())
        assert await store.newest_number() == 0
        assert await store.revisions(before=None, limit=10) == ()
        assert await store.revision(1) is None

    async def test_changes_are_kept_as_a_revision(self, resource_stores: tuple[ResourceStore, ResourceStore]) -> None:
        store, other = resource_stores
        price: dict[str, object] = {
            "model": "x*",
            "input_usd_per_million": "0.15",
            "output_usd_per_million": "0.6",
        }
        changes = (_created("b"), _created("B", "Große Kunden"), Change("Price", "p", None, price))
        revision = await store.commit(expected=0, author="ann", message="first", changes=changes)
        assert (revision.number, revision.author, revision.message) == (1, "ann", "first")
        assert (revision.changes, revision.undoes) == (changes, None)
        assert abs(revision.created_unix_s - time.time()) < 60
        number, resources = await other.current()
        assert number == await other.newest_number() == 1
        assert [(resource.kind, resource.name) for resource in resources] == [
            ("Price", "p"), ("Tenant", "B"), ("Tenant", "b")
        ]  # fmt: skip
        assert resources[1] == Resource("Tenant", "B", Tenant(display_name="Große Kunden"))
        assert await other.revision(1) == revision

    async def test_updates_and_deletions_follow(self, resource_stores: tuple[ResourceStore, ResourceStore]) -> None:
        store, _ = resource_stores
        await store.commit(expected=0, author="a", message="", changes=(_created("x"), _created("y")))
        changes = (Change("Tenant", "x", {}, {"suspended": True}), Change("Tenant", "y", {}, None))
        await store.commit(expected=1, author="a", message="", changes=changes)
        back = tuple(Change(c.kind, c.name, c.after, c.before) for c in changes)
        assert (await store.current())[1] == (Resource("Tenant", "x", Tenant(suspended=True)),)
        undo = await store.commit(expected=2, author="a", message="", changes=back, undoes=2)
        assert undo.undoes == 2
        assert (await store.current())[1] == (Resource("Tenant", "x", Tenant()), Resource("Tenant", "y", Tenant()))

    async def test_a_stale_commit_is_a_conflict_and_changes_nothing(
        self, resource_stores: tuple[ResourceStore, ResourceStore]
    ) -> None:
        store, other = resource_stores
        await store.commit(expected=0, author="a", message="", changes=(_created("x"),))
        for wrong in (0, 2, 7):
            await _raised(Conflict, other.commit(expected=wrong, author="b", message="", changes=(_created("y"),)))
        assert (await store.current())[0] == 1
        assert len((await store.current())[1]) == 1

    async def test_of_two_commits_at_once_one_is_a_conflict(
        self, resource_stores: tuple[ResourceStore, ResourceStore]
    ) -> None:
        for expected in range(5):
            name = f"t{expected}"
            outcomes = await _outcomes(
                *(
                    store.commit(expected=expected, author="a", message=str(n), changes=(_created(name, str(n)),))
                    for n, store in enumerate(resource_stores)
                )
            )
            assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Revision"]
            (winner,) = (outcome for outcome in outcomes if not isinstance(outcome, Exception))
            _, resources = await resource_stores[0].current()
            assert resources[-1] == Resource("Tenant", name, Tenant(display_name=winner.message))

    async def test_revisions_come_newest_first_in_pages(
        self, resource_stores: tuple[ResourceStore, ResourceStore]
    ) -> None:
        store, _ = resource_stores
        for number in range(5):
            await store.commit(expected=number, author="a", message=str(number), changes=(_created(f"t{number}"),))
        first = await store.revisions(before=None, limit=2)
        second = await store.revisions(before=first[-1].number, limit=10)
        assert [revision.number for revision in (*first, *second)] == [5, 4, 3, 2, 1]


def _key(key_id: str, created_unix_s: float = 5.0, **changes: Any) -> ApiKeyRecord:
    entry = KeyEntry(
        id=key_id,
        tenant="acme",
        name="ci",
        secrets=(KeySecret(digest=bytes(range(32))), KeySecret(digest=b"\xff" * 32, expires_unix_s=9.5)),
        models=("small", "big*"),
        expires_unix_s=1e10 + 0.25,
    )
    entry = msgspec.structs.replace(entry, **changes)
    return ApiKeyRecord(entry=entry, created_unix_s=created_unix_s, created_by="ann")


class KeyStoreConformance:
    """Of KeyStore. Fixture: `key_stores`."""

    async def test_a_key_comes_back_as_it_went_in(self, key_stores: tuple[KeyStore, KeyStore]) -> None:
        store, other = key_stores
        await store.insert(_key("one"))
        assert await other.find("one") == _key("one")
        assert await other.find("two") is None

    async def test_keys_come_oldest_first(self, key_stores: tuple[KeyStore, KeyStore]) -> None:
        store, _ = key_stores
        assert await store.all() == ()
        records = (_key("b", 2.5), _key("a", 3.0, revoked_unix_s=4.0), _key("c", 3.0))
        for record in reversed(records):
            await store.insert(record)
        assert await store.all() == records

    async def test_an_id_is_used_once(self, key_stores: tuple[KeyStore, KeyStore]) -> None:
        store, other = key_stores
        outcomes = await _outcomes(store.insert(_key("one", name="1")), other.insert(_key("one", name="2")))
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "NoneType"]
        assert len(await store.all()) == 1

    async def test_a_key_is_replaced_only_as_it_was_seen(self, key_stores: tuple[KeyStore, KeyStore]) -> None:
        store, other = key_stores
        await store.insert(_key("one"))
        seen = _key("one").entry
        revoked = msgspec.structs.replace(seen, revoked_unix_s=12.5)
        await store.replace(revoked, expected=seen)
        await _raised(Conflict, other.replace(msgspec.structs.replace(seen, name="late"), expected=seen))
        assert await store.find("one") == _key("one", revoked_unix_s=12.5)
        missing = _key("none").entry
        await _raised(Conflict, store.replace(missing, expected=missing))

    async def test_of_two_replacements_at_once_one_is_a_conflict(self, key_stores: tuple[KeyStore, KeyStore]) -> None:
        await key_stores[0].insert(_key("one"))
        seen = _key("one").entry
        outcomes = await _outcomes(
            *(
                store.replace(msgspec.structs.replace(seen, name=str(number)), expected=seen)
                for number, store in enumerate(key_stores)
            )
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "NoneType"]

    async def test_each_change_counts_up_for_all(self, key_stores: tuple[KeyStore, KeyStore]) -> None:
        store, other = key_stores
        numbers = [await other.change_number()]
        await store.insert(_key("one"))
        numbers.append(await other.change_number())
        await store.replace(_key("one", name="new").entry, expected=_key("one").entry)
        numbers.append(await other.change_number())
        assert numbers == sorted(set(numbers))
        await _raised(Conflict, store.insert(_key("one")))
        assert await store.change_number() >= numbers[-1]

    async def test_all_keys_come_in_batches(self, key_stores: tuple[KeyStore, KeyStore]) -> None:
        store, other = key_stores
        assert [batch async for batch in store.batches()] == []
        records = [_key(key_id) for key_id in ("b", "C", "a", "ä", "c")]
        for record in records:
            await store.insert(record)
        batches = [batch async for batch in other.batches()]
        assert all(batches)
        found = [entry for batch in batches for entry in batch]
        assert sorted(entry.id for entry in found) == sorted(record.entry.id for record in records)
        assert found[0] in [record.entry for record in records]

    async def test_what_changed_is_known_by_number(self, key_stores: tuple[KeyStore, KeyStore]) -> None:
        store, other = key_stores
        await store.insert(_key("zero"))
        number = await store.change_number()
        assert await other.changed_after(number, number) == ()
        await store.insert(_key("one"))
        await other.replace(_key("zero", name="new").entry, expected=_key("zero").entry)
        await _raised(Conflict, store.insert(_key("one", name="other")))
        await _raised(Conflict, store.replace(_key("one", name="new").entry, expected=_key("zero").entry))
        through = await store.change_number()
        changed = await other.changed_after(number, through)
        assert changed is not None
        assert {entry.id: entry for entry in changed} == {
            "one": _key("one").entry,
            "zero": _key("zero", name="new").entry,
        }
        assert await store.changed_after(number, through + 1) is None  # of which nobody told
        await store.replace(_key("one", name="new").entry, expected=_key("one").entry)
        assert await store.changed_after(number, await store.change_number()) is None  # `one` changed twice


def _row(group: dict[str, str], exchanges: int, **changes: int) -> UsageRow:
    sums = {
        "errors": 0,
        "input_tokens": 100 * exchanges,
        "cached_input_tokens": 40 * exchanges,
        "output_tokens": 20 * exchanges,
        "reasoning_tokens": 5 * exchanges,
        "estimated_exchanges": 0,
        "cost_nanousd": 1_500 * exchanges,
        "cache_write_tokens": 0,
    }
    return UsageRow(group=group, exchanges=exchanges, **(sums | changes))


_EVERYTHING = UsageQuery(by=())


class LedgerConformance:
    """Of Ledger. Fixture: `ledgers`."""

    async def test_an_empty_ledger_adds_up_to_nothing(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, _ = ledgers
        assert await ledger.usage(_EVERYTHING) == (_row({}, 0),)
        assert await ledger.usage(UsageQuery(by=("tenant", "day"))) == ()
        assert await ledger.position("gateway-0/1") == 0

    async def test_events_and_position_are_remembered(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, other = ledgers
        assert await ledger.load("gateway-0/1", 400, (make_event(), make_event())) == 2
        assert (await other.position("gateway-0/1"), await other.position("gateway-0/2")) == (400, 0)
        assert await ledger.load("gateway-0/1", 500, ()) == 0
        assert await other.position("gateway-0/1") == 500
        assert await other.usage(_EVERYTHING) == (_row({}, 2),)

    async def test_an_event_counts_once_however_often_it_comes(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, other = ledgers
        events = tuple(make_event() for _ in range(6))
        assert await ledger.load("a/1", 1, (events[0], *events[:4])) == 4
        assert await other.load("a/1", 1, events[2:]) == 2
        assert await ledger.load("b/1", 1, events) == 0
        assert await ledger.usage(_EVERYTHING) == (_row({}, 6),)

    async def test_two_loaders_at_once_count_each_event_once(self, ledgers: tuple[Ledger, Ledger]) -> None:
        events = [make_event(tenant=f"t{number % 7}") for number in range(300)]
        forwards = [ledgers[0].load("a/1", n + 1, tuple(events[n : n + 60])) for n in range(0, 300, 50)]
        backwards = [ledgers[1].load("a/1", n + 1, tuple(events[n : n + 60][::-1])) for n in range(250, -1, -50)]
        assert sum(await asyncio.gather(*forwards, *backwards)) == len(events)
        assert await ledgers[0].usage(_EVERYTHING) == (_row({}, len(events)),)
        by_tenant = await ledgers[1].usage(UsageQuery(by=("tenant",)))
        assert sum(row.exchanges for row in by_tenant) == len(events)

    async def test_usage_adds_up_by_each_thing(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, _ = ledgers
        day_ns = 24 * _HOUR_NS
        events = (
            make_event(tenant="a", key_id="k1", model="m", provider="p", started_unix_ns=_MIDNIGHT_NS),
            make_event(tenant="a", key_id="k2", model="m", provider="q", started_unix_ns=_MIDNIGHT_NS - 1_000_000),
            make_event(
                tenant="b", key_id="k3", model="n", provider="p", started_unix_ns=_MIDNIGHT_NS + day_ns - 1_000_000
            ),
        )
        await ledger.load("a/1", 1, events)
        expected = {
            "tenant": [({"tenant": "a"}, 2), ({"tenant": "b"}, 1)],
            "key": [({"key": "k1"}, 1), ({"key": "k2"}, 1), ({"key": "k3"}, 1)],
            "model": [({"model": "m"}, 2), ({"model": "n"}, 1)],
            "provider": [({"provider": "p"}, 2), ({"provider": "q"}, 1)],
            "day": [({"day": "2025-10-10"}, 2), ({"day": "2025-10-09"}, 1)],
        }
        for by, rows in expected.items():
            assert await ledger.usage(UsageQuery(by=(by,))) == tuple(_row(*row) for row in rows)
        both = await ledger.usage(UsageQuery(by=("day", "tenant")))
        assert [row.group for row in both] == [
            {"day": "2025-10-09", "tenant": "a"},
            {"day": "2025-10-10", "tenant": "a"},
            {"day": "2025-10-10", "tenant": "b"},
        ]

    async def test_usage_adds_up_by_the_values_of_a_tag(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, _ = ledgers
        lost = make_call(provider="lost", reason="client_gone", input_tokens=25, cost_nanousd=9)
        trail = (lost, make_call(provider="local"))
        tags = ("", "a.b=x y,team=a", "team=a", "a.b=team=b,z=1", "xteam=c", "aXb=no,team=a,z==")
        events = [make_event(tags=text, tenant=str(number % 2), trail=trail) for number, text in enumerate(tags)]
        await ledger.load("a/1", 1, (*events, make_event(tags="team=a", started_unix_ns=_MIDNIGHT_NS)))
        until = _MIDNIGHT_S
        for since in (None, _EVENT_S):

            async def counted(*by: str, since: float | None = since) -> dict[tuple[str, ...], tuple[int, int]]:
                rows = await ledger.usage(UsageQuery(by=by, since_unix_s=since, until_unix_s=until))
                return {tuple(row.group[one] for one in by): (row.exchanges, row.cost_nanousd) for row in rows}

            assert await counted("tag:team") == {("",): (3, 4_500), ("a",): (3, 4_500)}
            assert await counted("tag:a.b") == {("",): (4, 6_000), ("x y",): (1, 1_500), ("team=b",): (1, 1_500)}
            assert await counted("tag:z", "tag:team", "tenant") == {
                ("", "", "0"): (2, 3_000),
                ("", "a", "1"): (1, 1_500),
                ("", "a", "0"): (1, 1_500),
                ("1", "", "1"): (1, 1_500),
                ("=", "a", "1"): (1, 1_500),
            }
            assert await counted("provider", "tag:team") == {
                (provider, team): sums
                for team in ("", "a")
                for provider, sums in {"local": (3, 4_473), "lost": (0, 27)}.items()
            }
        everything = await ledger.usage(UsageQuery(by=("tag:team",)))
        assert [(row.group, row.exchanges) for row in everything] == [({"tag:team": "a"}, 4), ({"tag:team": ""}, 3)]

    async def test_the_largest_cost_comes_first(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, _ = ledgers
        costs = {"a": 5, "b": 50, "c": 20}
        await ledger.load("a/1", 1, tuple(make_event(tenant=name, cost_nanousd=cost) for name, cost in costs.items()))
        rows = await ledger.usage(UsageQuery(by=("tenant",)))
        assert [(row.group["tenant"], row.cost_nanousd) for row in rows] == [("b", 50), ("c", 20), ("a", 5)]

    async def test_errors_and_estimates_are_counted(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, _ = ledgers
        events = [make_event(status=status) for status in (200, 399, 400, 499, 503)]
        await ledger.load("a/1", 1, (*events, make_event(tokens_estimated=True)))
        assert await ledger.usage(_EVERYTHING) == (_row({}, 6, errors=3, estimated_exchanges=1),)

    async def test_usage_is_filtered(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, _ = ledgers
        events = [make_event(tenant=t, key_id=k, model=m) for t, k, m in ("akm", "akn", "alm", "bkm", "bkm")]
        await ledger.load("a/1", 1, tuple(events))
        counted = {
            UsageQuery(by=(), tenant="a"): 3,
            UsageQuery(by=(), key_id="k"): 4,
            UsageQuery(by=(), model="m"): 4,
            UsageQuery(by=(), tenant="b", key_id="k", model="m"): 2,
        }
        for query, count in counted.items():
            assert await ledger.usage(query) == (_row({}, count),)
        assert await ledger.usage(UsageQuery(by=("key",), tenant="none")) == ()

    async def test_usage_of_a_time_is_exact_within_hours_too(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, _ = ledgers
        starts = [_MIDNIGHT_NS + number * _HOUR_NS // 4 for number in range(-10, 20)]
        await ledger.load("a/1", 1, tuple(make_event(started_unix_ns=start) for start in starts))
        marks = [
            None,
            *(_MIDNIGHT_S + quarter * 900 + offset for quarter in (-5, 0, 1, 9) for offset in (0, 0.5)),
        ]
        for since in marks:
            for until in marks:
                expected = sum(
                    (since is None or start >= since * 10**9) and (until is None or start < until * 10**9)
                    for start in starts
                )
                rows = await ledger.usage(UsageQuery(by=(), since_unix_s=since, until_unix_s=until))
                assert rows == (_row({}, expected),)

    async def test_cache_writes_are_added_up(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, _ = ledgers
        await ledger.load("a/1", 1, (make_event(cache_write_tokens=30), make_event(cache_write_tokens=4)))
        for since in (None, _EVENT_S, _EVENT_S - 5):  # from sums by hour, from exchanges, from both
            rows = await ledger.usage(UsageQuery(by=(), since_unix_s=since))
            assert rows == (_row({}, 2, cache_write_tokens=34),)

    async def test_by_provider_a_given_up_call_costs_its_own_provider(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, _ = ledgers
        lost = make_call(kind="first", provider="q", reason="client_gone", input_tokens=30, cost_nanousd=200)
        failed = make_call(kind="retry", provider="r", reason="upstream_error")
        won = make_call(kind="hedge", provider="p", input_tokens=70, output_tokens=20, cost_nanousd=1_300)
        same = make_call(kind="first", provider="p", reason="client_gone", input_tokens=30, cost_nanousd=100)
        events = (
            make_event(provider="p", trail=(lost, failed, won), attempts=3),
            make_event(provider="p", trail=(same, won), attempts=2, tenant="b"),
            make_event(provider="q"),
        )
        await ledger.load("a/1", 1, events)
        kept: dict[str, int] = {"input_tokens": 170, "cost_nanousd": 2_800}
        whole = {"input_tokens": 130, "cached_input_tokens": 40, "output_tokens": 20, "reasoning_tokens": 5}
        for since in (None, _EVENT_S, _EVENT_S - 5):
            by_provider = UsageQuery(by=("provider",), since_unix_s=since)
            assert await ledger.usage(by_provider) == (
                _row({"provider": "p"}, 2, **kept),
                _row({"provider": "q"}, 1, input_tokens=130, cost_nanousd=1_700),
            )
            assert await ledger.usage(UsageQuery(by=(), since_unix_s=since)) == (_row({}, 3),)
            several = UsageQuery(by=("provider", "tenant"), since_unix_s=since, tenant="acme")
            assert await ledger.usage(several) == (
                _row({"provider": "q", "tenant": "acme"}, 1, **whole, cost_nanousd=1_700),
                _row({"provider": "p", "tenant": "acme"}, 1, input_tokens=70, cost_nanousd=1_300),
            )

    async def test_a_provider_that_only_lost_counts_no_exchange(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, _ = ledgers
        lost = make_call(provider="lost", reason="client_gone", input_tokens=25, cost_nanousd=9)
        await ledger.load("a/1", 1, (make_event(provider="p", trail=(lost, make_call(provider="p"))),))
        for since in (None, _EVENT_S):
            rows = await ledger.usage(UsageQuery(by=("day", "provider"), since_unix_s=since))
            nothing = {"cached_input_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0}
            day = {"day": "2025-10-09"}
            assert rows == (
                _row(day | {"provider": "p"}, 1, input_tokens=75, cost_nanousd=1_491),
                _row(day | {"provider": "lost"}, 0, **nothing, input_tokens=25, cost_nanousd=9),
            )

    async def test_an_exchange_is_found_by_its_request_id_with_all_its_calls(
        self, ledgers: tuple[Ledger, Ledger]
    ) -> None:
        ledger, other = ledgers
        calls = (make_call(kind="first", reason="upstream_error"), make_call(kind="retry", backend="p/ü"))
        event = make_event(request_id="req/1:+=@", trail=calls, attempts=2, hedges=1, why="turn", trace_sampled=True)
        await ledger.load("a/1", 1, (event, make_event(request_id="req")))
        assert await other.find("req/1:+=@", tenant=None, before=None, limit=5) == (event,)
        assert await other.find("req/1:+=@", tenant="acme", before=None, limit=5) == (event,)
        assert await other.find("req/1:+=@", tenant="other", before=None, limit=5) == ()
        assert await other.find("req/", tenant=None, before=None, limit=5) == ()

    async def test_exchanges_of_one_request_id_come_newest_first_in_pages(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, _ = ledgers
        events = [
            make_event(id=bytes([number]) * 16, request_id="same", tenant=f"t{number % 2}") for number in range(5)
        ]
        await ledger.load("a/1", 1, (*events, make_event(request_id="another")))
        first = await ledger.find("same", tenant=None, before=None, limit=2)
        second = await ledger.find("same", tenant=None, before=first[-1].id, limit=10)
        assert [event.id[0] for event in (*first, *second)] == [4, 3, 2, 1, 0]
        of_one = await ledger.find("same", tenant="t1", before=None, limit=10)
        assert [event.id[0] for event in of_one] == [3, 1]

    async def test_what_was_spent_is_told_by_whose_it_was(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, other = ledgers
        hour_ns = 3600 * 10**9
        start_ns = _EVENT_S * 10**9 // hour_ns * hour_ns
        events = [
            make_event(started_unix_ns=start_ns + number * hour_ns // 2, key_id=f"k{number % 2}", user="u", tags="a=b")
            for number in range(7)
        ]
        await ledger.load("a/1", 1, tuple(events))
        for by in (("key",), ("key", "user", "tags")):
            sums: dict[tuple[int, str, str, str], tuple[int, int]] = {}
            query = SpendQuery(by=by, start_ns=start_ns, end_ns=start_ns + 3 * hour_ns, bucket_ns=hour_ns)
            for row in await other.spent(query):
                nanousd, tokens = sums.get(group := (row.start_ns, row.key, row.user, row.tags), (0, 0))
                sums[group] = nanousd + row.nanousd, tokens + row.tokens
            rest = ("u", "a=b") if "user" in by else ("", "")
            assert sums == {
                (start_ns + number * hour_ns, key, *rest): (1_500, 120) for number in range(3) for key in ("k0", "k1")
            }

    async def test_recent_sources_are_told(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, other = ledgers
        now_s = time.time()
        await ledger.load("a/1", 1, ())
        await ledger.load("b/7", 1, ())
        assert await other.sources(now_s - 60) == {"a/1", "b/7"}
        assert await other.sources(now_s + 60) == frozenset()

    async def test_the_last_refusal_of_a_key_is_found(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, other = ledgers
        ns = _EVENT_S * 10**9
        old, last, others, fine = (
            make_event(started_unix_ns=ns + 1, reason="requests_limited", status=429),
            make_event(started_unix_ns=ns + 2, reason="budget_exhausted", status=402),
            make_event(started_unix_ns=ns + 3, reason="tokens_limited", status=429, key_id="another"),
            make_event(started_unix_ns=ns + 4),
        )
        await ledger.load("a/1", 1, (old, last, others, fine))
        assert await other.last_refusal(last.key_id, ns) == last
        assert await other.last_refusal(last.key_id, ns + 3) is None

    async def test_odd_events_do_not_stop_the_others(self, ledgers: tuple[Ledger, Ledger]) -> None:
        ledger, _ = ledgers
        huge = {"input_tokens": 2**64 - 1, "cost_nanousd": 2**63, "bytes_in": -(2**63)}
        events = (
            make_event(user="nul \0 in it", model="\0"),
            make_event(user="🦙" * 1000, tenant="ünï", request_id="'; DROP TABLE exchanges; --"),
            make_event(**huge),
            make_event(started_unix_ns=-5),
            make_event(started_unix_ns=2**63),
            make_event(admitted_ns=-1, upstream_ns=-1, first_byte_ns=-1),
            make_event(trail=(make_call(provider="nul \0", cost_nanousd=2**63, why='"\\'), make_call(provider="p"))),
        )
        assert await ledger.load("a/1", 1, events) == len(events)
        assert await ledger.load("a/1", 1, events) == 0
        assert (await ledger.usage(_EVERYTHING))[0].exchanges == len(events)
        for since in (None, _EVENT_S):
            rows = await ledger.usage(UsageQuery(by=("provider",), since_unix_s=since))
            assert len(rows) == 2


class LeaderLeaseConformance:
    """Of LeaderLease. Fixture: `leader_leases`."""

    async def test_one_holder_at_a_time(self, leader_leases: tuple[LeaderLease, LeaderLease]) -> None:
        first, second = leader_leases
        assert await first.acquire("a", 60)
        assert not await second.acquire("b", 60)
        assert await first.acquire("a", 60)

    async def test_of_two_at_once_one_leads(self, leader_leases: tuple[LeaderLease, LeaderLease]) -> None:
        first, second = leader_leases
        for _ in range(5):
            taken = await asyncio.gather(first.acquire("a", 60), second.acquire("b", 60))
            assert sorted(taken) == [False, True]
            await first.release("a")
            await second.release("b")

    async def test_a_released_lease_is_free_but_only_its_holder_releases_it(
        self, leader_leases: tuple[LeaderLease, LeaderLease]
    ) -> None:
        first, second = leader_leases
        await first.acquire("a", 60)
        await second.release("b")
        assert not await second.acquire("b", 60)
        await first.release("a")
        assert await second.acquire("b", 60)
        await second.release("b")
        await second.release("b")

    async def test_a_lease_that_is_not_renewed_passes_on(self, leader_leases: tuple[LeaderLease, LeaderLease]) -> None:
        first, second = leader_leases
        assert await first.acquire("a", 0.2)
        deadline = time.monotonic() + 10
        while not await second.acquire("b", 60):
            assert time.monotonic() < deadline, "the lease did not expire"
            await asyncio.sleep(0.02)
        assert not await first.acquire("a", 60)
