"""Provoke every fault of tests/FAULTS.md, kill runs at every file-system call, fuzz every parser, and note what held.

    python benchmarks/robustness.py            # all of it: some half an hour on an idle machine
    python benchmarks/robustness.py --part     # every eleventh kill point
    python benchmarks/robustness.py --quick    # a few inputs and kill points, to see that it works

Runs the tests that have the marker `fault`, and the slow ones beside them. Writes robustness.json and robustness.md
into the output folder, if every test passed; with --quick robustness-quick.json and robustness-quick.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

from speed import machine

from imbalance_cli.files import make_folder, write_file

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
PYTEST = [sys.executable, "-m", "pytest", "--rootdir", str(HERE.parent)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="fuzzed inputs for each parser")
    parser.add_argument("--quick", action="store_true", help="200 inputs and a part of the kill points")
    parser.add_argument("--part", action="store_true", help="every eleventh kill point only")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="the folder for the results")
    options = parser.parse_args()

    files = [path for path in sorted(TESTS.glob("test_*.py")) if "mark.fault(" in path.read_text(encoding="utf-8")]
    files = sorted({*files, TESTS / "test_fuzz.py"} - {TESTS / "test_fault_table.py"})
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        figures, report_file = Path(scratch) / "figures.jsonl", Path(scratch) / "tests.xml"
        environment = os.environ | {
            "IMBALANCE_FIGURES": str(figures),
            "IMBALANCE_FUZZ_INPUTS": "200" if options.quick else str(options.inputs),
            "IMBALANCE_ALL_KILL_POINTS": "" if options.quick or options.part else "1",
        }
        command = [
            *PYTEST,
            *("-n", "2", "--dist", "worksteal"),
            "-m",
            "(fault or slow) and not gpu",
            f"--junitxml={report_file}",
            *map(str, files),
        ]
        done = subprocess.run(command, env=environment)
        if done.returncode:
            sys.exit("not every test passed, so there is nothing to write down")
        measured = [json.loads(line) for line in figures.read_text(encoding="utf-8").splitlines()]
        tests = outcome(report_file)
    kill_points = [figure for figure in measured if "kill_points" in figure]
    if sys.platform == "linux" and not any(figure["suite"].startswith("KILL") for figure in kill_points):
        sys.exit(
            "no run was killed at a system call, so there is nothing to write down: strace is missing or may not trace"
        )

    results = {
        "date": date.today().isoformat(),
        "machine": machine("cpu") | {"load_before": round(load, 2)},
        "cases": cases() | {"tests": collected("fault and not gpu", files)},
        "tests": tests,
        "kill_points": kill_points,
        "fuzz": [figure for figure in measured if "parser" in figure],
    }
    make_folder(options.output)
    name = "robustness-quick" if options.quick else "robustness"
    write_file(options.output / f"{name}.json", json.dumps(results, indent=2) + "\n")
    write_file(options.output / f"{name}.md", report(results))
    print(f"\n{report(results)}")


def cases() -> dict[str, Any]:
    """How many cases the table lists, and how many of them have a test."""
    rows = [line for line in (TESTS / "FAULTS.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return {"listed": len(rows) - 1, "tested": sum(row.endswith("| test |") for row in rows[1:])}


def collected(expression: str, files: list[Path]) -> int:
    """How many tests of `files` match the `expression` of markers."""
    command = [*PYTEST, "--collect-only", "-m", expression, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return sum("::" in line for line in done.stdout.splitlines())


def outcome(report_file: Path) -> dict[str, Any]:
    """How many tests passed, which were skipped and why, and the seconds of all."""
    suite = ElementTree.parse(report_file).getroot()[0]
    reasons = Counter(skipped.get("message", "") for skipped in suite.iter("skipped"))
    run = int(suite.get("tests", 0))
    return {"passed": run - reasons.total(), "skipped": dict(reasons), "seconds": round(float(suite.get("time", 0)))}


def report(results: dict[str, Any]) -> str:
    """The results as Markdown: where they come from, what was tried, and what each suite took."""
    machine, tests, kills, fuzz = (results[name] for name in ("machine", "tests", "kill_points", "fuzz"))
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    skipped = "".join(f"; {number} skipped: {reason}" for reason, number in tests["skipped"].items())
    rows = [
        f"{results['date']}, commit {machine['commit']}, {machine['processor']}, {machine['cores']} cores, "
        f"Python {machine['python']}, {versions}.",
        "",
        "| | |",
        "|---|---|",
        f"| cases of `tests/FAULTS.md` with a test | {results['cases']['tested']} of {results['cases']['listed']} |",
        f"| tests that cover them | {results['cases']['tests']} |",
        f"| tests passed | {tests['passed']}{skipped} |",
        f"| kill points tried | {sum(suite['tried'] for suite in kills):,} |",
        f"| fuzzed inputs | {sum(parser['inputs'] for parser in fuzz):,} |",
        f"| slowest input | {max(parser['slowest_seconds'] for parser in fuzz):.2f} s |",
        f"| peak memory while fuzzing | {max(parser['peak_mib'] for parser in fuzz):.0f} MiB |",
        f"| seconds in all | {tests['seconds']} |",
        "",
        "| parser | inputs | accepted | refused | seconds | slowest | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {parser['parser']} | {parser['inputs']:,} | {parser['accepted']:,} | {parser['refused']:,} "
        f"| {parser['seconds']} | {parser['slowest_seconds']} | {parser['peak_mib']} |"
        for parser in fuzz
    ]
    rows += ["", "| suite | kill points | tried |", "|---|---|---|"]
    rows += [f"| {suite['suite']} | {suite['kill_points']:,} | {suite['tried']:,} |" for suite in kills]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
