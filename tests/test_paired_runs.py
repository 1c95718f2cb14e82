"""Runs are compared on the same test images, at one operating point, and only where the images are the same."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

from imbalance_cli import runs
from imbalance_cli.errors import CheckpointError, DamageError, SettingError
from imbalance_cli.predictions import as_csv
from imbalance_cli.studies.paired_runs import compare_runs
from imbalance_cli.studies.paired_tables import paired_report

NAMES = ("airplane", "automobile")
LABELS = np.repeat([0, 1], [300, 100])


def write_run(
    folder: Path,
    right: np.ndarray,
    *,
    labels: np.ndarray = LABELS,
    names: tuple[str, ...] = NAMES,
    items: list[str] | None = None,
    **more: object,
) -> Path:
    """A finished run that decides these images rightly and takes the others for the next class."""
    decided = np.where(right, labels, (labels + 1) % len(names))
    logits = 2.0 * np.eye(len(names))[decided]
    answers = as_csv(items or [f"test/{i}" for i in range(len(labels))], labels, logits, names)
    rule = {"offsets": [0.0] * len(names), "threshold_by": {"name": "balanced_accuracy"}}
    results = {
        "dataset": "/home/somebody/cifar10",
        "test_digest": "8c5f",
        "minority": names[-1],
        "auroc": 0.9,
        "operating_points": dict.fromkeys(("argmax", "prior", "validation"), rule),
        "unavailable": {},
        "epochs": 10,
        "steps": 400,
        "parameters": 1234,
        "per_class": [{"train_count": 5000}] * len(names),
        **more,
    }
    text = runs.as_json(results)
    folder.mkdir(parents=True)
    (folder / runs.PREDICTIONS).write_bytes(answers)
    (folder / runs.RESULTS).write_text(text)
    session = {"predictions_sha256": runs.sha256(answers), "results_sha256": runs.sha256(text.encode())}
    (folder / runs.ENVIRONMENT).write_text(json.dumps([session]))
    return folder


def right_on(airplanes: slice, automobiles: slice) -> np.ndarray:
    right = np.zeros(400, bool)
    right[:300][airplanes] = True
    right[300:][automobiles] = True
    return right


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """Of 300 airplanes both are right on 270, the second on no other; of 100 automobiles on 40 and on 75."""
    first = write_run(tmp_path / "first", right_on(slice(270), slice(40)))
    return [first, write_run(tmp_path / "second", right_on(slice(270), slice(25, 100)))]


class TestTwoRuns:
    def test_scores_are_those_of_the_decisions(self, pair):
        first, second = compare_runs(pair)["rows"]
        assert (first["accuracy"], first["balanced_accuracy"], first["minority_recall"]) == (310 / 400, 0.65, 0.4)
        assert (second["accuracy"], second["balanced_accuracy"], second["minority_recall"]) == (345 / 400, 0.825, 0.75)
        assert first["difference"] is None

    def test_mcnemars_test_counts_what_one_alone_decides_rightly(self, pair):
        difference = compare_runs(pair)["rows"][1]["difference"]
        expected = scipy.stats.binomtest(60, 85).pvalue
        for quantity in ("right", "minority_right"):
            found = difference[quantity]
            assert (found["alone"], found["first_alone"]) == (60, 25)
            assert found["p"] == found["p_corrected"] == pytest.approx(expected)

    def test_differences_have_bootstrap_intervals(self, pair):
        difference = compare_runs(pair)["rows"][1]["difference"]
        error = np.sqrt(0.85 - 0.35**2) / 10  # of the mean of 60 images of 100 at +1, 25 at -1
        assert difference["minority_recall"]["mean"] == pytest.approx(0.35)
        assert difference["minority_recall"]["interval"] == pytest.approx(
            [0.35 - 1.96 * error, 0.35 + 1.96 * error], abs=0.02
        )
        assert difference["balanced_accuracy"]["mean"] == pytest.approx(0.175)
        assert difference["balanced_accuracy"]["p"] < 0.001

    def test_the_verdict_is_about_these_models(self, pair):
        assert compare_runs(pair)["verdict"].startswith(
            "The balanced accuracy of second is 17.5 points above that of first ("
        )
        verdict = compare_runs(pair)["verdict"]
        assert "second alone is right on 60 images and first alone on 25 (McNemar's exact test: p < 0.001)" in verdict
        assert verdict.endswith("not about the methods that trained them: to compare methods takes several seeds.")

    def test_a_difference_that_chance_explains_is_none(self, tmp_path):
        first = write_run(tmp_path / "a", right_on(slice(270), slice(40)))
        second = write_run(tmp_path / "b", right_on(slice(270), slice(2, 43)))
        verdict = compare_runs([first, second])["verdict"]
        assert verdict.startswith("b cannot be told from a by balanced accuracy on these 400 test images")
        assert "the difference of +0.5 points" in verdict and "may come from which images they are" in verdict

    def test_the_same_decisions(self, tmp_path):
        right = right_on(slice(270), slice(40))
        folders = [write_run(tmp_path / name, right) for name in ("a", "b")]
        compared = compare_runs(folders)
        assert compared["verdict"].startswith("b and a are right on the same images")
        assert compared["rows"][1]["difference"]["balanced_accuracy"]["p"] == 1

    def test_is_plain_data_without_this_machines_paths(self, pair):
        compared = compare_runs(pair)
        text = json.dumps(compared, allow_nan=False)
        assert json.loads(text) == compared
        assert "somebody" not in text and str(pair[0]) not in text


class TestSeveralRuns:
    def test_each_is_compared_with_the_first_and_corrected(self, pair, tmp_path):
        third = write_run(tmp_path / "third", right_on(slice(280), slice(5, 48)))
        first, *others = compare_runs([*pair, third])["rows"]
        assert [row["run"] for row in others] == ["second", "third"]
        for quantity in ("balanced_accuracy", "right"):
            found = [row["difference"][quantity] for row in others]
            ps, corrected = ([each[name] for each in found] for name in ("p", "p_corrected"))
            assert min(corrected) == pytest.approx(2 * min(ps))
            assert max(corrected) == pytest.approx(max(ps))

    def test_runs_of_one_name_are_told_by_their_paths(self, pair, tmp_path):
        other = write_run(tmp_path / "study" / "first", right_on(slice(280), slice(50)))
        assert compare_runs([pair[0], other])["runs"] == [str(pair[0]), str(other)]


class TestOperatingPoint:
    def points(self, **offsets: list[float] | None) -> dict:
        by = {"threshold_by": {"name": "balanced_accuracy"}}
        points = {name: None if values is None else {"offsets": values, **by} for name, values in offsets.items()}
        unavailable = {name: "a threshold needs 10 validation images" for name, rule in points.items() if rule is None}
        return {"operating_points": points, "unavailable": unavailable}

    def test_is_the_one_asked_for(self, tmp_path):
        more = self.points(argmax=[0.0, 0.0], prior=[0.0, 9.0], validation=[9.0, 0.0])
        folders = [write_run(tmp_path / name, right_on(slice(200), slice(50)), **more) for name in ("a", "b")]
        recalls = [
            compare_runs(folders, point=p)["rows"][0]["minority_recall"] for p in ("argmax", "prior", "validation")
        ]
        assert recalls == [0.5, 1.0, 0.0]

    def test_is_the_same_for_all(self, tmp_path):
        right = right_on(slice(200), slice(50))
        there = self.points(argmax=[0.0, 0.0], prior=[0.0, 9.0], validation=[9.0, 0.0])
        first = write_run(tmp_path / "a", right, **there)
        second = write_run(tmp_path / "b", right, **self.points(argmax=[0.0, 0.0], prior=[0.0, 9.0], validation=None))
        compared = compare_runs([first, second])
        assert compared["point"] == "prior"
        assert [row["minority_recall"] for row in compared["rows"]] == [1.0, 1.0]
        assert compared["warnings"] == [
            "not at the threshold from validation but prior-corrected, for all runs, because b lacks "
            "that point: a threshold needs 10 validation images"
        ]

    def test_an_unknown_one_is_refused(self, pair):
        with pytest.raises(SettingError, match="unknown operating point 'prio'; did you mean 'prior'"):
            compare_runs(pair, point="prio")


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"dataset": "/elsewhere/svhn"}, "those of cifar10 and those of svhn"),
            ({"names": ("airplane", "ship")}, "their classes are airplane, automobile and airplane, ship"),
            ({"items": [f"other/{i}" for i in range(400)]}, "image 1 is test/0 and other/0"),
            ({"labels": np.repeat([0, 1], [299, 101])}, "test/299 is of another class in each"),
        ],
    )
    def test_other_test_images(self, pair, tmp_path, change, words):
        other = write_run(tmp_path / "other", np.ones(400, bool), **change)
        with pytest.raises(CheckpointError) as caught:
            compare_runs([pair[0], other])
        assert str(caught.value) == (
            f"first and other were tested on different images ({words}); "
            "only runs with the same test images can be compared"
        )

    def test_files_of_the_same_names_with_other_contents(self, pair, tmp_path):
        other = write_run(tmp_path / "other", np.ones(400, bool), test_digest="d16e")
        with pytest.raises(CheckpointError, match=r"\(files of the same names, changed in between\)"):
            compare_runs([pair[0], other])

    def test_another_number_of_test_images(self, pair, tmp_path):
        other = write_run(tmp_path / "other", np.ones(10, bool), labels=np.repeat([0, 1], 5))
        with pytest.raises(CheckpointError, match="400 and 10 images"):
            compare_runs([pair[0], other])

    def test_the_folder_may_have_moved(self, pair, tmp_path):
        other = write_run(tmp_path / "other", np.ones(400, bool), dataset="/elsewhere/cifar10")
        assert len(compare_runs([pair[0], other])["rows"]) == 2

    def test_one_run_alone(self, pair):
        with pytest.raises(SettingError, match="needs two or more; got 1"):
            compare_runs(pair[:1])

    def test_edited_answers(self, pair):
        (pair[1] / runs.PREDICTIONS).write_text("image,label\n")
        with pytest.raises(DamageError, match=r"predictions\.csv was edited or damaged"):
            compare_runs(pair)


class TestWarnings:
    def test_few_images_make_an_interval_too_narrow(self, tmp_path):
        labels = np.repeat([0, 1], [300, 8])
        folders = [write_run(tmp_path / name, np.ones(308, bool), labels=labels) for name in ("a", "b")]
        assert compare_runs(folders)["warnings"] == [
            "few test images (automobile 8): the intervals are too narrow; rely on McNemar's test"
        ]

    def test_another_minority_in_training(self, pair, tmp_path):
        other = write_run(tmp_path / "other", np.ones(400, bool), minority="airplane")
        assert compare_runs([pair[0], other])["warnings"] == [
            "the minority is that of first; in training it was another for other"
        ]

    def test_unequal_training(self, pair, tmp_path):
        assert compare_runs(pair)["warnings"] == []
        more = {"epochs": 20, "steps": 800, "per_class": [{"train_count": 5000}, {"train_count": 50}]}
        other = write_run(tmp_path / "other", np.ones(400, bool), **more)
        assert compare_runs([*pair, other])["warnings"] == [
            "the budgets differ: epochs 10 (first and second), 20 (other); steps 400 (first and second), 800 (other)",
            "the numbers of training images differ: of each class 5,000 + 5,000 (first and second), 5,000 + 50 (other)",
        ]

    def test_thresholds_chosen_by_other_criteria(self, pair, tmp_path):
        rules = {
            name: {"offsets": [0.0, 0.0], "threshold_by": {"name": "f_beta", "beta": 2}}
            for name in ("argmax", "prior", "validation")
        }
        other = write_run(tmp_path / "other", np.ones(400, bool), operating_points=rules)
        assert compare_runs([pair[0], other])["warnings"] == [
            "the thresholds were chosen differently: by balanced_accuracy (first), f2 (other)"
        ]
        assert compare_runs([pair[0], other], point="argmax")["warnings"] == []

    def test_no_test_image_of_the_minority(self, tmp_path):
        labels = np.zeros(50, int)
        folders = [write_run(tmp_path / n, np.arange(50) < k, labels=labels) for n, k in (("a", 40), ("b", 20))]
        compared = compare_runs(folders)
        assert compared["rows"][1]["difference"]["minority_recall"] is None
        assert "found alone" not in shown(compared, 200)


def test_many_classes(tmp_path):
    labels, random = np.repeat(range(10), 40), np.random.default_rng(0)
    names = tuple(f"class {i}" for i in range(10))
    folders = [
        write_run(tmp_path / n, random.random(400) < p, labels=labels, names=names) for n, p in (("a", 0.5), ("b", 0.8))
    ]
    difference = compare_runs(folders)["rows"][1]["difference"]
    assert difference["balanced_accuracy"]["p_corrected"] < 0.001


def shown(compared: dict, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(paired_report(compared))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 250])
def test_a_terminal_of_any_width_shows_every_number_whole(pair, width):
    compared = compare_runs(pair)
    text = shown(compared, width)
    for number in ("86.2 %", "82.5 %", "75.0 %", "+17.5", "+35.0", "60", "25", "< 0.001"):
        assert number in text
    assert " ".join(compared["verdict"].split()) in " ".join(text.split())
    assert width == 40 or max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_runs_of_long_names_are_numbered_so_that_tables_stay_tables(tmp_path, width):
    names = ["cifar10-logit_adjustment-inverse-0.01-seed0", "cifar10-class_balanced_focal-mixup-0.01-seed0"]
    first = write_run(tmp_path / names[0], right_on(slice(270), slice(40)))
    text = shown(compare_runs([first, write_run(tmp_path / names[1], right_on(slice(250), slice(25, 100)))]), width)
    tables = text[: text.index("The balanced accuracy of")].splitlines()
    assert max(map(len, tables)) <= width
    assert [line for line in tables if line.endswith(tuple(names))] == [f"1  {names[0]}", f"2  {names[1]}"]
    rows = [line.split() for line in tables if line[:1] in ("1", "2") and not line.endswith(tuple(names))]
    assert all(row[1:] for row in rows) and "baseline" in text


def test_the_first_of_two_runs_is_called_the_baseline_and_no_line_is_empty(pair):
    for width in (30, 80):
        text = shown(compare_runs(pair), width)
        assert "baseline" in text and not any(line.isspace() and width == 30 for line in text.splitlines())


def test_a_sentence_does_not_say_below_and_minus_at_once(tmp_path, pair):
    worse = write_run(tmp_path / "worse", right_on(slice(200), slice(20)))
    told = compare_runs([pair[0], worse])["verdict"]
    low, high = re.search(r"is 21\.7 points below that of first \(95 % interval (\S+) to (\S+), p", told).groups()
    assert 0 < float(low) < 21.7 < float(high)


def test_a_run_is_not_compared_with_itself(pair):
    for again in (pair[0], pair[0] / ".." / pair[0].name):
        with pytest.raises(SettingError, match="is given twice; a run is compared with others, not with itself"):
            compare_runs([*pair, again])


def test_real_runs(finished_run, tmp_path):
    compared = compare_runs([finished_run, shutil.copytree(finished_run, tmp_path / "copy")], point="argmax")
    results = json.loads((finished_run / runs.RESULTS).read_text())
    for row in compared["rows"]:
        assert row["accuracy"] == results["operating_points"]["argmax"]["accuracy"]
