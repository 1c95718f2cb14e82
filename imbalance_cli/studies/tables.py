"""A comparison as tables: for a terminal of any width, and as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Group
from rich.text import Text

from imbalance_cli.errors import printable
from imbalance_cli.reports import Prose, Rows
from imbalance_cli.studies.scores import METRICS, POINT_NAMES, POINTS, Metric, amount, decimal, p_number, percent
from imbalance_cli.studies.tuning import about_candidates, candidates, value_words

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

Condition = Mapping[str, Any]  # of a comparison
Row = Mapping[str, Any]  # of a condition
Column = tuple[str, Callable[[Row], str]]  # its heading, and what it says of a row

MOST_NAMED = 3  # classes; more are summed up
MOST_TRIED = 24  # candidates; of more only those that were chosen
GAP = 2  # between the columns of a table in a terminal

LATEX = str.maketrans(
    {character: rf"\{character}" for character in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "≈": r"$\approx$",
        "<": "$<$",
        ">": "$>$",
        "|": r"\textbar{}",
        '"': "''",
    }
)
MARKDOWN = str.maketrans({character: rf"\{character}" for character in "\\`*_[]<>#|~"})


def comparison_report(comparison: Mapping[str, Any]) -> RenderableType:
    """Every condition with its table and verdict, and what the columns mean."""
    parts: list[RenderableType] = []
    if comparison["title"]:
        parts.append(Prose(printable(comparison["title"]), style="bold"))
    for condition in comparison["conditions"]:
        parts += ["", Prose(printable(_heading(comparison, condition)), style="bold")]
        if condition["rows"]:
            parts += ["", Folded(_columns(comparison, condition), condition["rows"]), ""]
        if tried := candidates(condition["rows"], MOST_TRIED):
            parts += [Folded(_tried(comparison), [{"candidate": each} for each in tried]), ""]
        parts += [Prose(printable(f"Note: {warning}."), style="yellow") for warning in condition["warnings"]]
        parts += [Prose(printable(condition["verdict"]), style="bold")]
    parts += ["", *(Prose(printable(note), style="dim") for note in _notes(comparison))]
    return Group(*parts)


def to_markdown(comparison: Mapping[str, Any]) -> str:
    """Every condition as a table of GitHub's Markdown, the best in bold."""
    parts = [f"# {_markdown(comparison['title'])}"] if comparison["title"] else []
    for condition in comparison["conditions"]:
        parts += [f"## {_markdown(_heading(comparison, condition))}", f"**{_markdown(condition['verdict'])}**"]
        if condition["rows"]:
            parts.append(_markdown_table(_columns(comparison, condition), condition["rows"]))
        if tried := candidates(condition["rows"], MOST_TRIED):
            parts.append(_markdown_table(_tried(comparison), [{"candidate": each} for each in tried]))
        if condition["warnings"]:
            parts.append("\n".join(f"- {_markdown(warning)}" for warning in condition["warnings"]))
    return "\n\n".join([*parts, *map(_markdown, _notes(comparison))]) + "\n"


