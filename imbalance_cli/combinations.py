"""Combinations that defeat their purpose, each told with the reason: by their names, or by what they do together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from imbalance_cli.config import Experiment
from imbalance_cli.conflicts import RULES
from imbalance_cli.errors import UserError
from imbalance_cli.lazy import lazy_import
from imbalance_cli.registry import is_own, short_name

if TYPE_CHECKING:
    import torch

    from imbalance_cli import blocks, stages
    from imbalance_cli.methods import samplers
    from imbalance_cli.stages import Stage
else:
    torch = lazy_import("torch")
    blocks = lazy_import("imbalance_cli.blocks")
    samplers = lazy_import("imbalance_cli.methods.samplers")
    stages = lazy_import("imbalance_cli.stages")


NEUTRAL = {"loss": "cross_entropy", "sampler": "instance", "class_weights": "none", "mixing": "none"}
EXAMPLE = {"the commonest class": 5000, "the rarest": 50}

# What changes how another setting works, which by default is off; augmentation is off where there is none.
CHANGES = {
    "sam_classes": "sam_radius",
    "consistency": "second_view",
    "class_weights_schedule": "class_weights",
    "sampler_schedule": "sampler",
    "mixing_until": "mixing",
    "augment_rarer": "augment",
}

TOO_MUCH = 0.5  # of a difference of logits: a class would be called 1.6 times as often as another
NOTICEABLE = 0.05  # well above what the search for the logits leaves open


def warnings(experiment: Experiment, counts: Mapping[str, int] | None = None) -> Iterator[str]:
    """One line for each combination in `experiment` that defeats its purpose, or does nothing; it is all carried out.

    counts: training images by class; where they are not known yet, what two classes of 5000 and 50 images would meet.
    """
    yield from _without_effect(experiment)
    told = set()
    begin = 0
    for number, settings in enumerate(experiment.in_stages()):
        place = f"in stages.{number - 1}: " if number else ""
        for line in (*_named(settings), *_never(settings), *_measured(settings, begin, counts)):
            if line not in told:
                told.add(line)
                yield place + line
        begin += settings.epochs


def _without_effect(experiment: Experiment) -> Iterator[str]:
    """What is set away from its default and changes nothing in any stage."""
    defaults, settings = Experiment.model_validate({}), experiment.in_stages()
    for changed, needed in CHANGES.items():
        chosen = [stage for stage in settings if getattr(stage, changed) != getattr(defaults, changed)]
        off = getattr(defaults, needed) if needed != "augment" else []
        if chosen and all(getattr(stage, needed) == off for stage in chosen):
            yield (
                f"{changed} {_said(getattr(chosen[0], changed))} has no effect with {needed} {_said(off)}; "
                f"set {needed} too, or leave {changed} out"
            )
    if any(stage.noise_share > 0 for stage in settings):
        looking = [each for each in stages.stages(experiment, torch.ones(2)) if each.experiment.noise_share > 0]
        unmixed = [
            (stage, epoch) for stage in looking for epoch in range(stage.begin, stage.end) if not stage.mixes(epoch)
        ]
        share = looking[0].experiment.noise_share
        if len(unmixed) < 2:
            yield (
                f"noise_share {share:g} has no effect: it goes by the losses of an epoch "
                "before, and needs two whose images are not mixed; train for more, or set mixing_until lower"
            )
        elif (most := max(stage.noise_share(epoch) for stage, epoch in unmixed)) < share:
            yield (
                f"noise_share {share:g} gets no further than {most:.2g}: it rises over the first {stages.NOISE_RAMP} "
                "epochs; train for more"
            )


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return short_name(value["name"])
    return f"{value:g}" if isinstance(value, float) else str(value)


def _named(settings: Experiment) -> Iterator[str]:
    """What the names and options of a stage's methods say."""
    for rule in RULES:
        if not (rule.cure or rule.measured) and (values := rule.values(dict(settings))) is not None:
            yield f"{' and '.join(f'{name} {value}' for name, value in values.items())}: {rule.reason}"
    if settings.class_weights["name"] == "costs":
        yield (
            "class_weights costs: the prior-corrected decisions, which are for balanced accuracy, take the costs back; "
            "argmax follows them, and so does threshold_by cost with costs of its own"
        )
    loss = settings.loss
    if loss["name"] == "ldam" and settings.model.get("classifier") == "cosine":
        scale = blocks.CosineClassifier.SCALE
        if loss["scale"] != scale:
            margin = loss["max_margin"] * loss["scale"] / scale
            yield (
                f"loss ldam with scale {loss['scale']:g}: the cosine classifier multiplies by {scale:g}, so the widest "
                f"margin is {margin:.3g} in cosine, not {loss['max_margin']:g}; leave loss.scale at {scale:g}"
            )


