"""What operators ask about flags: how each is used, which are stale and why, what one would give."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from podium.control.flags import flags_of
from podium.control.ports import ResourceStore
from podium.control.standings import GatewayAsker
from podium.core.clock import Clock
from podium.core.errors import NotFound
from podium.core.flags import Flag
from podium.core.standings import FlagUse, Standings, StandingsQuery
from podium.delivery.flags.constant import only_variant
from podium.delivery.flags.flagset import FlagSet
from podium.delivery.flags.values import ErrorCode, Evaluation, EvaluationReason

__all__ = ["FlagEvaluation", "FlagReport", "FlagState", "Flags", "Stale"]

_PAGE = 200
_MAX_SCANNED = 10_000  # revisions that are looked through for the last change of each flag
_DAY_S = 86_400.0
_ENOUGH_S = 3_600.0  # that gateways must have counted before nothing counted means something
_ENOUGH_EVALUATIONS = 100


class Stale(StrEnum):
    """Why a flag should be looked at."""

    OLD = "old"  # it has not changed for `stale_after_days`
    CONSTANT = "constant"  # it gives everybody one variant
    ONE_VARIANT = "one_variant"  # it has given only one since the gateways started
    UNUSED = "unused"  # nobody has asked for it since then, and no other flag needs it


class FlagState(msgspec.Struct, frozen=True, kw_only=True):
    """A flag, and how it is used."""

    name: str
    type: str
    enabled: bool
    description: str
    owner: str
    stale_after_days: int | None
    changed_unix_s: Annotated[float | None, Meta(description="When it was last changed; null: too long ago to tell.")]
    changed_by: str
    constant: Annotated[str | None, Meta(description="The variant that it gives everybody; null: it depends.")]
    needed_by: Annotated[tuple[str, ...], Meta(description="Flags that have it as a prerequisite.")]
    given: Annotated[
        dict[str, int], Meta(description="Evaluations by variant since the gateways started; empty variant: errors.")
    ]
    asked_unix_s: Annotated[
        float | None, Meta(description="When the gateway itself or a client that asked for it evaluated it last.")
    ]
    listed_unix_s: Annotated[float | None, Meta(description="When a client that asked for all flags got it last.")]
    stale: Annotated[tuple[Stale, ...], Meta(description="Why it should be looked at; empty: it should not.")]


class FlagReport(msgspec.Struct, frozen=True, kw_only=True):
    """All flags, by name."""

    flags: tuple[FlagState, ...]
    gateways: Annotated[int, Meta(description="How many told how flags are used.")]
    silent: Annotated[tuple[str, ...], Meta(description="Why others did not; with any, nothing is called unused.")]
    counted_since_unix_s: Annotated[
        float | None, Meta(description="Since when all of them count: the start of the youngest; null: none told.")
    ]


class FlagEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What a flag gives in a context."""

    flag: str
    type: str
    value: Annotated[object, Meta(description="null when it could not be evaluated.")]
    variant: str
    reason: EvaluationReason
    rule: str
    prerequisite: str
    error: ErrorCode | None
    detail: str


