"""One worker of a registered version as the engine knows it: what it is, where it stands, what callers want of it."""

from dataclasses import dataclass, field

from podium.core.workers import WorkerNews, WorkerState
from podium.engine.child import Child, ChildStatus
from podium.engine.child_states import ChildState
from podium.engine.loadable import Loadable
from podium.engine.placement import Resident

__all__ = ["WorkerEntry"]

_START_S, _MIB_PER_S = 2.0, 150.0  # of a load, before any was timed: Python, then the file's bytes are hashed and read


@dataclass(slots=True)
class WorkerEntry:
    """Belongs to `Workers`; changed only there."""

    loadable: Loadable
    port: int
    state: WorkerState = WorkerState.UNLOADED
    reason: str = ""
    child: Child | None = None  # None: no process
    dropped: bool = False  # no version has it any more
    measured_mib: int = 0  # 0: never
    load_began_ns: int = 0
    load_s: float = 0.0  # how long the last load took; 0: none has succeeded
    used_ns: int = 0
    wanted_ns: int | None = None
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

    def resident(self) -> Resident:
        """As the placement sees it."""
        return Resident(
            name=self.name,
            mib=self.mib,
            loaded=self.child is not None,
            leaving=self.state is WorkerState.UNLOADING,
            loading=self.state is WorkerState.LOADING,
            pinned=self.loadable.pinned,
            in_use=self.loadable.in_use,
            running=self.running,
            used_ns=self.used_ns,
            wanted_ns=self.wanted_ns,
        )

    def news(self, now_ns: int) -> WorkerNews:
        """As gateways are told; the time is rounded, so that it does not change all the time."""
        wait_s = 0.0
        if self.state in (WorkerState.LOADING, WorkerState.UNLOADED, WorkerState.UNLOADING):
            whole = self.load_s or _START_S + self.loadable.mib / _MIB_PER_S
            elapsed = (now_ns - self.load_began_ns) / 1e9 if self.state is WorkerState.LOADING else 0.0
            wait_s = float(round(max(1.0, whole - elapsed)))
        return WorkerNews(name=self.name, state=self.state, url=self.url, reason=self.reason, ready_in_s=wait_s)

    def follow(self, status: ChildStatus, now_ns: int) -> None:
        """Its process has changed."""
        self.silent_since_ns = None
        match status.state:
            case ChildState.STARTING if not self.reason:
                self.state = WorkerState.LOADING
            case ChildState.STARTING | ChildState.BACKING_OFF:
                self.state = WorkerState.FAILING
                self.reason = status.message or self.reason
            case ChildState.READY:
                self.state, self.reason = WorkerState.READY, ""
                self.load_s = (now_ns - self.load_began_ns) / 1e9
                self.wanted_ns = None
            case ChildState.STOPPING:
                self.state = WorkerState.UNLOADING
            case ChildState.STOPPED:
                self.state, self.reason, self.child = WorkerState.UNLOADED, "", None
            case ChildState.FAILED:
                self.state, self.reason, self.child = WorkerState.FAILED, status.message, None
                self.wanted_ns = None
