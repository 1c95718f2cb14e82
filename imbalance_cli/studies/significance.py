"""How sure a difference is: intervals and tests over seeds, and over the test images of two fixed models.

Over seeds, an interval covers what a seed changes (the subset drawn, the initial weights, the order of the images), on
the same test images. Over test images, it covers which images were drawn for the test, for two models as they are. One
does not stand for the other: the first is about methods, the second about models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from imbalance_cli.lazy import lazy_import
from imbalance_cli.randomness import keyed_numpy

if TYPE_CHECKING:
    import numpy as np
    import scipy.optimize as optimize
    import scipy.stats as stats
    from numpy.typing import NDArray

    from imbalance_cli.metrics import Floats, Ints
else:
    np = lazy_import("numpy")
    optimize = lazy_import("scipy.optimize")
    stats = lazy_import("scipy.stats")

CONFIDENCE = 0.95
LEVEL = 0.05  # of a test: how often it may find what is not there
POWER = 0.8  # how often a difference is found that counts as detectable (Cohen, 1988)
GRID = 2000  # points of a numerical integral: more change the fourth digit
DRAWS = 10_000  # of a bootstrap: the ends of its interval then lie within about 0.3 % of the right share

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """The mean of `ours - theirs` over pairs; what cannot be known from so few pairs is None."""

    mean: float
    deviation: float | None
    interval: Interval | None
    p: float | None
    pairs: int
    constant: bool = False  # the same in every pair, so that its spread says nothing


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's 95 % interval of the mean over seeds of `values`; None for fewer than two.

    It covers what a seed changes, on the same test images.
    """
    n = len(values)
    if n < 2:
        return None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(n)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    return mean - reach, mean + reach


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """The mean difference of two methods over seeds, its 95 % interval and the p-value of a paired t-test.

    The pairs share by seed the subset, the initial weights where the models are alike, and the order of the images;
    what these do to both cancels. A signed-rank test assumes less, but with five seeds its p-value cannot be
    below 0.0625, whatever the difference. The interval and p cover what a seed changes, on the same test images.

    Equal in every pair: p is 1. The same difference, not 0, in every pair: the t-test would divide by zero, so there
    is no interval, and p is what chance gives signs that all agree, 2 / 2^n.
    """
    differences = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return Difference(mean, None, None, None, n)
    rounding = 1e-12 * max(1.0, float(np.abs([ours, theirs]).max()))  # of 0.9 - 0.8 and 0.8 - 0.7, say
    if np.ptp(differences) <= rounding:
        if abs(mean) <= rounding:
            return Difference(0.0, 0.0, (0.0, 0.0), 1.0, n, constant=True)
        return Difference(mean, 0.0, None, 2.0 ** (1 - n), n, constant=True)
    tested = stats.ttest_rel(ours, theirs)
    interval = tested.confidence_interval(CONFIDENCE)
    deviation = float(differences.std(ddof=1))
    return Difference(mean, deviation, (float(interval.low), float(interval.high)), float(tested.pvalue), n)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """The p-values of several tests, each corrected for there being several (Holm, 1979); None stays None.

    Calling those below 0.05 different errs, in a whole family of tests, in at most 5 % of families, whatever their
    dependence.
    """
    known = sorted((p, index) for index, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    highest = 0.0
    for place, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - place)))
        corrected[index] = highest
    return corrected


def pairs_told_apart(rows: Sequence[Mapping[int, float]]) -> set[frozenset[int]]:
    """Which pairs of methods differ; each of `rows` has the values of a method by seed.

    Paired t-tests over the seeds that both have, Holm-corrected for all pairs. Testing the others against the best
    alone would count too few: which is the best was found from the same values, so that with ten equal methods and
    five seeds one of them would be called worse in 11 % of studies.
    """
    pairs = list(combinations(range(len(rows)), 2))
    differences = [shared_difference(rows[one], rows[other]) for one, other in pairs]
    ps = [None if difference is None else difference.p for difference in differences]
    return {frozenset(pair) for pair, p in zip(pairs, holm(ps), strict=True) if p is not None and p < LEVEL}


def shared_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """The paired difference of two methods' values by seed, over the seeds that both have; None if there are none."""
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    return paired_difference([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])


