"""Figures say what the numbers say, stay readable for any classes, and are the same bytes when made twice."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import imbalance
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from imbalance_cli import drawing, plots, threshold_plots
from imbalance_cli.errors import SettingError, WriteError
from imbalance_cli.pages import study_plots
from imbalance_cli.studies.scores import POINTS

VALIDATED = POINTS["validation"]
STRANGE_NAMES = [
    "a very long class name that goes on and on and ends in alpha",
    "a very long class name that goes on and on and ends in beta",
    "猫と犬",
    "$x^2$ and _y$",
    "new\nline\x00",
    "\udcff not UTF-8",
]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


def says(figure: Figure, words: str) -> bool:
    return any(words in text for text in texts(figure))


def lines(figure: Figure) -> dict[str, np.ndarray]:
    """Label to points [n, 2]."""
    return {line.get_label(): line.get_xydata() for axes in figure.axes for line in axes.lines}


def every_figure(class_names: list[str], images_per_class: list[int]) -> dict[str, Figure]:
    """Each figure for a random model; a class with no images per class is absent from the test set."""
    random = np.random.default_rng(0)
    classes = len(class_names)
    labels = np.repeat(np.arange(classes), images_per_class)
    logits = random.normal(size=(len(labels), classes)) + 2 * (labels[:, None] == np.arange(classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    predictions = logits.argmax(1)
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (labels, predictions), 1)
    recalls = np.where(matrix.sum(1) > 0, matrix.diagonal() / np.maximum(matrix.sum(1), 1), np.nan)
    train_counts = [5000 // (1 + index) for index in range(classes)]
    log = [
        {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "learning_rate": 0.1,
            "validation_loss": 1.1 / epoch,
            "validation_recall": [None if np.isnan(recall) else recall for recall in recalls],
        }
        for epoch in range(1, 6)
    ]
    images = [random.integers(0, 255, (min(n, 12), 3, 8, 8), dtype=np.uint8) for n in images_per_class]
    captions = [f"as {class_names[0]}\np = .99"] * 9
    points = {"argmax": 0.5, "prior": 0.02}
    return {
        "confusion_matrix": plots.confusion_matrix(matrix, class_names, VALIDATED),
        "roc_curve": threshold_plots.roc_curve(labels, logits, class_names, train_counts),
        "precision_recall": threshold_plots.precision_recall(labels, logits, class_names, train_counts),
        "threshold_sweep": threshold_plots.threshold_sweep(labels == 1, probabilities[:, 1], points, class_names[1]),
        "reliability": plots.reliability(probabilities.max(1), predictions == labels),
        "recall_bars": plots.recall_bars(recalls, train_counts, class_names, VALIDATED),
        "learning_curves": plots.learning_curves(log, class_names),
        "missed_images": plots.missed_images(np.concatenate(images)[:9], captions, 1200, class_names[1], VALIDATED),
        "subset_preview": plots.subset_preview(images, class_names, train_counts),
    }


@pytest.mark.parametrize(
    ("class_names", "images_per_class"),
    [
        (["airplane", "automobile"], [20, 20]),
        ([f"class {index}" for index in range(10)], [20] * 10),
        ([f"one_of_many_{index}" for index in range(100)], [5] * 100),
        (STRANGE_NAMES, [20, 20, 0, 20, 20, 0]),
    ],
    ids=["2 classes", "10 classes", "100 classes", "strange names"],
)
def test_nothing_is_cut_off_and_nothing_warns(class_names: list[str], images_per_class: list[int]) -> None:
    for name, figure in every_figure(class_names, images_per_class).items():
        with drawing.shared_look():
            figure.draw_without_rendering()
            drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert drawn.x0 > -0.01 and drawn.x1 < width + 0.01, name
        assert drawn.y0 > -0.01 and drawn.y1 < height + 0.01, name


def test_confusion_matrix_shows_counts_and_shares_of_the_true_class() -> None:
    figure = plots.confusion_matrix(np.array([[990, 10], [88, 12]]), ["airplane", "automobile"])
    assert says(figure, "88\n88.0 %") and says(figure, "10\n1.0 %")
    assert says(figure, "1,002 of 1,100 images right")


def test_confusion_matrix_of_many_classes_is_colour_alone() -> None:
    figure = plots.confusion_matrix(np.eye(100, dtype=int) * 7, [f"class {index}" for index in range(100)])
    assert not says(figure, "7\n100 %")
    assert says(figure, "share of the true class")


def test_an_absent_class_is_named_as_such_instead_of_drawn_as_zero() -> None:
    matrix = np.array([[3, 0], [0, 0]])
    assert says(plots.confusion_matrix(matrix, ["a", "b"]), "no\nimages")
    assert says(plots.recall_bars(np.array([1.0, np.nan]), [10, 5], ["a", "b"]), "no images")
    labels, logits = np.zeros(4, int), np.arange(8.0).reshape(4, 2)
    assert says(threshold_plots.roc_curve(labels, logits, ["a", "b"], [9, 1]), "b: no curve")
    assert says(threshold_plots.precision_recall(labels, logits, ["a", "b"], [9, 1]), "b: no curve")
    assert says(threshold_plots.threshold_sweep(labels == 1, logits[:, 1] / 10, {}, "b"), "needs images")


def test_two_classes_have_the_curve_of_the_rarer_one() -> None:
    labels = np.array([0, 0, 1, 1])
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.5], [0.0, 3.0]])
    roc = threshold_plots.roc_curve(labels, logits, ["common", "rare"], [100, 5])
    assert says(roc, "rare: AUROC 0.750") and not says(roc, "common:")
    assert says(threshold_plots.roc_curve(labels, logits, ["rare", "common"], [5, 100]), "rare: AUROC 0.750")
    assert says(
        threshold_plots.precision_recall(labels, logits, ["common", "rare"], [100, 5]),
        "rare: average precision 0.833, guessing 0.500",
    )


def test_of_many_classes_the_ten_rarest_have_curves_that_differ_in_grey_too() -> None:
    figure = every_figure([f"class {index}" for index in range(30)], [5] * 30)["roc_curve"]
    drawn = [line for line in figure.axes[0].lines if str(line.get_label()).startswith("class")]
    assert [str(line.get_label()).split(":")[0] for line in drawn] == [f"class {29 - i}" for i in range(10)]
    assert drawn[0].get_linewidth() > drawn[1].get_linewidth()
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn}) == 10


def test_threshold_sweep_marks_where_each_operating_point_lies() -> None:
    is_class = np.array([True, True, False, False, False])
    scores = np.array([0.9, 0.3, 0.3, 0.2, 0.1])
    figure = threshold_plots.threshold_sweep(is_class, scores, {"argmax": 0.5, "prior": 0.25, "0.95": 0.95}, "rare")
    assert says(figure, "argmax at 0.5: recall 50.0 %, precision 100.0 %, specificity 100.0 %")
    assert says(figure, "prior-corrected at 0.25: recall 100.0 %, precision 66.7 %, specificity 66.7 %")
    assert says(figure, "threshold 0.95: recall 0.0 %, precision -, specificity 100.0 %")


def test_operating_points_at_one_place_do_not_hide_each_other() -> None:
    points = dict.fromkeys(["argmax", "prior", "validation"], 0.5)
    is_class, scores = np.array([True, False]), np.array([0.9, 0.1])
    row = {"method": "focal", "points": points}
    for figure in (
        threshold_plots.threshold_sweep(is_class, scores, points, "rare"),
        study_plots.operating_points([row], 2),
    ):
        drawn = [line for line in figure.axes[0].lines if line.get_marker() in ("o", "s", "D")]
        sizes = [line.get_markersize() for line in drawn]
        assert len(drawn) == 3 and sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 3, "in each other"
        assert all(line.get_markerfacecolor() == "white" and not line.get_clip_on() for line in drawn)
        assert says(figure, "prior-corrected") and says(figure, "from validation")


def test_precision_is_drawn_from_where_something_is_found() -> None:
    """Not from recall 0, where scikit-learn puts precision 1, nor where the first images are of other classes."""
    labels = np.array([0, 1, 1, 0, 0])
    logits = np.array([[0, 5.0], [0, 4.0], [0, 3.0], [0, 2.0], [0, 1.0]])
    figure = threshold_plots.precision_recall(labels, logits, ["common", "rare"], [9, 1])
    curve = next(points for label, points in lines(figure).items() if label.startswith("rare"))
    assert curve[curve[:, 0] == 0][:, 1].tolist() == [0.5]
    assert curve[:, 1].max() == pytest.approx(2 / 3)


def test_what_guessing_reaches_is_drawn_over_the_curves() -> None:
    labels, logits = np.array([0, 1, 0, 1]), np.zeros((4, 2))
    for draw, label in ((threshold_plots.roc_curve, "_child0"), (threshold_plots.precision_recall, "guessing")):
        drawn = {line.get_label(): line for line in draw(labels, logits, ["a", "b"], [9, 1]).axes[0].lines}
        curve = next(line for name, line in drawn.items() if name.startswith("b:"))
        assert drawn[label].get_zorder() > curve.get_zorder() and drawn[label].is_dashed()


def test_evaluate_marks_the_operating_points_on_the_curves(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(drawing, "save_figure", lambda figure, path: drawn.update({path.stem: figure}))
    imbalance("evaluate", finished_run, "--threshold", 0.3, "-o", tmp_path / "figures", "-q")
    for name in ("roc", "precision_recall"):
        assert {"argmax", "prior-corrected", "threshold 0.3"} <= lines(drawn[name]).keys()


def test_the_threshold_axis_is_as_wide_as_the_scores() -> None:
    random = np.random.default_rng(0)
    scores, is_class = random.uniform(0.24, 0.37, 60), np.arange(60) < 20
    figure = threshold_plots.threshold_sweep(is_class, scores, {}, "frog")
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    assert 0.22 < low < scores.min() and scores.max() < high < 0.4 and len(axes.get_xticks()) > 4
    assert max(points[:, 0].max() for points in lines(figure).values()) == scores.max()
    assert says(figure, "No operating point is marked: with more than two classes")
    marked = threshold_plots.threshold_sweep(is_class, scores, {"argmax": 0.5}, "frog")
    assert marked.axes[0].get_xlim()[1] > 0.5 and not says(marked, "No operating point")


def test_evaluate_draws_the_decision_that_was_asked_for(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(drawing, "save_figure", lambda figure, path: drawn.update({path.stem: figure}))
    imbalance("evaluate", finished_run, "--threshold", 0.3, "-o", tmp_path / "figures", "-q")
    assert all(says(drawn[name], "at threshold 0.3") for name in ("confusion_matrix", "recall"))
    assert any("missed, at threshold 0.3" in text.replace("\n", " ") for text in texts(drawn["missed"]))
    assert says(drawn["threshold"], "threshold 0.3: recall") and says(drawn["threshold"], "prior-corrected at")


def test_figures_of_a_decision_name_it() -> None:
    matrix = np.array([[3, 1], [0, 4]])
    assert says(plots.confusion_matrix(matrix, ["a", "b"]), "7 of 8 images right\nat argmax")
    assert says(plots.confusion_matrix(matrix, ["a", "b"], "at threshold 0.3"), "right\nat threshold 0.3")
    assert says(plots.recall_bars(np.array([0.5, 1]), [9, 1], ["a", "b"], VALIDATED), f"75.0 %, {VALIDATED}")
    assert says(plots.reliability(np.array([0.9]), np.array([True])), "the class predicted at argmax")


def test_threshold_sweep_draws_what_deciding_by_the_threshold_gives() -> None:
    is_class = np.array([True, True, False, True, False])
    scores = np.array([0.9, 0.6, 0.4, 0.2, 0.1])
    drawn = lines(threshold_plots.threshold_sweep(is_class, scores, {}, "rare"))
    steps = {"recall": "post", "specificity": "post", "precision": "pre"}
    figure = threshold_plots.threshold_sweep(is_class, scores, {}, "rare")
    for line in figure.axes[0].lines:
        name = str(line.get_label())
        assert line.get_drawstyle() == f"steps-{steps[name]}"
    for threshold in (0.15, 0.3, 0.5, 0.7):
        chosen = scores >= threshold
        x, recall = drawn["recall"].T  # from high to low thresholds
        assert recall[x > threshold][-1] == chosen[is_class].mean()
        x, precision = drawn["precision"].T  # from low to high thresholds
        assert precision[x > threshold][0] == is_class[chosen].mean()


def test_reliability_prints_the_calibration_error() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9])
    figure = plots.reliability(confidence, np.array([True, True, False, False]))
    assert says(figure, "ECE 0.400: confidence 90.0 % on average, accuracy 50.0 %")
    assert says(plots.reliability(np.array([]), np.array([], bool)), "no images")


def test_recall_bars_go_from_the_most_to_the_least_trained_class() -> None:
    figure = plots.recall_bars(np.array([0.2, 0.9, 0.5]), [50, 5000, 400], ["rare", "common", "middle"])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["common", "middle", "rare"]
    assert says(figure, "5,000") and says(figure, "20.0 %")
    recall, images = figure.axes
    assert recall.spines.bottom.get_bounds() == (0, 1), "no recall is higher"
    assert [label.get_text() for label in images.get_xticklabels()] == ["10,000", "100", "1"]
    assert not images.patches, "a bar on a logarithmic axis has no origin"


def test_learning_curves_leave_out_what_the_log_does_not_hold() -> None:
    line = {"epoch": 1, "train_loss": 0.5, "learning_rate": 0.1}
    assert says(plots.learning_curves([line], ["a", "b"]), "no validation data")
    assert says(plots.learning_curves([], ["a", "b"]), "no epochs yet")
    validated = line | {"validation_loss": 0.6, "validation_recall": [0.9, None]}
    figure = plots.learning_curves([line, validated | {"epoch": 2}], ["a", "b"])
    assert says(figure, "Training loss 0.5 after epoch 2")
    assert "a" in lines(figure) and "b" not in lines(figure)


def missed(shown: int, total: int) -> Figure:
    images = np.zeros((shown, 3, 8, 8), np.uint8)
    return plots.missed_images(images, ["star/1\nloss 2"] * shown, total, "automobile", VALIDATED)


def test_missed_images_are_counted_and_of_one_class_and_decision() -> None:
    decided = "automobile: {} missed, at the threshold from validation"
    for shown, total, words in (
        (0, 0, decided.format("no images")),
        (1, 1, decided.format("1 image")),
        (8, 8, decided.format("8 images") + "; most confident mistake first"),
        (8, 1200, decided.format("1,200 images") + "; the 8 most confident mistakes"),
    ):
        (title,) = [text for text in texts(missed(shown, total)) if "missed" in text]
        assert title.replace("\n", " ") == words


@pytest.mark.parametrize("shown", [1, 2, 3])
def test_the_title_above_a_few_missed_images_is_whole(shown: int) -> None:
    figure = missed(shown, 1200)
    with drawing.shared_look():
        figure.draw_without_rendering()
        box = figure.get_suptitle() and figure._suptitle.get_window_extent()  # type: ignore[attr-defined]
        top = max(axes.get_window_extent().y1 for axes in figure.axes)
    assert box.x1 <= figure.bbox.x1 and box.y0 >= top


def test_preview_shows_the_images_of_each_class_in_its_row() -> None:
    red, blue = np.zeros((2, 4, 3, 8, 8), np.uint8)
    red[:, 0] = 255
    blue[:, 2] = 255
    figure = plots.subset_preview([red, blue], ["red", "blue"], [4000, 40])
    picture = np.asarray(figure.axes[0].images[0].get_array())
    top, bottom = np.split(picture, 2)
    assert (top[0, 0] == [255, 0, 0]).all() and (bottom[0, 0] == [0, 0, 255]).all()
    assert (picture[:, -1] == 255).all(), "places without an image are white"
    assert says(figure, "red  4,000") and says(figure, "4,040 images of 2 classes")


@pytest.mark.parametrize("suffix", drawing.SUFFIXES)
def test_a_figure_made_twice_is_the_same_file(suffix: str, tmp_path: Path) -> None:
    for name in ("first", "second"):
        figure = plots.confusion_matrix(np.array([[3, 1], [0, 4]]), ["a", "b"])
        drawing.save_figure(figure, tmp_path / f"{name}{suffix}")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize("suffix", drawing.SUFFIXES)
def test_any_class_name_can_be_written(suffix: str, tmp_path: Path) -> None:
    classes = len(STRANGE_NAMES)
    drawing.save_figure(plots.confusion_matrix(np.eye(classes, dtype=int), STRANGE_NAMES), tmp_path / f"f{suffix}")
    assert (tmp_path / f"f{suffix}").stat().st_size > 0


def test_a_png_has_a_white_background(tmp_path: Path) -> None:
    drawing.save_figure(plots.confusion_matrix(np.eye(2, dtype=int), ["a", "b"]), tmp_path / "f.PNG")
    with Image.open(tmp_path / "f.PNG") as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_a_suffix_that_is_not_a_figure_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"'\.xyz'; known: \.png, \.svg, \.pdf"):
        drawing.check_suffix(tmp_path / "f.xyz")
    with pytest.raises(SettingError, match="no suffix"):
        drawing.check_suffix(tmp_path / "figure")


def test_a_place_that_cannot_be_written_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="absent"):
        drawing.save_figure(plots.confusion_matrix(np.eye(2, dtype=int), ["a", "b"]), tmp_path / "absent" / "f.png")


DRAW = """
import sys
from pathlib import Path
import numpy as np
from imbalance_cli import drawing, plots
{before}
drawing.save_figure(plots.confusion_matrix(np.eye(2, dtype=int), ["a", "b"]), Path(sys.argv[1]))
"""


def draw_in_new_process(path: Path, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DRAW.format(before=before), str(path)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def test_drawing_needs_no_display_no_font_cache_and_none_of_the_users_settings(tmp_path: Path) -> None:
    settings = tmp_path / "matplotlibrc"
    settings.write_text("figure.facecolor: red\ntext.usetex: True\nno.such.setting: 1\n")
    plain, odd = tmp_path / "plain.svg", tmp_path / "odd.svg"
    assert draw_in_new_process(plain).stderr == ""
    result = draw_in_new_process(
        odd,
        DISPLAY="",
        MPLBACKEND="no_such_backend",
        MATPLOTLIBRC=str(settings),
        MPLCONFIGDIR="/dev/null/nowhere",
        PYTHONHASHSEED="1",
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert odd.read_bytes() == plain.read_bytes()


def test_without_matplotlib_the_error_says_what_to_install(tmp_path: Path) -> None:
    result = draw_in_new_process(tmp_path / "f.png", before="sys.modules['matplotlib'] = None")
    assert "SettingError: figures need matplotlib, which is not installed; run: python -m pip" in result.stderr
    assert not list(tmp_path.iterdir())
