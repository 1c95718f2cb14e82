"""Methods of users' own, tried out on tiny examples before training starts and anything is written.

What they give back is held against the form of their kind at every call (see `own_results`), so a trial makes the
calls, and looks at what would cost too much, or make an accelerator wait, at every step of training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imbalance_cli.config import OF_THE_RUN
from imbalance_cli.errors import SettingError
from imbalance_cli.methods.augment import AUGMENTATIONS
from imbalance_cli.methods.augment.form import DRAWS
from imbalance_cli.methods.criteria import CRITERIA, Decisions
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.mixing import MIXING
from imbalance_cli.methods.optimizers import OPTIMIZERS
from imbalance_cli.methods.refits import REFITS, Linear
from imbalance_cli.methods.resampling import RESAMPLERS
from imbalance_cli.methods.schedules import SCHEDULES
from imbalance_cli.methods.weights import class_weights
from imbalance_cli.own_methods import try_loss
from imbalance_cli.own_results import described
from imbalance_cli.registry import is_own
from imbalance_cli.stages import Stage

Choice = Mapping[str, Any]

IMAGES, FEATURES = 8, 8  # of a tiny batch
MOST_OF_A_CLASS = 100  # features to resample or refit: enough neighbours for any method, at next to no time
STEPS = 20  # of an optimizer: more than it may gather before it changes a weight
IMAGE_SIZE = 32  # where the settings say none: the built-in data's


def try_own_methods(stage: Stage, device: torch.device) -> None:
    """Raise SettingError for a method of the user's own in the settings of `stage` that does not do as its kind does.

    What belongs to the whole run is tried out with its first stage. The draws of training go on undisturbed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for setting, trial in _TRIALS.items():
            if setting in OF_THE_RUN and stage.begin > 0:
                continue
            chosen = getattr(stage.experiment, setting)
            for choice in chosen if isinstance(chosen, list) else [chosen]:
                if is_own(choice["name"]):
                    trial(choice, stage, device)


def _try_strength(choice: Choice, stage: Stage, device: torch.device) -> None:
    """A schedule that leads from one thing to another."""
    for progress, factor in _factors(choice):
        if factor > 1:
            raise SettingError(
                f"{choice['name']} must give a number from 0 to 1 to lead from even to the chosen weights or draws; "
                f"got {factor:g} at progress {progress:g}"
            )


def _try_learning_rate(choice: Choice, stage: Stage, device: torch.device) -> None:
    for _ in _factors(choice):
        pass


def _factors(choice: Choice) -> Iterator[tuple[float, float]]:
    """Progress from 0 to 1, and what the schedule makes of it."""
    schedule = SCHEDULES.bind(choice)
    for step in range(101):
        yield step / 100, float(schedule(step / 100))


def _try_sampler(choice: Choice, stage: Stage, device: torch.device) -> None:
    stage.draws(stage.begin)


def _try_class_weights(choice: Choice, stage: Stage, device: torch.device) -> None:
    class_weights(choice, stage.counts)


def _try_augmentation(choice: Choice, stage: Stage, device: torch.device) -> None:
    AUGMENTATIONS.bind(choice)(_images(stage).to(device), torch.rand(IMAGES, DRAWS).to(device))


def _try_mixing(choice: Choice, stage: Stage, device: torch.device) -> None:
    name = choice["name"]
    if "partner_power" in choice and not {"alpha", "probability"} <= choice.keys():
        raise SettingError(
            f"{name}: the option partner_power is that of cmo, with its alpha and probability; add these, or rename it"
        )
    labels = _present(stage).repeat(IMAGES)[:IMAGES]
    images = (_images(stage).float() / 64 - 2).to(device)
    counts = stage.draws(stage.begin).to(device, torch.float32)
    mixed, share = MIXING.bind(choice)(
        *(images, labels.to(device), images.flip(0), labels.flip(0).to(device), counts, np.random.default_rng(0))
    )
    if not bool(mixed.isfinite().all()):
        raise SettingError(f"{name} must give finite images; got some that are not")
    for value in share.tolist():
        if not 0 <= value <= 1:  # NaN neither
            raise SettingError(f"{name} must give shares from 0 to 1; got {value:g}")


