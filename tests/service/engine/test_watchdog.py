import signal
import subprocess
import sys
import time

from service.engine import sentinel
from service.engine.watchdog import STUCK
from tests.conftest import ROOT

PROGRAM = """
import itertools, sys, time
from service.engine.watchdog import Watchdog

count = itertools.count(1)
watchdog = Watchdog(lambda: {{"lane": {progress}}}, seconds=1)
watchdog.start()
{work}
watchdog.stop()
sys.exit(5)
"""
HOLDS_THE_LOCK = "import ctypes; ctypes.PyDLL(None).sleep(60)"
STOPPED = "time.sleep(1); print('now', file=sys.stderr, flush=True); time.sleep(3)"


def start(progress: str, seconds: int, work: str = "") -> "subprocess.Popen[str]":
    """In a process of its own, since the watchdog ends it."""
    command = [sys.executable, "-c", PROGRAM.format(progress=progress, work=work or f"time.sleep({seconds})")]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_a_stuck_lane_ends_the_process_and_shows_its_stack_and_others_do_not() -> None:
    with start("7", 60) as stuck, start("next(count)", 4) as working, start("0", 4) as idle:
        _, errors = stuck.communicate(timeout=60)
        assert [stuck.returncode, working.wait(), idle.wait()] == [STUCK, 5, 5]
    assert "stuck" in errors
    assert "in <module>" in errors


def test_a_thread_that_holds_the_interpreters_lock_ends_the_process_and_shows_its_stack() -> None:
    with start("next(count)", 0, HOLDS_THE_LOCK) as stuck:
        _, errors = stuck.communicate(timeout=60)
    assert stuck.returncode == sentinel.END
    assert "in <module>" in errors


def test_a_process_that_was_stopped_is_not_stuck() -> None:
    with start("next(count)", 0, STOPPED) as stopped:
        assert stopped.stderr
        assert stopped.stderr.readline() == "now\n"
        stopped.send_signal(signal.SIGSTOP)
        time.sleep(4 + sentinel.GRACE)
        stopped.send_signal(signal.SIGCONT)
        assert stopped.wait(60) == 5
