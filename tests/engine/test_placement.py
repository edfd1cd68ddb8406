"""Which models are in memory, as a function of what is known."""

from hypothesis import given
from hypothesis import strategies as st

from podium.engine.placement import Placement, Resident, place


def one(name, mib=100, **state):
    return Resident(name, mib, **state)


def test_what_models_name_is_loaded_ahead_while_there_is_room_and_nothing_makes_room_for_it():
    residents = [one("a", in_use=True), one("b", in_use=True), one("c"), one("d", loaded=True, used_ns=5)]
    assert place(residents, 250) == Placement(load=("a",))


def test_a_caller_that_waits_gets_room_from_the_least_recently_used():
    residents = [one("old", loaded=True, used_ns=1), one("new", loaded=True, used_ns=2), one("asked", wanted_ns=9)]
    assert place(residents, 250) == Placement(unload=("old",))
    gone = [one("new", loaded=True, used_ns=2), one("old", used_ns=1), one("asked", wanted_ns=9)]
    assert place(gone, 250) == Placement(load=("asked",))


def test_nothing_more_is_thrown_out_while_something_is_leaving_already():
    residents = [one("old", loaded=True, leaving=True), one("new", loaded=True), one("asked", wanted_ns=9)]
    assert place(residents, 250) == Placement()


def test_pinned_running_loading_and_wanted_ones_stay():
    stay = ({"pinned": True}, {"running": 1}, {"loading": True}, {"wanted_ns": 3})
    for state in stay:
        residents = [one("there", loaded=True, **state), one("asked", wanted_ns=9)]
        assert place(residents, 150).unload == ()


def test_the_longest_wait_comes_first_and_pinned_ones_before_all():
    residents = [
        one("late", wanted_ns=9),
        one("early", wanted_ns=3),
        one("pin", pinned=True),
        one("named", in_use=True),
    ]
    assert place(residents, 1000).load == ("pin", "early", "late", "named")
    assert place(residents, 200).load == ("pin", "early")


def test_a_small_one_does_not_take_the_room_that_a_large_one_waits_for():
    busy = [one("busy", 150, loaded=True, running=1)]
    residents = [*busy, one("large", 200, wanted_ns=1), one("small", 50, in_use=True)]
    assert place(residents, 250) == Placement()


def test_what_can_never_fit_is_told_with_the_numbers_and_blocks_nobody():
    residents = [one("huge", 500, wanted_ns=1), one("a", wanted_ns=2)]
    placement = place(residents, 300)
    assert placement.load == ("a",)
    assert placement.impossible == {"huge": "It needs about 500 MiB, and `engine.memory_budget_mib` is 300."}
    beside = place([one("pin", 250, pinned=True, loaded=True), one("a", 100, wanted_ns=1)], 300)
    assert "pinned models take 250" in beside.impossible["a"]


def test_models_that_grew_beyond_the_budget_leave_but_for_the_last_one():
    old, new = one("old", 200, loaded=True, used_ns=1), one("new", 200, loaded=True, used_ns=2)
    assert place([old, new], 300) == Placement(unload=("old",))
    assert place([new], 150) == Placement()


@st.composite
def states(draw):
    made = []
    for number in range(draw(st.integers(0, 8))):
        loaded = draw(st.booleans())
        kind = draw(st.sampled_from(["idle", "leaving", "loading", "running"])) if loaded else "idle"
        made.append(
            Resident(
                f"m{number}",
                draw(st.integers(1, 150)),
                loaded=loaded,
                leaving=kind == "leaving",
                loading=kind == "loading",
                running=int(kind == "running"),
                pinned=draw(st.booleans()),
                in_use=draw(st.booleans()),
                used_ns=draw(st.integers(0, 5)),
                wanted_ns=draw(st.none() | st.integers(1, 5)),
            )
        )
    return made


@given(states(), st.integers(1, 400))
def test_the_budget_holds_and_nobody_is_thrown_out_who_may_not_be(residents, budget):
    by_name = {resident.name: resident for resident in residents}
    placement = place(residents, budget)
    before = sum(resident.mib for resident in residents if resident.loaded)
    loaded = sum(by_name[name].mib for name in placement.load)
    assert loaded == 0 or before + loaded <= budget
    for name in placement.unload:
        gone = by_name[name]
        assert gone.loaded
        assert not (gone.pinned or gone.running or gone.loading or gone.leaving or gone.wanted_ns is not None)
    for name in placement.load:
        assert not by_name[name].loaded
    assert len(set(placement.load) | set(placement.unload)) == len(placement.load) + len(placement.unload)


@given(states(), st.integers(1, 400))
def test_whoever_waits_and_can_fit_is_loaded_in_the_end(residents, budget):
    """Idle ones leave when told; once all calls have ended, the first in line is in memory after a few steps."""
    settled = [Resident(r.name, r.mib, loaded=r.loaded, used_ns=r.used_ns, wanted_ns=None) for r in residents]
    if sum(r.mib for r in settled if r.loaded) > budget:
        return
    asked = Resident("asked", 100, wanted_ns=1)
    for _ in range(len(settled) + 3):
        placement = place([*settled, asked], budget)
        if "asked" in placement.load or "asked" in placement.impossible:
            break
        gone = set(placement.unload)
        settled = [Resident(r.name, r.mib, loaded=r.loaded and r.name not in gone, used_ns=r.used_ns) for r in settled]
    assert ("asked" in placement.load) == (budget >= 100)
