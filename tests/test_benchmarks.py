"""The benchmarks that compare with others run both sides and keep what they measured."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imbalance_cli.methods.augment import AUGMENTATIONS
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.samplers import SAMPLERS

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def seen(picture: Path) -> np.ndarray:
    """What an eye sees of a picture: its greys in squares of six pixels, 0 to 1."""
    with Image.open(picture) as image:
        small = image.convert("L").resize((image.width // 6, image.height // 6), Image.Resampling.BOX)
    return np.asarray(small, float) / 255


def drawn(comparison: Path, folder: Path) -> np.ndarray:
    made = folder / "made.png"
    subprocess.run([sys.executable, BENCHMARKS / "picture.py", comparison, made], check=True)
    return seen(made)


def test_the_picture_in_the_readme_is_what_is_drawn_of_its_comparison(tmp_path: Path) -> None:
    """To draw it again: python benchmarks/picture.py benchmarks/results/losses.json benchmarks/results/losses.png."""
    results, shown = BENCHMARKS / "results", seen(BENCHMARKS / "results" / "losses.png")
    now = drawn(results / "losses.json", tmp_path)
    assert shown.shape == now.shape and np.abs(shown - now).max() < 0.15  # another matplotlib smooths otherwise

    comparison = json.loads((results / "losses.json").read_text())
    comparison["conditions"][0]["rows"][-1]["points"]["argmax"] += 0.01
    (tmp_path / "changed.json").write_text(json.dumps(comparison))
    assert np.abs(shown - drawn(tmp_path / "changed.json", tmp_path)).max() > 0.25, "that would be noticed"


@pytest.mark.slow
def test_the_speed_benchmark_measures_both_sides(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "speed.py", "--quick", "--output", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "speed-cpu.json").read_text())
    assert {"date", "machine", "task", "models"} <= results.keys()
    tutorial = results["models"]["tutorial"]
    for side in ("student", "project"):
        measured = tutorial["medians"][side]
        assert measured["parameters"] == 61326
        assert 0 < measured["epoch_seconds"] < measured["process_seconds"]
        assert 0.3 < measured["accuracy"] <= 1
    student, project = (tutorial["medians"][side]["epoch_seconds"] for side in ("student", "project"))
    assert tutorial["ratios"]["epoch_seconds"] == pytest.approx(student / project)
    table = (tmp_path / "speed-cpu.md").read_text()
    assert table in done.stdout
    assert "| tutorial | 61,326 |" in table


@pytest.mark.slow
def test_the_benchmark_of_methods_measures_every_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "methods.py", "--quick", "--output", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "methods.json").read_text())
    assert {"date", "machine", "shape"} <= results.keys()
    table = (tmp_path / "methods.md").read_text()
    assert table in done.stdout
    for kind, registry in (("losses", LOSSES), ("samplers", SAMPLERS), ("augmentations", AUGMENTATIONS)):
        assert list(results[kind]) == registry.names()
        for name, row in results[kind].items():
            assert row["ours"] > 0
            assert (row["theirs"] is None) == (name == "cutout")  # which torchvision has not
            assert f"| {name} | " in table
