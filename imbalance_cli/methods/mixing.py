"""Mixing: each image of a batch mixed with a partner into one image with two labels.

Every method has the form `(images, labels, partners, partner_labels, counts, generator, *, options) -> (mixed, share)`:
images and partners, normalised float [batch, 3, height, width], channels last in memory; their labels int64 [batch];
counts, the images per class in the stream, float [classes]; generator, of numpy, from which alone the method draws.
share, float [batch] in 0 to 1, is the weight of `labels` in the loss of the mixed image, and 1 - share that of
`partner_labels`. Each image is mixed in a proportion of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Gt, Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")
special = lazy_import("scipy.special")


MIXING: Registry[Callable[..., tuple[Tensor, Tensor]]] = Registry("mixing")

Alpha = Annotated[float, Interval(gt=0, le=100)]
Probability = Annotated[float, Interval(ge=0, le=1)]


@MIXING.register
def none(
    images: Tensor,
    labels: Tensor,
    partners: Tensor,
    partner_labels: Tensor,
    counts: Tensor,
    generator: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Every image by itself."""
    return images, images.new_ones(len(images))


@MIXING.register
def mixup(
    images: Tensor,
    labels: Tensor,
    partners: Tensor,
    partner_labels: Tensor,
    counts: Tensor,
    generator: np.random.Generator,
    *,
    alpha: Alpha = 1.0,
) -> tuple[Tensor, Tensor]:
    """Both images laid over each other, weighed as their labels are (Zhang et al., 2018).

    When: against learning few images by heart, in a training of many epochs; in ten epochs of a long tail it slowed
    learning here. It favours no class: a rare image mostly meets common ones.

        mixed = s x + (1 - s) x'
        loss = s loss(y) + (1 - s) loss(y')
        s ~ Beta(alpha, alpha)

    s is the share of the image, x' and y' are those of its partner, another image of the batch. s is uniform for alpha
    1, and close to 0 or 1 for a small alpha.
    """
    share = _shares(images, generator, alpha)
    return _overlay(images, partners, share), share


@MIXING.register
def cutmix(
    images: Tensor,
    labels: Tensor,
    partners: Tensor,
    partner_labels: Tensor,
    counts: Tensor,
    generator: np.random.Generator,
    *,
    alpha: Alpha = 1.0,
    probability: Probability = 1.0,
) -> tuple[Tensor, Tensor]:
    """A box of the partner pasted into the image, labels weighed by area (Yun et al., 2019).

    When: as mixup, against learning few images by heart, where what is seen should stay sharp. Where the object is
    small, the box may miss or cover it, and the label is wrong.

        mixed = x outside the box, x' inside
        loss = s loss(y) + (1 - s) loss(y')
        s = 1 - area of the box

    x' and y' are those of its partner, another image of the batch. The area that the box would have if none of it lay
    outside the image is 1 - Beta(alpha, alpha). Images are mixed with the given probability, else left as they are.
    """
    return _paste(images, partners, generator, alpha, probability)


@MIXING.register
def remix(
    images: Tensor,
    labels: Tensor,
    partners: Tensor,
    partner_labels: Tensor,
    counts: Tensor,
    generator: np.random.Generator,
    *,
    alpha: Alpha = 1.0,
    kappa: Annotated[float, Gt(1)] = 3.0,
    tau: Annotated[float, Interval(ge=0, le=1)] = 0.5,
) -> tuple[Tensor, Tensor]:
    """As mixup, but the label is the rarer one alone where the classes are uneven enough (Chou et al., 2020).

    When: with mixup on uneven classes, for a little of the balance too. It shifts the labels that the loss sees
    towards the rare classes, at the defaults to at most 1.25 times theirs: little where one has 100 times the images.

        mixed = s x + (1 - s) x'
        loss = s' loss(y) + (1 - s') loss(y')
        s' = 0  if n_y >= kappa n_y' and s < tau
        s' = 1  if n_y' >= kappa n_y and 1 - s < tau
        s' = s  else

    x' and y' are those of its partner, another image of the batch, and s ~ Beta(alpha, alpha). So the label is the
    rarer one alone where its class has at most 1 / kappa of the images of the other and the common one's share of the
    mixed image is below tau. Losses and corrections that allow for the class counts are told of the labels as they are
    shifted.

    Also known as: rebalanced_mixup.
    """
    share = _shares(images, generator, alpha)
    count, partner_count = counts.clamp(min=1)[labels], counts.clamp(min=1)[partner_labels]
    label_share = torch.where((count >= kappa * partner_count) & (share < tau), 0.0, share)
    label_share = torch.where((partner_count >= kappa * count) & (1 - share < tau), 1.0, label_share)
    return _overlay(images, partners, share), label_share


