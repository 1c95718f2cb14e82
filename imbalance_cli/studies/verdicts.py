"""What a comparison says in sentences: the verdict that a statistician would sign, and what to be careful about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from imbalance_cli.methods.criteria import in_short
from imbalance_cli.studies.scores import POINTS, Metric, amount, p_words
from imbalance_cli.studies.significance import LEVEL

Row = Mapping[str, Any]  # of a comparison: what a method reached in one condition

LONGEST_LIST = 4  # names in a sentence
MOST_CLASSES = 3  # whose counts are written one by one


def verdict(rows: Sequence[Row], metric: Metric, baseline: str, detectable: float | None) -> str:
    """One sentence on the rows of a condition, sorted best first.

    detectable: the difference that would have been found between the best and those that cannot be told from it.
    """
    best, others = rows[0], rows[1:]
    name, seeds = best["method"], len(best["seeds"])
    score = f"{metric.words}, {metric.shown(best['mean'])}"
    if not others:
        over = f"over {seeds} seeds{_interval(best, metric)}" if seeds > 1 else "with one seed"
        return f"There is nothing to compare {name} with; its {metric.words} is {metric.shown(best['mean'])} {over}."
    superlative = "best" if metric.higher_is_better else "best (lowest)"
    if seeds == 1:
        return (
            f"With one seed, {name} has the {superlative} {score}; what another seed would give is not known, "
            "so nothing is told apart."
        )
    ties = [row for row in others if row["not_distinguishable_from_best"]]
    if all(row["values"] == best["values"] for row in others):
        return f"In each of {seeds} seeds, {_names(rows)} have the same {score} on average{_same_decisions(best)}."
    finding = _finding(best, detectable, metric)
    if len(ties) == len(others):
        told = f"{name} ({score.replace(',', '', 1)}{_interval(best, metric, ', ')})"
        return f"{seeds} seeds are too few to tell the best, {told}, from {_names(ties)}{finding and ': ' + finding}."
    who = f"{name}, the baseline," if name == baseline else name
    text = f"Over {seeds} seeds, {who} has the {superlative} {score}{_interval(best, metric)}"
    return f"{text}; it {' and '.join(_claims(best, others, ties, metric, baseline, finding))}."


def _claims(
    best: Row, others: Sequence[Row], ties: Sequence[Row], metric: Metric, baseline: str, finding: str
) -> Iterator[str]:
    worse = [row for row in others if not row["not_distinguishable_from_best"]]
    difference = best["difference"]
    if difference is not None and difference["p_corrected"] is not None and difference["p_corrected"] < LEVEL:
        side = "above" if difference["mean"] > 0 else "below"
        yield f"is {metric.gap(difference['mean'])} {side} {baseline} ({p_words(difference['p_corrected'])})"
        worse = [row for row in worse if row["method"] != baseline]
        if worse and not ties:
            yield "better than every other method"
    elif worse:
        yield f"is better than {_names(worse)}"
    if ties:
        yield f"cannot be told from {_names(ties)}{finding and ' (' + finding + ')'}"


def _finding(best: Row, detectable: float | None, metric: Metric) -> str:
    """What the seeds would have sufficed for; nothing where that cannot be said."""
    if not detectable:
        return ""
    worst = {"balanced accuracy": 1 / len(best["recalls"]), "AUROC": 0.5, "MCC": 0.0}.get(metric.words, metric.lowest)
    if detectable > max(metric.highest - best["mean"], best["mean"] - worst):  # from the best up, or down to guessing
        return "hardly any possible difference could have been found"
    return f"a difference of about {metric.gap(detectable)} could have been found"


def _same_decisions(row: Row) -> str:
    """Where every seed gives one class to every image, that is why methods agree."""
    recalls = row["recalls"]
    return ", finding one class only" if set(recalls) == {0.0, 1.0} and sum(recalls) == 1 else ""


def _interval(row: Row, metric: Metric, opening: str = " (") -> str:
    if row["interval"] is None:
        return ""
    low, high = (metric.number(end) for end in row["interval"])
    return f"{opening}95 % interval {low} to {high}{')' if opening == ' (' else ''}"


def absences(
    finished: Mapping[str, Sequence[int]], seeds: Sequence[int], failed: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """What of a condition is not there; finished: the seeds of every method that are."""
    for method, there in finished.items():
        reasons: dict[str, list[int]] = {}
        for each in failed:
            if each["method"] == method and each["seed"] not in there:
                reasons.setdefault(each["reason"], []).append(each["seed"])
        for reason, which in reasons.items():
            yield f"{method}: {_seeds(which)} failed: {reason}"
        lost = {seed for which in reasons.values() for seed in which}
        if missing := [seed for seed in seeds if seed not in there and seed not in lost]:
            yield f"{method}: {_seeds(missing)} {'has' if len(missing) == 1 else 'have'} not finished"


def changed_tests(seeds: Sequence[int]) -> Iterator[str]:
    """What to say of seeds whose runs were not all tested on the same images."""
    if seeds:
        yield (
            f"the test images of {_seeds(seeds)} changed between runs, so the methods are not compared on the same "
            "ones; bring them back, or begin a new study"
        )


def cautions(rows: Sequence[Row], baseline: str) -> Iterator[str]:
    """What a reader of these rows should know before believing them."""
    most = len(rows[0]["seeds"])
    if most == 1:
        yield "one seed: there is no interval and no test, and another seed may give another order"
    if incomplete := [row for row in rows if len(row["seeds"]) < most]:
        yield (
            f"{_names(incomplete)}, of fewer seeds, {'is' if len(incomplete) == 1 else 'are'} ranked after the others; "
            "differences are over the seeds that both methods have"
        )
    yield from unequal_training(rows)
    if same := [row for row in rows if (row["difference"] or {}).get("constant") and row["difference"]["mean"]]:
        yield (
            f"{_names(same)}: the same difference to {baseline} in every seed, which a t-test cannot judge; "
            "p is that of signs that all agree by chance"
        )


def unequal_training(rows: Sequence[Row]) -> Iterator[str]:
    """In what training differed beside the method, as far as `rows` tell."""
    budgets = [
        _differing(rows, "epochs", lambda row: amount(row["epochs"])),
        _differing(rows, "steps", lambda row: amount(row["steps"])),
        _differing(rows, "parameters", lambda row: amount(row["parameters"])),
    ]
    if any(budgets):
        yield f"the budgets differ: {'; '.join(filter(None, budgets))}"
    if counts := _differing(rows, "of each class", lambda row: _counts(row["train_counts"])):
        yield f"the numbers of training images differ: {counts}"


def unnoted_tests(names: Sequence[str]) -> Iterator[str]:
    """What to say of methods or runs whose results do not note the test images, as those of early versions."""
    if names:
        yield f"{listed(names)}: that the test images were the same ones was not noted, so it could not be checked"


def unequal_thresholds(results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What to say of thresholds from validation that were not chosen alike; results: of each method or run."""
    criteria = {
        name: each["operating_points"]["validation"].get("threshold_by", {"name": "balanced_accuracy"})
        for name, each in results.items()
    }
    rows = [{"method": name, "by": in_short(criterion)} for name, criterion in criteria.items()]
    if differing := _differing(rows, "by", lambda row: row["by"]):
        yield f"the thresholds were chosen differently: {differing}"


