"""The report of a study: which method is best, by how much, and how sure that is, as one HTML page."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import UndefinedError

from imbalance_cli.config import DEFAULT_NAMES, EVERY_REGISTRY
from imbalance_cli.errors import CheckpointError, DamageError, UserError
from imbalance_cli.files import read_file
from imbalance_cli.pages import study_curves, study_plots
from imbalance_cli.pages.page import percent, render, svg
from imbalance_cli.pages.study_plots import sentence, signed
from imbalance_cli.runs import read_json
from imbalance_cli.strict_yaml import parse_yaml
from imbalance_cli.studies.scores import METRICS, POINTS, Metric, p_words
from imbalance_cli.studies.study import COMPARISON, STUDY
from imbalance_cli.studies.tuning import about_candidates, candidates

if TYPE_CHECKING:
    from markupsafe import Markup

Comparison = Mapping[str, Any]
Condition = Mapping[str, Any]  # of a comparison

NAMED_CLASSES = 12  # of more, how many there are

# What comes of a comparison that an older version wrote, or that was edited: something is not there or of another kind.
_UNLIKE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, UndefinedError)


@dataclass(frozen=True)
class Plot:
    """A figure, and what to see in it."""

    figure: Markup
    caption: str


@dataclass(frozen=True)
class Sweep:
    """Conditions that differ in the value of `setting` alone, in its order; rest: what else they say."""

    setting: str
    rest: str
    conditions: list[tuple[float, Condition]]


def study_page(folder: Path) -> str:
    """The HTML page on the study in `folder`, made of its comparison.json and study.yaml. Raises CheckpointError."""
    path, command = folder / COMPARISON, _command(folder / STUDY)
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {COMPARISON}; make it by: {command}")
    comparison = read_json(path)
    try:
        return page_of(comparison, _study_text(folder), folder / STUDY)
    except _UNLIKE as error:
        raise DamageError(f"{path} is not what imbalance compare writes; make it again by: {command}") from error


def page_of(comparison: Comparison, study: str | None, place: Path) -> str:
    """The HTML page on `comparison`; study: the text of the study's file, if it is known, which lies at `place`."""
    metric = METRICS[comparison["metric"]]
    return render(
        "study.html",
        comparison=comparison,
        metric=metric,
        point=_point(comparison, metric),
        title=comparison["title"] or "Comparison",
        several=len(comparison["conditions"]) > 1,
        data=_data(comparison),
        facts=list(_facts(comparison)),
        conditions=[(condition, _plots(comparison, condition)) for condition in comparison["conditions"]],
        sweeps=[_sweep_plots(comparison, sweep) for sweep in sweeps(comparison["conditions"])],
        methods=_in_words(study, comparison["methods"]),
        hardest=_hardest(comparison),
        study=study,
        command=_command(place),
        number=lambda value: "–" if value is None else metric.number(value),
        signed=lambda value: signed(metric, value),
        interval=_interval,
        percent=percent,
        p_words=lambda p: "–" if p is None else p_words(p).removeprefix("p ").removeprefix("= "),
        time_unit=study_curves.time_unit,
        candidates=candidates,
        about_candidates=about_candidates,
    )


def _command(study: Path) -> str:
    """What makes a comparison of the study in the file `study`."""
    return f"imbalance compare {shlex.quote(str(study))}"


