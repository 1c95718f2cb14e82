"""What there is to choose from: kinds of methods, and each method as its signature and docstring describe it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from imbalance_cli.config import EVERY_REGISTRY, OF_THE_RUN, Experiment
from imbalance_cli.conflicts import Conflict, conflicts
from imbalance_cli.docstrings import Description
from imbalance_cli.errors import SettingError, did_you_mean
from imbalance_cli.methods.criteria import in_full
from imbalance_cli.own_methods import load
from imbalance_cli.papers import PAPERS, Paper
from imbalance_cli.registry import Method, Registry, is_own
from imbalance_cli.training_aids import AIDS, Aid, Aids

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
    "aid": "what else may help, each a setting of its own",
}

# Settings beside a kind that change what all its methods do, and what holds for all of them.
NOTES = {
    "model": "With classifier linear the logits are z_j = w_j x + b_j, x being the features. With cosine they are "
    "z_j = 30 cos(w_j, x), without a bias: as ldam wants them, and so that no class has a longer row than another. "
    "dropout: see imbalance methods aid dropout.",
    "class_weights": "The loss of a batch is the sum of weight x loss over its number of images, with weight 1 for the "
    "average image of the stream: a batch of one class keeps its weight, and a class without images weighs nothing. "
    "class_weights_schedule lets the weights set in later; deferred is DRW.",
    "sampler": "sampler_schedule leads from every image once to these draws: rising is progressive sampling, deferred "
    "is DRS.",
    "augment": "augment_rarer makes augmentation stronger the rarer a class is: an image is changed with probability "
    "(images of the rarest class / images of its own)^augment_rarer. At 0, the default, all are.",
    "schedule": "The learning rate is multiplied by the multiplier. Class weights and draws go that far from treating "
    "all images alike, at 0, to what was chosen for them, at 1.",
    "mixing": "mixing_until is the share of the epochs whose images are mixed; the default 0.9 ends with a tenth of "
    "whole ones.",
}

# What a formula is written in.
SYMBOLS = {
    "y": "the true class",
    "j": "any class",
    "C": "the number of classes",
    "z_j": "the logit of class j",
    "p_j": "the softmax probability of class j",
    "n_j": "how many images of class j an epoch draws",
    "N_j": "the number of images of class j",
    "pi_j": "the share of class j among the images that an epoch draws, n_j / sum_k n_k",
    "w_j": "the weight of class j",
    "x": "the features of an image",
}
BEFORE_THE_NETWORK = ("mixing", AIDS.kind)  # kinds whose x is the image itself


TO_BE_GIVEN = {"costs": [1, 20]}  # options without a default, as somebody with two classes might set them


@dataclass(frozen=True)
class Kind:
    """Methods that can take each other's place; settings: where an experiment names one of them.

    Training aids are a kind too, but each a setting of its own, and none of them takes another's place.
    """

    name: str
    registry: Registry[Any] | Aids
    settings: tuple[str, ...]

    @property
    def summary(self) -> str:
        return SUMMARIES[self.name]

    @property
    def note(self) -> str:
        return NOTES.get(self.name, "")

    def defaults(self, method: str) -> list[str]:
        """The settings whose default is `method`."""
        return [setting for setting in self.settings if method in default_names(setting)]


def _kinds() -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for registry in dict.fromkeys(EVERY_REGISTRY.values()):
        settings = tuple(name for name, each in EVERY_REGISTRY.items() if each is registry)
        name = settings[0] if len(settings) == 1 else registry.kind  # schedules serve several settings
        kinds[name] = Kind(name, registry, settings)
    kinds[AIDS.kind] = Kind(AIDS.kind, AIDS, ())
    return {name: kinds.pop(name) for name in SUMMARIES if name in kinds} | kinds


KINDS = _kinds()


@dataclass(frozen=True)
class Option:
    """An option of a method: its type and limits in words, and its default."""

    name: str
    values: str
    default: Any


@dataclass(frozen=True)
class Entry:
    """One method of the catalogue, or a training aid.

    name: as the user says it, for a method of his own with the file. settings: where it can be chosen; of an aid its
    own. given: options that were said together with the name. asked: what the user called it, where that is not its
    name, and how it is said here.
    """

    kind: Kind
    name: str
    description: Description
    options: list[Option]
    conflicts: list[Conflict]
    settings: tuple[str, ...]
    given: dict[str, Any]
    asked: str = ""

    @property
    def summary(self) -> str:
        return self.description.summary

    @property
    def when(self) -> str:
        """When to use it, as a sentence."""
        return self.description.when[:1].upper() + self.description.when[1:]

    @property
    def explanation(self) -> list[str]:
        return self.description.explanation

    @property
    def papers(self) -> list[tuple[str, Paper]]:
        """How each paper is cited, and what it is: of a user's own method without title and link."""
        return [(cited, PAPERS.get(cited, Paper(""))) for cited in self.description.papers]

    @property
    def symbols(self) -> dict[str, str]:
        """What the letters of the formula stand for, the options left out."""
        words = self._words
        letters = {part for word in words for part in (word.split("_")[1:] if "_" in word else [word])}
        letters |= {f"{word.partition('_')[0]}_j" for word in words if "_" in word}
        meanings = SYMBOLS | ({"x": "an image"} if self.kind.name in BEFORE_THE_NETWORK else {})
        return {symbol: meaning for symbol, meaning in meanings.items() if symbol in letters}

    @property
    def has_other_indices(self) -> bool:
        """Whether a symbol stands in the formula with another index than j: n_y are the images of the true class."""
        others = {f"{word[:-1]}j" for word in self._words if re.fullmatch(r"[A-Za-z]+_[a-ik-z]", word)}
        return not others.isdisjoint(SYMBOLS)

    @property
    def _words(self) -> set[str]:
        """The symbols and words of the formula, the options left out."""
        names = {option.name for option in self.options}
        return {word for line in self.description.formula for word in re.findall(r"[A-Za-z]+(?:_\w+)*", line)} - names


