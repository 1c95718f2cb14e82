"""Schedules: progress through training (0 at the start, 1 at the end) to a factor."""

import math
from typing import Annotated

from annotated_types import Interval

from imbalance_cli.registry import Registry

SCHEDULES = Registry("schedule")  # type: ignore[var-annotated]

Share = Annotated[float, Interval(ge=0, le=1)]


@SCHEDULES.register
def constant(progress: float) -> float:
    """1 throughout.

    When: for weights and draws that hold from the first epoch. As a learning rate it leaves the last steps as noisy as
    the first, so training ends best on one that falls.

        multiplier = 1
    """
    return 1.0


@SCHEDULES.register
def cosine(progress: float) -> float:
    """From 1 to 0 along half a cosine wave (Loshchilov and Hutter, 2017).

    When: for the learning rate, unless a paper's own steps are to be repeated: it has nothing to tune. The restarts of
    the paper are left out.

        multiplier = (1 + cos(pi t)) / 2

    t is the progress through training, 0 at the start and 1 at the end.

    Also known as: cosine_annealing.
    """
    return 0.5 * (1 + math.cos(math.pi * progress))


@SCHEDULES.register
def linear(progress: float) -> float:
    """From 1 to 0 in a straight line.

    When: for the learning rate, as an alternative to cosine that stays high for less long.

        multiplier = 1 - t

    t is the progress through training, 0 at the start and 1 at the end.
    """
    return 1 - progress


@SCHEDULES.register
def step(progress: float, *, milestones: list[Share] | None = None, factor: Share = 0.01) -> float:
    """Multiplied by `factor` at each milestone, by default at 0.8 and 0.9 as for LDAM (Cao et al., 2019).

    When: for the learning rate of long-tail papers, most of which fall in steps. Where there
    are no such numbers to repeat, cosine has less to set.

        multiplier = factor^(number of milestones <= t)

    t is the progress through training, 0 at the start and 1 at the end. milestones: [0.5, 0.75] says other places.

    Also known as: multistep, step_decay.
    """
    passed = sum(progress >= milestone for milestone in ([0.8, 0.9] if milestones is None else milestones))
    return factor**passed


@SCHEDULES.register
def deferred(progress: float, *, start: Share = 0.8) -> float:
    """0 before `start`, 1 from then on: the deferred re-weighting or re-sampling of LDAM (Cao et al., 2019).

    When: for class weights (DRW) or a sampler (DRS) that would spoil the features if they were there from the start:
    these are learned from all images alike first, and the balance comes last.

        multiplier = 1 if t >= start, else 0

    t is the progress through training at the beginning of an epoch, 0 at the start. In a training so short that its
    last epoch begins before `start`, nothing would ever set in, of which you are warned.

    Also known as: drw, drs, deferred_reweighting, deferred_resampling.
    """
    return float(progress >= start)


@SCHEDULES.register
def rising(progress: float, *, power: Annotated[float, Interval(gt=0, le=100)] = 1.0) -> float:
    """From 0 to 1 as progress^power: 1 is progressive sampling (Kang et al., 2020), 2 is BBN's (Zhou et al., 2020).

    When: as deferred, but little by little, with no epoch at which everything changes. For class weights or samplers.

        multiplier = t^power

    t is the progress through training at the beginning of an epoch, 0 at the start.

    Also known as: progressive, cumulative_learning (power = 2).
    """
    return math.pow(progress, power)


@SCHEDULES.register
def sigmoid_ramp(progress: float) -> float:
    """From almost 0 to 1 as exp(-5 (1 - progress)^2), the ramp-up of unlabelled losses (Laine and Aila, 2017).

    When: as rising, with a slower start. For class weights or samplers.

        multiplier = exp(-5 (1 - t)^2)

    t is the progress through training at the beginning of an epoch, 0 at the start.

    Also known as: ramp_up, sigmoid_rampup.
    """
    return math.exp(-5 * (1 - progress) ** 2)


def with_warmup(progress: float, warmup: float) -> float:
    """The factor that rises linearly to 1 over the first `warmup` share of training."""
    return min(1.0, progress / warmup) if warmup > 0 else 1.0
