"""How long training will take on this machine, told from a few of its real steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from imbalance_cli.advice.rules import STEPS, epochs_for
from imbalance_cli.config import Experiment
from imbalance_cli.data.batches import normalisation_of
from imbalance_cli.data.image_set import ImageSet, joined
from imbalance_cli.experiment_data import Prepared
from imbalance_cli.models import build_model
from imbalance_cli.stages import stages
from imbalance_cli.training import Trainer

SECONDS = 0.4  # of steps that are timed
SMALL_BATCH = 16  # which shows first what a whole one would take
FORWARD_SHARE = 1 / 3  # of a step, whose way back takes twice as long as its way there


def too_short(prepared: Prepared) -> str | None:
    """What to say if the epochs, which nobody chose, are far fewer steps than the measured runs took; else None."""
    experiment = prepared.experiment
    if "epochs" in experiment.model_fields_set or experiment.stages:
        return None
    trained = len(prepared.train)
    epochs = epochs_for(trained + len(prepared.validation or ()), experiment.batch_size)
    if epochs < 2 * experiment.epochs:
        return None
    steps = -(-trained // experiment.batch_size) * experiment.epochs
    return (
        f"{experiment.epochs} epochs of these {trained:,} training images are only {steps:,} steps; the runs that were "
        f"measured took about {STEPS:,}: give --epochs {epochs}"
    )


def study_times(runs: Sequence[tuple[str, Experiment]], prepared: Prepared) -> dict[str, Any]:
    """About how long a run of each method takes, and all `runs` (methods and their experiments) one after the other.

    prepared: the images of all of them. What it takes to start, to load the images and to draw figures is not in it.
    """
    methods: dict[str, dict[str, float]] = {}
    for method, experiment in dict(runs).items():
        images = _training_images(prepared, experiment)
        speed = images_per_second(experiment, images)
        methods[method] = {"images_per_second": speed, "seconds": _seen(experiment, images, prepared) / speed}
    total = sum(methods[method]["seconds"] for method, _ in runs)
    return {"methods": methods, "runs": len(runs), "seconds": total}


def images_per_second(experiment: Experiment, images: ImageSet) -> float:
    """How fast the experiment's steps are, in training images. Where one would take long, a smaller one is timed."""
    speed = _speed(experiment, images, min(SMALL_BATCH, experiment.batch_size), seconds=0)
    if experiment.batch_size <= SMALL_BATCH or experiment.batch_size / speed > 2 * SECONDS:
        return speed
    return _speed(experiment, images, experiment.batch_size, seconds=SECONDS)


def _training_images(prepared: Prepared, experiment: Experiment) -> ImageSet:
    """What `experiment` trains on: without validation, what `prepared` holds out too."""
    if experiment.validation or prepared.validation is None:
        return prepared.train
    return joined([prepared.train, prepared.validation])


def _seen(experiment: Experiment, images: ImageSet, prepared: Prepared) -> float:
    """Training images in all epochs, and what validation and test are worth in these."""
    drawn = sum(
        stage.bounds(epoch)[-1][1]
        for stage in stages(experiment, images.counts())
        for epoch in range(stage.begin, stage.end)
    )
    held_out = len(prepared.train) + len(prepared.validation or ()) - len(images)
    return drawn + FORWARD_SHARE * (held_out * experiment.all_epochs + len(prepared.test))


def _speed(experiment: Experiment, images: ImageSet, batch_size: int, *, seconds: float) -> float:
    """Images per second of at least two steps, the first not counted, that take `seconds` together."""
    trial = experiment.model_copy(update={"batch_size": batch_size, "epochs": max(experiment.epochs, 10)})
    model = build_model(trial.model, len(images.class_names), images.images.shape[-1], trial.seed)
    trainer = Trainer(trial, model, normalisation_of(images.images), images.counts())
    seen, began = 0, None
    for progress in trainer.train(images, None):
        if progress.step == 0:  # the end of an epoch
            continue
        trainer.require_finite()  # which waits for the device
        now = time.perf_counter()
        if began is None:
            began = now
            continue
        first, end = trainer.stage.bounds(progress.epoch)[progress.step - 1]
        seen += end - first
        if now - began >= seconds:
            break
    assert began is not None  # of ten epochs
    return seen / (time.perf_counter() - began)