def _try_optimizer(choice: Choice, stage: Stage, device: torch.device) -> None:
    name = choice["name"]
    memory: dict[str, Any] = {}
    start = torch.linspace(-1, 1, 12, device=device)
    weights: list[Tensor] = [torch.nn.Parameter(start.clone().view(*shape)) for shape in ((12,), (3, 4), (1, 3, 2, 2))]
    for _ in range(STEPS):
        gradients = tuple(weight.detach().clone() for weight in weights)  # of half the sum of their squares
        with torch.no_grad():
            OPTIMIZERS.bind(choice)(weights, gradients, memory, 0.01, stage.experiment.weight_decay)
    for weight in weights:
        if not bool(weight.isfinite().all()):
            raise SettingError(
                f"{name} must leave weights finite; some are not after {STEPS} steps at learning rate 0.01"
            )
        if torch.equal(weight.flatten(), start):
            raise SettingError(
                f"{name} must change the weights in place, as weight.sub_(learning_rate * gradient) does; "
                f"some of {list(weight.shape)} are as before after {STEPS} steps"
            )
    if (strange := _not_plain(memory)) is not None:
        raise SettingError(
            f"{name} must keep dicts, lists, tensors, numbers and text in memory, for a stopped run to go on; "
            f"got {described(strange)}"
        )


def _not_plain(value: Any) -> Any:
    """The first value in `value` that a checkpoint would not give back; None if there is none."""
    if isinstance(value, Tensor) or value is None or type(value) in (bool, int, float, str):
        return None
    if not isinstance(value, (dict, list)):
        return value
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return next((found for each in inner if (found := _not_plain(each)) is not None), None)


def _try_loss(choice: Choice, stage: Stage, device: torch.device) -> None:
    """As training calls it, and as the prior correction does."""
    name, draws = choice["name"], stage.draws(stage.begin)
    training = draws.to(device, torch.float32)
    try_loss(stage.loss(training), name, training, LOSSES.get(name).inputs)
    try_loss(stage.loss(draws), name, draws)


def _try_resampling(choice: Choice, stage: Stage, device: torch.device) -> None:
    features, labels = _features(stage)
    RESAMPLERS.bind(choice)(features.numpy(), labels.numpy(), 0)


def _try_refit(choice: Choice, stage: Stage, device: torch.device) -> None:
    features, labels = _features(stage)
    classes = len(stage.counts)
    reference = stage.counts.clamp(min=1).double().log()
    trained = Linear(torch.randn(classes, FEATURES), torch.zeros(classes), reference - reference.mean())
    found = REFITS.bind(choice)(features, labels, trained, torch.Generator().manual_seed(0))
    if not all(bool(values.isfinite().all()) for values in found):
        raise SettingError(f"{choice['name']} must give finite weights; got some that are not, for random features")


def _try_criterion(choice: Choice, stage: Stage, device: torch.device) -> None:
    """What the search begins with: no image is given the target, and then one after the other."""
    classes = len(stage.counts)
    labels = np.arange(2 * classes) % classes
    CRITERIA.bind(choice)(Decisions(labels, np.zeros_like(labels), classes - 1, classes))


_TRIALS: dict[str, Callable[[Choice, Stage, torch.device], None]] = {
    "sampler_schedule": _try_strength,
    "class_weights_schedule": _try_strength,
    "learning_rate_schedule": _try_learning_rate,
    "sampler": _try_sampler,
    "class_weights": _try_class_weights,
    "augment": _try_augmentation,
    "mixing": _try_mixing,
    "second_view": _try_mixing,
    "loss": _try_loss,
    "optimizer": _try_optimizer,
    "resample": _try_resampling,
    "refit": _try_refit,
    "threshold_by": _try_criterion,
}


def _present(stage: Stage) -> Tensor:
    """The classes that have images."""
    return stage.counts.nonzero().flatten()


def _images(stage: Stage) -> Tensor:
    """Noise of the size of the images: uint8 [IMAGES, 3, size, size], channels last in memory."""
    size = stage.experiment.data.image_size or IMAGE_SIZE
    images = torch.randint(256, (IMAGES, 3, size, size), dtype=torch.uint8)
    return images.contiguous(memory_format=torch.channels_last)


def _features(stage: Stage) -> tuple[Tensor, Tensor]:
    """Noise in place of features, float32 [n, FEATURES], and labels as frequent as in the data, up to a limit."""
    labels = torch.arange(len(stage.counts)).repeat_interleave(stage.counts.clamp(max=MOST_OF_A_CLASS))
    return torch.rand(len(labels), FEATURES), labels
