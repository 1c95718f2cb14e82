"""Scores are those of scikit-learn or of a calculation by hand, and None where there is nothing to score."""

import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from imbalance_cli.metrics import (
    calibration_error,
    class_score,
    confusion,
    decision_scores,
    ranking_scores,
    softmax,
)


def decided(*pairs: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions with `n` of each (label, prediction, n)."""
    rows = [(label, prediction) for label, prediction, n in pairs for _ in range(n)]
    return tuple(np.array(rows).T)


@given(st.integers(1, 40), st.data())
def test_accuracy_and_balanced_accuracy_of_equally_many_are_one_number(images, data):
    """To the last bit, so that it is not written as 74.3 in one place and as 74.4 in another."""
    found = data.draw(st.lists(st.integers(0, images), min_size=2, max_size=5))
    rows = [
        (label, label if n < hits else (label + 1) % len(found))
        for label, hits in enumerate(found)
        for n in range(images)
    ]
    scores = decision_scores(*np.array(rows).T, len(found))
    assert scores["balanced_accuracy"] == scores["accuracy"]


# 100 of class 0, 90 of them found; 10 of class 1, 4 of them found.
LABELS, PREDICTIONS = decided((0, 0, 90), (0, 1, 10), (1, 0, 6), (1, 1, 4))


class TestSoftmax:
    def test_gives_probabilities(self):
        logits = np.log([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]) + 7
        assert softmax(logits) == pytest.approx(np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]))

    def test_takes_any_logits(self):
        assert softmax(np.array([[1e4, -1e4], [-1e4, -1e4]])).tolist() == [[1, 0], [0.5, 0.5]]


class TestDecisionScores:
    def test_rows_of_the_matrix_are_true_classes(self):
        assert confusion(LABELS, PREDICTIONS, 2).tolist() == [[90, 10], [6, 4]]
        assert confusion(LABELS, PREDICTIONS, 3).tolist() == [[90, 10, 0], [6, 4, 0], [0, 0, 0]]

    def test_by_hand(self):
        scores = decision_scores(LABELS, PREDICTIONS, 2)
        assert scores["confusion_matrix"] == [[90, 10], [6, 4]]
        assert scores["classes_present"] == 2
        assert scores["supports"] == [100, 10]
        assert scores["accuracy"] == pytest.approx(94 / 110)
        assert scores["recalls"] == pytest.approx([0.9, 0.4])
        assert scores["balanced_accuracy"] == pytest.approx(0.65)
        assert scores["g_mean"] == pytest.approx(0.6)
        assert scores["precisions"] == pytest.approx([90 / 96, 4 / 14])
        assert scores["f1s"] == pytest.approx([180 / 196, 8 / 24])
        assert scores["macro_f1"] == pytest.approx((180 / 196 + 8 / 24) / 2)
        assert scores["mcc"] == pytest.approx((90 * 4 - 10 * 6) / math.sqrt(14 * 10 * 100 * 96))

    def test_recall_intervals_are_wilsons(self):
        z, p, n = 1.959963984540054, 0.4, 10
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        interval = decision_scores(LABELS, PREDICTIONS, 2)["recall_intervals"][1]
        assert interval == pytest.approx([middle - half, middle + half])

    @given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
    @settings(deadline=None, max_examples=50)
    def test_are_scikit_learns(self, rows):
        rows = [*rows, *((label, 0) for label in range(4))]  # every class occurs
        labels, predictions = np.array(rows).T
        scores = decision_scores(labels, predictions, 4)
        assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(labels, predictions))
        assert scores["balanced_accuracy"] == pytest.approx(
            sklearn.metrics.balanced_accuracy_score(labels, predictions)
        )
        assert scores["mcc"] == pytest.approx(sklearn.metrics.matthews_corrcoef(labels, predictions))
        f1 = sklearn.metrics.f1_score(labels, predictions, average=None, zero_division=0)
        assert scores["f1s"] == pytest.approx(f1.tolist())
        assert scores["macro_f1"] == pytest.approx(f1.mean())

    def test_a_class_that_is_never_found_or_never_predicted(self):
        scores = decision_scores(*decided((0, 0, 5), (1, 0, 5)), 2)
        assert scores["recalls"] == [1, 0]
        assert scores["g_mean"] == 0
        assert scores["precisions"] == [0.5, None]
        assert scores["f1s"] == pytest.approx([2 / 3, 0])
        assert scores["mcc"] == 0

    def test_a_class_without_test_images_is_left_out(self):
        scores = decision_scores(*decided((0, 0, 8), (0, 2, 2), (2, 2, 3), (2, 0, 1)), 4)
        assert scores["classes_present"] == 2
        assert scores["recalls"] == [0.8, None, 0.75, None]
        assert scores["recall_intervals"][1] is None
        assert scores["precisions"] == pytest.approx([8 / 9, None, 3 / 5, None])
        assert scores["f1s"][1] is None
        assert scores["balanced_accuracy"] == pytest.approx(0.775)
        assert scores["g_mean"] == pytest.approx(math.sqrt(0.6))
        assert scores["macro_f1"] == pytest.approx((scores["f1s"][0] + scores["f1s"][2]) / 2)
        assert scores["supports"] == [10, 0, 4, 0]

    def test_an_absent_class_that_is_predicted_has_precision_0_and_no_recall(self):
        scores = decision_scores(*decided((0, 0, 3), (0, 1, 1)), 2)
        assert scores["recalls"] == [0.75, None]
        assert scores["precisions"] == [1, 0]
        assert scores["f1s"] == [pytest.approx(6 / 7), None]

    @pytest.mark.parametrize(("found", "accuracy"), [(4, 1.0), (3, 0.75), (0, 0.0)])
    def test_test_images_of_a_single_class(self, found, accuracy):
        scores = decision_scores(*decided((1, 1, found), (1, 0, 4 - found)), 2)
        assert scores["accuracy"] == scores["balanced_accuracy"] == scores["recalls"][1] == accuracy
        assert scores["g_mean"] == pytest.approx(accuracy)
        assert scores["mcc"] == 0


class TestRankingScores:
    def test_of_two_classes_are_those_of_the_positive(self):
        random = np.random.default_rng(0)
        labels = (random.random(200) < 0.1).astype(int)
        logits = random.normal(size=(200, 2)) + labels[:, None] * [0.0, 1.5]
        for positive in (0, 1):
            scores = ranking_scores(labels, logits, positive)
            probability = softmax(logits)[:, positive]
            assert scores["auroc"] == pytest.approx(sklearn.metrics.roc_auc_score(labels == positive, probability))
            assert scores["average_precision"] == pytest.approx(
                sklearn.metrics.average_precision_score(labels == positive, probability)
            )
            assert scores["prevalence"] == pytest.approx((labels == positive).mean())
            assert scores["log_loss"] == pytest.approx(sklearn.metrics.log_loss(labels, softmax(logits)))

    def test_of_more_classes_are_means_over_one_against_the_rest(self):
        random = np.random.default_rng(0)
        labels = np.repeat([0, 1, 2], [100, 40, 10])
        logits = random.normal(size=(150, 3)) + np.eye(3)[labels]
        scores = ranking_scores(labels, logits, 2)
        # scikit-learn ranks by probability, ours by log-odds; the order is the same.
        assert scores["auroc"] == pytest.approx(
            sklearn.metrics.roc_auc_score(labels, softmax(logits), multi_class="ovr", average="macro")
        )
        assert scores["average_precision"] == pytest.approx(
            sklearn.metrics.average_precision_score(np.eye(3)[labels], softmax(logits), average="macro")
        )
        assert scores["prevalence"] == pytest.approx(1 / 3)

    def test_classes_without_test_images_are_left_out(self):
        labels = np.repeat([0, 2], [30, 10])
        logits = np.random.default_rng(0).normal(size=(40, 4)) + np.eye(4)[labels]
        present = [sklearn.metrics.roc_auc_score(labels == target, class_score(logits, target)) for target in (0, 2)]
        assert ranking_scores(labels, logits, 2)["auroc"] == pytest.approx(np.mean(present))

    @pytest.mark.parametrize("classes", [2, 3])
    def test_of_a_single_class_there_is_no_ranking(self, classes):
        scores = ranking_scores(np.ones(5, int), np.zeros((5, classes)), 1)
        assert scores["auroc"] is scores["average_precision"] is scores["prevalence"] is None
        assert scores["log_loss"] == pytest.approx(math.log(classes))

    def test_ranks_by_what_float64_probabilities_no_longer_tell_apart(self):
        logits = np.array([[0.0, 800.0], [0.0, 801.0], [0.0, 900.0]])
        assert ranking_scores(np.array([0, 0, 1]), logits, 1)["auroc"] == 1

    def test_a_certain_mistake_costs_a_finite_log_loss(self):
        assert math.isfinite(ranking_scores(np.array([0, 1]), np.array([[0.0, 1e5], [0, 1]]), 1)["log_loss"])


class TestClassScore:
    def test_of_two_classes_is_the_difference_of_the_logits(self):
        assert class_score(np.array([[1.0, 4.0], [1e5, -1e5]]), 1).tolist() == [3, -2e5]
        assert class_score(np.array([[1.0, 4.0], [1e5, -1e5]]), 0).tolist() == [-3, 2e5]

    def test_is_the_log_odds(self):
        probabilities = np.array([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])
        for target in range(3):
            p = probabilities[:, target]
            assert class_score(np.log(probabilities) - 3, target) == pytest.approx(np.log(p / (1 - p)))


class TestCalibrationError:
    def test_by_hand(self):
        """Bins (0.8, 0.867] and (0.933, 1]: 4 images at .85, 2 right; 6 at .95, 6 right."""
        confidence = np.array([0.85] * 4 + [0.95] * 6)
        correct = np.array([True] * 2 + [False] * 2 + [True] * 6)
        assert calibration_error(confidence, correct) == pytest.approx(0.4 * (0.85 - 0.5) + 0.6 * (1 - 0.95))

    def test_takes_signs_within_a_bin_but_not_between_bins(self):
        """Guo et al. (2017) compare averages: over- and underconfidence cancel where they share a bin."""
        assert calibration_error(np.array([0.81, 0.85]), np.array([True, False])) == pytest.approx(0.33)
        assert calibration_error(np.array([0.6, 0.9]), np.array([True, False])) == pytest.approx((0.4 + 0.9) / 2)

    def test_of_certainty(self):
        assert calibration_error(np.ones(3), np.array([True, True, True])) == 0
        assert calibration_error(np.ones(4), np.array([True, False, False, False])) == pytest.approx(0.75)
        shared = calibration_error(np.array([1.0, 0.94]), np.array([False, True]))  # the last bin ends with 1
        assert shared == pytest.approx((1 - 0.06) / 2)

    def test_ranking_scores_report_that_of_the_top_class(self):
        logits = np.log([[0.85, 0.15]] * 4 + [[0.05, 0.95]] * 6)
        labels = np.array([0, 0, 1, 1] + [1] * 6)
        assert ranking_scores(labels, logits, 1)["ece"] == pytest.approx(0.4 * 0.35 + 0.6 * 0.05)
