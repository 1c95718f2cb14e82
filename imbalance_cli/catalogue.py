"""What there is to choose from: kinds of methods, and each method as its signature and docstring describe it."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Container
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from imbalance_cli.combinations import conflicts
from imbalance_cli.config import EVERY_REGISTRY, Experiment
from imbalance_cli.errors import SettingError, did_you_mean
from imbalance_cli.own_methods import load
from imbalance_cli.registry import Method, Registry, is_own

SUMMARIES = {
    "model": "the network",
    "loss": "what training brings down, one value per image",
    "class_weights": "how much an image of each class counts in the loss",
    "sampler": "how often each class is drawn in an epoch",
    "augment": "how images are changed, one method after the other",
    "mixing": "how two images of a batch become one with two labels",
    "optimizer": "how gradients change the weights",
    "schedule": "how learning rate, weights or draws change in training",
    "refit": "which classifier takes the place of the trained one",
    "resample": "how features are brought into balance before a refit",
    "threshold_by": "what the threshold from validation is to be best at",
}

# Settings beside a kind that change what all its methods do, and what holds for all of them.
NOTES = {
    "class_weights": "The loss of a batch is the sum of weight x loss over its number of images, with weight 1 for the "
    "average image of the stream: a batch of one class keeps its weight, and a class without images weighs nothing. "
    "class_weights_schedule lets the weights set in later; deferred is DRW.",
    "sampler": "sampler_schedule leads from every image once to these draws: rising is progressive sampling, deferred "
    "is DRS.",
    "augment": "augment_rarer makes augmentation stronger the rarer a class is: an image is changed with probability "
    "(images of the rarest class / images of its own)^augment_rarer. At 0, the default, all are.",
    "mixing": "mixing_until is the share of the epochs whose images are mixed; the default 0.9 ends with a tenth of "
    "whole ones.",
}

# What a kind is of no use without, and what to set that to.
NEEDED = {"resample": {"refit": "crt"}}

_CITATION = re.compile(r"\(([^()]*, (?:18|19|20)\d\d[^()]*)\)")


@dataclass(frozen=True)
class Kind:
    """Methods that can take each other's place; settings: where an experiment names one of them."""

    name: str
    registry: Registry[Any]
    settings: tuple[str, ...]

    @property
    def summary(self) -> str:
        return SUMMARIES[self.name]

    @property
    def note(self) -> str:
        return NOTES.get(self.name, "")

    def defaults(self, method: str) -> list[str]:
        """The settings whose default is `method`."""
        return [setting for setting in self.settings if method in _default(setting)]


def _kinds() -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for registry in dict.fromkeys(EVERY_REGISTRY.values()):
        settings = tuple(name for name, each in EVERY_REGISTRY.items() if each is registry)
        name = settings[0] if len(settings) == 1 else registry.kind  # schedules serve several settings
        kinds[name] = Kind(name, registry, settings)
    return {name: kinds.pop(name) for name in SUMMARIES if name in kinds} | kinds


KINDS = _kinds()


TO_BE_GIVEN = {"costs": [1, 20]}  # options without a default, as somebody with two classes might set them


@dataclass(frozen=True)
class Option:
    """An option of a method: its type and limits in words, and its default."""

    name: str
    values: str
    default: Any


@dataclass(frozen=True)
class Entry:
    """One method of the catalogue.

    name: as the user says it, for a method of his own with the file. explanation: the docstring after its first line.
    conflicts: settings, with their values, that it does not belong together with, and why.
    """

    kind: Kind
    name: str
    summary: str
    explanation: list[str]
    options: list[Option]
    papers: list[str]
    conflicts: list[tuple[str, tuple[str, ...], str]]
    settings: tuple[str, ...]

    @property
    def example(self) -> dict[str, Any]:
        """The method as a choice, with its first option that has a value by default, or one that has to be given."""
        values = [(option.name, TO_BE_GIVEN.get(option.name, option.default)) for option in self.options]
        return {"name": self.name} | dict([each for each in values if each[1] is not None][:1])


def find_kind(word: str) -> Kind:
    """The kind that `word` stands for, also in the plural or as a setting. Raises SettingError."""
    said = word.replace("-", "_")
    for kind in KINDS.values():
        if said in (kind.name, f"{kind.name}s", f"{kind.name}es", *kind.settings):
            return kind
    raise SettingError(f"unknown kind of method {word!r}{did_you_mean(said, KINDS)}")


