"""Each case in a process of its own, since the watchdog ends it."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

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
CASES = {"stuck": ("7", 60), "progress": ("next(count)", 4), "idle": ("0", 4)}


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """All cases at once."""
    programs = {name: PROGRAM.format(progress=progress, seconds=seconds) for name, (progress, seconds) in CASES.items()}
    processes = {
        name: subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for name, program in programs.items()
    }
    yield processes
    for process in processes.values():
        process.kill()
        process.communicate()


def test_a_stuck_lane_ends_the_process_and_shows_its_stack(processes: dict[str, "subprocess.Popen[str]"]) -> None:
    _, errors = processes["stuck"].communicate(timeout=60)
    assert processes["stuck"].returncode == STUCK
    assert "stuck" in errors
    assert "in <module>" in errors


@pytest.mark.parametrize("name", ["progress", "idle"])
def test_progress_and_idleness_are_not_stuck(processes: dict[str, "subprocess.Popen[str]"], name: str) -> None:
    processes[name].communicate(timeout=60)
    assert processes[name].returncode == 5
