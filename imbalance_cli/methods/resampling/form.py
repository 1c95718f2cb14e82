"""The form that every resampling has, and the registry that holds them.

A resampling is a function `(features, labels, seed, *, options) -> (features, labels)`: features float32 [n, d] and
labels int64 [n] as NumPy arrays; seed, a number below 2^32. They work on the features of a trained network, where the
middle of two images of a class looks like that class; between their pixels it is a ghost of both. Most are those of
imbalanced-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    from imbalance_cli.metrics import Ints

    Features = np.ndarray[Any, np.dtype[np.float32]]
    Sampled = tuple[Features, Ints]
else:
    np = lazy_import("numpy")

RESAMPLERS: Registry[Callable[..., Sampled]] = Registry("resample")

Label = TypeVar("Label", bound=Hashable)  # a class by its number or name

Neighbours = Annotated[int, Interval(ge=1, le=1000)]
Ratio = Annotated[float, Interval(gt=0, le=1)]
Agreement = Literal["all", "mode"]
Cleaned = Literal["not minority", "all"]


@RESAMPLERS.register
def none(features: Features, labels: Ints, seed: int) -> Sampled:
    """The features as they are."""
    return features, labels


def sizes_of(labels: Ints) -> dict[int, int]:
    """How many there are of each class that occurs."""
    found, sizes = np.unique(labels, return_counts=True)
    return dict(zip(found.tolist(), sizes.tolist(), strict=True))


def grown(sizes: Mapping[Label, int], ratio: float) -> dict[Label, int]:
    """How many the classes are to have that are smaller than ratio x the largest."""
    wanted = round(ratio * max(sizes.values()))
    return {label: wanted for label, size in sizes.items() if size < wanted}


def cut(sizes: Mapping[Label, int], ratio: float) -> dict[Label, int]:
    """How many the classes are to have that are larger than the smallest / ratio."""
    wanted = round(min(sizes.values()) / ratio)
    return {label: wanted for label, size in sizes.items() if size > wanted}


def sampled(sampler: Any, features: Features, labels: Ints) -> Sampled:
    """What `sampler`, of imbalanced-learn, makes of them."""
    found, found_labels = sampler.fit_resample(features, labels)
    return found, found_labels
