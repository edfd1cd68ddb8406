"""A bounded queue before a pool: strict classes, and weighted fairness among the tenants of a class.

Rules
1. An entry of a higher class always starts before one of a lower class. So the lowest class starves exactly as long
   as higher ones use the whole capacity, and then ends at its deadlines; with capacity left over it never does.
2. Within a class tenants share by weight: start-time fair queueing (Goyal, Vin, Cheng: "Start-Time Fair Queueing",
   SIGCOMM 1996). Each tenant has a tag, in cost over weight; the lowest goes next, and that tag is the virtual time.
   A tenant is charged when its entry starts, so cancelled and late entries cost nothing (the tags come out the same
   as in the paper: a waiting tenant's next start tag is its last finish tag).
3. A tenant that comes back after a pause starts at the virtual time, before others with the same tag. So one quiet
   tenant among flooding ones waits for the next free place and no longer.
4. An entry is never started after its `start_by_ns`.
5. When the queue is full, a newcomer pushes out the newest entry of the longest line in the lowest class below its
   own. In its own class it does so when that line is more than twice as long as its tenant's (as RFC 8290, FQ-CoDel,
   4.1 drops from the fattest flow; twice, so that two equal tenants do not push each other out for ever).
6. Everything is bounded, and the same calls give the same order.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple

__all__ = ["Entry", "FairQueue", "Priority", "Pushed", "QueuePolicy", "ShedReason"]

_UNIT = 720_720  # of a tag, for cost 1 at weight 1: divides by all weights up to 16, so their shares are exact
_MOST_REMEMBERED = 4096  # tenants of a class without entries, about; who is forgotten is let off for one entry
_SLACK = 64  # dead items that a heap may hold besides as many as live ones


class Priority(StrEnum):
    """Classes, the highest first: the three of Kubernetes' Gateway API Inference Extension (its third: sheddable)."""

    CRITICAL = "critical"
    STANDARD = "standard"
    BATCH = "batch"


RANKS = {priority: rank for rank, priority in enumerate(Priority)}
LOWEST_RANK = len(RANKS) - 1


class ShedReason(StrEnum):
    """Why an entry is not served."""

    QUEUE_FULL = "queue_full"
    TENANT_QUEUE_FULL = "tenant_queue_full"
    SATURATED = "saturated"  # the queue is long, and this is the lowest class
    CANNOT_START_IN_TIME = "cannot_start_in_time"  # known at arrival
    DEADLINE_PASSED = "deadline_passed"  # while it waited
    DISPLACED = "displaced"  # it waited, and a higher class or a shorter line took its place


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How many entries may wait."""

    max_entries: int = 1000
    max_per_tenant: int = 250  # in all classes together

    def __post_init__(self) -> None:
        if not 1 <= self.max_per_tenant <= self.max_entries:
            raise ValueError("a tenant has at least one place, and not more than there are")


class Entry:
    """One exchange that wants to start. Subclass it to carry what wakes the caller; push it once.

    `cost`: what its tenant is charged: estimated tokens, or 1. `start_by_ns`: when starting is no use any more, its
    deadline less the time that an answer takes.
    """

    __slots__ = ("_line", "cost", "priority", "queued_at_ns", "rank", "start_by_ns", "tenant", "weight")

    def __init__(
        self, tenant: str, start_by_ns: int, priority: Priority = Priority.STANDARD, weight: int = 1, cost: int = 1
    ) -> None:
        assert weight >= 1, "a weight is at least 1"
        assert cost >= 1, "a cost is at least 1"
        self.tenant = tenant
        self.start_by_ns = start_by_ns
        self.priority = priority
        self.rank = RANKS[priority]
        self.weight = weight
        self.cost = cost
        self.queued_at_ns: int | None = None
        self._line: _Line | None = None

    @property
    def waiting(self) -> bool:
        """True while it stands in the queue."""
        return self._line is not None


class Pushed(NamedTuple):
    """What came of a push: accepted (no reason), perhaps at the cost of another entry."""

    refused: ShedReason | None = None
    displaced: Entry | None = None


_ACCEPTED = Pushed()
_TENANT_FULL = Pushed(ShedReason.TENANT_QUEUE_FULL)
_FULL = Pushed(ShedReason.QUEUE_FULL)


class _Line:
    """One tenant's entries in one class."""

    __slots__ = ("cost", "count", "entries", "serial", "tag", "tenant", "weight")

    def __init__(self, tenant: str, weight: int) -> None:
        self.tenant = tenant
        self.weight = weight
        self.entries: deque[Entry] = deque()  # oldest first; some have left
        self.count = 0  # of those that wait
        self.cost = 0  # of them
        self.tag = 0  # of the next one to start
        self.serial = 0  # of its item in the heap

    def newest(self) -> Entry:
        """The last that waits. There is one."""
        entries = self.entries
        while entries[-1]._line is None:  # noqa: SLF001 - queue and entry are one thing
            entries.pop()
        return entries[-1]


