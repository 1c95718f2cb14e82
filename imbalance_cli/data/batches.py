"""Epochs of batches, straight from the memory of the device."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imbalance_cli.methods.augment import DRAWS
from imbalance_cli.randomness import keyed_generator

Augmentation = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the training pixels by channel, on the scale 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [batch, 3, h, w] to float32 with mean 0 and deviation 1, channels last in memory."""
        scale = 1 / (255 * torch.tensor(self.std, dtype=torch.float64))
        shift = -torch.tensor(self.mean, dtype=torch.float64) * 255 * scale
        rows = images.permute(0, 2, 3, 1).flatten(2).float()  # whole rows of pixels: a vector of three is slow to add
        rows = torch.addcmul(_per_column(shift, images), rows, _per_column(scale, images))
        return rows.view(len(images), images.shape[2], images.shape[3], images.shape[1]).permute(0, 3, 1, 2)


def _per_column(values: Tensor, images: Tensor) -> Tensor:
    """`values`, one per channel, beside every pixel of a row of channels-last `images`: float32 [w * channels]."""
    return values.float().repeat(images.shape[3]).to(images.device, non_blocking=True)


def normalisation_of(images: Tensor) -> Normalisation:
    """The exact normalisation of uint8 images [n, channels, h, w]; a constant channel gets deviation 1/255."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        # A histogram is exact, where a float32 mean over millions of pixels is wrong in the second digit.
        share = torch.bincount(images[:, channel].flatten(), minlength=256).cpu().double()
        share /= share.sum()
        mean = float((share * values).sum())
        means.append(mean)
        deviations.append(max(float((share * (values - mean) ** 2).sum().sqrt()), 1 / 255))
    return Normalisation(tuple(means), tuple(deviations))


def place(images: Tensor, device: torch.device) -> Tensor:
    """`images` on `device` if they take at most half of its free memory, else where they are."""
    images = images.contiguous(memory_format=torch.channels_last)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if images.nbytes > free // 2:
            return images.pin_memory()
    return images.to(device)


def batch_bounds(examples: int, batch_size: int) -> list[tuple[int, int]]:
    """Where each batch of an epoch begins and ends.

    An epoch uses every example once, in as few batches of at most `batch_size` as hold them, all equal to within
    one example. So there is no small last batch, and never one of a single example, which batch norm cannot take
    (for that alone a batch may hold one example more than asked); a batch_size beyond the data means one batch.
    """
    batches = max(1, min(-(-examples // batch_size), examples // 2 if batch_size > 1 else examples))
    edges = [examples * i // batches for i in range(batches + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def epoch_batches(
    images: Tensor,
    labels: Tensor,
    order: Tensor,
    bounds: Sequence[tuple[int, int]],
    *,
    augmentations: Sequence[Augmentation],
    strength: Tensor,
    key: tuple[int | str, ...],
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The batches of uint8 images, their labels and places in `images`, at the places `bounds` of `order` (int64 [m]).

    strength: how likely an image of each class is augmented, float [classes]. What happens to the example at a
    place in the order depends on (key, place) alone.
    """
    generator = keyed_generator(*key)
    draws = torch.rand(len(order), len(augmentations), DRAWS, generator=generator).to(device)
    pixels = images.permute(0, 2, 3, 1)  # as they lie in memory, so that each image is copied in one piece
    places = order.to(device)
    order = places if images.device == places.device else order.to(images.device)
    labels = labels.to(device)[places]
    changed = None
    if bool((strength < 1).any()):
        changed = torch.rand(len(order), generator=generator).to(device) < strength.float().to(device)[labels]
    for first, last in bounds:
        batch = pixels.index_select(0, order[first:last]).permute(0, 3, 1, 2).to(device, non_blocking=True)
        original = batch
        for number, augmentation in enumerate(augmentations):
            batch = augmentation(batch, draws[first:last, number])
        if changed is not None:
            batch = torch.where(changed[first:last, None, None, None], batch, original)
        yield batch, labels[first:last], places[first:last]
