"""The images of one experiment: loaded, cut down to the subset, split for validation."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from imbalance_cli.checkpoints import Checkpoint
from imbalance_cli.config import DataSettings, Experiment
from imbalance_cli.data.folder import NOT_MARKED
from imbalance_cli.data.image_set import Dataset, ImageSet, joined, of_classes
from imbalance_cli.data.manifest import Manifest, apply_manifest, read_manifest
from imbalance_cli.data.sources import BUILT_IN, data_folder, load_dataset, resolve_auto
from imbalance_cli.data.subset import choose_items, make_subset
from imbalance_cli.errors import DataError, SettingError, UserError
from imbalance_cli.methods.criteria import FEWEST_TO_CHOOSE_ON, PROMISING, lacking, require_fit
from imbalance_cli.methods.resampling import require_enough
from imbalance_cli.methods.samplers import rarest
from imbalance_cli.stages import stages

Notice = Callable[[str], None]

LARGEST_VALIDATION = 500  # images of one class; more would only be missed in training
FEWEST_TO_SPLIT = 20  # images of a class below which all of them train


@dataclass(frozen=True)
class Prepared:
    """An experiment whose data are loaded: what it trains on, what it holds out, what it is tested on."""

    experiment: Experiment
    manifest: Manifest
    train: ImageSet
    validation: ImageSet | None
    test: ImageSet

    @cached_property
    def test_digest(self) -> str | None:
        """What tells these test images from others, see `digest_of`."""
        return digest_of(self.test, self.experiment.data.dataset)


def prepare(experiment: Experiment, notice: Notice) -> Prepared:
    """Load the experiment's images and take its subset. `auto` and the like are resolved in what is returned.

    Raises SettingError, also for what does not fit these images, and DataError.
    """
    settings, manifest, dataset = load_subset(experiment.data, experiment.seed, notice)
    experiment = experiment.model_copy(update={"data": settings})
    train, validation = validation_split(dataset.train, experiment, notice)
    require_fit(experiment.threshold_by, len(train.class_names))
    _check_validation(experiment, train, validation, notice)
    require_enough(experiment.resample, train.counts().tolist(), train.class_names)
    for stage in stages(experiment, train.counts()):
        stage.require_fit()
    return Prepared(experiment, manifest, train, validation, dataset.test)


def _check_validation(experiment: Experiment, train: ImageSet, validation: ImageSet | None, notice: Notice) -> None:
    """Tell `notice` of a promise that cannot be kept on so few images; SettingError if none can choose the epoch."""
    held_out = torch.zeros_like(train.counts()) if validation is None else validation.counts()
    images, fewest = train.counts() + held_out, int(held_out.argmin())
    if experiment.early_stopping is not None and held_out[fewest] < FEWEST_TO_CHOOSE_ON:
        # Half of the images are held out at most.
        higher = "set validation higher, or " if images[fewest] >= 2 * FEWEST_TO_CHOOSE_ON else ""
        raise SettingError(
            f"early_stopping: the epoch is chosen by the recalls, which needs {FEWEST_TO_CHOOSE_ON} validation "
            f"images of every class; {train.class_names[fewest]} has {held_out[fewest]}; "
            f"{higher}leave early_stopping out"
        )
    choice = experiment.threshold_by
    if choice["name"] in PROMISING and (reason := lacking(choice, held_out.numpy(), int(rarest(images)))):
        notice(f"warning: threshold_by: {reason}; there will be no threshold from validation")


def load_subset(settings: DataSettings, seed: int, notice: Notice) -> tuple[DataSettings, Manifest, Dataset]:
    """The dataset that `settings` describe, cut down to its subset, and the settings with `auto` resolved.

    Raises SettingError and DataError.
    """
    settings = _with_absolute_paths(settings)
    given = read_manifest(Path(settings.subset)) if settings.subset else None
    if given is not None:
        settings = _settings_of_subset(settings, given)
    if settings.dataset == "auto":
        name, pair, line = resolve_auto(data_folder(settings.data_dir))
        notice(line)
        classes = settings.classes or (list(settings.counts) if settings.counts else list(pair))
        settings = settings.model_copy(update={"dataset": name, "classes": classes})
    dataset = load_source(settings, notice)
    settings = _with_class_names(settings, dataset)
    if settings.dataset not in BUILT_IN:  # a size that was chosen for these images holds for all later ones
        settings = settings.model_copy(update={"image_size": dataset.train.images.shape[-1]})
    if given is not None:
        return settings, given, apply_manifest(given, dataset, place=str(settings.subset))
    manifest, subset = make_subset(
        dataset,
        classes=settings.classes,
        ratio=settings.ratio,
        factor=settings.factor,
        profile=settings.profile,
        counts=settings.counts,
        minority=settings.minority,
        protocol=settings.protocol,
        seed=0 if settings.protocol == "cao" else seed,  # as in the LDAM paper's code, whatever the run's seed
        test_ratio=settings.test_ratio,
    )
    return settings, manifest, subset


def load_source(settings: DataSettings, notice: Notice, *, exact: bool = False) -> Dataset:
    """The whole dataset that `settings` name, of the wanted classes at least. Raises SettingError and DataError.

    exact: as in load_dataset.
    """
    return load_dataset(
        settings.dataset,
        data_dir=settings.data_dir,
        classes=settings.classes or (list(settings.counts) if settings.counts else None),
        image_size=settings.image_size,
        split_seed=settings.split_seed,
        skip_bad=settings.skip_bad,
        allow_leak=settings.allow_leak,
        allow_empty=settings.allow_empty,
        exact=exact,
        notice=notice,
    )


def subset_of_run(manifest: Manifest, settings: DataSettings, notice: Notice) -> Dataset:
    """The images of a run, which `manifest` lists, loaded by its settings and verified.

    Raises SettingError and DataError.
    """
    require_place(settings)
    return apply_manifest(manifest, load_source(settings, notice))


def require_place(settings: DataSettings) -> None:
    """Raise DataError if the images of the run with these `settings` are not where they were."""
    if settings.dataset not in BUILT_IN and not os.path.exists(settings.dataset):
        raise DataError(
            f"the images of the run are not at {settings.dataset} any more; put them back, or say where they are now "
            "with -d/--dataset, which evaluate, refit and train --resume take"
        )


def experiment_of(checkpoint: Checkpoint) -> Experiment:
    """The experiment that trained `checkpoint`."""
    return Experiment.model_validate(checkpoint.config)


def images_for(
    checkpoint: Checkpoint, dataset: str | None, split: str, changes: dict[str, Any], notice: Notice
) -> tuple[ImageSet, str]:
    """The images to evaluate `checkpoint` on, labelled by its classes, and the name of their dataset.

    dataset: None for that of the run, whose subset is verified and of which `split` is test, train or validation;
    else another one, of which `split` is test, train or all. changes: settings of the data that differ from the
    run's. Raises DataError and SettingError.
    """
    experiment = experiment_of(checkpoint)
    settings = experiment.data.model_copy(update=changes)
    known = ("test", "train", "validation") if dataset is None else ("test", "train", "all")
    if split not in known:
        others = ", or all with -d/--dataset" if dataset is None else " with -d/--dataset"
        raise SettingError(f"--split must be {', '.join(known)}{others}; got {split}")
    if dataset is None:
        subset = subset_of_run(Manifest(**checkpoint.manifest), settings, notice)
        train, validation = validation_split(subset.train, experiment, lambda _: None)
        images = {"test": subset.test, "train": train, "validation": validation}[split]
        if split == "test":
            warn_of_other_test_images(checkpoint, digest_of(subset.test, settings.dataset), notice)
        if images is None:
            raise DataError("--split validation: this run held out no validation images")
        if split == "train":
            notice(
                f"warning: {len(images)} images were in training, all of them: the results are better than on new ones"
            )
        return images, settings.dataset
    names = tuple(checkpoint.class_names)
    update = {"dataset": dataset, "classes": list(names), "image_size": checkpoint.image_size}
    if dataset not in BUILT_IN:
        size = checkpoint.image_size
        notice(f"images are scaled to {size} x {size} pixels, the size that the model was trained at")
    all_were_chosen = experiment.data.classes is None and experiment.data.counts is None

    def told(line: str) -> None:
        if not line.startswith(NOT_MARKED):
            notice(line)
        elif split != "all":  # for which nothing is drawn
            notice(f"{line}; --split all evaluates all of them")

    loaded = load_source(settings.model_copy(update=update), told, exact=all_were_chosen)
    parts = {"test": [loaded.test], "train": [loaded.train], "all": [loaded.train, loaded.test]}[split]
    images = joined([of_classes(part, names) for part in parts])
    _warn_of_training_images(checkpoint, loaded, images, notice)
    return images, dataset


def digest_of(images: ImageSet, dataset: str) -> str | None:
    """The SHA-256 of the pixels and labels of `images`, in their order; None where a recipe draws them.

    What the recipe draws may differ in the last bit from machine to machine.
    """
    if dataset == "shapes":
        return None
    digest = hashlib.sha256(str(list(images.images.shape)).encode())
    for values in (images.images, images.labels):
        digest.update(values.contiguous().numpy().data)
    return digest.hexdigest()


def warn_of_other_test_images(checkpoint: Checkpoint, digest: str | None, notice: Notice) -> None:
    """Tell `notice` if the digest of the test images is not that of the images which `checkpoint` was saved beside."""
    if checkpoint.test_digest not in (None, digest):
        notice(
            "warning: the test images are not those of the run: some were changed, added or removed since; "
            "its results are of the others"
        )


def _warn_of_training_images(checkpoint: Checkpoint, loaded: Dataset, images: ImageSet, notice: Notice) -> None:
    """Tell `notice` how many of `images`, which are from `loaded`, the checkpoint was trained on, by their pixels."""
    manifest = Manifest(**checkpoint.manifest)
    try:
        same = loaded.identity == manifest.identity
        source = loaded if same else load_source(experiment_of(checkpoint).data, lambda _: None)
        training = apply_manifest(manifest, source).train
    except UserError:
        notice(
            "warning: the training images are not there as they were: "
            "whether some of these were in training is not known"
        )
        return
    seen = set(_digests(training.images))
    count = sum(digest in seen for digest in _digests(images.images))
    if count:
        notice(f"warning: {count} images were in training, of {len(images)}: the results are better than on new ones")


def _digests(images: torch.Tensor) -> list[bytes]:
    """What tells images apart by their pixels."""
    return [hashlib.blake2b(pixels, digest_size=16).digest() for pixels in images.contiguous().numpy()]


def validation_split(images: ImageSet, experiment: Experiment, notice: Notice) -> tuple[ImageSet, ImageSet | None]:
    """`images` without a stratified validation part, and that part or None; `notice` hears its size."""
    counts = dict(zip(images.class_names, images.counts().tolist(), strict=True))
    held_out = {
        name: max(1, min(LARGEST_VALIDATION, round(count * experiment.validation)))
        for name, count in counts.items()
        if count >= FEWEST_TO_SPLIT and experiment.validation
    }
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


def _with_absolute_paths(settings: DataSettings) -> DataSettings:
    """`settings` whose files are found again from any other folder."""
    paths = {name: getattr(settings, name) for name in ("data_dir", "subset")}
    if settings.dataset not in BUILT_IN and os.path.exists(os.path.expanduser(settings.dataset)):
        paths["dataset"] = settings.dataset
    absolute = {name: os.path.abspath(os.path.expanduser(path)) for name, path in paths.items() if path}
    return settings.model_copy(update=absolute)


def _with_class_names(settings: DataSettings, dataset: Dataset) -> DataSettings:
    """`settings` with the classes that were chosen by number named: among fewer classes a number means another."""
    words = settings.classes or list(settings.counts or ())
    if not words:
        return settings
    names = dict(zip(words, dataset.train.class_names, strict=True))
    return settings.model_copy(
        update={
            "classes": settings.classes and list(names.values()),
            "counts": settings.counts and {names.get(word, word): n for word, n in settings.counts.items()},
            "minority": [names.get(word, word) for word in settings.minority],
        }
    )


def _settings_of_subset(settings: DataSettings, manifest: Manifest) -> DataSettings:
    """`settings` with what a given subset file decides. Raises SettingError if they also say it otherwise."""
    names = list(manifest.items)
    if settings.classes not in (None, names):
        raise SettingError(f"data.classes: the subset file has {', '.join(names)}; leave it out")
    dataset = manifest.dataset if settings.dataset == "auto" else settings.dataset
    if dataset != manifest.dataset and {dataset, manifest.dataset} & {*BUILT_IN}:
        raise DataError(f"{settings.subset} is of {manifest.dataset}, not of {dataset}")
    return settings.model_copy(update={"dataset": dataset, "classes": names})
