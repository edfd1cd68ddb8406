"""One worker of a registered version as the engine knows it: what it is, where it stands, what callers want of it."""

from dataclasses import dataclass, field

from podium.core.workers import WorkerNews, WorkerState
from podium.engine.child import Child, ChildStatus
from podium.engine.child_states import ChildState
from podium.engine.loadable import Loadable
from podium.engine.placement import Resident

__all__ = ["WorkerEntry"]

_START_S, _MIB_PER_S = 2.0, 150.0  # of a load, before any was timed: Python, then the file's bytes are hashed and read
_DRAIN_S = 5.0  # of calls under way, before any were timed
_RETURN_S = 10.0  # callers come back so much later than they were told
_NOT_LOADED = (WorkerState.LOADING, WorkerState.UNLOADED, WorkerState.UNLOADING)


@dataclass(slots=True)
class WorkerEntry:
    """Belongs to `Workers`; changed only there."""

    loadable: Loadable
    port: int
    min_stay_s: float = 0.0
    state: WorkerState = WorkerState.UNLOADED
    reason: str = ""
    child: Child | None = None  # None: no process
    dropped: bool = False  # no version has it any more
    measured_mib: int = 0  # 0: never
    load_began_ns: int = 0
    load_s: float = 0.0  # how long the last load took; 0: none has succeeded
    loaded_ns: int = 0
    stays_until_ns: int = 0
    drain_began_ns: int = 0  # 0: it left without calls under way
    drain_s: float = _DRAIN_S  # how long the last calls took to end
    used_ns: int = 0
    asked: bool = False  # a gateway said so since somebody looked
    waiting: bool = False  # callers do, now
    wanted_ns: int | None = None  # since when; callers that were sent away and are expected back count, too
    expected_until_ns: int = 0  # until when those come back
    running: int = 0
    silent_since_ns: int | None = None  # its process runs and does not answer
    failed_at: tuple[int, ...] = field(default=())  # the state of its files when it failed

    @property
    def name(self) -> str:
        """As backends name it."""
        return self.loadable.name

    @property
    def url(self) -> str:
        """Where it listens when it is loaded."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def mib(self) -> int:
        """What it takes, or would take."""
        return self.measured_mib or self.loadable.mib

    def resident(self, now_ns: int) -> Resident:
        """As the placement sees it."""
        loading, leaving = self.state is WorkerState.LOADING, self.state is WorkerState.UNLOADING
        load_s = self.load_s or _START_S + self.loadable.mib / _MIB_PER_S
        drain_s = self.drain_s
        if loading:
            load_s = max(1.0, load_s - (now_ns - self.load_began_ns) / 1e9)
        if leaving:
            drain_s = max(1.0, drain_s - (now_ns - self.drain_began_ns) / 1e9) if self.drain_began_ns else 1.0
        return Resident(
            name=self.name,
            mib=self.mib,
            loaded=self.child is not None,
            leaving=leaving,
            loading=loading,
            pinned=self.loadable.pinned,
            in_use=self.loadable.in_use,
            running=self.running,
            used_ns=self.used_ns,
            wanted_ns=self.wanted_ns,
            loaded_ns=self.loaded_ns,
            stays_until_ns=self.stays_until_ns,
            load_s=load_s,
            drain_s=drain_s,
        )

    def want(self, now_ns: int, ready_in_s: float) -> None:
        """Callers wait for it, or were sent away, to come back after `ready_in_s`."""
        if self.state is not WorkerState.READY:
            self.wanted_ns = now_ns if self.wanted_ns is None else self.wanted_ns
            self.expected_until_ns = now_ns + int((ready_in_s + _RETURN_S) * 1e9)

    def want_no_more(self, now_ns: int) -> None:
        """No callers wait; those that were sent away are waited for. A pinned one is wanted all the same."""
        if self.loadable.pinned and self.child is None:
            self.wanted_ns = now_ns if self.wanted_ns is None else self.wanted_ns
        elif now_ns >= self.expected_until_ns or self.state is WorkerState.READY:
            self.wanted_ns = None

    def news(self, ready_in_s: float | None) -> WorkerNews:
        """As gateways are told; the time is rounded, so that it does not change all the time. None: nobody knows."""
        wait_s = 0.0
        if self.state in _NOT_LOADED and ready_in_s is not None:
            wait_s = float(round(max(1.0, ready_in_s)))
        return WorkerNews(name=self.name, state=self.state, url=self.url, reason=self.reason, ready_in_s=wait_s)

    def leave(self, now_ns: int) -> None:
        """It is to end what runs, and then to go."""
        self.state, self.drain_began_ns = WorkerState.UNLOADING, now_ns if self.running else 0

    def follow(self, status: ChildStatus, now_ns: int) -> None:
        """Its process has changed."""
        self.silent_since_ns = None
        match status.state:
            case ChildState.STARTING if not self.reason:
                self.state = WorkerState.LOADING
            case ChildState.STARTING | ChildState.BACKING_OFF:
                self.state, self.load_began_ns = WorkerState.FAILING, now_ns
                self.reason = status.message or self.reason
            case ChildState.READY:
                self.state, self.reason = WorkerState.READY, ""
                self._loaded(now_ns)
            case ChildState.STOPPING:
                self.state = WorkerState.UNLOADING
            case ChildState.STOPPED:
                if self.drain_began_ns:
                    self.drain_s, self.drain_began_ns = (now_ns - self.drain_began_ns) / 1e9, 0
                self.state, self.reason, self.child = WorkerState.UNLOADED, "", None
            case ChildState.FAILED:
                self.state, self.reason, self.child = WorkerState.FAILED, status.message, None
                self.wanted_ns = None

    def _loaded(self, now_ns: int) -> None:
        """A load stays for longer than it took; and until those come back who were sent away, if nobody else waits."""
        self.load_s = (now_ns - self.load_began_ns) / 1e9
        self.loaded_ns = now_ns
        self.stays_until_ns = now_ns + int(max(self.min_stay_s, self.load_s) * 1e9)
        if self.wanted_ns is not None and not self.loadable.pinned:
            self.used_ns = now_ns  # as good as: whoever waits calls it now
            if not self.waiting:
                self.stays_until_ns = max(self.stays_until_ns, self.expected_until_ns)
        self.wanted_ns = None