def _never(settings: Experiment) -> Iterator[str]:
    """What a stage asks for from some epoch on, but is too short for."""
    last = (settings.epochs - 1) / settings.epochs
    beyond = f"lies beyond {last:.3g}, where the last of {settings.epochs} epochs begins; train for more, or set it"
    for name in ("sampler", "class_weights"):
        schedule = getattr(settings, f"{name}_schedule")
        if schedule["name"] == "deferred" and schedule["start"] > last and name in _chosen(settings):
            yield f"{name}_schedule deferred never sets in: its start {schedule['start']:g} {beyond} lower"
    if "mixing" in _chosen(settings):
        mixing, until = short_name(settings.mixing["name"]), settings.mixing_until
        if until == 0:
            yield f"mixing {mixing} never sets in: mixing_until is 0; set it to 0.9, say, or leave mixing out"
        elif last < until < 1:
            yield f"mixing {mixing} never ends: mixing_until {until:g} {beyond} to 1"


def _measured(settings: Experiment, begin: int, counts: Mapping[str, int] | None) -> Iterator[str]:
    """What the parts of a stage that correct for the imbalance do together, at its end or while images are mixed."""
    if settings.class_weights["name"] == "costs":  # they are meant to come on top of balance, whatever the counts
        settings = _without(settings, ["class_weights"])
    if len(_chosen(settings)) < 2:
        return
    classes = counts or EXAMPLE
    stage = stages.Stage(settings, torch.tensor(list(classes.values())), begin)
    # What does not fit the classes is told by who trains, and so is all that may be wrong with a user's own method.
    faults = Exception if any(is_own(getattr(settings, part)["name"]) for part in NEUTRAL) else UserError
    epochs = range(stage.begin, stage.end)
    moments = {epochs[-1]: ""}
    if (mixed := next(filter(stage.mixes, reversed(epochs)), None)) is not None:
        moments.setdefault(mixed, " while images are mixed")
    for epoch, when in moments.items():
        parts = Parts(stage, epoch)
        with suppress(faults):
            if twice := parts.correcting_twice():
                common, rare = (list(classes)[index] for index in (parts.common, parts.rare))
                at = "" if counts else f" at {' : '.join(map(str, EXAMPLE.values()))} images"
                yield (
                    f"{parts.named(twice, 'and')} correct {_times(len(twice))}{when}: an image that says nothing would "
                    f"be called {rare} {_times(math.exp(parts.favour()))} as often as {common}{at}; "
                    f"{parts.advice(twice)}"
                )
                return


@dataclass(frozen=True)
class Parts:
    """The parts of a stage that may correct for the imbalance, and what they do to the rarest class in an epoch."""

    stage: Stage
    epoch: int

    @property
    def common(self) -> int:
        """The class with the most images."""
        return int(self.stage.counts.argmax())

    @property
    def rare(self) -> int:
        """The class with the fewest images."""
        return int(samplers.rarest(self.stage.counts))

    def favour(self, without: Iterable[str] = ()) -> float:
        """By how much an image that says nothing is rather told to be of the rarest than of the commonest class.

        That is the difference of their logits, 0 where the classes are in balance. without: parts that are left out.
        """
        stage = replace(self.stage, experiment=_without(self.stage.experiment, without))
        logits = stage.uninformative_logits(self.epoch)
        return float(logits[self.rare] - logits[self.common])

    def correcting_twice(self) -> list[str]:
        """The parts that together favour the rarest class by too much, if they are more than one, else none.

        Each of them corrects by itself, and without it those that are needed would favour the class by less.
        """
        together = self.favour()
        if together <= TOO_MUCH:
            return []
        chosen = _chosen(self.stage.experiment)
        none = self.favour(without=chosen)
        correcting = [part for part in chosen if self._alone(part, chosen) > none + NOTICEABLE]
        needless: list[str] = []
        for part in correcting:
            if self.favour(without=[*needless, part]) > together - NOTICEABLE:
                needless.append(part)
        needed = [part for part in correcting if part not in needless]
        return needed if len(needed) > 1 else []

    def advice(self, twice: Sequence[str]) -> str:
        """Which of the parts that correct twice to leave out."""
        cures = [part for part in twice if self.favour(without=[part]) <= TOO_MUCH]
        if len(cures) == len(twice):
            return "leave one of them out"
        return f"leave out {self.named(cures, 'or')}" if cures else "leave all but one of them out"

    def named(self, parts: Iterable[str], word: str) -> str:
        """`sampler class_balanced and class_weights inverse`."""
        *others, last = (f"{part} {short_name(getattr(self.stage.experiment, part)['name'])}" for part in parts)
        return f"{', '.join(others)} {word} {last}" if others else last

    def _alone(self, part: str, chosen: Iterable[str]) -> float:
        return self.favour(without=[other for other in chosen if other != part])


def _chosen(settings: Experiment) -> list[str]:
    """The parts of a stage that are not neutral."""
    return [part for part, name in NEUTRAL.items() if getattr(settings, part)["name"] != name]


def _without(settings: Experiment, parts: Iterable[str]) -> Experiment:
    """`settings` with the neutral choice for each of `parts`."""
    return settings.model_copy(update={part: {"name": NEUTRAL[part]} for part in parts})


def _times(number: float) -> str:
    """`twice`, `4.6 times`, `99 times`."""
    if number == 2:
        return "twice"
    if number >= 1e6:
        return "over a million times"
    return f"{number:.2g} times" if number < 10 else f"{number:,.0f} times"
