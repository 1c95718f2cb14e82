"""A trained model and its images to another classifier on the same features."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Sequential

from imbalance_cli.blocks import CosineClassifier
from imbalance_cli.config import Experiment
from imbalance_cli.data.batches import Normalisation
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.errors import CheckpointError, DataError, DivergedError, SettingError
from imbalance_cli.inference import predict
from imbalance_cli.methods.refits import FROM_FEATURES_ALONE, REFITS, Cosine, Linear
from imbalance_cli.methods.resampling import resample
from imbalance_cli.metrics import Floats
from imbalance_cli.randomness import keyed_generator, keyed_seed


def require_trained_classifier(name: str, refitted_by: str) -> None:
    """Raise CheckpointError if refit `name` goes on from the trained classifier, which `refitted_by` has replaced."""
    if name not in FROM_FEATURES_ALONE:
        raise CheckpointError(
            f"{name} goes on from the classifier that was trained, and {refitted_by} has replaced that here; give the "
            f"run that it came from, train with --set refit=none, or choose {' or '.join(FROM_FEATURES_ALONE)}, "
            "which look at the features alone"
        )


@contextmanager
def _telling_another_way(begin: str, *flags: str) -> Iterator[None]:
    """Let an error end with flags of `imbalance refit` to try; begin: what to say before them."""
    try:
        yield
    except (DataError, SettingError) as error:
        raise type(error)(f"{error}; {begin} {shlex.join(flags)}") from error


def features_of(model: Sequential, train: ImageSet, normalise: Normalisation, device: torch.device) -> Tensor:
    """What `model` makes of the images as they are, in evaluation mode: float32 [n, d] on the CPU."""
    return predict(model[0], train.images, normalise, device=device)


@torch.no_grad()
def refit(
    model: Sequential,
    features: Tensor,
    train: ImageSet,
    reference: Floats,
    experiment: Experiment,
    saved_in: Path | None,
) -> Floats:
    """Give `model`, trained on `train`, the classifier of the experiment's refit; returns that one's reference.

    features: see `features_of`; they are resampled if the experiment says so, those of a cosine classifier at length
    1, so that neighbours are those by angle. reference: what the trained classifier makes of an image that says
    nothing about its class, [classes]. saved_in: the run folder that holds the training, if one does yet. Raises
    SettingError, DataError and DivergedError.
    """
    if not bool(features.isfinite().all()):  # which finite weights do not rule out; then no refit has a result
        raise DivergedError(
            "training diverged: the features of the training images are no finite numbers; "
            f"train again with --lr {experiment.in_stages()[-1].learning_rate / 10:g}"
        )
    layer: Any = model[1]
    weight = layer.weight.detach().cpu()
    if isinstance(layer, CosineClassifier):
        trained: Linear = Cosine(weight, torch.zeros(len(weight)), torch.from_numpy(reference))
    else:
        trained = Linear(weight, layer.bias.detach().cpu(), torch.from_numpy(reference))
    seed = keyed_seed(experiment.seed, "resample")
    name, rate = experiment.refit["name"], experiment.refit.get("learning_rate")
    command = saved_in and f"imbalance refit {shlex.quote(str(saved_in))}"
    go_on = f"the training is saved, go on with: {command}" if command else "try"
    other = "random_over_sampling" if experiment.resample["name"] == "smote" else "smote"
    with _telling_another_way(go_on, "--method", name, "--resample", other):
        features, labels = resample(experiment.resample, trained.seen(features), train.labels, train.class_names, seed)
    another = ("--method", "nearest_mean")  # which has a result on all features
    with _telling_another_way(go_on, *another), torch.enable_grad():
        found = REFITS.bind(experiment.refit)(features, labels, trained, keyed_generator(experiment.seed, "refit"))
    slower = ("--method", name, "--set", f"refit.learning_rate={rate / 10:g}") if rate else another
    if not all(values.isfinite().all() for values in found):
        raise DivergedError(f"refit: {name} found weights that are no finite numbers; {go_on} {shlex.join(slower)}")
    for own, new in zip(layer.parameters(), found.parameters, strict=True):
        own.copy_(new)
    return np.asarray(found.reference.numpy())
