"""The file of a run's answers: complete, exact, verified."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from imbalance_cli import runs
from imbalance_cli.errors import CheckpointError, DamageError
from imbalance_cli.predictions import as_csv, read_predictions


def test_the_answers_of_a_run_give_its_results(finished_run: Path) -> None:
    answers = read_predictions(finished_run)
    results = json.loads((finished_run / runs.RESULTS).read_text())
    assert answers.class_names == tuple(results["classes"])
    matrix = np.zeros((2, 2), int)
    np.add.at(matrix, (answers.labels, answers.logits.argmax(1)), 1)
    assert matrix.tolist() == results["operating_points"]["argmax"]["confusion_matrix"]
    assert len(set(answers.items)) == results["n"] == 40


def test_a_spreadsheet_can_read_it(finished_run: Path) -> None:
    with open(finished_run / runs.PREDICTIONS, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"image", "label", "logit common", "logit rare"}
    assert {row["label"] for row in rows} == {"common", "rare"}


def test_single_precision_and_any_name_survive(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32).astype(np.float64) * 1e3
    items, names = ["a,b.png", 'c "d"\n.png', "\udcff.png"], ["good, or so", "bad"]
    content = as_csv(items, np.array([0, 1, 1]), logits, names)
    (tmp_path / runs.PREDICTIONS).write_bytes(content)
    (tmp_path / runs.ENVIRONMENT).write_text(json.dumps([{"predictions_sha256": runs.sha256(content)}]))
    answers = read_predictions(tmp_path)
    assert answers.items == tuple(items) and answers.class_names == tuple(names)
    assert answers.labels.tolist() == [0, 1, 1]
    assert (answers.logits.astype(np.float32) == logits.astype(np.float32)).all()


def test_one_changed_digit_is_noticed(finished_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    path = folder / runs.PREDICTIONS
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(DamageError, match=r"predictions\.csv was edited or damaged"):
        read_predictions(folder)


def test_an_unfinished_run_has_none(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / runs.ENVIRONMENT).write_text("[{}]")
    with pytest.raises(CheckpointError, match=r"holds no predictions\.csv"):
        read_predictions(tmp_path)
