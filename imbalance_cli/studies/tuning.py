"""Settings chosen on validation images: which values are tried, and which of them is taken."""

from __future__ import annotations

import math
import os
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from imbalance_cli.config import Experiment
from imbalance_cli.errors import SettingError
from imbalance_cli.randomness import keyed_seed
from imbalance_cli.registry import is_own
from imbalance_cli.studies.scores import METRICS, POINTS, Metric

Values = dict[str, Any]

OF_THE_STUDY = ("data", "seed", "validation")  # what is not a method's, so it is not chosen for one

TPE_TRIALS = 20
WIDE = 100  # times the lowest value: from there on a range is searched by its logarithm

_RANGE = re.compile(r"(?P<low>.+?)\.\.(?P<high>.+)")


@dataclass(frozen=True)
class Range:
    """The values from `low` to `high`; whole numbers if both are."""

    low: float
    high: float

    @property
    def logarithmic(self) -> bool:
        return self.low > 0 and self.high / self.low >= WIDE


@dataclass(frozen=True)
class Tuning:
    """What is chosen for a method and a seed: settings by dotted names, each with its values or its range.

    trials: how many are tried, None for all; search: grid or tpe; metric, point: the score to choose by.
    """

    settings: Mapping[str, Sequence[Any] | str]
    trials: int | None
    search: str
    metric: str
    point: str

    @property
    def count(self) -> int:
        """How many values are tried."""
        if self.search == "tpe":
            return self.trials or TPE_TRIALS
        return min(math.prod(len(values) for values in self.settings.values()), self.trials or 2**63)

    def require_possible(self, experiment: Experiment) -> None:
        """Raise SettingError unless runs of `experiment` have something to choose on, and nothing else changes."""
        for key in self.settings:
            if key.partition(".")[0] in OF_THE_STUDY:
                raise SettingError(f"--tune {key}: that changes the images or what they are split by, not the method")
        if experiment.validation == 0:
            raise SettingError("--tune needs validation images to choose on, and validation is 0")
        if self.search == "tpe":
            require_optuna()

    def extremes(self) -> list[Values]:
        """Values that show whether all are possible. Raises SettingError for a range in a grid, or a wrong one."""
        each = {key: self._possible(key) for key in self.settings}
        first = {key: values[0] for key, values in each.items()}
        return [first | {key: value} for key, values in each.items() for value in values]

    def _possible(self, key: str) -> list[Any]:
        span = range_of(key, self.settings[key])
        if span is None:
            return list(self.settings[key])
        if self.search == "grid":
            raise SettingError(f"tune {key}: a range is for --search tpe; list the values, or search so")
        return [span.low, span.high]

    def search_for(self, try_out: Callable[[Values], float | None], seed: int) -> None:
        """Let `try_out` give the score of one proposal after the other, drawn by `seed` where not all are.

        The highest score is best; None is a failure. Raises SettingError if the search is not installed.
        """
        if self.search == "tpe":
            self._search_by_tpe(try_out, seed)
            return
        grid = [dict(zip(self.settings, values, strict=True)) for values in product(*self.settings.values())]
        if self.count < len(grid):
            chosen = random.Random(keyed_seed(seed, "trials")).sample(range(len(grid)), self.count)
            grid = [grid[number] for number in sorted(chosen)]
        for values in grid:
            try_out(values)

    def _search_by_tpe(self, try_out: Callable[[Values], float | None], seed: int) -> None:
        require_optuna()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=keyed_seed(seed, "tpe") % 2**32)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for _ in range(self.count):
            trial = study.ask()
            score = try_out({key: _suggested(trial, key, given) for key, given in self.settings.items()})
            study.tell(trial, score, state=optuna.trial.TrialState.FAIL if score is None else None)


def range_of(key: str, given: Sequence[Any] | str) -> Range | None:
    """The range that `given` says, as in `0.001..0.1`; None for a list of values. Raises SettingError."""
    text = given if isinstance(given, str) else given[0] if len(given) == 1 else None
    match = _RANGE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        if isinstance(given, str):
            raise SettingError(f"tune {key}: give a list of values or a range, as in 0.001..0.1; got {given}")
        return None
    try:
        low, high = (int(each) if re.fullmatch(r"-?\d+", each) else float(each) for each in match.groups())
    except ValueError:
        low, high = math.nan, math.nan
    if not low < high < math.inf:
        raise SettingError(f"tune {key}: a range goes from a lower to a higher number, as in 0.001..0.1; got {text}")
    return Range(low, high)


