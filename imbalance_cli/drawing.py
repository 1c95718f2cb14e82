"""The shared look of all figures, and saving them."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imbalance_cli.errors import SettingError
from imbalance_cli.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")

# Okabe and Ito (2008) without yellow, which is too light on white; dashes tell the lines apart in grey.
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
PALE = "#DDDDDD"
MOST_CURVES = 10  # more lines than this in one panel are not told apart

_LOOK: dict[Any, Any] = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # a dollar sign in a class name is a dollar sign
    "svg.hashsalt": "imbalance",  # the same figure is the same bytes
}
# DejaVu Sans comes with matplotlib; the others draw what it lacks, where the system has them.
_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Arial Unicode MS",
)


@contextmanager
def shared_look() -> Iterator[None]:
    """The look of all figures, whatever the user's own matplotlib settings, and no talk about fonts.

    Raises SettingError if matplotlib is not installed.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # an unwritable font cache costs a second, and is nobody's concern
    try:
        _import_matplotlib()
        import matplotlib
        from matplotlib.font_manager import fontManager

        installed = set(fontManager.get_font_names())
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # it is drawn as a box
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_LOOK)
            matplotlib.rcParams["font.family"] = [font for font in _FONTS if font in installed]
            yield
    finally:
        logger.setLevel(level)


def _import_matplotlib() -> None:
    backend = os.environ.pop("MPLBACKEND", None)  # no window is ever opened; an unknown name would stop the import
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingError(
            f"figures need {error.name}, which is not installed; run: python -m pip install matplotlib"
        ) from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def check_suffix(path: Path) -> None:
    """Raise SettingError unless a figure can be written to `path`, by its suffix."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        given = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise SettingError(f"cannot draw {path}: it has {given}; known: {', '.join(SUFFIXES)}")


@shared_look()
def save_figure(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG, SVG or PDF, by the suffix of `path`; figures made alike give the same bytes.

    Raises SettingError for another suffix and WriteError.
    """
    check_suffix(path)
    kind = Path(path).suffix.lower()[1:]
    dates = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with whole_file(path) as file:
        figure.savefig(file, format=kind, metadata=dates[kind])


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, whose parts make room for each other; it belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="compressed")


def line_look(index: int) -> dict[str, Any]:
    """Colour and dashes of line `index`; both change from line to line."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}


def point_look(point: str) -> dict[str, Any]:
    """The marker of an operating point, the same in all figures; drawn in their order none hides another.

    Each fits into the one before; a threshold that is none of the three is a cross that reaches beyond them.
    """
    markers = {"argmax": ("o", 10.5), "prior": ("s", 7.0), "validation": ("D", 4.0)}
    marker, size = markers.get(point, ("+", 14.0))
    return {"marker": marker, "markersize": size, "markerfacecolor": "white", "linestyle": "", "clip_on": False}


def say(axes: Axes, text: str) -> None:
    """Write `text` in the middle of `axes`, where there is nothing to draw."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color="grey", transform=axes.transAxes)


def short_name(name: str, limit: int = 28) -> str:
    """`name` as a figure can show it: printable, and cut in the middle when long."""
    name = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    return name if len(name) <= limit else f"{name[: limit // 2]}…{name[1 - limit // 2 :]}"
