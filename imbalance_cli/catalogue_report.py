"""The catalogue of methods as text for a terminal, and as plain data."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.text import Text

from imbalance_cli.catalogue import KINDS, TO_BE_GIVEN, Entry, Kind, Option
from imbalance_cli.conflicts import Conflict
from imbalance_cli.errors import printable
from imbalance_cli.methods.schedules import SCHEDULES
from imbalance_cli.training_aids import AIDS
from imbalance_cli.ways_to_say import ways_to_say

if TYPE_CHECKING:
    from imbalance_cli.method_effects import Effect

Report = tuple[Text, dict[str, Any]]

WIDEST = 100  # columns, for a line of prose that is read with ease
COUNTS = ("new", "then")  # headings of whole numbers
DIFFERENCES = ("uninformative logit", "bias")  # headings of logits, whose differences matter: none is small
BAR = 40  # columns of a bar that stands for 1
MOST_DECIMALS = 8  # beyond which a column is written with powers of ten


def kinds_report() -> Report:
    """All kinds of methods, with how many there are of each."""
    rows = [[kind.name, str(len(kind.registry.names())), kind.summary] for kind in KINDS.values()]
    lines = [*_columns(["kind", "methods", ""], rows, left=(0, 2)), ""]
    lines.append("More of a kind: imbalance methods KIND; of a method: imbalance methods KIND NAME")
    value = {
        kind.name: {"summary": kind.summary, "settings": list(kind.settings), "methods": kind.registry.names()}
        for kind in KINDS.values()
    }
    return _text(lines), value


def kind_report(kind: Kind, width: int) -> Report:
    """The methods of a kind, each with its first line."""
    lines = [f"{kind.name}: {kind.summary}"]
    methods = {}
    for method in kind.registry:
        defaults = kind.defaults(method.name)
        lines += ["", method.name + _default_words(kind, defaults), *_wrapped(method.summary, width, indent=4)]
        methods[method.name] = {"summary": method.summary, "default_of": defaults}
    if kind.note:
        lines += ["", *_wrapped(kind.note, width)]
    if kind.name not in ("model", AIDS.kind):
        lines += ["", f"Or your own: FILE.py:FUNCTION, as in mylosses.py:my_{kind.name}"]
    value = {"kind": kind.name, "settings": list(kind.settings), "note": kind.note, "methods": methods}
    return _text(lines), value


def method_report(
    entry: Entry,
    choice: Mapping[str, Any],
    flags: Container[str],
    width: int,
    counts: Mapping[str, int],
    effect: Effect | None,
) -> Report:
    """All about one method, chosen with the options of `choice`, on classes with `counts` images.

    flags: the parameters of `imbalance train`; effect: what the method does on such data.
    """
    ways, curve = ways_to_say(entry, flags), _curve(entry, choice)
    blocks = [*_description(entry, ways, width)]
    if curve:
        rows = [[f"{progress:.1f}", _multiplier(value), "#" * round(BAR * value)] for progress, value in curve]
        blocks.append(["Through training", *(f"  {line}" for line in _columns([], rows, left=(0, 1, 2), gap=1))])
    if effect is not None:
        blocks += _effect_blocks(effect, counts, width)
    lines = [line for block in blocks for line in (*block, "")]
    value = _plain(entry, ways)
    if curve:
        value["curve"] = curve
    if effect is not None:
        named = {heading: dict(zip(counts, numbers, strict=True)) for heading, numbers in effect.columns.items()}
        value["effect"] = {"images": dict(counts), **named, "notes": effect.notes}
    return _text(lines[:-1]), value


def _description(entry: Entry, ways: Mapping[str, str], width: int) -> Iterator[list[str]]:
    """What there is to say of a method whatever the data, in blocks of lines."""
    kind, said = entry.kind, entry.description
    if entry.asked:
        yield _wrapped(entry.asked, width)
    yield [f"{kind.name} {printable(entry.name)}{_default_words(kind, kind.defaults(entry.name))}"]
    yield _wrapped(entry.summary, width)
    if said.formula:
        yield ["Formula", *(f"  {line}".rstrip() for line in said.formula)]
        if entry.symbols:
            legend = "; ".join(f"{symbol}: {meaning}" for symbol, meaning in entry.symbols.items())
            others = ["Another index means the same of another class."] if entry.has_other_indices else []
            yield [line for text in (legend, *others) for line in _wrapped(text, width, indent=2)]
    if entry.when:
        yield ["When to use it", *_wrapped(entry.when, width, indent=2)]
    for paragraph in filter(None, (*entry.explanation, kind.note)):
        yield _wrapped(paragraph, width)
    if entry.options:
        rows = [[option.name, option.values, _default(option)] for option in entry.options]
        yield ["Options", *(f"  {line}" for line in _columns([], rows, left=(0, 1, 2)))]
    flags = [_command(ways[way], width) for way in ("flags", "set") if way in ways]
    document = [f"  {line}" for line in ways["yaml"].splitlines()]
    yield ["Say it to imbalance train", *flags, "or in its configuration file", *document]
    if len(entry.settings) > 1 and kind.name != AIDS.kind:
        yield _wrapped(f"It can be chosen for {', '.join(entry.settings)}.", width)
    if entry.papers:
        papers = [
            ", ".join(filter(None, (f"{cited}: {paper.title}", paper.link))) if paper.title else cited
            for cited, paper in entry.papers
        ]
        yield ["Papers", *(line for paper in papers for line in _wrapped(paper, width, indent=2, hanging=2))]
    if said.also_known_as:
        names = [f"{name} ({note})" if note else name for name, note in said.also_known_as.items()]
        yield _wrapped(f"Also known as {', '.join(names)}.", width)
    if entry.conflicts:
        lines = [line for each in entry.conflicts for line in _wrapped(_told(each), width, indent=2, hanging=2)]
        yield ["What it does not go together with", *lines]


def _told(conflict: Conflict) -> str:
    """`Not with loss a or b: reason.`"""
    verb = "refused" if conflict.refused else "not"
    other = f" with {conflict.setting} {_any_of(conflict.values)}".rstrip() if conflict.setting else ""
    words = f"{conflict.own}, {verb}{other}" if conflict.own and other else f"{verb}{other} {conflict.own}".rstrip()
    return f"{words[0].upper()}{words[1:]}: {conflict.reason}."


def _plain(entry: Entry, ways: Mapping[str, str]) -> dict[str, Any]:
    said = entry.description
    return {
        "kind": entry.kind.name,
        "name": entry.name,
        "asked": entry.asked,
        "summary": entry.summary,
        "formula": said.formula,
        "symbols": entry.symbols,
        "when": entry.when,
        "explanation": entry.explanation,
        "also_known_as": said.also_known_as,
        "options": {each.name: {"values": each.values, "default": each.default} for each in entry.options},
        "papers": [{"cited": cited, "title": paper.title, "link": paper.link} for cited, paper in entry.papers],
        "settings": list(entry.settings),
        "default_of": entry.kind.defaults(entry.name),
        "say": dict(ways),
        "conflicts": [asdict(conflict) for conflict in entry.conflicts],
    }


def _any_of(values: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join([", ".join(values[:-1]), values[-1]] if len(values) > 1 else values)


def _curve(entry: Entry, choice: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Of a schedule its multiplier at every tenth of training."""
    if entry.kind.name != "schedule":
        return []
    multiplier = SCHEDULES.bind(choice)
    return [(step / 10, multiplier(step / 10)) for step in range(11)]