class _Class:
    """The lines of one class."""

    __slots__ = (
        "_by_length",
        "_heap",
        "_longest",
        "_older",
        "_paused",
        "_serial",
        "cost",
        "lines",
        "now",
        "size",
        "weight",
    )

    def __init__(self) -> None:
        self.size = 0  # entries
        self.cost = 0  # of them
        self.weight = 0  # of the lines that wait
        self.now = 0  # virtual time
        self.lines: dict[str, _Line] = {}  # those that wait
        # Others whose tag may be ahead: those that paused lately, and those before them, which are forgotten together.
        self._paused: dict[str, _Line] = {}
        self._older: dict[str, _Line] = {}
        # (tag, 0 for one back from a pause, serial, line); dead when the line has got another serial.
        self._heap: list[tuple[int, int, int, _Line]] = []
        self._serial = 0
        self._by_length: list[dict[_Line, None]] = [{}]
        self._longest = 0

    def line(self, tenant: str) -> _Line | None:
        """The tenant's line, waiting or remembered."""
        return self.lines.get(tenant) or self._paused.get(tenant) or self._older.get(tenant)

    def forget(self) -> None:
        """Forget the tags of those without entries."""
        self._paused.clear()
        self._older.clear()

    def append(self, entry: Entry) -> None:
        tenant = entry.tenant
        line = self.lines.get(tenant)
        if line is None:
            line = self._wake(tenant, entry.weight)
        elif line.weight != entry.weight:
            self.weight += entry.weight - line.weight
            line.weight = entry.weight
        line.entries.append(entry)
        line.cost += entry.cost
        line.count = count = line.count + 1
        entry._line = line  # noqa: SLF001 - queue and entry are one thing
        self.cost += entry.cost
        self.size += 1
        self._measure(line, count - 1, 1)

    def pop(self) -> Entry:
        """Take out the entry whose turn it is, and charge its tenant. There is one."""
        heap = self._heap
        tag, _, serial, line = heap[0]
        while line.serial != serial:
            heappop(heap)
            tag, _, serial, line = heap[0]
        entry = line.entries.popleft()
        while entry._line is None:  # noqa: SLF001 - queue and entry are one thing
            entry = line.entries.popleft()
        self.now = tag
        line.tag = tag = tag + entry.cost * _UNIT // line.weight
        if line.count > 1:
            self._serial = line.serial = serial = self._serial + 1
            heapreplace(heap, (tag, 1, serial, line))
        else:
            heappop(heap)
        self._took(entry, line)
        return entry

    def remove(self, entry: Entry, line: _Line) -> None:
        """Take out any entry, at no charge."""
        self._took(entry, line)
        entries = line.entries
        if len(entries) > 2 * line.count + _SLACK:
            line.entries = deque(one for one in entries if one.waiting)

    def newest_of_longest(self) -> tuple[Entry, int]:
        """The last entry of the longest line, and how many that line has. There is one."""
        bucket = self._by_length[self._longest]
        line, _ = bucket.popitem()
        bucket[line] = None
        return line.newest(), self._longest

    def _wake(self, tenant: str, weight: int) -> _Line:
        line = self._paused.pop(tenant, None) or self._older.pop(tenant, None) or _Line(tenant, weight)
        line.weight = weight
        back = 1
        if line.tag <= self.now:
            line.tag, back = self.now, 0
        self.lines[tenant] = line
        self.weight += weight
        heap = self._heap
        if len(heap) > 2 * len(self.lines) + _SLACK:
            heap[:] = [item for item in heap if item[3].serial == item[2]]
            heapify(heap)
        self._serial = line.serial = self._serial + 1
        heappush(heap, (line.tag, back, line.serial, line))
        return line

    def _took(self, entry: Entry, line: _Line) -> None:
        entry._line = None  # noqa: SLF001 - queue and entry are one thing
        cost = entry.cost
        line.count = left = line.count - 1
        line.cost -= cost
        self.cost -= cost
        self.size -= 1
        self._measure(line, left + 1, -1)
        if not left:
            line.serial = 0
            del self.lines[line.tenant]
            self.weight -= line.weight
            line.entries.clear()
            if line.tag > self.now:
                if len(self._paused) >= _MOST_REMEMBERED // 2:
                    self._older, self._paused = self._paused, {}
                self._paused[line.tenant] = line

    def _measure(self, line: _Line, length: int, step: int) -> None:
        """Move a line to those that are longer or shorter by one."""
        by_length = self._by_length
        if length:
            del by_length[length][line]
        length += step
        if length == len(by_length):
            by_length.append({})
        if length:
            by_length[length][line] = None
        if length > self._longest:
            self._longest = length
        elif not by_length[self._longest]:
            self._longest -= bool(self._longest)


