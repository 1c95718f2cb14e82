"""One experiment from its data to its results: the run folder, training, resuming, the verdict."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imbalance_cli import checkpoints, drawing, plots, predictions, runs
from imbalance_cli.checkpoints import Checkpoint
from imbalance_cli.config import Experiment, Setting, resolve
from imbalance_cli.data.batches import normalisation_of
from imbalance_cli.data.manifest import Manifest, read_manifest, write_manifest
from imbalance_cli.errors import (
    OUT_OF_MEMORY_AT_THE_END,
    CheckpointError,
    DivergedError,
    MemoryShortage,
    SettingError,
    UnfinishedError,
    WriteError,
    is_out_of_memory,
)
from imbalance_cli.evaluation import evaluate, operating_points
from imbalance_cli.experiment_data import (
    Notice,
    Prepared,
    experiment_of,
    subset_of_run,
    validation_split,
    warn_of_other_test_images,
)
from imbalance_cli.files import write_file
from imbalance_cli.methods.calibration import best_temperature
from imbalance_cli.methods.resampling import require_enough
from imbalance_cli.metrics import Floats
from imbalance_cli.models import build_model
from imbalance_cli.refitting import features_of, refit, require_trained_classifier
from imbalance_cli.registry import short_name
from imbalance_cli.stopped_runs import Stopped, settings_of
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
        self.calibration: dict[str, Any] = {}
        self.saved: str | None = None  # the place of the last save
        self._last_is_damaged = False
        self._sessions: list[dict[str, Any]] = []  # what the environment file says
        model = build_model(experiment.model, len(train.class_names), train.images.shape[-1], experiment.seed)
        self.trainer = Trainer(experiment, model, normalisation_of(train.images), train.counts())
        self._began = time.monotonic()

    def start(self, folder: Path, sources: dict[str, str]) -> None:
        """Write what `folder` says from the start; sources: who set which setting. Raises WriteError."""
        self.folder = folder
        config = CONFIG_HEADING + dump_yaml(self.prepared.experiment.model_dump())
        write_manifest(self.prepared.manifest, folder / runs.SUBSET, overwrite=True)
        digests = {
            runs.CONFIG: runs.sha256(config.encode()),
            runs.SUBSET: runs.file_sha256(folder / runs.SUBSET),
        }
        self._begin_session({"settings_from": sources, "sha256": digests})
        write_file(folder / runs.CONFIG, config)  # the last, because it says that there is a run

    def restore(self, stopped: Stopped, notice: Notice) -> None:
        """Go on from the last whole checkpoint of `stopped`, or from the start if it was stopped before its first.

        Raises CheckpointError.
        """
        self.folder, self._sessions = stopped.folder, stopped.sessions
        checkpoint, self._last_is_damaged = stopped.checkpoint, stopped.last_is_damaged
        if checkpoint is not None:
            if checkpoint.manifest != asdict(self.prepared.manifest):
                subset = self.folder / runs.SUBSET
                raise CheckpointError(f"{subset} is another subset than {runs.CHECKPOINT} trained on")
            warn_of_other_test_images(checkpoint, self.prepared.test_digest, notice)
        for name, before, now in runs.differences(self._sessions[-1], self._session()) if self._sessions else ():
            notice(f"bits may differ: {name} {before} -> {now}")
        runs.remove_stale(self.folder)
        self._begin_session({} if self._sessions else {"sha256": stopped.digests()})
        if checkpoint is None:
            notice("resuming from the start: the run was stopped before its first checkpoint")
            return
        self.operating_points, self.calibration = checkpoint.operating_points, checkpoint.calibration
        self.go_on_from(checkpoint)
        progress = self.trainer.progress
        self.saved = self.place()
        if progress.epoch == self.prepared.experiment.all_epochs or progress.stopped_early:
            notice("resuming after the last epoch")
        else:
            notice(f"resuming at epoch {progress.epoch + 1}, step {progress.step + 1}")

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Let training stand where `checkpoint` was saved."""
        self.trainer.restore(
            {name: getattr(checkpoint, name) for name in ("weights", "optimizer", "random_state", "progress")}
        )

    def train(self) -> Iterator[Progress]:
        """Train to the end, saving after every epoch; yields as `Trainer.train` does, and may be left there."""
        for progress in self.trainer.train(self.prepared.train, self.prepared.validation):
            if progress.step == 0:
                self.save()
            yield progress

    def place(self) -> str:
        """Where training stands, in words."""
        at = self.trainer.progress
        return f"epoch {at.epoch + 1}, step {at.step}" if at.step else f"the end of epoch {at.epoch}"

    def save(self) -> None:
        """Write the checkpoint and the log as they stand. Raises DivergedError if they are not finite, and WriteError.

        The save before stays as the previous one, unless it is damaged.
        """
        if self.trainer.progress.step > 0:  # else the loop has just done it
            self.trainer.require_finite()
        previous = None if self._last_is_damaged else self.folder / runs.PREVIOUS
        checkpoints.save(self._checkpoint(), self.folder / runs.CHECKPOINT, previous=previous)
        self._last_is_damaged = False
        self.saved = self.place()
        runs.write_log(self.folder, self.trainer.progress.log)
        self._add_to_session(self._took())

    @contextmanager
    def noting_failure(self) -> Iterator[None]:
        """Let the environment file say why this session ended, if training diverges or memory runs out meanwhile."""
        try:
            yield
        except Exception as error:
            told = isinstance(error, DivergedError | MemoryShortage)
            if told or is_out_of_memory(error):
                with suppress(WriteError):
                    self._add_to_session({"failed": str(error) if told else OUT_OF_MEMORY_AT_THE_END})
            raise

    def features(self) -> torch.Tensor:
        """What the trained model makes of the training images before the classifier: float32 [n, d] on the CPU."""
        trainer = self.trainer
        return features_of(trainer.evaluated, self.prepared.train, trainer.normalise, trainer.device)

    def decide(self, features: torch.Tensor | None = None, reference: Floats | None = None) -> None:
        """Refit the classifier if that is asked for, and choose the operating points on the validation images.

        features, reference: those of the training if they are known, see `refit`. Raises as that, and SettingError
        of a user's own criterion.
        """
        prepared, trainer = self.prepared, self.trainer
        experiment, saved_in = prepared.experiment, self.folder if self.saved else None
        reference = trainer.uninformative_logits() if reference is None else reference
        if experiment.refit["name"] != "none":
            features = self.features() if features is None else features
            reference = refit(trainer.evaluated, features, prepared.train, reference, experiment, saved_in)
        held_out = None
        if prepared.validation is not None:
            held_out = trainer.predict(prepared.validation.images).double().numpy(), prepared.validation.labels.numpy()
        minority = self._checkpoint().minority
        try:
            self.operating_points = operating_points(reference, held_out, experiment.threshold_by, minority)
        except SettingError as error:  # of an own criterion, and a run is not resumed with its file mended
            saved = f"; the training is saved in {saved_in / runs.CHECKPOINT}" if saved_in else ""
            raise SettingError(f"{error}{saved}") from error
        temperature, reason = (None, None) if held_out is None else best_temperature(*held_out, reference)
        self.calibration = {"temperature": temperature, "reason": reason, "reference": reference.tolist()}

    def finish(self) -> dict[str, Any]:
        """Decide, then test once. Returns the results it writes. Raises as `decide`; `refitted` can go on then."""
        prepared, trainer = self.prepared, self.trainer
        if not self.operating_points:  # else that was done and saved before the run was stopped
            self.decide()
        self.save()
        scores, logits = evaluate(self._checkpoint(), prepared.test, device=prepared.experiment.device)
        data = {"dataset": prepared.experiment.data.dataset, "split": "test", "test_digest": prepared.test_digest}
        budget = {"epochs": trainer.progress.epoch, "steps": trainer.all_steps}
        results = data | budget | scores
        test, names = prepared.test, prepared.train.class_names
        answers = predictions.as_csv(test.items, test.labels.numpy(), logits, names)
        write_file(self.folder / runs.PREDICTIONS, answers)
        matrix = np.asarray(results["confusion_matrix"])
        drawing.save_figure(plots.confusion_matrix(matrix, names), self.folder / runs.CONFUSION)
        drawing.save_figure(plots.learning_curves(trainer.progress.log, names), self.folder / runs.CURVES)
        text = runs.as_json(results)
        digests = {"results_sha256": runs.sha256(text.encode()), "predictions_sha256": runs.sha256(answers)}
        self._add_to_session(self._took() | digests)
        runs.remove(self.folder / runs.PREVIOUS)
        write_file(self.folder / runs.RESULTS, text)  # the last, because it says that the run is complete
        return results

    def _checkpoint(self) -> Checkpoint:
        experiment, train = self.prepared.experiment, self.prepared.train
        return Checkpoint(
            model=experiment.model,
            class_names=list(train.class_names),
            counts=train.counts().tolist(),
            image_size=train.images.shape[-1],
            normalisation=self.trainer.normalise,
            config=experiment.model_dump(),
            manifest=asdict(self.prepared.manifest),
            operating_points=self.operating_points,
            calibration=self.calibration,
            test_digest=self.prepared.test_digest,
            **self.trainer.state(),
        )

    def _session(self) -> dict[str, Any]:
        device = self.trainer.device
        return runs.environment(
            {
                "device": str(device),
                "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
                "instructions": torch.backends.cpu.get_cpu_capability(),
                "precision": str(self.trainer.precision).removeprefix("torch."),
                "threads": torch.get_num_threads(),
            }
        )

    def _took(self) -> dict[str, float]:
        """What this session has taken so far."""
        return {"seconds": round(time.monotonic() - self._began, 2)} | runs.peak_memory()

    def _begin_session(self, more: dict[str, Any]) -> None:
        self._sessions = [*self._sessions, self._session()]
        self._add_to_session(more)

    def _add_to_session(self, more: dict[str, Any]) -> None:
        self._sessions[-1] |= more
        runs.write_json(self.folder / runs.ENVIRONMENT, self._sessions)


