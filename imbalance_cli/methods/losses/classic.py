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

    When: to compare every remedy with. It ranks images well, but argmax then favours the common classes; correcting
    the prior afterwards makes up for most of that.

        loss = -(1 - s) log p_y - (s / C) sum_j log p_j
        s = label_smoothing

    label_smoothing spreads that share of the target evenly over all classes (Szegedy et al., 2016). Without it, as by
    default, the loss is -log p_y.

    Also known as: ce, categorical_cross_entropy, log_loss, nll, softmax_loss, bce (two classes).
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

    When: for data with many easy images. Of uneven classes it ranked images here about as well as cross-entropy at
    gamma 1 and 2, with flatter probabilities, and less well at gamma 5 or with a small network. Argmax favours the
    common ones nearly as much, whatever gamma: it is no remedy by itself.

        loss = -alpha_y (1 - p_y)^gamma log p_y

    alpha weighs the classes: a number is the weight of the rarest of two classes, the other gets 1 - alpha; a list
    holds one weight per class; "counts" makes them proportional to 1 / count with sum 1; null means that all are 1. On
    two logits this is the paper's sigmoid form of their difference. gamma 0 without alpha is cross_entropy.

    Also known as: focal_loss, sigmoid_focal_loss (two classes).

    Raises SettingError for an alpha that does not fit the classes.
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

    When: the first to try where every class matters alike; at argmax the best of the losses whose recipes were measured
    here on two very uneven classes. It ranks images little better than cross-entropy. Where the classes will be as
    uneven as in training and every mistake counts alike, cross-entropy decides better.

        loss = -(1 - s) log q_y - (s / C) sum_j log q_j
        q_j = exp(z_j + tau log pi_j) / sum_k exp(z_k + tau log pi_k)
        s = label_smoothing

    With tau = 1 this is balanced softmax (Menon et al., 2021; Ren et al., 2020); tau 0 is cross_entropy. A class
    without images is treated as having one. label_smoothing is that of cross_entropy, on the adjusted logits.

    Also known as: la, balanced_softmax (tau = 1).
    """
    adjusted = logits + (tau * log_prior(counts)).to(logits)
    return F.cross_entropy(adjusted, labels, reduction="none", label_smoothing=label_smoothing)


@LOSSES.register
@in_blocks
def mse(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Squared distance of the probabilities from the one-hot target, summed over classes (Brier, 1950).

    When: where labels may be wrong. It hardly pulls where the truth seems impossible: wrong labels harm less, and
    learning starts slowly. It takes no account of how common a class is.

        loss = (1 - p_y)^2 + sum_{j != y} p_j^2

    Also known as: brier, brier_score, squared_error.
    """
    return _probability_errors(logits, labels).square().sum(1)


@LOSSES.register
@in_blocks
def huber(logits: Tensor, labels: Tensor, counts: Tensor, *, delta: Annotated[float, Gt(0)] = 0.5) -> Tensor:
    """Half the squared probability error up to delta, linear beyond, summed over classes (Huber, 1964).

    When: as mse, where labels may be wrong. Large errors pull less still than in mse, so that learning starts more
    slowly still. It takes no account of how common a class is.

        loss = h(1 - p_y) + sum_{j != y} h(p_j)
        h(e) = e^2 / 2 up to e = delta, delta (e - delta / 2) beyond

    Probabilities never err by more than 1, so a delta of 1 or more gives half of mse.

    Also known as: smooth_l1 (delta = 1).
    """
    errors = _probability_errors(logits, labels)
    pulls = errors.detach().clamp(-delta, delta)  # what the errors' gradient is
    return (pulls * (errors - pulls / 2)).sum(1)


@LOSSES.register
def hinge(logits: Tensor, labels: Tensor, counts: Tensor, *, margin: Annotated[float, Gt(0)] = 1.0) -> Tensor:
    """How far the true class falls short of beating the best other one by a margin (Crammer and Singer, 2001).

    When: for decisions rather than probabilities: beyond the margin an image counts nothing. It takes no account of
    how common a class is, which margin_hinge does.

        loss = max(0, margin + max_{j != y} z_j - z_y)

    Also known as: crammer_singer, multiclass_hinge, svm.
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
