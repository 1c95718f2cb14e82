"""Offsets added to the logits: the textbook's where there is a textbook, the best where the best is sought."""

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imbalance_cli.evaluation import operating_points
from imbalance_cli.methods.criteria import in_full
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.posthoc import (
    TAUS,
    balanced_accuracy,
    best_offsets,
    best_tau,
    decide,
    threshold_offsets,
    uninformative_logits,
)
from imbalance_cli.methods.weights import class_weights
from imbalance_cli.metrics import softmax


class TestDecide:
    def test_the_highest_sum_wins(self):
        logits = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
        assert decide(logits, np.zeros(3)).tolist() == [0, 1]
        assert decide(logits, np.array([0.0, 0.0, 1.5])).tolist() == [0, 2]

    def test_of_equals_the_last_wins(self):
        logits = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
        assert decide(logits, np.zeros(3)).tolist() == [2, 1, 2]


class TestThreshold:
    @pytest.mark.parametrize("positive", [0, 1])
    @pytest.mark.parametrize("threshold", [1e-6, 0.1, 0.5, 0.73, 1 - 1e-9])
    def test_predicts_the_positive_class_from_that_probability_on(self, threshold, positive):
        offsets = threshold_offsets(threshold, positive)
        logits = np.random.default_rng(0).normal(scale=8, size=(1000, 2))
        found = decide(logits, offsets) == positive
        assert (found == (softmax(logits)[:, positive] >= threshold)).all()

    def test_one_half_is_argmax(self):
        assert threshold_offsets(0.5, 1).tolist() == [0, 0]

    def test_a_probability_at_the_threshold_is_enough_for_the_last_class(self):
        assert decide(np.array([[0.0, -3.0]]), np.array([0.0, 3.0])).tolist() == [1]


def uninformative(loss, counts, weights="none", **options):
    counts = torch.tensor(counts, dtype=torch.float64)
    bound = LOSSES.bind({"name": loss, **options})
    return uninformative_logits(bound, counts, class_weights({"name": weights}, counts))


def centred_log(values) -> np.ndarray:
    logs = np.log(values)
    return logs - logs.mean()


def best_difference(loss, counts, weights="none", **options) -> float:
    """The logit of class 1 against class 0 with the least expected loss, found by trying ever finer values."""
    counts = torch.tensor(counts, dtype=torch.float64)
    share = counts / counts.sum() * class_weights({"name": weights}, counts)
    bound = LOSSES.bind({"name": loss, **options})
    low, high = -40.0, 40.0
    for _ in range(8):
        tried = torch.linspace(low, high, 1001, dtype=torch.float64)
        logits = torch.stack([torch.zeros_like(tried), tried], dim=1)
        expected = sum(share[label] * bound(logits, torch.full((1001,), label), counts) for label in (0, 1))
        best = int(expected.argmin())
        low, high = tried[max(best - 1, 0)].item(), tried[min(best + 1, 1000)].item()
    return tried[best].item()


PRIORS = pytest.mark.parametrize(
    "counts", [[5000, 50], [50, 5000], [100_000, 1], [60, 60], [500, 477, 20, 5], [50] * 10 + [1] * 10]
)


# Losses whose formula holds the class counts, so that inverse weights come on top.
ALLOW_FOR_COUNTS = {
    "logit_adjustment",
    "vector_scaling",
    "class_balanced_focal",
    "equalization",
    "influence_balanced",
    "label_aware_smoothing",
    "ldam",
    "seesaw",
}


