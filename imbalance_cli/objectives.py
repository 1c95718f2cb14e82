"""A batch to the number that a training step brings down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Sequential

from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.stages import Stage
from imbalance_cli.streams import Batch, View


@dataclass(frozen=True)
class Objective:
    """The loss of one epoch's batches. Per class, on the device: counts, weights, and whether it is rare."""

    stage: Stage
    loss: Callable[..., Tensor]
    counts: Tensor
    weights: Tensor
    is_rare: Tensor
    precision: torch.dtype

    @classmethod
    def of(cls, stage: Stage, epoch: int, device: torch.device, precision: torch.dtype) -> Objective:
        """The objective of an epoch of the run. A class is rare below the geometric mean of smallest and largest."""
        counts = stage.counts.double()
        present = counts[counts > 0]
        is_rare = counts < (present.min() * present.max()).sqrt()
        seen, weights = (
            stage.seen(epoch).to(device, torch.float32),
            stage.class_weights(epoch).to(device, torch.float32),
        )
        return cls(stage, stage.loss(seen), seen, weights, is_rare.to(device, torch.float32), precision)

    def losses(self, model: Sequential, batch: Batch) -> Tensor:
        """The weighted loss of each image: float32 [b]."""
        experiment = self.stage.experiment
        seen = [self._view(model, view, batch) for view in batch.views]
        losses = torch.stack([losses for losses, _ in seen]).mean(0)
        if len(seen) == 2:
            losses = losses + experiment.consistency * (1 - F.cosine_similarity(seen[0][1], seen[1][1]))
        return losses

    def _view(self, model: Sequential, view: View, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of each image of one view, [b], and its features, [b, features]."""
        backbone, classifier = model
        with torch.autocast(view.inputs.device.type, self.precision, enabled=self.precision != torch.float32):
            features = backbone(view.inputs)
            logits = classifier(features)
        logits, features = logits.float(), features.float()
        if view.share is None or batch.partner_labels is None:
            return self._of(logits, batch.labels, features), features
        # Each image once with each of its two labels, all together, for a loss may compare the examples of a batch.
        labels = torch.cat([batch.labels, batch.partner_labels])
        membership = torch.cat([view.share, 1 - view.share])
        parts = membership * self._of(logits.repeat(2, 1), labels, features.repeat(2, 1), membership)
        return parts.view(2, -1).sum(0), features

    def _of(self, logits: Tensor, labels: Tensor, features: Tensor, membership: Tensor | None = None) -> Tensor:
        """The weighted loss of each example, of which there is as much as its membership says: [b], all told."""
        more = {"features": features} if self.stage.sees_features else {}
        if membership is not None and "membership" in LOSSES.get(self.stage.experiment.loss["name"]).inputs:
            more["membership"] = membership
        losses: Tensor = self.loss(logits, labels, self.counts, **more)
        return self.weights[labels] * losses


def kept_as_clean(latest: Tensor, labels: Tensor, share: float) -> Tensor:
    """How much of each image is kept if that share of each class is left out, by the largest loss: 0 to 1, float [n].

    latest: what each image lost when it was last seen, float [n]; -inf if it never was: then it is kept. What a
    network learns late is likely mislabelled (Han et al., 2018), but over all classes at once it is simply rare: hence
    within the class. Of the image at the limit a part is kept, so that a class of any size loses exactly its share.
    """
    # Ranked by class, and inside a class from the largest loss down.
    by_loss = latest.argsort(descending=True, stable=True)
    order = by_loss[labels[by_loss].argsort(stable=True)]
    sorted_labels = labels[order]
    rank = torch.arange(len(labels), device=labels.device) - torch.searchsorted(sorted_labels, sorted_labels)
    ever_seen = torch.bincount(labels[latest > -torch.inf], minlength=int(labels.max()) + 1)
    kept = (rank + 1 - ever_seen[sorted_labels] * share).clamp(0, 1)
    return torch.empty_like(latest).scatter(0, order, kept.to(latest))
