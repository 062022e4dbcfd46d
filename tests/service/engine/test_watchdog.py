"""In a process of its own, since it ends the process."""

import subprocess
import sys

from service.engine.watchdog import STUCK
from tests.conftest import ROOT

PROGRAM = """
import itertools, sys, time
from service.engine.watchdog import Watchdog

count = itertools.count(1)
watchdog = Watchdog(lambda: {{"lane": {progress}}}, seconds=2)
watchdog.start()
time.sleep(5)
watchdog.stop()
sys.exit(5)
"""


def ended(progress: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROGRAM.format(progress=progress)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_what_makes_no_progress_ends_the_process_and_shows_where_it_stood() -> None:
    process = ended("7")
    assert process.returncode == STUCK
    assert "stuck" in process.stderr
    assert "in <module>" in process.stderr


def test_neither_progress_nor_idleness_is_being_stuck() -> None:
    assert ended("next(count)").returncode == 5
    assert ended("0").returncode == 5
