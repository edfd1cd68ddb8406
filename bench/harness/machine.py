"""What the kernel knows: processor time and memory of process trees, how busy each core is, what machine this is."""

import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Watch",
    "WatchReading",
    "calibrate_ms",
    "connections_to",
    "describe_machine",
    "memory_mb",
    "peak_mb",
    "resident_mb",
    "started_ticks",
    "tree",
    "tree_cpu_s",
    "wait_idle",
]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def _stat_fields(pid: int) -> list[bytes] | None:
    """Fields of /proc/<pid>/stat from the state on (proc(5) counts it as field 3); None: the process is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    return text[text.rindex(b")") + 2 :].split()


def tree(root: int) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(_PROC):  # noqa: PTH208 - hundreds of names, and no path is needed
        if entry.isdigit() and (fields := _stat_fields(int(entry))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def started_ticks(pid: int) -> int | None:
    """When the process began, in ticks since boot: tells it from a later one of the same number. None: it is gone."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields is not None and fields[0] != b"Z" else None


def tree_cpu_s(root: int) -> float:
    """Processor seconds of a process tree so far, ended and awaited children included."""
    ticks = 0
    for pid in tree(root):
        if (fields := _stat_fields(pid)) is not None:
            ticks += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return ticks / _TICKS_PER_S


def memory_mb(root: int) -> float:
    """Proportional set size of a process tree in MB (10^6 bytes): a page that n processes share counts 1/n for each."""
    return _rollup_mb(root, "Pss")


def resident_mb(root: int) -> float:
    """Resident set size of a process tree in MB (10^6 bytes): each process's pages counted whole."""
    return _rollup_mb(root, "Rss")


def peak_mb(pid: int) -> float:
    """The most that a process, without its children, ever had resident, in MB (10^6 bytes)."""
    found = re.search(r"^VmHWM:\s+(\d+)", (_PROC / str(pid) / "status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def _rollup_mb(root: int, field: str) -> float:
    kib = 0
    for pid in tree(root):
        try:
            rollup = (_PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        if (match := re.search(rf"^{field}:\s+(\d+)", rollup, re.MULTILINE)) is not None:
            kib += int(match[1])
    return kib * 1024 / 1e6


def connections_to(port: int) -> int:
    """Established TCP connections whose far end is that port of 127.0.0.1, each counted once."""
    far = f"0100007F:{port:04X}"
    rows = (line.split() for line in (_PROC / "net" / "tcp").read_text().splitlines()[1:])
    return sum(row[2] == far and row[3] == "01" for row in rows)


@dataclass(frozen=True, slots=True)
class _CoreTimes:
    busy_s: float
    total_s: float
    steal_s: float


def _core_times(core: int) -> _CoreTimes:
    for line in (_PROC / "stat").read_text().splitlines():
        name, *values = line.split()
        if name == f"cpu{core}":
            ticks = [int(value) for value in values[:8]]  # user nice system idle iowait irq softirq steal
            waiting = ticks[3] + ticks[4] + ticks[7]
            return _CoreTimes((sum(ticks) - waiting) / _TICKS_PER_S, sum(ticks) / _TICKS_PER_S, ticks[7] / _TICKS_PER_S)
    raise RuntimeError(f"there is no core {core}")


@dataclass(frozen=True, slots=True)
class WatchReading:
    """What happened between the start of a watch and its reading."""

    seconds: float
    gateway_cpu_s: float
    side_cpu_s: float  # the contestant's other processes, on the load core
    load_core_busy: float  # share of the load core, 0 to 1
    other_cores: float  # what processes that are not ours used, in cores
    stolen_cores: float  # what the host of a virtual machine took, in cores


class Watch:
    """Reads processor use from its creation on. `sides`: the contestant's processes that are not on the path."""

    def __init__(self, *, gateway: int, sides: tuple[int, ...], gateway_core: int, load_core: int) -> None:
        self._gateway, self._sides = gateway, sides
        self._cores, self._load_core = {gateway_core, load_core}, load_core
        self._before = self._read()

    def _read(self) -> tuple[float, float, float, float, dict[int, _CoreTimes]]:
        return (
            time.perf_counter(),
            tree_cpu_s(self._gateway),
            sum(tree_cpu_s(pid) for pid in self._sides),
            tree_cpu_s(os.getpid()),
            {core: _core_times(core) for core in self._cores},
        )

    def read(self) -> WatchReading:
        """What happened so far."""
        began, gateway, sides, ours, cores = self._before
        now, gateway_now, sides_now, ours_now, cores_now = self._read()
        seconds = now - began
        busy = sum(cores_now[core].busy_s - cores[core].busy_s for core in self._cores)
        load, load_now = cores[self._load_core], cores_now[self._load_core]
        return WatchReading(
            seconds=seconds,
            gateway_cpu_s=gateway_now - gateway,
            side_cpu_s=sides_now - sides,
            load_core_busy=(load_now.busy_s - load.busy_s) / max(load_now.total_s - load.total_s, 0.01),
            other_cores=max((busy - (ours_now - ours)) / seconds, 0.0),
            stolen_cores=sum(cores_now[core].steal_s - cores[core].steal_s for core in self._cores) / seconds,
        )


def wait_idle(cores: set[int], *, limit_s: float, share: float = 0.08, spell_s: float = 0.5) -> float:
    """Wait until each core was idle but for `share` during one spell, at most `limit_s`; the seconds waited."""
    began = time.monotonic()
    while True:
        before = {core: _core_times(core) for core in cores}
        time.sleep(spell_s)
        after = {core: _core_times(core) for core in cores}
        worst = max(
            (after[core].busy_s - before[core].busy_s) / max(after[core].total_s - before[core].total_s, 0.01)
            for core in cores
        )
        waited = time.monotonic() - began
        if worst < share or waited > limit_s:
            return waited


def calibrate_ms(core: int) -> float:
    """Milliseconds of a fixed piece of Python on one core, best of three: shows a machine whose speed drifts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return min(_fixed_work_s() for _ in range(3)) * 1e3
    finally:
        os.sched_setaffinity(0, before)


def _fixed_work_s() -> float:
    began, total = time.perf_counter(), 0
    for number in range(500_000):
        total += number & 7
    return time.perf_counter() - began


def describe_machine() -> dict[str, str]:
    """Processor, cores, memory, kernel, system and Python, for the head of the results."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", (_PROC / "cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+)", (_PROC / "meminfo").read_text(), re.MULTILINE)
    return {
        "processor": cpu[1] if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "Python": platform.python_version(),
    }
