"""Runs compared on the same test images, as a table for a terminal of any width."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Group

from imbalance_cli.errors import printable
from imbalance_cli.reports import Prose, unbroken
from imbalance_cli.studies.scores import METRICS, POINTS, decimal, p_number, percent
from imbalance_cli.studies.tables import Column, Folded, Row, span

if TYPE_CHECKING:
    from rich.console import RenderableType

LONGEST_NAME = 24  # of a run in every table; longer ones are said once, and numbers stand for them


def paired_report(compared: Mapping[str, Any]) -> RenderableType:
    """Runs against the first of them on the same test images, as `paired_runs.compare_runs` gives them."""
    data, rows = compared["data"], compared["rows"]
    heading = f"{POINTS[compared['point']]} ({data['dataset']}; test images: {data['test_images']:,}, "
    heading += f"of {data['minority']} {data['minority_images']:,})"
    groups = [
        _reached(data["minority"]),
        _resampled("balanced_accuracy", "balanced"),
        _discordant("right", "alone right"),
    ]
    if data["minority_images"]:
        found = f"{data['minority']} found"
        groups += [_resampled("minority_recall", found), _discordant("minority_right", f"{found} alone")]
    parts: list[RenderableType] = ["", Prose(printable(f"Decided {heading}"), style="bold"), ""]
    numbers = {name: str(number) for number, name in enumerate(compared["runs"], 1)}
    if max(map(cell_len, numbers)) > LONGEST_NAME:
        parts += [*(unbroken(printable(f"{number}  {name}")) for name, number in numbers.items()), ""]
    else:
        numbers = {name: name for name in numbers}
    parts += [Folded([[("run", lambda row: numbers[row["run"]])], *groups], rows), ""]
    parts += [Prose(printable(f"Note: {warning}."), style="yellow") for warning in compared["warnings"]]
    parts += [Prose(printable(compared["verdict"]), style="bold"), ""]
    parts += [Prose(printable(f"Differences are from {compared['runs'][0]}. p: {compared['test']}."), style="dim")]
    return Group(*parts)


def _reached(minority: str) -> list[Column]:
    return [
        ("accuracy", lambda row: percent(row["accuracy"])),
        ("balanced", lambda row: percent(row["balanced_accuracy"])),
        (f"{minority} found", lambda row: percent(row["minority_recall"])),
        ("AUROC", lambda row: decimal(row["auroc"])),
    ]


def _resampled(quantity: str, words: str) -> list[Column]:
    """How a run's `quantity` differs from that of the first."""
    metric = METRICS[quantity]
    return [
        (
            f"{words}, difference",
            lambda row: _of(row, quantity, lambda found: metric.signed(found["mean"]), "baseline"),
        ),
        ("its interval", lambda row: _of(row, quantity, lambda found: span(found["interval"], metric.signed))),
        ("p", lambda row: _of(row, quantity, lambda found: p_number(found["p_corrected"]))),
    ]


def _discordant(quantity: str, words: str) -> list[Column]:
    """On how many images a run alone is right, on how many the first alone."""
    return [
        (words, lambda row: _of(row, quantity, lambda found: f"{found['alone']:,}", "baseline")),
        ("the first alone", lambda row: _of(row, quantity, lambda found: f"{found['first_alone']:,}")),
        ("p", lambda row: _of(row, quantity, lambda found: p_number(found["p_corrected"]))),
    ]


def _of(row: Row, quantity: str, shown: Callable[[Mapping[str, Any]], str], first: str = "") -> str:
    """What is `shown` of a difference; `first` for the run that the others are compared to."""
    return first if row["difference"] is None else shown(row["difference"][quantity])
