"""A study: methods by conditions by seeds, as a file and flags say it, and the runs that it is made of."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from imbalance_cli import combinations
from imbalance_cli.config import DEFAULT_NAMES, REGISTRIES, Experiment, Setting, resolve
from imbalance_cli.errors import SettingError
from imbalance_cli.registry import is_own
from imbalance_cli.strict_yaml import dump_yaml
from imbalance_cli.studies.tuning import Tuning, value_words

STUDY, COMPARISON = "study.yaml", "comparison.json"
HEADING = "# A study, as resolved; `imbalance compare study.yaml` goes on with it.\n"

Settings = tuple[Setting, ...]


@dataclass(frozen=True)
class Cell:
    """A run of a study: a method under a condition with a seed. `folder` is its name in the study's folder."""

    condition: str
    method: str
    seed: int
    experiment: Experiment
    folder: str
    settings: Settings = ()  # what makes the experiment, and who said so
    tuning: Tuning | None = None  # what is chosen on validation; then `folder` is that of the choice

    @property
    def label(self) -> str:
        """What people call the cell."""
        return ", ".join(filter(None, (self.method, self.condition, f"seed {self.seed}")))


@dataclass(frozen=True)
class Study:
    """Which methods are compared under which conditions, and by what.

    base, rows: settings of every run, and of each method beside; vary: the settings of the data that make the
    conditions; published: numbers of others by method and condition, in per cent; tune: settings that are chosen on
    validation, with their values; trials: how many of these are tried, None for all; search: grid or tpe.
    """

    title: str
    base: Settings
    rows: dict[str, Settings]
    vary: dict[str, list[Setting]]
    seeds: tuple[int, ...]
    metric: str = "balanced_accuracy"
    point: str = "validation"
    baseline: str = ""
    published: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    tune: dict[str, list[Any] | str] = field(default_factory=dict)
    trials: int | None = None
    search: str = "grid"

    @property
    def methods(self) -> list[str]:
        """The names of the methods, in order."""
        return list(self.rows)

    @property
    def conditions(self) -> list[str]:
        """The names of the conditions, in order; one without a name where there is one only."""
        return list(self.tables())

    def tables(self) -> dict[str, Settings]:
        """The settings of each condition."""
        named = [key for key, values in self.vary.items() if len(values) > 1]
        found: dict[str, Settings] = {}
        for chosen in product(*self.vary.values()):
            parts = [part_name(each) for each in chosen if ".".join(each.path) in named]
            name = ", ".join(parts)
            if name in found:
                raise SettingError(f"two conditions are called {name!r}; folders need names that tell them apart")
            found[name] = chosen
        return found

    def shared_data(self) -> dict[str, Any]:
        """What all runs share of the images: the settings of the data that are not as by default."""
        (table, *_), (row, *_) = self.tables().values(), self.rows.values()
        data = resolve(None, (*self.base, *row, *table))[0].data
        varied = {key.partition(".")[2] for key, values in self.vary.items() if len(values) > 1}
        return {"dataset": data.dataset} | data.model_dump(exclude_defaults=True, exclude=varied)

    def cells(self) -> list[Cell]:
        """Every run, the first seed's first, so that a study which is stopped has compared something.

        Raises SettingError with every problem of every method, each named once.
        """
        problems = _Problems(self)
        resolved: dict[tuple[str, str], tuple[Experiment, Settings]] = {}
        tuned = {method: self._tuning(row) for method, row in self.rows.items()}
        for (condition, table), (method, row) in product(self.tables().items(), self.rows.items()):
            settings, tuning = (*self.base, *row, *table), tuned[method]
            try:
                resolved[condition, method] = resolve(None, settings)[0], settings
                if tuning:
                    tuning.require_possible(resolved[condition, method][0])
                    for values in tuning.extremes():
                        resolve(None, with_values(settings, values))
            except SettingError as error:
                problems.add(condition, method, str(error).splitlines())
        problems.raise_all()
        for key in self.tune:
            if not any(tuning and key in tuning.settings for tuning in tuned.values()):
                raise SettingError(f"--tune {key}: no method of the study has {key}")
        self._require_different(resolved)
        cells = []
        for seed in self.seeds:
            for (condition, method), (experiment, settings) in resolved.items():
                settings = (*settings, Setting(("seed",), seed, "seeds"))
                cells.append(cell_of(condition, method, experiment, settings, seed, tuned[method]))
        return cells

    def _tuning(self, row: Settings) -> Tuning | None:
        """What is chosen for the method of `row`, of the settings that it has."""
        settings = {key: values for key, values in self.tune.items() if takes([*self.base, *row], key)}
        return Tuning(settings, self.trials, self.search, self.metric, self.point) if settings else None

    def _require_different(self, resolved: Mapping[tuple[str, str], tuple[Experiment, Settings]]) -> None:
        for condition in self.conditions:
            first: dict[str, str] = {}
            for method in self.methods:
                same = first.setdefault(digest(resolved[condition, method][0]), method)
                if same != method:
                    raise SettingError(f"methods {same!r} and {method!r} have the same settings; leave one out")

    def cautions(self) -> Iterator[str]:
        """What of the study may not be as its reader expects: methods that are not tuned, or defeat their purpose."""
        for method, row in self.rows.items():
            tuning = self._tuning(row)
            if untuned := [key for key in self.tune if tuning is None or key not in tuning.settings]:
                yield f"{method} is not tuned by {', '.join(untuned)}, which it does not have"
            for table in list(self.tables().values())[:1]:
                for warning in combinations.warnings(resolve(None, (*self.base, *row, *table))[0]):
                    yield f"warning: {method}: {warning}"

    def lacks(self, other: Study) -> str:
        """What of `other` but seeds is not in this study, in words; nothing where this is `other`, perhaps grown."""
        ours, theirs = (replace(study, seeds=(0,)).cells() for study in (self, other))
        there = {digest(cell.experiment): cell for cell in ours}
        lost = [cell for cell in theirs if not _covers(there.get(digest(cell.experiment)), cell)]
        if not lost:
            return ""
        for what, names, known in (
            ("method", [cell.method for cell in lost], self.methods),
            ("condition", [cell.condition for cell in lost], [*self.conditions, ""]),
        ):
            if gone := [name for name in dict.fromkeys(names) if name not in known]:
                return f"the {what} {gone[0]}" + (f" and {len(gone) - 1} more" if len(gone) > 1 else "")
        cell = lost[0]
        if digest(cell.experiment) in there:
            tuned = cell.tuning and ", ".join(f"{key} {each}" for key, each in cell.tuning.settings.items())
            return f"{cell.method} {f'tuned by {tuned}' if tuned else 'without tuning'}"
        alike = sorted(ours, key=lambda one: (one.method != cell.method, one.condition != cell.condition))[0]
        values, others = (_flat(each.experiment.model_dump()) for each in (cell, alike))
        values = {key: value for key, value in values.items() if value != others.get(key, values)}
        changed = [f"{key} {'none' if value is None else value}" for key, value in values.items()]
        return f"{cell.method} with {', '.join(changed[:3]) or 'fewer settings'}"

    def lacks_seeds(self, other: Study) -> str:
        """The seeds of `other` that are not in this study, in words."""
        lost = [str(seed) for seed in other.seeds if seed not in self.seeds]
        return f"seed{'s' if len(lost) > 1 else ''} {' '.join(lost)}" if lost else ""

    def as_yaml(self) -> str:
        """The study's file, which gives the same study wherever it is read."""
        value: dict[str, Any] = {
            "title": self.title,
            "base": _written(self.base),
            "methods": {name: _written(row) for name, row in self.rows.items()},
            "vary": {key: [each.value for each in values] for key, values in self.vary.items()},
            "seeds": list(self.seeds),
            "metric": self.metric,
            "point": self.point,
            "baseline": self.baseline,
            "published": self.published,
            "tune": self.tune,
            "trials": self.trials,
            "search": self.search,
        }
        return HEADING + dump_yaml({key: each for key, each in value.items() if each not in (None, {}, [])})