def find_kind(word: str) -> Kind:
    """The kind that `word` stands for, also in the plural or as a setting. Raises SettingError."""
    said = word.replace("-", "_")
    for kind in KINDS.values():
        if said in (kind.name, f"{kind.name}s", f"{kind.name}es", *kind.settings):
            return kind
    raise SettingError(f"unknown kind of method {word!r}{did_you_mean(said, KINDS)}")


def unknown(word: str) -> SettingError:
    """What to say of a word that is neither a kind nor a method of any, with the nearest of all names."""
    said = word.replace("-", "_")
    close = did_you_mean(said, [*KINDS, *(name for kind in KINDS.values() for name in kind.registry.names())])
    hint = close if "did you mean" in close else did_you_mean(said, KINDS)
    return SettingError(f"no kind or method is called {word!r}{hint}")


def find_entries(name: str) -> list[Entry]:
    """The entries of that name, of whatever kind; not of a user's own, whose name does not tell its kind.

    Raises SettingError for what is no method, but often taken for a criterion.
    """
    _short(name)
    found = []
    for kind in KINDS.values():
        with suppress(SettingError):
            found.append(find_entry(kind, name))
    return found


def find_entry(kind: Kind, name: str) -> Entry:
    """The entry of method `name`, which may be a user's own, whose file is then run. Raises SettingError.

    A name that others use is understood, and so is a short form: balanced_softmax, recall>=0.95.
    """
    if is_own(name) and isinstance(kind.registry, Registry):
        return _entry(kind, kind.registry.get(load(kind.registry, name)["name"]), name)
    if kind.name == "threshold_by" and (given := _short(name)):
        meant, options = given["name"], {option: value for option, value in given.items() if option != "name"}
        words = ", ".join(f"{option} {value:g}" for option, value in options.items())
        method = kind.registry.get(meant)
        return _entry(kind, method, meant, options, f"{name} is short for {meant} with {words}.")
    known = None if name in kind.registry.names() else kind.registry.known_as(name)
    if known is not None:
        method, words = known
        return _entry(kind, method, method.name, asked=f"{name} is known here as {words}.")
    method = kind.registry.get(name)
    return _entry(kind, method, method.name)


def _short(name: str) -> dict[str, Any] | None:
    """What `name` is short for, if it is the short form of a criterion. Raises SettingError for what is none."""
    try:
        full = in_full(name)
    except ValueError as error:
        raise SettingError(f"threshold_by: {error}") from error
    return full if isinstance(full, dict) else None


def _entry(
    kind: Kind, method: Method[Any] | Aid, name: str, given: dict[str, Any] | None = None, asked: str = ""
) -> Entry:
    settings, others = kind.settings, []
    if isinstance(method, Aid):
        settings = tuple(method.settings)
        options = [Option(key, _values(key, annotation), default) for key, annotation, default in method.options()]
        found = [*conflicts(settings, name), *_in_a_stage(settings)]
        return Entry(kind, name, method.description, options, found, settings, {}, asked)
    if kind.name == "schedule":
        settings = tuple(setting for setting in settings if setting != "learning_rate_schedule")
        if method.function(0.0) >= method.function(1.0):
            settings = ("learning_rate_schedule", *settings)
        else:
            reason = "it rises, which suits class weights and samplers"
            others = [Conflict("as learning_rate_schedule", "", (), reason, refused=True)]
    options = [Option(key, _taken(key, each.annotation), each.default) for key, each in method.options.items()]
    found = [*conflicts(kind.settings, name, method.options), *others, *_in_a_stage(kind.settings)]
    never = {each.own for each in found if each.refused and not each.setting}
    found = [each for each in found if not each.setting or each.own not in never]
    settings = tuple(setting for setting in settings if f"as {setting}" not in never)
    return Entry(kind, name, method.description, options, found, settings, given or {}, asked)


def _in_a_stage(settings: Sequence[str]) -> list[Conflict]:
    """What is decided once for the whole run is refused in a stage."""
    if settings[0].partition(".")[0] not in OF_THE_RUN:
        return []
    return [Conflict("in a stage", "", (), "it is decided once for the whole run", refused=True)]


def default_names(setting: str) -> list[str]:
    """The names that a setting has by default: of augment a list."""
    default = Experiment.model_fields[setting].default
    return default if isinstance(default, list) else [default]


def _taken(option: str, annotation: Any) -> str:
    """What an option takes; null, where it only says that nothing was given, is left out."""
    words = in_words(annotation)
    return words.removesuffix(" or null") if option in TO_BE_GIVEN else words


def _values(setting: str, annotation: Any) -> str:
    """What a training aid's setting takes."""
    return f"a method of {KINDS_OF[setting]}" if setting in KINDS_OF else in_words(annotation)


KINDS_OF = {setting: kind.name for kind in KINDS.values() for setting in kind.settings}


def in_words(annotation: Any) -> str:
    """What an option takes, as in `number 0 to 1 or null`."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = {
            name: value for part in parts[1:] for limit in getattr(part, "metadata", [part])  # of pydantic or not
            for name in ("gt", "ge", "lt", "le") if (value := getattr(limit, name, None)) is not None
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