def find_entry(kind: Kind, name: str) -> Entry:
    """The entry of method `name`, which may be a user's own, whose file is then run. Raises SettingError."""
    if is_own(name):
        return _entry(kind, kind.registry.get(load(kind.registry, name)["name"]), name)
    return _entry(kind, kind.registry.get(name), name)


def ways_to_say(entry: Entry, flags: Container[str]) -> dict[str, str]:
    """How to choose the method: by flags of `imbalance train`, by --set, in YAML. flags: the parameters of train."""
    setting, example = entry.settings[0], entry.example
    options = {name: value for name, value in example.items() if name != "name"}
    if entry.kind.name == "augment":
        chosen = _flow([*(name for name in _default(setting) if name != entry.name), example])
        return {"set": shlex.join(["--set", f"{setting}={chosen}"]), "yaml": f"{setting}: {chosen}"}
    ways = {}
    if setting in flags:
        words = [f"--{setting.replace('_', '-')}", entry.name]
        for name, value in options.items():
            known = setting == "loss" and name in flags
            words += [f"--{name}", _flow(value)] if known else ["--set", f"{setting}.{name}={_flow(value)}"]
        ways["flags"] = shlex.join(words)
    needed = NEEDED.get(setting, {})
    said = needed | {setting: entry.name} | {f"{setting}.{name}": _flow(value) for name, value in options.items()}
    ways["set"] = " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in said.items())
    ways["yaml"] = "\n".join(f"{key}: {_flow(value)}" for key, value in (needed | {setting: example}).items())
    return ways


def _entry(kind: Kind, method: Method[Any], name: str) -> Entry:
    _, _, rest = (inspect.getdoc(method.function) or "").partition("\n")
    # What a docstring says of errors is said last, and to who calls the function.
    paragraphs = [" ".join(part.split()).partition("Raises ")[0].strip() for part in rest.split("\n\n")]
    text = " ".join((inspect.getdoc(method.function) or "").split())
    settings = kind.settings
    if kind.name == "schedule":
        falls = method.function(0.0) >= method.function(1.0)
        others = [setting for setting in settings if setting != "learning_rate_schedule"]
        settings = ("learning_rate_schedule", *others) if falls else tuple(others)
    return Entry(
        kind=kind,
        name=name,
        summary=method.summary,
        explanation=[part for part in paragraphs if part],
        options=[Option(key, in_words(each.annotation), each.default) for key, each in method.options.items()],
        papers=[paper for found in _CITATION.findall(text) for paper in found.split("; ")],
        conflicts=list(conflicts(kind.settings[0], name)),
        settings=settings,
    )


def _default(setting: str) -> list[str]:
    """The names that a setting has by default: of augment a list."""
    default = Experiment.model_fields[setting].default
    return default if isinstance(default, list) else [default]


def _flow(value: Any) -> str:
    """`value` as YAML in one line."""
    if isinstance(value, dict):
        inner = ", ".join(f"{key}: {_flow(each)}" for key, each in value.items())
        return f"{{{inner}}}" if len(value) > 1 else _flow(value["name"])
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_words(annotation: Any) -> str:
    """What an option takes, as in `number 0 to 1 or null`."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = {
            name: value for limit in parts[1:] for name in ("gt", "ge", "lt", "le")
            if (value := getattr(limit, name, None)) is not None
        }  # fmt: skip
        return f"{in_words(parts[0])} {_limits(limits)}"
    if origin in (Union, UnionType):
        return " or ".join(map(in_words, parts))
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin is list:
        return f"[{in_words(parts[0])}, ...]"
    names = {float: "number", int: "whole number", bool: "true or false", str: "text", NoneType: "null"}
    return names.get(annotation, str(annotation))


def _limits(limits: dict[str, float]) -> str:
    """`0 to 1`; an end that is itself no value is told as above or below it."""
    if limits.keys() == {"ge", "le"}:
        return f"{limits['ge']:g} to {limits['le']:g}"
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    return " and ".join(f"{words[name]} {value:g}" for name, value in limits.items())
