"""The recipes in configs/ say what the measurements in benchmarks/results/ say."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
STUDY = yaml.safe_load((ROOT / "configs/studies/recipes.yaml").read_text())
RESULTS = json.loads((ROOT / "benchmarks/results/recipes.json").read_text())
FILES = {method: Path(said).name for method, said in STUDY["methods"].items() if isinstance(said, str)}
POINTS = {
    "argmax": r"([\d.]+) % balanced accuracy at argmax",
    "prior": r"([\d.]+) prior-corrected",
    "validation": r"([\d.]+) at the threshold from validation",
}


def comment(file: str) -> str:
    """The comment that a recipe begins with, in one line."""
    text = (ROOT / "configs/recipes" / file).read_text()
    return " ".join(line[1:].strip() for line in text.splitlines() if line.startswith("#"))


def test_every_recipe_is_measured() -> None:
    assert set(FILES.values()) == {path.name for path in (ROOT / "configs/recipes").glob("*.yaml")}
    (condition,) = RESULTS["conditions"]
    assert {row["method"] for row in condition["rows"]} == set(STUDY["methods"])
    assert all(len(row["seeds"]) == 3 for row in condition["rows"])


@pytest.mark.parametrize("method", FILES)
def test_a_recipe_says_what_it_reached(method: str) -> None:
    (row,) = [row for row in RESULTS["conditions"][0]["rows"] if row["method"] == method]
    said = comment(FILES[method])
    quoted: dict[str, Any] = {name: re.search(pattern, said) for name, pattern in POINTS.items()}
    assert quoted["argmax"], said
    for name, found in quoted.items():
        if found:
            assert float(found[1]) == pytest.approx(100 * row["points"][name], abs=0.0501), name
        else:  # left out only where nothing is there, or nothing else
            assert row["points"][name] in (None, row["points"]["argmax"]), name
    auroc = re.search(r"AUROC ([\d.]+\d)", said)
    assert auroc and float(auroc[1]) == pytest.approx(row["auroc"], abs=0.000501)
