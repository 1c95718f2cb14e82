"""A comparison says who is best, by how much and how sure that is; its tables keep every number whole."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

from imbalance_cli import runs
from imbalance_cli.errors import CheckpointError, SettingError
from imbalance_cli.studies.comparison import Outcome, compare, outcome_of
from imbalance_cli.studies.scores import METRICS
from imbalance_cli.studies.tables import comparison_report, to_csv, to_latex, to_markdown

CROSS_ENTROPY = [0.520, 0.545, 0.530, 0.525, 0.515]
FOCAL = [0.540, 0.530, 0.535, 0.550, 0.520]
WEIGHTS = [0.870, 0.866, 0.871, 0.858, 0.868]
ADJUSTMENT = [0.875, 0.871, 0.866, 0.868, 0.880]
CLASSROOM = {
    "cross-entropy": CROSS_ENTROPY,
    "focal 2": FOCAL,
    "focal 2 + weights": WEIGHTS,
    "logit adjustment": ADJUSTMENT,
}


def results(score: float, *, validation: bool = True, **more: object) -> dict:
    """The results of a run with balanced accuracy `score` at the threshold from validation."""

    def point(value: float) -> dict:
        recalls = [min(1.0, value + 0.05), value - 0.05]
        return {
            "recalls": recalls,
            **dict.fromkeys(("balanced_accuracy", "accuracy", "g_mean", "macro_f1", "mcc"), value),
        }

    points = {
        "argmax": point(0.5 * score),
        "prior": point(score - 0.01),
        "validation": point(score) if validation else None,
    }
    return {
        "dataset": "/home/somebody/cifar10-jpeg",
        "classes": ["airplane", "automobile"],
        "minority": "automobile",
        "n": 2000,
        "test_digest": "8c5f",
        "auroc": score,
        "average_precision": score,
        "ece": 1 - score,
        "log_loss": 2 - score,
        "parameters": 464_154,
        "per_class": [{"name": "airplane", "train_count": 4500}, {"name": "automobile", "train_count": 45}],
        "operating_points": points,
        "unavailable": {} if validation else {"validation": "a threshold needs 10 validation images of every class"},
        **more,
    }


def outcomes(scores: dict[str, list[float]], condition: str = "", **more: object) -> list[Outcome]:
    """A finished cell for each of `scores`, by method and seed; more: of the outcomes, then of their results."""
    own = {name: more.pop(name) for name in ("seconds", "epochs", "steps", "chosen") if name in more}
    budget = {"seconds": 60.0, "epochs": 10, "steps": 360} | own
    return [
        Outcome(condition, method, seed, results(score, **more), folder=f"{method}-{seed}", **budget)
        for method, values in scores.items()
        for seed, score in enumerate(values)
        if not math.isnan(score)
    ]


def comparison(cells: list[Outcome] | dict[str, list[float]], **more: object) -> dict:
    if isinstance(cells, dict):
        cells = outcomes(cells)
    asked = {
        "methods": list(dict.fromkeys(cell.method for cell in cells)),
        "conditions": list(dict.fromkeys(cell.condition for cell in cells)) or [""],
        "seeds": sorted({cell.seed for cell in cells}),
        "metric": "balanced_accuracy",
        "point": "validation",
        "baseline": "cross-entropy",
    }
    return compare(cells, **asked | more)


def only(compared: dict) -> dict:
    (condition,) = compared["conditions"]
    return condition


def row_of(condition: dict, method: str) -> dict:
    return next(row for row in condition["rows"] if row["method"] == method)


class TestRows:
    CONDITION = only(comparison(CLASSROOM))

    def test_are_sorted_best_first(self):
        assert [row["method"] for row in self.CONDITION["rows"]] == list(reversed(CLASSROOM))
        assert [row["rank"] for row in self.CONDITION["rows"]] == [1, 2, 3, 4]

    def test_hold_mean_deviation_and_students_interval_over_seeds(self):
        row = row_of(self.CONDITION, "logit adjustment")
        assert row["seeds"] == [0, 1, 2, 3, 4] and row["values"] == ADJUSTMENT
        assert row["mean"] == pytest.approx(0.872)
        assert row["deviation"] == pytest.approx(np.std(ADJUSTMENT, ddof=1))
        expected = scipy.stats.t.interval(0.95, 4, loc=0.872, scale=scipy.stats.sem(ADJUSTMENT))
        assert row["interval"] == pytest.approx(expected)

    def test_hold_the_difference_to_the_baseline_paired_by_seed(self):
        difference = row_of(self.CONDITION, "focal 2")["difference"]
        expected = scipy.stats.ttest_rel(FOCAL, CROSS_ENTROPY)
        assert difference["mean"] == pytest.approx(0.008)
        assert difference["p"] == pytest.approx(expected.pvalue)
        assert difference["interval"] == pytest.approx(list(expected.confidence_interval()))
        assert row_of(self.CONDITION, "cross-entropy")["difference"] is None

    def test_p_values_are_corrected_for_the_tests_against_the_baseline(self):
        rows = [row for row in self.CONDITION["rows"] if row["difference"]]
        by_p = sorted((row["difference"]["p"], row["difference"]["p_corrected"]) for row in rows)
        assert by_p[0][1] == pytest.approx(3 * by_p[0][0])
        assert by_p[-1][1] == pytest.approx(by_p[-1][0])

    def test_mark_what_cannot_be_told_from_the_best(self):
        marked = {row["method"] for row in self.CONDITION["rows"] if row["not_distinguishable_from_best"]}
        assert marked == {"logit adjustment", "focal 2 + weights"}

    def test_hold_every_operating_point_recalls_and_costs(self):
        row = row_of(self.CONDITION, "logit adjustment")
        assert row["points"] == pytest.approx({"argmax": 0.436, "prior": 0.862, "validation": 0.872})
        assert row["recalls"] == pytest.approx([0.922, 0.822])
        assert (row["majority_recall"], row["minority_recall"]) == pytest.approx((0.922, 0.822))
        assert (row["seconds"], row["epochs"], row["steps"], row["parameters"]) == (60, 10, 360, 464_154)

    def test_equal_means_share_a_rank(self):
        condition = only(comparison({"a": [0.5, 0.6], "b": [0.6, 0.5], "c": [0.4, 0.5]}, baseline="a"))
        assert [row["rank"] for row in condition["rows"]] == [1, 1, 3]

    def test_an_interval_holds_no_impossible_score(self):
        row = only(comparison({"cross-entropy": [0.99, 0.95]}))["rows"][0]
        assert row["interval"][1] == 1 and row["interval"][0] > 0

    def test_tuned_settings_stay_with_their_seed(self):
        cells = outcomes({"cross-entropy": [0.5, 0.6]}, chosen={"loss.gamma": 2})
        assert only(comparison(cells))["rows"][0]["chosen"] == [{"loss.gamma": 2}, {"loss.gamma": 2}]

    def test_published_numbers_stand_beside_ours(self):
        number = {"value": 70.4, "source": "Cao et al., 2019", "chosen_on_test": True}
        condition = only(comparison(CLASSROOM, published={"cross-entropy": {"": number}}))
        assert row_of(condition, "cross-entropy")["published"] == number
        assert row_of(condition, "focal 2")["published"] is None


class TestMetrics:
    @pytest.mark.parametrize("metric", METRICS)
    def test_each_sorts_by_its_own_direction(self, metric):
        compared = comparison(CLASSROOM, metric=metric)
        assert only(compared)["rows"][0]["method"] == "logit adjustment"
        assert compared["higher_is_better"] == (metric not in ("ece", "log_loss"))

    def test_lower_is_better_for_calibration_error(self):
        verdict = only(comparison(CLASSROOM, metric="ece"))["verdict"]
        assert "logit adjustment has the best (lowest) calibration error, 0.128" in verdict
        assert "it is 0.345 below cross-entropy (p < 0.001)" in verdict

    def test_a_point_is_that_of_the_decision(self):
        assert only(comparison(CLASSROOM, point="prior"))["rows"][0]["mean"] == pytest.approx(0.862)
        assert only(comparison(CLASSROOM, metric="auroc", point="prior"))["rows"][0]["mean"] == pytest.approx(0.872)

    def test_unknown_ones_are_refused(self):
        with pytest.raises(SettingError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
            comparison(CLASSROOM, metric="acuracy")
        with pytest.raises(SettingError, match="unknown operating point 'validaton'; did you mean 'validation'"):
            comparison(CLASSROOM, point="validaton")

    def test_one_that_the_test_images_leave_undefined_is_refused(self):
        with pytest.raises(SettingError, match="metric auroc: the test images of cross-entropy-0 leave it undefined"):
            comparison(outcomes({"cross-entropy": [0.5]}, auroc=None), metric="auroc")


class TestVerdict:
    def verdict(self, scores, **more):
        return only(comparison(scores, **more))["verdict"]

    def test_names_the_best_the_gain_and_who_cannot_be_told_from_it(self):
        assert re.fullmatch(
            r"Over 5 seeds, logit adjustment has the best balanced accuracy, 87\.2 % \(95 % interval 86\.5 to 87\.9\); "
            r"it is 34\.5 points above cross-entropy \(p < 0\.001\) and cannot be told from focal 2 \+ weights "
            r"\(a difference of about \d\.\d points could have been found\)\.",
            self.verdict(CLASSROOM),
        )

    def test_says_when_the_best_is_better_than_all(self):
        scores = {"cross-entropy": CROSS_ENTROPY, "focal 2": FOCAL, "logit adjustment": ADJUSTMENT}
        assert self.verdict(scores).endswith(
            "it is 34.5 points above cross-entropy (p < 0.001) and better than every other method."
        )
        assert self.verdict({"cross-entropy": CROSS_ENTROPY, "logit adjustment": ADJUSTMENT}).endswith(
            "it is 34.5 points above cross-entropy (p < 0.001)."
        )

    def test_says_when_seeds_are_too_few_and_what_they_could_have_found(self):
        assert re.fullmatch(
            r"5 seeds are too few to tell the best, focal 2 \(balanced accuracy 53\.5 %, 95 % interval \S+ to \S+\), "
            r"from cross-entropy: a difference of about \d\.\d points could have been found\.",
            self.verdict({"cross-entropy": CROSS_ENTROPY, "focal 2": FOCAL}),
        )

    def test_the_baseline_may_be_the_best(self):
        scores = {"cross-entropy": ADJUSTMENT, "focal 2": CROSS_ENTROPY, "b": WEIGHTS}
        verdict = self.verdict(scores)
        assert verdict.startswith("Over 5 seeds, cross-entropy, the baseline, has the best balanced accuracy, 87.2 %")
        assert "; it is better than focal 2 and cannot be told from b (" in verdict

    def test_two_seeds_could_have_found_next_to_nothing(self):
        verdict = self.verdict({"cross-entropy": [0.5, 0.7], "focal 2": [0.6, 0.9], "b": [0.5, 0.6]})
        assert verdict.endswith("from cross-entropy and b: hardly any possible difference could have been found.")

    def test_what_could_have_been_found_is_no_more_than_the_scale_leaves(self):
        """Near 80 % nothing is 50 points better, nor worse than guessing."""
        verdict = self.verdict({"cross-entropy": [0.75, 0.85], "focal 2": [0.80, 0.815]})
        assert verdict.endswith("from cross-entropy: hardly any possible difference could have been found.")
        verdict = self.verdict({"cross-entropy": [0.79, 0.81], "focal 2": [0.80, 0.83]})
        assert re.search(r"a difference of about \d\.\d points could have been found\.$", verdict)

    def test_one_seed_proves_nothing(self):
        assert self.verdict({name: values[:1] for name, values in CLASSROOM.items()}) == (
            "With one seed, logit adjustment has the best balanced accuracy, 87.5 %; what another seed would give is "
            "not known, so nothing is told apart."
        )

    def test_the_same_values_are_no_victory(self):
        assert self.verdict({"cross-entropy": [0.5] * 5, "focal 2": [0.5] * 5}) == (
            "In each of 5 seeds, cross-entropy and focal 2 have the same balanced accuracy, 50.0 % on average."
        )

    def test_one_method_has_nothing_to_be_compared_with(self):
        assert self.verdict({"cross-entropy": CROSS_ENTROPY}).startswith(
            "There is nothing to compare cross-entropy with"
        )

    def test_many_names_are_counted(self):
        scores = {"cross-entropy": [0.5, 0.6, 0.55]} | {f"m{i}": [0.5, 0.6, 0.551 + i / 1000] for i in range(6)}
        assert ", from m4, m3, m2 and 3 others:" in self.verdict(scores)

    def test_nothing_finished(self):
        compared = comparison([], methods=["cross-entropy"], seeds=[0, 1])
        assert only(compared)["verdict"] == "No run of this condition has finished."
        assert compared["missing"] == 2
        assert json.loads(json.dumps(compared)) == compared


class TestWarnings:
    def warnings(self, *args, **more):
        return only(comparison(*args, **more))["warnings"]

    def test_there_are_none_where_all_is_well(self):
        assert self.warnings(CLASSROOM) == []

    def test_a_run_without_a_validation_point_moves_all_to_the_prior(self):
        cells = outcomes({"cross-entropy": CROSS_ENTROPY}) + outcomes({"focal 2": FOCAL}, validation=False)
        condition = only(comparison(cells))
        assert condition["point"] == "prior"
        assert row_of(condition, "cross-entropy")["mean"] == pytest.approx(np.mean(CROSS_ENTROPY) - 0.01)
        assert row_of(condition, "focal 2")["points"]["validation"] is None
        assert condition["warnings"] == [
            "not at the threshold from validation but prior-corrected, for all methods, because runs of "
            "focal 2 lack that point: a threshold needs 10 validation images of every class"
        ]

    def test_missing_and_failed_cells_are_named(self):
        scores = {"cross-entropy": CROSS_ENTROPY, "focal 2": [*FOCAL[:2], math.nan, math.nan, math.nan]}
        failed = [{"condition": "", "method": "focal 2", "seed": 3, "reason": "the loss is not a finite number"}]
        compared = comparison(scores, failed=failed)
        assert only(compared)["warnings"] == [
            "focal 2: seed 3 failed: the loss is not a finite number",
            "focal 2: seeds 2 and 4 have not finished",
            "focal 2, of fewer seeds, is ranked after the others; "
            "differences are over the seeds that both methods have",
        ]
        assert (compared["missing"], compared["failed"]) == (2, failed)

    def test_a_failure_that_was_mended_is_none(self):
        failed = [{"condition": "", "method": "focal 2", "seed": 3, "reason": "out of memory"}]
        assert comparison(CLASSROOM, failed=failed)["failed"] == []

    def test_lucky_first_seeds_do_not_win(self):
        condition = only(comparison({"cross-entropy": [0.6, 0.5, 0.5], "focal 2": [0.61, math.nan, math.nan]}))
        assert [row["method"] for row in condition["rows"]] == ["cross-entropy", "focal 2"]
        focal = row_of(condition, "focal 2")
        assert focal["rank"] == 2 and focal["not_distinguishable_from_best"]
        assert focal["difference"]["mean"] == pytest.approx(0.01) and focal["difference"]["p"] is None

    def test_unequal_budgets_are_named_with_their_numbers(self):
        cells = outcomes({"cross-entropy": CROSS_ENTROPY}) + outcomes({"crt": FOCAL}, epochs=12, steps=4680)
        assert self.warnings(cells) == [
            "the budgets differ: epochs 12 (crt), 10 (cross-entropy); steps 4,680 (crt), 360 (cross-entropy)"
        ]

    def test_test_images_that_changed_between_runs_are_named(self):
        cells = outcomes({"cross-entropy": CROSS_ENTROPY, "focal 2": FOCAL})
        cells[1] = replace(cells[1], results=cells[1].results | {"test_digest": "d16e"})
        assert self.warnings(cells) == [
            "the test images of seed 1 changed between runs, so the methods are not compared on the same ones; "
            "bring them back, or begin a new study"
        ]

    def test_another_draw_of_test_images_in_every_seed_is_fine(self):
        cells = [
            replace(cell, results=cell.results | {"test_digest": f"{cell.seed}"})
            for cell in outcomes({"cross-entropy": CROSS_ENTROPY, "focal 2": FOCAL})
        ]
        assert self.warnings(cells) == []

    def test_runs_from_before_test_images_were_noted_compare_with_later_ones(self):
        cells = outcomes({"cross-entropy": CROSS_ENTROPY, "focal 2": FOCAL})
        earlier = {name: value for name, value in cells[1].results.items() if name != "test_digest"}
        assert self.warnings([cells[0], replace(cells[1], results=earlier), *cells[2:]]) == [
            "cross-entropy: that the test images were the same ones was not noted, so it could not be checked"
        ]

    def test_thresholds_chosen_by_other_criteria_are_named_where_they_decide(self):
        cells = outcomes({"cross-entropy": CROSS_ENTROPY, "focal 2": FOCAL})
        for cell in cells[len(CROSS_ENTROPY) :]:
            cell.results["operating_points"]["validation"]["threshold_by"] = {"name": "mcc"}
        assert self.warnings(cells) == [
            "the thresholds were chosen differently: by balanced_accuracy (cross-entropy), mcc (focal 2)"
        ]
        assert self.warnings(cells, point="argmax") == []

    def test_other_training_images_are_named(self):
        counts = [{"train_count": 5000}, {"train_count": 50}]
        cells = outcomes({"cross-entropy": CROSS_ENTROPY}) + outcomes({"all": FOCAL}, per_class=counts)
        assert self.warnings(cells) == [
            "the numbers of training images differ: of each class 5,000 + 50 (all), 4,500 + 45 (cross-entropy)"
        ]

    def test_of_many_classes_the_extremes_are_named(self):
        names = [f"class {i}" for i in range(10)]
        recalls = {"recalls": [0.5] * 10, "balanced_accuracy": 0.5}
        points = dict.fromkeys(("argmax", "prior", "validation"), recalls)
        many = {"classes": names, "minority": "class 9", "operating_points": points}
        cells = [
            cell
            for method, largest in (("cross-entropy", 5000), ("all", 4500))
            for cell in outcomes(
                {method: [0.5]}, per_class=[{"train_count": largest - 10 * i} for i in range(10)], **many
            )
        ]
        assert self.warnings(cells)[-1] == (
            "the numbers of training images differ: of each class 5,000 to 4,910, 49,550 in all (cross-entropy), "
            "4,500 to 4,410, 44,550 in all (all)"
        )

    def test_one_seed(self):
        assert self.warnings({"cross-entropy": [0.5], "focal 2": [0.6]}) == [
            "one seed: there is no interval and no test, and another seed may give another order"
        ]

    def test_a_constant_difference_is_not_proof(self):
        condition = only(comparison({"cross-entropy": [0.5, 0.6, 0.7], "focal 2": [0.6, 0.7, 0.8]}))
        difference = row_of(condition, "focal 2")["difference"]
        assert (difference["p"], difference["interval"]) == (0.25, None)
        assert condition["warnings"][0].startswith("focal 2: the same difference to cross-entropy in every seed")


class TestWhatItSays:
    COMPARED = comparison(
        outcomes(CLASSROOM, "ratio 0.01") + outcomes({"cross-entropy": FOCAL}, "ratio 0.1"), title="The classroom study"
    )

    def test_is_plain_data_without_this_machines_paths(self):
        text = json.dumps(self.COMPARED, allow_nan=False)
        assert json.loads(text) == self.COMPARED
        assert "somebody" not in text

    def test_tells_the_data(self):
        assert self.COMPARED["data"] == {
            "dataset": "cifar10-jpeg",
            "classes": ["airplane", "automobile"],
            "minority": "automobile",
            "majority": "airplane",
            "test_images": 2000,
        }
        assert self.COMPARED["conditions"][0]["train_counts"] == [4500, 45]

    def test_counts_what_is_missing(self):
        assert self.COMPARED["missing"] == 15


def shown(compared: dict, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(comparison_report(compared))
    return console.file.getvalue()


NUMBER = {"value": 70.4, "source": "Cao et al., 2019", "chosen_on_test": True}
COMPARED = comparison(
    outcomes(CLASSROOM, "ratio 0.01", chosen={"loss.gamma": 2}),
    title="A study of 100 % & more_or_less",
    published={"focal 2": {"ratio 0.01": NUMBER}},
)


class TestTerminal:
    @pytest.mark.parametrize("width", [40, 60, 80, 120, 250])
    def test_every_number_is_whole_at_any_width(self, width):
        text = shown(COMPARED, width)
        row = only(COMPARED)["rows"][0]
        for number in ("87.2 ± 0.6 %", "+34.5", "< 0.001", "82.2 %", "0.872", "464,154", "70.4 *"):
            assert number in text
        for number in (*row["interval"], *row["difference"]["interval"]):
            assert f"{number * 100:.1f}" in text

    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_lines_fit(self, width):
        assert max(map(len, shown(COMPARED, width).splitlines())) <= width

    def test_the_operating_points_are_a_table_in_80_columns(self):
        text = shown(COMPARED, 80)
        assert re.search("^method +balanced: argmax +prior-corrected +from validation", text, re.M)
        assert "prior-corrected, from validation: the balanced accuracy at each operating point." in " ".join(
            text.split()
        )

    def test_one_wide_table_where_there_is_room(self):
        headings = next(line for line in shown(COMPARED, 320).splitlines() if line.startswith("method"))
        assert re.split(r"\s{2,}", headings) == [
            *("method", "rank", "balanced accuracy", "95 % interval", "difference", "its interval", "p"),
            *("automobile found", "airplane kept", "AUROC", "published, %"),
            *("balanced: argmax", "prior-corrected", "from validation"),
            *("seconds", "epochs", "steps", "parameters", "seeds", "chosen"),
        ]

    def test_says_what_the_numbers_are(self):
        text = " ".join(shown(COMPARED, 80).split())
        for words in (
            "cifar10-jpeg; training images: airplane 4,500, automobile 45; test images: 2,000",
            "at the threshold from validation",
            "the mean over seeds 0 1 2 3 4 ± the standard deviation",
            "on the same test images",
            "paired t-test by seed, Holm-corrected",
            "which does not mean that the two are equal",
            "in 80 % of studies with as many seeds",
            "chosen on the test images",
            only(COMPARED)["verdict"],
        ):
            assert words in text

    def test_what_cannot_be_told_from_the_best_is_marked(self):
        assert re.search(r"focal 2 \+ weights +2 ≈", shown(COMPARED, 80))
        assert not re.search(r"cross-entropy +4 ≈", shown(COMPARED, 80))

    def test_an_empty_condition_says_so(self):
        assert "No run of this condition has finished." in shown(comparison([], methods=["a"], seeds=[0]), 80)

    def test_one_seed_has_no_columns_for_intervals(self):
        text = shown(comparison({"cross-entropy": [0.5], "focal 2": [0.6]}), 200)
        assert "interval  " not in text and "60.0 %" in text and "+10.0" in text


class TestFiles:
    def test_csv_reads_back_with_every_digit(self):
        rows = list(csv.DictReader(io.StringIO(to_csv(COMPARED))))
        assert [row["method"] for row in rows] == [row["method"] for row in only(COMPARED)["rows"]]
        for read, row in zip(rows, only(COMPARED)["rows"], strict=True):
            assert float(read["mean"]) == row["mean"]
            assert [float(value) for value in read["values"].split()] == row["values"]
            assert [float(read["interval_low"]), float(read["interval_high"])] == row["interval"]
            assert int(read["rank"]) == row["rank"]
        baseline = next(row for row in rows if row["method"] == "cross-entropy")
        assert baseline["difference"] == baseline["p"] == ""

    def test_csv_of_nothing_has_its_heading(self):
        assert to_csv(comparison([], methods=["a"], seeds=[0])) == "condition,method\n"

    def test_markdown_rows_have_as_many_cells_as_the_heading(self):
        compared = comparison({"a|b": FOCAL, "cross-entropy": CROSS_ENTROPY}, title="x | y")
        lines = [line for line in to_markdown(compared).splitlines() if line.startswith("|")]
        assert len(lines) == 4
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert lines[2].startswith(r"| **a\|b** | **1** | **53.5 ± 1.1 %** |")

    def test_markdown_has_the_verdict_and_the_warnings(self):
        text = to_markdown(comparison({"cross-entropy": [0.5], "focal 2": [0.6]}, title="T"))
        assert text.startswith("# T\n") and "**With one seed, focal 2" in text and "\n- one seed: " in text

    def test_latex_escapes_what_is_special(self):
        cells = outcomes({"a_b & 50% #1 {x} $y$ ~^\\": FOCAL, "cross-entropy": CROSS_ENTROPY})
        text = to_latex(comparison(cells))
        name = r"a\_b \& 50\% \#1 \{x\} \$y\$ \textasciitilde{}\textasciicircum{}\textbackslash{}"
        assert rf"\textbf{{{name}}} & \textbf{{1}}" in text
        for special in "&%$#_":
            for line in text.splitlines()[1:]:
                plain = line.replace(r"$\pm$", "").replace(r"$\approx$", "").replace("$<$", "").replace(" & ", "")
                assert not re.search(rf"(?<!\\){re.escape(special)}", plain), line

    def test_latex_rows_have_as_many_cells_as_columns(self):
        text = to_latex(COMPARED)
        tabulars = re.findall(r"\\begin{tabular}{(l r*|lr*)}(.*?)\\end{tabular}", text, re.DOTALL)
        assert len(tabulars) == 2
        for columns, body in tabulars:
            rows = [line for line in body.splitlines() if line.endswith(r"\\")]
            assert len(rows) == 5
            assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}

    def test_latex_leaves_no_brace_open(self):
        text = re.sub(r"\\[{}]", "", to_latex(COMPARED))
        assert text.count("{") == text.count("}")


class TestOutcomeOfAFolder:
    def folder(self, path: Path) -> Path:
        text = runs.as_json(results(0.9) | {"epochs": 3, "steps": 12})
        (path / runs.RESULTS).write_text(text)
        sessions = [{"seconds": 40.5}, {}, {"seconds": 20.0, "results_sha256": runs.sha256(text.encode())}]
        (path / runs.ENVIRONMENT).write_text(json.dumps(sessions))
        return path

    def test_is_read_from_its_files(self, tmp_path):
        outcome = outcome_of(self.folder(tmp_path), condition="ratio 1", method="a", seed=2, chosen={"loss.gamma": 1})
        assert (outcome.condition, outcome.method, outcome.seed, outcome.folder) == ("ratio 1", "a", 2, tmp_path.name)
        assert (outcome.seconds, outcome.epochs, outcome.steps) == (60.5, 3, 12)
        assert outcome.chosen == {"loss.gamma": 1}
        assert outcome.score("minority_recall", "validation") == pytest.approx(0.85)

    def test_a_changed_result_is_refused(self, tmp_path):
        folder = self.folder(tmp_path)
        (folder / runs.RESULTS).write_text("{}")
        with pytest.raises(CheckpointError, match=r"results\.json was edited or damaged"):
            outcome_of(folder, condition="", method="a", seed=0)
