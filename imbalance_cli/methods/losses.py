"""Losses: logits and labels to one value per example.

Every loss has the form `(logits, labels, counts, *, options) -> Tensor[batch]`: logits float [batch, classes];
labels int64 [batch]; counts, the images per class in the stream that the loss sees, float [classes]. The two
losses that a binary network with a single sigmoid output is trained with, cross_entropy and focal, also take
logits [batch]: the logit of class 1 against class 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Gt, Interval

from imbalance_cli.errors import SettingError
from imbalance_cli.lazy import lazy_import
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")


LOSSES = Registry("loss")  # type: ignore[var-annotated]

Smoothing = Annotated[float, Interval(ge=0, lt=1)]


@LOSSES.register
def cross_entropy(logits: Tensor, labels: Tensor, counts: Tensor, *, label_smoothing: Smoothing = 0.0) -> Tensor:
    """Minus the log-probability of the true class: every example counts alike.

    label_smoothing spreads that share of the target evenly over all classes (Szegedy et al., 2016).
    """
    return F.cross_entropy(_two_columns(logits), labels, reduction="none", label_smoothing=label_smoothing)


@LOSSES.register
def focal(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    gamma: Annotated[float, Interval(ge=0, le=100)] = 2.0,
    alpha: float | list[float] | Literal["counts"] | None = None,
) -> Tensor:
    """Cross-entropy scaled by (1 - p)^gamma, so that easy examples count less (Lin et al., 2017).

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
        # The best other logit goes first, or large logits would round away what sets the others apart.
        true = labels.unsqueeze(1)
        others = logits.scatter(1, true, -torch.inf)
        best = others.detach().amax(1, keepdim=True)
        d = (others - best).logsumexp(1) + (best - logits.gather(1, true)).squeeze(1)
        loss = (gamma * F.logsigmoid(d)).exp() * -F.logsigmoid(-d)
    if alpha is None:
        return loss
    return loss * _alpha_per_class(alpha, counts).to(loss)[labels]


@LOSSES.register
def logit_adjustment(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    tau: Annotated[float, Interval(ge=0, le=10)] = 1.0,
    label_smoothing: Smoothing = 0.0,
) -> Tensor:
    """Cross-entropy on logits plus tau times the log prior, so that argmax is right for equally common classes.

    With tau = 1 this is balanced softmax (Menon et al., 2021; Ren et al., 2020). A class without images is
    treated as having one.
    """
    prior = counts.clamp(min=1) / counts.clamp(min=1).sum()
    adjusted = logits + (tau * prior.log()).to(logits)
    return F.cross_entropy(adjusted, labels, reduction="none", label_smoothing=label_smoothing)


@LOSSES.register
def mse(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Squared distance of the probabilities from the one-hot target, summed over classes (Brier, 1950)."""
    return _probability_errors(logits, labels).square().sum(1)


@LOSSES.register
def huber(logits: Tensor, labels: Tensor, counts: Tensor, *, delta: Annotated[float, Gt(0)] = 0.5) -> Tensor:
    """Half the squared probability error up to delta, linear beyond, summed over classes (Huber, 1964).

    Probabilities never err by more than 1, so a delta of 1 or more gives half of mse.
    """
    errors = _probability_errors(logits, labels)
    return F.huber_loss(errors, torch.zeros_like(errors), reduction="none", delta=delta).sum(1)


@LOSSES.register
def hinge(logits: Tensor, labels: Tensor, counts: Tensor, *, margin: Annotated[float, Gt(0)] = 1.0) -> Tensor:
    """How far the true class falls short of beating the best other one by a margin (Crammer and Singer, 2001)."""
    best_other = logits.scatter(1, labels.unsqueeze(1), -torch.inf).amax(1)
    return (margin + best_other - logits.gather(1, labels.unsqueeze(1)).squeeze(1)).clamp(min=0)


def _two_columns(logits: Tensor) -> Tensor:
    """[batch, classes] as it is; one sigmoid output [batch] as the two logits (0, z), whose softmax it is."""
    if logits.ndim == 1:
        return torch.stack([torch.zeros_like(logits), logits], dim=1)
    return logits


def _probability_errors(logits: Tensor, labels: Tensor) -> Tensor:
    probabilities = logits.softmax(1)
    return probabilities - F.one_hot(labels, logits.shape[1]).to(probabilities)


def _alpha_per_class(alpha: float | list[float] | str, counts: Tensor) -> Tensor:
    classes = len(counts)
    if alpha == "counts":
        inverse = torch.where(counts > 0, 1 / counts.clamp(min=1), 0.0)
        return inverse / inverse.sum()
    if isinstance(alpha, (int, float)):
        if not 0 <= alpha <= 1:
            raise SettingError(f"loss.alpha must be between 0 and 1 when it is one number; got {alpha}")
        if classes != 2:
            raise SettingError(
                f"loss.alpha: one number weighs the rarer of two classes, but there are {classes}; "
                "give one value per class, or counts"
            )
        # The last of equally rare classes: by convention the second class is the minority.
        rarest = classes - 1 - counts.flip(0).argmin()
        return torch.where(torch.arange(classes, device=counts.device) == rarest, alpha, 1.0 - alpha)
    values = [float(value) for value in alpha]
    if len(values) != classes:
        raise SettingError(f"loss.alpha has {len(values)} values for {classes} classes; give one per class")
    if min(values) < 0 or max(values) == 0:
        raise SettingError(f"loss.alpha must hold weights of 0 or more, not all 0; got {alpha}")
    return torch.tensor(values, dtype=counts.dtype, device=counts.device)
