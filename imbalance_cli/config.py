"""Everything that an experiment may say, and how a file, flags and `--set` make one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from imbalance_cli.conflicts import refusal
from imbalance_cli.errors import SettingError
from imbalance_cli.methods.augment import AUGMENTATIONS
from imbalance_cli.methods.criteria import CRITERIA, in_full
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.mixing import MIXING
from imbalance_cli.methods.optimizers import OPTIMIZERS
from imbalance_cli.methods.refits import REFITS
from imbalance_cli.methods.resampling import RESAMPLERS
from imbalance_cli.methods.samplers import SAMPLERS
from imbalance_cli.methods.schedules import SCHEDULES
from imbalance_cli.methods.weights import CLASS_WEIGHTS
from imbalance_cli.models import MODELS
from imbalance_cli.own_methods import load_all, with_full_names
from imbalance_cli.registry import Registry, full_name, is_own
from imbalance_cli.setting_problems import place_of, problems_of, shown
from imbalance_cli.strict_yaml import parse_yaml, read_yaml


def _choice(registry: Registry[Any], in_full: Callable[[Any], Any] | None = None) -> Any:
    """The type of a setting that names a method of `registry`: `focal`, or `{name: focal, gamma: 2}`.

    Validated, it is a dictionary of the name and the value of every option. in_full: writes out its short forms.
    """

    def validate(value: Any) -> dict[str, Any]:
        value = value if in_full is None else in_full(value)
        given = {"name": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            raise ValueError(
                f"must be a name, or a name with options as in {{name: NAME, OPTION: VALUE}}; got {shown(given)}"
            )
        if is_own(given["name"]) and given["name"] not in registry and isinstance(given.get("sha256"), str):
            return dict(given)  # the record of a user's own method; reading it runs no file
        try:
            method = registry.get(given["name"])
        except SettingError as error:
            raise ValueError(str(error)) from error
        own = {"sha256": given["sha256"]} if is_own(method.name) and "sha256" in given else {}
        options = {key: option for key, option in given.items() if key != "name" and key not in own}
        return {"name": method.name, **own, **method.schema.model_validate(options).model_dump()}

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


def _without_nul(path: str) -> str:
    if "\0" in path:
        raise ValueError(f"no path has a NUL character; got {shown(path)}")
    return path


PathText = Annotated[str, AfterValidator(_without_nul)]
Ratio = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_in_unit_interval)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


DECIDED_BY_SUBSET = ("ratio", "factor", "profile", "counts", "minority", "test_ratio")


class DataSettings(_Section):
    """Which images: the source, and how an imbalanced subset is taken from it."""

    dataset: str = "auto"
    data_dir: PathText | None = None
    subset: PathText | None = None
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

    @field_validator(*DECIDED_BY_SUBSET)
    @classmethod
    def _check_subset(cls, value: Any, others: ValidationInfo) -> Any:
        if value and others.data.get("subset"):
            raise ValueError("the subset file decides that; leave out the one or the other")
        return value


class Experiment(_Section):
    """One training run, complete: every setting with its default."""

    data: DataSettings = DataSettings()
    validation: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    model: _choice(MODELS) = Field("cnn", validate_default=True)  # type: ignore[valid-type]
    loss: _choice(LOSSES) = Field("cross_entropy", validate_default=True)  # type: ignore[valid-type]
    class_weights: _choice(CLASS_WEIGHTS) = Field("none", validate_default=True)  # type: ignore[valid-type]
    class_weights_schedule: _choice(SCHEDULES) = Field("constant", validate_default=True)  # type: ignore[valid-type]
    sampler: _choice(SAMPLERS) = Field("instance", validate_default=True)  # type: ignore[valid-type]
    sampler_schedule: _choice(SCHEDULES) = Field("constant", validate_default=True)  # type: ignore[valid-type]
    augment: list[_choice(AUGMENTATIONS)] = Field(["crop", "flip"], validate_default=True)  # type: ignore[valid-type]
    augment_rarer: Share = 0.0
    mixing: _choice(MIXING) = Field("none", validate_default=True)  # type: ignore[valid-type]
    mixing_until: Share = 0.9
    second_view: _choice(MIXING) = Field("none", validate_default=True)  # type: ignore[valid-type]
    consistency: Annotated[float, Field(ge=0, le=1000)] = 1.0
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 30
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 128
    optimizer: _choice(OPTIMIZERS) = Field("sgd", validate_default=True)  # type: ignore[valid-type]
    learning_rate: Annotated[float, Field(gt=0, le=1000)] = 0.1
    learning_rate_schedule: _choice(SCHEDULES) = Field("cosine", validate_default=True)  # type: ignore[valid-type]
    warmup: Share = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4
    l1: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_norm: Annotated[float, Field(gt=0)] | None = None
    gradient_clipping: Annotated[float, Field(gt=0)] | None = None
    sam_radius: Annotated[float, Field(ge=0, le=10)] = 0.0
    sam_classes: Literal["all", "rare"] = "all"
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bias_from_prior: bool = False
    noise_share: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    trainable: Literal["all", "classifier"] = "all"
    restart_classifier: bool = False
    test_time_flip: bool = False
    threshold_by: _choice(CRITERIA, in_full) = Field("balanced_accuracy", validate_default=True)  # type: ignore[valid-type]
    refit: _choice(REFITS) = Field("none", validate_default=True)  # type: ignore[valid-type]
    resample: _choice(RESAMPLERS) = Field("none", validate_default=True)  # type: ignore[valid-type]
    stages: list[dict[str, Any]] = []
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    seed: Seed = 0
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"

    @field_validator("learning_rate_schedule")
    @classmethod
    def _check_learning_rate(cls, schedule: dict[str, Any]) -> dict[str, Any]:
        if schedule["name"] not in SCHEDULES:  # a record, see `_choice`
            return schedule
        factor = SCHEDULES.bind(schedule)
        if factor(0.0) < factor(1.0):
            raise ValueError(f"{schedule['name']} rises, which suits class_weights and sampler; try cosine")
        return schedule

    @field_validator("*")
    @classmethod
    def _check_conflicts(cls, value: Any, others: ValidationInfo) -> Any:
        name = str(others.field_name)
        if problem := refusal({**others.data, name: value}, name):
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _check_stages(self) -> Experiment:
        self.in_stages()
        return self

    def in_stages(self) -> list[Experiment]:
        """The settings of each stage in turn: these, and then for each of `stages` these with its changes.

        What a stage does to the weights at its beginning is done only where that stage says so.
        """
        own = {**dict(self), "stages": [], "restart_classifier": False, "bias_from_prior": False}
        changed, problems = [], []
        for number, changes in enumerate(self.stages):
            try:
                changed.append(_changed(own, changes, f"stages.{number}"))
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError("; ".join(problems))
        return [self.model_copy(update={"stages": []}), *changed]

    @property
    def all_epochs(self) -> int:
        """The epochs of all stages."""
        return sum(stage.epochs for stage in self.in_stages())


# What is decided once for the whole run.
OF_THE_RUN = (
    *("data", "validation", "model", "seed", "device", "precision", "ema", "early_stopping", "test_time_flip"),
    *("refit", "resample", "threshold_by"),
)


def _changed(own: dict[str, Any], changes: dict[str, Any], place: str) -> Experiment:
    """The experiment of a stage. Raises ValueError with every problem of its changes."""
    fixed = [name for name in changes if name in (*OF_THE_RUN, "stages")]
    problems = [f"{name}: a stage goes on with the run's; set it outside the stages" for name in fixed]
    raw = {**own, **{name: value for name, value in changes.items() if name not in fixed}}
    try:
        experiment = Experiment.model_validate(raw)
    except ValidationError as error:
        problems += _problems(error, raw, {})
    if problems:
        raise ValueError("; ".join(f"in {place}: {problem}" for problem in problems))
    return experiment


REGISTRIES: dict[str, Registry[Any]] = {
    "model": MODELS,
    "loss": LOSSES,
    "class_weights": CLASS_WEIGHTS,
    "class_weights_schedule": SCHEDULES,
    "sampler": SAMPLERS,
    "sampler_schedule": SCHEDULES,
    "mixing": MIXING,
    "second_view": MIXING,
    "optimizer": OPTIMIZERS,
    "learning_rate_schedule": SCHEDULES,
    "threshold_by": CRITERIA,
    "refit": REFITS,
    "resample": RESAMPLERS,
}
DEFAULT_NAMES = {key: Experiment.model_fields[key].default for key in REGISTRIES}
EVERY_REGISTRY = REGISTRIES | {"augment": AUGMENTATIONS}  # of which a list is chosen


@dataclass(frozen=True)
class Setting:
    """One value from outside the file: where it goes (`("loss", "gamma")`), what it is, who said so (`--gamma`)."""

    path: tuple[str, ...]
    value: Any
    source: str


def resolve(
    file: Path | Mapping[str, Any] | None, settings: Iterable[Setting] = (), *, runs_files: bool = True
) -> tuple[Experiment, dict[str, str]]:
    """The experiment of `file` (YAML) with `settings` applied in order, and where each given value came from.

    file: also what such a file would say, as a dictionary. Methods of a user's own are loaded; a file tells where they
    are from its own folder, the rest from the current one. Only of those that `settings` record with a SHA-256, as a
    checkpoint's do, no file is run; without runs_files none is at all, and each must be recorded so. Raises
    SettingError, one line a problem, all problems at once.
    """
    raw: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if isinstance(file, Mapping):
        raw = with_full_names(deepcopy(dict(file)))
    elif file is not None:
        document = read_yaml(file, error=SettingError)
        if not isinstance(document.value, dict):
            raise SettingError(f"{file}: expected `key: value` lines, found {shown(document.value)}")
        raw = with_full_names(document.value, file.parent)
        sources = {".".join(map(str, path)): f"{file}:{line}" for path, line in document.lines.items()}
    for setting in settings:
        _apply(raw, setting.path, setting.value)
        sources[".".join(setting.path)] = setting.source
    if runs_files and (faults := load_all(raw, EVERY_REGISTRY, recorded=file is not None)):
        raise SettingError(*("".join(place_of(location, sources)) + f": {fault}" for location, fault in faults))
    try:
        return Experiment.model_validate(raw), sources
    except ValidationError as error:
        raise SettingError(*_problems(error, raw, sources)) from error


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
        if not isinstance(name, str) or full_name(name) != full_name(value):
            raw[key] = value  # another method; the options of the one before it do not belong to it
        elif isinstance(present, dict):
            present.pop("sha256", None)  # named anew, a user's own is that of the file as it is now
        return
    if len(path) == 1:
        raw[key] = value
        return
    if key in REGISTRIES and not isinstance(raw.get(key), dict):
        raw[key] = {"name": raw.get(key, DEFAULT_NAMES[key])}
    for key in path[:-1]:
        raw = raw.setdefault(key, {})
        if not isinstance(raw, dict):
            raise SettingError(f"{'.'.join(path)}: {key} is {shown(raw)}, which has no settings inside")
    raw[path[-1]] = value


def _problems(error: ValidationError, raw: dict[str, Any], sources: dict[str, str]) -> list[str]:
    known = {"": list(Experiment.model_fields), "data": list(DataSettings.model_fields)}
    return problems_of(error, raw, sources, REGISTRIES, known)
