"""The scores by which methods are compared: their names, which way is better, and how they are written."""

from __future__ import annotations

import math
from dataclasses import dataclass

# The operating points by themselves, and as part of a sentence.
POINT_NAMES = {"argmax": "argmax", "prior": "prior-corrected", "validation": "from validation"}
POINTS = {"argmax": "at argmax", "prior": "prior-corrected", "validation": "at the threshold from validation"}


@dataclass(frozen=True)
class Metric:
    """A score: in words, which way is better, whether it is of a decision (and so needs an operating point), whether
    it is written in per cent, and the values that it can take.
    """

    words: str
    higher_is_better: bool = True
    decided: bool = True
    percent: bool = False
    lowest: float = 0.0
    highest: float = 1.0

    @property
    def unit(self) -> str:
        return " %" if self.percent else ""

    def number(self, value: float) -> str:
        return f"{value * 100:.1f}" if self.percent else f"{value:.3f}"

    def shown(self, value: float) -> str:
        return self.number(value) + self.unit

    def signed(self, difference: float) -> str:
        return f"{difference * 100:+.1f}" if self.percent else f"{difference:+.3f}"

    def gap(self, difference: float) -> str:
        """The size of a difference: per cent less per cent are points."""
        return f"{self.number(abs(difference))} points" if self.percent else self.number(abs(difference))


METRICS = {
    "balanced_accuracy": Metric("balanced accuracy", percent=True),
    "accuracy": Metric("accuracy", percent=True),
    "minority_recall": Metric("minority recall", percent=True),
    "g_mean": Metric("G-mean"),
    "macro_f1": Metric("macro F1"),
    "mcc": Metric("MCC", lowest=-1.0),
    "auroc": Metric("AUROC", decided=False),
    "average_precision": Metric("average precision", decided=False),
    "ece": Metric("calibration error", higher_is_better=False, decided=False),
    "log_loss": Metric("log loss", higher_is_better=False, decided=False, highest=math.inf),
}


def percent(share: float | None) -> str:
    """`66.3 %`; a dash for what is not known."""
    return "-" if share is None else f"{share * 100:.1f} %"


def decimal(score: float | None) -> str:
    """`0.619`; a dash for what is not known."""
    return "-" if score is None else f"{score:.3f}"


def amount(value: float) -> str:
    """A number of epochs, steps or the like, which may be a mean over seeds: `4,680`, `12.5`."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def p_number(p: float | None) -> str:
    """`< 0.001`, `0.012`, `0.34`; nothing for no p-value."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def p_words(p: float) -> str:
    """`p < 0.001`, `p = 0.012`."""
    return f"p {p_number(p)}" if p < 0.001 else f"p = {p_number(p)}"