class TestUninformativeLogits:
    @PRIORS
    @pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
    def test_of_cross_entropy_and_mse_are_the_log_prior(self, loss, counts):
        assert uninformative(loss, counts) == pytest.approx(centred_log(counts), abs=1e-4)

    @PRIORS
    def test_of_logit_adjustment_are_what_tau_leaves_of_it(self, counts):
        assert uninformative("logit_adjustment", counts) == pytest.approx(0 * centred_log(counts), abs=1e-4)
        assert uninformative("logit_adjustment", counts, tau=0.5) == pytest.approx(centred_log(counts) / 2, abs=1e-4)
        assert uninformative("logit_adjustment", counts, tau=1.5) == pytest.approx(-centred_log(counts) / 2, abs=1e-4)

    @PRIORS
    @pytest.mark.parametrize("loss", [name for name in LOSSES.names() if name not in ALLOW_FOR_COUNTS])
    def test_inverse_weights_leave_nothing_to_correct(self, loss, counts):
        assert uninformative(loss, counts, "inverse") == pytest.approx(0 * centred_log(counts), abs=1e-4)

    @PRIORS
    def test_sqrt_weights_leave_half_of_the_log_prior(self, counts):
        assert uninformative("cross_entropy", counts, "sqrt") == pytest.approx(centred_log(counts) / 2, abs=1e-4)

    @PRIORS
    def test_logit_adjustment_with_inverse_weights_corrects_twice(self, counts):
        assert uninformative("logit_adjustment", counts, "inverse") == pytest.approx(-centred_log(counts), abs=1e-4)

    def test_alpha_counts_as_a_weight(self):
        assert uninformative("focal", [900, 100], gamma=0.0, alpha=[0.1, 0.9]) == pytest.approx([0, 0], abs=1e-6)

    def test_label_smoothing_bounds_them(self):
        smoothed = 0.9 * np.array([0.99, 0.01]) + 0.05
        found = uninformative("cross_entropy", [990, 10], label_smoothing=0.1)
        assert found == pytest.approx(centred_log(smoothed), abs=1e-6)

    @pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
    @pytest.mark.parametrize("counts", [[5000, 50], [50, 5000], [300, 200], [100_000, 1]])
    @pytest.mark.parametrize("weights", ["none", "sqrt", "effective_number"])
    def test_of_focal_loss_are_the_best_that_there_are(self, gamma, counts, weights):
        first, second = uninformative("focal", counts, weights, gamma=gamma)
        assert second - first == pytest.approx(best_difference("focal", counts, weights, gamma=gamma), abs=1e-3)

    @pytest.mark.parametrize(
        "options", [{"loss": "huber"}, {"loss": "hinge"}, {"loss": "hinge", "margin": 3.0}], ids=str
    )
    @pytest.mark.parametrize("counts", [[5000, 50], [50, 5000]])
    def test_of_other_losses_are_the_best_that_there_are(self, options, counts):
        first, second = uninformative(counts=counts, **options)
        assert second - first == pytest.approx(best_difference(counts=counts, **options), abs=1e-3)

    def test_focal_loss_flattens_them(self):
        spans = [np.ptp(uninformative("focal", [5000, 50], gamma=gamma)) for gamma in (0.0, 1.0, 2.0, 5.0)]
        assert spans == sorted(spans, reverse=True)
        assert spans[2] < spans[0] / 2

    @pytest.mark.parametrize("loss", ["cross_entropy", "focal", "logit_adjustment"])
    def test_a_class_without_images_gets_the_largest(self, loss):
        found = uninformative(loss, [5000, 0, 50])
        assert found[1] == found.max()
        present = uninformative(loss, [5000, 50])
        assert found[2] - found[0] == pytest.approx(present[1] - present[0], abs=1e-4)

    @PRIORS
    @pytest.mark.parametrize("loss", LOSSES.names())
    def test_are_finite_and_have_mean_0(self, loss, counts):
        found = uninformative(loss, counts)
        assert np.isfinite(found).all()
        assert found.mean() == pytest.approx(0, abs=1e-12)

    def test_draw_nothing_and_leave_nothing_behind(self):
        counts = torch.tensor([90.0, 10.0], dtype=torch.float64)
        state = torch.get_rng_state()
        uninformative_logits(LOSSES.bind({"name": "focal"}), counts, torch.ones(2))
        assert torch.equal(torch.get_rng_state(), state)
        assert counts.tolist() == [90, 10]


class TestBestTau:
    reference = np.array([1.0, -1.0])

    def test_is_searched_from_0_to_2(self):
        assert TAUS[0] == 0
        assert TAUS[-1] == 2
        assert np.diff(TAUS) == pytest.approx(0.05)

    def test_of_equally_good_values_the_one_nearest_to_1_is_taken(self):
        never_wrong = np.array([[9.0, 0.0], [0.0, 9.0]]), np.array([0, 1])
        assert best_tau(*never_wrong, self.reference) == 1

    @pytest.mark.parametrize(
        ("margins", "expected"),
        [((-0.85, 0.5), 0.4), ((-3.9, -3.15), 1.6), ((-9.0, 0.05), 1.0), ((-1.05, -0.95), 0.5)],
    )
    def test_separates_the_classes_where_it_can(self, margins, expected):
        """Class 1 is predicted from a margin of -2 tau on; the margins are those of one image of each class."""
        logits = np.array([[0.0, margins[0]], [0.0, margins[1]]])
        tau = best_tau(logits, np.array([0, 1]), self.reference)
        assert tau == expected
        assert balanced_accuracy(np.array([0, 1]), decide(logits, -tau * self.reference)) == 1