def fallback(point: str, reason: str, who: str, everyone: str) -> str:
    """Why another operating point stands for `point`; who: what lacks it, of `everyone`, as in `all methods`."""
    return f"not {POINTS[point]} but {POINTS['prior']}, for {everyone}, because {who}: {reason}"


def _differing(rows: Sequence[Row], name: str, shown: Callable[[Row], str]) -> str:
    """`epochs 10 (a, b), 20 (c)`; nothing where all rows agree."""
    who: dict[str, list[str]] = {}
    for row in rows:
        who.setdefault(shown(row), []).append(row["method"])
    if len(who) == 1:
        return ""
    return f"{name} " + ", ".join(f"{value} ({listed(methods)})" for value, methods in who.items())


def _counts(counts: Sequence[int]) -> str:
    if len(counts) <= MOST_CLASSES:
        return " + ".join(map(amount, counts))
    return f"{amount(max(counts))} to {amount(min(counts))}, {amount(sum(counts))} in all"


def _names(rows: Sequence[Row]) -> str:
    return listed([row["method"] for row in rows])


def listed(names: Sequence[str]) -> str:
    """`a, b and c`; of many the first ones and how many more."""
    shown = list(names)
    if len(shown) > LONGEST_LIST:
        shown = [*shown[: LONGEST_LIST - 1], f"{len(shown) - LONGEST_LIST + 1} others"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {listed([str(seed) for seed in seeds])}"
