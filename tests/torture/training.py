"""A run that is killed at ten random moments ends with the same bytes as one that was left alone.

python -m tests.torture.training [SEED]        (some minutes; on phantoms, in a temporary folder)
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.test_pipeline import CONFIG, assert_same_run, finished, training
from training.data import phantoms

KILLS = 10


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(10**6)
    print(f"seed {seed} (python -m tests.torture.training {seed} to have these moments again)")
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phantoms.write_data_set(folder / "data", 240, seed=1)
        (folder / "run.toml").write_text(CONFIG.replace("workers = 0", "workers = 2"))
        begin = time.monotonic()
        finished(training(folder, "train", "--data", "data", "--config", "run.toml", "--run", "undisturbed"))
        duration = time.monotonic() - begin
        print(f"undisturbed: {duration:.0f} s")
        kills = 0
        while kills < KILLS:
            process = start(folder)
            assert process.stdout
            process.stdout.readline()  # from here on it works; before, it only imports
            try:
                process.wait(moments.uniform(0, duration / KILLS))
                print("the run was done before its last kill: once more")
                shutil.rmtree(folder / "killed")
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                print(f"kill {kills}: {where(folder)}", flush=True)
            process.communicate()
        finished(start(folder))
        assert_same_run(folder / "killed", folder / "undisturbed")
    print("the same weights, history and model, to the last byte")


def start(folder: Path) -> "subprocess.Popen[str]":
    if (folder / "killed").exists():
        return training(folder, "train", "--resume", "killed")
    return training(folder, "train", "--data", "data", "--config", "run.toml", "--run", "killed")


def where(folder: Path) -> str:
    stages = folder / "killed/stages.jsonl"
    done = len(stages.read_text().splitlines()) if stages.exists() else 0
    epochs = sum(len(path.read_text().splitlines()) - 1 for path in folder.glob("killed/seed-*/history.csv"))
    return f"{done} stages done, {epochs} epochs"


if __name__ == "__main__":
    main()
