"""The images that the report of a run shows: samples of each class, and the mistakes on the rarest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from imbalance_cli.checkpoints import Checkpoint
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.data.manifest import Manifest, apply_manifest
from imbalance_cli.data.sources import BUILT_IN
from imbalance_cli.errors import DataError, MemoryShortage, SettingError
from imbalance_cli.evaluation import missed
from imbalance_cli.experiment_data import (
    Notice,
    digest_of,
    experiment_of,
    load_source,
    require_place,
    validation_split,
    warn_of_other_test_images,
)
from imbalance_cli.methods.posthoc import decide
from imbalance_cli.metrics import Floats, class_score, softmax
from imbalance_cli.pages.page import picture
from imbalance_cli.predictions import Predictions

MOST_MISTAKES = 24
MOST_SAMPLES = 240  # of all classes together
_SAMPLES = 10  # of one class


@dataclass(frozen=True)
class Images:
    """The images of a run, as far as they are there, and what is to be said about them.

    drawn: whether the test images were drawn from data that marks none for testing; None where that is not known.
    """

    train: ImageSet | None
    test: ImageSet | None
    drawn: bool | None
    remarks: list[str] = field(default_factory=list)


def images_of(checkpoint: Checkpoint, data_dir: Path | None, notice: Notice) -> Images:
    """The images that `checkpoint` was trained and tested on. Where they are gone, `notice` hears why."""
    experiment, remarks = experiment_of(checkpoint), []

    def remark(line: str) -> None:
        if line.startswith("warning: "):
            remarks.append(line.removeprefix("warning: "))
        notice(line)

    settings = experiment.data.model_copy(update={} if data_dir is None else {"data_dir": str(data_dir)})
    try:
        require_place(settings)
        dataset = load_source(settings, remark)
        subset = apply_manifest(Manifest(**checkpoint.manifest), dataset)
        train, _ = validation_split(subset.train, experiment, lambda _: None)
    except (DataError, SettingError, MemoryShortage) as error:
        reason = f"no pictures, because the images of the run cannot be had: {error}"
        notice(reason)
        return Images(None, None, False if settings.dataset in BUILT_IN else None, [reason])
    warn_of_other_test_images(checkpoint, digest_of(subset.test, settings.dataset), remark)
    return Images(train, subset.test, dataset.test_is_drawn, remarks)


def samples(images: ImageSet, classes: Iterable[int]) -> dict[int, list[str]]:
    """The first images of each of `classes`, as addresses."""
    chosen = list(classes)
    each = max(1, min(_SAMPLES, MOST_SAMPLES // max(1, len(chosen))))
    return {
        label: _pictures(images.images, (images.labels == label).nonzero().flatten()[:each].tolist())
        for label in chosen
    }


def mistakes(answers: Predictions, target: int, offsets: Floats, images: ImageSet | None) -> list[dict[str, Any]]:
    """The missed images of class `target` and the others that were taken for it, each kind with its images.

    The most confident mistakes come first. An image has no picture if it is not among `images`.
    """
    predicted = decide(answers.logits, offsets)
    scores, probabilities = class_score(answers.logits, target), softmax(answers.logits)[:, target]
    alarms = np.flatnonzero((answers.labels != target) & (predicted == target))
    alarms = alarms[np.argsort(-scores[alarms], kind="stable")]
    places = {} if images is None else {item: place for place, item in enumerate(images.items)}
    kinds = []
    for name, where in (("missed", missed(answers.logits, answers.labels, target, offsets)), ("alarms", alarms)):
        shown = where[:MOST_MISTAKES].tolist()
        found = [places.get(answers.items[index]) for index in shown]
        addresses = iter([] if images is None else _pictures(images.images, [at for at in found if at is not None]))
        entries = [
            {
                "item": answers.items[index],
                "label": answers.class_names[answers.labels[index]],
                "predicted": answers.class_names[predicted[index]],
                "probability": float(probabilities[index]),
                "picture": None if at is None else next(addresses),
            }
            for index, at in zip(shown, found, strict=True)
        ]
        kinds.append({"kind": name, "total": len(where), "shown": entries})
    return kinds


def _pictures(images: Tensor, indices: Sequence[int]) -> list[str]:
    return [picture(images[index].numpy()) for index in indices]
