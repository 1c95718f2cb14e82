"""What the file of a study says, each setting with its line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from imbalance_cli.config import EVERY_REGISTRY, REGISTRIES, Experiment, Seed, Setting
from imbalance_cli.errors import SettingError, did_you_mean
from imbalance_cli.own_methods import with_full_names
from imbalance_cli.setting_problems import place_of, problems_of, shown
from imbalance_cli.strict_yaml import Document, read_yaml
from imbalance_cli.studies.scores import METRICS, POINTS


class Published(BaseModel):
    """Another's number, in per cent."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    value: float
    source: str = ""
    chosen_on_test: bool = False


class StudyFile(BaseModel):
    """The file of a study. Without one, every part has its default."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    title: str = ""
    base: dict[str, Any] = {}
    methods: dict[str, dict[str, Any] | str] = {}
    vary: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    seeds: Annotated[int, Field(ge=1, le=10_000)] | Annotated[list[Seed], Field(min_length=1)] = 5
    metric: str = "balanced_accuracy"
    point: str = "validation"
    baseline: str | None = None
    published: dict[str, dict[str, float | Published]] = {}
    tune: dict[str, Annotated[list[Any] | str, Field(min_length=1)]] = {}
    trials: Annotated[int, Field(ge=1)] | None = None
    search: Literal["grid", "tpe"] = "grid"

    _path: Path | None = PrivateAttr(default=None)
    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, name: str) -> str:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}{did_you_mean(name, METRICS)}")
        return name

    @field_validator("point")
    @classmethod
    def _check_point(cls, name: str) -> str:
        if name not in POINTS:
            raise ValueError(f"unknown operating point {name!r}{did_you_mean(name, POINTS)}")
        return name

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: int | list[int]) -> int | list[int]:
        if isinstance(seeds, list) and len(set(seeds)) < len(seeds):
            raise ValueError(f"a seed is given twice; got {shown(seeds)}")
        return seeds

    @classmethod
    def read(cls, path: Path | None, changes: Mapping[str, tuple[str, Any]]) -> StudyFile:
        """The study in the file `path`, if any, with `changes` of its parts, each with the flag that says so.

        Raises SettingError, one line a problem.
        """
        document = Document({}, {}) if path is None else _mapping(path)
        raw = {
            key: [] if value is None and key in ("methods", "base") else value for key, value in document.value.items()
        }
        if path is not None:
            naming = raw.keys() & {"base", "methods", "vary", "tune"}
            raw |= {key: with_full_names(raw[key], path.parent) for key in naming}
        sources = _sources(path, document)
        for key, (flag, value) in changes.items():
            raw[key], sources[key] = value, flag
        try:
            said = cls.model_validate(raw)
        except ValidationError as error:
            known = {"": [*cls.model_fields, *(f"base.{name}" for name in Experiment.model_fields)], "data": []}
            raise SettingError(*problems_of(error, raw, sources, {}, known)) from error
        said._path, said._sources = path, sources
        return said

    def place(self, *location: str) -> str:
        """How a message about that part of the study begins."""
        return place_of(location, self._sources)[0] or f"{self._sources.get(location[0], '--' + location[0])}: "

    def beside(self, name: str) -> Path:
        """The file called `name` in this one."""
        return (Path() if self._path is None else self._path.parent) / os.path.expanduser(name)

    def settings(self, *location: str) -> tuple[Setting, ...]:
        """The settings in the mapping at `location`: those of the base or of a method."""
        value: Any = self
        for part in location:
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        return tuple(_flat(value, location, self._sources))

    def varied(self, key: str) -> list[Setting]:
        """The values of the setting `key`, as `vary` lists them."""
        return [
            Setting(tuple(key.split(".")), value, self._sources.get(f"vary.{key}.{number}", f"--vary {key}"))
            for number, value in enumerate(self.vary[key])
        ]

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds; a number of them are the first ones."""
        return tuple(range(self.seeds) if isinstance(self.seeds, int) else self.seeds)

    @property
    def all_published(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The published numbers, each with its source."""
        return {
            method: {
                condition: (each if isinstance(each, Published) else Published(value=each)).model_dump()
                for condition, each in numbers.items()
            }
            for method, numbers in self.published.items()
        }


def recipe_settings(path: Path, place: str) -> tuple[Setting, ...]:
    """The settings in the experiment file `path`, which `place` names. Raises SettingError."""
    try:
        document = _mapping(path)
    except SettingError as error:
        raise SettingError(f"{place}{error}" if place.endswith(": ") else f"{place}: {error}") from error
    return tuple(_flat(with_full_names(document.value, path.parent), (), _sources(path, document)))


def absolute(settings: Iterable[Setting]) -> tuple[Setting, ...]:
    """`settings` whose files are found again from any other folder."""
    return tuple(Setting(each.path, _absolute(each), each.source) for each in settings)


def _absolute(setting: Setting) -> Any:
    value = setting.value
    if setting.path[0] in (*EVERY_REGISTRY, "stages"):
        return with_full_names(value)
    if not isinstance(value, str) or setting.path not in [("data", name) for name in ("dataset", "data_dir", "subset")]:
        return value
    path = os.path.abspath(os.path.expanduser(value))
    if setting.path == ("data", "dataset"):
        return path if os.path.exists(path) and not _is_built_in(value) else value
    return path


def _is_built_in(dataset: str) -> bool:
    if os.sep in dataset:  # which needs no torch to know
        return False
    from imbalance_cli.data.sources import BUILT_IN

    return dataset in BUILT_IN


def _mapping(path: Path) -> Document:
    document = read_yaml(path, error=SettingError)
    if not isinstance(document.value, dict):
        raise SettingError(f"{path}: expected `key: value` lines, found {shown(document.value)}")
    return document


def _sources(path: Path | None, document: Document) -> dict[str, str]:
    return {".".join(map(str, place)): f"{path}:{line}" for place, line in document.lines.items()}


def _flat(values: dict[str, Any], location: tuple[str, ...], sources: Mapping[str, str]) -> Iterator[Setting]:
    """The settings in a mapping, in which keys may be dotted: a method's name first, then its options."""
    for key, value in values.items():
        source = sources[".".join((*location, key))]
        path = tuple(key.split("."))
        if not all(path):
            raise SettingError(f"{source}: {key!r} names no setting")
        if not isinstance(value, dict) or (path != ("data",) and not (path[0] in REGISTRIES and len(path) == 1)):
            yield Setting(path, value, source)
            continue
        for name in sorted(value, key=lambda name: name != "name"):
            place = sources[".".join((*location, key, name))]
            yield Setting(path if name == "name" and key != "data" else (*path, name), value[name], place)
