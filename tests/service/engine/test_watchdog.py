import subprocess
import sys

from service.engine.watchdog import STUCK
from tests.conftest import ROOT

PROGRAM = """
import itertools, sys, time
from service.engine.watchdog import Watchdog

count = itertools.count(1)
watchdog = Watchdog(lambda: {{"lane": {progress}}}, seconds=1)
watchdog.start()
time.sleep({seconds})
watchdog.stop()
sys.exit(5)
"""


def start(progress: str, seconds: int) -> "subprocess.Popen[str]":
    """In a process of its own, since the watchdog ends it."""
    command = [sys.executable, "-c", PROGRAM.format(progress=progress, seconds=seconds)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_a_stuck_lane_ends_the_process_and_shows_its_stack_and_others_do_not() -> None:
    with start("7", 60) as stuck, start("next(count)", 4) as working, start("0", 4) as idle:
        _, errors = stuck.communicate(timeout=60)
        assert [stuck.returncode, working.wait(), idle.wait()] == [STUCK, 5, 5]
    assert "stuck" in errors
    assert "in <module>" in errors
