"""How the file of a study and the flags make one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from imbalance_cli.config import DECIDED_BY_SUBSET, Experiment, Setting, resolve
from imbalance_cli.errors import SettingError, did_you_mean
from imbalance_cli.own_methods import with_full_names
from imbalance_cli.setting_problems import shown
from imbalance_cli.studies.file import StudyFile, absolute, recipe_settings
from imbalance_cli.studies.study import Settings, Study, part_name, takes, value_of


@dataclass(frozen=True)
class Flags:
    """What the command line says of a study beside its file.

    losses: a method for each; recipes: files, a method for each; factors: settings of which several values multiply
    the methods, and those of the data make the conditions; overrides: settings of every run; changes: other parts of
    the study, by name, each with the flag that said so.
    """

    losses: Sequence[str] = ()
    recipes: Sequence[Path] = ()
    factors: Sequence[tuple[str, str, list[Any]]] = ()  # the flag, the dotted name, the values
    overrides: Sequence[Setting] = ()
    changes: Mapping[str, tuple[str, Any]] = field(default_factory=dict)


def read_study(file: Path | None, flags: Flags) -> tuple[Study, list[str]]:
    """The study of `file` (YAML) and `flags`, which come after it, and lines to tell the user.

    Raises SettingError, one line a problem.
    """
    try:
        said = StudyFile.read(file, flags.changes)
    except SettingError:
        if file is not None and _is_experiment(file):
            raise SettingError(f"{file} is an experiment, not a study; give it with --recipe") from None
        raise
    reading = _Reading(said)
    for name, value in said.methods.items():
        reading.add_method(name, value, said.place("methods", name))
    for recipe in flags.recipes:
        reading.add_recipe(recipe.stem, recipe)
    for loss in flags.losses:
        reading.add_row(loss, (Setting(("loss",), loss, "--loss"),))
    return reading.study(file, flags), reading.notices


class _Reading:
    """A study in the making."""

    def __init__(self, said: StudyFile) -> None:
        self.said = said
        self.base: list[Setting] = list(said.settings("base"))
        self.rows: dict[str, Settings] = {}
        self.overrides: list[Setting] = []  # settings of every run, whatever the methods and conditions say
        self.data_of_recipes: list[Setting] = []
        self.notices: list[str] = []

    def add_row(self, name: str, settings: Settings) -> None:
        if name in self.rows:
            raise SettingError(f"two methods are called {name!r}; give each a name of its own in a study file")
        self.rows[name] = settings

    def add_method(self, name: str, value: dict[str, Any] | str, place: str) -> None:
        if isinstance(value, str):
            self.add_recipe(name, self.said.beside(value), place)
            return
        settings = self.said.settings("methods", name)
        for setting in settings:
            if setting.path[0] == "data":
                raise SettingError(
                    f"{setting.source}: {'.'.join(setting.path)}: every method gets the same images; "
                    "put it under base, or its values under vary"
                )
        self.add_row(name, settings)

    def add_recipe(self, name: str, path: Path, place: str = "--recipe") -> None:
        """A method from an experiment file. What that says of the data is for all, where the study says nothing."""
        settings = recipe_settings(path, place)
        self.add_row(name, tuple(each for each in settings if each.path[0] != "data"))
        self.data_of_recipes += [each for each in settings if each.path[0] == "data"]

    def study(self, file: Path | None, flags: Flags) -> Study:
        vary = {key: self.said.varied(key) for key in self.said.vary}
        for flag, key, values in flags.factors:
            settings = [Setting(tuple(key.split(".")), value, flag) for value in values]
            if settings[0].path[0] not in Experiment.model_fields:
                resolve(None, [replace(settings[0], source="--set")])  # raises, and says which was meant
            if len(values) == 1 and not key.startswith("data.") and not flag.startswith("--vary"):
                self.overrides += settings
            else:
                vary[key] = settings
        self.overrides += flags.overrides
        for setting in self.overrides:
            vary.pop(".".join(setting.path), None)
        self.base += self.overrides
        self._take_data_of_recipes(vary)
        if not self.rows:
            self.rows[str(value_of(self.base, "loss"))] = ()
        for key, values in vary.items():
            if key == "data":
                place = values[0].source
                raise SettingError(f"{place}: every method gets the same images; vary data.KEY, as in data.ratio")
            self._require_different(key, list(absolute(values)))
            if not key.startswith("data."):
                self.multiply(key, values)
        self._require_no_seed()
        rows = {name: absolute(self._overridden(row)) for name, row in self.rows.items()}
        study = Study(
            title=self.said.title or (file.stem if file else ""),
            base=absolute(self.base),
            rows=rows,
            vary={key: list(absolute(values)) for key, values in vary.items() if key.startswith("data.")},
            seeds=self.said.all_seeds,
            metric=self.said.metric,
            point=self.said.point,
            baseline=self.said.baseline or next(iter(rows)),
            published=self._published(flags),
            tune=with_full_names(self.said.tune),
            trials=self.said.trials,
            search=self.said.search,
        )
        self._require_known(study)
        return study

    def _published(self, flags: Flags) -> dict[str, dict[str, dict[str, Any]]]:
        """The published numbers, unless flags ask for other images than they are of."""
        changed = [key for _, key, _ in flags.factors] + [".".join(each.path) for each in flags.overrides]
        others = [key for key in changed if key.startswith("data.") and key != "data.data_dir"]
        if others and self.said.published:
            self.notices.append(f"the published numbers are of other images ({others[0]}), so they are left out")
            return {}
        return self.said.all_published

    def multiply(self, key: str, values: list[Setting]) -> None:
        """Take every method with each of the values; those that have no such option stay as they are."""
        rows, self.rows = self.rows, {}
        for name, row in rows.items():
            all_settings = [*self.base, *self._overridden(row)]
            if not takes(all_settings, key):
                self.notices.append(f"{name} has no {key}, so it stays as it is")
                self.add_row(name, row)
                continue
            own = value_of(all_settings, key)
            for value in values:
                part = f"{name} + {part_name(value)}" if len(values) > 1 and value.value != own else name
                self.add_row(part, (*row, value))
        if self.rows == rows:
            raise SettingError(f"{values[0].source}: no method of the study has {key}")

    def _overridden(self, row: Settings) -> Settings:
        """The settings of a method, and of those that hold for all what it says otherwise."""
        return (*row, *(each for each in self.overrides if any(_overlap(each.path, own.path) for own in row)))

    def _take_data_of_recipes(self, vary: Mapping[str, Any]) -> None:
        said = {".".join(each.path) for each in self.base} | vary.keys()
        imbalance = {f"data.{name}" for name in ("subset", *DECIDED_BY_SUBSET)}
        if said & imbalance:  # a ratio beside the study's own factor would be two imbalances
            said |= imbalance
        taken: dict[str, Setting] = {}
        for setting in self.data_of_recipes:
            key = ".".join(setting.path)
            if key in said:
                continue
            first = taken.setdefault(key, setting)
            if first.value != setting.value:
                raise SettingError(
                    f"{key} is {shown(first.value)} in {first.source} and {shown(setting.value)} in {setting.source}; "
                    f"every method gets the same images, so say which with --set {key}=..."
                )
        if taken:
            told = ", ".join(f"{key} {shown(each.value)}" for key, each in taken.items())
            self.notices.append(f"for every method, from the recipes: {told}")
        self.base = [*taken.values(), *self.base]

    def _require_different(self, key: str, values: list[Setting]) -> None:
        for number, value in enumerate(values):
            if any(other.value == value.value for other in values[:number]):
                raise SettingError(f"{value.source}: {key} {shown(value.value)} is given twice")

    def _require_no_seed(self) -> None:
        for setting in [*self.base, *(each for row in self.rows.values() for each in row)]:
            if setting.path == ("seed",):
                raise SettingError(
                    f"{setting.source}: a study has seeds, say them there: seeds: [0, 1, 2], or --seeds 3"
                )

    def _require_known(self, study: Study) -> None:
        if study.baseline not in study.rows:
            place = self.said.place("baseline")
            raise SettingError(f"{place}unknown method {study.baseline!r}{did_you_mean(study.baseline, study.rows)}")
        for method, numbers in study.published.items():
            place = self.said.place("published", method)
            if method not in study.rows:
                raise SettingError(f"{place}unknown method {method!r}{did_you_mean(method, study.rows)}")
            for condition in numbers:
                if condition not in study.conditions:
                    known = did_you_mean(condition, study.conditions)
                    raise SettingError(f"{place}published: unknown condition {condition!r}{known}")


def require_comparison(study: Study, flags: Flags) -> None:
    """Raise SettingError if `study`, which `flags` alone ask for, has one method and nothing to compare it with."""
    if len(study.methods) == len(study.conditions) == 1 and not study.tune and "seeds" not in flags.changes:
        raise SettingError(
            f"there is nothing to compare {study.methods[0]} with; give two losses (--loss cross_entropy focal), "
            "values (--vary loss.gamma 1 2), ratios (--ratio 0.1 0.01), --tune, a study file, or two runs"
        )


def settled(study: Study, notice: Callable[[str], None]) -> Study:
    """`study` with `auto` decided now, for all its runs, and with a title."""
    said = {".".join(each.path): each.value for each in study.base} | dict.fromkeys(study.vary)
    if said.get("data.dataset", "auto") == "auto" and "data.subset" not in said:
        from imbalance_cli.data.sources import data_folder, resolve_auto

        name, pair, line = resolve_auto(data_folder(said.get("data.data_dir")))
        notice(line)
        base = [*study.base, Setting(("data", "dataset"), name, "auto")]
        if not said.keys() & {"data.classes", "data.counts"}:
            base.append(Setting(("data", "classes"), list(pair), "auto"))
        study = replace(study, base=tuple(base))
    return study if study.title else replace(study, title=_title(study.base))


def _is_experiment(file: Path) -> bool:
    try:
        resolve(file, [])
    except SettingError:
        return False
    return True


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return one[: len(other)] == other[: len(one)]


def _title(base: Sequence[Setting]) -> str:
    """What a study is called that has no file."""
    named = {".".join(each.path): each for each in base}
    dataset = part_name(named["data.dataset"]).partition(" ")[2] if "data.dataset" in named else "a subset"
    return f"Comparison on {dataset}"
