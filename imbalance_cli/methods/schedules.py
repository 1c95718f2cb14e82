"""Schedules: progress through training (0 at the start, 1 at the end) to a factor."""

import math
from typing import Annotated

from annotated_types import Interval

from imbalance_cli.registry import Registry

SCHEDULES = Registry("schedule")  # type: ignore[var-annotated]

Share = Annotated[float, Interval(ge=0, le=1)]


@SCHEDULES.register
def constant(progress: float) -> float:
    """1 throughout."""
    return 1.0


@SCHEDULES.register
def cosine(progress: float) -> float:
    """From 1 to 0 along half a cosine wave (Loshchilov and Hutter, 2017)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


@SCHEDULES.register
def linear(progress: float) -> float:
    """From 1 to 0 in a straight line."""
    return 1 - progress


@SCHEDULES.register
def step(progress: float, *, milestones: list[Share] | None = None, factor: Share = 0.01) -> float:
    """Multiplied by `factor` at each milestone, by default at 0.8 and 0.9 as for LDAM (Cao et al., 2019)."""
    passed = sum(progress >= milestone for milestone in ([0.8, 0.9] if milestones is None else milestones))
    return factor**passed


@SCHEDULES.register
def deferred(progress: float, *, start: Share = 0.8) -> float:
    """0 before `start`, 1 from then on: the deferred re-weighting or re-sampling of LDAM (Cao et al., 2019)."""
    return float(progress >= start)


@SCHEDULES.register
def rising(progress: float, *, power: Annotated[float, Interval(gt=0, le=100)] = 1.0) -> float:
    """From 0 to 1 as progress^power: 1 is progressive sampling (Kang et al., 2020), 2 is BBN's (Zhou et al., 2020)."""
    return math.pow(progress, power)


@SCHEDULES.register
def sigmoid_ramp(progress: float) -> float:
    """From almost 0 to 1 as exp(-5 (1 - progress)^2), the ramp-up of unlabelled losses (Laine and Aila, 2017)."""
    return math.exp(-5 * (1 - progress) ** 2)


def with_warmup(progress: float, warmup: float) -> float:
    """The factor that rises linearly to 1 over the first `warmup` share of training."""
    return min(1.0, progress / warmup) if warmup > 0 else 1.0
