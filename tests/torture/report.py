"""results.json and soak.json as the README of this folder.

python -m tests.torture.report        again, without measuring
"""

from collections.abc import Iterable

from tests.torture import results
from tests.torture.results import Answered, Check, Results, Section, Soak

README = results.FOLDER / "README.md"
VERDICTS = {True: "yes", False: "**no**", None: "not tried"}

HEAD = """# What the service does under bad input, faults and loads

Written by `make torture` from results.json and soak.json; do not edit. The real service runs on real sockets of one
machine, and the client on the same CPUs. It has its default settings where nothing else is said. Images are drawn.

    python -m tests.torture                         all of it, about half an hour; only Linux
    python -m tests.torture --only inputs faults    parts: inputs, fuzz, faults, loads
    python -m tests.torture.soak MINUTES            memory over time
    python -m tests.torture.report                  this page again, without measuring
"""
TITLES = {
    "inputs": "Bad, odd and rare input",
    "fuzz": "Random damage",
    "faults": "Faults",
    "loads": "Loads",
}


def write() -> None:
    found = results.load(results.RESULTS, Results) or Results()
    README.write_text(page(found, results.load(results.SOAK, Soak)), encoding="utf-8")


def page(found: Results, soak: Soak | None) -> str:
    parts = [HEAD, summary(found)]
    parts += [section(title, found.sections[name]) for name, title in TITLES.items() if name in found.sections]
    return "\n".join([*parts, *([soaked(soak)] if soak else [])])


def summary(found: Results) -> str:
    sections = found.sections.values()
    answered = [answer for section in sections for answer in section.answered]
    checks = [check for section in sections for check in section.checks if check.held is not None]
    good, held = sum(not answer.wrong for answer in answered), sum(bool(check.held) for check in checks)
    return f"{good} of {len(answered)} inputs answered as they should be, {held} of {len(checks)} other goals held.\n"


def section(title: str, found: Section) -> str:
    when = f"{found.date}, {found.cpus} CPUs: {found.processor}; {found.seconds:.0f} s"
    tables = (
        [table(["input", "expected", "status", "ms", "still healthy"], map(answer_row, found.answered))]
        if found.answered
        else []
    )
    tables += [table(["what", "expected", "found", "held", "s"], map(check_row, found.checks))] if found.checks else []
    return "\n".join([f"## {title}\n", f"{when}\n", *tables])


def answer_row(answer: Answered) -> list[str]:
    expected = " or ".join(map(str, answer.expected))
    status = f"{answer.status}" if not answer.wrong else f"**{answer.status or 'none'}**: {answer.wrong}"
    return [answer.name, expected, status, f"{answer.ms:.1f}", "yes" if answer.healthy else "**no**"]


def check_row(check: Check) -> list[str]:
    return [check.name, check.expected, check.found, VERDICTS[check.held], f"{check.seconds:g}" if check.seconds else ""]


def soaked(soak: Soak) -> str:
    statuses = ", ".join(f"{status}: {count:,}" for status, count in soak.statuses.items())
    rows = [
        ["memory's slope", f"{soak.rss_slope:+.2f} MB an hour, by least squares"],
        ["memory", f"{soak.rss_mb[0]:.1f} to {soak.rss_mb[1]:.1f} MB (RSS)"],
        ["descriptors", f"{soak.descriptors[0]} to {soak.descriptors[1]}"],
        ["threads", f"{soak.threads[0]} to {soak.threads[1]}"],
        ["answers by status", f"{statuses}; {soak.unexpected} unexpected"],
    ]
    when = f"{soak.date}, {soak.cpus} CPUs: {soak.processor}; {soak.minutes:g} minutes"
    what = f"{soak.rate:g} requests/s, half of the {soak.peak:g} that a closed loop reaches; 80 % good, 20 % bad"
    return "\n".join(
        ["## Soak\n", f"{when}; {what}.\n", table([f"after a warm-up of {soak.warm_up_minutes:g} minutes", ""], rows)]
    )


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(escaped, line)) + " |" for line in lines) + "\n"


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


if __name__ == "__main__":
    write()