def _multiplier(value: float) -> str:
    """In three decimals, or with one digit where these would show none."""
    return f"{value:.3f}" if value == 0 or value >= 0.0005 else f"{value:.1g}"


def _effect_blocks(effect: Effect, counts: Mapping[str, int], width: int) -> Iterator[list[str]]:
    """The numbers of each class in a table, and then what there is to say, in blocks of lines."""
    if effect.columns:
        cells = [_numbers(heading, values) for heading, values in effect.columns.items()]
        rows = [
            [printable(name), f"{count:,}", *row]
            for name, count, *row in zip(counts, counts.values(), *cells, strict=True)
        ]
        yield _columns(["class", "images", *effect.columns], rows, left=(0,))
    for note in effect.notes:
        yield _wrapped(note, width)


def _numbers(heading: str, values: Sequence[float]) -> list[str]:
    """A column of the table, all its numbers with as many decimals."""
    if "share" in heading:
        percents = [value * 100 for value in values]
        decimals = min(max(_decimals(percents, 1), 2), MOST_DECIMALS)
        return [f"{percent:.{decimals}f} %" for percent in percents]
    if heading in COUNTS:
        return [f"{value:,.0f}" for value in values]
    if "drawn" in heading:
        return [f"{value:,.1f}" for value in values]
    decimals = 3 if heading in DIFFERENCES else _decimals(values, 4)
    if decimals > MOST_DECIMALS:
        return [f"{value:.4g}" for value in values]
    while decimals and all(f"{value:.{decimals}f}".endswith("0") for value in values):
        decimals -= 1
    return [f"{round(value, decimals) + 0.0:,.{decimals}f}" for value in values]  # 0 without a sign


def _decimals(values: Sequence[float], digits: int) -> int:
    """How many decimals show that many digits of the smallest of the values that is not 0."""
    smallest = min(filter(None, map(abs, values)), default=1.0)
    return max(digits - 1 - math.floor(math.log10(smallest)), 0)


def _default_words(kind: Kind, defaults: Sequence[str]) -> str:
    if not defaults:
        return ""
    return " (default)" if len(kind.settings) == 1 else f" (default of {' and '.join(defaults)})"


def _default(option: Option) -> str:
    return "must be given" if option.name in TO_BE_GIVEN else f"default {_shown(option.default)}"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wrapped(text: str, width: int, indent: int = 0, hanging: int = 0) -> list[str]:
    """`text` in lines that fit, its words whole, those after the first further in by `hanging`."""
    return wrap(
        text,
        min(width, WIDEST),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _command(flags: str, width: int) -> str:
    """The flags in one line, or in several that a shell reads as one."""
    return f"  {flags}" if len(flags) + 2 <= width else "  " + flags.replace(" --", " \\\n    --")


def _columns(headings: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int], gap: int = 2) -> list[str]:
    """Rows under headings, the columns aligned: those in `left` at the left, the others at the right."""
    table = [list(headings), *rows] if headings else list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        (" " * gap)
        .join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        .rstrip()
        for row in table
    ]


def _text(lines: Sequence[str]) -> Text:
    """The lines as they are: a name and a command are copied as they stand."""
    return Text("\n".join(lines), no_wrap=True, overflow="ignore")
