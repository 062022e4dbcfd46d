"""python -m service: serve a model folder over HTTP, or predict every image of an archive."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from service.errors import MedXferError

INTERRUPTED = 130

PREDICT = """
IMAGES is a folder, a file, or a glob in quotes ('archive/**/*.dcm'; ** is any
number of folders). Of a folder, at any depth, all files named .jpg, .jpeg,
.png, .dcm or .dicom are read, and all that are DICOM by their content, as many
archives name them without. Hidden files are left out; links to files are read,
links to folders followed only where a glob names that level.

FILE must end with .csv, .jsonl or .parquet (this one needs pyarrow). A row for
each file, sorted by path: path, bytes, sha256; label, confidence, a probability
for each label, uncertain, novelty, novelty_level, warnings, as in the answer of
/predict, with the same bits; or problem and detail, where the file was refused;
model, variant, model_sha256. Names that are no UTF-8 have \\xff for such bytes.
Else they stand as they are: a spreadsheet should open them as text, for one
that begins with = would run as a formula.

What is done is kept in FILE.part. After Ctrl-C, a kill or a crash the same
command goes on there; a file that has changed since is read again. Once all is
done FILE is written, whole, and FILE.part is gone. MEDXFER_MODEL and
MEDXFER_VARIANT choose the model, as they do for the service.

--engine ray runs on the cluster that RAY_ADDRESS names (without it, on one that
runs here, or else on a new one of this machine). The nodes need the packages of
the service and the images under the same path; model and program come with the
work. Nodes may die meanwhile.

example:
  python -m service predict archive --out results.csv

Exit codes: 0 all were read, 1 all done, but some files were refused,
2 a wrong option, or it cannot begin or go on, 130 interrupted.
"""


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.command is None:
        from service.server import serve  # imported here so that neither command loads what only the other needs

        return serve()
    try:
        return int(arguments.run(arguments))
    except MedXferError as error:
        return _ended(str(error), arguments.failed)
    except OSError as error:  # of the terminal, a pipe, a disk
        return _ended(error.strerror or str(error), arguments.failed)
    except KeyboardInterrupt:
        return _ended(arguments.interrupted, INTERRUPTED)


def _ended(words: str, code: int) -> int:
    if words:
        print(f"medxfer: {words}", file=sys.stderr)
    return code


def _predict(arguments: argparse.Namespace) -> int:
    from service.archive import run

    return run.run(arguments.images, arguments.out, engine=arguments.engine, workers=arguments.workers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m service",
        description="Without a command: serve the model folder MEDXFER_MODEL. Settings: see service/README.md.",
    )
    commands = parser.add_subparsers(dest="command", title="commands")
    predict = commands.add_parser(
        "predict",
        help="read a whole archive: a row of results for each image",
        description="Read a whole archive.",
        epilog=PREDICT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.set_defaults(run=_predict, failed=2, interrupted="interrupted; the same command goes on from here")
    predict.add_argument("images", metavar="IMAGES", help="a folder, a file or a glob")
    predict.add_argument("--out", type=Path, required=True, metavar="FILE", help="results.csv, .jsonl or .parquet")
    predict.add_argument("--engine", choices=["local", "ray"], default="local", help="(default local)")
    predict.add_argument(
        "--workers", type=_number(int, 1, 100_000), metavar="N", help="CPUs to use at once (default: all there are)"
    )
    return parser


def _number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = high + 1
        if not low <= value <= high:  # «not», so that NaN fails
            raise argparse.ArgumentTypeError(f"{text!r}: must be a number from {low:,} to {high:,}")
        return value

    return parse


if __name__ == "__main__":
    sys.exit(main())
