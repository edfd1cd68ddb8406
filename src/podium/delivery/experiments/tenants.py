"""Exchanges of experiments added up by tenant: what reports by segment are made of.

Beside the sums of whole arms, and coarser: fewer groups of subjects, no backends, and no more than so many tenants; the
others are counted together. So what is kept stays small, whoever comes.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from podium.core.event import Event
from podium.delivery.analysis.measures import INDEX, measures_of
from podium.delivery.analysis.observed import Cell, Observed
from podium.delivery.analysis.tally import WIDTH, cluster_of

__all__ = ["GROUPS", "MOST_TENANTS", "OTHERS", "TenantKey", "TenantTally", "observed_by_tenant"]

GROUPS: Final = 128  # of subjects: variances are known to some 6%
MOST_TENANTS: Final = 100  # of one experiment
OTHERS: Final = ""  # the name of all others


class TenantKey(NamedTuple):
    """A group of subjects of a tenant."""

    rollout: str
    span_us: int
    arm: str
    tenant: str
    cluster: int


class TenantTally:
    """Sums of a batch. `known`: the tenants of each rollout that are counted by themselves already."""

    __slots__ = ("_known", "cells", "new")

    def __init__(self, known: Mapping[str, Collection[str]]) -> None:
        self.cells: dict[TenantKey, list[float]] = {}
        self.new: set[tuple[str, str]] = set()  # rollouts and tenants
        self._known = {rollout: set(names) for rollout, names in known.items()}

    def add(self, event: Event, span: int) -> None:
        """Count an exchange that is analysed."""
        row = self._row(event, span)
        row[0] += 1
        for measure, y, x in measures_of(event):
            row[2 * measure + 1] += y
            row[2 * measure + 2] += x

    def add_opinion(self, event: Event, span: int, measure: str, value: float) -> None:
        """Count what somebody thinks of an exchange that is counted already."""
        row = self._row(event, span)
        row[2 * INDEX[measure] + 1] += value
        row[2 * INDEX[measure] + 2] += 1

    def _row(self, event: Event, span: int) -> list[float]:
        key = TenantKey(
            event.rollout, span, event.arm, self._name(event.rollout, event.tenant), cluster_of(event.subject) % GROUPS
        )
        row = self.cells.get(key)
        if row is None:
            row = self.cells[key] = [0.0] * WIDTH
        return row

    def _name(self, rollout: str, tenant: str) -> str:
        known = self._known.setdefault(rollout, set())
        if tenant in known:
            return tenant
        if len(known) >= MOST_TENANTS or not tenant or "\0" in tenant:
            return OTHERS
        known.add(tenant)
        self.new.add((rollout, tenant))
        return tenant


def observed_by_tenant(cells: Iterable[tuple[str, Cell]]) -> dict[str, Observed]:
    """What was seen of each tenant. A cell is a group of its subjects in an arm, all spans together."""
    found: dict[str, list[Cell]] = {}
    for tenant, cell in cells:
        found.setdefault(tenant, []).append(cell)
    return {tenant: Observed(cells=tuple(of_tenant)) for tenant, of_tenant in sorted(found.items())}
