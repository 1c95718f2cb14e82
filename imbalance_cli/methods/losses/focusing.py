"""Losses that turn easy examples down or hard ones up, as focal does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.losses.blocks import in_blocks
from imbalance_cli.methods.losses.classic import focal
from imbalance_cli.methods.losses.form import LOSSES, Focus, Smoothing
from imbalance_cli.methods.losses.odds import log_odds_against
from imbalance_cli.methods.weights import effective_number

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from imbalance_cli.methods.losses import slopes
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")
    slopes = lazy_import("imbalance_cli.methods.losses.slopes")


# Below -1 the loss would reward mistakes.
Epsilon = Annotated[float, Interval(ge=-1, le=100)]


@LOSSES.register
@in_blocks
def class_balanced_focal(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    beta: Annotated[float, Interval(ge=0, lt=1)] = 0.9999,
    gamma: Focus = 1.0,
) -> Tensor:
    """Sigmoid focal loss of each class against the rest, weighted by effective numbers (Cui et al., 2019).

    When: made for long tails of many classes. Of two very uneven classes argmax finds the rare one about as well as
    with class_weights inverse, so less well than with logit_adjustment, and images are ranked worse than by
    cross-entropy.

        loss = w_y (f(z_y) + sum_{j != y} f(-z_j))
        f(z) = -(1 - sigmoid(z))^gamma log sigmoid(z)
        w_j = e_j (sum_k n_k) / (sum_k n_k e_k)
        e_j = (1 - beta) / (1 - beta^n_j)

    The weights are scaled as class_weights are: the average example of the stream weighs 1, where the paper's weights
    sum to the number of classes. class_weights multiply them, so leave those at none. beta 0 weighs all alike, and
    gamma 0 then leaves the sum of the classes' binary cross-entropies.

    Also known as: cb_focal, class_balanced_loss.
    """
    raw = torch.where(counts > 0, effective_number(counts.clamp(min=1), beta=beta), 0.0)
    weights = raw * counts.sum() / (raw * counts).sum()
    return weights.to(logits)[labels] * _one_against_rest(logits, labels, gamma)


@LOSSES.register
@in_blocks
def asymmetric(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    gamma_positive: Focus = 0.0,
    gamma_negative: Focus = 4.0,
    label_smoothing: Smoothing = 0.1,
) -> Tensor:
    """Focal loss that is turned down otherwise for the true class than for the rest (Ridnik et al., 2021).

    When: for many classes, most of which are easily told to be absent. It takes no account of how common a class is.

        loss = -t_y (1 - p_y)^gamma_positive log p_y - t rest
        rest = sum_{j != y} p_j^gamma_negative log p_j
        t_y = 1 - label_smoothing + t
        t = label_smoothing / C

    This is the paper's form for one label per image: the true class counts as in focal, with gamma_positive; the share
    that label_smoothing leaves to another class counts p_j^gamma_negative times. Without smoothing the other classes
    count nothing, and this is focal; at both gammas 0 it is smoothed cross-entropy.

    Also known as: asl, asymmetric_single_label.
    """
    if label_smoothing == 0:
        return focal(logits, labels, counts, gamma=gamma_positive)
    spread = label_smoothing / logits.shape[1]
    log_p = logits.log_softmax(1)
    if gamma_positive == 0:
        own = F.nll_loss(log_p, labels, reduction="none")
    else:
        own = focal(logits, labels, counts, gamma=gamma_positive)
    with torch.no_grad():
        others = log_p.scatter(1, labels.unsqueeze(1), 0.0)  # log 1: the true class has had its part
        factors = (gamma_negative * others).exp_()
        values = -(factors * others).sum(1)
        factors.mul_(others.mul_(-gamma_negative).sub_(1)).scatter_(1, labels.unsqueeze(1), 0.0)
    return (1 - label_smoothing + spread) * own + spread * slopes.with_slopes(values, factors, log_p)


@LOSSES.register
def poly1(logits: Tensor, labels: Tensor, counts: Tensor, *, epsilon: Epsilon = 1.0) -> Tensor:
    """Cross-entropy plus epsilon (1 - p): the first term of its polynomial weighs more (Leng et al., 2022).

    When: for a small change to cross-entropy: worth a try are 1, 2 and, to weigh that term less, -1. It takes no
    account of how common a class is.

        loss = -log p_y + epsilon (1 - p_y)

    epsilon 0 is cross_entropy.

    Also known as: poly_1, polyloss, poly1_cross_entropy.
    """
    loss = F.cross_entropy(logits, labels, reduction="none")
    return loss - epsilon * (-loss).expm1()


@LOSSES.register
def poly_focal(logits: Tensor, labels: Tensor, counts: Tensor, *, gamma: Focus = 2.0, epsilon: Epsilon = 1.0) -> Tensor:
    """Focal loss plus epsilon (1 - p)^(gamma + 1), its first term weighing more (Leng et al., 2022).

    When: where focal is worth a try, for a small change to it: to focal as poly1 is to cross-entropy. It takes no
    account of how common a class is.

        loss = -(1 - p_y)^gamma log p_y + epsilon (1 - p_y)^(gamma + 1)

    epsilon 0 is focal, gamma 0 is poly1.

    Also known as: poly1_focal.
    """
    if gamma == 0:
        return poly1(logits, labels, counts, epsilon=epsilon)
    d = log_odds_against(logits, labels)
    return (gamma * F.logsigmoid(d)).exp() * (epsilon * d.sigmoid() - F.logsigmoid(-d))


def _one_against_rest(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """The sum over the classes of the sigmoid focal loss of "is it this class?": [batch].

    With u the logit of the wrong answer, a term is sigmoid(u)^gamma * softplus(u).
    """
    true = labels.unsqueeze(1)
    with torch.no_grad():
        u = logits.scatter(1, true, -logits.gather(1, true))
        rest = u.abs().neg_().sigmoid_().neg_().log1p_()  # log sigmoid(|u|), exact to rounding far from 0 too
        softplus = u.clamp(min=0).sub_(rest)
        powers = None if gamma == 1 else u.clamp(max=0).add_(rest).mul_(gamma).exp_()
        sigmoid = u.sigmoid_()
        factors = sigmoid if powers is None else powers
        values = (factors * softplus).sum(1)
        # d/du = sigmoid(u)^gamma * (sigmoid(u) + gamma * softplus(u) * (1 - sigmoid(u))), and minus that at the truth
        pulls = softplus.addcmul_(softplus, sigmoid, value=-1).mul_(gamma).add_(sigmoid).mul_(factors)
        pulls.scatter_(1, true, -pulls.gather(1, true))
    return slopes.with_slopes(values, pulls, logits)
