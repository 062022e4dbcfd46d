import subprocess
import sys

from tests.conftest import ROOT

SWALLOWED = """
import signal, weakref
from training import progress
progress.catch_all_interrupts()
class Thing: pass
thing = Thing()
reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
del thing  # Python prints what a callback raises, and continues
for step in progress.track([1, 2], "steps"):
    print("continued")
"""


def test_an_interrupt_that_python_only_prints_ends_the_next_loop() -> None:
    done = subprocess.run([sys.executable, "-c", SWALLOWED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Exception ignored" not in done.stderr
    assert done.stdout == ""
    assert done.returncode != 0
