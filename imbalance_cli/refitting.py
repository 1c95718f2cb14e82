"""A trained model and its images to another classifier on the same features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import Sequential

from imbalance_cli.blocks import CosineClassifier
from imbalance_cli.config import Experiment
from imbalance_cli.data.batches import Normalisation
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.errors import DivergedError, SettingError
from imbalance_cli.inference import predict
from imbalance_cli.methods.refits import REFITS, Linear
from imbalance_cli.methods.resampling import require_neighbours, resample
from imbalance_cli.metrics import Floats
from imbalance_cli.randomness import keyed_generator, keyed_seed


def check_refit(experiment: Experiment, model: Sequential, train: ImageSet) -> None:
    """Raise SettingError if the experiment's refit does not fit the model or the classes, before any training."""
    if experiment.refit["name"] != "none" and isinstance(model[1], CosineClassifier):
        raise SettingError(
            "refit: the rows of a cosine classifier have no length to balance, and it has no bias; "
            "set model.classifier=linear, or leave the refit out"
        )
    require_neighbours(experiment.resample, train.counts().tolist(), train.class_names)


@torch.no_grad()
def refit(
    model: Sequential,
    train: ImageSet,
    reference: Floats,
    experiment: Experiment,
    normalise: Normalisation,
    device: torch.device,
) -> Floats:
    """Give `model`, trained on `train`, the classifier of the experiment's refit; returns that one's reference.

    The features are those of the images as they are, in evaluation mode and float32, resampled if the experiment
    says so. reference: what the trained classifier makes of an image that says nothing about its class, [classes].
    Raises SettingError, DataError and DivergedError.
    """
    features = predict(model[0], train.images, normalise, device=device)
    seed = keyed_seed(experiment.seed, "resample")
    features, labels = resample(experiment.resample, features, train.labels, train.class_names, seed)
    classifier: Any = model[1]
    trained = Linear(classifier.weight.detach().cpu(), classifier.bias.detach().cpu(), torch.from_numpy(reference))
    with torch.enable_grad():
        found = REFITS.bind(experiment.refit)(features, labels, trained, keyed_generator(experiment.seed, "refit"))
    if not all(values.isfinite().all() for values in found):
        rate = experiment.refit.get("learning_rate")
        cure = f"try refit.learning_rate={rate / 10:g}" if rate else "try another"
        raise DivergedError(f"refit: {experiment.refit['name']} found weights that are no finite numbers; {cure}")
    classifier.weight.copy_(found.weight)
    classifier.bias.copy_(found.bias)
    return np.asarray(found.reference.numpy())
