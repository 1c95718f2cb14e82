"""The sentence on a run says what happened: a share, a count where there are few images, or one answer for all."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from imbalance_cli import checkpoints
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.evaluation import evaluate
from imbalance_cli.metrics import decision_scores
from imbalance_cli.reports import results_report
from imbalance_cli.run_verdict import verdict, worst_confusions


def results_of(
    argmax: list[list[int]], prior: list[list[int]] | None = None, *, auroc: float = 0.95, **more: Any
) -> dict[str, Any]:
    """Results with these confusion matrices at two operating points, the last class being the rarest."""
    names = ["square", "triangle", "star"][: len(argmax)]

    def point(matrix: list[list[int]]) -> dict[str, Any]:
        pairs = [(true, given) for true, row in enumerate(matrix) for given, n in enumerate(row) for _ in range(n)]
        labels, predictions = np.array(pairs).T
        return decision_scores(labels, predictions, len(names))

    points = {"argmax": point(argmax), "prior": point(prior or argmax), "validation": None}
    return {
        "classes": names, "minority": names[-1], "n": 100, "decision": "argmax", "auroc": auroc,
        "operating_points": points, **more,
    }  # fmt: skip


class TestVerdict:
    def test_shares_have_one_decimal_and_a_space(self) -> None:
        assert verdict(results_of([[200, 0], [175, 25]], [[180, 20], [15, 185]])) == (
            "The model ranks well (AUROC 0.950) but argmax finds 12.5 % of triangle; the prior-corrected decision "
            "finds 92.5 % (balanced accuracy 56.2 % to 91.2 %)."
        )

    def test_of_a_handful_of_images_it_counts(self) -> None:
        told = verdict(results_of([[60, 0], [5, 1]], [[58, 2], [4, 2]], auroc=0.7))
        assert " and argmax finds 1 of 6 images of triangle; the prior-corrected decision finds 2 (" in told
        assert "finds 1 of 1 image of triangle" in verdict(results_of([[60, 1], [0, 1]]))
        assert "finds 0 of 29 images" in verdict(results_of([[60, 1], [29, 0]]))
        assert "finds 0.0 % of triangle" in verdict(results_of([[60, 1], [30, 0]]))

    def test_a_model_with_one_answer_is_told_by_that(self) -> None:
        told = verdict(results_of([[0, 50], [0, 50]]))
        assert "(AUROC 0.950) but argmax answers triangle every time; the prior-corrected decision decides" in told
        told = verdict(results_of([[50, 0], [50, 0]], [[40, 10], [10, 40]]))
        assert "but argmax answers square every time; the prior-corrected decision finds 80.0 % of triangle (" in told

    def test_of_more_than_two_classes_the_auroc_is_called_a_mean(self) -> None:
        told = verdict(results_of([[40, 0, 0], [0, 30, 10], [30, 0, 10]], auroc=0.5211))
        assert "ranks poorly (mean AUROC of the classes 0.521) and argmax finds 25.0 % of star" in told


def test_confusions_are_sorted_by_their_share_of_the_class() -> None:
    matrix = [[80, 20, 0], [1, 9, 0], [3, 1, 6]]
    found = worst_confusions(results_of(matrix), matrix, 3)
    assert [(each["true"], each["taken"], each["count"]) for each in found] == [
        ("star", "square", 3), ("square", "triangle", 20), ("triangle", "square", 1),
    ]  # fmt: skip


def evaluated(checkpoint: checkpoints.Checkpoint) -> dict[str, Any]:
    """What the model makes of some noise."""
    noise = torch.randint(0, 256, (16, 3, checkpoint.image_size, checkpoint.image_size), dtype=torch.uint8)
    labels = torch.tensor([0, 1] * 8)
    images = ImageSet(noise, labels, tuple(checkpoint.class_names), tuple(map(str, range(16))))
    return evaluate(checkpoint, images, device="cpu")[0]


def shown(results: dict[str, Any]) -> str:
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(results_report(results, None))
    return captured.get()


def test_the_shares_of_a_row_of_the_confusion_matrix_add_up(finished_run: Path) -> None:
    results = evaluated(checkpoints.load(finished_run))
    text = shown(results | {"confusion_matrix": [[7, 1], [1, 7]]})
    assert "7  87.5 %  1  12.5 %" in text and "1  12.5 %  7  87.5 %" in text


def test_a_missing_temperature_is_explained(finished_run: Path) -> None:
    trained = checkpoints.load(finished_run)
    why = {"temperature": None, "reason": "the model is right about all validation images"}
    checkpoint = replace(trained, calibration=trained.calibration | why)
    results = evaluated(checkpoint)
    assert results["temperature"] is None and results["no_temperature"] == why["reason"]
    assert f"temperature from validation: none; {why['reason']}" in " ".join(shown(results).split())


@pytest.mark.parametrize("prevalence", [None, 0.25])
def test_scores_of_many_classes_are_called_means(finished_run: Path, prevalence: float | None) -> None:
    results = evaluated(checkpoints.load(finished_run))
    names = [*results["classes"], "bird", "cat"]
    point = decision_scores(np.arange(4), np.arange(4), 4) | {"offsets": [0.0] * 4}
    rows = [results["per_class"][0] | {"name": name} for name in names]
    more = {
        "classes": names, "classes_present": 4, "per_class": rows, "prevalences": None, "prevalence": prevalence,
        "confusion_matrix": point["confusion_matrix"], "operating_points": {"argmax": point, "prior": point,
        "validation": None},
    }  # fmt: skip
    text = shown(results | more)
    assert "mean AUROC of the classes" in text and "mean average precision" in text
    assert ("chance 1/4" in text) == (prevalence is not None)
    assert max(map(len, text.splitlines())) <= 80
