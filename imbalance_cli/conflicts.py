"""Settings that do not go together, by their names: what is refused, and what is warned of."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imbalance_cli.methods.refits import NEEDS_LENGTHS, REFITS


@dataclass(frozen=True)
class AnyBut:
    """All values of a setting but one."""

    value: Any

    def __contains__(self, value: Any) -> bool:
        return bool(value != self.value)


@dataclass(frozen=True)
class Rule:
    """Settings that defeat each other's purpose: each with its values of which none goes with any of the others'.

    A setting is that of a method, as in `loss`, one of its options, as in `model.classifier`, or one of numbers, as in
    `max_norm`. cure: what to do instead; with one such an experiment is refused, without it is carried out with a
    warning. measured: whether it depends on options, schedules and class counts too, so that an experiment is measured
    instead, see `imbalance_cli.combinations`.
    """

    settings: Mapping[str, tuple[Any, ...] | AnyBut]
    reason: str
    cure: str = ""
    measured: bool = False

    def values(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """The values of an experiment that the rule is about, or None where it does not apply."""
        found = {}
        for name, values in self.settings.items():
            setting, _, option = name.partition(".")
            value = settings.get(setting)
            found[name] = value.get(option or "name") if isinstance(value, dict) else value
            if setting not in settings or found[name] not in values:
                return None
        return found


BALANCING_WEIGHTS = ("inverse", "sqrt", "power", "effective_number")
BALANCING_SAMPLERS = ("class_balanced", "power", "under_sampling", "over_sampling", "at_least")
HALF_BALANCING_SAMPLERS = ("square_root", "repeat_factor")
BATCH_NORM = ("cnn", "resnet8", "resnet20", "resnet32", "resnet18", "resnet50")

_OTHER_REFITS = ", ".join(f"refit={name}" for name in REFITS.names() if name not in ("none", *NEEDS_LENGTHS))

RULES = (
    Rule(
        {"sampler": BALANCING_SAMPLERS, "class_weights": BALANCING_WEIGHTS},
        "both favour the rare classes: that may correct twice",
        measured=True,
    ),
    Rule(
        {"sampler": HALF_BALANCING_SAMPLERS, "class_weights": ("inverse", "power", "effective_number")},
        "the sampler is up to half of the correction: weights beyond sqrt may correct twice",
        measured=True,
    ),
    Rule(
        {"mixing": ("cmo",), "class_weights": BALANCING_WEIGHTS},
        "both favour the rare classes: that may correct twice",
        measured=True,
    ),
    Rule(
        {"loss": ("logit_adjustment", "vector_scaling"), "class_weights": BALANCING_WEIGHTS},
        "both allow for the class counts: that corrects twice",
        measured=True,
    ),
    Rule(
        {"loss": ("class_balanced_focal", "influence_balanced"), "class_weights": BALANCING_WEIGHTS},
        "the loss weighs the classes itself: that corrects twice",
        measured=True,
    ),
    Rule(
        {"loss": ("equalization", "seesaw", "label_aware_smoothing"), "class_weights": BALANCING_WEIGHTS},
        "the loss favours the rare classes itself: that may correct twice",
        measured=True,
    ),
    Rule(
        {
            "loss": ("equalization", "label_aware_smoothing"),
            "sampler": (*BALANCING_SAMPLERS, *HALF_BALANCING_SAMPLERS),
        },
        "the loss favours the rare classes itself: that may correct twice",
        measured=True,
    ),
    Rule(
        {"loss": ("ldam",), "model.classifier": ("linear",)},
        "the margins are those of cosines: set model.classifier=cosine, as the paper does",
    ),
    *(
        Rule(
            {"model.classifier": ("cosine",), "refit": (name,)},
            f"{name} {why}",
            f"choose another ({_OTHER_REFITS}), or train with model.classifier=linear",
        )
        for name, why in NEEDS_LENGTHS.items()
    ),
    Rule(
        {"model.classifier": ("cosine",), "max_norm": AnyBut(None)},
        "in a cosine classifier the length of a row changes nothing",
        "leave it out",
    ),
    Rule(
        {"model.classifier": ("cosine",), "bias_from_prior": (True,)},
        "a cosine classifier has no bias",
        "leave it out",
    ),
    Rule(
        {"model": BATCH_NORM, "batch_size": (1,)},
        "batch norm needs two images or more in a batch",
        "set it to 2 or more, or choose model tutorial",
    ),
    Rule(
        {"mixing": ("none",), "second_view": AnyBut("none")},
        "a second view needs a first one",
        "set mixing too, or second_view=none",
    ),
    Rule(
        {"second_view.partner_power": AnyBut(None)},
        "a mixing that draws partners of its own can only be the first view",
        "choose it for mixing, and another as second view",
    ),
    Rule(
        {"refit": ("none",), "resample": AnyBut("none")},
        "it works on the features of the trained model",
        "set a refit too, as in refit=crt: pixels say little of what is near, and between those of two images lies a "
        "ghost of both",
    ),
    Rule(
        {"refit": ("tau_normalisation",), "resample": AnyBut("none")},
        "tau_normalisation looks at the classifier alone, so there is nothing to resample for it",
        "leave one of them out",
    ),
    Rule(
        {"validation": (0.0,), "early_stopping": AnyBut(None)},
        "there are no validation images to choose the epoch on",
        "set validation above 0",
    ),
    Rule(
        {"early_stopping": AnyBut(None), "stages": AnyBut([])},
        "it would not know which stage to end",
        "leave it out, or leave out stages",
    ),
)


def refusal(settings: Mapping[str, Any], last: str) -> str | None:
    """Why the setting `last` does not go with those before it, and what to do; None if nothing is against it.

    settings: those that are known by now, `last` with them.
    """
    for rule in RULES:
        about = {name.partition(".")[0] for name in rule.settings}
        if rule.cure and last in about and rule.values(settings) is not None:
            return f"{rule.reason}; {rule.cure}"
    return None


@dataclass(frozen=True)
class Conflict:
    """What one method does not go together with: another setting, its values, and the reason.

    own: what of the method it is about, as in `with classifier cosine` or `as second_view`; empty if it is the method
    itself. setting: empty where it is that alone.
    """

    own: str
    setting: str
    values: tuple[str, ...]
    reason: str
    refused: bool


def conflicts(settings: Sequence[str], name: str, options: Container[str] = ()) -> Iterator[Conflict]:
    """What does not go together with method `name`, which may be chosen for one of `settings` and has `options`.

    A training aid is itself the first of the settings.
    """
    for rule in RULES:
        for own, values in rule.settings.items():
            setting, _, option = own.partition(".")
            concerned = option in options if option else name == setting or name in values
            if setting not in settings or not concerned:
                continue
            parts = [f"as {setting}"] if setting != settings[0] else []
            if option and _listed(values):
                parts.append(f"with {option} {' or '.join(_listed(values))}")
            others = [(other, _words(each)) for other, each in rule.settings.items() if other != own] or [("", ())]
            for other, words in others:
                yield Conflict(" ".join(parts), other, words, rule.reason, bool(rule.cure))


def _listed(values: tuple[Any, ...] | AnyBut) -> tuple[str, ...]:
    return () if isinstance(values, AnyBut) else tuple(map(_word, values))


def _words(values: tuple[Any, ...] | AnyBut) -> tuple[str, ...]:
    """The values as a page lists them; none where any that is set is meant."""
    if isinstance(values, AnyBut):
        return (f"any but {values.value}",) if values.value else ()
    return _listed(values)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
