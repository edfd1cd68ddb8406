"""Models that are all wanted all the time take turns: a small model of the house, second by second."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.engine.arrivals import arrivals
from podium.engine.placement import HOLD, Hold, Resident, hold_of, place

S = 1_000_000_000
FAIR_S, STAY_S, LOAD_S, DRAIN_S = 10, 8, 3, 4


@dataclass
class House:
    """Each second the placement decides. Loads and drains take as long as they say."""

    budget_mib: int
    residents: dict[str, Resident]
    now_s: int = 100
    ends: dict[str, int] = field(default_factory=dict)  # of loads and drains
    waits: dict[str, list[int]] = field(default_factory=dict)  # of those who were loaded
    stays: list[int] = field(default_factory=list)  # of those who left

    def resident(self, name, **changes):
        self.residents[name] = replace(self.residents[name], **changes)

    def second(self):
        self.now_s += 1
        for name in [name for name, end in self.ends.items() if end <= self.now_s]:
            del self.ends[name]
            self._ended(self.residents[name])
        for name, end in self.ends.items():
            kind = "load_s" if self.residents[name].loading else "drain_s"
            self.resident(name, **{kind: float(end - self.now_s)})
        placement = place(
            list(self.residents.values()), self.budget_mib, now_ns=self.now_s * S, fair_wait_ns=FAIR_S * S
        )
        for name in placement.unload:
            gone = self.residents[name]
            self.stays.append(self.now_s - gone.loaded_ns // S)
            self.ends[name] = self.now_s + (DRAIN_S if gone.running else 1)
            self.resident(name, leaving=True)
        for name in placement.load:
            self.ends[name] = self.now_s + LOAD_S
            self.resident(name, loaded=True, loading=True)
        assert sum(one.mib for one in self.residents.values() if one.loaded) <= self.budget_mib
        return placement

    def _ended(self, one):
        if one.loading:
            if one.wanted_ns is not None:
                self.waits.setdefault(one.name, []).append(self.now_s - one.wanted_ns // S)
            stays = (self.now_s + STAY_S) * S
            now_ns = self.now_s * S
            common = {"loading": False, "loaded_ns": now_ns, "stays_until_ns": stays, "load_s": float(LOAD_S)}
            self.resident(one.name, **common, running=1, wanted_ns=None, used_ns=now_ns)
        else:  # its callers never stop
            back = {"loaded": False, "leaving": False, "running": 0, "wanted_ns": self.now_s * S}
            self.resident(one.name, **back, drain_s=float(DRAIN_S))

    def foretold(self):
        return arrivals(
            list(self.residents.values()),
            self.budget_mib,
            now_ns=self.now_s * S,
            fair_wait_ns=FAIR_S * S,
            min_stay_s=STAY_S,
        )


def house(sizes, budget_mib, pinned=0):
    names = [f"m{number}" for number in range(len(sizes))]
    made = {
        name: Resident(name, mib, wanted_ns=100 * S, load_s=float(LOAD_S), drain_s=float(DRAIN_S))
        for name, mib in zip(names, sizes, strict=True)
    }
    if pinned:
        made["pin"] = Resident("pin", pinned, pinned=True, load_s=float(LOAD_S), drain_s=float(DRAIN_S))
    return House(budget_mib, made)


@given(st.lists(st.integers(20, 100), min_size=2, max_size=5), st.integers(100, 250), st.sampled_from([0, 40]))
def test_nobody_starves_nobody_thrashes_and_pinned_ones_stay(sizes, budget_mib, pinned):
    place_in_memory = house(sizes, budget_mib + pinned, pinned)
    turn_s = max(FAIR_S, LOAD_S + STAY_S) + DRAIN_S + LOAD_S + 2
    for _ in range(60):
        placement = place_in_memory.second()
        assert "pin" not in placement.unload
    for _ in range(turn_s * len(sizes)):
        place_in_memory.second()
    longest = turn_s * len(sizes)
    now_ns = place_in_memory.now_s * S
    for one in place_in_memory.residents.values():
        if one.name != "pin":
            assert place_in_memory.waits.get(one.name), one
            assert max(place_in_memory.waits[one.name]) <= longest
            assert one.wanted_ns is None or now_ns - one.wanted_ns <= longest * S
    assert all(stay >= STAY_S for stay in place_in_memory.stays)


def test_what_all_fit_stays_for_ever():
    place_in_memory = house([50, 50], 100)
    for _ in range(100):
        place_in_memory.second()
    assert place_in_memory.stays == []


@given(st.integers(2, 4))
def test_who_waits_is_told_about_when_it_will_be_there(count):
    place_in_memory = house([100] * count, 100)
    told = {}
    for _ in range(150):
        place_in_memory.second()
        foretold = place_in_memory.foretold()
        for one in place_in_memory.residents.values():
            if one.wanted_ns is not None and not one.loaded:
                told.setdefault((one.name, one.wanted_ns), place_in_memory.now_s + foretold[one.name])
            elif one.loaded and not one.loading and not one.leaving:
                for key in [key for key in told if key[0] == one.name]:
                    assert told.pop(key) == pytest.approx(one.loaded_ns // S, abs=3)


def one(name, mib=100, **state):
    return Resident(name, mib, **state)


BUSY = {"loaded": True, "running": 1}


def test_a_model_in_constant_use_makes_room_after_a_fair_wait_and_not_before():
    residents = [one("busy", **BUSY), one("asked", wanted_ns=5 * S)]
    assert place(residents, 150, now_ns=14 * S, fair_wait_ns=10 * S).unload == ()
    assert place(residents, 150, now_ns=15 * S, fair_wait_ns=10 * S).unload == ("busy",)


def test_one_without_calls_goes_first_and_of_those_in_use_the_one_that_was_there_longest():
    old, new = one("old", **BUSY, loaded_ns=1, used_ns=9), one("new", **BUSY, loaded_ns=2, used_ns=8)
    idle = one("idle", loaded=True, loaded_ns=3, used_ns=9)
    asked = one("asked", wanted_ns=0)
    assert place([old, new, idle, asked], 300, now_ns=S, fair_wait_ns=S).unload == ("idle",)
    assert place([old, new, asked], 200, now_ns=S, fair_wait_ns=S).unload == ("old",)


def test_no_more_leave_than_it_takes():
    asked = one("asked", 150, wanted_ns=0)
    busy = [one(f"b{number}", **BUSY, loaded_ns=number) for number in range(4)]
    assert place([*busy, asked], 400, now_ns=S, fair_wait_ns=S).unload == ("b0", "b1")


HELD = {
    "pinned": {"pinned": True},
    "loading": {"loading": True},
    "leaving": {"leaving": True},
    "wanted": {"wanted_ns": 1},
    "new": {"stays_until_ns": 11},
    "running": {"running": 1},
}


def test_the_table_says_what_holds_a_model_in_memory():
    assert [name for name, _ in HOLD] == list(HELD)
    for index, (name, hold) in enumerate(HOLD):
        assert hold_of(one("a", loaded=True, **HELD[name]), 10) is hold
        rest = {key: value for held in list(HELD.values())[index:] for key, value in held.items()}
        assert hold_of(one("a", loaded=True, **rest), 10) is hold  # the first that is true counts
    assert hold_of(one("a", loaded=True, stays_until_ns=10), 10) is Hold.NOTHING


def test_who_comes_now_is_told_of_free_room_of_idle_ones_and_of_those_in_use():
    def told(*others, budget_mib=100):
        asked = one("asked", load_s=3.0)
        found = arrivals([*others, asked], budget_mib, now_ns=0, fair_wait_ns=10 * S, min_stay_s=8)
        return found.get("asked")

    assert told() == 3
    assert told(one("idle", loaded=True)) == 3
    assert told(one("idle", loaded=True, stays_until_ns=5 * S)) == 8
    assert told(one("busy", **BUSY, drain_s=4.0)) == 10 + 4 + 3
    assert told(one("busy", **BUSY, drain_s=4.0, stays_until_ns=12 * S)) == 12 + 4 + 3
    assert told(one("leaving", loaded=True, leaving=True, drain_s=2.0)) == 2 + 3
    assert told(one("loading", loaded=True, loading=True, load_s=2.0, drain_s=4.0)) == 2 + 8 + 4 + 3
    first = one("first", wanted_ns=0, load_s=3.0, drain_s=4.0)
    assert told(first) == 3 + 8 + 4 + 3
    assert told(first, budget_mib=200) == 3
    assert told(one("pin", pinned=True, loaded=True)) is None
