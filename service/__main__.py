"""python -m service: serve a model folder over HTTP, or predict every image of an archive."""

import argparse
import os
import signal
import sys
from pathlib import Path

from service.errors import MedXferError

FAILED, INTERRUPTED = 2, 130  # exit codes
MAX_WORKERS = 100_000

PREDICT = """
IMAGES is a folder, which is searched at any depth, a file, or a glob in quotes,
such as 'archive/**/*.dcm'. FILE gets a row for each file, sorted by path.
After Ctrl-C, a kill or a crash, the same command continues from FILE.part.
MEDXFER_MODEL and MEDXFER_VARIANT choose the model, RAY_ADDRESS the cluster of
--engine ray. Columns, links and hidden files: service/README.md, «Archives».

example:
  python -m service predict archive --out results.csv

Exit codes: 0 all files were predicted, 1 some files were refused,
2 wrong option, or the run cannot begin or continue, 130 interrupted.
"""


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.command is None:
        signal.signal(signal.SIGTERM, _end)  # the first process of a container does not get one that it has no handler for
        try:
            from service.server import serve  # imported here so that neither command loads what only the other needs

            return serve()
        except KeyboardInterrupt:
            return 0
    try:
        from service.archive.run import run

        return run(arguments.images, arguments.out, engine=arguments.engine, workers=arguments.workers)
    except MedXferError as error:
        message, code = str(error), FAILED
    except OSError as error:  # of the terminal, a pipe or a disk
        message, code = error.strerror or str(error), FAILED
    except KeyboardInterrupt:
        message, code = "interrupted; the same command goes on from here", INTERRUPTED
    print(f"medxfer: {message}", file=sys.stderr)
    return code


def _end(number: int, _: object) -> None:
    """Ends the process by the signal, or with the exit code that shells give it if the process is the first of a container."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _parser() -> argparse.ArgumentParser:
    without = "Without a command: serve the model folder MEDXFER_MODEL. Settings: see service/README.md."
    parser = argparse.ArgumentParser("python -m service", description=without)
    predict = parser.add_subparsers(dest="command", title="commands").add_parser(
        "predict",
        help="predict every image of an archive: one row of results for each",
        description="Predict every image of an archive.",
        epilog=PREDICT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("images", metavar="IMAGES", help="a folder, a file or a glob")
    predict.add_argument("--out", type=Path, required=True, metavar="FILE", help="results.csv, .jsonl or .parquet")
    predict.add_argument("--engine", choices=["local", "ray"], default="local", help="(default local)")
    predict.add_argument("--workers", type=_workers, metavar="N", help="CPUs to use at once (default: all)")
    return parser


def _workers(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= MAX_WORKERS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: must be a number from 1 to {MAX_WORKERS:,}")


if __name__ == "__main__":
    sys.exit(main())
