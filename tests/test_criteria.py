"""Criteria for the threshold: scikit-learn's scores of every decision, and the best cut that there is."""

import warnings

import numpy as np
import pytest
import sklearn.metrics
from command_line import imbalance
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gmean

from imbalance_cli.config import Experiment, parse_assignment, resolve
from imbalance_cli.errors import SettingError
from imbalance_cli.methods.criteria import CRITERIA, Decisions, lacking, require_fit
from imbalance_cli.methods.posthoc import best_offsets, decide

COARSE = st.integers(-6, 6).map(lambda value: value / 2)  # so that ties are frequent


@st.composite
def scored(draw, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of up to 16 images, at least one of each class."""
    labels = [*range(classes), *draw(st.lists(st.integers(0, classes - 1), max_size=16 - classes))]
    return np.array([[draw(COARSE) for _ in range(classes)] for _ in labels]), np.array(labels)


def recalls(labels, predictions, classes):
    return [float((predictions[labels == label] == label).mean()) for label in range(classes)]


def f_beta(labels, predictions, classes, rarest, beta):
    kind = {"labels": [rarest]} if classes == 2 else {"labels": range(classes)}
    return sklearn.metrics.fbeta_score(labels, predictions, beta=beta, average="macro", zero_division=0, **kind)


def mcc(labels, predictions, classes, rarest):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, where the labels hold one class
        return sklearn.metrics.matthews_corrcoef(labels, predictions)


def recall_at_least(labels, predictions, classes, rarest, recall):
    found = recalls(labels, predictions, 2)
    return found[1 - rarest] if found[rarest] >= recall else -1.0


def fpr_at_most(labels, predictions, classes, rarest, fpr):
    found = recalls(labels, predictions, 2)
    return found[rarest] if 1 - found[1 - rarest] <= fpr + 1e-12 else -1.0


def cost(labels, predictions, classes, rarest, costs):
    table = np.array(costs)
    return -sum(table[label, given] for label, given in zip(labels, predictions, strict=True)) / len(labels)


# What each criterion means, an image at a time: (labels, predictions, classes, rarest, options) -> score.
REFERENCES = {
    "balanced_accuracy": lambda labels, given, classes, _: np.mean(recalls(labels, given, classes)),
    "g_mean": lambda labels, given, classes, _: gmean(recalls(labels, given, classes)),
    "mcc": mcc,
    "f_beta": f_beta,
    "recall_at_least": recall_at_least,
    "fpr_at_most": fpr_at_most,
    "cost": cost,
}
OF_TWO = [
    {"name": "balanced_accuracy"},
    {"name": "g_mean"},
    {"name": "mcc"},
    {"name": "f_beta", "beta": 1.0},
    {"name": "f_beta", "beta": 2.0},
    {"name": "f_beta", "beta": 0.3},
    {"name": "cost", "costs": [[0.0, 1.0], [10.0, 0.0]]},
    {"name": "recall_at_least", "recall": 0.6},
    {"name": "recall_at_least", "recall": 1.0},
    {"name": "fpr_at_most", "fpr": 0.3},
    {"name": "fpr_at_most", "fpr": 0.0},
]
OF_MORE = [
    {"name": "balanced_accuracy"},
    {"name": "g_mean"},
    {"name": "mcc"},
    {"name": "f_beta", "beta": 1.0},
    {"name": "f_beta", "beta": 2.0},
    {"name": "cost", "costs": [[0.0, 1.0, 2.0], [10.0, 0.0, 5.0], [3.0, 4.0, 0.0]]},
]


def reference(choice, labels, predictions, classes, rarest=1) -> float:
    options = {name: value for name, value in choice.items() if name != "name"}
    return float(REFERENCES[choice["name"]](labels, predictions, classes, rarest, **options))


def best(choice, logits, labels, rarest=1) -> np.ndarray:
    """What is decided by the offsets with the highest of `choice`."""
    return decide(logits, best_offsets(logits, labels, CRITERIA.bind(choice), rarest))


def test_every_criterion_is_tested() -> None:
    assert {choice["name"] for choice in OF_TWO} == set(REFERENCES) == set(CRITERIA.names())


class TestOfTwoClasses:
    @pytest.mark.parametrize("rarest", [0, 1])
    @pytest.mark.parametrize("choice", OF_TWO, ids=str)
    @given(data=st.data())
    @settings(deadline=None, max_examples=25)
    def test_no_threshold_is_better(self, choice, rarest, data):
        logits, labels = data.draw(scored(2))
        needed = logits[:, 0] - logits[:, 1]  # the offset from which on an image is given class 1
        cuts = [needed.min() - 1, *needed]
        possible = [reference(choice, labels, (needed <= cut).astype(int), 2, rarest) for cut in cuts]
        chosen = reference(choice, labels, best(choice, logits, labels, rarest), 2, rarest)
        assert chosen == pytest.approx(max(possible), abs=1e-12)

    # The classes of ten images in the order in which a rising offset gives them to class 1.
    order = np.array([1, 0, 1, 1, 0, 0, 0, 1, 0, 0])

    @pytest.mark.parametrize(
        ("choice", "given"),
        [
            ({"name": "recall_at_least", "recall": 0.75}, 4),  # three of four, at one false alarm
            ({"name": "recall_at_least", "recall": 0.76}, 8),  # so all four
            ({"name": "recall_at_least", "recall": 0.5}, 4),  # three cost no more false alarms than two
            ({"name": "recall_at_least", "recall": 0.0}, 1),
            ({"name": "fpr_at_most", "fpr": 0.0}, 1),
            ({"name": "fpr_at_most", "fpr": 1 / 6}, 4),
            ({"name": "fpr_at_most", "fpr": 0.6}, 4),  # three false alarms find no more than one
            ({"name": "fpr_at_most", "fpr": 4 / 6}, 8),
            ({"name": "fpr_at_most", "fpr": 1.0}, 8),
            ({"name": "f_beta", "beta": 1.0}, 4),  # 2 x 3 / (4 + 4)
            ({"name": "f_beta", "beta": 0.1}, 1),  # precision decides
            ({"name": "f_beta", "beta": 10.0}, 8),  # recall decides
            ({"name": "cost", "costs": [1.0, 0.1]}, 1),
            ({"name": "cost", "costs": [1.0, 1.0]}, 4),
            ({"name": "cost", "costs": [1.0, 5.0]}, 8),
            ({"name": "cost", "costs": [1.0, 100.0]}, 8),
        ],
        ids=str,
    )
    def test_cuts_where_one_would_by_hand(self, choice, given):
        logits = np.stack([np.arange(10.0), np.zeros(10)], axis=1)
        assert best(choice, logits, self.order).sum() == given

    @pytest.mark.parametrize("fpr", [0.01, 0.05])
    def test_a_rate_that_is_reached_exactly_is_allowed(self, fpr):
        labels = np.repeat([0, 1], 100)
        logits = np.stack([np.zeros(200), np.concatenate([np.arange(100.0), np.full(100, 99.5 - 100 * fpr)])], axis=1)
        predictions = best({"name": "fpr_at_most", "fpr": fpr}, logits, labels)
        assert predictions[labels == 0].mean() == fpr
        assert predictions[labels == 1].all()

    @pytest.mark.parametrize("choice", OF_TWO, ids=str)
    def test_of_many_images_there_are_no_better_thresholds_either(self, choice):
        random = np.random.default_rng(0)
        labels = np.repeat([0, 1], [1900, 100])
        logits = random.normal(size=(2000, 2)) + np.eye(2)[labels]
        chosen = reference(choice, labels, best(choice, logits, labels), 2)
        for offset in np.linspace(-4, 4, 20):
            assert chosen >= reference(choice, labels, decide(logits, np.array([0, offset])), 2) - 1e-12


class TestOfMoreClasses:
    @pytest.mark.parametrize("choice", OF_MORE, ids=str)
    @given(data=st.data())
    @settings(deadline=None, max_examples=25)
    def test_never_worse_than_argmax(self, choice, data):
        logits, labels = data.draw(scored(3))
        argmax = reference(choice, labels, decide(logits, np.zeros(3)), 3)
        assert reference(choice, labels, best(choice, logits, labels), 3) >= argmax - 1e-12

    @pytest.mark.parametrize("choice", OF_MORE, ids=str)
    def test_better_than_argmax_of_a_shifted_model(self, choice):
        random = np.random.default_rng(0)
        labels = np.repeat([0, 1, 2], [300, 60, 40])
        logits = 4 * np.eye(3)[labels] + random.normal(size=(400, 3)) + [6.0, 0, -3]
        argmax = reference(choice, labels, decide(logits, np.zeros(3)), 3)
        assert reference(choice, labels, best(choice, logits, labels), 3) > argmax + 0.1

    def test_the_g_mean_finds_its_way_from_two_classes_that_are_never_found(self):
        random = np.random.default_rng(1)
        labels = np.repeat([0, 1, 2, 3], 25)
        logits = 3 * np.eye(4)[labels] + random.normal(size=(100, 4)) + [20.0, 0, 0, 10]
        assert recalls(labels, decide(logits, np.zeros(4)), 4) == [1, 0, 0, 0]
        assert min(recalls(labels, best({"name": "g_mean"}, logits, labels), 4)) > 0.5

    @pytest.mark.parametrize("name", ["recall_at_least", "fpr_at_most"])
    def test_a_constraint_on_the_rarest_class_needs_two(self, name):
        require_fit({"name": name}, 2)
        with pytest.raises(SettingError, match=f"{name} needs two classes, a rarest and another; here are 3"):
            require_fit({"name": name}, 3)


class TestDecisions:
    @given(data=st.data())
    @settings(deadline=None, max_examples=50)
    def test_counts_are_those_of_each_decision(self, data):
        classes = data.draw(st.integers(2, 4))
        pairs = st.tuples(st.integers(0, classes - 1), st.integers(1, classes - 1))
        labels, before = np.array(data.draw(st.lists(pairs, min_size=1, max_size=10))).T
        decisions = Decisions(labels, before, 0, classes)
        values = np.random.default_rng(0).normal(size=(classes, classes))
        for taken in range(len(labels) + 1):
            given = np.where(np.arange(len(labels)) < taken, 0, before)
            right = given == labels
            assert decisions.predicted[taken].tolist() == np.bincount(given, minlength=classes).tolist()
            assert decisions.hits[taken].tolist() == np.bincount(given[right], minlength=classes).tolist()
            assert decisions.totals(values)[taken] == pytest.approx(values[labels, given].sum())


class TestCosts:
    def test_one_per_class_is_what_a_mistake_on_it_costs(self):
        logits = np.random.default_rng(0).normal(size=(50, 3))
        labels = np.arange(50) % 3
        table = [[0.0, 1.0, 1.0], [4.0, 0.0, 4.0], [9.0, 9.0, 0.0]]
        listed = best({"name": "cost", "costs": [1.0, 4.0, 9.0]}, logits, labels)
        assert listed.tolist() == best({"name": "cost", "costs": table}, logits, labels).tolist()

    @pytest.mark.parametrize(
        ("costs", "words"),
        [
            (None, "costs must be given: one cost per class"),
            ([1.0, 2.0, 3.0], "costs has 3 entries for 2 classes; give one per class"),
            ([[0.0, 1.0], [1.0]], "costs: row 1 has 1 costs for 2 classes; give 2"),
            ([1.0, -2.0], "must lie between 0 and 1e9"),
            ([[1.0, 1.0], [1.0, 0.0]], "a right prediction must cost 0"),
        ],
    )
    def test_what_does_not_fit_the_classes_is_refused(self, costs, words):
        with pytest.raises(SettingError, match=words):
            require_fit({"name": "cost", "costs": costs}, 2)


class TestTooFewImages:
    @pytest.mark.parametrize(
        ("choice", "supports", "words"),
        [
            ({"name": "recall_at_least", "recall": 1.0}, [5000, 5000], "recall>=1 allows no mistake at all"),
            ({"name": "recall_at_least", "recall": 1.0}, [50, 5], "recall>=1 allows no mistake at all"),
            ({"name": "fpr_at_most", "fpr": 0.0}, [5000, 5000], "fpr<=0 allows no mistake at all"),
            ({"name": "recall_at_least", "recall": 0.95}, [50, 19], "recall>=0.95 needs 20 validation images"),
            ({"name": "recall_at_least", "recall": 0.5}, [50, 9], "a threshold needs 10 validation images"),
            ({"name": "mcc"}, [50, 9], "a threshold needs 10 validation images"),
        ],
    )
    def test_are_told_with_the_reason(self, choice, supports, words):
        assert lacking(choice, np.array(supports), 1).startswith(words)

    def test_are_none_where_there_are_enough(self):
        assert lacking({"name": "recall_at_least", "recall": 0.95}, np.array([50, 20]), 1) is None
        assert lacking({"name": "mcc"}, np.array([10, 10]), 1) is None

    @pytest.mark.parametrize(
        ("said", "line"),
        [
            ("recall>=0.95", "recall>=0.95 needs 20 validation images of the rarest class to mean less than all of"),
            ("recall>=1", "recall>=1 allows no mistake at all, which no number of validation images can promise; "),
            ("recall>=0.8", None),
            ("mcc", None),
        ],
    )
    def test_are_told_before_training_of_what_promises_a_share(self, said, line, image_folder):
        flags = ["-d", image_folder, "--data-dir", image_folder / "cache", "--image-size", 16, "--dry-run"]
        told = imbalance("train", *flags, "--set", "validation=0.5", "threshold_by=" + said).stderr
        assert ("warning: threshold_by: " in told) == (line is not None)
        assert line is None or f"warning: threshold_by: {line}" in " ".join(told.split())

    def test_of_other_criteria_are_not_told_before_training(self, image_folder):
        flags = ["-d", image_folder, "--data-dir", image_folder / "cache", "--image-size", 16, "--dry-run"]
        assert "warning" not in imbalance("train", *flags, "--epochs", 30).stderr  # five rare ones are held out


class TestSetting:
    def said(self, *texts: str) -> dict[str, object]:
        return resolve(None, [parse_assignment(text) for text in texts])[0].threshold_by

    def test_is_balanced_accuracy_unless_said_otherwise(self):
        assert Experiment().threshold_by == {"name": "balanced_accuracy"}

    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("mcc", {"name": "mcc"}),
            ("recall>=0.95", {"name": "recall_at_least", "recall": 0.95}),
            ("recall >= .9", {"name": "recall_at_least", "recall": 0.9}),
            ("fpr<=0.01", {"name": "fpr_at_most", "fpr": 0.01}),
            ("f1", {"name": "f_beta", "beta": 1.0}),
            ("f0.5", {"name": "f_beta", "beta": 0.5}),
            ("{name: cost, costs: [1, 20]}", {"name": "cost", "costs": [1.0, 20.0]}),
        ],
    )
    def test_has_short_forms(self, text, meant):
        assert self.said(f"threshold_by={text}") == meant

    def test_an_option_can_be_set_alone(self):
        assert self.said("threshold_by=f_beta", "threshold_by.beta=2") == {"name": "f_beta", "beta": 2.0}

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("auroc", "auroc looks at the order of the images alone, so every threshold has the same"),
            ("recall>=1.5", "threshold_by.recall must be at most 1; got 'recall>=1.5'"),
            ("f0", "threshold_by.beta must be more than 0; got 'f0'"),
            ("recall>0.9", "unknown threshold_by 'recall>0.9'"),
            ("g_maen", "unknown threshold_by 'g_maen'; did you mean 'g_mean'?"),
        ],
    )
    def test_mistakes_are_told_with_their_cure(self, text, words):
        with pytest.raises(SettingError) as caught:
            self.said(f"threshold_by={text}")
        assert words in str(caught.value)
