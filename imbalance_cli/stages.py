"""The stages of a training: what each epoch draws of every class, and how much every class weighs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from imbalance_cli.config import Experiment
from imbalance_cli.data.batches import batch_bounds
from imbalance_cli.data.order import epoch_length
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.mixing import label_shares
from imbalance_cli.methods.posthoc import uninformative_logits
from imbalance_cli.methods.samplers import class_draws
from imbalance_cli.methods.schedules import SCHEDULES
from imbalance_cli.methods.weights import class_weights
from imbalance_cli.metrics import Floats

NOISE_RAMP = 10  # epochs until the whole noise share is left out, as in co-teaching (Han et al., 2018)


@dataclass(frozen=True)
class Stage:
    """One stage: its settings, the images per class (int64 [classes]), and the first of its epochs in the run."""

    experiment: Experiment
    counts: Tensor
    begin: int

    def require_fit(self) -> None:
        """Raise SettingError if the sampler, the class weights or the loss do not fit the classes or the batches."""
        draws = self.draws(self.begin)
        self.class_weights(self.begin)
        one_image = torch.zeros(1, len(draws)), torch.zeros(1, dtype=torch.int64)
        LOSSES.bind(self.experiment.loss)(*one_image, draws.float())

    @cached_property
    def sees_features(self) -> bool:
        """Whether the loss asks for the features beside the logits."""
        return "features" in LOSSES.get(self.experiment.loss["name"]).inputs

    def loss(self, seen: Tensor) -> Callable[..., Tensor]:
        """The loss with its options, for logits on the device and counts in the precision of `seen`, its counts.

        If it asks for the sizes of the classes, it has them.
        """
        bound = LOSSES.bind(self.experiment.loss)
        if "class_sizes" in LOSSES.get(self.experiment.loss["name"]).inputs:
            bound = partial(bound, class_sizes=self.counts.to(seen))
        return bound

    @cached_property
    def steps(self) -> list[int]:
        """How many steps each epoch of the stage takes."""
        return [len(self.bounds(epoch)) for epoch in range(self.begin, self.end)]

    @property
    def end(self) -> int:
        """The first epoch of the run that is no longer in this stage."""
        return self.begin + self.experiment.epochs

    def draws(self, epoch: int) -> Tensor:
        """How often each class is drawn in an epoch of the run: float64 [classes].

        The sampler's schedule leads from drawing every image once (0) to the sampler's own draws (1).
        """
        batches = len(batch_bounds(int(self.counts.sum()), self.experiment.batch_size))
        draws = class_draws(self.experiment.sampler, self.counts, batches)
        return torch.lerp(self.counts.double(), draws, self._strength(self.experiment.sampler_schedule, epoch))

    def mixes(self, epoch: int) -> bool:
        """Whether the images of an epoch of the run are mixed."""
        progress = (epoch - self.begin) / self.experiment.epochs
        return bool(self.experiment.mixing["name"] != "none" and progress < self.experiment.mixing_until)

    def noise_share(self, epoch: int) -> float:
        """Which share of each class an epoch of the run leaves out as mislabelled, rising over the run's first epochs.

        Nothing of mixed images, whose loss says little of either label.
        """
        return 0.0 if self.mixes(epoch) else self.experiment.noise_share * min(epoch / NOISE_RAMP, 1)

    def partner_draws(self, epoch: int) -> Tensor | None:
        """How often each class is drawn to be mixed in, float64 [classes]; None if partners are of the same stream."""
        if not self.mixes(epoch) or "partner_power" not in self.experiment.mixing:
            return None
        power = {"name": "power", "q": self.experiment.mixing["partner_power"]}
        draws = class_draws(power, self.counts, 1)
        return draws * (self.draws(epoch).sum() / draws.sum())

    def seen(self, epoch: int) -> Tensor:
        """The labels that the loss sees in an epoch of the run, mixed ones by their shares: float64 [classes]."""
        draws = self.draws(epoch)
        if not self.mixes(epoch):
            return draws
        views = [view for view in (self.experiment.mixing, self.experiment.second_view) if view["name"] != "none"]
        return torch.stack([label_shares(view, draws, self.partner_draws(epoch)) for view in views]).mean(0)

    def class_weights(self, epoch: int) -> Tensor:
        """The weight of each class in an epoch of the run: float64 [classes], 1 for the average label that is seen.

        The schedule leads from equal weights (0) to those of the method (1).
        """
        weights = class_weights(self.experiment.class_weights, self.counts)
        strength = self._strength(self.experiment.class_weights_schedule, epoch)
        weights = torch.lerp(torch.ones_like(weights), weights, strength)
        seen = self.seen(epoch)
        return weights * (seen.sum() / (weights * seen).sum())

    def bounds(self, epoch: int) -> list[tuple[int, int]]:
        """Where each batch of an epoch of the run begins and ends."""
        return batch_bounds(epoch_length(self.draws(epoch)), self.experiment.batch_size)

    def uninformative_logits(self, epoch: int) -> Floats:
        """What the loss makes of an image that says nothing about its class, in an epoch of the run."""
        seen = self.seen(epoch)
        return uninformative_logits(self.loss(seen), seen, self.class_weights(epoch))

    def _strength(self, schedule: dict[str, object], epoch: int) -> float:
        return float(SCHEDULES.bind(schedule)((epoch - self.begin) / self.experiment.epochs))


def stages(experiment: Experiment, counts: Tensor) -> Iterator[Stage]:
    """The stages of `experiment` in turn; counts: training images per class, int64 [classes]."""
    begin = 0
    for settings in experiment.in_stages():
        yield Stage(settings, counts, begin)
        begin += settings.epochs
