"""The form that every loss has, and the registry that holds them.

A loss is a function `(logits, labels, counts, *, options) -> Tensor[batch]`: logits float [batch, classes]; labels
int64 [batch]; counts, the images per class in the stream that the loss sees, float [classes]. The values come in the
precision of the logits, and their mean is what a batch is trained on.

- The two losses that a binary network with a single sigmoid output is trained with, cross_entropy and focal, also
  take logits [batch]: the logit of class 1 against class 0.
- A loss that looks at the features too takes `features: Tensor | None = None` [batch, d] after the counts.
- A loss with something that goes by how many images a class has, and not by how often it is drawn, such as a margin,
  takes `class_sizes: Tensor | None = None` there, float [classes]. Beside a sampler the counts are other numbers.
- auc_margin and pairwise_hinge compare the examples of a batch with each other. Every other value depends on its own
  example alone. A loss that compares takes `membership: Tensor | None = None` there, float [batch]: how much of an
  example each is. A mixed image comes once with each of its two labels, and its memberships are the labels' shares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

LOSSES: Registry[Callable[..., Tensor]] = Registry("loss")

Focus = Annotated[float, Interval(ge=0, le=100)]
Smoothing = Annotated[float, Interval(ge=0, lt=1)]
