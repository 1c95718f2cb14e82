"""The tables of the README say what is in benchmarks/results/; `test_recipes` looks at what the recipes say."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
STUDIES = ("classroom", "losses", "losses-no-validation", "losses-shapes", "recipes", "long-tail-laptop")
RESULTS = {study: json.loads((ROOT / f"benchmarks/results/{study}.json").read_text()) for study in STUDIES}

Row = dict[str, Any]


def measured(study: str, condition: str = "") -> dict[str, Row]:
    """The rows of a study by method."""
    (rows,) = [each["rows"] for each in RESULTS[study]["conditions"] if each["name"] == condition]
    return {row["method"]: row for row in rows}


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def spread(row: Row) -> str:
    return f"{percent(row['mean'])} ± {percent(row['deviation'])}"


def bold(text: str, row: Row) -> str:
    return f"**{text}**" if row["rank"] == 1 else text


def marked(text: str, row: Row) -> str:
    """In bold if it is the best, with ≈ if it cannot be told from that."""
    return f"{text} ≈" if row["not_distinguishable_from_best"] and row["rank"] > 1 else bold(text, row)


def recalls(row: Row) -> str:
    return f"{percent(row['minority_recall'])} / {percent(row['majority_recall'])}"


def auroc(row: Row) -> str:
    return f"{row['auroc']:.3f}"


def corrected(row: Row) -> str:
    return percent(row["points"]["prior"])


def thresholded(row: Row) -> str:
    return percent(row["points"]["validation"])


def classroom(method: str) -> list[str]:
    rows = [measured("classroom", f"ratio {ratio}")[method] for ratio in ("1", "0.1", "0.05", "0.01")]
    return [*(marked(percent(row["mean"]), row) for row in rows), auroc(rows[-1]), corrected(rows[-1])]


def one_pair(study: str, method: str) -> list[str]:
    row = measured(study)[method]
    return [bold(spread(row), row), recalls(row), corrected(row), thresholded(row), auroc(row)]


def both_ways(method: str) -> list[str]:
    row = measured("losses-no-validation")[method]
    return [*one_pair("losses", method), bold(spread(row), row), corrected(row), auroc(row)]


def recipe(method: str) -> list[str]:
    row = measured("recipes")[method]
    argmax = percent(row["points"]["argmax"])
    return [argmax, corrected(row), thresholded(row), recalls(row), auroc(row), str(row["epochs"])]


def long_tail(method: str) -> list[str]:
    row = measured("long-tail-laptop")[method]
    interval = " to ".join(map(percent, row["interval"]))
    return [marked(spread(row), row), interval, corrected(row), percent(row["minority_recall"])]


PAIR = "method | argmax | rare / common found | prior-corrected | threshold from validation | AUROC"

# The headings of each table, the study that it tells of, and what its row of a method has to say.
TABLES: dict[str, tuple[str, Callable[[str], list[str]]]] = {
    "method | 1 : 1 | 10 : 1 | 20 : 1 | 100 : 1 | AUROC at 100 : 1 | prior-corrected at 100 : 1": (
        "classroom", classroom,
    ),
    f"{PAIR} | all train: argmax | prior-corrected | AUROC": ("losses", both_ways),
    PAIR: ("losses-shapes", lambda method: one_pair("losses-shapes", method)),
    "recipe | argmax | prior-corrected | threshold from validation | rare found / common kept | AUROC | epochs": (
        "recipes", recipe,
    ),
    "method | accuracy, % | 95 % interval | prior-corrected, % | rarest class found, %": (
        "long-tail-laptop", long_tail,
    ),
}  # fmt: skip


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def rows_of(headings: str) -> Iterator[tuple[str, list[str]]]:
    """The rows of the README's table with these headings: the method, without what is said of it, and other cells."""
    _, _, rest = README.partition(f"\n| {headings} |\n")
    for line in rest.splitlines()[1:]:
        if not line.startswith("|"):
            return
        name, *others = cells(line)
        yield name.partition(" (")[0], others


EVERY_ROW = [
    pytest.param(headings, name, said, id=f"{study}: {name}")
    for headings, (study, _) in TABLES.items()
    for name, said in rows_of(headings)
]


@pytest.mark.parametrize(("headings", "name", "said"), EVERY_ROW)
def test_a_row_of_the_readme_says_what_was_measured(headings: str, name: str, said: list[str]) -> None:
    study, row = TABLES[headings]
    assert name in RESULTS[study]["methods"], f"benchmarks/results/{study}.json has no {name}"
    columns = [f"{number} {heading}" for number, heading in enumerate(cells(headings)[1:])]  # two may be called alike
    assert dict(zip(columns, said, strict=True)) == dict(zip(columns, row(name), strict=True)), f"{study}: {name}"


@pytest.mark.parametrize("headings", TABLES, ids=lambda headings: TABLES[headings][0])
def test_every_method_that_was_measured_has_its_row(headings: str) -> None:
    assert {name for name, _ in rows_of(headings)} == set(RESULTS[TABLES[headings][0]]["methods"])


@pytest.mark.parametrize("study", STUDIES)
def test_the_table_beside_the_results_says_the_same(study: str) -> None:
    text = (ROOT / f"benchmarks/results/{study}.md").read_text().replace("*", "")
    lines = [cells(line) for line in text.splitlines() if line.startswith("|")]
    for condition in RESULTS[study]["conditions"]:
        for row in condition["rows"]:
            said = {f"{spread(row)} %", auroc(row), f"{row['seconds']:.0f}"}
            assert any(
                line[0] == row["method"] and said <= {cell.removesuffix(" ≈") for cell in line} for line in lines
            ), f"{study}.md, {condition['name']}: {row['method']} should have {sorted(said)}"


def test_the_speed_table_is_the_one_that_was_measured() -> None:
    table = (ROOT / "benchmarks/results/speed-cpu.md").read_text().splitlines()
    for line in table:
        if line.startswith("|"):
            assert line in README.splitlines()


def test_the_lead_in_the_classroom_is_what_was_measured() -> None:
    said = re.search(
        r"At 100 : 1 logit adjustment is (\S+) points above cross-entropy \(95 % interval (\S+) to (\S+), p = (\S+)\)",
        " ".join(README.split()),
    )
    lead = measured("classroom", "ratio 0.01")["logit adjustment"]["difference"]
    expected = [*map(percent, (lead["mean"], *lead["interval"])), f"{lead['p_corrected']:.3f}"]
    assert said and list(said.groups()) == expected
