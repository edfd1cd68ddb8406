import json
import os
import subprocess
import sys
import time

from podium.testing.wall_clock import WallClock

TELL = """
import json, sys, time
from podium.core.clock import SystemClock
for _ in sys.stdin:
    print(json.dumps([SystemClock.unix_ns() / 1e9, time.time(), SystemClock.monotonic_ns() / 1e9]), flush=True)
"""


def test_a_process_sees_the_clock_jump_while_it_runs(tmp_path):
    with (
        WallClock(tmp_path / "clock") as clock,
        subprocess.Popen(
            [sys.executable, "-c", TELL],
            env=os.environ | clock.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):

        def told():
            process.stdin.write("\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        for ahead_s in (0, 86_400, -86_400, 0):
            clock.put(ahead_s)
            unix_s, same_s, monotonic_s = told()
            assert abs(unix_s - time.time() - ahead_s) < 60
            assert abs(same_s - unix_s) < 60
            assert abs(monotonic_s - time.monotonic()) < 60
        process.stdin.close()
