"""python -m tests.torture: the whole run against the service, or parts of it; writes results.json and README.md here.

The soak (python -m tests.torture.soak MINUTES) and training (python -m tests.torture.training) are runs of their own.
"""

import argparse
import sys
from collections.abc import Callable

from tests.torture import faults, fuzz, inputs, loads, report, results

PARTS: dict[str, Callable[[], results.Section]] = {
    "inputs": inputs.run,
    "fuzz": fuzz.run,
    "faults": faults.run,
    "loads": loads.run,
}


def main() -> int:
    """0 where all held, else 1."""
    parser = argparse.ArgumentParser("python -m tests.torture", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME", help=", ".join(PARTS))
    failed = 0
    for name in parser.parse_args().only:
        print(f"{name} …", flush=True)
        section = PARTS[name]()
        found = results.load(results.RESULTS, results.Results) or results.Results()
        found.sections[name] = section
        results.save(results.RESULTS, found)
        report.write()
        wrong = [f"{answer.name}: {answer.wrong}" for answer in section.answered if answer.wrong]
        wrong += [f"{check.name}: {check.found}" for check in section.checks if check.held is False]
        failed += len(wrong)
        print("\n".join(f"FAILED {line}" for line in wrong) or f"{name}: all held, {section.seconds:.0f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
