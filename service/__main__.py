"""python -m service: serve a model folder over HTTP, read a whole archive with it, or measure a service that runs."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from service.errors import MedXferError

INTERRUPTED = 130

BENCH = """
Posts one image again and again, each connection as soon as it has its answer,
and prints requests a second and percentiles of the time from the first byte
sent to the last one read (of the predictions alone, linear interpolation).
A few requests warm up and are left out. Failures are counted by status. Where
the service is overloaded (429), a connection waits as Retry-After asks; that is
counted, but is no failure. A connection that breaks is not opened again.
MEDXFER_TOKEN, where it is set, goes along.
Ctrl-C prints what was measured so far.

Run beside the service, the client takes CPU time from it, and says how much.

example:
  python -m service bench http://localhost:8000 xray.jpeg --seconds 30

Exit codes: 0 all well, 1 a request failed or nothing could be measured,
2 a wrong option, 130 interrupted.
"""

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
        from service.server import serve  # here, since each of the three should start without what only the others need

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


def _bench(arguments: argparse.Namespace) -> int:
    from service import bench

    return bench.run(
        arguments.url,
        arguments.image,
        connections=arguments.connections,
        seconds=arguments.seconds,
        requests=arguments.requests,
    )


def _predict(arguments: argparse.Namespace) -> int:
    from service.archive import run

    return run.run(arguments.images, arguments.out, engine=arguments.engine, workers=arguments.workers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m service",
        description="Without a command: serve the model folder MEDXFER_MODEL. Settings: see README.md.",
    )
    commands = parser.add_subparsers(dest="command", title="commands")
    bench = commands.add_parser(
        "bench",
        help="measure a service that runs: throughput and percentiles",
        description="Measure a service that runs.",
        epilog=BENCH,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.set_defaults(run=_bench, failed=1, interrupted="")
    bench.add_argument("url", metavar="URL", help="http://localhost:8000, or with a path other than /predict")
    bench.add_argument("image", type=Path, metavar="IMAGE", help="a JPEG, PNG or DICOM file")
    bench.add_argument("--connections", type=_number(int, 1, 1000), default=8, metavar="N", help="at once (default 8)")
    end = bench.add_mutually_exclusive_group()
    end.add_argument("--seconds", type=_number(float, 0.1, 86_400), default=10.0, metavar="S", help="how long (default 10)")
    end.add_argument("--requests", type=_number(int, 1, 100_000_000), metavar="N", help="how many, instead of how long")
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
