"""Images with labels and class names, held as tensors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imbalance_cli.errors import DataError, SettingError, did_you_mean


@dataclass(frozen=True)
class ImageSet:
    """One split of a dataset, in memory.

    images: uint8 [n, 3, height, width]; labels: int64 [n]; class_names[label] is a label's name; items[i]
    names image i within its split, for people and manifests: a path in a folder, an index in CIFAR.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    items: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def counts(self) -> Tensor:
        """Images per class, int64 [classes]."""
        return torch.bincount(self.labels, minlength=len(self.class_names))

    def select(self, indices: Tensor) -> "ImageSet":
        """The images at `indices` (int64 [m]), in that order."""
        items = tuple(self.items[i] for i in indices.tolist())
        return ImageSet(self.images[indices], self.labels[indices], self.class_names, items)


@dataclass(frozen=True)
class Dataset:
    """A source's training and test images, and who they are.

    name: what the user calls it (cifar10, shapes, a folder's path); identity: a string that is equal for
    two datasets if they hold the same training images with the same labels: a checksum of them, or the name of the
    recipe they are drawn by. test_is_drawn: whether the source marks no images for testing, so that some were drawn.
    """

    name: str
    identity: str
    train: ImageSet
    test: ImageSet
    test_is_drawn: bool = False


def class_index(name: str, class_names: tuple[str, ...]) -> int:
    """The position of the class called `name`, or numbered so. Raises DataError with the nearest name."""
    if name in class_names:
        return class_names.index(name)
    if name.isdecimal() and len(name) < 19 and int(name) < len(class_names):  # Python refuses thousands of digits
        return int(name)
    raise DataError(f"no class {name!r} in this data{did_you_mean(name, class_names)}")


def class_names(given: Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the classes that `given` calls by name or number. Raises SettingError if two are one."""
    words: dict[str, str] = {}
    for word in given:
        index = class_index(word, known)
        name = known[index]
        if words.get(name) == word:
            raise SettingError(f"class {word!r} is named twice; name each class once")
        if name in words:
            raise SettingError(f"{words[name]!r} and {word!r} both name class {index} ({name!r})")
        words[name] = word
    return tuple(words)


def of_classes(images: ImageSet, names: tuple[str, ...]) -> ImageSet:
    """All images of the classes `names`, labelled in that order. Raises DataError for an unknown name."""
    new_label = torch.full((len(images.class_names),), -1)
    for label, name in enumerate(names):
        new_label[class_index(name, images.class_names)] = label
    labels: Tensor = new_label[images.labels]
    chosen = images.select(torch.nonzero(labels >= 0).flatten())
    return ImageSet(chosen.images, labels[labels >= 0], names, chosen.items)


def joined(parts: Sequence[ImageSet]) -> ImageSet:
    """Image sets of the same classes and image size as one."""
    images, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("images", "labels"))
    return ImageSet(images, labels, parts[0].class_names, tuple(item for part in parts for item in part.items))
