"""A folder of images, or a CSV file that names them, as a dataset."""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from imbalance_cli.data.decode import BadImage, Content, default_image_size
from imbalance_cli.data.image_cache import read_images
from imbalance_cli.data.image_set import Dataset, ImageSet
from imbalance_cli.data.listing import LAYOUT, SPLITS, Sample, list_csv, list_folder
from imbalance_cli.errors import DataError, SettingError, printable

TEST_SHARE = 0.2  # of each class, where the source does not say which images are for testing
NOT_MARKED = "no test images are marked"

_BAD_FILES_NAMED = 20


def load_folder(
    path: Path,
    *,
    image_size: int | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    skip_bad: bool = False,
    allow_leak: bool = False,
    allow_empty: bool = False,
    exact: bool = False,
    cache_dir: Path,
    notice: Callable[[str], None],
) -> Dataset:
    """The images of `classes` (default: all, by name) in the folder or CSV file `path`.

    An item is an image's path below its split's folder, or as the CSV file has it. The identity covers
    item, class and content of the training images of the chosen classes, so it depends on `classes` and,
    where the test images are drawn, on `seed`. exact: there may be no other classes, but not all need images.
    Decoded pixels are kept in `cache_dir`; `notice` receives
    lines for the user. Raises DataError where it is doubtful what the samples are.
    """
    if image_size is not None and not 8 <= image_size <= 1024:
        raise SettingError(f"--image-size is {image_size}; give a number of pixels from 8 to 1024")
    if os.path.isdir(path):
        root, (class_names, samples) = path, list_folder(path, classes, notice, exact=exact)
    elif os.path.isfile(path):
        root, (class_names, samples) = path.parent, list_csv(path, classes, exact=exact)
    else:
        raise DataError(f"no folder or CSV file {printable(str(path))}; {LAYOUT}")
    if not (allow_empty or exact):
        _check_no_class_is_empty(class_names, samples)  # before minutes are spent on decoding

    files = [sample.file for sample in samples]
    size = image_size or default_image_size(root, files, notice)
    reading = json.dumps([os.path.realpath(path), class_names, size])
    cache = cache_dir / f"folder-{hashlib.sha256(reading.encode()).hexdigest()[:32]}.images"
    pixels, contents = read_images(root, files, size, path=cache, notice=notice)
    pairs = list(zip(samples, contents, strict=True))
    good = [(sample, content) for sample, content in pairs if isinstance(content, Content)]
    bad = [(sample, content) for sample, content in pairs if isinstance(content, BadImage)]
    _report_bad(root, bad, skip_bad, notice)
    _report_conversions(good, notice)

    samples = [sample for sample, _ in good]
    digests = [content.digest for _, content in good]
    same = _first_digests(pixels, digests)
    is_drawn = any(not sample.split for sample in samples)
    if is_drawn:
        samples = draw_splits(samples, same, seed)
        notice(_describe_splits(class_names, samples, seed))
    if not (allow_empty or exact):
        _check_no_class_is_empty(class_names, samples)  # now without the bad files and in both splits
    for split in SPLITS:
        if all(sample.split != split for sample in samples):
            raise DataError(f"{printable(str(path))} has no images for {split}; {LAYOUT}")
    if not allow_leak:
        _check_no_leak(root, samples, same)

    images = ImageSet(
        torch.from_numpy(pixels),
        torch.tensor([sample.label for sample in samples], dtype=torch.int64),
        class_names,
        tuple(sample.item for sample in samples),
    )
    train, test = (
        images.select(torch.tensor([i for i, sample in enumerate(samples) if sample.split == split], dtype=torch.int64))
        for split in SPLITS
    )
    return Dataset(str(path), _identity(class_names, samples, digests), train, test, test_is_drawn=is_drawn)


def draw_splits(samples: Sequence[Sample], digests: Sequence[str], seed: int) -> list[Sample]:
    """`samples` with a fifth of each class, at least one image where there are two, drawn for testing.

    The order of drawing is that of the SHA-256 of seed and content. So it needs no random generator, new
    files do not reshuffle the others, and copies of an image stay on one side.
    """
    copies: dict[int, Counter[str]] = defaultdict(Counter)
    for sample, digest in zip(samples, digests, strict=True):
        copies[sample.label][digest] += 1
    drawn = set()
    for label, counts in copies.items():
        wanted = max(1, round(TEST_SHARE * counts.total()))
        order = sorted(counts, key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).digest())
        for digest in order[:-1]:  # the last one trains, however few there are
            if wanted <= 0:
                break
            drawn.add((label, digest))
            wanted -= counts[digest]
    return [
        sample._replace(split="test" if (sample.label, digest) in drawn else "train")
        for sample, digest in zip(samples, digests, strict=True)
    ]


