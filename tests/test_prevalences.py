"""What a decision is worth where the classes occur in other shares, and how to decide for such shares."""

import json
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from command_line import complaint, imbalance
from small_data import complete, make_image_folder, new_run, settings_for

from imbalance_cli import runs
from imbalance_cli.errors import SettingError
from imbalance_cli.prevalence import at_prevalences, target_shares

LABELS = np.repeat([0, 1], [40, 20])
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(60, 2)).round(1) + np.eye(2)[LABELS]
FOUND = LOGITS.argmax(1) == 1


class TestAtPrevalences:
    rows = at_prevalences(LABELS, LOGITS, FOUND, 1)

    def test_are_1_10_100_and_1000_to_1(self):
        assert [row["others_to_one"] for row in self.rows] == [1, 10, 100, 1000]
        assert [row["prevalence"] for row in self.rows] == pytest.approx([1 / 2, 1 / 11, 1 / 101, 1 / 1001])

    def test_follow_from_recall_and_specificity(self):
        recall, specificity = FOUND[LABELS == 1].mean(), 1 - FOUND[LABELS == 0].mean()
        assert 0.5 < recall < 1
        assert 0.5 < specificity < 1
        for row in self.rows:
            share = row["prevalence"]
            right, wrong = share * recall, (1 - share) * (1 - specificity)
            assert row["recall"] == pytest.approx(recall)
            assert row["precision"] == pytest.approx(right / (right + wrong))
            assert row["f1"] == pytest.approx(2 * right / (right + wrong + share))
            assert row["accuracy"] == pytest.approx(right + (1 - share) * specificity)
            assert row["balanced_accuracy"] == pytest.approx((recall + specificity) / 2)

    @pytest.mark.parametrize("ratio", [1, 10, 100])
    def test_are_those_of_images_of_that_prevalence(self, ratio):
        """Here 40 to 20: every common image as often as it takes, or every rare one."""
        times = np.where(LABELS == 0, max(ratio // 2, 1), 2 if ratio == 1 else 1)
        labels, scores, found = (np.repeat(each, times) for each in (LABELS, LOGITS[:, 1] - LOGITS[:, 0], FOUND))
        assert (labels == 0).sum() == ratio * (labels == 1).sum()
        row = next(row for row in self.rows if row["others_to_one"] == ratio)
        assert row["average_precision"] == pytest.approx(sklearn.metrics.average_precision_score(labels, scores))
        assert row["precision"] == pytest.approx(sklearn.metrics.precision_score(labels, found))
        assert row["f1"] == pytest.approx(sklearn.metrics.f1_score(labels, found))
        assert row["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(labels, found))

    def test_by_hand(self):
        """Half of the class found beside a quarter of the other, which is ranked between the two halves."""
        labels = np.array([1, 1, 0, 0, 0, 0])
        logits = np.stack([np.zeros(6), [3.0, 1, 2, 0, 0, 0]], axis=1)
        row = at_prevalences(labels, logits, np.array([True, False, True, False, False, False]), 1)[1]
        assert row["precision"] == pytest.approx(0.5 / (0.5 + 10 * 0.25))
        assert row["accuracy"] == pytest.approx((0.5 + 10 * 0.75) / 11)
        assert row["average_precision"] == pytest.approx(0.5 * 1 + 0.5 * 1 / (1 + 10 * 0.25))

    def test_of_more_classes_the_minority_stands_against_the_rest(self):
        labels = np.array([0, 0, 1, 2, 2, 2])
        logits = np.array([[2.0, 0, 0], [0, 2, 0], [0, 2, 0], [0, 0, 2], [0, 0, 2], [0, 2, 0]])
        row = at_prevalences(labels, logits, logits.argmax(1) == 1, 1)[1]
        assert row["recall"] == 1
        assert row["precision"] == pytest.approx(1 / (1 + 10 * 2 / 5))

    def test_where_nothing_is_found_there_is_no_precision(self):
        row = at_prevalences(LABELS, LOGITS, np.zeros(60, bool), 1)[0]
        assert row["precision"] is None
        assert row["f1"] == row["recall"] == 0

    @pytest.mark.parametrize("minority", [0, 1])
    def test_need_images_of_both_sides(self, minority):
        assert at_prevalences(np.zeros(60, int), LOGITS, FOUND, minority) is None


class TestTargetShares:
    def shares(self, *said: str, names=("common", "rare"), counts=(90, 10), minority=1) -> list[float]:
        return target_shares(said, names, counts, minority).tolist()

    @pytest.mark.parametrize(
        ("said", "meant"),
        [
            (["uniform"], [0.5, 0.5]),
            (["train"], [0.9, 0.1]),
            (["0.01"], [0.99, 0.01]),
            (["rare=1", "common=3"], [0.75, 0.25]),
            (["common=0.75", "rare=0.25"], [0.75, 0.25]),
        ],
    )
    def test_are_said_in_words_or_numbers(self, said, meant):
        assert self.shares(*said) == pytest.approx(meant)

    def test_a_single_number_is_the_share_of_the_minority_wherever_it_is_listed(self):
        assert self.shares("0.2", minority=0) == pytest.approx([0.2, 0.8])

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            (["1"], "a share of the minority between 0 and 1, or CLASS=SHARE for every class; got 1"),
            (["nan"], "a share of the minority between 0 and 1"),
            (["equal"], "must be uniform, train, .*; got equal"),
            (["rar=1", "common=1"], "unknown class 'rar'; did you mean 'rare'"),
            (["rare=1"], "every class needs a share; missing: common"),
            (["rare=1", "rare=2"], "class 'rare' is given twice"),
            (["rare=0", "common=1"], "--prior rare=0: a share must be more than 0; got 0"),
            (["rare=inf", "common=1"], "a share must be more than 0"),
            (["0.1", "0.9"], "--prior 0.1: expected CLASS=SHARE"),
        ],
    )
    def test_mistakes_are_told_with_their_cure(self, said, words):
        with pytest.raises(SettingError, match=words):
            self.shares(*said)

    def test_a_single_number_needs_two_classes(self):
        with pytest.raises(SettingError, match="needs two classes, this model has 3; give CLASS=SHARE"):
            self.shares("0.1", names=("a", "b", "c"), counts=(1, 1, 1))

    def test_the_training_shares_need_images_of_every_class(self):
        with pytest.raises(SettingError, match="class rare has no training images"):
            self.shares("train", counts=(5, 0))


def evaluated(run: Path, *words: object) -> dict[str, object]:
    return json.loads(imbalance("evaluate", run, "--json", "-q", *words).stdout)


class TestEvaluate:
    def test_a_prior_moves_the_decision_of_that_name_by_its_log_times_the_temperature(self, finished_run):
        stored = evaluated(finished_run)["operating_points"]["prior"]["offsets"]
        value = evaluated(finished_run, "--prior", "common=99", "rare=1")
        point = value["operating_points"]["prior"]
        assert value["decision"] == "prior"
        assert value["balanced_accuracy"] == point["balanced_accuracy"]
        assert point["target"] == pytest.approx({"common": 0.99, "rare": 0.01})
        assert np.diff(point["offsets"]) == pytest.approx(np.diff(stored) - point["temperature"] * np.log(99))
        assert point["temperature"] == value["temperature"]

    def test_equal_shares_are_the_default(self, finished_run):
        stored = evaluated(finished_run)["operating_points"]["prior"]["offsets"]
        assert evaluated(finished_run, "--prior", "uniform")["operating_points"]["prior"]["offsets"] == stored

    def test_the_threshold_still_says_which_decision_is_shown(self, finished_run):
        value = evaluated(finished_run, "--prior", "0.01", "--threshold", "argmax")
        assert value["decision"] == "argmax"
        assert value["operating_points"]["prior"]["target"]["rare"] == pytest.approx(0.01)

    def test_a_wrong_prior_is_refused(self, finished_run):
        assert "did you mean 'rare'?" in complaint("evaluate", finished_run, "-q", "--prior", "rar=1", "common=1")

    def test_prevalences_are_those_of_the_decision_that_is_shown(self, finished_run):
        for threshold in ("argmax", "prior", "0.2"):
            value = evaluated(finished_run, "--threshold", threshold)
            rare = value["per_class"][1]
            for row in value["prevalences"]:
                assert row["recall"] == pytest.approx(rare["recall"])
                assert row["balanced_accuracy"] == pytest.approx(value["balanced_accuracy"])
            assert value["prevalences"][0]["accuracy"] == pytest.approx(value["accuracy"])  # 20 to 20 images

    def test_the_terminal_shows_them_below_the_decisions(self, finished_run, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        shown = imbalance("evaluate", finished_run, "-q", "--prior", "0.01").stdout
        assert "Other prevalences, prior-corrected; the recalls stay as they are" in shown
        assert "rare : common  precision" in shown
        assert "prior-corrected: for the class shares common 0.99, rare 0.01, at temperature" in shown
        assert max(len(line) for line in shown.splitlines() if "imbalance" not in line) <= 80

    def test_the_temperature_from_validation_is_reported(self, finished_run):
        value = evaluated(finished_run)
        assert 0.01 <= value["temperature"] <= 100
        assert 0 <= value["ece_calibrated"] <= 1


@pytest.fixture(scope="module")
def strict_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with ten rare validation images, whose threshold is to find at least nine of them."""
    folder = tmp_path_factory.mktemp("strict")
    images = make_image_folder(folder / "photos", train=(100, 50), test=(10, 10))
    chosen = settings_for(images, folder / "cache", epochs=1, threshold_by="recall>=0.9")
    return complete(new_run(chosen, folder / "run")).folder


class TestThresholdBy:
    def test_is_stored_with_the_decision_and_shown(self, strict_run):
        point = evaluated(strict_run, "--split", "validation")["operating_points"]["validation"]
        assert point["threshold_by"] == {"name": "recall_at_least", "recall": 0.9}
        assert point["recalls"][1] >= 0.9
        shown = imbalance("evaluate", strict_run, "-q").stdout
        assert "from validation: chosen by recall>=0.9" in " ".join(shown.split())

    def test_without_validation_images_nothing_is_chosen(self, image_folder, tmp_path):
        run = complete(
            new_run(settings_for(image_folder, image_folder / "cache", epochs=1, validation=0), tmp_path / "r")
        )
        results = json.loads((run.folder / runs.RESULTS).read_text())
        assert results["temperature"] is None
        assert results["ece_calibrated"] is None
        assert "a threshold needs 10 validation images" in results["unavailable"]["validation"]

    def test_what_does_not_fit_the_classes_is_refused_before_training(self, image_folder, tmp_path):
        chosen = settings_for(image_folder, image_folder / "cache", threshold_by={"name": "cost", "costs": [1, 2, 3]})
        with pytest.raises(SettingError, match="threshold_by.costs has 3 entries for 2 classes"):
            new_run(chosen, tmp_path / "run")