def resume(folder: Path, said: Iterable[Setting], notice: Notice, *, dataset: str | None = None) -> Run:
    """The run of `folder` where it was stopped, its data loaded and verified.

    dataset: where its images are now, if not where they were. Raises SettingError if `said` differs from the run's
    own settings, CheckpointError and DataError.
    """
    experiment, stopped = settings_of(folder, said), Stopped.read(folder, notice)
    stopped.require_whole(experiment)
    try:
        experiment, _ = resolve(folder / runs.CONFIG)  # now that it is the run's, the files that it names are run
    except SettingError as error:
        raise CheckpointError(*str(error).splitlines()) from error
    manifest = read_manifest(folder / runs.SUBSET)
    place = experiment.data if dataset is None else experiment.data.model_copy(update={"dataset": dataset})
    subset = subset_of_run(manifest, place, notice)
    train, validation = validation_split(subset.train, experiment, notice)
    run = Run(Prepared(experiment, manifest, train, validation, subset.test))
    run.restore(stopped, notice)
    return run


def refitted(checkpoint: Checkpoint, experiments: Sequence[Experiment], notice: Notice) -> Iterator[Run]:
    """Runs of `experiments`, which differ from that of `checkpoint` in their refits, as if trained and decided.

    Raises CheckpointError unless the training is finished and what a refit goes on from is there, SettingError,
    DataError, DivergedError.
    """
    trained, progress = experiment_of(checkpoint), checkpoint.progress
    if not progress or (progress["epoch"] < trained.all_epochs and not progress["stopped_early"]):
        raise UnfinishedError("training has not finished")
    if trained.refit["name"] != "none" and checkpoint.operating_points:
        for experiment in experiments:
            require_trained_classifier(experiment.refit["name"], trained.refit["name"])
    manifest, like = Manifest(**checkpoint.manifest), experiments[0]
    dataset = subset_of_run(manifest, like.data, notice)
    train, validation = validation_split(dataset.train, like, notice)
    prepared = Prepared(like, manifest, train, validation, dataset.test)
    warn_of_other_test_images(checkpoint, prepared.test_digest, notice)
    for experiment in experiments:  # all, before the first has its run
        require_enough(experiment.resample, train.counts().tolist(), train.class_names)
    stored = checkpoint.calibration.get("reference") if trained.refit["name"] == "none" else None  # else the refit's
    features, reference = None, None if stored is None else np.asarray(stored)
    for experiment in experiments:
        run = Run(replace(prepared, experiment=experiment))
        run.go_on_from(checkpoint)
        features = run.features() if features is None else features
        run.decide(features, reference)
        yield run


def run_name(experiment: Experiment) -> str:
    """A short name that tells runs apart: data, loss, ratio, seed."""
    data, loss = experiment.data, experiment.loss["name"]
    parts = [Path(data.dataset).name, short_name(loss)]
    if loss == "focal":
        parts[-1] += f"{experiment.loss['gamma']:g}"
    chosen = [getattr(experiment, key)["name"] for key in ("class_weights", "refit", "resample")]
    parts += [short_name(name) for name in chosen if name != "none"]
    if data.ratio or data.factor:
        parts.append(f"{data.ratio or 1 / (data.factor or 1):g}")
    return "-".join([*parts, f"seed{experiment.seed}"])
