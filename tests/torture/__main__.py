"""python -m tests.torture: runs all parts against the service, or some of them; writes results.json and README.md here."""

import argparse
import sys

from tests.torture import dicom, faults, fuzz, inputs, loads, process, report, results

PARTS = {"inputs": inputs.run, "dicom": dicom.run, "fuzz": fuzz.run, "faults": faults.run, "loads": loads.run}


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.torture", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--processes", type=int, default=1, help="of each service, unless a part sets their number (default 1)")
    arguments, failures = parser.parse_args(), []
    if arguments.processes > 1:
        process.DEFAULTS["processes"] = arguments.processes
    for part in arguments.only:
        name = part if arguments.processes == 1 else f"{part}, with {arguments.processes} processes"
        print(f"{name} …", flush=True)
        found = results.load(results.RESULTS, results.Results) or results.Results()
        found.sections[name] = section = results.section(PARTS[part])
        results.save(results.RESULTS, found)
        report.write()
        failures += [f"FAILED {answer.name}: {answer.wrong}" for answer in section.answered if answer.wrong]
        failures += [f"FAILED {check.name}: {check.found}" for check in section.checks if check.held is False]
        print(f"{name}: {section.seconds:.0f} s", flush=True)
    print("\n".join(failures) or "everything held")
    return min(1, len(failures))


if __name__ == "__main__":
    sys.exit(main())