def _markdown_table(groups: Sequence[Sequence[Column]], rows: Sequence[Row]) -> str:
    columns = [column for group in groups for column in group]
    lines = [[_markdown(heading) for heading, _ in columns], [":---", *["---:"] * (len(columns) - 1)]]
    for row in rows:
        cells = [_markdown(cell(row)) for _, cell in columns]
        lines.append([f"**{cell}**" if cell else "" for cell in cells] if row.get("rank") == 1 else cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_latex(comparison: Mapping[str, Any]) -> str:
    r"""Every condition as a table for LaTeX with `\usepackage{booktabs}`, the best in bold.

    What is reached and what it takes are two tabulars, because the columns of both are wider than a page.
    """
    tables = [r"% \usepackage{booktabs}"]
    for condition in comparison["conditions"]:
        if condition["rows"]:
            (method,), score, *groups, budget = _columns(comparison, condition)
            caption = f"{_heading(comparison, condition)}. {condition['verdict']}"
            notes = [f"Note: {warning}." for warning in condition["warnings"]] + list(_notes(comparison))
            table = [
                r"\begin{table}",
                r"\centering\small",
                rf"\caption{{{_latex(caption)}}}",
                *_tabular([method, *score, *groups[0]], condition["rows"]),
                r"\par\medskip",
                *_tabular(
                    [method, *(column for group in (*groups[1:], budget) for column in group)], condition["rows"]
                ),
                rf"\par\medskip\footnotesize {_latex(' '.join(notes))}",
                r"\end{table}",
            ]
            tables.append("\n".join(table))
    return "\n\n".join(tables) + "\n"


def _tabular(columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[str]:
    yield rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}"
    yield r"\toprule"
    yield " & ".join(_latex(heading) for heading, _ in columns) + r" \\"
    yield r"\midrule"
    for row in rows:
        cells = [_latex(cell(row)) for _, cell in columns]
        yield " & ".join(rf"\textbf{{{cell}}}" if row["rank"] == 1 else cell for cell in cells) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def to_csv(comparison: Mapping[str, Any]) -> str:
    """A line for each method under each condition; all numbers as they are, scores as fractions."""
    lines = [
        _numbers(comparison, condition, row) for condition in comparison["conditions"] for row in condition["rows"]
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else ["condition", "method"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _numbers(comparison: Mapping[str, Any], condition: Condition, row: Row) -> dict[str, Any]:
    difference = row["difference"] or dict.fromkeys(("mean", "interval", "p", "p_corrected"))
    ends = {"interval": row["interval"], "difference": difference["interval"]}
    recalls = zip(condition["data"]["classes"], row["recalls"], strict=True)
    return {
        "condition": condition["name"],
        "method": row["method"],
        "rank": row["rank"],
        "not_distinguishable_from_best": row["not_distinguishable_from_best"],
        "metric": comparison["metric"],
        "point": condition["point"],
        "seeds": " ".join(map(str, row["seeds"])),
        "values": " ".join(map(str, row["values"])),
        "mean": row["mean"],
        "deviation": row["deviation"],
        "baseline": comparison["baseline"],
        "difference": difference["mean"],
        "p": difference["p"],
        "p_corrected": difference["p_corrected"],
        **{f"{name}_{end}": pair and pair[at] for name, pair in ends.items() for at, end in enumerate(("low", "high"))},
        **{f"balanced_accuracy_at_{name}": value for name, value in row["points"].items()},
        **{name: row[name] for name in ("minority_recall", "majority_recall", "auroc")},
        **{name: row[name] for name in ("seconds", "parameters", "epochs", "steps")},
        "recalls": " ".join(f"{name}={recall}" for name, recall in recalls),
        "published": row["published"] and row["published"]["value"],
    }


def _balanced(point: str, row: Row) -> str:
    return percent(row["points"][point])


def _columns(comparison: Mapping[str, Any], condition: Condition) -> list[list[Column]]:
    """What a table shows of a condition: the method, then groups of columns that belong beside each other.

    What no row has is left out.
    """
    metric, rows, data = METRICS[comparison["metric"]], condition["rows"], condition["data"]
    seeds = any(row["interval"] for row in rows)
    score: list[Column] = [
        (
            "rank",
            lambda row: f"{row['rank']}{' ≈' if row['not_distinguishable_from_best'] and row['rank'] > 1 else ''}",
        ),
        (metric.words, lambda row: _spread(row, metric)),
    ]
    difference: list[Column] = [("difference", lambda row: _difference(row, comparison["baseline"], metric))]
    if seeds:
        score.append(("95 % interval", lambda row: span(row["interval"], metric.number)))
        difference.append(("its interval", lambda row: span((row["difference"] or {}).get("interval"), metric.signed)))
        difference.append(("p", lambda row: p_number((row["difference"] or {}).get("p_corrected"))))
    detail: list[Column] = [
        (f"{data['minority']} found", lambda row: percent(row["minority_recall"])),
        (f"{data['majority']} kept", lambda row: percent(row["majority_recall"])),
        ("AUROC", lambda row: decimal(row["auroc"])),
    ]
    if any(row["published"] for row in rows):
        detail.append(("published, %", lambda row: _published(row["published"])))
    points: list[Column] = [
        (words if number else f"balanced: {words}", partial(_balanced, name))
        for number, (name, words) in enumerate(POINT_NAMES.items())
        if any(row["points"][name] is not None for row in rows)
    ]
    budget: list[Column] = [
        ("seconds", lambda row: amount(round(row["seconds"]))),
        ("epochs", lambda row: amount(row["epochs"])),
        ("steps", lambda row: amount(row["steps"])),
        ("parameters", lambda row: amount(row["parameters"])),
        ("seeds", lambda row: str(len(row["seeds"]))),
    ]
    if any(row["chosen"] for row in rows):
        budget.append(("chosen", lambda row: _chosen(row["chosen"])))
    compared = [difference] if any(row["difference"] for row in rows) else []
    return [[("method", lambda row: row["method"])], score, *compared, detail, points, budget]


def _tried(comparison: Mapping[str, Any]) -> list[list[Column]]:
    """The columns for what was tried on validation images, as rows that hold a candidate each."""
    metric = METRICS[comparison["metric"]]
    names: Column = ("tried on validation", lambda row: f"{row['candidate'].method}: {row['candidate'].values}")
    seeds: list[list[Column]] = [[(f"seed {seed}", partial(_of_seed, seed, metric))] for seed in comparison["seeds"]]
    return [[names], *seeds]


def _of_seed(seed: int, metric: Metric, row: Row) -> str:
    shown: str = row["candidate"].shown(seed, metric)
    return shown


class Folded:
    """Columns in as few tables under each other as the terminal's width allows, the first column in each."""

    def __init__(self, groups: Sequence[Sequence[Column]], rows: Sequence[Row]) -> None:
        (self.names,), *self.groups = groups
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table: list[Column] = []
        for group in self.groups:
            if table and self._width([*table, *group]) > options.max_width:
                yield from (self._table(table), "")
                table = []
            table += group
        yield self._table(table)

    def _width(self, columns: Sequence[Column]) -> int:
        widths = [max(map(cell_len, (head, *map(cell, self.rows)))) for head, cell in (self.names, *columns)]
        return sum(widths) + GAP * (len(widths) - 1)

    def _table(self, columns: Sequence[Column]) -> Rows:
        shown = [self.names, *columns]
        cells = [
            [Text(printable(cell(row)), style="bold" if row.get("rank") == 1 else "") for _, cell in shown]
            for row in self.rows
        ]
        return Rows([heading for heading, _ in shown], cells)


def _heading(comparison: Mapping[str, Any], condition: Condition) -> str:
    """`ratio 0.01: cifar10-jpeg, airplane 4,500 and automobile 40 training images; balanced accuracy ...`."""
    metric, data = METRICS[comparison["metric"]], condition["data"]
    name = f"{condition['name']}: " if condition["name"] else ""
    if data is None:
        return f"{name}nothing has finished"
    counts = dict(zip(data["classes"], condition["train_counts"], strict=True))
    if len(counts) <= MOST_NAMED:
        images = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    else:
        images = f"{len(counts)} classes, {max(counts.values()):,} to {min(counts.values()):,} each"
    at = f", {POINTS[condition['point']]}" if metric.decided else ""
    return (
        f"{name}{metric.words}{at} ({data['dataset']}; training images: {images}; test images: {data['test_images']:,})"
    )


def _notes(comparison: Mapping[str, Any]) -> Iterator[str]:
    """How to read the tables."""
    metric = METRICS[comparison["metric"]]
    rows = [row for condition in comparison["conditions"] for row in condition["rows"]]
    best = "highest" if metric.higher_is_better else "lowest"
    seeds = " ".join(map(str, comparison["seeds"]))
    yield (
        f"Sorted by {metric.words}, the {best} first: the mean over seeds {seeds} ± the standard deviation. Intervals "
        "and tests cover what a seed changes (the subset drawn, the initial weights, the order of the images), on the "
        "same test images."
    )
    if any(row["difference"] for row in rows):
        yield f"Difference: to {comparison['baseline']}. p: {comparison['test']}."
    yield (
        "≈: these seeds cannot tell the method from the best, which does not mean that the two are equal. Two methods "
        "count as told apart if p, corrected for all pairs of methods, is below 0.05 or, where one of the two is the "
        "baseline, if the p shown is."
    )
    if comparison["machines"]:
        yield f"Run on {'; '.join(comparison['machines'])}."
    if any(condition["detectable_difference"] for condition in comparison["conditions"]):
        yield (
            "Could have been found: in 80 % of studies with as many seeds, by that test, given the spread of the "
            "differences from the best."
        )
    if any(row["published"] for row in rows):
        yield (
            "Published: others' numbers. * was chosen on the test images, which makes it better than it would be "
            f"on new ones. {_sources(rows)}"
        )
    yield f"{', '.join(POINT_NAMES.values()).capitalize()}: the balanced accuracy at each operating point."
    if any(row["chosen"] for row in rows):
        yield "Chosen: settings tuned for each seed on validation images alone."
    if about := about_candidates(rows, metric):
        yield about


def _sources(rows: Sequence[Row]) -> str:
    sources = dict.fromkeys(row["published"]["source"] for row in rows if (row["published"] or {}).get("source"))
    return f"From {'; '.join(sources)}." if sources else ""


def _spread(row: Row, metric: Metric) -> str:
    spread = "" if row["deviation"] is None else f" ± {metric.number(row['deviation'])}"
    return f"{metric.number(row['mean'])}{spread}{metric.unit}"


def _difference(row: Row, baseline: str, metric: Metric) -> str:
    if row["method"] == baseline:
        return "baseline"
    return "-" if row["difference"] is None else metric.signed(row["difference"]["mean"])


def span(ends: Sequence[float] | None, shown: Callable[[float], str]) -> str:
    """An interval from its one end to the other; nothing for none."""
    return "" if ends is None else f"{shown(ends[0])} to {shown(ends[1])}"


def _published(number: Mapping[str, Any] | None) -> str:
    return "" if number is None else f"{number['value']:g}{' *' if number.get('chosen_on_test') else ''}"


def _chosen(settings: Sequence[Mapping[str, Any] | None] | None) -> str:
    """Each setting with the values that it had in some seed: `loss.gamma 2 5`."""
    by_name: dict[str, list[str]] = {}
    for each in settings or ():
        for name, value in (each or {}).items():
            by_name.setdefault(name, []).append(value_words(value))
    return ", ".join(" ".join([name, *dict.fromkeys(values)]) for name, values in by_name.items())


def _markdown(text: str) -> str:
    return printable(text).translate(MARKDOWN)


def _latex(text: str) -> str:
    return printable(text).translate(LATEX)