class Flags:
    """The use case."""

    def __init__(self, resources: ResourceStore, clock: Clock, *, gateways: GatewayAsker | None) -> None:
        self._resources = resources
        self._clock = clock
        self._gateways = gateways

    async def report(self, presented: str) -> FlagReport:
        """All flags; gateways are asked with the operator's key."""
        flags = await self._flags()
        told: Sequence[Standings] = ()
        if flags and self._gateways is not None:
            query = StandingsQuery(limits=False, budgets=False, flags=True)
            told = await self._gateways.ask(query, presented)
        changes = await self._last_changes(flags)
        counting = [place for place in told if not place.error and place.flags_since_unix_s]
        silent = tuple(place.error or f"{place.place} does not count flags" for place in told if place not in counting)
        since = max((place.flags_since_unix_s for place in counting), default=None)
        uses: dict[str, list[FlagUse]] = {}
        for use in (use for place in counting for use in place.flags):
            uses.setdefault(use.flag, []).append(use)
        judge = _Judge(flags, self._clock.unix_ns() / 1e9, None if silent else since)
        states = (judge.state(name, uses.get(name, []), changes.get(name)) for name in sorted(flags))
        return FlagReport(flags=tuple(states), gateways=len(counting), silent=silent, counted_since_unix_s=since)

    async def evaluate(self, name: str, context: Mapping[str, object]) -> FlagEvaluation:
        """What a flag, as it is declared now, gives in a context. Nothing is counted. NotFound."""
        known = FlagSet(await self._flags())
        flag = known.flag(name)
        if flag is None:
            raise NotFound(f"there is no flag `{name}`", hint="`podium flags list` shows them")
        found: Evaluation = known.evaluate(name, context)
        return FlagEvaluation(
            flag=name,
            type=flag.type,
            value=found.value,
            variant=found.variant,
            reason=found.reason,
            rule=found.rule,
            prerequisite=found.prerequisite,
            error=found.error,
            detail=found.detail,
        )

    async def _flags(self) -> dict[str, Flag]:
        _, declared = await self._resources.current()
        return flags_of({(one.kind, one.name): one for one in declared})

    async def _last_changes(self, flags: Mapping[str, Flag]) -> dict[str, tuple[float, str]]:
        """When each was changed last, and by whom, as far as that can be found in a bounded time."""
        missing, found = set(flags), dict[str, tuple[float, str]]()
        before: int | None = None
        for _ in range(0, _MAX_SCANNED, _PAGE):
            if not missing:
                break
            page = await self._resources.revisions(before=before, limit=_PAGE)
            for revision in page:
                before = revision.number
                for change in revision.changes:
                    if change.kind == "Flag" and change.name in missing:
                        missing.remove(change.name)
                        found[change.name] = revision.created_unix_s, revision.author
            if len(page) < _PAGE:
                break
        return found


class _Judge:
    """Says of flags how they are."""

    def __init__(self, flags: Mapping[str, Flag], unix_s: float, since_unix_s: float | None) -> None:
        """`since_unix_s`: since when everybody counts; None: that is not known."""
        self._flags = flags
        self._unix_s = unix_s
        self._since_unix_s = since_unix_s
        self._needed_by: dict[str, list[str]] = {}
        for name, flag in flags.items():
            for one in flag.prerequisites:
                self._needed_by.setdefault(one.flag, []).append(name)

    def state(self, name: str, uses: Sequence[FlagUse], change: tuple[float, str] | None) -> FlagState:
        """One flag."""
        flag = self._flags[name]
        given: dict[str, int] = {}
        for use in uses:
            given[use.variant] = given.get(use.variant, 0) + use.count
        asked = [use for use in uses if use.asker != "ofrep_all"]
        constant = only_variant(flag)
        return FlagState(
            name=name,
            type=flag.type,
            enabled=flag.enabled,
            description=flag.description,
            owner=flag.owner,
            stale_after_days=flag.stale_after_days,
            changed_unix_s=change[0] if change else None,
            changed_by=change[1] if change else "",
            constant=constant,
            needed_by=tuple(sorted(self._needed_by.get(name, ()))),
            given=given,
            asked_unix_s=max((use.last_unix_s for use in asked), default=None),
            listed_unix_s=max((use.last_unix_s for use in uses if use.asker == "ofrep_all"), default=None),
            stale=tuple(self._reasons(name, asked, constant, change)),
        )

    def _reasons(
        self, name: str, asked: Sequence[FlagUse], constant: str | None, change: tuple[float, str] | None
    ) -> list[Stale]:
        flag, reasons = self._flags[name], []
        changed_unix_s = change[0] if change else 0.0
        if flag.stale_after_days is not None and self._unix_s - changed_unix_s > flag.stale_after_days * _DAY_S:
            reasons.append(Stale.OLD)
        if constant is not None:
            reasons.append(Stale.CONSTANT)
        if self._since_unix_s is None or self._unix_s - max(self._since_unix_s, changed_unix_s) < _ENOUGH_S:
            return reasons
        if not asked and not self._needed_by.get(name):
            reasons.append(Stale.UNUSED)
        elif constant is None and len({use.variant for use in asked}) == 1 and _enough(asked):
            reasons.append(Stale.ONE_VARIANT)
        return reasons


def _enough(uses: Sequence[FlagUse]) -> bool:
    return sum(use.count for use in uses) >= _ENOUGH_EVALUATIONS
