"""What a data set is like before anything is trained on it: how many images, how large, how often the same."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imbalance_cli.lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from imbalance_cli.data import image_set, listing
    from imbalance_cli.data.image_set import ImageSet
    from imbalance_cli.experiment_data import Prepared
    from imbalance_cli.metrics import Floats
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")
    image_set = lazy_import("imbalance_cli.data.image_set")
    listing = lazy_import("imbalance_cli.data.listing")

THUMBNAIL = 8  # pixels wide
ALIKE = 0.2  # difference of two thumbnails over the contrast of one; on CIFAR-10 all pairs looked at were one photo
PAIRS_COMPARED = 40_000_000  # a second
IMAGES_RANKED = 3000
FEWEST_TO_RANK = 10  # of the rarest class
HEADERS_READ = 1000


@dataclass(frozen=True)
class Found:
    """Images that should not be there: how many, and the first with its counterpart."""

    count: int = 0
    example: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Facts:
    """A data set in numbers; those of the classes are in the order of `classes`.

    train: training images, those that would be held out for validation (`held_out`) included. grey: the share without
    colour. sides: smallest, median and largest shorter side of the files, None where there are none. ranking and
    ranking_by_size: AUROC of the rarest class, of a linear model on thumbnails and colours, and of the size of the
    file's picture alone; None where there are too few images to tell. accelerator: whether training has one here.
    """

    dataset: str
    built_in: bool
    classes: tuple[str, ...]
    train: tuple[int, ...]
    held_out: tuple[int, ...]
    test: tuple[int, ...]
    image_size: int
    grey: float = 0.0
    sides: tuple[int, int, int] | None = None
    ranking: float | None = None
    ranking_by_size: float | None = None
    in_two_classes: Found = Found()
    in_train_and_test: Found = Found()
    repeated: Found = Found()
    alike: Found = Found()
    accelerator: bool = False

    @property
    def rarest(self) -> int:
        """The class with the fewest training images; of equals the last."""
        return max(range(len(self.train)), key=lambda index: (-self.train[index], index))

    @property
    def fewest(self) -> int:
        return min(self.train)

    @property
    def ratio(self) -> float:
        """Training images of the rarest class over those of the commonest."""
        return min(self.train) / max(self.train)

    @property
    def test_ratio(self) -> float:
        return min(self.test) / max(self.test)

    @property
    def tested(self) -> int:
        """Test images of the rarest class."""
        return self.test[self.rarest]

    @property
    def trivial_accuracy(self) -> float:
        """The accuracy, on the test images, of answering the commonest class every time."""
        return max(self.test) / sum(self.test)


def half_width(images: int) -> float:
    """How far a recall of one half, seen on so many images, may be off: half the 95 % interval (Wilson, 1927)."""
    z = 1.959964
    return z / (2 * math.sqrt(images + z * z))


def facts_of(prepared: Prepared, *, built_in: bool, accelerator: bool) -> Facts:
    """The facts of loaded images. The test images are only looked at for copies. Raises DataError."""
    held_out, test = prepared.validation, prepared.test
    train = prepared.train if held_out is None else image_set.joined([prepared.train, held_out])
    names = train.class_names
    counts = tuple(train.counts().tolist())
    rarest = max(range(len(counts)), key=lambda index: (-counts[index], index))
    small, small_test = _thumbnails(train.images), _thumbnails(test.images)
    two_classes, train_and_test, repeated = _copies(train, test)
    sides = None if built_in else _sides(Path(prepared.experiment.data.dataset), names)
    return Facts(
        dataset=prepared.experiment.data.dataset,
        built_in=built_in,
        classes=names,
        train=counts,
        held_out=(0,) * len(names) if held_out is None else tuple(held_out.counts().tolist()),
        test=tuple(test.counts().tolist()),
        image_size=train.images.shape[-1],
        grey=float((train.images == train.images[:, :1]).all(3).all(2).all(1).float().mean()),
        sides=None if sides is None else _span([side for each in sides for side in each]),
        ranking=_ranking(train, small, rarest),
        ranking_by_size=None if sides is None else _ranking_by_size(sides, rarest),
        in_two_classes=two_classes,
        in_train_and_test=train_and_test,
        repeated=repeated,
        alike=_alike(train, test, small, small_test),
        accelerator=accelerator,
    )


def _copies(train: ImageSet, test: ImageSet) -> tuple[Found, Found, Found]:
    """Pictures with two classes; pictures in training and test; training images that repeat one of their class."""
    places: dict[bytes, list[tuple[str, int, str]]] = defaultdict(list)
    for split, images in (("train", train), ("test", test)):
        for pixels, label, item in zip(images.images.numpy(), images.labels.tolist(), images.items, strict=True):
            places[hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()].append((split, label, item))
    several = [group for group in places.values() if len(group) > 1]
    two_classes, train_and_test, repeated = [], [], []
    for first, *others in several:
        two_classes += [(first, other) for other in others if other[1] != first[1]][:1]
        train_and_test += [(first, other) for other in others if other[0] != first[0]][:1]
        repeated += [(first, other) for other in others if other[:2] == first[:2] and first[0] == "train"]
    return _found(two_classes), _found(train_and_test), _found(repeated)


def _found(pairs: list[tuple[tuple[str, int, str], tuple[str, int, str]]]) -> Found:
    if not pairs:
        return Found()
    one, two = (f"{item} ({split})" for split, _, item in pairs[0])
    return Found(len(pairs), (one, two))


def _thumbnails(images: Tensor) -> Tensor:
    """float32 [n, 3 * THUMBNAIL^2], 0 to 255."""
    parts = [F.adaptive_avg_pool2d(part.float(), THUMBNAIL).flatten(1) for part in torch.split(images, 1000)]
    return torch.cat(parts)


def _alike(train: ImageSet, test: ImageSet, small: Tensor, small_test: Tensor) -> Found:
    """Test images beside a training image that looks nearly the same but is not; of many, every so many compared."""
    chosen = torch.arange(0, len(train), len(train) * len(test) // PAIRS_COMPARED + 1)
    pairs = []
    for start in range(0, len(test), 500):
        part = small_test[start : start + 500]
        distances, nearest = torch.cdist(part, small[chosen]).min(1)
        is_alike = distances / part.shape[1] ** 0.5 < ALIKE * part.std(1)
        for index in torch.nonzero(is_alike).flatten().tolist():
            here, there = start + index, int(chosen[nearest[index]])
            if not torch.equal(test.images[here], train.images[there]):  # else it is a copy, and counted as one
                pairs.append((("test", 0, test.items[here]), ("train", 0, train.items[there])))
    return _found(pairs)


def _ranking(train: ImageSet, small: Tensor, rarest: int) -> float | None:
    """AUROC of the rarest class by logistic regression on thumbnails and colours, in five-fold cross-validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    is_rare = train.labels[order] == rarest
    rare, others = order[is_rare][: IMAGES_RANKED // 2], order[~is_rare]
    others = others[: IMAGES_RANKED - len(rare)]
    if min(len(rare), len(others)) < FEWEST_TO_RANK:
        return None
    chosen = torch.cat([rare, others])
    features = torch.cat([small[chosen] / 255, _colours(train.images[chosen])], 1).numpy()
    labels = (train.labels[chosen] == rarest).numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(model, features, labels, cv=folds, method="decision_function")
    return float(roc_auc_score(labels, scores))


def _colours(images: Tensor) -> Tensor:
    """The root of the share of each of 64 colours, float32 [n, 64]."""
    red, green, blue = (images >> 6).long().flatten(2).unbind(1)
    codes = 16 * red + 4 * green + blue
    counts = torch.zeros(len(images), 64).scatter_add_(1, codes, torch.ones(1).expand(codes.shape))
    return (counts / codes.shape[1]).sqrt()


def _sides(path: Path, names: tuple[str, ...]) -> list[list[int]]:
    """Of each class the shorter sides of its files, of many every so many."""
    if os.path.isdir(path):
        root, samples = path, listing.list_folder(path, names, lambda _: None).samples
    else:
        root, samples = path.parent, listing.list_csv(path, names).samples
    sides = []
    for label in range(len(names)):
        files = [root / sample.file.name for sample in samples if sample.label == label]
        sides.append(list(_shorter_sides(files[:: len(files) * len(names) // HEADERS_READ + 1])))
    return sides


def _shorter_sides(files: list[Path]) -> Iterator[int]:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of very large images, which are read or refused elsewhere
        for file in files:
            try:
                with Image.open(file) as image:
                    yield min(image.size)
            except Exception:  # Pillow raises nearly every built-in exception; a bad file is told of elsewhere
                continue


def _span(sides: list[int]) -> tuple[int, int, int]:
    return min(sides), sorted(sides)[len(sides) // 2], max(sides)


def _ranking_by_size(sides: list[list[int]], rarest: int) -> float | None:
    """AUROC of the rarest class by the size of its pictures, whichever way round."""
    from sklearn.metrics import roc_auc_score

    others = [side for label, each in enumerate(sides) if label != rarest for side in each]
    if min(len(sides[rarest]), len(others)) < FEWEST_TO_RANK:
        return None
    labels: Floats = np.repeat([1.0, 0.0], [len(sides[rarest]), len(others)])
    area = float(roc_auc_score(labels, [*sides[rarest], *others]))
    return max(area, 1 - area)
