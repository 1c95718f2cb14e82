"""Resampling that leaves out images by their neighbours, as many as it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.resampling.form import RESAMPLERS, Agreement, Cleaned, Neighbours, Ratio, sampled

if TYPE_CHECKING:
    from imbalance_cli.methods.resampling.form import Features, Sampled
    from imbalance_cli.metrics import Ints

under = lazy_import("imblearn.under_sampling")  # a second to import, so at the first use


@RESAMPLERS.register
def tomek_links(features: Features, labels: Ints, seed: int, *, classes: Cleaned = "not minority") -> Sampled:
    """Without the features whose nearest neighbour is of another class and says the same of them (Tomek, 1976).

    When: to clear the border, and of images that may be wrongly labelled. It takes away few and hardly changes the
    balance, so it is no remedy by itself; where the features tell all images apart it finds nothing.

        a link: x and x' of different classes, each the other's nearest

    classes: `not minority` leaves out the ends of links that are of any class but the smallest, `all` both ends.
    """
    return sampled(under.TomekLinks(sampling_strategy=classes), features, labels)


@RESAMPLERS.register
def edited_nearest_neighbours(
    features: Features,
    labels: Ints,
    seed: int,
    *,
    neighbours: Neighbours = 3,
    agreement: Agreement = "all",
    classes: Cleaned = "not minority",
) -> Sampled:
    """Without the features whose neighbours are not all, or not mostly, of their class (Wilson, 1972).

    When: to smooth the border and leave out what may be wrongly labelled; it takes away more than tomek_links. It does
    not balance the classes, and where the features tell all images apart it finds nothing.

        agreement all: keep x if its `neighbours` nearest are all of its class
        agreement mode: keep x if its class is the most common among them

    classes: `not minority` keeps all of the smallest class, `all` may lose much of it.

    Also known as: enn.
    """
    sampler = under.EditedNearestNeighbours(sampling_strategy=classes, n_neighbors=neighbours, kind_sel=agreement)
    return sampled(sampler, features, labels)


@RESAMPLERS.register
def repeated_edited_nearest_neighbours(
    features: Features,
    labels: Ints,
    seed: int,
    *,
    neighbours: Neighbours = 3,
    agreement: Agreement = "all",
    classes: Cleaned = "not minority",
) -> Sampled:
    """Edited nearest neighbours again and again, until nothing more is left out (Tomek, 1976b).

    When: where edited_nearest_neighbours leaves too much of an overlap. It takes away more each time, also of what is
    right.

    It ends after 100 times, or once a large class has become smaller than the smallest. The options are those of
    edited_nearest_neighbours.

    Also known as: renn.
    """
    sampler = under.RepeatedEditedNearestNeighbours(
        sampling_strategy=classes, n_neighbors=neighbours, kind_sel=agreement
    )
    return sampled(sampler, features, labels)


@RESAMPLERS.register
def all_knn(
    features: Features,
    labels: Ints,
    seed: int,
    *,
    neighbours: Neighbours = 3,
    agreement: Agreement = "all",
    classes: Cleaned = "not minority",
) -> Sampled:
    """Edited nearest neighbours with one neighbour, then two, and so on to `neighbours` (Tomek, 1976b).

    When: as repeated_edited_nearest_neighbours; what lies deep among other classes goes first, by its nearest one.

    It ends early once a large class has become smaller than the smallest. The options are those of
    edited_nearest_neighbours.

    Also known as: allknn.
    """
    sampler = under.AllKNN(sampling_strategy=classes, n_neighbors=neighbours, kind_sel=agreement)
    return sampled(sampler, features, labels)


@RESAMPLERS.register
def condensed_nearest_neighbour(features: Features, labels: Ints, seed: int, *, neighbours: Neighbours = 1) -> Sampled:
    """Of large classes only what nearest neighbours need to tell them from the smallest; slow (Hart, 1968).

    When: to keep the border and drop what is clear. It keeps whatever is wrongly labelled, since no neighbour explains
    it, and its time grows with the square of the number of images.

        begin with the smallest class and one x of the large one
        add each x of it that its `neighbours` nearest of these get wrong

    Each large class is condensed by itself, against the smallest. How many are left is found, not chosen.

    Also known as: cnn_rule, condensed_nearest_neighbor.
    """
    sampler = under.CondensedNearestNeighbour(n_neighbors=neighbours, random_state=seed)
    return sampled(sampler, features, labels)


@RESAMPLERS.register
def one_sided_selection(features: Features, labels: Ints, seed: int, *, neighbours: Neighbours = 1) -> Sampled:
    """A quicker condensing, then without the common ends of Tomek links (Kubat and Matwin, 1997).

    When: as condensed_nearest_neighbour, with less of what is wrongly labelled and in less time.

        begin with the smallest class and one x of the large one
        add all x of it that its `neighbours` nearest of these get wrong
        leave out those of it that are in a Tomek link

    Also known as: oss.
    """
    return sampled(under.OneSidedSelection(n_neighbors=neighbours, random_state=seed), features, labels)


@RESAMPLERS.register
def neighbourhood_cleaning_rule(
    features: Features, labels: Ints, seed: int, *, neighbours: Neighbours = 3, threshold: Ratio = 0.5
) -> Sampled:
    """Edited nearest neighbours, then without those that mislead neighbours of the smallest class (Laurikkala, 2001).

    When: as edited_nearest_neighbours, where the rare class lies among others: it also clears their images from around
    it. It does not balance the classes.

        leave out x if another class is more common among its `neighbours`
        nearest, and the `neighbours` nearest to each image of the smallest
        class that these get wrong

    The smallest class loses nothing. threshold: how large a class must be, as a share of the smallest, for the second
    part to look at it.

    Also known as: ncr, ncl, neighborhood_cleaning_rule.
    """
    sampler = under.NeighbourhoodCleaningRule(n_neighbors=neighbours, threshold_cleaning=threshold)
    return sampled(sampler, features, labels)
