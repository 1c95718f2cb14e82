"""Everything that an experiment may say, and how a file, flags and `--set` make one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from imbalance_cli.errors import SettingError, did_you_mean
from imbalance_cli.methods.augment import AUGMENTATIONS
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.optimizers import OPTIMIZERS
from imbalance_cli.methods.schedules import SCHEDULES
from imbalance_cli.methods.weights import CLASS_WEIGHTS
from imbalance_cli.models import MODELS
from imbalance_cli.registry import Registry
from imbalance_cli.strict_yaml import parse_yaml, read_yaml


def _choice(registry: Registry[Any]) -> Any:
    """The type of a setting that names a method of `registry`: `focal`, or `{name: focal, gamma: 2}`.

    Validated, it is a dictionary of the name and the value of every option.
    """

    def validate(value: Any) -> dict[str, Any]:
        given = {"name": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            raise ValueError("must be a name, or a name with options as in {name: NAME, OPTION: VALUE}")
        try:
            method = registry.get(given["name"])
        except SettingError as error:
            raise ValueError(str(error)) from error
        options = {key: option for key, option in given.items() if key != "name"}
        return {"name": method.name, **method.schema.model_validate(options).model_dump()}

    return Annotated[dict[str, Any], BeforeValidator(validate)]


def _texts(value: Any) -> Any:
    """Class names that YAML reads as numbers are names all the same."""
    if isinstance(value, list):
        return [str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in value]
    return value


ClassNames = Annotated[list[str], BeforeValidator(_texts)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, le=1)]


def _in_unit_interval(value: float) -> float:
    if not 0 < value <= 1:  # also refuses NaN
        raise ValueError(f"must be in (0, 1]; got {value}")
    return value


Ratio = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_in_unit_interval)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DataSettings(_Section):
    """Which images: the source, and how an imbalanced subset is taken from it."""

    dataset: str = "auto"
    data_dir: str | None = None
    subset: str | None = None
    classes: ClassNames | None = None
    ratio: Ratio | None = None
    factor: Annotated[float, Field(ge=1)] | None = None
    profile: Literal["exponential", "step", "linear"] | None = None
    counts: dict[str, Annotated[int, Field(ge=1)]] | None = None
    minority: ClassNames = []
    protocol: Literal["nested", "cao"] = "nested"
    test_ratio: Ratio | None = None
    split_seed: Seed = 0
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    skip_bad: bool = False
    allow_leak: bool = False
    allow_empty: bool = False


class Experiment(_Section):
    """One training run, complete: every setting with its default."""

    data: DataSettings = DataSettings()
    validation: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    model: _choice(MODELS) = Field("cnn", validate_default=True)  # type: ignore[valid-type]
    loss: _choice(LOSSES) = Field("cross_entropy", validate_default=True)  # type: ignore[valid-type]
    class_weights: _choice(CLASS_WEIGHTS) = Field("none", validate_default=True)  # type: ignore[valid-type]
    augment: list[_choice(AUGMENTATIONS)] = Field(["crop", "flip"], validate_default=True)  # type: ignore[valid-type]
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 30
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 128
    optimizer: _choice(OPTIMIZERS) = Field("sgd", validate_default=True)  # type: ignore[valid-type]
    learning_rate: Annotated[float, Field(gt=0, le=1000)] = 0.1
    learning_rate_schedule: _choice(SCHEDULES) = Field("cosine", validate_default=True)  # type: ignore[valid-type]
    warmup: Share = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4
    l1: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: Seed = 0
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"


REGISTRIES: dict[str, Registry[Any]] = {
    "model": MODELS,
    "loss": LOSSES,
    "class_weights": CLASS_WEIGHTS,
    "optimizer": OPTIMIZERS,
    "learning_rate_schedule": SCHEDULES,
}
DEFAULT_NAMES = {key: Experiment.model_fields[key].default for key in REGISTRIES}


@dataclass(frozen=True)
class Setting:
    """One value from outside the file: where it goes (`("loss", "gamma")`), what it is, who said so (`--gamma`)."""

    path: tuple[str, ...]
    value: Any
    source: str


def resolve(file: Path | None, settings: Iterable[Setting] = ()) -> tuple[Experiment, dict[str, str]]:
    """The experiment of `file` (YAML) with `settings` applied in order, and where each given value came from.

    Raises SettingError, one line a problem, all problems at once.
    """
    raw: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if file is not None:
        document = read_yaml(file, error=SettingError)
        if not isinstance(document.value, dict):
            raise SettingError(f"{file}: expected `key: value` lines, found {_shown(document.value)}")
        raw = document.value
        sources = {".".join(map(str, path)): f"{file}:{line}" for path, line in document.lines.items()}
    for setting in settings:
        _apply(raw, setting.path, setting.value)
        sources[".".join(setting.path)] = setting.source
    try:
        return Experiment.model_validate(raw), sources
    except ValidationError as error:
        raise SettingError("\n".join(_problems(error, raw, sources))) from error


def parse_assignment(text: str) -> Setting:
    """`section.key=value` of `--set`, the value read as YAML. Raises SettingError."""
    key, equals, given = text.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise SettingError(f"--set {text}: expected KEY=VALUE, as in loss.gamma=2")
    value = parse_yaml(given, source=f"--set {text}", error=SettingError).value
    return Setting(path, value, f"--set {key}")


def _apply(raw: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    key = path[0]
    if key in REGISTRIES and len(path) == 1 and isinstance(value, str):
        present = raw.get(key)
        name = present.get("name") if isinstance(present, dict) else present
        if name != value:  # another method; the options of the one before it do not belong to it
            raw[key] = {"name": value}
        return
    if len(path) == 1:
        raw[key] = value
        return
    if key in REGISTRIES and not isinstance(raw.get(key), dict):
        raw[key] = {"name": raw.get(key, DEFAULT_NAMES[key])}
    for key in path[:-1]:
        raw = raw.setdefault(key, {})
        if not isinstance(raw, dict):
            raise SettingError(f"{'.'.join(path)}: {key} is {_shown(raw)}, which has no settings inside")
    raw[path[-1]] = value


def _problems(error: ValidationError, raw: dict[str, Any], sources: dict[str, str]) -> list[str]:
    """One line a wrong setting: place, name, what is expected, what was given."""
    lines = []
    grouped: dict[tuple[str, ...], list[Any]] = {}
    for problem in error.errors(include_url=False):
        location = tuple(str(part) for part in problem["loc"])
        depth = {"data": 2, "augment": 3}.get(location[0], 2 if location[0] in REGISTRIES else 1)
        if problem["type"] == "extra_forbidden":
            depth = len(location)
        grouped.setdefault(location[:depth], []).append(problem)
    for location, problems in grouped.items():
        name = ".".join(location)
        source = sources.get(name) or sources.get(location[0])
        place = f"{source}: " if source and not source.startswith("--") else ""
        if source and source.startswith("--") and not source.startswith("--set"):
            name = source  # the user knows the flag, not the setting behind it
        if problems[0]["type"] == "extra_forbidden":
            lines.append(place + _unknown(name, location, raw))
        elif problems[0]["type"] == "value_error":
            lines.append(f"{place}{name}: {problems[0]['ctx']['error']}")
        else:
            expected = " or ".join(dict.fromkeys(wanted(problem) for problem in problems))
            given = _value_at(raw, location)
            lines.append(f"{place}{name} must be {expected}; got {_shown(given)}")
    return lines


def _unknown(name: str, location: tuple[str, ...], raw: dict[str, Any]) -> str:
    key = location[0]
    if len(location) == 2 and key in REGISTRIES:
        registry = REGISTRIES[key]
        chosen = raw[key]["name"]
        having = registry.having(location[1])
        if having:
            return f"{name} has no use with {chosen}; it is an option of {', '.join(having)}"
        if not registry.get(chosen).options:
            return f"unknown setting {name!r}; {chosen} has no options"
        options = [
            *registry.get(chosen).options,
            *(option for method in registry for option in method.options),
        ]
        return f"unknown setting {name!r}{did_you_mean(name, [f'{key}.{option}' for option in options])}"
    known = [f"data.{field}" for field in DataSettings.model_fields]
    if location[0] == "data":
        return f"unknown setting {name!r}{did_you_mean(name, known)}"
    fields = [*Experiment.model_fields]
    nested = [other for other in known if other.endswith(f".{name}")]
    if nested:
        return f"unknown setting {name!r}; did you mean {nested[0]!r}?"
    return f"unknown setting {name!r}{did_you_mean(name, fields)}"


def wanted(problem: Any) -> str:
    """What would have been right instead of the value that pydantic's `problem` is about."""
    limits = problem.get("ctx", {})
    match problem["type"]:
        case "int_type" | "int_from_float" | "int_parsing":
            return "a whole number"
        case "float_type" | "float_parsing":
            return "a number"
        case "finite_number":
            return "a finite number"
        case "bool_type":
            return "true or false"
        case "string_type":
            return "text (put quotes around true, false and numbers)"
        case "list_type":
            return "a list, as in [a, b]"
        case "dict_type" | "model_type":
            return "a group of settings, key: value"
        case "greater_than_equal":
            return f"at least {limits['ge']:g}"
        case "greater_than":
            return f"more than {limits['gt']:g}"
        case "less_than_equal":
            return f"at most {limits['le']:g}"
        case "less_than":
            return f"less than {limits['lt']:g}"
        case "literal_error":
            return f"{limits['expected']}"
        case "string_pattern_mismatch":
            return "auto, cpu, cuda, cuda:N or mps"
        case "none_required":
            return "null"
        case _:
            return str(problem["msg"])


def _value_at(raw: Any, location: tuple[str, ...]) -> Any:
    for part in location:
        raw = raw[int(part)] if isinstance(raw, list) else raw[part] if isinstance(raw, dict) else raw
    return raw


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, bool) else f"{str(value).lower()} (quote it if you mean text)"
    return text if len(text) <= 60 else text[:57] + "..."
