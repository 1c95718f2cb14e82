"""The chosen resampling, carried out on the features of a trained model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from imbalance_cli.errors import DataError
from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.resampling.form import RESAMPLERS
from imbalance_cli.methods.resampling.needs import require_enough

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")


def resample(
    choice: Mapping[str, Any], features: Tensor, labels: Tensor, class_names: Sequence[str], seed: int
) -> tuple[Tensor, Tensor]:
    """The chosen resampling of features float32 [n, d] and labels int64 [n].

    Raises SettingError for a class with too few images, and DataError where the method finds nothing to work with.
    """
    if choice["name"] == "none":
        return features, labels
    counts = labels.bincount(minlength=len(class_names)).tolist()
    require_enough(choice, counts, class_names)
    present, dense = np.unique(labels.numpy(), return_inverse=True)  # some methods trip over a number without images
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn's, about features that coincide
            found, found_labels = RESAMPLERS.bind(choice)(features.numpy(), dense, seed % 2**32)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        sizes = ", ".join(f"{name} {count}" for name, count in zip(class_names, counts, strict=True))
        raise DataError(f"resample: {choice['name']} does not work on these features ({sizes}): {reason}") from error
    found_labels = present[found_labels]
    left = np.bincount(found_labels, minlength=len(class_names))
    for name, before, after in zip(class_names, counts, left, strict=True):
        if before > 0 and after == 0:
            raise DataError(f"resample: {choice['name']} leaves none of the {before} images of class {name!r}")
    return torch.from_numpy(np.ascontiguousarray(found, np.float32)), torch.from_numpy(found_labels)
