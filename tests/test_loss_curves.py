"""What is drawn of a loss is what the loss computes, and every drawing can be read without colour."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import complaint, imbalance, shell
from torch import Tensor

from imbalance_cli.drawing import save_figure
from imbalance_cli.errors import SettingError, WriteError
from imbalance_cli.loss_curves import (
    HIGHEST_GRADIENT,
    HIGHEST_LOSS,
    PROBABILITIES,
    Curve,
    compares_images,
    curve_label,
    curves_of,
    draw_in_terminal,
    loss_curve,
    loss_figure,
    write_csv,
)
from imbalance_cli.methods.losses import LOSSES


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]


def focal(gamma: float):  # type: ignore[no-untyped-def]
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        value = cross_entropy(logits, labels)
        return (1 - (-value).exp()) ** gamma * value

    return loss


def focal_curve(gamma: float) -> Curve:
    return Curve(curve_label("focal", {"gamma": gamma}), PROBABILITIES, *loss_curve(focal(gamma)))


def test_cross_entropy_has_the_values_of_the_textbook() -> None:
    values, _ = loss_curve(cross_entropy, np.array([0.8, 0.7]))
    assert values == pytest.approx([0.2231, 0.3567], abs=5e-5)


def test_the_gradient_of_cross_entropy_is_one_minus_p() -> None:
    _, gradient = loss_curve(cross_entropy)
    assert gradient == pytest.approx(1 - PROBABILITIES, rel=1e-12)


def test_focal_scales_cross_entropy_and_its_gradient() -> None:
    p, gamma = 0.9, 2
    values, gradient = loss_curve(focal(gamma), np.array([p]))
    assert values == pytest.approx([0.1**2 * 0.10536], rel=1e-4)
    # Lin et al. (2017), appendix B.
    assert gradient == pytest.approx([(1 - p) ** gamma * abs(gamma * p * math.log(p) + p - 1)], rel=1e-12)


def test_the_true_class_is_the_second_whose_logit_alone_moves() -> None:
    seen = []

    def watched(logits: Tensor, labels: Tensor) -> Tensor:
        seen.append((logits.detach(), labels))
        return cross_entropy(logits, labels)

    loss_curve(watched, np.array([0.25, 0.75]))
    ((logits, labels),) = seen
    assert logits.dtype == torch.float64 and labels.tolist() == [1, 1]
    assert logits.numpy() == pytest.approx(np.array([[0, -math.log(3)], [0, math.log(3)]]))


@pytest.mark.parametrize(
    ("loss", "options", "label"),
    [
        ("cross_entropy", {}, "cross_entropy"),
        ("focal", {"gamma": 0.0}, "focal, gamma = 0 (cross_entropy)"),
        ("focal", {"gamma": 0, "alpha": None}, "focal, gamma = 0 (cross_entropy)"),
        ("focal", {"gamma": 0.0, "alpha": 0.25}, "focal, gamma = 0, alpha = 0.25"),
        ("focal", {"gamma": 2.0}, "focal, gamma = 2"),
        ("huber", {}, "huber"),
    ],
)
def test_a_curve_is_called_by_its_loss_and_options(loss: str, options: dict[str, object], label: str) -> None:
    assert curve_label(loss, options) == label


def test_the_figure_has_the_loss_the_gradient_and_the_well_classified_region() -> None:
    curves = [focal_curve(gamma) for gamma in (0, 1, 2, 5)]
    figure = loss_figure(curves)
    loss, gradient = figure.axes
    for curve, left, right in zip(curves, loss.lines, gradient.lines, strict=True):
        assert np.array_equal(left.get_ydata(), curve.loss)
        assert np.array_equal(right.get_ydata(), curve.gradient)
    for axes in figure.axes:
        assert "well classified" in [text.get_text() for text in axes.texts]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [curve.label for curve in curves]
    assert len({line.get_linestyle() for line in loss.lines}) == 4, "told apart in grey"


def test_fifty_curves_have_a_legend_that_stays_on_the_page(tmp_path: Path) -> None:
    figure = loss_figure([focal_curve(index / 5) for index in range(50)])
    save_figure(figure, tmp_path / "f.png")
    (legend,) = figure.legends
    boxes = [text.get_window_extent() for text in legend.get_texts()]
    assert len(boxes) == 50
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)
    assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])
    assert max(box.y1 for box in boxes) < min(axes.get_window_extent().y0 for axes in figure.axes)


def test_a_loss_of_zero_everywhere_can_be_drawn() -> None:
    nothing = Curve("nothing", PROBABILITIES, np.zeros(999), np.zeros(999))
    assert loss_figure([nothing]).axes
    assert "a nothing" in draw_in_terminal([nothing]).plain


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_terminal_drawing_fits_and_names_every_curve(ascii_only: bool, width: int) -> None:
    curves = [focal_curve(gamma) for gamma in (0, 1, 2, 5)]
    drawing = draw_in_terminal(curves, width=width, height=12, ascii_only=ascii_only).plain
    rows = drawing.splitlines()
    assert max(map(len, rows)) <= min(width, 80)
    assert drawing.isascii() == ascii_only
    panel = "".join(row[7:] for row in rows[1:13])
    for letter, curve in zip("abcd", curves, strict=True):
        assert f"{letter} {curve.label}" in drawing
        assert letter in panel, "without colours a letter tells the curves apart"
    assert "probability of the true class" in drawing and "well classified" in drawing


def test_the_terminal_drawing_puts_the_curve_where_its_values_are() -> None:
    line = Curve("line", PROBABILITIES, 1 - PROBABILITIES, np.ones(999))
    rows = draw_in_terminal([line], width=47, height=10, ascii_only=True).plain.splitlines()
    panel = [row[7:] for row in rows[1:11]]
    assert panel[0].startswith("a") and panel[-1].endswith("a")
    assert all(row.index("a") < below.index("a") for row, below in zip(panel, panel[1:], strict=False))


def test_curves_that_coincide_share_the_cells_of_an_ascii_drawing() -> None:
    curves = [focal_curve(1), focal_curve(1)]
    panel = draw_in_terminal(curves, ascii_only=True).plain.split("+--")[0]
    assert panel.count("b") > 20
    assert panel.count("a") == pytest.approx(panel.count("b"), rel=0.2)


def test_labels_are_ascii_where_the_terminal_is() -> None:
    curve = Curve("γ = 2", PROBABILITIES, 1 - PROBABILITIES, np.ones(999))
    assert "a ? = 2" in draw_in_terminal([curve], ascii_only=True).plain


def test_the_csv_holds_every_value_exactly(tmp_path: Path) -> None:
    curves = [focal_curve(0), focal_curve(2)]
    write_csv(curves, tmp_path / "values.csv")
    with open(tmp_path / "values.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == [
        *("p", "focal, gamma = 0 (cross_entropy) loss", "focal, gamma = 0 (cross_entropy) gradient"),
        *("focal, gamma = 2 loss", "focal, gamma = 2 gradient"),
    ]
    values = np.array(rows, float)
    expected = [PROBABILITIES] + [column for curve in curves for column in (curve.loss, curve.gradient)]
    assert np.array_equal(values, np.column_stack(expected))
    assert rows[799][0] == "0.8"


def test_nothing_to_draw_is_an_error_that_says_what_to_give(tmp_path: Path) -> None:
    for draw in (loss_figure, draw_in_terminal, lambda curves: write_csv(curves, tmp_path / "f.csv")):
        with pytest.raises(SettingError, match="no loss to draw; name at least one"):
            draw([])
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(WriteError):
        write_csv([focal_curve(1)], tmp_path / "absent" / "f.csv")


def test_a_terminal_with_no_room_for_a_panel_gets_the_names() -> None:
    curves = [focal_curve(gamma) for gamma in (0, 2)]
    assert draw_in_terminal(curves, width=10).plain == "focal, gamma = 0 (cross_entropy)\nfocal, gamma = 2"


# The command


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("args", "message"),
    [
        pytest.param(["--gamma", -1], "--gamma must be at least 0; got -1.0", marks=pytest.mark.fault("P01")),
        (["--gamma", "nan"], "--gamma must be a finite number; got nan"),
        pytest.param(
            ["-o", "f.xyz"],
            "cannot draw f.xyz: it has the suffix '.xyz'; known: .png, .svg, .pdf",
            marks=pytest.mark.fault("P07"),
        ),
        # No window is ever opened.
        pytest.param(["--show"], "unknown option --show", marks=pytest.mark.fault("P05")),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_written(
    args: list[object], message: str, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imbalance_cli.loss_curves.curves_of", None)  # nor is anything computed
    assert complaint("plot-loss", *args).startswith(message)
    assert not list(empty_folder.iterdir())


@pytest.mark.fault("P03")
def test_no_gamma_and_fifty_gammas_are_drawn(empty_folder: Path) -> None:
    assert "a focal, gamma = 2" in imbalance("plot-loss", "-q").stdout
    shown = imbalance("plot-loss", "--gamma", *range(1, 51), "-o", "many.png", "-q").stdout
    assert all(re.search(rf"focal, gamma = {gamma}\b", shown) for gamma in range(1, 51))
    assert (empty_folder / "many.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.fault("P06")
def test_a_figure_that_cannot_be_written_is_named(empty_folder: Path) -> None:
    assert complaint("plot-loss", "-o", "/proc/x.png", "-q", exit_code=6).startswith("cannot write /proc/x.png: ")
    assert "cannot write no/f.csv" in complaint("plot-loss", "--csv", "no/f.csv", "-q", exit_code=6)


@pytest.mark.fault("P09")
@pytest.mark.parametrize("flags", [["-o", "f.png"], ["-o", "new.png", "--csv", "f.png"]])
def test_a_file_in_the_way_stays_as_it_is(flags: list[str], empty_folder: Path) -> None:
    (empty_folder / "f.png").write_text("precious")
    told = complaint("plot-loss", *flags, exit_code=4)
    assert told == "f.png exists; choose another name, or replace it with --overwrite"
    assert [path.read_text() for path in empty_folder.iterdir()] == ["precious"]


@pytest.mark.fault("P11")
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_command_twice_gives_the_same_bytes(suffix: str, empty_folder: Path) -> None:
    for name in ("first", "second"):
        imbalance("plot-loss", "--gamma", 0, 2, "-o", f"{name}.{suffix}", "-q")
    assert len({path.read_bytes() for path in empty_folder.iterdir()}) == 1


@pytest.mark.fault("P04", "P14")
def test_no_display_no_font_cache_and_any_backend_will_do(empty_folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment |= {"MPLBACKEND": "TkAgg", "HOME": "/nope", "MPLCONFIGDIR": "/nope"}
    done = shell("plot-loss", "-o", "f.png", "--json", "-q", env=environment, cwd=empty_folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == '{"figure": "f.png", "curves": ["focal, gamma = 2"]}\n'
    assert (empty_folder / "f.png").exists()


@pytest.mark.fault("P13")
def test_without_matplotlib_the_command_says_what_to_install(empty_folder: Path) -> None:
    code = "import sys; sys.modules['matplotlib'] = None; from imbalance_cli.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "plot-loss"], capture_output=True, text=True, cwd=empty_folder)
    told = "error: figures need matplotlib, which is not installed; run: python -m pip install matplotlib\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)
    assert not list(empty_folder.iterdir())


@pytest.mark.parametrize("loss", ["auc_margin", "pairwise_hinge"])
def test_a_loss_that_compares_images_has_no_curve_of_one(loss: str) -> None:
    told = complaint("plot-loss", "--loss", loss)
    assert told == f"--loss {loss} compares images with each other, so a single one has no curve"


@pytest.mark.parametrize("loss", ["ldam", "influence_balanced"])
def test_a_loss_that_is_large_everywhere_is_drawn_all_the_same(loss):
    curves = curves_of([with_options(loss)])
    axes = loss_figure(curves).axes[0]
    assert axes.get_ylim()[1] >= curves[1].loss[np.isfinite(curves[1].loss)].max() > HIGHEST_LOSS


# Class counts


def with_options(loss: str, **options: object) -> dict[str, object]:
    return {"name": loss, **LOSSES.get(loss).schema().model_dump(), **options}


def test_a_loss_that_goes_by_the_class_counts_has_a_curve_of_each_class() -> None:
    common, rare = curves_of([with_options("logit_adjustment")])
    assert common.label == "logit_adjustment, common class (5,000 images)" and common.images == 5000
    assert rare.label == "logit_adjustment, rare class (50 images)" and rare.images == 50
    p = PROBABILITIES  # a log prior more or less on a logit multiplies the odds by the ratio of the counts
    assert common.loss == pytest.approx(np.log1p((1 - p) / p / 100), rel=1e-9)
    assert rare.loss == pytest.approx(np.log1p((1 - p) / p * 100), rel=1e-9)
    assert curves_of([with_options("ldam")], {"a": 1, "b": 1})[1].label == "ldam, b (1 image)"


GOES_BY_COUNTS = ["logit_adjustment", "class_balanced_focal", "ldam", "vector_scaling", "margin_hinge"]
GOES_BY_COUNTS += ["equalization", "seesaw", "influence_balanced", "label_aware_smoothing"]


@pytest.mark.parametrize("loss", [name for name in LOSSES.names() if not compares_images(name)])
def test_only_losses_that_go_by_the_counts_are_drawn_at_some(loss: str) -> None:
    curves = curves_of([with_options(loss)])
    assert [curve.images for curve in curves] == ([5000, 50] if loss in GOES_BY_COUNTS else [None])
    if loss in GOES_BY_COUNTS:
        assert not np.allclose(curves[0].loss, curves[1].loss)


@pytest.mark.parametrize(
    ("choice", "drawn"),
    [
        (with_options("focal", alpha=0.25), 1),  # which class is the rarer says nothing about counts
        (with_options("focal", alpha="counts"), 2),
        (with_options("logit_adjustment", tau=0.0), 1),
        (with_options("equalization", ignored=0.0), 1),
    ],
)
def test_the_options_decide_whether_the_counts_matter(choice: dict[str, object], drawn: int) -> None:
    assert len(curves_of([choice])) == drawn


def test_a_loss_that_draws_is_drawn_as_its_mean() -> None:
    common, rare = curves_of([with_options("equalization", ignored=0.9)])
    values, gradient = loss_curve(cross_entropy)
    assert common.loss == pytest.approx(0.1 * values) and common.gradient == pytest.approx(0.1 * gradient)
    assert rare.loss == pytest.approx(values)


def test_the_legend_says_at_which_counts() -> None:
    (legend,) = loss_figure(curves_of([with_options("ldam")], {"bus": 900, "tram": 9})).legends
    assert [text.get_text() for text in legend.get_texts()] == ["ldam, bus (900 images)", "ldam, tram (9 images)"]


# Axes


def test_one_steep_curve_does_not_flatten_the_others() -> None:
    steep, flat = curves_of([with_options("poly1", epsilon=100.0), with_options("cross_entropy")])
    for axes, highest in zip(loss_figure([steep, flat]).axes, (HIGHEST_LOSS, HIGHEST_GRADIENT), strict=True):
        assert axes.get_ylim()[1] == pytest.approx(1.04 * 2 * highest)
    assert loss_figure([flat]).axes[1].get_ylim()[1] == pytest.approx(1.04 * 0.999)
    assert loss_figure([steep]).axes[1].get_ylim()[1] >= steep.gradient.max(), "alone it is seen as a whole"


def test_of_a_higher_curve_most_is_seen() -> None:
    curves = curves_of([with_options("logit_adjustment")])
    rare = curves[1].loss[PROBABILITIES >= 0.1]
    assert loss_figure(curves).axes[0].get_ylim()[1] >= rare.max() > HIGHEST_LOSS


def test_axes_and_panels_say_what_is_drawn() -> None:
    loss, gradient = loss_figure([focal_curve(2)]).axes
    assert loss.get_ylabel() == "loss of one image" and loss.get_xlabel() == "probability of the true class"
    assert gradient.get_ylabel() == "change of the loss per unit of the true logit"


# Options


def curves(*args: object) -> list[str]:
    drawn: list[str] = json.loads(imbalance("plot-loss", *args, "--json", "-q", "--overwrite").stdout)["curves"]
    return drawn


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (
            ["--loss", "poly1", "--vary", "loss.epsilon", -1, 1, 2],
            ["poly1, epsilon = -1", "poly1, epsilon = 1", "poly1, epsilon = 2"],  # the default is told too
        ),
        (["--loss", "hinge", "--set", "loss.margin=2"], ["hinge, margin = 2"]),
        (["--loss", "mse", "huber", "--vary", "loss.delta", 0.1], ["mse", "huber, delta = 0.1"]),
        (
            ["--loss", "poly_focal", "--gamma", 0, 2, "--vary", "loss.epsilon", 0, 5],
            [f"poly_focal, gamma = {gamma}, epsilon = {epsilon}" for gamma in (0, 2) for epsilon in (0, 5)],
        ),
        (
            ["--loss", "ldam", "--counts", "bus=20", "car=4000", "--set", "loss.scale=10"],
            ["ldam, scale = 10, car (4,000 images)", "ldam, scale = 10, bus (20 images)"],
        ),
        (
            ["--loss", "cross_entropy", "ldam", "--counts", 9, 900],
            ["cross_entropy", "ldam, common class (900 images)", "ldam, rare class (9 images)"],
        ),
        (["--loss", "ldam", "--counts", 9, 9], ["ldam, one class (9 images)", "ldam, the other (9 images)"]),
    ],
)
def test_any_option_and_the_class_counts_can_be_varied(
    args: list[object], expected: list[str], empty_folder: Path
) -> None:
    assert curves(*args) == expected


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--vary", "loss.gama", 1, 2], "unknown setting 'loss.gama'; did you mean 'loss.gamma'?"),
        (["--vary", "gama", 1, 2], "--vary gama: give an option of the loss, as in loss.gamma"),
        (["--set", "model.width=8"], "--set model.width: give an option of the loss, as in loss.gamma"),
        (["--loss", "mse", "--vary", "loss.delta", 1], "loss.delta has no use with mse; it is an option of huber"),
        (["--loss", "poly1", "--vary", "loss.epsilon", 1, 200], "loss.epsilon must be at most 100; got 200"),
        (["--loss", "poly1", "--vary", "loss.epsilon", "much"], "loss.epsilon must be a number; got 'much'"),
        (
            ["--gamma", 1, "--vary", "loss.gamma", 1, 2],
            "--vary loss.gamma: that option is given twice; give all its values to --vary loss.gamma",
        ),
        (["--gamma", *range(60)], "60 curves cannot be told apart; draw at most 52"),
        (
            ["--counts", 5000, 50],
            "--counts has no use here: whatever they are, the curve of focal, gamma = 2 is the same",
        ),
        (
            ["--loss", "ldam", "--counts", 5, 4, 3],
            "--counts: a curve is of one class against another; give two, as in --counts 5000 50",
        ),
        (["--loss", "ldam", "--counts", "a"], "--counts a: expected images of each class, as in --counts 5000 50"),
    ],
)
def test_what_cannot_be_varied_is_said_in_one_line(args: list[object], message: str, empty_folder: Path) -> None:
    assert complaint("plot-loss", *args) == message
    assert not list(empty_folder.iterdir())


def test_the_counts_that_were_assumed_are_said(empty_folder: Path) -> None:
    told = imbalance("plot-loss", "--loss", "ldam")
    assert "rare class (50 images)" in told.stdout and "for others than 5000 and 50 give --counts" in told.stderr
    assert "--counts" not in imbalance("plot-loss", "--loss", "ldam", "--counts", 9, 3, "--overwrite").stderr
    assert "--counts" not in imbalance("plot-loss", "--overwrite").stderr
