import os
import subprocess
import sys
import time

import pytest
from harness.machine import Watch, memory_mb, started_ticks, tree, tree_cpu_s
from harness.processes import BenchError, Child, free_ports, wait_for_http

_PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'], stdin=sys.stdin)"


@pytest.fixture
def family():
    """A process with a child; both wait for their standard input to end."""
    process = subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while len(tree(process.pid)) < 2:
        assert time.monotonic() < deadline
    yield process
    process.stdin.close()
    process.wait(10)


def test_a_tree_holds_the_children_and_their_memory(family):
    parent, child = tree(family.pid)
    assert parent == family.pid
    assert memory_mb(parent) > memory_mb(child) > 1


def test_a_process_that_is_gone_has_no_start_no_time_and_no_memory():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(10)
    assert started_ticks(ended.pid) is None
    assert tree_cpu_s(ended.pid) == 0
    assert memory_mb(ended.pid) == 0


def test_work_of_a_child_that_ended_still_counts():
    before = tree_cpu_s(os.getpid())
    subprocess.run([sys.executable, "-c", "for _ in range(3_000_000): pass"], check=True, timeout=30)
    assert tree_cpu_s(os.getpid()) > before


def test_own_work_is_not_taken_for_that_of_strangers():
    cores = sorted(os.sched_getaffinity(0))
    watch = Watch(gateway=os.getpid(), sides=(), gateway_core=cores[0], load_core=cores[-1])
    deadline = time.process_time() + 0.2
    while time.process_time() < deadline:
        pass
    assert watch.read().gateway_cpu_s >= 0.19


def test_stopping_a_child_stops_what_it_started(tmp_path):
    script = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    with Child("family", [sys.executable, "-c", script], cores=os.sched_getaffinity(0), log=tmp_path / "log") as child:
        deadline = time.monotonic() + 10
        while len(pids := tree(child.pid)) < 2:
            assert time.monotonic() < deadline
    assert all(started_ticks(pid) is None for pid in pids)


def test_a_child_that_ends_before_it_is_ready_is_told_with_its_last_words(tmp_path):
    script = "import sys; sys.exit('no luck today')"
    with (
        Child("unlucky", [sys.executable, "-c", script], cores=os.sched_getaffinity(0), log=tmp_path / "log") as child,
        pytest.raises(BenchError, match="no luck today"),
    ):
        wait_for_http(child, free_ports(1)[0], "/", limit_s=10)
