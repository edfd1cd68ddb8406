"""Exchanges of experiments added up by other parts of the subjects than tenants: keys, tags, and what a design names.

As podium.delivery.experiments.tenants: beside the sums of whole arms, in fewer groups, and of each kind no more than so
many; the others are counted together. Who they are is decided by who comes first, and stays so.

An exchange is in several parts at once: its key's, each of its tags', and all named ones that it matches.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

from podium.core.event import Event
from podium.core.experiments import NamedSegment
from podium.core.rollouts import Segment
from podium.core.tags import MAX_TAGS
from podium.delivery.analysis.measures import INDEX, measures_of
from podium.delivery.analysis.observed import Cell, Observed
from podium.delivery.analysis.tally import WIDTH, cluster_of
from podium.delivery.experiments.tenants import GROUPS, TenantTally
from podium.delivery.segments import Holds, compile_segment

__all__ = [
    "ALL_OTHERS",
    "MOST_SHOWN",
    "MOST_TAGS",
    "MOST_VALUES",
    "SEGMENTS_NOTE",
    "Place",
    "SegmentKey",
    "SegmentKind",
    "SegmentTally",
    "compiled",
    "largest",
    "observed_by_place",
]

SegmentKind = Literal["tenant", "tier", "key", "tag", "segment"]
Place = tuple[str, str]  # kind and name; of tags the name is `name=value`

MOST_VALUES: Final = 20  # of keys, and of the values of each tag
MOST_TAGS: Final = MAX_TAGS  # names of tags
MOST_SHOWN: Final = 30  # of each kind in a report
ALL_OTHERS: Final = "(all others)"  # what no key and no value of a tag is called
SEGMENTS_NOTE: Final = (
    f"Of keys, and of each of the first {MOST_TAGS} tags, the first {MOST_VALUES} values are counted by themselves, the"
    f" others together: {ALL_OTHERS}."
)
_SHOWN: Final[tuple[SegmentKind, ...]] = ("segment", "tag", "key")


class SegmentKey(NamedTuple):
    """A group of subjects of a part."""

    rollout: str
    span_us: int
    arm: str
    kind: str
    name: str
    cluster: int


Compiled = tuple[tuple[str, Holds], ...]


def compiled(segments: Iterable[NamedSegment]) -> Compiled:
    """What a design names; a segment that says nothing holds everybody."""
    found = []
    for one in segments:
        holds = compile_segment(
            Segment(tenants=one.tenants, keys=one.keys, users=one.users, tiers=one.tiers, tags=one.tags)
        )
        found.append((one.name, holds or _everybody))
    return tuple(found)


def _everybody(*_: str) -> bool:
    return True


class SegmentTally:
    """Sums of a batch, by tenant and by all other parts.

    `known`: the keys and tags of each experiment that are counted by themselves already. `named`: the segments of each
    experiment. `tiers`: of keys, as far as they are known.
    """

    __slots__ = ("_known", "_named", "_tiers", "cells", "new", "tenants")

    def __init__(
        self,
        tenants: TenantTally,
        known: Mapping[str, Collection[Place]],
        named: Mapping[str, Compiled],
        tiers: Mapping[str, str],
    ) -> None:
        self.tenants = tenants
        self.cells: dict[SegmentKey, list[float]] = {}
        self.new: set[tuple[str, str, str]] = set()  # rollouts, kinds and names
        self._known: dict[tuple[str, str], set[str]] = {}
        for rollout, places in known.items():
            for place in places:
                self._group(rollout, *place).add(place[1])
        self._named, self._tiers = named, tiers

    def add(self, event: Event, span: int) -> None:
        """Count an exchange that is analysed."""
        self.tenants.add(event, span)
        told = measures_of(event)
        for row in self._rows(event, span):
            row[0] += 1
            for measure, y, x in told:
                row[2 * measure + 1] += y
                row[2 * measure + 2] += x

    def add_opinion(self, event: Event, span: int, measure: str, value: float) -> None:
        """Count what somebody thinks of an exchange that is counted already."""
        self.tenants.add_opinion(event, span, measure, value)
        for row in self._rows(event, span):
            row[2 * INDEX[measure] + 1] += value
            row[2 * INDEX[measure] + 2] += 1

    def _rows(self, event: Event, span: int) -> Iterator[list[float]]:
        cluster = cluster_of(event.subject) % GROUPS
        for kind, name in self._places(event):
            key = SegmentKey(event.rollout, span, event.arm, kind, name, cluster)
            row = self.cells.get(key)
            if row is None:
                row = self.cells[key] = [0.0] * WIDTH
            yield row

    def _places(self, event: Event) -> Iterator[Place]:
        rollout = event.rollout
        yield "key", self._name(rollout, "key", event.key_id, "")
        for tag in event.tags.split(",") if event.tags else ():
            name, equals, _ = tag.partition("=")
            if equals and self._is_counted(rollout, name):
                yield "tag", self._name(rollout, "tag", tag, f"{name}=")
        tier = self._tiers.get(event.key_id, "")
        for name, holds in self._named.get(rollout, ()):
            if holds(event.tenant, event.key_id, event.user, tier, event.tags):
                yield "segment", name

    def _group(self, rollout: str, kind: str, name: str) -> set[str]:
        """What is known of a kind; each tag is one of its own."""
        return self._known.setdefault((rollout, name.partition("=")[0] + "=" if kind == "tag" else kind), set())

    def _is_counted(self, rollout: str, tag: str) -> bool:
        if (rollout, f"{tag}=") in self._known:
            return True
        return sum(of == rollout and kind.endswith("=") for of, kind in self._known) < MOST_TAGS

    def _name(self, rollout: str, kind: str, name: str, others: str) -> str:
        """The part's name; `others` where it is not counted by itself."""
        known = self._group(rollout, kind, name)
        if name in known:
            return name
        if len(known) >= MOST_VALUES or not name or "\0" in name:
            return others
        known.add(name)
        self.new.add((rollout, kind, name))
        return name


def observed_by_place(cells: Iterable[tuple[Place, Cell]]) -> dict[Place, Observed]:
    """What was seen of each part, with the names that people are shown."""
    found: dict[Place, list[Cell]] = {}
    for (kind, name), cell in cells:
        shown = f"{name}{ALL_OTHERS}" if not name or (kind == "tag" and name.endswith("=")) else name
        found.setdefault((kind, shown), []).append(cell)
    return {place: Observed(cells=tuple(of_place)) for place, of_place in sorted(found.items())}


def largest(
    places: Mapping[Place, Mapping[str, Observed]],
) -> Iterator[tuple[SegmentKind, str, Mapping[str, Observed]]]:
    """Those that reports show: named ones, then the largest of tags and keys. A single key is everybody."""
    for kind in _SHOWN:
        sizes = {
            name: max((_size(one) for one in observed.values()), default=0.0)
            for (of_kind, name), observed in places.items()
            if of_kind == kind
        }
        if kind == "key" and len(sizes) == 1:
            continue
        for name in sorted(sizes, key=lambda name: (-sizes[name], name))[:MOST_SHOWN]:
            yield kind, name, places[kind, name]


def _size(observed: Observed) -> float:
    return sum(cell.totals[0] for cell in observed.cells)
