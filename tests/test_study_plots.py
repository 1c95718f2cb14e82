"""Figures of studies say what the numbers say, whatever methods, seeds and classes there are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from small_studies import comparison

from imbalance_cli import drawing
from imbalance_cli.pages import study_curves, study_plots
from imbalance_cli.studies.scores import METRICS, POINT_NAMES

BALANCED = METRICS["balanced_accuracy"]
LONG_NAMES = [f"focal gamma {number} + class_balanced sampler + effective_number weights" for number in range(12)]


def rows_of(**changes: Any) -> list[dict[str, Any]]:
    """The rows of the hardest condition."""
    rows: list[dict[str, Any]] = comparison(**changes)["conditions"][-1]["rows"]
    return rows


def says(figure: Figure, words: str) -> bool:
    return any(words in text.get_text() for text in figure.findobj(Text) if text.get_visible())


def marks(figure: Figure, kind: str) -> list[np.ndarray]:
    """The points [n, 2] of each line that was drawn as `kind`, from the top row on."""
    return [line.get_xydata() for line in figure.axes[0].lines if line.get_gid() == kind]


def boxes(figure: Figure, texts: Sequence[Text]) -> list[Any]:
    figure.draw_without_rendering()
    return [Text.get_window_extent(text) for text in texts]


def every_figure(**changes: Any) -> dict[str, Figure]:
    made = comparison(**changes)
    last = made["conditions"][-1]
    names = made["data"]["classes"]
    rows = last["rows"]
    values = [(0.1**place, condition["rows"]) for place, condition in enumerate(made["conditions"])]
    return {
        "intervals": study_plots.intervals(rows, BALANCED),
        "differences": study_plots.differences(rows, made["baseline"], BALANCED),
        "operating_points": study_plots.operating_points(rows, len(names)),
        "recall_map": study_plots.recall_map(rows, names, last["train_counts"]),
        "cost": study_curves.cost(rows, BALANCED),
        "sweep": study_curves.sweep("ratio", values, made["methods"], BALANCED),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"methods": ["cross-entropy"], "conditions": ["a"], "seeds": 1, "validation": False},
        {"methods": LONG_NAMES, "classes": [f"a long class name number {i}" for i in range(10)]},
        {"classes": [f"class {i}" for i in range(100)], "conditions": ["a", "b"], "seeds": 2},
        {"methods": ["猫と犬", "$x^2$ and _y$", "new\nline\x00"], "classes": ["猫", "$x^2$"], "conditions": ["a", "b"]},
    ],
    ids=["ordinary", "one of everything", "twelve long names", "100 classes", "strange names"],
)
def test_nothing_is_cut_off_and_nothing_warns(changes: dict[str, Any]) -> None:
    for name, figure in every_figure(**changes).items():
        with drawing.shared_look():
            figure.draw_without_rendering()
            drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert drawn.x0 > -0.01 and drawn.x1 < width + 0.01, name
        assert drawn.y0 > -0.01 and drawn.y1 < height + 0.01, name


class TestIntervals:
    def test_each_row_has_its_mean_its_interval_and_its_seeds(self) -> None:
        rows = rows_of()
        figure = study_plots.intervals(rows, BALANCED)
        assert [mark[0, 0] for mark in marks(figure, "mean")] == [row["mean"] for row in rows]
        assert [mark[:, 0].tolist() for mark in marks(figure, "interval")] == [row["interval"] for row in rows]
        assert [mark[:, 0].tolist() for mark in marks(figure, "seeds")] == [row["values"] for row in rows]

    def test_the_axis_holds_every_seed_and_interval_and_nothing_impossible(self) -> None:
        rows = rows_of(seeds=2)
        low, high = study_plots.intervals(rows, BALANCED).axes[0].get_xlim()
        assert low < min(min(row["values"] + row["interval"]) for row in rows) and high <= 1.02

    def test_the_best_and_what_cannot_be_told_from_it_are_blue(self) -> None:
        rows = rows_of()
        for row in rows:
            row["not_distinguishable_from_best"] = row["rank"] <= 2
        figure = study_plots.intervals(rows, BALANCED)
        colours = [line.get_color() for line in figure.axes[0].lines if line.get_gid() == "mean"]
        assert colours == [drawing.COLOURS[2]] * 2 + [study_plots.GREY] * 3
        assert says(figure, ", best") and says(figure, ", ≈ best")

    def test_one_seed_has_a_mean_and_no_interval(self) -> None:
        figure = study_plots.intervals(rows_of(seeds=1), BALANCED)
        assert len(marks(figure, "mean")) == 5 and not marks(figure, "interval")


class TestDifferences:
    def test_they_are_paired_by_seed_and_the_baseline_has_none(self) -> None:
        rows = rows_of(without=[("ratio 0.01", "focal 2", 3)])
        values = {row["method"]: dict(zip(row["seeds"], row["values"], strict=True)) for row in rows}
        figure = study_plots.differences(rows, "cross-entropy", BALANCED)
        shown = [row for row in rows if row["method"] != "cross-entropy"]
        for row, seeds in zip(shown, marks(figure, "seeds"), strict=True):
            expected = [values[row["method"]][seed] - values["cross-entropy"][seed] for seed in row["seeds"]]
            assert seeds[:, 0] == pytest.approx(expected)
        assert [mark[0, 0] for mark in marks(figure, "mean")] == [row["difference"]["mean"] for row in shown]
        assert not says(figure, "cross-entropy\n") and says(figure, "Difference to cross-entropy")

    @pytest.mark.parametrize(("metric", "better"), [("balanced_accuracy", 0.02), ("log_loss", -0.02)])
    def test_colour_says_better_or_worse_and_only_what_is_sure_is_filled(self, metric: str, better: float) -> None:
        rows = rows_of(methods=["a", "b", "c", "d"], metric=metric)
        for (mean, p), row in zip([(better, 0.01), (-better, 0.01), (better, 0.2)], rows[:3], strict=True):
            row["method"], row["difference"] = f"m{p}{mean}", {"mean": mean, "interval": None, "p_corrected": p}
        rows[3] |= {"method": "a", "difference": None}
        figure = study_plots.differences(rows, "a", METRICS[metric])
        means = [line for line in figure.axes[0].lines if line.get_gid() == "mean"]
        green, orange = drawing.COLOURS[3], drawing.COLOURS[1]
        assert [line.get_color() for line in means] == [green, orange, study_plots.GREY]
        assert [line.get_fillstyle() for line in means] == ["full", "full", "none"]

    def test_no_difference_is_always_in_sight(self) -> None:
        low, high = study_plots.differences(rows_of(), "cross-entropy", BALANCED).axes[0].get_xlim()
        assert low < 0 < high

    def test_what_is_rounded_to_nothing_has_no_sign(self) -> None:
        assert [study_plots.signed(BALANCED, value) for value in (0.0123, -0.0123, -0.0001)] == ["+1.2", "−1.2", "0.0"]


class TestOperatingPoints:
    def test_each_method_has_a_mark_at_each_point_that_it_has(self) -> None:
        rows = rows_of(validation=False)
        axes = study_plots.operating_points(rows, 2).axes[0]
        names = POINT_NAMES.values()
        drawn = {(line.get_label(), *line.get_xydata()[0]) for line in axes.lines if line.get_label() in names}
        expected = {
            (POINT_NAMES[name], value, position)
            for position, row in enumerate(rows)
            for name, value in row["points"].items()
            if value is not None
        }
        assert drawn == expected and len(expected) == 10

    def test_guessing_is_marked(self) -> None:
        axes = study_plots.operating_points(rows_of(classes=["a", "b", "c", "d"]), 4).axes[0]
        assert any(list(line.get_xdata()) == [0.25, 0.25] for line in axes.lines)


class TestRecallMap:
    def test_classes_go_from_the_most_to_the_least_trained_and_show_their_recall(self) -> None:
        rows = rows_of(methods=["a", "b"])
        for row in rows:
            row["recalls"] = [0.25, 0.5, None]
        figure = study_plots.recall_map(rows, ["rare", "common", "absent"], [5, 500, 50])
        picture = figure.axes[0].images[0].get_array()
        assert np.ma.filled(picture, np.nan)[0] == pytest.approx([0.5, np.nan, 0.25], nan_ok=True)
        assert [label.get_text().split("\n")[0] for label in figure.axes[0].get_xticklabels()] == [
            *("common", "absent", "rare"),
        ]
        assert says(figure, "50") and says(figure, "none")

    def test_of_many_classes_colour_speaks_alone(self) -> None:
        names = [f"class {i}" for i in range(100)]
        figure = study_plots.recall_map(rows_of(classes=names), names, list(range(100, 0, -1)))
        assert not says(figure, "class 7") and says(figure, "100 classes, by training images")


class TestCost:
    def test_points_are_means_over_time_in_a_unit_to_read(self) -> None:
        rows = rows_of()
        for number, row in enumerate(rows, 1):
            row["seconds"] = 600.0 * number
        figure = study_curves.cost(rows, BALANCED)
        expected = [[10 * number, row["mean"]] for number, row in enumerate(rows, 1)]
        assert np.vstack(marks(figure, "mean")) == pytest.approx(np.array(expected))
        assert says(figure, "minutes for one run")

    def test_the_pale_line_joins_what_nothing_beats_in_both(self) -> None:
        rows = rows_of(methods=["a", "b", "c", "d"])
        for row, (seconds, mean) in zip(rows, [(10, 0.6), (20, 0.5), (30, 0.8), (30, 0.7)], strict=True):
            row |= {"seconds": seconds, "mean": mean, "interval": None}
        assert marks(study_curves.cost(rows, BALANCED), "front")[0].tolist() == [[10, 0.6], [30, 0.8]]
        lowest = study_curves.cost(rows, METRICS["log_loss"])
        assert marks(lowest, "front")[0].tolist() == [[10, 0.6], [20, 0.5]]

    @pytest.mark.parametrize("methods", [[f"focal {number}" for number in range(12)], LONG_NAMES])
    def test_twelve_names_in_one_place_do_not_cover_each_other(self, methods: list[str]) -> None:
        rows = rows_of(methods=methods)
        for row in rows:
            row |= {"seconds": 60 + row["mean"], "interval": [row["mean"] - 0.01, row["mean"] + 0.01]}
        figure = study_curves.cost(rows, BALANCED)
        found = boxes(figure, figure.findobj(Annotation))
        assert len(found) == 12
        pairs = [(one, other) for place, one in enumerate(found) for other in found[:place]]
        assert not any(one.overlaps(other) for one, other in pairs)

    def test_names_stay_off_the_intervals_and_their_lines_off_other_points(self) -> None:
        rows = rows_of(methods=["logit_adjustment", "cross_entropy", "focal"])
        for row, (seconds, mean) in zip(rows, [(10.2, 0.848), (11.9, 0.846), (9.7, 0.842)], strict=True):
            row |= {"seconds": seconds, "mean": mean, "interval": [mean - 0.15, mean + 0.15]}
        figure = study_curves.cost(rows, BALANCED)
        axes = figure.axes[0]
        names = figure.findobj(Annotation)
        found = boxes(figure, names)
        centres = axes.transData.transform([[row["seconds"], row["mean"]] for row in rows])
        for row in rows:
            ends = axes.transData.transform([[row["seconds"], end] for end in row["interval"]])
            assert not any(box.overlaps(Bbox(ends).padded(1)) for box in found)
        for name, box, own in zip(names, found, centres, strict=True):
            way = own + np.linspace(0, 1, 100)[:, None] * (np.mean([box.p0, box.p1], axis=0) - own)
            others = [centre for centre in centres if not np.array_equal(centre, own)]
            assert all(np.linalg.norm(way - other, axis=1).min() > 5 for other in others), name.get_text()


class TestSweep:
    def draw(self, **changes: Any) -> Axes:
        made = comparison(**changes)
        values = [(float(condition["name"].split()[1]), condition["rows"]) for condition in made["conditions"]]
        return study_curves.sweep("ratio", values, made["methods"], BALANCED).axes[0]

    def test_curves_are_the_means_over_the_setting_on_a_logarithmic_axis(self) -> None:
        axes = self.draw()
        made = comparison()
        curves = {line.get_label(): line.get_xydata() for line in axes.lines}
        for method in made["methods"]:
            means = [row["mean"] for each in made["conditions"] for row in each["rows"] if row["method"] == method]
            assert curves[method][:, 0].tolist() == [1, 0.1, 0.05, 0.01]
            assert curves[method][:, 1].tolist() == means
        assert axes.get_xscale() == "log" and axes.xaxis_inverted(), "it runs as the study does: from 1 to 0.01"
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "0.1", "0.05", "0.01"]

    def test_bands_are_the_intervals_while_there_are_few_methods(self) -> None:
        axes = self.draw(methods=["a", "b"])
        rows = {
            (each["name"], row["method"]): row["interval"]
            for each in comparison(methods=["a", "b"])["conditions"]
            for row in each["rows"]
        }
        heights = axes.collections[0].get_paths()[0].vertices[:, 1]
        low, high = rows["ratio 0.01", "a"]
        assert low in heights and high in heights
        assert not self.draw(methods=[f"m{i}" for i in range(7)]).collections

    def test_a_method_without_runs_in_a_condition_has_a_gap(self) -> None:
        axes = self.draw(without=[("ratio 0.05", "focal 2", seed) for seed in range(5)])
        curves = {line.get_label(): line.get_xydata() for line in axes.lines}
        assert curves["focal 2"][:, 0].tolist() == [1, 0.1, 0.01]

    def test_names_at_the_ends_keep_their_distance_and_order(self) -> None:
        heights = study_curves._spread(np.array([0.5, 0.51, 0.52, 0.9]), 0.1)
        assert heights == pytest.approx([0.41, 0.51, 0.61, 0.9])
        crowded = study_curves._spread(np.full(5, 0.99), 0.1)
        assert np.diff(crowded) == pytest.approx(np.full(4, 0.1)) and crowded[-1] == pytest.approx(1)