class FairQueue:
    """The queue of one pool. For one event loop; `now_ns` is monotonic."""

    __slots__ = ("_classes", "_deadlines", "_held", "_late", "_serial", "policy", "size")

    def __init__(self, policy: QueuePolicy) -> None:
        self.policy = policy
        self.size = 0
        self._classes = tuple(_Class() for _ in RANKS)
        self._held: dict[str, int] = {}  # entries by tenant
        self._deadlines: list[tuple[int, int, Entry]] = []  # a heap; some have left the queue since
        self._serial = 0
        self._late: list[Entry] = []  # dropped, and not yet told by `expire`

    def push(self, entry: Entry, now_ns: int) -> Pushed:
        """Let an entry wait, if there is room or room can be made (rule 5)."""
        assert entry.queued_at_ns is None, "an entry is pushed once"
        held = self._held.get(entry.tenant, 0)
        pushed = _ACCEPTED
        if held >= self.policy.max_per_tenant:
            pushed = self._make_room(self._own_lower(entry), _TENANT_FULL)
        elif self.size >= self.policy.max_entries:
            pushed = self._make_room(self._weakest(entry), _FULL)
        if pushed.refused is not None:
            return pushed
        if pushed.displaced is not None:
            held = self._held.get(entry.tenant, 0)
        entry.queued_at_ns = now_ns
        self._held[entry.tenant] = held + 1
        self.size += 1
        self._classes[entry.rank].append(entry)
        self._serial += 1
        deadlines = self._deadlines
        if len(deadlines) > 2 * self.size + _SLACK:
            deadlines[:] = [item for item in deadlines if item[2].waiting]
            heapify(deadlines)
        heappush(deadlines, (entry.start_by_ns, self._serial, entry))
        return pushed

    def pop(self, now_ns: int) -> Entry | None:
        """Take out the entry that is to start now; late ones are dropped, which `expire` tells."""
        if self._deadlines and self._deadlines[0][0] < now_ns:
            self._drop_late(now_ns)
        for line_up in self._classes:
            if line_up.size:
                entry = line_up.pop()
                self._left(entry)
                return entry
        return None

    def remove(self, entry: Entry) -> bool:
        """Take out an entry whose caller has gone; False when it has left already, told why or started."""
        line = entry._line  # noqa: SLF001 - queue and entry are one thing
        if line is None:
            if entry not in self._late:
                return False
            self._late.remove(entry)
            return True
        self._classes[entry.rank].remove(entry, line)
        self._left(entry)
        return True

    def expire(self, now_ns: int) -> list[Entry]:
        """Drop the entries that can start no more; those, and what `pop` has dropped since the last time."""
        self._drop_late(now_ns)
        late, self._late = self._late, []
        return late

    @property
    def due_at_ns(self) -> int | None:
        """After this time `expire` has something to tell; None: nothing waits."""
        if self._late:
            return 0
        deadlines = self._deadlines
        while deadlines and not deadlines[0][2].waiting:
            heappop(deadlines)
        return deadlines[0][0] if deadlines else None

    def rest(self) -> None:
        """Forget who was served how much: nobody waits, and there is capacity left (the paper's busy period ends)."""
        for line_up in self._classes:
            line_up.forget()

    @property
    def cost(self) -> int:
        """Of all that wait."""
        return sum(line_up.cost for line_up in self._classes)

    def count(self, priority: Priority) -> int:
        """How many of a class wait."""
        return self._classes[RANKS[priority]].size

    def held(self, tenant: str) -> int:
        """How many of a tenant wait."""
        return self._held.get(tenant, 0)

    def cost_before(self, entry: Entry) -> int:
        """About the cost of what would start before this entry, were it pushed now.

        All higher classes, the own line, and of the other lines what their weights let start meanwhile. Costs the
        same however many wait. Who comes later in a higher class is not in it.
        """
        higher = 0
        for line_up in self._classes[: entry.rank]:
            higher += line_up.cost
        line_up = self._classes[entry.rank]
        if not line_up.size:
            return higher
        line = line_up.line(entry.tenant)
        if line is None:
            return higher
        lead = max(line.tag - line_up.now, 0) + line.cost * _UNIT // entry.weight
        waits = line.weight if line.count else 0
        return higher + line.cost + min(line_up.cost - line.cost, lead * (line_up.weight - waits) // _UNIT)

    def _own_lower(self, entry: Entry) -> Entry | None:
        """The tenant's own newest entry of the lowest class below."""
        for rank in range(LOWEST_RANK, entry.rank, -1):
            line = self._classes[rank].lines.get(entry.tenant)
            if line is not None:
                return line.newest()
        return None

    def _weakest(self, entry: Entry) -> Entry | None:
        """Who has to go for this one; None: it is the weakest itself."""
        for rank in range(LOWEST_RANK, entry.rank, -1):
            if self._classes[rank].size:
                return self._classes[rank].newest_of_longest()[0]
        line_up = self._classes[entry.rank]
        if not line_up.size:
            return None
        victim, length = line_up.newest_of_longest()
        line = line_up.lines.get(entry.tenant)
        return victim if length > 2 * (line.count + 1 if line else 1) else None

    def _make_room(self, victim: Entry | None, otherwise: Pushed) -> Pushed:
        if victim is None:
            return otherwise
        self.remove(victim)
        return Pushed(displaced=victim)

    def _left(self, entry: Entry) -> None:
        self.size -= 1
        held = self._held[entry.tenant] - 1
        if held:
            self._held[entry.tenant] = held
        else:
            del self._held[entry.tenant]

    def _drop_late(self, now_ns: int) -> None:
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] < now_ns:
            entry = heappop(deadlines)[2]
            if self.remove(entry):
                self._late.append(entry)