def require_optuna() -> None:
    """Raise SettingError unless Optuna is there."""
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise SettingError("--search tpe needs Optuna; install it with: pip install optuna")


def best(trials: Sequence[Mapping[str, Any]]) -> int:
    """Which of `trials` to take: that of the highest score, of equals that of the highest AUROC, then the first.

    Raises ValueError if none has a score.
    """

    def rank(number: int) -> tuple[float, float, int]:
        auroc = trials[number]["auroc"]
        return trials[number]["score"], -math.inf if auroc is None else auroc, -number

    return max((number for number, trial in enumerate(trials) if trial["score"] is not None), key=rank)


def tried(choice: Mapping[str, Any], metric: str) -> list[dict[str, Any]]:
    """What the `choice` of a cell was made from: of each proposal its values, its score on validation, and if it won.

    The score is that of `metric`, None where training failed; point: the operating point that it is at.
    """
    sign = 1 if METRICS[metric].higher_is_better else -1
    different = {trial["folder"]: trial for trial in choice["trials"]}  # a value proposed twice is one trial
    return [
        {
            "values": trial["values"],
            "validation": None if trial["score"] is None else sign * trial["score"],
            "point": trial.get("point"),  # which older versions did not note
            "chosen": folder == choice["chosen"],
        }
        for folder, trial in different.items()
    ]


@dataclass(frozen=True)
class Candidate:
    """Values that were tried for a method: by seed their score on validation, and the seeds that they won."""

    method: str
    values: str
    scores: dict[int, float | None] = field(default_factory=dict)
    won: set[int] = field(default_factory=set)

    def shown(self, seed: int, metric: Metric) -> str:
        """The score of `seed`, marked if it won; a dash where these values were not tried."""
        if seed not in self.scores:
            return "-"
        score = self.scores[seed]
        return "failed" if score is None else "✓ " * (seed in self.won) + metric.shown(score)


def candidates(rows: Sequence[Mapping[str, Any]], most: int) -> list[Candidate]:
    """What was tried for the methods of a condition's `rows`; of more than `most`, those that won for some seed."""
    found: dict[tuple[str, str], Candidate] = {}
    for row in rows:
        for seed, trials in zip(row["seeds"], row.get("tried") or (), strict=False):
            for trial in trials:
                words = ", ".join(f"{key} {value_words(value)}" for key, value in trial["values"].items())
                each = found.setdefault((row["method"], str(trial["values"])), Candidate(row["method"], words))
                each.scores[seed] = trial["validation"]
                if trial["chosen"]:
                    each.won.add(seed)
    return [each for each in found.values() if each.won or len(found) <= most]


def value_words(value: Any) -> str:
    """The value of a setting as a part of a name: a user's own method without the folder of its file."""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list):
        return "+".join(map(_word, value))
    if isinstance(value, dict):
        return " ".join(map(_word, value.values()))
    return "none" if value is None else _word(value)


def _word(value: Any) -> str:
    return os.path.basename(str(value)) if is_own(str(value)) else str(value)


def about_candidates(rows: Sequence[Mapping[str, Any]], metric: Metric) -> str:
    """What the scores of `candidates` are, in words; nothing where nothing was tuned."""
    trials = [trial for row in rows for of_seed in row.get("tried") or () for trial in of_seed]
    if not trials:
        return ""
    points = {trial["point"] for trial in trials} - {None}
    at = f", {POINTS[points.pop()]}" if metric.decided and len(points) == 1 else ""
    return (
        f"Tried: {metric.words} on the validation images of each seed{at}; ✓ was chosen, and it alone met the test "
        "images. The best of several on the images that they were chosen by is likely to look better than it is."
    )


def _suggested(trial: Any, key: str, given: Sequence[Any] | str) -> Any:
    span = range_of(key, given)
    if span is None:
        return given[trial.suggest_categorical(key, list(range(len(given))))]
    if isinstance(span.low, int) and isinstance(span.high, int):
        return trial.suggest_int(key, span.low, span.high, log=span.logarithmic)
    value = float(f"{trial.suggest_float(key, span.low, span.high, log=span.logarithmic):.4g}")
    return min(max(value, span.low), span.high)
