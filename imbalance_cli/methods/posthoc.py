"""Better decisions from the logits of a trained model: offsets that are added before argmax.

A decision rule is a vector of offsets, one per class: predict argmax(logits + offsets). For two classes that is a
threshold on the probability, so argmax, prior correction and a chosen threshold are three points on one line.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods import criteria
from imbalance_cli.methods.criteria import Decisions
from imbalance_cli.metrics import Floats, Ints

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")
optimize = lazy_import("scipy.optimize")


NEVER = -1e4  # the logit of a class that training has no images of, which only falls
STILL = 1e-3  # a gradient of the expected loss below which training would stand still
PRECISE = {"ftol": 1e-15, "gtol": 1e-10, "maxls": 50}
TAUS = np.round(np.arange(0, 2.0001, 0.05), 2)


def decide(logits: Floats, offsets: Floats) -> Ints:
    """The predicted class of each row: logits [n, classes], offsets [classes]. Ties go to the last class.

    Whatever is rarer is listed last by convention, so a score exactly at the threshold counts as found.
    """
    shifted = logits + offsets
    return np.asarray(shifted.shape[1] - 1 - shifted[:, ::-1].argmax(1))


def threshold_offsets(threshold: float, positive: int) -> Floats:
    """The offsets [2] that predict class `positive` where its probability reaches `threshold`, in (0, 1)."""
    offsets = np.zeros(2)
    offsets[positive] = np.log1p(-threshold) - np.log(threshold)
    return offsets


def uninformative_logits(loss: Callable[[Tensor, Tensor, Tensor], Tensor], counts: Tensor, weights: Tensor) -> Floats:
    """The logits that training would give an image that says nothing about its class: float64 [classes], mean 0.

    They minimise the expected training loss over the class frequencies alone. For cross-entropy they are the log
    prior; for a loss that allows for the prior, such as logit adjustment, or with inverse class weights, they are
    0; focal loss flattens them, which is why the full log prior overshoots on a focal model. Subtracting them
    corrects a model for its training prior exactly once, whatever it was trained with. This is the decision rule
    for balanced error of logit adjustment (Menon et al., 2021), carried over to losses with another link.

    A class without training images gets the largest value, so that the correction never speaks for it.
    counts, weights: float64 [classes]; loss: a registered loss with its options bound.
    """
    classes = len(counts)
    labels = torch.arange(classes, device=counts.device)
    present = counts > 0
    # A rare class's share is scaled up to the order of 1, or the search stops before it has noticed it.
    shares = torch.where(present, counts / counts.sum() * weights, 0.0)
    shares = shares / shares[present].min()

    def losses(logits: Tensor, seed: int, draws: int) -> Tensor:
        """The loss of each class as the label, [classes]; the mean over `draws` where the loss draws at random."""
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(
                seed
            )  # so that it is one function, and the draws of training go on undisturbed
            each = loss(logits.expand(draws * classes, -1), labels.repeat(draws), counts)
        return each.view(draws, classes).mean(0)

    some = torch.linspace(0, 1, classes, dtype=torch.float64, device=counts.device)
    draws = 1 if torch.equal(losses(some, 0, 64), losses(some, 1, 64)) else -(-16384 // classes)

    def at_rest(free: Tensor) -> tuple[float, Floats]:
        """The least expected loss, and where: the logits of the classes in `free`, bool, the others held at NEVER."""
        held = torch.full_like(shares, NEVER)

        def expected_loss(values: Floats) -> tuple[float, Floats]:
            found = torch.tensor(values, device=counts.device, requires_grad=True)
            value = (shares * losses(held.masked_scatter(free, found), 0, draws)).sum()
            (gradient,) = torch.autograd.grad(value, found)
            return value.item(), gradient.cpu().numpy()

        # Where many logits do equally well, as for hinge, the search stays with those nearest to its start.
        start = np.zeros(int(free.sum()))
        search = optimize.minimize(expected_loss, start, jac=True, method="L-BFGS-B", options=PRECISE)
        values, slope = search.x, float(np.abs(expected_loss(search.x)[1]).max())
        if slope > STILL:
            # Seesaw and others hold a factor for constant, so their gradient is not that of their value. Training
            # comes to rest where the gradient is 0; where there is no such place, as at the edge of hinge, the search
            # was right.
            rest = optimize.root(lambda logits: expected_loss(logits)[1], start, method="lm")
            if float(np.abs(expected_loss(rest.x)[1]).max()) < min(slope, STILL):
                values = rest.x
        return expected_loss(values)[0], held.masked_scatter(free, torch.from_numpy(values).to(held)).cpu().numpy()

    # The logit of a class without images falls for ever, unless labels are smoothed: no search follows to the end.
    every = torch.ones_like(present)
    _, found = min((at_rest(free) for free in ([every] if present.all() else [present, every])), key=itemgetter(0))
    found[~present.cpu().numpy()] = found[present.cpu().numpy()].max()
    return np.asarray(found - found.mean())


def best_tau(logits: Floats, labels: Ints, reference: Floats) -> float:
    """The tau in 0, 0.05 ... 2 for which argmax(logits - tau x reference) has the best balanced accuracy.

    Of equally good values the one nearest to 1, the value that theory gives.
    """
    scores = [balanced_accuracy(labels, decide(logits, -tau * reference)) for tau in TAUS]
    best = TAUS[np.asarray(scores) >= max(scores) - 1e-12]
    return float(best[np.abs(best - 1).argmin()])


def best_offsets(
    logits: Floats,
    labels: Ints,
    criterion: Callable[[Decisions], Floats] = criteria.balanced_accuracy,
    rarest: int = -1,
) -> Floats:
    """The offsets [classes] with the highest `criterion` on logits [n, classes] and labels [n].

    Two classes: every possible threshold is tried; of equally good ones the middle is taken. More: coordinate
    ascent, a class at a time, until no class gains. rarest: the class that criteria of two classes are about.
    """
    classes = logits.shape[1]
    offsets = np.zeros(classes)
    best = float(criterion(Decisions(labels, decide(logits, offsets), 0, classes, rarest))[0])
    for _ in range(20):
        before = best
        for target in range(classes - 1, 0 if classes == 2 else -1, -1):
            best, offsets[target] = _best_offset(logits, labels, offsets, target, criterion, rarest)
        if best <= before + 1e-12:
            break
    return offsets


def _best_offset(
    logits: Floats,
    labels: Ints,
    offsets: Floats,
    target: int,
    criterion: Callable[[Decisions], Floats],
    rarest: int,
) -> tuple[float, float]:
    """The best offset of one class, the others fixed: all cuts between neighbouring margins, in O(n log n)."""
    classes = logits.shape[1]
    others = np.delete(logits + offsets, target, axis=1)
    rivals = np.delete(np.arange(classes), target)[decide(others, np.zeros(classes - 1))]
    margins = others.max(1) - logits[:, target]  # the target wins where its offset reaches the margin
    order = np.argsort(margins, kind="stable")
    scores = criterion(Decisions(labels[order], rivals[order], target, classes, rarest))
    cuts = margins[order]
    edges = np.concatenate([[cuts[0] - 2], cuts, [cuts[-1] + 2]])
    possible = np.flatnonzero(edges[1:] > edges[:-1])  # no cut between equal margins
    scores = scores[possible]
    equally_good = possible[scores >= scores.max() - 1e-12]
    chosen = equally_good[len(equally_good) // 2]
    return float(scores.max()), float((edges[chosen] + edges[chosen + 1]) / 2)


def balanced_accuracy(labels: Ints, predictions: Ints) -> float:
    """The mean recall over the classes that occur; the vectorised form that the searches above need."""
    totals = np.bincount(labels)
    hits = np.bincount(labels, weights=predictions == labels, minlength=len(totals))
    return float((hits[totals > 0] / totals[totals > 0]).mean())
