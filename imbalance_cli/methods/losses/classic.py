"""The losses that every comparison starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Gt, Interval

from imbalance_cli.errors import SettingError
from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.losses.blocks import in_blocks
from imbalance_cli.methods.losses.form import LOSSES, Focus, Smoothing
from imbalance_cli.methods.losses.odds import lead_against, log_odds_against
from imbalance_cli.methods.losses.priors import inverse_shares, log_prior, rarest_class

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")


@LOSSES.register
def cross_entropy(logits: Tensor, labels: Tensor, counts: Tensor, *, label_smoothing: Smoothing = 0.0) -> Tensor:
    """Minus the log-probability of the true class: every example counts alike.

    What every remedy is compared with: it ranks images well, but argmax then favours the common classes.

    label_smoothing spreads that share of the target evenly over all classes (Szegedy et al., 2016).
    """
    return F.cross_entropy(_two_columns(logits), labels, reduction="none", label_smoothing=label_smoothing)


@LOSSES.register
def focal(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    class_sizes: Tensor | None = None,
    *,
    gamma: Focus = 2.0,
    alpha: float | list[float] | Literal["counts"] | None = None,
) -> Tensor:
    """Cross-entropy scaled by (1 - p)^gamma, so that easy examples count less (Lin et al., 2017).

    For data with many easy images. Of uneven classes it ranks images about as well as cross-entropy, with flatter
    probabilities.

    alpha weighs the classes: a number is the weight of the rarest of two classes, the other gets 1 - alpha; a
    list holds one weight per class; "counts" makes them proportional to 1 / count with sum 1; null means none.
    On two logits this is the paper's sigmoid form of their difference. Raises SettingError for an alpha that
    does not fit the classes.
    """
    logits = _two_columns(logits)
    if gamma == 0:  # the limit, bit for bit
        loss = F.cross_entropy(logits, labels, reduction="none")
    else:
        # With d = log((1 - p) / p) the loss is sigmoid(d)^gamma * -log(sigmoid(-d)). Staying with logarithms
        # keeps it exact to rounding where (1 - p)^gamma has lost every digit, and its gradient free of 0 * inf.
        d = log_odds_against(logits, labels)
        loss = (gamma * F.logsigmoid(d)).exp() * -F.logsigmoid(-d)
    if alpha is None:
        return loss
    weights = _alpha_per_class(alpha, counts, counts if class_sizes is None else class_sizes)
    return loss * weights.to(loss)[labels]


@LOSSES.register
@in_blocks
def logit_adjustment(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    tau: Annotated[float, Interval(ge=0, le=10)] = 1.0,
    label_smoothing: Smoothing = 0.0,
) -> Tensor:
    """Cross-entropy on logits plus tau times the log prior, so that argmax is right for equally common classes.

    The first to try where every class matters alike.

    With tau = 1 this is balanced softmax (Menon et al., 2021; Ren et al., 2020). A class without images is
    treated as having one.
    """
    adjusted = logits + (tau * log_prior(counts)).to(logits)
    return F.cross_entropy(adjusted, labels, reduction="none", label_smoothing=label_smoothing)


@LOSSES.register
@in_blocks
def mse(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Squared distance of the probabilities from the one-hot target, summed over classes (Brier, 1950).

    It hardly pulls where the truth seems impossible: wrong labels harm less, and learning starts slowly.
    """
    return _probability_errors(logits, labels).square().sum(1)


@LOSSES.register
@in_blocks
def huber(logits: Tensor, labels: Tensor, counts: Tensor, *, delta: Annotated[float, Gt(0)] = 0.5) -> Tensor:
    """Half the squared probability error up to delta, linear beyond, summed over classes (Huber, 1964).

    Large errors pull less still than in mse.

    Probabilities never err by more than 1, so a delta of 1 or more gives half of mse.
    """
    errors = _probability_errors(logits, labels)
    pulls = errors.detach().clamp(-delta, delta)  # what the errors' gradient is
    return (pulls * (errors - pulls / 2)).sum(1)


@LOSSES.register
def hinge(logits: Tensor, labels: Tensor, counts: Tensor, *, margin: Annotated[float, Gt(0)] = 1.0) -> Tensor:
    """How far the true class falls short of beating the best other one by a margin (Crammer and Singer, 2001).

    For decisions rather than probabilities: beyond the margin an image counts nothing.
    """
    return (margin + lead_against(logits, labels)).clamp(min=0)


def _two_columns(logits: Tensor) -> Tensor:
    """[batch, classes] as it is; one sigmoid output [batch] as the two logits (0, z), whose softmax it is."""
    if logits.ndim == 1:
        return torch.stack([torch.zeros_like(logits), logits], dim=1)
    return logits


def _probability_errors(logits: Tensor, labels: Tensor) -> Tensor:
    true = labels.unsqueeze(1)
    return logits.softmax(1).scatter_add(1, true, -torch.ones_like(true, dtype=logits.dtype))


def _alpha_per_class(alpha: float | list[float] | str, counts: Tensor, class_sizes: Tensor) -> Tensor:
    classes = len(counts)
    if alpha == "counts":
        return inverse_shares(counts)
    if isinstance(alpha, (int, float)):
        if not 0 <= alpha <= 1:
            raise SettingError(f"loss.alpha must be between 0 and 1 when it is one number; got {alpha}")
        if classes != 2:
            raise SettingError(
                f"loss.alpha: one number weighs the rarer of two classes, but there are {classes}; "
                "give one value per class, or counts"
            )
        rare = torch.arange(classes, device=counts.device) == rarest_class(class_sizes)
        return torch.where(rare, alpha, 1.0 - alpha)
    values = [float(value) for value in alpha]
    if len(values) != classes:
        raise SettingError(f"loss.alpha has {len(values)} values for {classes} classes; give one per class")
    if min(values) < 0 or max(values) == 0:
        raise SettingError(f"loss.alpha must hold weights of 0 or more, not all 0; got {alpha}")
    return torch.tensor(values, dtype=counts.dtype, device=counts.device)
