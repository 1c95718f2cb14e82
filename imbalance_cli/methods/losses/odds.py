"""How far the other classes are ahead of the true one: all of them together, or the best of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imbalance_cli.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from imbalance_cli.methods.losses import slopes
else:
    torch = lazy_import("torch")
    slopes = lazy_import("imbalance_cli.methods.losses.slopes")


def log_odds_against(logits: Tensor, labels: Tensor) -> Tensor:
    """d = log((1 - p) / p) with p the probability of the true class: [batch], exact to rounding for any logits.

    1 - p is sigmoid(d) and -log p is -logsigmoid(-d); these lose no digits where p is close to 0 or 1.
    """
    true = labels.unsqueeze(1)
    with torch.no_grad():
        # The best other logit goes first, or large logits would round away what sets the others apart.
        others = logits.scatter(1, true, -torch.inf)
        best = others.amax(1, keepdim=True)
        shares = others.sub_(best).exp_()  # of each other class in 1 - p, once they are divided by their total
        total = shares.sum(1, keepdim=True)
        d = total.log() + (best - logits.gather(1, true))
        shares.div_(total).scatter_(1, true, -1.0)
    return slopes.with_slopes(d.squeeze(1), shares, logits)


def lead_against(logits: Tensor, labels: Tensor) -> Tensor:
    """The best other logit minus the true one: [batch]."""
    true = labels.unsqueeze(1)
    best = logits.scatter(1, true, -torch.inf).argmax(1, keepdim=True)
    return (logits.gather(1, best) - logits.gather(1, true)).squeeze(1)
