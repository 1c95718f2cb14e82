"""What a method of a user's own gives back, held against the form of its kind at every call.

Nothing here waits for an accelerator: values are looked at only where they are on the CPU by the form of the kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from imbalance_cli.lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

MOST_DRAWS = 100_000_000  # in an epoch, whose order and random numbers take about 100 bytes each: 10 GB


def fault_of(kind: str, result: Any, given: tuple[Any, ...]) -> str | None:
    """What is wrong with `result`, which a method of `kind` made of `given`, as in `must give A; got B`; else None."""
    return _FAULTS[kind](result, *given) if kind in _FAULTS else None


def described(value: Any) -> str:
    """What kind of value something is, as in `float32 [128, 10]`."""
    if isinstance(value, torch.Tensor):
        device = "" if value.device.type == "cpu" else f" on {value.device}"
        return f"{_dtype(value)} {list(value.shape)}{device}"
    if isinstance(value, np.ndarray):
        return f"a NumPy array, {value.dtype} {list(value.shape)}"
    if isinstance(value, tuple):
        return f"({', '.join(map(described, value))})"
    return repr(value) if value is None or isinstance(value, (bool, int, float)) else f"a {type(value).__name__}"


def _draws(result: Any, counts: Tensor, batches: int) -> str | None:
    if not _alike(result, counts):
        return f"must give one number per class, {described(counts)} as counts is; got {described(result)}"
    if wrong := _first(result, ~(result.isfinite() & (result >= 0))):
        return f"must give finite draws of at least 0; got {wrong}"
    images = float(result.sum())
    if not 2 <= images <= MOST_DRAWS:
        return f"must draw from 2 to {MOST_DRAWS:,} images in an epoch, all classes together; got {images:g}"
    return None


def _weights(result: Any, counts: Tensor) -> str | None:
    is_real = isinstance(result, torch.Tensor) and not result.is_complex() and result.device == counts.device
    if not is_real or result.shape != counts.shape:
        return f"must give one number per class, a tensor {list(counts.shape)}; got {described(result)}"
    if wrong := _first(result, ~(result.isfinite() & (result > 0))):
        return f"must give finite weights above 0; got {wrong}"
    return None


def _factor(result: Any, progress: float) -> str | None:
    try:
        value = float(result)
    except (TypeError, ValueError, RuntimeError):
        return f"must give a number; got {described(result)} at progress {progress:g}"
    if not 0 <= value < math.inf:  # NaN neither
        return f"must give a finite number of at least 0; got {value:g} at progress {progress:g}"
    return None


def _changed_images(result: Any, images: Tensor, draws: Tensor) -> str | None:
    if not _alike(result, images):
        return f"must give images as it is given them, {described(images)}; got {described(result)}"
    return None


def _mixed(result: Any, images: Tensor, *others: Any) -> str | None:
    if isinstance(result, tuple) and len(result) == 2 and _alike(result[0], images):
        share = result[1]
        if (
            isinstance(share, torch.Tensor)
            and share.is_floating_point()
            and (share.shape, share.device) == (images.shape[:1], images.device)
        ):
            return None
    wanted = f"({described(images)}, {described(images[:, 0, 0, 0])})"
    return f"must give (mixed images, share of the first), here {wanted}; got {described(result)}"


def _classifier(result: Any, features: Tensor, labels: Tensor, classifier: Any, generator: Any) -> str | None:
    if not isinstance(result, type(classifier)):
        wanted = "a classifier of the kind it was given, as in classifier._replace(weight=weight)"
        return f"must give {wanted}; got {described(result)}"
    for field, found, trained in zip(classifier._fields, result, classifier, strict=True):
        if not _alike(found, trained):
            return f"must give a {field} {described(trained)}, as the trained one's; got {described(found)}"
        if found.requires_grad:
            return f"must give a {field} without gradient; add .detach()"
    return None


def _resampled(result: Any, features: Any, labels: Any, seed: int) -> str | None:
    wanted = f"must give (features, labels), NumPy arrays of float [m, {features.shape[1]}] and int64 [m]"
    if not (isinstance(result, tuple) and len(result) == 2 and all(isinstance(each, np.ndarray) for each in result)):
        return f"{wanted}; got {described(result)}"
    found, found_labels = result
    fits = found.ndim == 2 and found.shape[1] == features.shape[1] and found.dtype.kind == "f"
    if not (fits and found_labels.shape == found.shape[:1] and found_labels.dtype == np.int64):
        return f"{wanted}; got {described(result)}"
    if len(found) == 0:
        return "must leave some of the features; got none"
    if not np.isfinite(found).all():
        return "must give finite features; got some that are not"
    if len(strange := np.setdiff1d(found_labels, labels)) > 0:
        return f"must give labels that occur in those it is given; got {strange[0]}"
    return None


def _scores(result: Any, decisions: Any) -> str | None:
    wanted = len(decisions.labels) + 1
    is_array = isinstance(result, np.ndarray) and result.dtype.kind in "biuf"
    if not is_array or result.shape != (wanted,):
        return (
            "must give a score for every decision, one more than there are images: here a NumPy array of "
            f"float64 [{wanted}]; got {described(result)}"
        )
    if np.isnan(result).any():
        return (
            f"must give a score for every decision; got nan for number {int(np.isnan(result).argmax())}, "
            "as of 0 / 0 where a class is never predicted"
        )
    return None


_FAULTS: dict[str, Callable[..., str | None]] = {
    "sampler": _draws,
    "class_weights": _weights,
    "schedule": _factor,
    "augmentation": _changed_images,
    "mixing": _mixed,
    "refit": _classifier,
    "resample": _resampled,
    "threshold_by": _scores,
}


def _alike(value: Any, example: Tensor) -> bool:
    """Whether `value` is a tensor of the shape, type and place of `example`."""
    return isinstance(value, torch.Tensor) and (value.shape, value.dtype, value.device) == (
        example.shape,
        example.dtype,
        example.device,
    )


def _first(values: Tensor, wrong: Tensor) -> str | None:
    """The first of `values` [classes] that is `wrong`, in words."""
    if not bool(wrong.any()):
        return None
    index = int(wrong.int().argmax())
    return f"{float(values[index]):g} at index {index}"


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
