"""A virtual environment for each peer, so that none of its packages enters the project's.

.benchmarks/environments/NAME        created once, and again when its requirements.txt or this Python changes
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PEERS = Path(__file__).parent / "peers"
BENCHMARKS = ROOT / ".benchmarks"  # everything that a run creates and can use again; not in git


class BenchmarkError(Exception):
    """A run cannot continue. The text gives the reason, and what helps."""


def python(peer: str) -> Path:
    """The interpreter of the peer's environment. Raises BenchmarkError if pip cannot install its packages."""
    requirements = PEERS / peer / "requirements.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    folder = BENCHMARKS / "environments" / peer
    made_of = folder / "made_of"
    if not made_of.exists() or made_of.read_text() != digest:
        print(f"installing the environment of {peer} …", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        # pip, not uv, as in the Makefile: without access to PyTorch's index, pip may find torch where it is configured to.
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--retries",
            "1",
        ]
        done = subprocess.run([*pip, "-r", str(requirements)], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"the environment of {peer} could not be installed:\n{done.stderr[-2000:]}")
        made_of.write_text(digest)
    return folder / "bin" / "python"


def versions(peer: str) -> dict[str, str]:
    """The versions that its requirements.txt pins."""
    lines = (PEERS / peer / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)
