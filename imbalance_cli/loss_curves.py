"""Loss functions over the probability of the true class: values, figure, terminal drawing and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imbalance_cli.drawing import MOST_CURVES, line_look, new_figure, shared_look
from imbalance_cli.errors import SettingError, printable
from imbalance_cli.files import write_file
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.registry import short_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.text import Text
    from torch import Tensor

PROBABILITIES = np.arange(1, 1000) / 1000  # of the true class, where curves are evaluated unless told otherwise
WELL_CLASSIFIED = 0.6  # from here on the focal loss paper speaks of well-classified examples (Lin et al., 2017)
HIGHEST_LOSS = 5.0  # drawn; cross-entropy grows without bound as the probability falls to 0
HIGHEST_GRADIENT = 3.0  # drawn; that of cross-entropy is at most 1
IMAGES = {"common class": 5000, "rare class": 50}  # where a loss goes by the class counts, unless told otherwise

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # each names a curve in the terminal


@dataclass(frozen=True)
class Curve:
    """One loss at the probabilities p of the true class; p, loss and gradient are [n].

    images: those of the true class, if the loss goes by the class counts.
    """

    label: str
    p: NDArray[np.float64]
    loss: NDArray[np.float64]
    gradient: NDArray[np.float64]
    images: int | None = None


def compares_images(name: str) -> bool:
    """Whether the loss of that name compares the images of a batch, and so has to know how much there is of each."""
    return "membership" in LOSSES.get(name).inputs


def loss_curve(
    loss: Callable[[Tensor, Tensor], Tensor], p: NDArray[np.float64] = PROBABILITIES, true_class: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values and gradient sizes [n] of `loss`, in float64, where the true class of two has probability p [n].

    loss: takes logits [n, 2] and labels [n], gives [n]. The true class is by default the second, by convention the
    minority; its logit is log(p / (1 - p)), the other's 0. The gradient is with respect to the true logit.
    """
    import torch

    z = torch.from_numpy(p).double().logit().requires_grad_()
    logits = torch.zeros(len(z), 2, dtype=torch.float64).index_copy(1, torch.tensor([true_class]), z.unsqueeze(1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # some draw
        values = loss(logits, torch.full((len(z),), true_class))
    (gradient,) = torch.autograd.grad(values.sum(), z)
    return values.detach().numpy(), gradient.abs().numpy()


def curves_of(choices: Sequence[Mapping[str, Any]], images: Mapping[str, int] = IMAGES) -> list[Curve]:
    """The curve of each registered loss, given as {name: ..., option: value, ...} with every option.

    A loss that goes by the class counts has a curve for each of two classes; images: of each by its name. Raises
    SettingError for a loss that one image does not have, and for more curves than can be told apart.
    """
    curves = []
    for choice in choices:
        if compares_images(choice["name"]):
            raise SettingError(f"--loss {choice['name']} compares images with each other, so a single one has no curve")
        method, bound = LOSSES.get(choice["name"]), expected_loss(choice)
        alike = [other for other in choices if other["name"] == choice["name"]]
        told = {
            name: choice[name]
            for name, option in method.options.items()
            if name == "gamma" or any(value != choice[name] for value in (option.default, *(c[name] for c in alike)))
        }
        label = curve_label(short_name(method.name), told)
        if not _goes_by_counts(bound):
            curves.append(Curve(label, PROBABILITIES, *loss_curve(_among(bound, [1, 1]))))
            continue
        for true_class, (name, number) in enumerate(images.items()):
            values, gradient = loss_curve(_among(bound, images.values()), true_class=true_class)
            whose = f"{label}, {printable(name)} ({number:,} image{'' if number == 1 else 's'})"
            curves.append(Curve(whose, PROBABILITIES, values, gradient, number))
    if len(curves) > len(_LETTERS):
        raise SettingError(f"{len(curves)} curves cannot be told apart; draw at most {len(_LETTERS)}")
    return curves


def expected_loss(choice: Mapping[str, Any]) -> Callable[..., Tensor]:
    """The loss that `choice` describes; of one that draws, its mean among two classes."""
    if choice["name"] != "equalization":
        return LOSSES.bind(choice)
    # Of two classes it leaves the other out or does not: its mean has two parts.
    left_out, kept = (LOSSES.bind({**choice, "ignored": share}) for share in (1.0, 0.0))

    def mean(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
        share: float = choice["ignored"]
        return share * left_out(logits, labels, counts) + (1 - share) * kept(logits, labels, counts)

    return mean


def _among(loss: Callable[..., Tensor], counts: Iterable[float]) -> Callable[[Tensor, Tensor], Tensor]:
    """`loss` in a stream with these class counts."""
    import torch

    return partial(loss, counts=torch.tensor([*counts], dtype=torch.float64))


def _goes_by_counts(loss: Callable[..., Tensor]) -> bool:
    """Whether the values differ between even and uneven counts, and not only because one class is the rarer."""
    p = np.array([0.1, 0.5, 0.9])
    even, uneven = _among(loss, [1, 1]), _among(loss, [100, 1])
    return any(not np.allclose(loss_curve(even, p, true)[0], loss_curve(uneven, p, true)[0]) for true in (0, 1))


def curve_label(loss: str, options: Mapping[str, Any]) -> str:
    """What a curve is called: `focal, gamma = 2`; focal with nothing but gamma 0 is cross-entropy, and says so."""
    given = {name: value for name, value in options.items() if value is not None}
    values = [
        f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {value}" for name, value in given.items()
    ]
    if loss == "focal" and given.keys() == {"gamma"} and given["gamma"] == 0:
        return "focal, gamma = 0 (cross_entropy)"
    return ", ".join([loss, *values])


@shared_look()
def loss_figure(curves: Sequence[Curve]) -> Figure:
    """Two panels over the probability of the true class: the loss, and the size of its gradient.

    Raises SettingError without a curve.
    """
    import matplotlib

    p = _shared_p(curves)
    ordered = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(curves)))
    longest = max(len(curve.label) for curve in curves)
    columns = max(1, min(len(curves), 4, 140 // (longest + 8)))  # a line of the legend holds about 140 letters
    figure = new_figure(9, 3.8 + 0.17 * -(-len(curves) // columns))
    left, right = figure.subplots(1, 2)
    for index, curve in enumerate(curves):
        look = line_look(index)
        if len(curves) > MOST_CURVES:
            look["color"] = ordered[index]
            look["linewidth"] = 1
        left.plot(p, curve.loss, label=curve.label, **look)
        right.plot(p, curve.gradient, **look)
    for axes in (left, right):
        axes.axvspan(WELL_CLASSIFIED, 1, color="0.93", linewidth=0, zorder=0)
        axes.text(
            0.8,
            1.015,
            "well classified",
            ha="center",
            color="0.35",
            transform=axes.get_xaxis_transform(),
        )
        axes.set(xlim=(0, 1), xlabel="probability of the true class")
    left.set(ylim=(0, 1.04 * _highest_loss(curves)), ylabel="loss of one image", title="Loss")
    right.set(ylim=(0, 1.04 * _highest_gradient(curves)), title="Gradient: how hard the loss pulls")
    right.set_ylabel("change of the loss per unit of the true logit")
    figure.legend(loc="outside lower center", ncols=columns, fontsize=8)
    return figure


def write_csv(curves: Sequence[Curve], path: Path) -> None:
    """Write a column p, then loss and gradient of every curve.

    Raises SettingError without a curve, and WriteError.
    """
    columns = [_shared_p(curves)]
    header = ["p"]
    for curve in curves:
        header += [f"{curve.label} loss", f"{curve.label} gradient"]
        columns += [curve.loss, curve.gradient]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(np.column_stack(columns).tolist())
    write_file(path, text.getvalue())


_TERMINAL_COLOURS = ("default", "red", "cyan", "yellow", "magenta", "green", "blue")
_BRAILLE = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # the bit of each dot in a cell
_MARGIN = 7  # columns left of the panel
_FEWEST_COLUMNS = 20  # of a panel


def draw_in_terminal(curves: Sequence[Curve], width: int = 80, height: int = 16, ascii_only: bool = False) -> Text:
    """The loss panel in braille dots, or in letters where only ASCII is shown; a letter names every curve.

    At most 80 columns wide; `height` counts the lines of the panel itself. A terminal with no room for a panel gets the
    names alone. Raises SettingError without a curve.
    """
    from rich.text import Text

    p, highest = _shared_p(curves), _highest_loss(curves)
    labels = [curve.label.encode("ascii", "replace").decode() if ascii_only else curve.label for curve in curves]
    columns, rows = min(width, 80) - _MARGIN, max(height, 4)
    if columns < _FEWEST_COLUMNS:
        return Text("\n".join(labels), no_wrap=True, overflow="ignore")
    across, down = (1, 1) if ascii_only else (2, 4)
    dots = np.stack([_dots(p, curve.loss / highest, columns * across, rows * down) for curve in curves])
    cells = dots.reshape(len(curves), rows, down, columns, across).swapaxes(2, 3)
    covered: NDArray[np.bool_] = np.any(cells, axis=(3, 4))
    lettered = covered if ascii_only else _letter_places(covered)
    patterns = 0x2800 + (cells.any(axis=0) * _BRAILLE[:down, :across]).sum(axis=(2, 3))
    bar, corner, line, well = "|+-=" if ascii_only else "│└─━"

    text = Text("loss\n", no_wrap=True, overflow="ignore")
    for row in range(rows):
        value = f"{highest * (1 - row / (rows - 1)):.3g}" if row in (0, rows // 2, rows - 1) else ""
        text.append(f"{value:>5} {bar}")
        for column in range(columns):
            here = np.flatnonzero(covered[:, row, column])
            if len(here):
                owner = here[(row + column) % len(here)]  # curves that coincide take turns
                shown = _letter(owner) if lettered[owner, row, column] else chr(patterns[row, column])
                text.append(shown, _colour(owner))
            else:
                text.append(" ")
        text.append("\n")
    where = (np.arange(columns) + 0.5) / columns
    axis = "".join(np.where(where < WELL_CLASSIFIED, line, well))
    text.append(f"{corner:>{_MARGIN}}{axis}\n{_tick_line(columns)}\n")
    text.append(f"{'':{_MARGIN}}probability of the true class\n{'':{_MARGIN}}{well * 3} well classified\n")
    longest = max(map(len, labels))
    per_line = max(1, (columns + _MARGIN) // (longest + 4))
    for index, label in enumerate(labels):
        text.append(_letter(index), _colour(index))
        text.append(f" {label:{longest}}")
        text.append("\n" if (index + 1) % per_line == 0 or index + 1 == len(labels) else "  ")
    return text


def _dots(p: NDArray[np.float64], heights: NDArray[np.float64], columns: int, rows: int) -> NDArray[np.bool_]:
    """Which dots [rows, columns] the curve of `heights`, 0 at the bottom to 1 at the top, passes through."""
    y = (1 - np.interp((np.arange(columns) + 0.5) / columns, p, heights)) * (rows - 1)
    halfway = (y[1:] + y[:-1]) / 2
    ends = np.stack([y, np.append(y[:1], halfway), np.append(halfway, y[-1:])])
    row = np.arange(rows)[:, None]
    return np.asarray((row >= ends.min(axis=0).round()) & (row <= ends.max(axis=0).round()))


def _letter_places(covered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of the cells [curves, rows, columns] that curves pass through, one each where a curve is most alone."""
    curves, rows, columns = covered.shape
    places = np.zeros_like(covered)
    distance = np.abs(np.arange(rows)[:, None] - np.arange(rows))
    from_middle = np.abs(np.arange(columns) / columns - 0.5)  # less than one row: it decides between equals
    for index in range(curves):
        others = np.delete(covered, index, axis=0).any(axis=0)
        gap = np.where(others, distance[:, :, None], rows).min(axis=1)
        score = np.where(covered[index] & (gap > 0), gap - from_middle, 0)
        if score.any():
            places[index].flat[score.argmax()] = True
    return places


def _tick_line(columns: int) -> str:
    ticks = [" "] * (columns + _MARGIN + 1)
    for tenth in range(0, 11, 2):
        label = f"{tenth / 10:g}"
        start = _MARGIN + round(tenth / 10 * (columns - 1)) - len(label) // 2
        ticks[start : start + len(label)] = label
    return "".join(ticks).rstrip()


def _letter(index: int) -> str:
    return _LETTERS[index % len(_LETTERS)]


def _colour(index: int) -> str:
    return _TERMINAL_COLOURS[index % len(_TERMINAL_COLOURS)]


def _shared_p(curves: Sequence[Curve]) -> NDArray[np.float64]:
    """The probabilities at which all curves are given."""
    if not curves:
        raise SettingError("no loss to draw; name at least one, such as --loss focal --gamma 2")
    p = curves[0].p
    if any(not np.array_equal(curve.p, p) for curve in curves):
        raise ValueError("the curves are given at different probabilities")
    return p


def _highest_loss(curves: Sequence[Curve]) -> float:
    """Where the axis of the losses ends."""
    return _end_of_axis(_shared_p(curves), [curve.loss for curve in curves], HIGHEST_LOSS)


def _highest_gradient(curves: Sequence[Curve]) -> float:
    """Where the axis of the gradients ends; the flattest curve is seen as a whole."""
    gradients = [curve.gradient for curve in curves]
    flattest = min(float(each[np.isfinite(each)].max(initial=0)) for each in gradients)
    return _end_of_axis(_shared_p(curves), gradients, max(HIGHEST_GRADIENT, flattest))


def _end_of_axis(p: NDArray[np.float64], curves: Sequence[NDArray[np.float64]], highest: float) -> float:
    """At most `highest`; but up to twice as far for a curve that is higher still at p = 0.1, so that one steep curve
    does not flatten the others, and as far as needed for one that lies above `highest` from end to end.
    """
    tops = [0.0]
    for each in curves:
        finite = np.isfinite(each)
        values = each[finite]
        top, at_tenth = float(values.max(initial=0)), float(each[finite & (p >= 0.1)].max(initial=0))
        above = values.size > 0 and values.min() > highest
        tops.append(top if above else min(top, max(highest, min(at_tenth, 2 * highest))))
    return max(tops) or 1.0