def detectable_difference(deviation: float, n: int, level: float = LEVEL) -> float:
    """The mean difference that a paired t-test on `n` pairs finds in 80 % of studies.

    deviation: of the differences; level: what p must be below, for a test of several the first level of Holm's
    (Cohen, 1988).
    """
    if deviation == 0:
        return 0.0
    critical = float(stats.t.ppf(1 - level / 2, n - 1))
    # The estimates of the standard deviation that n pairs give, over its true value: SciPy's noncentral t distribution
    # has no value for two pairs.
    shares = (np.arange(GRID) + 0.5) / GRID
    thresholds = critical * np.sqrt(stats.chi2.ppf(shares, n - 1) / (n - 1))

    def shortfall(shift: float) -> float:
        found = stats.norm.sf(thresholds - shift) + stats.norm.cdf(-thresholds - shift)
        return POWER - float(found.mean())

    shift = float(optimize.brentq(shortfall, 0.0, float(thresholds.max()) + 10))
    return shift * deviation / math.sqrt(n)


@dataclass(frozen=True)
class McNemar:
    """Images that only one of two models decides rightly, and the p-value of there being so unequal numbers."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """The exact test of whether two models are right equally often; which images each decides rightly, bool [n].

    (McNemar, 1947.) It is about these two models on images like these, and never errs more often than it says.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    unequal = only_first + only_second
    return McNemar(only_first, only_second, float(stats.binomtest(only_first, unequal).pvalue) if unequal else 1.0)


@dataclass(frozen=True)
class Resampled:
    """A difference of two models on the same test images, with its bootstrap interval and p-value."""

    difference: float
    interval: Interval
    p: float


@dataclass(frozen=True)
class RecallDifferences:
    """First minus second recall of every class, [classes], and the same in every bootstrap draw, [draws, classes].

    A class without test images has NaN.
    """

    observed: Floats
    drawn: Floats

    def of_class(self, index: int) -> Resampled:
        return self.weighted(np.eye(len(self.observed))[index])

    def balanced(self) -> Resampled:
        """Of the balanced accuracy: the mean over the classes that occur."""
        return self.weighted(~np.isnan(self.observed) / 1.0)

    def weighted(self, weights: Floats) -> Resampled:
        """Of the mean recall with these weights of the classes, [classes]."""
        used = weights > 0
        shares = weights[used] / weights[used].sum()
        observed, drawn = float(self.observed[used] @ shares), self.drawn[:, used] @ shares
        low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        tie = 1e-12  # rounding of a sum that is 0
        beyond = min(int((drawn <= tie).sum()), int((drawn >= -tie).sum()))
        return Resampled(observed, (float(low), float(high)), min(1.0, 2 * (beyond + 1) / (len(drawn) + 1)))


def resample_recalls(
    labels: Ints, first: NDArray[np.bool_], second: NDArray[np.bool_], classes: int, *key: int | str
) -> RecallDifferences:
    """The bootstrap over test images, within each class, of the recalls of two fixed models (Efron, 1979).

    labels int [n]; first, second: which images each model decides rightly, bool [n]; key: of the random draws. The
    images are paired, so only those that one model alone decides rightly matter; how many of them a draw holds is
    multinomial. The percentile interval covers which test images were drawn, not what another seed would have
    trained; from a few images of a class it is too narrow. p is twice the share of draws beyond 0.
    """
    supports = np.bincount(labels, minlength=classes)
    wins = np.bincount(labels[first & ~second], minlength=classes)
    losses = np.bincount(labels[second & ~first], minlength=classes)
    observed, drawn = np.full(classes, np.nan), np.full((DRAWS, classes), np.nan)
    random = keyed_numpy("bootstrap", *key)
    for index in np.flatnonzero(supports):
        n = int(supports[index])
        parts = np.array([wins[index], losses[index], n - wins[index] - losses[index]]) / n
        counts = random.multinomial(n, parts, size=DRAWS)
        observed[index] = (wins[index] - losses[index]) / n
        drawn[:, index] = (counts[:, 0] - counts[:, 1]) / n
    return RecallDifferences(observed, drawn)