@MIXING.register
def margin_mixup(
    images: Tensor,
    labels: Tensor,
    partners: Tensor,
    partner_labels: Tensor,
    counts: Tensor,
    generator: np.random.Generator,
    *,
    alpha: Alpha = 1.0,
    omega: Annotated[float, Interval(ge=0, le=1)] = 0.25,
) -> tuple[Tensor, Tensor]:
    """As mixup, but rarer classes keep their label further away from their images (Cheng et al., 2023).

    When: with mixup on uneven classes, for wider margins of the rare ones, as ldam gives them. Like remix it shifts
    the labels a little towards the rare classes, which is no balance yet.

        mixed = s x + (1 - s) x'
        loss = s' loss(y) + (1 - s') loss(y')
        s' = s / (2 e)                if s < e
        s' = 1 - (1 - s) / (2 - 2 e)  else
        e = m_y' / (m_y + m_y'),  m_j = n_j^-omega

    x' and y' are those of its partner, another image of the batch, and s ~ Beta(alpha, alpha). Both labels weigh 1/2
    where the distances to the two images are as the margins m of their classes: where the first image makes up e of
    the mixed one. From there the share of the label goes in straight lines to 0 and 1. Losses and corrections that
    allow for the class counts are told of the labels as they are shifted.

    Also known as: mamix, margin_aware_mixup.
    """
    share = _shares(images, generator, alpha)
    margins = counts.clamp(min=1).to(share) ** -omega
    margin, partner_margin = margins[labels], margins[partner_labels]
    both = margin + partner_margin
    even, rest = partner_margin / both, margin / both  # 1 - even would round to 0 for very uneven classes
    nearer = 1 - (1 - share) / (2 * rest)
    return _overlay(images, partners, share), torch.where(share < even, share / (2 * even), nearer)


@MIXING.register
def cmo(
    images: Tensor,
    labels: Tensor,
    partners: Tensor,
    partner_labels: Tensor,
    counts: Tensor,
    generator: np.random.Generator,
    *,
    alpha: Alpha = 1.0,
    probability: Probability = 0.5,
    partner_power: Annotated[float, Interval(ge=-10, le=10)] = 0.0,
) -> tuple[Tensor, Tensor]:
    """As cutmix, with partners drawn more evenly by class, so rare ones appear in new contexts (Park et al., 2022).

    When: for long tails whose rare objects can stand in front of any background. With class weights as well the rare
    classes may be favoured twice: training says so.

        mixed = x outside the box, x' inside
        loss = s loss(y) + (1 - s) loss(y')
        P(y' = j) proportional to N_j^partner_power

    x' and y' are those of its partner, which is drawn apart from the batch; s, the box and the probability are those
    of cutmix. partner_power 0, every class alike, is what the authors' code does; below 0 rare classes give more.
    Losses and corrections that allow for the class counts are told of the partners' labels too.

    Also known as: context_rich_minority_oversampling.
    """
    return _paste(images, partners, generator, alpha, probability)


def label_shares(choice: Mapping[str, Any], draws: Tensor, partner_draws: Tensor | None = None) -> Tensor:
    """The labels that the chosen mixing shows on average, each by its share: float64 [classes], as many as `draws`.

    draws: how often each class is drawn, float64 [classes], which are the counts that the mixing is given;
    partner_draws: how often it is drawn to be mixed in, by default alike: a partner is another image of the batch.
    Of a user's own method nothing is known but its options: it is taken to favour no class.
    """
    images = draws.sum()
    partners = draws if partner_draws is None else partner_draws * (images / partner_draws.sum())
    options = {name: value for name, value in choice.items() if name != "name"}
    if choice["name"] not in _KEPT:
        boxes = {"alpha", "probability"} <= options.keys()
        pasted = expected_patch(options["alpha"], options["probability"]) if boxes else 0.5
        return torch.lerp(draws, partners, pasted)
    kept = _KEPT[choice["name"]](draws, **options)
    return draws * (kept @ partners / images) + partners * (draws @ (1 - kept) / images)


