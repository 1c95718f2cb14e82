"""Resampling that adds to small classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.resampling.form import RESAMPLERS, Neighbours, Ratio, grown, sampled, sizes_of

if TYPE_CHECKING:
    from imbalance_cli.methods.resampling.form import Features, Sampled
    from imbalance_cli.metrics import Ints

over = lazy_import("imblearn.over_sampling")  # a second to import, so at the first use


@RESAMPLERS.register
def random_over_sampling(features: Features, labels: Ints, seed: int, *, ratio: Ratio = 1.0) -> Sampled:
    """Features of small classes repeated until each has ratio x the largest class (Japkowicz, 2000).

    When: as what every method that makes new features is compared with, and for classes too small for these: one image
    is enough. The refits crt and lws draw every class equally often anyway, so with them it only means more steps.

        N_j becomes max(N_j, ratio max_k N_k)

    Which images are repeated is drawn at random, with replacement.

    Also known as: ros, random_oversampling, random_over_sampler.
    """
    sampler = over.RandomOverSampler(sampling_strategy=grown(sizes_of(labels), ratio), random_state=seed)
    return sampled(sampler, features, labels)


@RESAMPLERS.register
def smote(features: Features, labels: Ints, seed: int, *, k_neighbours: Neighbours = 5, ratio: Ratio = 1.0) -> Sampled:
    """New features between one of a small class and a near one of the same class (Chawla et al., 2002).

    When: where a refit would learn the few images of a rare class by heart. It cannot tell more than these images do:
    of two very uneven classes crt with it was no better here than crt alone.

        x_new = x + u (x_near - x)

    x is an image of the class, x_near one of the k_neighbours nearest to it in the same class and u uniform in 0 to 1,
    all drawn anew for each, until N_j is max(N_j, ratio max_k N_k).

    Also known as: synthetic_minority_over_sampling.
    """
    sampler = over.SMOTE(sampling_strategy=grown(sizes_of(labels), ratio), k_neighbors=k_neighbours, random_state=seed)
    return sampled(sampler, features, labels)


@RESAMPLERS.register
def borderline_smote(
    features: Features,
    labels: Ints,
    seed: int,
    *,
    k_neighbours: Neighbours = 5,
    ratio: Ratio = 1.0,
    kind: Literal["borderline-1", "borderline-2"] = "borderline-1",
) -> Sampled:
    """SMOTE from features that lie mostly among other classes, the ones in danger (Han et al., 2005).

    When: where the classes touch, and new features are wanted at the border rather than where all is clear. Among those
    in danger are the wrongly labelled. Where a training tells all its images apart none is in danger, as often after a
    long one; then it stops and says so.

        x_new = x + u (x_near - x), x in danger
        in danger: at least half of its 10 nearest images, but not all,
        are of other classes

    borderline-1 goes to near images of the same class, as smote does. borderline-2 goes to near ones of any class,
    towards those of another less than half of the way. A class of which no image is in danger stays as it is.

    Also known as: borderlinesmote.
    """
    sampler = over.BorderlineSMOTE(
        sampling_strategy=grown(sizes_of(labels), ratio),
        k_neighbors=k_neighbours,
        m_neighbors=_near_ones(labels),
        kind=kind,
        random_state=seed,
    )
    found = sampled(sampler, features, labels)
    if len(found[0]) == len(features) and sampler.sampling_strategy:
        raise ValueError("no image of a class that is to grow is in danger, so nothing would be added")
    return found


@RESAMPLERS.register
def adasyn(features: Features, labels: Ints, seed: int, *, k_neighbours: Neighbours = 5, ratio: Ratio = 1.0) -> Sampled:
    """SMOTE that adds more where more of the neighbours are of other classes (He et al., 2008).

    When: as borderline_smote, with all images of the class taking part, the more the harder they are: those that lie
    among other classes most of all, and with them the wrongly labelled. Where none of a class has a neighbour of
    another, it stops and says so.

        g_i = round(G r_i / sum r)
        G = ratio max_k N_k - N_j

    g_i is how many new ones begin at image i of class j, and r_i the share of other classes among its k_neighbours
    nearest images. Each goes to one of the k_neighbours nearest of the same class, as in smote.

    Also known as: adaptive_synthetic_sampling.
    """
    sampler = over.ADASYN(sampling_strategy=grown(sizes_of(labels), ratio), n_neighbors=k_neighbours, random_state=seed)
    try:
        return sampled(sampler, features, labels)
    except RuntimeError as error:  # its reason is about divisions by zero
        raise ValueError("of a class that is to grow, no image has a neighbour of another class") from error


@RESAMPLERS.register
def svm_smote(
    features: Features, labels: Ints, seed: int, *, k_neighbours: Neighbours = 5, ratio: Ratio = 1.0
) -> Sampled:
    """SMOTE from the support vectors of a class; slow beyond ten thousand images (Nguyen et al., 2011).

    When: as borderline_smote, with the border found by a support vector machine, and with few images: its time grows
    with the square of their number or faster, and it is trained once per class that grows.

        x_new = x + u (x_near - x)         if x is in danger
        x_new = x - (u / 2) (x_near - x)   else, away from its neighbour

    x is a support vector of the class; those whose 10 nearest images are all of other classes are left out, those of
    which at least half are, are in danger. x_near is one of the k_neighbours nearest of the same class.

    Also known as: svmsmote.
    """
    sampler = over.SVMSMOTE(
        sampling_strategy=grown(sizes_of(labels), ratio),
        k_neighbors=k_neighbours,
        m_neighbors=_near_ones(labels),
        random_state=seed,
    )
    return sampled(sampler, features, labels)


@RESAMPLERS.register
def kmeans_smote(
    features: Features,
    labels: Ints,
    seed: int,
    *,
    k_neighbours: Neighbours = 2,
    ratio: Ratio = 1.0,
    clusters: Annotated[int, Interval(ge=1, le=10_000)] = 8,
    share: Annotated[float, Interval(ge=0, le=1)] | None = None,
) -> Sampled:
    """SMOTE inside the clusters that hold enough of a class, more in sparse ones (Last et al., 2017).

    When: for a class of several kinds of images, between which smote would make features that are like neither. It
    needs clusters in which a rare class is common; of a very rare one there may be none, and then it stops and says so.

        new ones of a cluster = G s / sum s
        s = d^e / m
        e = 0.16 (log m / log 1.6)^1.8

    G is how many the class lacks, ratio max_k N_k - N_j; m its images in the cluster, and d their mean distance. The
    clusters, as many as `clusters` says, are those of k-means on all images.

    share: how much of a cluster the class must be; by default half of its share of what is added to all classes. It
    must also have more than k_neighbours images there.

    Also known as: kmeanssmote.
    """
    sampler = over.KMeansSMOTE(
        sampling_strategy=grown(sizes_of(labels), ratio),
        k_neighbors=k_neighbours,
        kmeans_estimator=min(clusters, len(labels)),
        cluster_balance_threshold="auto" if share is None else share,
        random_state=seed,
    )
    try:
        return sampled(sampler, features, labels)
    except RuntimeError as error:  # its advice names options that are called otherwise here
        raise ValueError(
            "no cluster holds enough of a small class; resample.share=0.01 or more resample.clusters may change that"
        ) from error


def _near_ones(labels: Ints) -> int:
    """How many of the nearest images say whether one is in danger: 10, as in the papers, or all others."""
    return min(10, len(labels) - 1)
