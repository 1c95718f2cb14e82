"""How strongly each class is augmented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

if TYPE_CHECKING:
    from torch import Tensor


def strength_by_class(counts: Tensor, *, power: Annotated[float, Interval(ge=0, le=1)] = 0.5) -> Tensor:
    """(n_rarest / n)^power: 1 for the rarest class, less the more images a class has. Float64 [classes], in (0, 1].

    An image that keeps its augmented version with probability `strength[label]`, else stays as it was, sees the
    augmentation in full where images are few and hardly where there are plenty; for that,
    `torch.where((draw < strength[labels]).view(-1, 1, 1, 1), augmented, images)` with one more uniform number each.
    counts: images per class, [classes]; a class without images gets 1.
    """
    present = counts.double().clamp(min=1)
    rarest = present.where(counts > 0, present.amax()).amin()
    return (rarest / present).clamp(max=1) ** power
