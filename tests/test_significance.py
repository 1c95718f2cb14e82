"""Intervals and tests are those of SciPy or of a calculation by hand, and in simulated studies hold what they say."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from imbalance_cli.studies import significance
from imbalance_cli.studies.significance import (
    LEVEL,
    detectable_difference,
    holm,
    mcnemar,
    mean_interval,
    paired_difference,
    pairs_told_apart,
    resample_recalls,
    shared_difference,
)

STUDIES = pytest.mark.parametrize("studies", [300, pytest.param(5000, marks=pytest.mark.slow)])
P_VALUES = st.lists(st.floats(0, 1), max_size=8)


def within(share: float, expected: float, studies: int) -> bool:
    """Whether a share of simulated studies is what it should be, but for the luck of so many."""
    return abs(share - expected) < 3.5 * math.sqrt(expected * (1 - expected) / studies)


class TestIntervalOfAMean:
    def test_is_students(self):
        values = [0.81, 0.84, 0.79, 0.86, 0.83]
        expected = scipy.stats.t.interval(0.95, 4, loc=np.mean(values), scale=scipy.stats.sem(values))
        assert mean_interval(values) == pytest.approx(expected, abs=1e-12)

    def test_by_hand_for_two_seeds(self):
        low, high = mean_interval([1.0, 3.0])  # the standard error is 1, the quantile of t with 1 degree 12.706
        assert (low, high) == pytest.approx((2 - 12.7062047, 2 + 12.7062047))

    def test_one_seed_has_none(self):
        assert mean_interval([0.8]) is None

    def test_equal_values_leave_no_room(self):
        assert mean_interval([0.5] * 5) == (0.5, 0.5)

    @STUDIES
    def test_of_five_seeds_covers_the_truth_in_95_of_100_studies(self, studies):
        values = np.random.default_rng(1).normal(0.8, 0.02, (studies, 5))
        covered = [low <= 0.8 <= high for low, high in map(mean_interval, values)]
        assert within(np.mean(covered), 0.95, studies)


class TestPairedDifference:
    OURS, THEIRS = [0.85, 0.88, 0.84, 0.90, 0.86], [0.80, 0.81, 0.82, 0.83, 0.79]

    def test_is_scipys_paired_t_test(self):
        found = paired_difference(self.OURS, self.THEIRS)
        expected = scipy.stats.ttest_rel(self.OURS, self.THEIRS)
        assert found.p == pytest.approx(expected.pvalue)
        assert found.interval == pytest.approx(
            (expected.confidence_interval().low, expected.confidence_interval().high)
        )
        assert found.mean == pytest.approx(0.056)
        assert (found.pairs, found.constant) == (5, False)

    def test_by_hand(self):
        found = paired_difference([1.0, 2.0, 6.0], [0.0, 0.0, 3.0])  # differences 1, 2, 3: t = 2 sqrt(3)
        assert found.mean == 2 and found.deviation == pytest.approx(1)
        assert found.p == pytest.approx(0.0741799)
        assert found.interval == pytest.approx((2 - 4.3026527 / math.sqrt(3), 2 + 4.3026527 / math.sqrt(3)))

    def test_what_pairs_share_cancels(self):
        luck = np.array([0.3, -0.2, 0.0, 0.1, 0.4])
        assert paired_difference(self.OURS + luck, self.THEIRS + luck).p == pytest.approx(
            paired_difference(self.OURS, self.THEIRS).p
        )

    def test_the_same_values_do_not_differ(self):
        found = paired_difference(self.OURS, self.OURS)
        assert (found.mean, found.interval, found.p) == (0, (0, 0), 1)

    def test_one_and_the_same_difference_is_judged_by_its_sign(self):
        found = paired_difference([0.9, 0.8, 0.7, 0.6, 0.5], [0.8, 0.7, 0.6, 0.5, 0.4])  # but for rounding 0.1
        assert found.mean == pytest.approx(0.1) and found.constant
        assert found.p == 2 / 2**5 and found.interval is None

    def test_one_pair_tells_nothing(self):
        found = paired_difference([0.9], [0.8])
        assert found.mean == pytest.approx(0.1)
        assert (found.deviation, found.interval, found.p) == (None, None, None)

    @STUDIES
    def test_errs_as_often_as_it_says(self, studies):
        draws = np.random.default_rng(2).normal(size=(studies, 2, 5))
        found = [paired_difference(*study) for study in draws]
        assert within(np.mean([each.p < 0.05 for each in found]), 0.05, studies)
        assert within(np.mean([each.interval[0] <= 0 <= each.interval[1] for each in found]), 0.95, studies)


def test_methods_are_compared_on_the_seeds_that_both_have():
    found = shared_difference({0: 0.9, 1: 0.8, 2: 0.7}, {1: 0.5, 2: 0.6, 3: 0.1})
    assert found.mean == pytest.approx(0.2) and found.pairs == 2
    assert shared_difference({0: 0.9}, {1: 0.8}) is None


class TestHolm:
    def test_by_hand(self):
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_one_test_needs_no_correction(self):
        assert holm([0.03]) == [0.03]

    def test_what_was_not_tested_does_not_count(self):
        assert holm([None, 0.03, None]) == [None, 0.03, None]

    @given(P_VALUES)
    def test_lies_between_no_correction_and_bonferronis_and_keeps_the_order(self, ps):
        corrected = holm(ps)
        for p, held in zip(ps, corrected, strict=True):
            assert p <= held <= min(1, p * len(ps))
        by_p = [held for _, held in sorted(zip(ps, corrected, strict=True))]
        assert by_p == sorted(by_p)


class TestPairsToldApart:
    def test_finds_the_different_one(self):
        luck = np.random.default_rng(3).normal(0, 0.01, (3, 5))
        rows = [dict(enumerate(values)) for values in luck + np.array([[0.9], [0.5], [0.5]])]
        assert pairs_told_apart(rows) == {frozenset((0, 1)), frozenset((0, 2))}

    def test_one_method_has_no_pair(self):
        assert pairs_told_apart([{0: 0.5, 1: 0.6}]) == set()

    @STUDIES
    def test_equal_methods_are_told_apart_in_at_most_5_of_100_studies(self, studies):
        draws = np.random.default_rng(4).normal(size=(studies, 3, 5))
        wrong = [bool(pairs_told_apart([dict(enumerate(row)) for row in study])) for study in draws]
        assert np.mean(wrong) < 0.05 + 2 * math.sqrt(0.05 * 0.95 / studies)


class TestDetectableDifference:
    def test_is_that_of_the_power_tables(self):
        assert detectable_difference(1.0, 5) == pytest.approx(1.6820, abs=2e-3)
        assert detectable_difference(1.0, 10) == pytest.approx(0.9960, abs=2e-3)
        assert detectable_difference(0.02, 20) == pytest.approx(0.02 * 0.6604, abs=2e-4)

    def test_is_found_in_80_of_100_studies(self):
        studies, n, level = 20_000, 5, 0.05 / 6
        shift = detectable_difference(1.0, n, level)
        values = np.random.default_rng(5).normal(shift, 1, (studies, n))
        assert within(np.mean(scipy.stats.ttest_1samp(values, 0, axis=1).pvalue < level), 0.8, studies)

    def test_two_seeds_have_one_too(self):
        assert 10 < detectable_difference(1.0, 2) < 13

    def test_without_spread_everything_is_found(self):
        assert detectable_difference(0.0, 5) == 0


class TestMcNemar:
    def test_by_hand(self):
        first = np.array([True] * 8 + [False] * 1 + [True] * 50)
        second = np.array([False] * 8 + [True] * 1 + [True] * 50)
        found = mcnemar(first, second)
        assert (found.only_first, found.only_second) == (8, 1)
        assert found.p == pytest.approx(2 * (1 + 9) / 2**9)

    def test_models_that_are_right_on_the_same_images_do_not_differ(self):
        right = np.array([True, False, True])
        assert mcnemar(right, right).p == 1

    @STUDIES
    def test_never_errs_more_often_than_it_says(self, studies):
        random = np.random.default_rng(6)
        right = random.random((studies, 2, 60)) < 0.8
        assert np.mean([mcnemar(*pair).p < 0.05 for pair in right]) <= 0.05


class TestBootstrapOverImages:
    LABELS = np.repeat([0, 1], [400, 100])

    def models(self, random, ours=(0.9, 0.6), theirs=(0.9, 0.6)):
        """Which images each of two models decides rightly, with these recalls; they often agree."""
        luck = random.random(len(self.LABELS))
        own = np.where(random.random((2, len(luck))) < 0.5, luck, random.random((2, len(luck))))
        return own[0] < np.array(ours)[self.LABELS], own[1] < np.array(theirs)[self.LABELS]

    def test_differences_are_those_of_the_recalls(self):
        first, second = self.models(np.random.default_rng(7), ours=(0.8, 0.8))
        found = resample_recalls(self.LABELS, first, second, 2, 0)
        recalls = [first[self.LABELS == label].mean() - second[self.LABELS == label].mean() for label in (0, 1)]
        assert found.observed == pytest.approx(recalls)
        assert found.balanced().difference == pytest.approx(np.mean(recalls))
        assert found.of_class(1).difference == pytest.approx(recalls[1])

    def test_draws_are_those_of_resampled_images(self):
        random = np.random.default_rng(8)
        first, second = self.models(random, ours=(0.95, 0.7))
        drawn = []
        for _ in range(2000):
            chosen = np.concatenate(
                [random.choice(np.flatnonzero(self.LABELS == label), n) for label, n in ((0, 400), (1, 100))]
            )
            right = first[chosen].astype(float) - second[chosen]
            drawn.append(np.mean([right[:400].mean(), right[400:].mean()]))
        found = resample_recalls(self.LABELS, first, second, 2, 0).balanced()
        assert found.interval == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.008)

    @STUDIES
    def test_covers_the_truth_in_95_of_100_tests_and_errs_in_5(self, studies, monkeypatch):
        monkeypatch.setattr(significance, "DRAWS", 1000)
        random = np.random.default_rng(9)
        found = [resample_recalls(self.LABELS, *self.models(random), 2, study).balanced() for study in range(studies)]
        assert within(np.mean([each.interval[0] <= 0 <= each.interval[1] for each in found]), 0.95, studies)
        assert within(np.mean([each.p < LEVEL for each in found]), 0.05, studies)

    def test_the_p_value_agrees_with_the_interval(self):
        random = np.random.default_rng(10)
        for study in range(40):
            found = resample_recalls(self.LABELS, *self.models(random, ours=(0.92, 0.68)), 2, study).balanced()
            if not 0.04 < found.p < 0.06:
                assert (found.p < 0.05) == (not found.interval[0] <= 0 <= found.interval[1])

    def test_is_the_same_every_time(self):
        models = self.models(np.random.default_rng(11))
        first, again = (resample_recalls(self.LABELS, *models, 2, "key").balanced() for _ in range(2))
        assert first == again

    def test_models_that_are_right_on_the_same_images_do_not_differ(self):
        first, _ = self.models(np.random.default_rng(12))
        found = resample_recalls(self.LABELS, first, first, 2, 0).balanced()
        assert (found.difference, found.interval, found.p) == (0, (0, 0), 1)

    def test_a_class_without_images_is_left_out(self):
        first, second = self.models(np.random.default_rng(13), ours=(0.99, 0.6))
        two = resample_recalls(self.LABELS, first, second, 2, 0).balanced()
        three = resample_recalls(self.LABELS, first, second, 3, 0)
        assert math.isnan(three.observed[2])
        assert three.balanced() == two