def _first_digests(pixels: NDArray[np.uint8], digests: Sequence[str]) -> list[str]:
    """Of each image the smallest of the digests of the files with the same pixels.

    So a copy is known as one however it was saved, and images without copies keep their own digest.
    """
    looks = [hashlib.sha256(image.data).digest() for image in pixels]
    first: dict[bytes, str] = {}
    for look, digest in zip(looks, digests, strict=True):
        first[look] = min(digest, first.get(look, digest))
    return [first[look] for look in looks]


def _check_no_class_is_empty(class_names: tuple[str, ...], samples: Sequence[Sample]) -> None:
    counts = Counter((sample.split, sample.label) for sample in samples)
    splits = ("",) if any(not sample.split for sample in samples) else SPLITS
    for label, name in enumerate(class_names):
        for split in splits:
            if not counts[split, label]:
                where = f" for {split}" if split else ""
                raise DataError(
                    f"class {printable(name)} has 0 images{where}; add some, leave it out with --classes, "
                    "or keep it so with --allow-empty"
                )


def _describe_splits(class_names: tuple[str, ...], samples: Sequence[Sample], seed: int) -> str:
    counts = Counter((sample.split, sample.label) for sample in samples)
    classes = ", ".join(
        f"{printable(name)} {counts['train', label]} + {counts['test', label]}"
        for label, name in enumerate(class_names[:10])
    )
    others = f" and {len(class_names) - 10} more classes" if len(class_names) > 10 else ""
    sizes = Counter(sample.split for sample in samples)
    return (
        f"{NOT_MARKED}, so {TEST_SHARE:.0%} of each class are drawn with seed {seed}: "
        f"{sizes['train']} to train + {sizes['test']} to test ({classes}{others})"
    )


def _check_no_leak(root: Path, samples: Sequence[Sample], digests: Sequence[str]) -> None:
    """Raise DataError if images of the same digest are in both splits or in two classes."""
    first: dict[str, Sample] = {}
    leaks = []
    for sample, digest in zip(samples, digests, strict=True):
        other = first.setdefault(digest, sample)
        if other.label != sample.label or other.split != sample.split:
            leaks.append((other, sample))
    if leaks:
        one, two = leaks[0]
        kind = "two classes" if one.label != two.label else "train and test"
        paths = " and ".join(printable(str(root / sample.file.name)) for sample in (one, two))
        others = f" (and {len(leaks) - 1} more pairs)" if len(leaks) > 1 else ""
        raise DataError(f"same content, {kind}: {paths}{others}; remove one of the two, or accept it with --allow-leak")


def _report_bad(root: Path, bad: list[tuple[Sample, BadImage]], skip: bool, notice: Callable[[str], None]) -> None:
    lines = [f"{printable(str(root / sample.file.name))}: {reason}" for sample, reason in bad]
    if lines and not skip:
        others = f" (and {len(lines) - 1} more files)" if len(lines) > 1 else ""
        raise DataError(f"{lines[0]}{others}; repair or remove it, or leave such files out with --skip-bad")
    for line in lines[:_BAD_FILES_NAMED]:
        notice(f"skipped {line}")
    if len(lines) > _BAD_FILES_NAMED:
        notice(f"skipped {len(lines) - _BAD_FILES_NAMED} more files")


def _report_conversions(good: list[tuple[Sample, Content]], notice: Callable[[str], None]) -> None:
    """One line for each kind of image that is not plain 8-bit RGB, with an example."""
    examples: dict[str, str] = {}
    counts = Counter[str]()
    for sample, content in good:
        for conversion in content.conversions:
            kind = conversion.partition(":")[0]
            examples.setdefault(kind, f"{conversion} ({printable(sample.file.name)}")
            counts[kind] += 1
    for kind, example in examples.items():
        notice(f"{example} and {counts[kind] - 1} more)" if counts[kind] > 1 else f"{example})")


def _identity(class_names: tuple[str, ...], samples: Sequence[Sample], digests: Sequence[str]) -> str:
    lines = sorted(
        json.dumps([sample.item, class_names[sample.label], digest])
        for sample, digest in zip(samples, digests, strict=True)
        if sample.split == "train"
    )
    return f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"
