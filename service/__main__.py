"""python -m service: serve a model folder over HTTP, or measure a service that runs."""

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


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.command is None:
        from service.serve import serve  # here, since each of the two should start without what only the other needs

        return serve()
    from service import bench

    try:
        return bench.run(
            arguments.url,
            arguments.image,
            connections=arguments.connections,
            seconds=arguments.seconds,
            requests=arguments.requests,
        )
    except MedXferError as error:
        print(f"medxfer: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


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
    bench.add_argument("url", metavar="URL", help="http://localhost:8000, or with a path other than /predict")
    bench.add_argument("image", type=Path, metavar="IMAGE", help="a JPEG, PNG or DICOM file")
    bench.add_argument("--connections", type=_number(int, 1, 1000), default=8, metavar="N", help="at once (default 8)")
    end = bench.add_mutually_exclusive_group()
    end.add_argument("--seconds", type=_number(float, 0.1, 86_400), default=10.0, metavar="S", help="how long (default 10)")
    end.add_argument("--requests", type=_number(int, 1, 100_000_000), metavar="N", help="how many, instead of how long")
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
