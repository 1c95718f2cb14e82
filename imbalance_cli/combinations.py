"""Methods that do not belong together, each with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imbalance_cli.config import Experiment


@dataclass(frozen=True)
class Rule:
    """Settings that defeat each other's purpose: each with its values of which none goes with any of the others'.

    A setting is that of a method, as in `loss`, or one of its options, as in `model.classifier`.
    """

    settings: dict[str, tuple[str, ...]]
    reason: str

    def values(self, settings: Experiment) -> dict[str, str] | None:
        """The values of a stage that the rule is about, or None where it does not apply."""
        found = {}
        for name, values in self.settings.items():
            method, _, option = name.partition(".")
            found[name] = getattr(settings, method).get(option or "name")
            if found[name] not in values:
                return None
        return found


BALANCING_WEIGHTS = ("inverse", "sqrt", "power", "effective_number")
BALANCING_SAMPLERS = ("class_balanced", "square_root", "power", "repeat_factor", "under_sampling", "over_sampling")

RULES = (
    Rule(
        {"sampler": BALANCING_SAMPLERS, "class_weights": BALANCING_WEIGHTS},
        "both favour the rare classes: that corrects twice",
    ),
    Rule(
        {"loss": ("logit_adjustment", "vector_scaling"), "class_weights": BALANCING_WEIGHTS},
        "both allow for the class counts: that corrects twice",
    ),
    Rule(
        {"loss": ("class_balanced_focal", "influence_balanced"), "class_weights": BALANCING_WEIGHTS},
        "the loss weighs the classes itself: that corrects twice",
    ),
    Rule(
        {"loss": ("ldam",), "model.classifier": ("linear",)},
        "the margins are those of cosines: set model.classifier=cosine, as the paper does",
    ),
    Rule(
        {"mixing": ("remix", "margin_mixup"), "loss": ("logit_adjustment", "vector_scaling")},
        "the mixing shifts labels towards the rare classes, for which the loss does not allow: that corrects twice",
    ),
)


def warnings(experiment: Experiment) -> Iterator[str]:
    """One line for each combination in `experiment` that defeats its purpose; it is carried out all the same."""
    told = set()
    for settings in experiment.in_stages():
        for rule in RULES:
            values = rule.values(settings)
            if values is not None and rule.reason not in told:
                told.add(rule.reason)
                together = " and ".join(f"{name} {value}" for name, value in values.items())
                yield f"{together}: {rule.reason}"


def conflicts(setting: str, name: str) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """What does not belong together with the method `name` of `setting`: another setting, its values, the reason."""
    for rule in RULES:
        if name in rule.settings.get(setting, ()):
            for other, values in rule.settings.items():
                if other != setting:
                    yield other, values, rule.reason
