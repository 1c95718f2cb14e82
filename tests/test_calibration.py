"""The temperature that makes probabilities on new images as sure as they may be, whatever prior the logits hold."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from imbalance_cli.methods.calibration import best_temperature, calibrated
from imbalance_cli.metrics import calibration_error


def drawn(log_prior: np.ndarray, n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What n images say of their classes, the log likelihoods of each, and their classes, drawn from the prior."""
    random = np.random.default_rng(seed)
    labels = random.choice(len(log_prior), n, p=softmax(log_prior))
    centres = 1.5 * np.eye(len(log_prior))
    features = centres[labels] + random.normal(size=(n, len(log_prior)))
    return -((features[:, None] - centres) ** 2).sum(2) / 2, labels


PRIOR = np.log([0.9, 0.08, 0.02])
NONE = np.zeros(3)


class TestBestTemperature:
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_has_the_least_log_loss(self, seed):
        said, labels = drawn(PRIOR, 300, seed)
        reference = np.array([0.5, 0.1, -0.6])
        shares = np.bincount(labels) / 300

        def log_loss(temperature):
            logits = (said - reference) / temperature + np.log(shares)
            return -log_softmax(logits, axis=1)[np.arange(300), labels].mean()

        found, _ = best_temperature(said, labels, reference)
        search = minimize_scalar(log_loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9})
        assert found == pytest.approx(search.x, rel=1e-5)
        assert log_loss(found) <= search.fun + 1e-14

    def test_of_two_images_is_found_by_hand(self):
        """One in three images at log-odds 1 for the wrong class: sure to 2/3, so the temperature is 1 / log 2."""
        logits = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
        labels = np.array([0, 0, 1, 1, 1, 0])
        assert best_temperature(logits, labels, np.zeros(2))[0] == pytest.approx(1 / np.log(2))

    @pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
    def test_recovers_how_much_too_sure_a_model_is(self, scale):
        said, labels = drawn(PRIOR)
        assert best_temperature(scale * said, labels, NONE)[0] == pytest.approx(scale, rel=0.08)

    def test_is_the_same_whether_the_logits_hold_the_prior_or_not(self):
        """As after cross-entropy, and as after logit adjustment."""
        said, labels = drawn(PRIOR)
        with_prior, _ = best_temperature(3 * said + PRIOR, labels, PRIOR)
        assert with_prior == pytest.approx(best_temperature(3 * said, labels, NONE)[0])

    @pytest.mark.parametrize(
        ("scale", "why"),
        [(1.0, "is right"), (1e6, "is right"), (-1.0, "says nothing"), (-1e6, "says nothing"), (0.0, "says nothing")],
    )
    def test_there_is_none_for_logits_that_are_right_about_all_images_or_say_nothing(self, scale, why):
        labels = np.array([0, 1, 2] * 4)
        temperature, reason = best_temperature(scale * np.eye(3)[labels], labels, NONE)
        assert temperature is None and why in reason

    def test_needs_images_of_every_class(self):
        temperature, reason = best_temperature(np.eye(3)[:2], np.array([0, 1]), NONE)
        assert temperature is None and "a validation image of every class" in reason


class TestCalibrated:
    def test_makes_the_probabilities_true(self):
        said, labels = drawn(PRIOR)
        new, new_labels = drawn(PRIOR, seed=1)
        reference = np.array([1.0, 0.0, -1.0])
        temperature, _ = best_temperature(4 * said + reference, labels, reference)
        errors = []
        for logits in (4 * new + reference, calibrated(4 * new + reference, reference, temperature, np.exp(PRIOR))):
            chances = softmax(logits, axis=1)
            errors.append(calibration_error(chances.max(1), chances.argmax(1) == new_labels))
        assert errors[0] > 0.1
        assert errors[1] < 0.02

    def test_carries_over_to_other_class_shares(self):
        said, labels = drawn(PRIOR)
        balanced, balanced_labels = drawn(NONE, seed=1)
        temperature, _ = best_temperature(4 * said + PRIOR, labels, PRIOR)
        chances = softmax(calibrated(4 * balanced + PRIOR, PRIOR, temperature, np.full(3, 1 / 3)), axis=1)
        assert calibration_error(chances.max(1), chances.argmax(1) == balanced_labels) < 0.03

    def test_of_logits_that_hold_the_prior_at_temperature_1_changes_nothing(self):
        logits = np.random.default_rng(0).normal(size=(5, 3))
        assert calibrated(logits, PRIOR, 1.0, np.exp(PRIOR)) == pytest.approx(logits)

    def test_a_class_that_does_not_occur_is_never_spoken_for(self):
        chances = softmax(calibrated(np.zeros((1, 3)), NONE, 1.0, np.array([0.5, 0.5, 0])), axis=1)
        assert chances.tolist() == [[0.5, 0.5, 0.0]]
