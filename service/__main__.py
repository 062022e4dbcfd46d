"""python -m service: serve a model folder over HTTP, or predict images without HTTP."""

import argparse
import os
import signal
import sys
from pathlib import Path

from service import memory
from service.errors import ArchiveError, MedXferError

FAILED, INTERRUPTED = 2, 130  # exit codes
MAX_WORKERS = 100_000

PREDICT = """
IMAGES are files, folders (searched at any depth), or globs in quotes, such as
'archive/**/*.dcm'.

Without --out, predictions are printed: one image as a paragraph, several as a
line each, with --json as a line of JSON each. Refused files are named on the
standard error.

With --out, FILE gets a row for each file of one folder, glob or file, sorted by
path. This uses all CPUs. After Ctrl-C, a kill or a crash, the same command
continues from FILE.part. RAY_ADDRESS is the cluster of --engine ray.

MEDXFER_MODEL and MEDXFER_VARIANT choose the model. Columns, links and hidden
files: service/README.md, «At the prompt» and «Whole archives».

examples:
  python -m service predict xray.jpeg --heatmap map.png
  python -m service predict a.jpeg b.dcm --json
  python -m service predict archive --out results.csv

Exit codes: 0 all files were predicted, 1 some files were refused,
2 wrong option, or the run cannot begin or continue, 130 interrupted.
"""


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.command is None:
        signal.signal(signal.SIGTERM, _end)  # the first process of a container does not get one that it has no handler for
        memory.prepare()
        try:
            from service.start import start  # imported here so that neither command loads what only the other needs

            return start()
        except KeyboardInterrupt:
            return 0
    try:
        return _predict(arguments)
    except BrokenPipeError:  # `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except MedXferError as error:
        message, code = str(error), FAILED
    except OSError as error:  # of the terminal, a pipe or a disk
        message, code = error.strerror or str(error), FAILED
    except KeyboardInterrupt:
        message = "interrupted; the same command goes on from here" if arguments.out else "interrupted"
        code = INTERRUPTED
    print(f"medxfer: {message}", file=sys.stderr)
    return code


def _predict(arguments: argparse.Namespace) -> int:
    """Returns the exit code. Raises MedXferError, and OSError of the terminal, a pipe or a disk."""
    images, out = arguments.images, arguments.out
    if out is None:
        if arguments.engine or arguments.workers:
            raise ArchiveError("--engine and --workers need --out, the file of results")
        from service.prompt import run as prompt

        return prompt.run(images, as_json=arguments.json, map_file=arguments.heatmap)
    if arguments.json or arguments.heatmap:
        raise ArchiveError(f"--out {out}: without --json and --heatmap; for JSON, name a file that ends with .jsonl")
    if len(images) > 1:
        raise ArchiveError(f"--out {out}: takes one folder, glob or file, {len(images)} were given; put a glob in quotes")
    from service.archive import run as archive

    return archive.run(images[0], out, engine=arguments.engine or "local", workers=arguments.workers)


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
        help="predict images: print each answer, or write a table of a whole archive",
        description="Predict images, without a server.",
        epilog=PREDICT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("images", nargs="+", metavar="IMAGES", help="files, folders or globs")
    predict.add_argument("--json", action="store_true", help="print JSON: the members of an answer of /predict")
    predict.add_argument("--heatmap", type=_png, metavar="FILE.png", help="draw the heat-map over the X-ray, for one image")
    predict.add_argument("--out", type=Path, metavar="FILE", help="write results.csv, .jsonl or .parquet")
    predict.add_argument("--engine", choices=["local", "ray"], help="with --out (default local)")
    predict.add_argument("--workers", type=_workers, metavar="N", help="with --out: CPUs to use at once (default: all)")
    return parser


def _workers(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= MAX_WORKERS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: must be a number from 1 to {MAX_WORKERS:,}")


def _png(text: str) -> Path:
    if Path(text).suffix.lower() == ".png":
        return Path(text)
    raise argparse.ArgumentTypeError(f"{text!r}: its name must end with .png")


if __name__ == "__main__":
    sys.exit(main())
