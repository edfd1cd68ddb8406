"""Measure Podium beside other gateways and write bench/RESULTS.md. See bench/README.md.

examples:
  python bench/run.py                               everything, seven rounds, about 70 minutes
  python bench/run.py --only requests,latency       two metrics
  python bench/run.py --contestants nginx,podium    two contestants
  python bench/run.py --quick --rounds 1            does it all work? (figures mean nothing)
  python bench/run.py --report .bench/results/X.json
"""

import argparse
import fcntl
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from harness.contestants.all import CONTESTANTS
from harness.lab import FULL, QUICK, Lab, find_wrk
from harness.mocks.nginx import find_nginx
from harness.place import BENCH, REPOSITORY, Place
from harness.processes import BenchError, free_ports
from harness.report import render
from harness.results import Series, joined_series, load_series, save_series
from harness.series import METRICS, Plan, measure_series, new_series

_WORK = REPOSITORY / ".bench"
_PAGE = BENCH / "RESULTS.md"
_OPEN_FILES = 12_000  # 5,000 streams, each with two ends in a gateway
_FULL_ROUNDS = 7


def main() -> int:
    options = _options()
    if options.report is not None:
        print(render(joined_series([load_series(path) for path in options.report])), end="")
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    try:
        with _alone():
            _bench(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: broken off", file=sys.stderr)
        return 130
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=_FULL_ROUNDS, help="interleaved rounds (default: %(default)s)")
    parser.add_argument(
        "--only",
        type=_choice([metric.name for metric in METRICS]),
        help=f"metrics, of {', '.join(metric.name for metric in METRICS)}",
    )
    parser.add_argument(
        "--contestants",
        type=_choice([contestant.name for contestant in CONTESTANTS]),
        help=f"of {', '.join(contestant.name for contestant in CONTESTANTS)}",
    )
    parser.add_argument("--quick", action="store_true", help="very short loads, to see that everything works")
    parser.add_argument("--output", type=Path, help="the results page (default: bench/RESULTS.md for a whole run)")
    parser.add_argument("--gateway-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--idle-wait", type=float, default=60, help="longest wait for an idle machine, seconds")
    parser.add_argument(
        "--report",
        type=Path,
        nargs="+",
        help="only render the page of raw data, to standard output; of several runs on one machine, of each metric the"
        " last one",
    )
    options = parser.parse_args()
    if not 1 <= options.rounds <= 50:
        parser.error("--rounds must be 1 to 50")
    return options


def _choice(allowed: list[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(allowed)}")
        return names

    return parse


def _bench(options: argparse.Namespace) -> None:
    find_wrk()
    find_nginx()
    _raise_file_limit()
    plan = Plan(
        metrics=[metric for metric in METRICS if options.only is None or metric.name in options.only],
        contestants=[
            one
            for one in CONTESTANTS
            if (options.contestants is None or one.name in options.contestants)
            and any(metric.takes(one) for metric in METRICS if options.only is None or metric.name in options.only)
        ],
        rounds=options.rounds,
        quick=options.quick,
        idle_wait_s=options.idle_wait,
    )
    place = _place(options.gateway_core, options.load_core)
    os.sched_setaffinity(0, {place.load_core})  # the load generators inherit it
    for name in [name for name in os.environ if name.startswith("PODIUM_") and name != "PODIUM_MODELS_DIR"]:
        del os.environ[name]  # settings of whoever calls are not measured
    series = new_series(plan)
    raw = _WORK / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    whole = (
        not options.quick and options.only is None and options.contestants is None and options.rounds >= _FULL_ROUNDS
    )
    page = options.output or (_PAGE if whole else _WORK / "RESULTS.md")
    try:
        measure_series(
            plan, Lab(place, QUICK if options.quick else FULL), series, keep=lambda: save_series(series, raw)
        )
    finally:
        if series.runs:
            _write(series, page, raw)


def _write(series: Series, page: Path, raw: Path) -> None:
    page.write_text(render(series))
    print(f"results: {page}\nraw data: {raw}", flush=True)


def _place(gateway_core: int, load_core: int) -> Place:
    if gateway_core == load_core or not {gateway_core, load_core} <= os.sched_getaffinity(0):
        raise BenchError(f"needs two cores of its own; {gateway_core} and {load_core} are not")
    scratch = _WORK / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    port, side_port, upstream_port, store_port, second_port, *more = free_ports(8)
    return Place(
        _WORK,
        scratch,
        gateway_core,
        load_core,
        port,
        side_port,
        upstream_port,
        tuple(more),
        store_port,
        second_port,
    )


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _OPEN_FILES:
        raise BenchError(f"may open {hard} files only, needs {_OPEN_FILES}: raise the hard limit (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def _alone() -> Iterator[None]:
    """Two series at once would measure each other."""
    _WORK.mkdir(exist_ok=True)
    with (_WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError("another benchmark is running in this checkout") from None
        yield


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
