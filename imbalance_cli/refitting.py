"""A trained model and its images to another classifier on the same features."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
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
def telling_another_way(experiment: Experiment, begin: str) -> Iterator[None]:
    """Where the refit of the experiment has no result, let the error end with flags of `imbalance refit` to try.

    begin: what to say before them.
    """
    try:
        yield
    except (DataError, SettingError, DivergedError) as error:
        refit, resampling = experiment.refit["name"], experiment.resample["name"]
        rate = experiment.refit.get("learning_rate")
        if isinstance(error, DivergedError) and rate:
            flags = ["--method", refit, "--set", f"refit.learning_rate={rate / 10:g}"]
        elif isinstance(error, DivergedError) or resampling == "none":
            flags = ["--method", "nearest_mean"]
        else:
            flags = ["--method", refit, "--resample", "random_over_sampling" if resampling == "smote" else "smote"]
        raise type(error)(f"{error}; {begin} {shlex.join(flags)}") from error


def features_of(model: Sequential, train: ImageSet, normalise: Normalisation, device: torch.device) -> Tensor:
    """What `model` makes of the images as they are, in evaluation mode: float32 [n, d] on the CPU."""
    return predict(model[0], train.images, normalise, device=device)


@torch.no_grad()
def refit(model: Sequential, features: Tensor, train: ImageSet, reference: Floats, experiment: Experiment) -> Floats:
    """Give `model`, trained on `train`, the classifier of the experiment's refit; returns that one's reference.

    features: see `features_of`; they are resampled if the experiment says so, those of a cosine classifier at length
    1, so that neighbours are those by angle. reference: what the trained classifier makes of an image that says
    nothing about its class, [classes]. Raises SettingError, DataError and DivergedError.
    """
    layer: Any = model[1]
    weight = layer.weight.detach().cpu()
    if isinstance(layer, CosineClassifier):
        trained: Linear = Cosine(weight, torch.zeros(len(weight)), torch.from_numpy(reference))
    else:
        trained = Linear(weight, layer.bias.detach().cpu(), torch.from_numpy(reference))
    seed = keyed_seed(experiment.seed, "resample")
    features, labels = resample(experiment.resample, trained.seen(features), train.labels, train.class_names, seed)
    with torch.enable_grad():
        found = REFITS.bind(experiment.refit)(features, labels, trained, keyed_generator(experiment.seed, "refit"))
    if not all(values.isfinite().all() for values in found):
        raise DivergedError(f"refit: {experiment.refit['name']} found weights that are no finite numbers")
    for own, new in zip(layer.parameters(), found.parameters, strict=True):
        own.copy_(new)
    return np.asarray(found.reference.numpy())
