"""Writes results.json and soak.json as the README of this folder (python -m tests.torture.report: without measuring)."""

from collections.abc import Iterable

from tests.benchmarks.headlines import markdown
from tests.torture import results
from tests.torture.results import Answered, Results, Section, Soak

README = results.FOLDER / "README.md"
VERDICTS = {True: "yes", False: "**no**", None: "not tried"}
TITLES = {
    "inputs": "Malformed, unusual and rare input", "dicom": "DICOM", "fuzz": "Random damage",
    "faults": "Faults", "loads": "Loads",
}  # fmt: skip

HEAD = """# What the service does under hostile input, faults and load

`make torture` and `make soak` write this file from results.json and soak.json. Do not edit it. The real service runs on real
sockets, with its default settings unless a line says otherwise. Its clients share the machine's CPUs. All images are drawn.

    python -m tests.torture --only inputs faults    some parts: inputs, dicom, fuzz, faults, loads; without --only all of them
    python -m tests.torture --only faults --processes 2
    python -m tests.torture.soak MINUTES            memory, descriptors and threads over time
    python -m tests.torture.report                  writes this file again, without measuring
"""


def write() -> None:
    found = results.load(results.RESULTS, Results) or Results()
    README.write_text(page(found, results.load(results.SOAK, Soak)), encoding="utf-8")


def page(found: Results, soak: Soak | None) -> str:
    parts = [HEAD, summary(found)]
    for name, title in TITLES.items():
        parts += [section(title + key.removeprefix(name), found.sections[key]) for key in sorted(found.sections) if name in key]
    return "\n".join([*parts, *([soaked(soak)] if soak else [])])


def summary(found: Results) -> str:
    wrong = [answer.wrong for section in found.sections.values() for answer in section.answered]
    held = [check.held for section in found.sections.values() for check in section.checks if check.held is not None]
    inputs = f"{wrong.count('')} of {len(wrong)} inputs got the expected answer"
    return f"{inputs}, {sum(held)} of {len(held)} other goals were met.\n"


def section(title: str, found: Section) -> str:
    lines = [f"## {title}\n", f"{found.date}, {found.cpus} CPUs: {found.processor}; {found.seconds:.0f} s\n"]
    if found.answered:
        lines.append(table(["input", "expected", "status", "ms", "still healthy"], map(answer_row, found.answered)))
    if found.checks:
        rows = (
            [one.name, one.expected, one.found, VERDICTS[one.held], f"{one.seconds:g}" * bool(one.seconds)]
            for one in found.checks
        )
        lines.append(table(["what", "expected", "found", "held", "s"], rows))
    return "\n".join(lines)


def answer_row(answer: Answered) -> list[str]:
    status = f"**{answer.status or 'none'}**: {answer.wrong}" if answer.wrong else f"{answer.status}"
    return [answer.name, " or ".join(map(str, answer.expected)), status, f"{answer.ms:.1f}", VERDICTS[answer.healthy]]


def soaked(soak: Soak) -> str:
    statuses = ", ".join(f"{status}: {count:,}" for status, count in soak.statuses.items())
    rows = [
        ["slope of memory", f"{soak.rss_slope:+.2f} MB per hour, by least squares"],
        ["memory", f"{soak.rss_mb[0]:.1f} to {soak.rss_mb[1]:.1f} MB (RSS)"],
        ["descriptors", f"{soak.descriptors[0]} to {soak.descriptors[1]}"],
        ["threads", f"{soak.threads[0]} to {soak.threads[1]}"],
        ["answers by status", f"{statuses}; {soak.unexpected} unexpected"],
    ]
    when = f"{soak.date}, {soak.cpus} CPUs: {soak.processor}; {soak.minutes:g} minutes"
    what = f"{soak.rate:g} requests/s, half of the {soak.peak:g} that a closed loop reaches; 80 % good, 20 % bad"
    return f"## Soak\n\n{when}; {what}.\n\n{table([f'after a warm-up of {soak.warm_up_minutes:g} minutes', ''], rows)}"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;") for cell in row] for row in rows]
    return markdown(head, escaped) + "\n"


if __name__ == "__main__":
    write()
