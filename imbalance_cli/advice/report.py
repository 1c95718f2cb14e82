"""Advice as text for a terminal, and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.console import Group

from imbalance_cli.advice.advice import Advice
from imbalance_cli.advice.facts import Facts, Found
from imbalance_cli.advice.rules import SECTIONS
from imbalance_cli.errors import printable
from imbalance_cli.reports import Rows, unbroken

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType


def advice_report(
    facts: Facts,
    advice: Sequence[Advice],
    times: Mapping[str, Any],
    study: Mapping[str, Any],
    text: str,
    written: Path | None,
) -> tuple[RenderableType, dict[str, Any]]:
    """All that there is to say of the data, and the same as plain data.

    times: as `study_times` makes them; study: the proposed one, `text` its file, which is in `written` if it is
    anywhere.
    """
    parts: list[RenderableType] = [_counts(facts), *(_Item(line) for line in _facts(facts))]
    for section, heading in SECTIONS.items():
        given = [each for each in advice if each.rule.section == section]
        if given:
            parts += ["", heading]
        for each in given:
            parts += [_Item(each.text, "- "), _Item(f"{each.reason} ({each.source})", "  ", style="dim")]
    parts += ["", "On this machine", *(_Item(line) for line in _times(times))]
    if written is None:
        parts += ["", "A study to run: keep it with --output advice.yaml", "", unbroken(text.rstrip())]
    else:
        parts += ["", "Run the proposed study with", unbroken(f"imbalance compare {written}", style="bold")]
    value = {
        "facts": asdict(facts),
        "advice": [
            {
                "id": each.rule.name,
                "section": each.rule.section,
                "text": each.text,
                "reason": each.reason,
                "source": each.source,
                "settings": each.settings,
            }
            for each in advice
        ],
        "times": dict(times),
        "study": dict(study),
        "written": written and str(written),
    }
    return Group(*parts), value


def _counts(facts: Facts) -> Rows:
    columns = zip(facts.classes, facts.train, facts.held_out, facts.test, strict=True)
    rows = [[name, *(f"{count:,}" for count in counts)] for name, *counts in columns]
    return Rows(["class", "train", "of them for validation", "test"], rows)


def _facts(facts: Facts) -> Iterator[str]:
    line = f"Smallest over largest class: {min(facts.train):,} : {max(facts.train):,} = {facts.ratio:.3g}."
    line += f" Images are {facts.image_size} x {facts.image_size} pixels"
    if facts.sides is not None:
        smallest, median, largest = facts.sides
        span = f"{smallest} to {largest}, median {median}" if smallest < largest else str(median)
        line += f" (shorter sides of the files: {span})"
    yield line + (f", {facts.grey:.0%} without colour." if facts.grey else ".")
    copies: dict[str, Found] = {
        "in two classes": facts.in_two_classes,
        "in training and test": facts.in_train_and_test,
        "more than once in training": facts.repeated,
        "in test nearly as in training": facts.alike,
    }
    found = [f"{each.count:,} {where}" for where, each in copies.items() if each.count]
    yield f"Images that occur twice: {', '.join(found) or 'none'}."
    name = facts.classes[facts.rarest]
    if facts.ranking is None:
        yield f"Too few images of {name} to check how hard it is to tell apart."
    else:
        yield (
            f"Quick check, on training images alone: a linear model on thumbnails and colours ranks {name} with "
            f"AUROC {facts.ranking:.2f} (0.5 is guessing)."
        )


def _times(times: Mapping[str, Any]) -> Iterator[str]:
    for method, each in times["methods"].items():
        speed = f"{each['images_per_second']:,.0f} training images a second"
        yield f"{method}: {speed}, so about {in_words(each['seconds'])} a run."
    yield f"The whole study, {times['runs']} runs one after the other: about {in_words(times['seconds'])}."


def in_words(seconds: float) -> str:
    """A duration to one figure that matters: `40 s`, `12 min`, `3.5 h`."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}" if seconds < 10 * length else f"{seconds / length:,.0f} {unit}"
    return f"{max(1, round(seconds))} s"


class _Item:
    """A paragraph after a mark, in lines that fit the width of the terminal, its words whole."""

    def __init__(self, text: str, mark: str = "", style: str = "") -> None:
        self.text, self.mark, self.style = printable(text), mark, style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        fitting = max(1, options.max_width - len(self.mark))
        indent = self.mark
        for line in wrap(self.text, fitting, break_long_words=False, break_on_hyphens=False):
            yield unbroken(indent + line, self.style)
            indent = " " * len(self.mark)
