"""One experiment from its data to its results: the run folder, training, resuming, the verdict."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imbalance_cli import checkpoints, drawing, plots, runs
from imbalance_cli.checkpoints import Checkpoint
from imbalance_cli.config import Experiment, Setting, resolve
from imbalance_cli.data.batches import normalisation_of
from imbalance_cli.data.manifest import write_manifest
from imbalance_cli.errors import CheckpointError, SettingError
from imbalance_cli.evaluation import evaluate, operating_points
from imbalance_cli.experiment_data import DECIDED_BY_SUBSET, Notice, Prepared, load_subset, validation_split
from imbalance_cli.files import write_file
from imbalance_cli.inference import predict
from imbalance_cli.models import build_model
from imbalance_cli.strict_yaml import dump_yaml
from imbalance_cli.training import Progress, Trainer

CONFIG_HEADING = "# Every setting of this run, as resolved; `imbalance train config.yaml` repeats it.\n"


class Run:
    """An experiment in its run folder: started, trained, saved at every epoch, finished; or resumed."""

    folder: Path

    def __init__(self, prepared: Prepared) -> None:
        """Build the model. Raises SettingError if an option does not fit the data or the machine."""
        experiment, train = prepared.experiment, prepared.train
        self.prepared = prepared
        self.operating_points: dict[str, Any] = {}
        model = build_model(experiment.model, len(train.class_names), train.images.shape[-1], experiment.seed)
        self.trainer = Trainer(experiment, model, normalisation_of(train.images), train.counts())
        self._began = time.monotonic()

    def start(self, folder: Path, sources: dict[str, str]) -> None:
        """Write what `folder` says from the start; sources: who set which setting. Raises WriteError."""
        self.folder = folder
        config = dump_yaml(self.prepared.experiment.model_dump())
        write_file(self.folder / runs.CONFIG, CONFIG_HEADING + config)
        write_manifest(self.prepared.manifest, self.folder / runs.SUBSET, overwrite=True)
        self._write_session([], {"settings_from": sources})

    def restore(self, folder: Path, notice: Notice) -> None:
        """Go on from the checkpoint of `folder`, or from the start if it was stopped before its first.

        Raises CheckpointError.
        """
        self.folder = folder
        sessions = runs.read_sessions(folder)
        for name, before, now in runs.differences(sessions[-1], self._session()):
            notice(f"{name} was {before} and is {now} now: the result may differ in its last digits")
        if not (folder / runs.CHECKPOINT).exists():
            self._write_session(sessions, {})
            notice("resuming from the start: the run was stopped before its first checkpoint")
            return
        checkpoint = checkpoints.load(folder / runs.CHECKPOINT)
        if changes := list(_changes(checkpoint.config, self.prepared.experiment.model_dump())):
            raise CheckpointError(f"{folder / runs.CONFIG} does not fit {runs.CHECKPOINT}: {'; '.join(changes)}")
        self._write_session(sessions, {})
        self.operating_points = checkpoint.operating_points
        self.trainer.restore(
            {name: getattr(checkpoint, name) for name in ("weights", "optimizer", "random_state", "progress")}
        )
        progress = self.trainer.progress
        if progress.epoch == self.prepared.experiment.epochs:
            notice("resuming after the last epoch")
        else:
            notice(f"resuming at epoch {progress.epoch + 1}, step {progress.step + 1}")

    def train(self) -> Iterator[Progress]:
        """Train to the end, saving after every epoch; yields as `Trainer.train` does, and may be left there."""
        for progress in self.trainer.train(self.prepared.train, self.prepared.validation):
            if progress.step == 0:
                self.save()
            yield progress

    def save(self) -> None:
        """Write the checkpoint and the log as they stand. Raises WriteError."""
        checkpoints.save(self._checkpoint(), self.folder / runs.CHECKPOINT)
        runs.write_log(self.folder, self.trainer.progress.log)

    def finish(self) -> dict[str, Any]:
        """Choose the operating points on the validation images, then test once. Returns the results it writes."""
        prepared, trainer = self.prepared, self.trainer
        held_out = None
        if prepared.validation is not None:
            logits = predict(trainer.model, prepared.validation.images, trainer.normalise, device=trainer.device)
            held_out = logits.double().numpy(), prepared.validation.labels.numpy()
        self.operating_points = operating_points(prepared.experiment, self._counts(), held_out)
        self.save()
        scores, _ = evaluate(self._checkpoint(), prepared.test, device=prepared.experiment.device)
        data = prepared.experiment.data
        results = {"dataset": data.dataset, "split": "test"} | scores
        names = prepared.train.class_names
        matrix = np.asarray(results["confusion_matrix"])
        drawing.save_figure(plots.confusion_matrix(matrix, names), self.folder / runs.CONFUSION)
        drawing.save_figure(plots.learning_curves(trainer.progress.log, names), self.folder / runs.CURVES)
        sessions = runs.read_sessions(self.folder)
        sessions[-1] |= {"seconds": round(time.monotonic() - self._began, 2)} | runs.peak_memory()
        runs.write_json(self.folder / runs.ENVIRONMENT, sessions)
        runs.write_json(self.folder / runs.RESULTS, results)  # the last, because it says that the run is complete
        return results

    def _counts(self) -> list[int]:
        return [int(count) for count in self.prepared.train.counts()]

    def _checkpoint(self) -> Checkpoint:
        experiment, train = self.prepared.experiment, self.prepared.train
        return Checkpoint(
            model=experiment.model,
            class_names=list(train.class_names),
            counts=self._counts(),
            image_size=train.images.shape[-1],
            normalisation=self.trainer.normalise,
            config=experiment.model_dump(),
            manifest=asdict(self.prepared.manifest),
            operating_points=self.operating_points,
            **self.trainer.state(),
        )

    def _session(self) -> dict[str, Any]:
        return runs.environment(
            str(self.trainer.device),
            torch.get_num_threads(),
            str(self.trainer.precision).removeprefix("torch."),
        )

    def _write_session(self, earlier: list[Any], more: dict[str, Any]) -> None:
        runs.write_json(self.folder / runs.ENVIRONMENT, [*earlier, self._session() | more])


def resume(folder: Path, said: Iterable[Setting], notice: Notice) -> Run:
    """The run of `folder` where it was stopped, its data loaded and verified.

    Raises SettingError if `said` differs from the run's own settings, CheckpointError and DataError.
    """
    experiment, _ = resolve(folder / runs.CONFIG)
    changed, _ = resolve(folder / runs.CONFIG, said)
    if differences := list(_changes(experiment.model_dump(), changed.model_dump())):
        raise SettingError(
            f"--resume goes on with the settings of {folder}, but {'; '.join(differences)}; "
            "leave that out, or start a new run"
        )
    stored = experiment.data.model_copy(
        update=dict.fromkeys(DECIDED_BY_SUBSET) | {"minority": [], "subset": str(folder / runs.SUBSET)}
    )
    _, manifest, dataset = load_subset(stored, experiment.seed, notice)
    train, validation = validation_split(dataset.train, experiment, notice)
    run = Run(Prepared(experiment, manifest, train, validation, dataset.test))
    run.restore(folder, notice)
    return run


def run_name(experiment: Experiment) -> str:
    """A short name that tells runs apart: data, loss, ratio, seed."""
    data, loss = experiment.data, experiment.loss["name"]
    parts = [Path(data.dataset).name, loss]
    if loss == "focal":
        parts[-1] += f"{experiment.loss['gamma']:g}"
    if experiment.class_weights["name"] != "none":
        parts.append(experiment.class_weights["name"])
    if data.ratio or data.factor:
        parts.append(f"{data.ratio or 1 / (data.factor or 1):g}")
    return "-".join([*parts, f"seed{experiment.seed}"])


def _changes(before: dict[str, Any], now: dict[str, Any], place: str = "") -> Iterator[str]:
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, f"{place}{name}.")
        elif old != new:
            yield f"{place}{name} was {old} and is {new} now"