def sweeps(conditions: Sequence[Condition]) -> list[Sweep]:
    """The curves that the conditions make: over the setting with the most values, all of them numbers."""
    finished = [condition for condition in conditions if condition["rows"]]
    said = [dict(part.partition(" ")[::2] for part in condition["name"].split(", ")) for condition in finished]
    numbers = {key: {_number(parts.get(key, "")) for parts in said} for parts in said for key in parts if key}
    numeric = {key: values for key, values in numbers.items() if None not in values and len(values) > 1}
    if not numeric:
        return []
    setting = max(numeric, key=lambda key: len(numeric[key]))
    groups: dict[str, list[tuple[float, Condition]]] = {}
    for parts, condition in zip(said, finished, strict=True):
        rest = ", ".join(f"{key} {value}" for key, value in parts.items() if key != setting)
        groups.setdefault(rest, []).append((float(parts[setting]), condition))
    found = []
    for rest, members in groups.items():
        if len(members) > 1:
            falling = members[0][0] > members[-1][0]
            found.append(Sweep(setting, rest, sorted(members, key=lambda member: member[0], reverse=falling)))
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _plots(comparison: Comparison, condition: Condition) -> list[Plot]:
    """The figures of one condition."""
    rows, metric = condition["rows"], METRICS[comparison["metric"]]
    if not rows:
        return []
    confidence = percent(comparison["confidence"], 0)
    baseline, names = comparison["baseline"], condition["data"]["classes"]
    plots = [
        Plot(
            svg(study_plots.intervals(rows, metric)),
            f"Each faint dot is a run, one per seed; the bold mark is their mean, the bar its {confidence} interval. "
            "Blue are the best (a diamond) and those that cannot be told from it.",
        )
    ]
    if any(row["difference"] for row in rows):
        caption = (
            f"How far above or below {baseline} each method is with the same seed, which means the same images and the "
            "same first weights. Green is better, orange worse, grey and hollow what may be chance: p is corrected for "
            f"the number of methods, each bar is the {confidence} interval of its difference alone."
        )
        plots.append(Plot(svg(study_plots.differences(rows, baseline, metric)), caption))
    points = Plot(
        svg(study_plots.operating_points(rows, len(names))),
        "Balanced accuracy of the very same models when only the decision changes: the likeliest class (argmax), that "
        "after the training prior is taken out (prior-corrected), and by thresholds chosen on validation images (from "
        "validation). Where a line is longer than the methods are apart, the threshold decides more than the method.",
    )
    recalls = Plot(
        svg(study_plots.recall_map(rows, names, condition["train_counts"])),
        f"Of the test images of each class, how many are found {POINTS[condition['point']]}; on average over the "
        "seeds, the most trained class on the left.",
    )
    plots += [points, recalls]
    timed = [row for row in rows if row["seconds"]]
    if len(timed) > 1:
        caption = (
            f"{sentence(metric.words)} over the time of one run, with its interval. The pale line joins what no other "
            "method beats in both. Times compare only where the machine did nothing else."
        )
        plots.append(Plot(svg(study_curves.cost(timed, metric)), caption))
    return plots


def _sweep_plots(comparison: Comparison, sweep: Sweep) -> tuple[Sweep, list[Plot]]:
    metric, baseline = METRICS[comparison["metric"]], comparison["baseline"]
    methods = [baseline, *(method for method in comparison["methods"] if method != baseline)]
    rows = [(value, condition["rows"]) for value, condition in sweep.conditions]
    bands = "with its interval as a band" if len(methods) <= study_curves.MOST_BANDS else "intervals as below"
    caption = f"Mean {metric.words} of each method, {bands}; {baseline} is black."
    plots = [Plot(svg(study_curves.sweep(sweep.setting, rows, methods, metric)), caption)]
    if comparison["metric"] != "auroc" and any(row["auroc"] is not None for _, each in rows for row in each):
        caption = (
            "How well the same models rank, whatever the threshold. Where these curves stay together and the others "
            "part, methods differ in where they draw the line rather than in what they have learned."
        )
        figure = study_curves.sweep(sweep.setting, rows, methods, METRICS["auroc"], "auroc")
        plots.append(Plot(svg(figure), caption))
    return sweep, plots


def _point(comparison: Comparison, metric: Metric) -> str:
    """Where decisions are made, in words; nothing for a metric that needs none."""
    used = {condition["point"] for condition in comparison["conditions"] if condition["rows"]}
    return POINTS[used.pop() if len(used) == 1 else comparison["point"]] if metric.decided else ""


