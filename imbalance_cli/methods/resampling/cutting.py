"""Resampling that cuts large classes to a size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from imbalance_cli.lazy import lazy_import
from imbalance_cli.methods.resampling.form import RESAMPLERS, Neighbours, Ratio, cut, sampled, sizes_of

if TYPE_CHECKING:
    from imbalance_cli.methods.resampling.form import Features, Sampled
    from imbalance_cli.metrics import Ints

under = lazy_import("imblearn.under_sampling")  # a second to import, so at the first use


@RESAMPLERS.register
def random_under_sampling(features: Features, labels: Ints, seed: int, *, ratio: Ratio = 1.0) -> Sampled:
    """A random part of each large class, cut to the smallest class / ratio (Japkowicz, 2000).

    When: to be quick, and as what every method that chooses is compared with. What is left out is lost, and the refits
    crt and lws draw every class equally often without it.

        N_j becomes min(N_j, min_k N_k / ratio)

    Also known as: rus, random_undersampling, random_under_sampler.
    """
    sampler = under.RandomUnderSampler(sampling_strategy=cut(sizes_of(labels), ratio), random_state=seed)
    return sampled(sampler, features, labels)


@RESAMPLERS.register
def near_miss(
    features: Features,
    labels: Ints,
    seed: int,
    *,
    k_neighbours: Neighbours = 3,
    ratio: Ratio = 1.0,
    version: Literal[1, 2, 3] = 1,
) -> Sampled:
    """Of each large class what is nearest to the smallest, cut to its size / ratio (Zhang and Mani, 2003).

    When: where the border between the classes is all that matters. What lies nearest to the rare class is not what the
    common one looks like: among it are outliers and the wrongly labelled.

        keep the x of least d(x), as many as min_k N_k / ratio
        d(x) = mean distance of x to k_neighbours images of the smallest class

    Version 1 takes the k_neighbours nearest to x, version 2 the farthest. Version 3 looks only at those of the large
    class that are among the 3 nearest to an image of the smallest, and of these keeps the x of greatest d(x), by the
    k_neighbours nearest: there may be fewer than asked.

    Also known as: nearmiss.
    """
    sampler = under.NearMiss(sampling_strategy=cut(sizes_of(labels), ratio), version=version, n_neighbors=k_neighbours)
    return sampled(sampler, features, labels)


@RESAMPLERS.register
def cluster_centroids(features: Features, labels: Ints, seed: int, *, ratio: Ratio = 1.0) -> Sampled:
    """Large classes replaced by the centres of as many clusters as the smallest has images / ratio (Yen and Lee, 2009).

    When: to be as quick as with random_under_sampling, with something kept of every kind of image. The centres lie
    closer together than the images did, so that a class seems to vary less than it does.

        minimise sum over x of the class of |x - nearest centre|^2

    The centres are those of k-means, min_k N_k / ratio for each class that is larger.
    """
    sampler = under.ClusterCentroids(sampling_strategy=cut(sizes_of(labels), ratio), random_state=seed)
    return sampled(sampler, features, labels)


@RESAMPLERS.register
def instance_hardness_threshold(features: Features, labels: Ints, seed: int, *, ratio: Ratio = 1.0) -> Sampled:
    """Large classes without what a random forest finds hardest, cut to the smallest / ratio (Smith et al., 2014).

    When: to leave out of common classes what is wrongly labelled or looks like another class. What is left is easier
    than what the classifier will meet.

        keep the x of greatest p(x), as many as min_k N_k / ratio

    p(x) is the probability of the right class by forests that were grown on the other four fifths of the images. Of
    equal ones all are kept, so there may be more.

    Also known as: iht.
    """
    sampler = under.InstanceHardnessThreshold(sampling_strategy=cut(sizes_of(labels), ratio), random_state=seed)
    return sampled(sampler, features, labels)