def _covers(ours: Cell | None, theirs: Cell) -> bool:
    """Whether the one cell, of the same experiment if it is there, is the other, or tries all values that it tries."""
    if ours is None or ours.tuning is None or theirs.tuning is None:
        return ours is not None and ours.tuning is theirs.tuning
    more, less = ours.tuning.settings, theirs.tuning.settings
    return more.keys() == less.keys() and all(
        value in _as_list(more[key]) for key, values in less.items() for value in _as_list(values)
    )


def _as_list(values: Sequence[Any] | str) -> Sequence[Any]:
    return [values] if isinstance(values, str) else values


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings of an experiment by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


class _Problems:
    """What is wrong with the methods of a study, each problem said once, with the methods that have it."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.found: dict[str, list[tuple[str, str]]] = {}

    def add(self, condition: str, method: str, lines: Iterable[str]) -> None:
        for line in lines:
            self.found.setdefault(line, []).append((condition, method))

    def raise_all(self) -> None:
        if self.found:
            raise SettingError(*(self._named(line, having) for line, having in self.found.items()))

    def _named(self, line: str, having: list[tuple[str, str]]) -> str:
        methods = list(dict.fromkeys(method for _, method in having))
        if len(methods) == len(self.study.rows) > 1:
            return line
        others = f" and {len(methods) - 1} more" if len(methods) > 1 else ""
        return f"method {methods[0]}{others}: {line}"


def cell_of(
    condition: str,
    method: str,
    experiment: Experiment,
    settings: Settings,
    seed: int,
    tuning: Tuning | None = None,
) -> Cell:
    """The run of `method` with `seed`; experiment: what `settings` make, but for the seed."""
    experiment = experiment.model_copy(update={"seed": seed})
    parts = [slug(part) for part in (method, condition, f"seed{seed}") if part]
    parts += ["tuned", digest(experiment, asdict(tuning))] if tuning else [digest(experiment)]
    return Cell(condition, method, seed, experiment, "-".join(parts), settings, tuning)


def is_record(file: Path) -> bool:
    """Whether `file` is what a study's folder keeps of it, rather than a user's own."""
    return file.name == STUDY and file.read_bytes().startswith(HEADING.encode())


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """`settings` with values that were chosen for some of them, a method before its options."""
    chosen = [Setting(tuple(key.split(".")), value, f"--tune {key}") for key, value in values.items()]
    return (*settings, *sorted(chosen, key=lambda setting: len(setting.path)))


def digest(experiment: Experiment, *more: Any) -> str:
    """Eight digits that differ where a setting does."""
    text = json.dumps([experiment.model_dump(), *more], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def slug(name: str) -> str:
    """`name` as a part of a file's name."""
    words = re.sub(r"[^\w.]+", "-", name).strip("-.").lower()
    return words.encode()[:60].decode(errors="ignore") or "x"  # file systems count bytes


