"""Calibration: probabilities as sure as a model may be, by its mistakes on images that it was not trained on."""

from __future__ import annotations

import numpy as np

from imbalance_cli.lazy import lazy_import
from imbalance_cli.metrics import Floats, Ints, softmax

optimize = lazy_import("scipy.optimize")

LOWEST, HIGHEST = 0.01, 100.0  # temperatures that are searched


def calibrated(logits: Floats, reference: Floats, temperature: float, shares: Floats) -> Floats:
    """Logits [n, classes] whose softmax is calibrated where the classes occur in `shares` [classes].

    Temperature scaling (Guo et al., 2017) of what the logits say beyond the `reference`, which is what training makes
    of an image that says nothing about its class: (logits - reference) / temperature + log shares. Dividing the
    logits themselves would scale the prior too, and only suits a loss whose logits hold it. At temperature 1, on
    images like those of training, this is the softmax that cross-entropy trains, and that of logit adjustment with
    the prior it was trained without.
    """
    with np.errstate(divide="ignore"):  # a class that does not occur gets probability 0
        return np.asarray((logits - reference) / temperature + np.log(shares))


def best_temperature(logits: Floats, labels: Ints, reference: Floats) -> tuple[float | None, str | None]:
    """The temperature with the least log loss on logits [n, classes] and labels [n], whose class shares it allows for.

    None, and the reason why, where a class has no image, and where no temperature between 0.01 and 100 is best: the
    logits are right about every image, so that they could never be too sure, or say nothing of the classes.
    """
    counts = np.bincount(labels, minlength=len(reference))
    if (counts == 0).any():
        return None, "it needs a validation image of every class"
    shares = counts / counts.sum()
    said = logits - reference
    lead = said - said[np.arange(len(labels)), labels, None]  # of each class over the right one

    def slope(sharpness: float) -> float:
        """The derivative of the log loss, which is convex in sharpness = 1 / temperature."""
        return float((softmax(calibrated(logits, reference, 1 / sharpness, shares)) * lead).sum(1).mean())

    if slope(1 / LOWEST) <= 0 or slope(1 / HIGHEST) >= 0:
        if lead.max() <= 0 and lead.min() < 0:
            return None, "the model is right about all validation images, and could not be too sure of them"
        return None, "on the validation images the model says nothing of the classes that their shares do not"
    return 1 / float(optimize.brentq(slope, 1 / HIGHEST, 1 / LOWEST)), None
