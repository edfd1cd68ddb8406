import pytest

from podium.core.experiments import NamedSegment
from podium.delivery.analysis.measures import INDEX
from podium.delivery.analysis.observed import Cell
from podium.delivery.analysis.tally import WIDTH
from podium.delivery.experiments.segments import (
    ALL_OTHERS,
    MOST_SHOWN,
    MOST_TAGS,
    MOST_VALUES,
    SegmentTally,
    compiled,
    largest,
    observed_by_place,
)
from podium.delivery.experiments.tenants import GROUPS, TenantTally
from podium.testing.events import make_event


@pytest.fixture
def make():
    def of(known=None, named=(), tiers=None):
        return SegmentTally(TenantTally({}), {"x": known or ()}, {"x": compiled(named)}, tiers or {})

    return of


def event(**changes):
    return make_event(**({"rollout": "x", "arm": "a", "subject": "00ff", "key_id": "k1"} | changes))


def counted(tally):
    found = {}
    for key, row in tally.cells.items():
        found[key.kind, key.name] = found.get((key.kind, key.name), 0) + row[0]
    return found


def test_an_exchange_is_in_all_parts_that_it_has(make):
    named = (
        NamedSegment(name="internal", users=("*@ours",)),
        NamedSegment(name="gold", tiers=("gold",)),
        NamedSegment(name="europe", tags=("region=eu-*",)),
        NamedSegment(name="everybody"),
    )
    tally = make(named=named, tiers={"k1": "gold"})
    tally.add(event(user="ann@ours", tags="region=eu-1,team=a"), 7)
    tally.add(event(user="bob@theirs", tags="region=us-1", key_id="k2"), 7)

    assert counted(tally) == {
        ("key", "k1"): 1,
        ("key", "k2"): 1,
        ("tag", "region=eu-1"): 1,
        ("tag", "region=us-1"): 1,
        ("tag", "team=a"): 1,
        ("segment", "internal"): 1,
        ("segment", "gold"): 1,
        ("segment", "europe"): 1,
        ("segment", "everybody"): 2,
    }
    assert sum(row[0] for row in tally.tenants.cells.values()) == 2


def test_measures_and_opinions_are_added_up(make):
    tally = make()
    tally.add(event(output_tokens=30), 7)
    tally.add_opinion(event(), 7, "thumbs_up_rate", 1.0)
    (row,) = tally.cells.values()
    tokens, thumbs = (2 * INDEX[name] + 1 for name in ("output_tokens", "thumbs_up_rate"))

    assert (row[0], row[tokens : tokens + 2], row[thumbs : thumbs + 2]) == (1, [30, 1], [1, 1])


def test_beyond_so_many_values_the_others_are_counted_together(make):
    tally = make(known=[("tag", f"team={number}") for number in range(MOST_VALUES - 1)])
    for number in range(MOST_VALUES + 5):
        tally.add(event(key_id=f"k{number:02}", tags=f"region=r,team={number}"), 7)
    found = counted(tally)

    assert found["key", ""] == found["tag", "team="] == 5
    assert ("key", f"k{MOST_VALUES}") not in found
    assert found["tag", "region=r"] == MOST_VALUES + 5
    assert len([place for place in found if place[0] == "tag"]) == MOST_VALUES + 2
    assert ("x", "tag", f"team={MOST_VALUES - 1}") in tally.new
    assert ("x", "tag", "team=0") not in tally.new


def test_beyond_so_many_tags_names_are_not_counted(make):
    tally = make()
    for number in range(MOST_TAGS + 3):
        tally.add(event(tags=f"name{number}=v"), 7)
    tally.add(event(tags="name0=w"), 7)
    names = {name.partition("=")[0] for kind, name in counted(tally) if kind == "tag"}

    assert names == {f"name{number}" for number in range(MOST_TAGS)}
    assert counted(tally)["tag", "name0=w"] == 1


def test_who_floods_with_names_does_not_grow_what_is_kept(make):
    tally = make()
    for number in range(2000):
        tags = ",".join(f"n{number + more}={number}" for more in range(8))
        tally.add(event(key_id=f"k{number}", tags=tags, subject=f"{number:016x}"), 7)
    names = {(key.kind, key.name) for key in tally.cells}

    assert len(names) <= (MOST_VALUES + 1) * (MOST_TAGS + 1)
    assert {key.cluster for key in tally.cells} <= set(range(GROUPS))


def cells(places):
    for kind, name, size in places:
        yield (kind, name), Cell("a", "", 3, (float(size), *[0.0] * (WIDTH - 1)))


def test_others_are_called_so_and_the_largest_come_first():
    places = [("key", "", 5), ("key", "k1", 2), ("tag", "team=", 1), ("tag", "team=a", 9), ("segment", "internal", 1)]
    found = {place: {"b": seen} for place, seen in observed_by_place(cells(places)).items()}

    assert [(kind, name) for kind, name, _ in largest(found)] == [
        ("segment", "internal"),
        ("tag", "team=a"),
        ("tag", f"team={ALL_OTHERS}"),
        ("key", ALL_OTHERS),
        ("key", "k1"),
    ]
    assert list(largest({("key", "k1"): found["key", "k1"]})) == []
    many = observed_by_place(cells([("tag", f"team={number}", number) for number in range(MOST_SHOWN + 9)]))
    assert len(list(largest({place: {"b": seen} for place, seen in many.items()}))) == MOST_SHOWN