def _data(comparison: Comparison) -> str:
    """The data in words."""
    data = comparison["data"]
    if data is None:
        return ""
    names = data["classes"]
    classes = ", ".join(names) if len(names) <= NAMED_CLASSES else f"{len(names)} classes"
    return f"{data['dataset']}: {classes}; tested on {data['test_images']:,} images"


def _facts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """What was compared, and how, in words."""
    metric = METRICS[comparison["metric"]]
    rows = [row for condition in comparison["conditions"] for row in condition["rows"]]
    better = "" if metric.higher_is_better else ", the lower the better"
    yield "metric", " ".join(filter(None, [metric.words, _point(comparison, metric)])) + better
    if data := _data(comparison):
        yield "data", data
        yield "rarest class", comparison["data"]["minority"]
    yield "methods", ", ".join(comparison["methods"])
    yield "baseline", comparison["baseline"]
    if len(comparison["conditions"]) > 1:
        yield "conditions", "; ".join(condition["name"] for condition in comparison["conditions"])
    yield "seeds", ", ".join(map(str, comparison["seeds"]))
    for name in ("epochs", "steps", "parameters"):
        if rows:
            least, most = min(row[name] for row in rows), max(row[name] for row in rows)
            yield name, f"{least:,}" if least == most else f"{least:,} to {most:,}"
    yield "test", comparison["test"]
    if machines := comparison.get("machines", []):  # which older versions did not note
        yield "run on", "; ".join(machines)


def _hardest(comparison: Comparison) -> dict[str, Any] | None:
    """Of the most unequal condition: its commonest and rarest class, and the share that naming the commonest gets."""
    known = [
        condition for condition in comparison["conditions"] if condition["rows"] and min(condition["train_counts"])
    ]
    if not known:
        return None
    hardest = max(known, key=lambda each: max(each["train_counts"]) / min(each["train_counts"]))
    counts, names = hardest["train_counts"], hardest["data"]["classes"]
    return {
        "commonest": names[counts.index(max(counts))],
        "rarest": hardest["data"]["minority"],
        "most": max(counts),
        "least": min(counts),
        "share": max(counts) / sum(counts),
        "classes": len(names),
        "condition": hardest["name"],
    }


def _interval(ends: Sequence[float] | None, written: Callable[[float], str]) -> str:
    return "–" if ends is None else " to ".join(map(written, ends))


def _study_text(folder: Path) -> str | None:
    try:
        return read_file(folder / STUDY).decode("utf-8", "replace")
    except OSError:
        return None


def _in_words(study: str | None, names: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """What each method does: what it chooses, and how the catalogue describes that.

    Of those whose settings are not in the study's text there is nothing, nor of users' own.
    """
    try:
        said = parse_yaml(study or "", source=STUDY, error=CheckpointError).value or {}
        base, methods = said.get("base") or {}, said.get("methods") or {}
        return {
            name: list(_choices(methods[name] or {}, base)) for name in names if isinstance(methods.get(name), dict)
        }
    except (UserError, AttributeError, TypeError):  # edited; the page shows it as it is
        return {}


def _choices(own: Mapping[str, Any], base: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind, registry in EVERY_REGISTRY.items():
        chosen = own.get(kind, base.get(kind, DEFAULT_NAMES.get(kind)) if kind == "loss" else None)
        options = {key.partition(".")[2]: value for key, value in own.items() if key.startswith(f"{kind}.")}
        for each in chosen if isinstance(chosen, list) else [chosen]:
            given = dict(each) if isinstance(each, dict) else {"name": each}
            name = given.pop("name", None)
            if name not in registry or (name == DEFAULT_NAMES.get(kind) and kind != "loss"):
                continue
            set_to = ", ".join(f"{key} {value}" for key, value in {**given, **options}.items())
            words = f"{kind.replace('_', ' ')} {name}"
            yield f"{words} ({set_to})" if set_to else words, registry.get(name).summary
