"""An environment of its own for each peer, so that nothing of theirs enters the project's.

.benchmarks/environments/NAME        made once, and again when its requirements.txt or this Python changes
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PEERS = Path(__file__).parent / "peers"
BENCHMARKS = ROOT / ".benchmarks"  # all that a run makes and may use again; not in git


class BenchmarkError(Exception):
    """A run cannot go on; its text says why, and what helps."""


def python(peer: str) -> Path:
    """The interpreter of the peer's environment. Raises BenchmarkError: pip could not install what it needs."""
    requirements = (PEERS / peer / "requirements.txt").read_bytes()
    digest = hashlib.sha256(requirements + sys.version.encode()).hexdigest()
    folder = BENCHMARKS / "environments" / peer
    made_of = folder / "made_of"
    if not made_of.exists() or made_of.read_text() != digest:
        _make(folder, peer)
        made_of.write_text(digest)
    return folder / "bin" / "python"


def versions(peer: str) -> dict[str, str]:
    """What its requirements.txt pins."""
    lines = (PEERS / peer / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def _make(folder: Path, peer: str) -> None:
    print(f"installing the environment of {peer} …", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    # With pip, not uv, as in the Makefile: a machine without PyTorch's index may have torch where pip is told of it.
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    done = subprocess.run([*pip, "-r", str(PEERS / peer / "requirements.txt")], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"the environment of {peer} could not be installed:\n{done.stderr[-2000:]}")