def part_name(setting: Setting) -> str:
    """What a method or condition is called after one of its settings: `ratio 0.01`, `sampler class_balanced`."""
    text, key = value_words(setting.value), ".".join(setting.path)
    return f"{setting.path[-1]} {os.path.basename(text) if key == 'data.dataset' else text}"


def takes(settings: Iterable[Setting], key: str) -> bool:
    """Whether runs of `settings` have a setting called `key`: the option of a method only if it is an option of it."""
    name, _, option = key.partition(".")
    if name not in REGISTRIES or not option:
        return True
    chosen = str(value_of(settings, name))
    if is_own(chosen):  # whose file is not run yet; a wrong option is told when it is
        return True
    return chosen in REGISTRIES[name] and option in REGISTRIES[name].get(chosen).options


def value_of(settings: Iterable[Setting], key: str) -> Any:
    """The last value that `settings` give to `key`; of a choice that they do not make, the default's name."""
    found: Any = DEFAULT_NAMES.get(key)
    for setting in settings:
        if ".".join(setting.path) == key:
            found = setting.value
    return found


def _written(settings: Iterable[Setting]) -> dict[str, Any]:
    """Settings as dotted keys, in the order in which they apply."""
    values: dict[str, Any] = {}
    for setting in settings:
        key = ".".join(setting.path)
        values.pop(key, None)
        values[key] = setting.value
    return values


def shard_of(cells: Sequence[Cell], shard: str | None) -> list[Cell]:
    """The cells of `shard`, as in 2/4: the second of four shares. Raises SettingError."""
    if shard is None:
        return list(cells)
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    number, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= parts:
        raise SettingError(f"--shard must be I/N with I from 1 to N, as in 1/4; got {shard}")
    return list(cells[number - 1 :: parts])