def _kept_by_remix(counts: Tensor, *, alpha: float, kappa: float, tau: float) -> Tensor:
    """The share that an image of each class keeps of its label beside each other class: float64 [classes, classes]."""
    counts = counts.float().clamp(min=1)  # compared as `remix` does
    is_far_commoner = counts.unsqueeze(1) >= kappa * counts
    kept = torch.full(is_far_commoner.shape, 0.5, dtype=torch.float64)
    commoner = 0.5 - float(_mean_up_to(tau, alpha))
    return kept.masked_fill(is_far_commoner, commoner).masked_fill(is_far_commoner.T, 1 - commoner)


def _kept_by_margins(counts: Tensor, *, alpha: float, omega: float) -> Tensor:
    """The share that an image of each class keeps of its label beside each other class: float64 [classes, classes]."""
    sizes, of_class = np.unique(counts.double().clamp(min=1).numpy(), return_inverse=True)
    margins = sizes**-omega
    both = margins[:, None] + margins
    even, rest = margins / both, margins[:, None] / both
    # The mean of share / (2 even) up to `even`, and from there of 1 - (1 - share) / (2 rest), mirrored.
    above = special.betainc(alpha, alpha, rest) - _mean_up_to(rest, alpha) / (2 * rest)
    return torch.from_numpy((_mean_up_to(even, alpha) / (2 * even) + above)[of_class][:, of_class])


# Those of which an image keeps another share of its label than of itself.
_KEPT: dict[str, Callable[..., Tensor]] = {"remix": _kept_by_remix, "margin_mixup": _kept_by_margins}


def _mean_up_to(limit: Any, alpha: float) -> Any:
    """The mean of share ~ Beta(alpha, alpha), with 0 in place of what lies above the limit: float64, as `limit`."""
    return special.betainc(alpha + 1, alpha, limit) / 2


def expected_patch(alpha: float, probability: float) -> float:
    """The share of a mixed image that is its partner's, on average over what cutmix and cmo draw.

    A box of side s, its centre anywhere, keeps s - s^2 / 4 of its side within the image; its square is averaged over
    s^2 ~ Beta(alpha, alpha).
    """

    def moment(order: float) -> float:
        gammas = (
            math.lgamma(alpha + order) + math.lgamma(2 * alpha) - math.lgamma(alpha) - math.lgamma(2 * alpha + order)
        )
        return math.exp(gammas)

    return probability * (moment(1) - moment(1.5) / 2 + moment(2) / 16)


def _shares(images: Tensor, generator: np.random.Generator, alpha: float) -> Tensor:
    """How much of each mixed image is to be the first one, Beta(alpha, alpha): float32 [batch]."""
    return _sent(generator.beta(alpha, alpha, len(images)), images)


def _sent(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], images: Tensor) -> Tensor:
    return torch.from_numpy(values).float().to(images.device, non_blocking=True)


def _overlay(images: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    return torch.lerp(partners, images, share.to(images.dtype).view(-1, 1, 1, 1))


def _paste(
    images: Tensor, partners: Tensor, generator: np.random.Generator, alpha: float, probability: float
) -> tuple[Tensor, Tensor]:
    """A box of each partner, centred anywhere, pasted into the image; the share of the image that is left of it."""
    batch, channels, height, width = images.shape
    side = np.sqrt(1 - generator.beta(alpha, alpha, batch)) * (generator.random(batch) < probability)
    edges = []
    for length in (height, width):
        size = np.rint(side * length)
        first = np.floor(generator.random(batch) * length) - size // 2
        edges += [first.clip(0), (first + size).clip(0, length)]
    top, bottom, left, right = _sent(np.stack(edges), images).unsqueeze(2)
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).repeat_interleave(channels)
    inside = ((rows >= top) & (rows < bottom)).unsqueeze(2) & ((columns >= left) & (columns < right)).unsqueeze(1)
    # Whole rows of pixels, as they lie in memory: choosing pixel by pixel is several times slower.
    images, partners = (each.permute(0, 2, 3, 1).flatten(2) for each in (images, partners))
    mixed = torch.where(inside, partners, images).view(batch, height, width, channels).permute(0, 3, 1, 2)
    return mixed, 1 - ((bottom - top) * (right - left)).squeeze(1) / (height * width)
