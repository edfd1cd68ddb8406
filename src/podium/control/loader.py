"""Brings what gateways wrote to their journals into the ledger: exchanges, and opinions about them.

The ledger is idempotent by event id, and counts an opinion of a kind about an exchange once. It remembers the position
of each segment in the same transaction, so that a crash at any time, or two loaders at once, lose and double nothing.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from podium.control.ports import Ledger
from podium.control.waiting import Backoff, wait_for
from podium.core.clock import Clock
from podium.core.errors import OperatorError, PodiumError
from podium.core.event import Event
from podium.core.records import Opinion

__all__ = ["Batch", "JournalReader", "Loader", "LoaderStatus", "Segment"]

_log = structlog.get_logger("podium.control.loader")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of one gateway's journal."""

    source: str  # names it for good, e.g. `gateway-1/000000000042.log`; never used again for another
    size: int  # bytes that can be read now
    closed: bool  # will not grow any more


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read from a segment."""

    events: tuple[Event, ...]
    position: int  # where to read on
    damaged_bytes: int = 0  # that were stepped over because they hold no readable record
    opinions: tuple[Opinion, ...] = ()
    unknown_records: int = 0  # of kinds that only a newer Podium knows; kept aside, and stepped over


class JournalReader(Protocol):
    """Where the journals of all gateways can be read. `podium.store.journal_reader` matches it by shape."""

    async def segments(self) -> tuple[Segment, ...]:
        """All segments, those of one gateway oldest first."""

    async def read(self, source: str, position: int, limit: int) -> Batch:
        """At most `limit` records from byte `position` on; none and the same position: nothing whole is there yet.

        FileNotFoundError: the segment is gone, because another loader had brought it in.
        """

    async def delete(self, source: str) -> None:
        """Remove a closed segment whose events are all in the ledger; no error when it is gone."""


@dataclass(frozen=True, slots=True)
class LoaderStatus:
    """How far the ledger is behind the journals."""

    lag_bytes: int = 0  # written to journals, not yet in the ledger
    lag_s: float = 0.0  # since everything was last in the ledger
    complete_unix_ns: int = 0  # all that was in the journals then is in the ledger; 0: not known yet
    segments: int = 0
    loaded_events: int = 0  # since this process began
    repeated_events: int = 0  # were in the ledger already
    damaged_bytes: int = 0  # of records that could not be read
    unknown_records: int = 0  # that a newer Podium wrote, kept aside
    stuck: tuple[str, ...] = ()  # segments that cannot be read to their end; kept for people to look at
    error: str = ""  # of the last round; "" when it went well


class Loader:
    """The loop. One for each data folder; a second one does no harm."""

    def __init__(
        self, journals: JournalReader, ledger: Ledger, clock: Clock, *, batch_events: int = 1000, poll_s: float = 0.25
    ) -> None:
        self._journals = journals
        self._ledger = ledger
        self._clock = clock
        self._batch_events = batch_events
        self._poll_s = poll_s
        self._positions: dict[str, int] = {}  # of the segments that exist
        self._stuck: set[str] = set()
        self._caught_up_ns = clock.monotonic_ns()
        self._complete_unix_ns = 0
        self._segments: tuple[Segment, ...] = ()
        self._loaded = 0
        self._repeated = 0
        self._damaged = 0
        self._unknown = 0
        self._error = ""

    @property
    def status(self) -> LoaderStatus:
        """As of the last round."""
        lag_bytes = sum(max(0, segment.size - self._positions.get(segment.source, 0)) for segment in self._segments)
        return LoaderStatus(
            lag_bytes=lag_bytes,
            complete_unix_ns=self._complete_unix_ns,
            lag_s=(self._clock.monotonic_ns() - self._caught_up_ns) / 1e9 if lag_bytes or self._error else 0.0,
            segments=len(self._segments),
            loaded_events=self._loaded,
            repeated_events=self._repeated,
            damaged_bytes=self._damaged,
            unknown_records=self._unknown,
            stuck=tuple(sorted(self._stuck)),
            error=self._error,
        )

    @property
    def opinions(self) -> Mapping[tuple[str, str], int]:
        """What became of opinions since this process began: see `Ledger.opinions`."""
        return self._ledger.opinions

    @property
    def sources(self) -> tuple[str, ...]:
        """The segments that there were in the last round."""
        return tuple(segment.source for segment in self._segments)

    async def run(self, stop: asyncio.Event) -> None:
        """Load until `stop` is set. Waits longer and longer while database or disk fail."""
        self._positions.clear()  # another process may have loaded since
        backoff = Backoff(first_s=self._poll_s, most_s=15.0)
        while not stop.is_set():
            try:
                await self.load_once(stop)
            except (PodiumError, OSError) as error:
                if not self._error:
                    _log.warning("journals are not loaded", error=str(error), hint=getattr(error, "hint", ""))
                self._error = str(error) or type(error).__name__
                await wait_for(stop, backoff.next_s())
                continue
            if self._error:
                _log.info("journals are loaded again")
            self._error = ""
            backoff.reset()
            await wait_for(stop, self._poll_s)

    async def load_once(self, stop: asyncio.Event | None = None) -> int:
        """Load all that can be read now; returns how many events were new."""
        before, began_unix_ns = self._loaded, self._clock.unix_ns()
        self._segments = await self._journals.segments()
        alive = {segment.source for segment in self._segments}
        self._positions = {source: position for source, position in self._positions.items() if source in alive}
        self._stuck &= alive
        behind = False
        for segment in self._segments:
            if stop is not None and stop.is_set():
                behind = True
                break
            try:
                if await self._load_segment(segment):
                    self._stuck.discard(segment.source)
                else:
                    behind = True
            except FileNotFoundError:
                self._forget(segment.source)
            except OperatorError as error:  # this segment only, e.g. of a newer Podium; the others go on
                self._cannot_read(segment.source, error.message)
                behind = True
            except (PodiumError, OSError):
                raise  # of database or disk, which all segments need
            except Exception:  # noqa: BLE001 - a boundary: a bug that one segment's events meet does not stop the others
                if segment.source not in self._stuck:
                    _log.exception("events of a journal segment cannot be loaded", source=segment.source)
                self._stuck.add(segment.source)
                behind = True
        if not behind:
            self._caught_up_ns = self._clock.monotonic_ns()
            self._complete_unix_ns = max(self._complete_unix_ns, began_unix_ns)
        return self._loaded - before

    async def _load_segment(self, segment: Segment) -> bool:
        """Whether everything that the segment held when it was listed is in the ledger now."""
        source = segment.source
        position = self._positions.get(source)
        if position is None or position < segment.size or segment.closed:
            # Asked anew whenever it matters: a database that took over may not have all that its predecessor had.
            position = await self._ledger.position(source)
        self._positions[source] = position
        while position < segment.size:
            batch = await self._journals.read(source, position, self._batch_events)
            if batch.position <= position:
                if segment.closed:  # of an open one, a record that is half written comes whole in the next round
                    self._cannot_read(source, f"nothing can be read from byte {position} on")
                return False
            new = await self._ledger.load(source, batch.position, batch.events, batch.opinions)
            self._loaded += new
            self._repeated += len(batch.events) - new
            self._positions[source] = position = batch.position
            if batch.damaged_bytes:
                self._damaged += batch.damaged_bytes
                _log.error("journal records are damaged", source=source, before=position, bytes=batch.damaged_bytes)
            if batch.unknown_records:
                self._unknown += batch.unknown_records
                _log.warning("journal records of a newer Podium are kept aside", source=source, before=position)
        if segment.closed:
            await self._journals.delete(source)
            self._forget(source)
        return True

    def _forget(self, source: str) -> None:
        self._segments = tuple(segment for segment in self._segments if segment.source != source)

    def _cannot_read(self, source: str, why: str) -> None:
        if source not in self._stuck:
            self._stuck.add(source)
            _log.error("journal segment cannot be read to its end", source=source, error=why)
