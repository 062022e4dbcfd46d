"""A training run that is killed at ten random moments ends with the same bytes: python -m tests.torture.training [SEED]"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.test_pipeline import CONFIG, assert_same_fit, finished, training
from training.data import phantoms

KILLS = 10


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(10**6)
    print(f"seed {seed} (python -m tests.torture.training {seed} repeats these moments)")
    dice, kills = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phantoms.write_data_set(folder / "data", 240, seed=1)
        (folder / "run.toml").write_text(CONFIG.replace("workers = 0", "workers = 2"))
        begin = time.monotonic()
        finished(start(folder, "undisturbed"))
        duration = time.monotonic() - begin
        while kills < KILLS:
            process = start(folder, "killed")
            assert process.stdout
            process.stdout.readline()  # from this line on it trains; before, it only imports
            try:
                process.wait(dice.uniform(0, duration / KILLS))
                shutil.rmtree(folder / "killed")  # the run was done before its last kill: it starts again
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                print(f"kill {kills}", flush=True)
            process.communicate()
        finished(start(folder, "killed"))
        assert_same_fit(folder / "killed", folder / "undisturbed")
    print("the same weights, history and model, to the last byte")


def start(folder: Path, run: str) -> "subprocess.Popen[str]":
    how = ("--resume",) if (folder / run).exists() else ("--data", "data", "--config", "run.toml", "--run")
    return training(folder, "train", *how, run)


if __name__ == "__main__":
    main()
