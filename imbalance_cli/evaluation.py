"""A trained model and labelled images to results: scores, and the operating points side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from imbalance_cli.checkpoints import Checkpoint
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.errors import CheckpointError, SettingError, UnfinishedError
from imbalance_cli.inference import find_device, predict
from imbalance_cli.methods.calibration import calibrated
from imbalance_cli.methods.criteria import CRITERIA, FEWEST_TO_CHOOSE_ON, lacking
from imbalance_cli.methods.posthoc import (
    best_offsets,
    best_tau,
    decide,
    threshold_offsets,
)
from imbalance_cli.metrics import (
    Floats,
    Ints,
    calibration_error,
    class_score,
    decision_scores,
    ranking_scores,
    softmax,
)
from imbalance_cli.models import parameter_count
from imbalance_cli.prevalence import at_prevalences, target_shares


def operating_points(
    reference: Floats, validation: tuple[Floats, Ints] | None, threshold_by: Mapping[str, Any], minority: int
) -> dict[str, dict[str, Any]]:
    """The decision rules of a trained model: argmax; prior, corrected for the training prior; validation.

    reference: what training makes of an image that says nothing about its class, logits [classes]; validation:
    logits [n, classes] and labels [n] of images that training did not see, or None; threshold_by: the criterion by
    which the threshold is chosen on them, of finding class `minority` if there are two. Each rule has offsets per
    class, or none and the reason why.
    """
    classes = len(reference)
    held_out = np.zeros(classes, int) if validation is None else np.bincount(validation[1], minlength=classes)
    tau, chosen = 1.0, f"by theory, there being fewer than {FEWEST_TO_CHOOSE_ON} validation images of a class"
    if validation is not None and held_out.min() >= FEWEST_TO_CHOOSE_ON:
        tau, chosen = best_tau(*validation, reference), "on validation"
    reason = lacking(threshold_by, held_out, minority)
    if validation is None or reason is not None:
        threshold: dict[str, Any] = {"offsets": None, "reason": reason}
    else:
        offsets = best_offsets(*validation, CRITERIA.bind(threshold_by), minority)
        threshold = {"offsets": (offsets - offsets[0]).tolist(), "threshold_by": dict(threshold_by)}
    return {
        "argmax": {"offsets": [0.0] * classes},
        "prior": {"offsets": (-tau * reference).tolist(), "tau": tau, "tau_chosen": chosen},
        "validation": threshold,
    }


def evaluate(
    checkpoint: Checkpoint,
    images: ImageSet,
    *,
    threshold: str | None = None,
    prior: Sequence[str] = (),
    batch_size: int = 500,
    device: str = "auto",
) -> tuple[dict[str, Any], Floats]:
    """Results of `checkpoint` on `images`, whose classes are the checkpoint's, and the logits float64 [n, classes].

    threshold: the decision that the main scores are for: argmax, prior, validation, or a probability of the rarest
    class at which it is predicted (two classes); by default argmax, or prior if a prior is given. prior: the class
    shares that the decision of that name is for, said as `target_shares` reads them; by default equal ones. The
    results do not depend on batch_size. Raises SettingError, and CheckpointError if training has not finished.
    """
    threshold = threshold or ("prior" if prior else "argmax")
    rules = _rules(checkpoint, threshold, prior)
    model = checkpoint.build()
    where = find_device(device)
    logits = predict(
        model.to(device=where, memory_format=torch.channels_last),  # type: ignore[call-overload]
        images.images,
        checkpoint.normalisation,
        device=where,
        batch_size=batch_size,
        flip=bool(checkpoint.config["test_time_flip"]),
    )
    scores, labels = logits.double().numpy(), images.labels.numpy()
    if not np.isfinite(scores).all():  # finite weights may overflow all the same
        raise CheckpointError("the model's outputs are not finite numbers: it is damaged, or its training diverged")
    return _results(checkpoint, scores, labels, rules, threshold) | {"parameters": parameter_count(model)}, scores


def _rules(checkpoint: Checkpoint, threshold: str, prior: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The checkpoint's decision rules, the prior's for the class shares `prior`; with `threshold`, if a probability."""
    rules = dict(checkpoint.operating_points)
    if not rules:
        raise UnfinishedError("training has not finished, or the refit after it")
    if prior:
        names = checkpoint.class_names
        shares = target_shares(prior, names, checkpoint.counts, checkpoint.minority)
        # In the units of the logits: at its full size a prior would drown what a flattening loss lets an image say.
        temperature = checkpoint.calibration.get("temperature") or 1.0
        offsets = np.asarray(rules["prior"]["offsets"]) + temperature * np.log(shares / shares.max())
        target = dict(zip(names, shares.tolist(), strict=True))
        changes = {"offsets": offsets.tolist(), "target": target, "temperature": temperature}
        rules["prior"] = rules["prior"] | changes
    if threshold not in rules:
        probability = _probability(threshold, len(checkpoint.class_names))
        rules[threshold] = {"offsets": threshold_offsets(probability, checkpoint.minority).tolist()}
    if rules[threshold]["offsets"] is None:
        raise SettingError(f"--threshold {threshold}: {rules[threshold]['reason']}")
    return rules


