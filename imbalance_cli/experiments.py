"""One experiment from its settings to its results: the data it needs, its run folder, training, the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imbalance_cli import checkpoints, plots, runs
from imbalance_cli.checkpoints import Checkpoint
from imbalance_cli.config import DataSettings, Experiment, Setting, resolve
from imbalance_cli.data.batches import normalisation_of
from imbalance_cli.data.image_set import Dataset, ImageSet, joined, of_classes
from imbalance_cli.data.manifest import Manifest, apply_manifest, read_manifest, write_manifest
from imbalance_cli.data.sources import BUILT_IN, data_folder, load_dataset, resolve_auto
from imbalance_cli.data.subset import choose_items, make_subset
from imbalance_cli.errors import DataError, SettingError
from imbalance_cli.evaluation import evaluate, operating_points
from imbalance_cli.files import write_file
from imbalance_cli.inference import predict
from imbalance_cli.models import build_model
from imbalance_cli.strict_yaml import dump_yaml
from imbalance_cli.training import Progress, Trainer

Notice = Callable[[str], None]

LARGEST_VALIDATION = 500  # images of one class; more would only be missed in training
FEWEST_TO_SPLIT = 20  # images of a class below which all of them train

DECIDED_BY_SUBSET = ("ratio", "factor", "profile", "counts", "minority", "test_ratio")
CONFIG_HEADING = "# Every setting of this run, as resolved; `imbalance train config.yaml` repeats it.\n"


@dataclass(frozen=True)
class Prepared:
    """An experiment whose data are loaded: what it trains on, what it holds out, what it is tested on."""

    experiment: Experiment
    manifest: Manifest
    train: ImageSet
    validation: ImageSet | None
    test: ImageSet


def prepare(experiment: Experiment, notice: Notice) -> Prepared:
    """Load the experiment's images and take its subset. `auto` and the like are resolved in what is returned.

    Raises SettingError and DataError.
    """
    settings, manifest, dataset = load_subset(experiment.data, experiment.seed, notice)
    experiment = experiment.model_copy(update={"data": settings})
    train, validation = validation_split(dataset.train, experiment, notice)
    return Prepared(experiment, manifest, train, validation, dataset.test)


def load_subset(settings: DataSettings, seed: int, notice: Notice) -> tuple[DataSettings, Manifest, Dataset]:
    """The dataset that `settings` describe, cut down to its subset, and the settings with `auto` resolved.

    Raises SettingError and DataError.
    """
    given = read_manifest(Path(settings.subset)) if settings.subset else None
    if given is not None:
        settings = _settings_of_subset(settings, given)
    if settings.dataset == "auto":
        name, pair, line = resolve_auto(data_folder(settings.data_dir))
        notice(line)
        classes = settings.classes or (list(settings.counts) if settings.counts else list(pair))
        settings = settings.model_copy(update={"dataset": name, "classes": classes})
    dataset = load_source(settings, notice)
    if given is not None:
        return settings, given, apply_manifest(given, dataset)
    manifest, subset = make_subset(
        dataset,
        classes=settings.classes,
        ratio=settings.ratio,
        factor=settings.factor,
        profile=settings.profile,
        counts=settings.counts,
        minority=settings.minority,
        protocol=settings.protocol,
        seed=seed,
        test_ratio=settings.test_ratio,
    )
    return settings, manifest, subset


def load_source(settings: DataSettings, notice: Notice) -> Dataset:
    """The whole dataset that `settings` name, of the wanted classes at least. Raises SettingError and DataError."""
    return load_dataset(
        settings.dataset,
        data_dir=data_folder(settings.data_dir),
        classes=settings.classes or (list(settings.counts) if settings.counts else None),
        image_size=settings.image_size,
        split_seed=settings.split_seed,
        skip_bad=settings.skip_bad,
        allow_leak=settings.allow_leak,
        notice=notice,
    )


class Run:
    """An experiment in its run folder: started, trained, saved at every epoch, finished; or resumed."""

    def __init__(self, prepared: Prepared, folder: Path) -> None:
        """Build the model. Raises SettingError if an option does not fit the data or the machine."""
        experiment, train = prepared.experiment, prepared.train
        self.prepared = prepared
        self.folder = folder
        self.operating_points: dict[str, Any] = {}
        model = build_model(experiment.model, len(train.class_names), train.images.shape[-1], experiment.seed)
        self.trainer = Trainer(experiment, model, normalisation_of(train.images))
        self._began = time.monotonic()

    def start(self, sources: dict[str, str]) -> None:
        """Write what the folder says from the start; sources: who set which setting. Raises WriteError."""
        config = dump_yaml(self.prepared.experiment.model_dump())
        write_file(self.folder / runs.CONFIG, CONFIG_HEADING + config)
        write_manifest(self.prepared.manifest, self.folder / runs.SUBSET, overwrite=True)
        self._write_session([], {"settings_from": sources})

    def restore(self, notice: Notice) -> None:
        """Go on from the folder's checkpoint, or from the start if it was stopped before its first.

        Raises CheckpointError.
        """
        sessions = runs.read_json(self.folder / runs.ENVIRONMENT)
        self._write_session(sessions, {})
        for name, before, now in runs.differences(sessions[-1], self._session()):
            notice(f"{name} was {before} and is {now} now: the result may differ in its last digits")
        if not (self.folder / runs.CHECKPOINT).exists():
            notice("resuming from the start: the run was stopped before its first checkpoint")
            return
        checkpoint = checkpoints.load(self.folder / runs.CHECKPOINT)
        self.operating_points = checkpoint.operating_points
        self.trainer.restore(
            {name: getattr(checkpoint, name) for name in ("weights", "optimizer", "random_state", "progress")}
        )
        progress = self.trainer.progress
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
        runs.write_json(self.folder / runs.RESULTS, results)
        names = prepared.train.class_names
        matrix = np.asarray(results["confusion_matrix"])
        plots.save_figure(plots.confusion_matrix(matrix, names), self.folder / runs.CONFUSION)
        plots.save_figure(plots.learning_curves(trainer.progress.log, names), self.folder / runs.CURVES)
        sessions = runs.read_json(self.folder / runs.ENVIRONMENT)
        sessions[-1] |= {"seconds": round(time.monotonic() - self._began, 2)} | runs.peak_memory()
        runs.write_json(self.folder / runs.ENVIRONMENT, sessions)
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
    run = Run(Prepared(experiment, manifest, train, validation, dataset.test), folder)
    run.restore(notice)
    return run


def experiment_of(checkpoint: Checkpoint) -> Experiment:
    """The experiment that trained `checkpoint`."""
    return Experiment.model_validate(checkpoint.config)


def images_for(
    checkpoint: Checkpoint, dataset: str | None, split: str, data_dir: Path | None, notice: Notice
) -> tuple[ImageSet, str]:
    """The images to evaluate `checkpoint` on, labelled by its classes, and the name of their dataset.

    dataset: None for that of the run, whose subset is verified and of which `split` is test, train or validation;
    else another one, of which `split` is test, train or all. Raises DataError and SettingError.
    """
    experiment = experiment_of(checkpoint)
    folder = str(data_dir) if data_dir else experiment.data.data_dir
    settings = experiment.data.model_copy(update={"data_dir": folder})
    known = ("test", "train", "validation") if dataset is None else ("test", "train", "all")
    if split not in known:
        raise SettingError(f"--split must be {', '.join(known)}{' with --dataset' if dataset else ''}; got {split}")
    if dataset is None:
        loaded = load_source(settings, notice)
        subset = apply_manifest(Manifest(**checkpoint.manifest), loaded)
        if split == "test":
            return subset.test, settings.dataset
        train, validation = validation_split(subset.train, experiment, lambda _: None)
        if split == "validation" and validation is None:
            raise DataError("--split validation: this run held out no validation images")
        return (train if split == "train" else validation), settings.dataset  # type: ignore[return-value]
    update: dict[str, Any] = {"dataset": dataset, "classes": checkpoint.class_names, "image_size": None}
    if dataset not in BUILT_IN:
        update["image_size"] = checkpoint.image_size
    loaded = load_source(settings.model_copy(update=update), notice)
    splits = {"test": [loaded.test], "train": [loaded.train], "all": [loaded.train, loaded.test]}[split]
    return joined([of_classes(images, tuple(checkpoint.class_names)) for images in splits]), dataset


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


def validation_split(images: ImageSet, experiment: Experiment, notice: Notice) -> tuple[ImageSet, ImageSet | None]:
    """`images` without a stratified validation part, and that part or None; `notice` hears its size."""
    counts = dict(zip(images.class_names, images.counts().tolist(), strict=True))
    held_out = {
        name: min(LARGEST_VALIDATION, round(count * experiment.validation))
        for name, count in counts.items()
        if count >= FEWEST_TO_SPLIT
    }
    held_out = {name: count for name, count in held_out.items() if count}
    if not held_out:
        if experiment.validation:
            notice(f"validation: none, because every class has fewer than {FEWEST_TO_SPLIT} images")
        return images, None
    chosen = {
        item
        for items in choose_items(images, held_out, protocol="nested", seed=experiment.seed).values()
        for item in items
    }
    is_held_out = torch.tensor([item in chosen for item in images.items])
    sizes = ", ".join(f"{name} {held_out.get(name, 0)}" for name in counts)
    notice(f"validation: held out of the training images: {sizes}")
    if len(held_out) < len(counts):
        without = ", ".join(name for name in counts if name not in held_out)
        notice(
            f"validation: {without}: fewer than {FEWEST_TO_SPLIT} images, so all of them train; "
            "tau and threshold cannot be chosen"
        )
    return images.select(torch.nonzero(~is_held_out).flatten()), images.select(torch.nonzero(is_held_out).flatten())


def _settings_of_subset(settings: DataSettings, manifest: Manifest) -> DataSettings:
    """`settings` with what a given subset file decides. Raises SettingError if they also say it otherwise."""
    said = [name for name in DECIDED_BY_SUBSET if getattr(settings, name)]
    if said:
        raise SettingError(f"data.{said[0]}: the subset file decides that; leave it out, or leave out data.subset")
    names = list(manifest.items)
    if settings.classes not in (None, names):
        raise SettingError(f"data.classes: the subset file has {', '.join(names)}; leave it out")
    dataset = manifest.dataset if settings.dataset == "auto" else settings.dataset
    return settings.model_copy(update={"dataset": dataset, "classes": names})
