"""Resampling that adds to small classes and then cleans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imbalance_cli.methods.resampling.adding import smote
from imbalance_cli.methods.resampling.cleaning import edited_nearest_neighbours, tomek_links
from imbalance_cli.methods.resampling.form import RESAMPLERS, Neighbours, Ratio

if TYPE_CHECKING:
    from imbalance_cli.methods.resampling.form import Features, Sampled
    from imbalance_cli.metrics import Ints


@RESAMPLERS.register
def smote_tomek(
    features: Features, labels: Ints, seed: int, *, k_neighbours: Neighbours = 5, ratio: Ratio = 1.0
) -> Sampled:
    """SMOTE, then without both ends of every Tomek link (Batista et al., 2003).

    When: as smote, where it puts new features among other classes: those at the border go again. See smote and
    tomek_links.

    Also known as: smotetomek.
    """
    grown = smote(features, labels, seed, k_neighbours=k_neighbours, ratio=ratio)
    return tomek_links(*grown, seed, classes="all")


@RESAMPLERS.register
def smote_enn(
    features: Features,
    labels: Ints,
    seed: int,
    *,
    k_neighbours: Neighbours = 5,
    ratio: Ratio = 1.0,
    neighbours: Neighbours = 3,
) -> Sampled:
    """SMOTE, then edited nearest neighbours of every class (Batista et al., 2004).

    When: as smote, where the classes overlap widely: it clears the border more thoroughly than smote_tomek. See smote
    and edited_nearest_neighbours, whose agreement is here `all`.

    Also known as: smoteenn.
    """
    grown = smote(features, labels, seed, k_neighbours=k_neighbours, ratio=ratio)
    return edited_nearest_neighbours(*grown, seed, neighbours=neighbours, classes="all")