# Logits on a coarse grid, so that ties are frequent.
COARSE = st.integers(-6, 6).map(lambda value: value / 2)


# Steps that no sum with an offset rounds away.
FINE = st.integers(-(10**7), 10**7).map(lambda step: step / 1024)


@st.composite
def scored(draw, classes: int, values=COARSE) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of up to 14 images, at least one of each class."""
    labels = [*range(classes), *draw(st.lists(st.integers(0, classes - 1), max_size=14 - classes))]
    logits = [[draw(values) for _ in range(classes)] for _ in labels]
    return np.array(logits), np.array(labels)


class TestBestOffsets:
    @pytest.mark.parametrize("values", [COARSE, FINE], ids=["ties", "few ties"])
    @given(data=st.data())
    @settings(deadline=None, max_examples=150)
    def test_of_two_classes_there_are_no_better(self, values, data):
        logits, labels = data.draw(scored(2, values))
        margins = logits[:, 0] - logits[:, 1]
        possible = [balanced_accuracy(labels, margins <= cut) for cut in [margins.min() - 1, *margins]]
        offsets = best_offsets(logits, labels)
        assert offsets[0] == 0
        assert balanced_accuracy(labels, decide(logits, offsets)) == pytest.approx(max(possible))

    @pytest.mark.parametrize("classes", [3, 4, 5])
    @given(data=st.data())
    @settings(deadline=None, max_examples=100)
    def test_of_more_classes_are_never_worse_than_argmax(self, classes, data):
        logits, labels = data.draw(scored(classes))
        argmax = balanced_accuracy(labels, decide(logits, np.zeros(classes)))
        assert balanced_accuracy(labels, decide(logits, best_offsets(logits, labels))) >= argmax - 1e-12

    def test_equal_logits_are_told_apart_as_decide_does(self):
        logits = np.array([[1.0, 1, 1], [2, 2, 1], [2, 1, 0], [0, 2, 2]])
        labels = np.array([0, 1, 2, 2])
        assert balanced_accuracy(labels, decide(logits, best_offsets(logits, labels))) == 0.5  # as good as argmax

    @pytest.mark.parametrize(
        ("labels", "middle"),
        [
            ([1, 1, 0, 0, 0, 0], 2.5),  # the best threshold lies between the second and the third image
            ([1, 0, 1, 0, 1, 0], 4.0),  # equally good ones between the first two, the middle two and the last two
        ],
    )
    def test_the_middle_of_the_best_thresholds_is_taken(self, labels, middle):
        needed = np.array([1.0, 2, 3, 5, 6, 7])  # the offset from which on an image is predicted as class 1
        logits = np.stack([needed, np.zeros(6)], axis=1)
        assert best_offsets(logits, np.array(labels)).tolist() == [0, middle]

    @pytest.mark.parametrize(
        ("classes", "frozen"), [(2, [0.0, 0.125]), (4, [0.7109375, 0.859375, 3.8125, 5.140625])], ids=str
    )
    def test_are_to_the_bit_what_they_have_always_been(self, classes, frozen):
        image, label = np.arange(60)[:, None], np.arange(classes)
        labels = (np.arange(60) % (2 * classes)).clip(0, classes - 1)[::-1]
        logits = (7 * image + 3 * label**2 + image**2 * label) % 23 / 4 - label + 1.5 * np.eye(classes)[labels]
        assert best_offsets(logits, labels).tolist() == frozen

    def test_recover_a_shifted_model(self):
        random = np.random.default_rng(0)
        labels = np.repeat([0, 1, 2], [300, 60, 40])
        logits = 4 * np.eye(3)[labels] + random.normal(size=(400, 3))
        shifted = logits + [6.0, 0, -3]
        assert balanced_accuracy(labels, decide(shifted, np.zeros(3))) < 0.4
        found = balanced_accuracy(labels, decide(shifted, best_offsets(shifted, labels)))
        assert found >= balanced_accuracy(labels, decide(logits, np.zeros(3)))


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(deadline=None, max_examples=50)
def test_balanced_accuracy_is_scikit_learns(rows):
    labels, predictions = np.array(rows).T
    assume(set(predictions) <= set(labels) and len(set(labels)) > 1)  # else scikit-learn warns
    assert balanced_accuracy(labels, predictions) == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(labels, predictions)
    )


def test_of_a_loss_that_draws_at_random_they_are_those_of_its_expectation():
    counts = torch.tensor([5000.0, 50.0], dtype=torch.float64)
    before = torch.get_rng_state()
    loss = LOSSES.bind({"name": "equalization"})
    first, second = uninformative_logits(loss, counts, torch.ones_like(counts))
    # The rare class counts in a tenth of the softmaxes of the common one, so the log odds fall by log 10.
    assert first - second == pytest.approx(np.log(100) - np.log(10), abs=0.2)
    assert torch.equal(torch.get_rng_state(), before)


def test_where_a_gradient_is_not_that_of_its_value_training_comes_to_rest_at_its_zero():
    counts = torch.tensor([5000.0, 50.0], dtype=torch.float64)
    loss = LOSSES.bind({"name": "seesaw"})
    found = torch.tensor(uninformative_logits(loss, counts, torch.ones_like(counts)), requires_grad=True)
    shares = counts / counts.sum()
    (shares * loss(found.expand(2, -1), torch.tensor([0, 1]), counts)).sum().backward()
    assert found.grad.abs().max() < 1e-4
    assert float((found[0] - found[1]).detach()) == pytest.approx(0.97, abs=0.02)


@pytest.mark.parametrize(("rare", "enough"), [(1, False), (9, False), (10, True)])
def test_tau_and_threshold_are_chosen_on_ten_images_of_each_class_or_not_at_all(rare, enough):
    chance = np.random.default_rng(0)
    labels = np.repeat([0, 1], [90, rare])
    logits = chance.normal(size=(len(labels), 2)) + np.array([3.0, 0.0]) + 2 * np.eye(2)[labels]
    points = operating_points(np.array([1.0, -1.0]), (logits, labels), {"name": "balanced_accuracy"}, 1)
    assert (points["validation"]["offsets"] is not None) == enough
    assert (points["prior"]["tau_chosen"] == "on validation") == enough
    assert enough or points["prior"]["tau"] == 1
    assert list(points) == ["argmax", "prior", "validation"]


@pytest.mark.parametrize(
    ("said", "images", "reason"),
    [
        (
            "recall>=0.95",
            [500, 19],
            "recall>=0.95 needs 20 validation images of the rarest class to mean less than all",
        ),
        ("recall>=0.95", [500, 20], None),
        ("recall>=0.9", [20, 10], None),
        ("recall>=0.97", [500, 33], "of the rarest class to mean less than all of them; there are 33"),
        (
            "recall>=1",
            [500, 500],
            "recall>=1 allows no mistake at all, which no number of validation images can promise",
        ),
        ("fpr<=0.01", [99, 10], "fpr<=0.01 needs 100 validation images of the other class to mean more than none"),
        ("fpr<=0.01", [100, 10], None),
        ("fpr<=0", [100, 10], "fpr<=0 allows no mistake at all"),
        ("fpr<=0.01", [100, 9], "a threshold needs 10 validation images of every class; the smallest class has 9"),
    ],
)
def test_a_promised_share_needs_images_enough_to_be_less_than_all(said, images, reason):
    labels = np.repeat([0, 1], images)
    logits = np.random.default_rng(0).normal(size=(len(labels), 2)) + 2 * np.eye(2)[labels]
    points = operating_points(np.zeros(2), (logits, labels), in_full(said), 1)
    if reason is None:
        assert points["validation"]["offsets"] is not None
    else:
        assert points["validation"]["offsets"] is None and reason in points["validation"]["reason"]
    assert (points["prior"]["tau_chosen"] == "on validation") == (min(images) >= 10)  # which promises no share