def _results(
    checkpoint: Checkpoint, logits: Floats, labels: Ints, rules: dict[str, dict[str, Any]], threshold: str
) -> dict[str, Any]:
    """The scores of logits [n, classes] against labels [n], as `results.json` holds them."""
    classes, positive = len(checkpoint.class_names), checkpoint.minority
    points: dict[str, Any] = {}
    for name, rule in rules.items():
        if rule["offsets"] is None:
            points[name] = None
            continue
        scored = decision_scores(labels, decide(logits, np.asarray(rule["offsets"])), classes)
        points[name] = rule | scored
        if classes == 2:
            points[name]["threshold"] = _threshold(rule["offsets"], positive)
    chosen = points[threshold]
    headline = (
        "confusion_matrix",
        "classes_present",
        "accuracy",
        "balanced_accuracy",
        "g_mean",
        "mcc",
        "macro_f1",
    )
    return {
        "classes": checkpoint.class_names,
        "minority": checkpoint.class_names[positive],
        "n": len(labels),
        "decision": threshold,
        **{name: chosen[name] for name in headline},
        **ranking_scores(labels, logits, positive),
        **_calibration(checkpoint, logits, labels),
        "per_class": [
            {
                "name": name,
                "train_count": checkpoint.counts[index],
                "support": chosen["supports"][index],
                "precision": chosen["precisions"][index],
                "recall": chosen["recalls"][index],
                "recall_interval": chosen["recall_intervals"][index],
                "f1": chosen["f1s"][index],
            }
            for index, name in enumerate(checkpoint.class_names)
        ],
        "operating_points": points,
        "prevalences": at_prevalences(
            labels, logits, decide(logits, np.asarray(chosen["offsets"])) == positive, positive
        ),
        "unavailable": {name: rule["reason"] for name, rule in rules.items() if rule["offsets"] is None},
    }


def _calibration(checkpoint: Checkpoint, logits: Floats, labels: Ints) -> dict[str, Any]:
    """The temperature found on validation, or why there is none, and the calibration error that it leaves.

    The error is given the class shares of these images. There is no reason where no images were held out.
    """
    temperature, reason = checkpoint.calibration.get("temperature"), checkpoint.calibration.get("reason")
    shares = np.bincount(labels, minlength=logits.shape[1]) / len(labels)
    if temperature is None or shares.max() == 1:
        return {"temperature": temperature, "no_temperature": reason, "ece_calibrated": None}
    probabilities = softmax(calibrated(logits, np.asarray(checkpoint.calibration["reference"]), temperature, shares))
    error = calibration_error(probabilities.max(1), probabilities.argmax(1) == labels)
    return {"temperature": temperature, "no_temperature": reason, "ece_calibrated": error}


def missed(logits: Floats, labels: Ints, target: int, offsets: Floats) -> Ints:
    """The images of class `target` that argmax(logits + offsets) misses, the most confidently missed first."""
    found = decide(logits, offsets) == target
    where = np.flatnonzero((labels == target) & ~found)
    return where[np.argsort(class_score(logits, target)[where], kind="stable")]


def _probability(threshold: str, classes: int) -> float:
    try:
        value = float(threshold)
    except ValueError:
        value = float("nan")
    if not 0 < value < 1:
        raise SettingError(
            f"--threshold must be argmax, prior, validation or a probability between 0 and 1; got {threshold}"
        )
    if classes != 2:
        raise SettingError(f"--threshold {threshold}: a probability needs two classes, this model has {classes}")
    return value


def _threshold(offsets: list[float], positive: int) -> float:
    """The probability of class `positive` from which on two-class `offsets` predict it."""
    shift = np.array([[offsets[1 - positive] - offsets[positive], 0.0]])
    return float(softmax(shift)[0, 0])
