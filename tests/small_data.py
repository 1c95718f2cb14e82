"""A small image folder that a model learns in a second, and a run on it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from imbalance_cli import experiment_data, experiments, runs
from imbalance_cli.config import Setting, resolve
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.experiments import Run

COMMON, RARE = "common", "rare"


def make_image_folder(folder: Path, *, train: tuple[int, int] = (120, 24), test: tuple[int, int] = (20, 20)) -> Path:
    """train/ and test/ with two classes of noisy 16x16 images, the rare one a little redder."""
    random = np.random.default_rng(0)
    for split, counts in (("train", train), ("test", test)):
        for name, count, red in ((COMMON, counts[0], 0), (RARE, counts[1], 40)):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 200, (16, 16, 3))
                pixels[..., 0] += red
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{number:03}.png")
    return folder


def make_folder_of_classes(folder: Path, train: dict[str, int], *, test: int = 10) -> Path:
    """train/ and test/ with noisy 16x16 images of the named classes, each class a little brighter than the last."""
    random = np.random.default_rng(0)
    for place, (name, count) in enumerate(train.items()):
        for split, images in (("train", count), ("test", test)):
            (folder / split / name).mkdir(parents=True)
            for number in range(images):
                pixels = random.integers(0, 180, (16, 16, 3)) + 20 * place
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{number:03}.png")
    return folder


def plain_colours(*counts: int, brightness: int = 255) -> ImageSet:
    """8x8 images in one colour: the first class red, the second green, the third blue; counts images of each.

    So the mean colour of an image, even of a mixed one, says how much of each class it shows.
    """
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8)
    images[torch.arange(len(labels)), labels] = brightness
    names = ("red", "green", "blue")[: len(counts)]
    return ImageSet(images, labels, names, tuple(f"{number}" for number in range(len(labels))))


def settings_for(images: Path, cache: Path, **changes: object) -> list[Setting]:
    """Three epochs of four steps of a tiny model on `images`."""
    values: dict[str, object] = {
        "data.dataset": str(images),
        "data.data_dir": str(cache),
        "data.image_size": 16,
        "model.width": 4,
        "model.dropout": 0.1,
        "epochs": 3,
        "batch_size": 32,
        "device": "cpu",
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return [Setting(tuple(key.split(".")), value, "test") for key, value in values.items()]


def new_run(settings: list[Setting], folder: Path) -> Run:
    """A run of `settings` in `folder`, not yet trained."""
    experiment, sources = resolve(None, settings)
    run = experiments.Run(experiment_data.prepare(experiment, lambda _: None))
    folder.mkdir(parents=True)
    run.start(folder, sources)
    return run


def complete(run: Run) -> Run:
    """Train `run` to the end and finish it."""
    for _ in run.train():
        pass
    run.finish()
    return run


SAME_EVERY_TIME = (
    *(runs.CONFIG, runs.SUBSET, runs.LOG, runs.CHECKPOINT),
    *(runs.RESULTS, runs.PREDICTIONS, runs.CURVES, runs.CONFUSION),
)


def content(folder: Path) -> dict[str, bytes]:
    """The files of a run that the same experiment gives byte for byte."""
    return {name: (folder / name).read_bytes() for name in SAME_EVERY_TIME}
