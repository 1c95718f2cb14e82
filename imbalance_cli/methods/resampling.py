"""Resampling: features and labels to others in better balance, by the methods of imbalanced-learn.

Every method has the form `(features, labels, seed, *, options) -> (features, labels)`: features float32 [n, d] and
labels int64 [n] as NumPy arrays; seed, a number below 2^32. They work on the features of a trained network, where the
middle of two images of a class looks like that class; between their pixels it is a ghost of both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval

from imbalance_cli.errors import DataError, SettingError
from imbalance_cli.lazy import lazy_import
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from imbalance_cli.metrics import Ints

    Features = np.ndarray[Any, np.dtype[np.float32]]
    Sampled = tuple[Features, Ints]
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

# A second to import, so at the first use.
over = lazy_import("imblearn.over_sampling")
under = lazy_import("imblearn.under_sampling")


RESAMPLERS: Registry[Callable[..., Sampled]] = Registry("resample")

Neighbours = Annotated[int, Interval(ge=1, le=1000)]
Ratio = Annotated[float, Interval(gt=0, le=1)]
Agreement = Literal["all", "mode"]
Cleaned = Literal["not minority", "all"]


def resample(
    choice: Mapping[str, Any], features: Tensor, labels: Tensor, class_names: Sequence[str], seed: int
) -> tuple[Tensor, Tensor]:
    """The chosen resampling of features float32 [n, d] and labels int64 [n].

    Raises SettingError for a class with too few images, and DataError where the method finds nothing to work with.
    """
    if choice["name"] == "none":
        return features, labels
    counts = labels.bincount(minlength=len(class_names)).tolist()
    require_neighbours(choice, counts, class_names)
    present, dense = np.unique(labels.numpy(), return_inverse=True)  # some methods trip over a number without images
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn's, about features that coincide
            found, found_labels = RESAMPLERS.bind(choice)(features.numpy(), dense, seed % 2**32)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        sizes = ", ".join(f"{name} {count}" for name, count in zip(class_names, counts, strict=True))
        raise DataError(
            f"resample: {choice['name']} does not work on these features ({sizes}): {reason}; "
            "choose another, as in resample=smote"
        ) from error
    found_labels = present[found_labels]
    left = np.bincount(found_labels, minlength=len(class_names))
    for name, before, after in zip(class_names, counts, left, strict=True):
        if before > 0 and after == 0:
            raise DataError(
                f"resample: {choice['name']} leaves none of the {before} images of class {name!r}; choose another, "
                "as in resample=smote"
            )
    return torch.from_numpy(np.ascontiguousarray(found, np.float32)), torch.from_numpy(found_labels)


def require_neighbours(choice: Mapping[str, Any], counts: Sequence[int], class_names: Sequence[str]) -> None:
    """Raise SettingError if a class that the chosen method works from has too few images for its neighbours.

    Those are the classes smaller than asked: what is added to them lies between an image and its neighbours, and
    what near_miss leaves of the others is what is nearest to them.
    """
    if not {"k_neighbours", "ratio"} <= choice.keys():
        return
    wanted, smallest_fit = choice["k_neighbours"], round(choice["ratio"] * max(counts))
    for name, count in zip(class_names, counts, strict=True):
        if 0 < count < smallest_fit and count <= wanted:
            fewer = f"set resample.k_neighbours={count - 1}, or resample" if count > 1 else "resample"
            raise SettingError(
                f"resample.k_neighbours: {choice['name']} needs more than {wanted} images of a class, but {name!r} "
                f"has {count}; {fewer}=random_over_sampling"
            )


@RESAMPLERS.register
def none(features: Features, labels: Ints, seed: int) -> Sampled:
    """The features as they are."""
    return features, labels


@RESAMPLERS.register
def random_over_sampling(features: Features, labels: Ints, seed: int, *, ratio: Ratio = 1.0) -> Sampled:
    """Features of small classes repeated until each has ratio x the largest class (Japkowicz, 2000)."""
    sampler = over.RandomOverSampler(sampling_strategy=_grown(labels, ratio), random_state=seed)
    return _sampled(sampler, features, labels)


@RESAMPLERS.register
def smote(features: Features, labels: Ints, seed: int, *, k_neighbours: Neighbours = 5, ratio: Ratio = 1.0) -> Sampled:
    """New features between one of a small class and a near one of the same class (Chawla et al., 2002)."""
    sampler = over.SMOTE(sampling_strategy=_grown(labels, ratio), k_neighbors=k_neighbours, random_state=seed)
    return _sampled(sampler, features, labels)


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

    borderline-2 also goes towards features of other classes.
    """
    sampler = over.BorderlineSMOTE(
        sampling_strategy=_grown(labels, ratio), k_neighbors=k_neighbours, kind=kind, random_state=seed
    )
    return _sampled(sampler, features, labels)


@RESAMPLERS.register
def adasyn(features: Features, labels: Ints, seed: int, *, k_neighbours: Neighbours = 5, ratio: Ratio = 1.0) -> Sampled:
    """SMOTE that adds more where more of the neighbours are of other classes (He et al., 2008)."""
    sampler = over.ADASYN(sampling_strategy=_grown(labels, ratio), n_neighbors=k_neighbours, random_state=seed)
    return _sampled(sampler, features, labels)


@RESAMPLERS.register
def svm_smote(
    features: Features, labels: Ints, seed: int, *, k_neighbours: Neighbours = 5, ratio: Ratio = 1.0
) -> Sampled:
    """SMOTE from the support vectors of a class; slow beyond ten thousand images (Nguyen et al., 2011)."""
    sampler = over.SVMSMOTE(sampling_strategy=_grown(labels, ratio), k_neighbors=k_neighbours, random_state=seed)
    return _sampled(sampler, features, labels)


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

    share: how much of a cluster the class must be; by default half of its share of what is added.
    """
    sampler = over.KMeansSMOTE(
        sampling_strategy=_grown(labels, ratio),
        k_neighbors=k_neighbours,
        kmeans_estimator=min(clusters, len(labels)),
        cluster_balance_threshold="auto" if share is None else share,
        random_state=seed,
    )
    try:
        return _sampled(sampler, features, labels)
    except RuntimeError as error:  # its advice names options that are called otherwise here
        raise ValueError(
            "no cluster holds enough of a small class; resample.share=0.01 or more resample.clusters may change that"
        ) from error


@RESAMPLERS.register
def random_under_sampling(features: Features, labels: Ints, seed: int, *, ratio: Ratio = 1.0) -> Sampled:
    """A random part of each large class, cut to the smallest class / ratio (Japkowicz, 2000)."""
    sampler = under.RandomUnderSampler(sampling_strategy=_cut(labels, ratio), random_state=seed)
    return _sampled(sampler, features, labels)


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
    """Of each large class what is nearest to the smallest, cut to its size / ratio (Zhang and Mani, 2003)."""
    sampler = under.NearMiss(sampling_strategy=_cut(labels, ratio), version=version, n_neighbors=k_neighbours)
    return _sampled(sampler, features, labels)


@RESAMPLERS.register
def cluster_centroids(features: Features, labels: Ints, seed: int, *, ratio: Ratio = 1.0) -> Sampled:
    """Large classes replaced by the centres of as many clusters as the smallest has images / ratio (Yen and Lee, 2009).

    The centres are those of k-means.
    """
    sampler = under.ClusterCentroids(sampling_strategy=_cut(labels, ratio), random_state=seed)
    return _sampled(sampler, features, labels)


@RESAMPLERS.register
def tomek_links(features: Features, labels: Ints, seed: int, *, classes: Cleaned = "not minority") -> Sampled:
    """Without the features whose nearest neighbour is of another class and says the same of them (Tomek, 1976)."""
    return _sampled(under.TomekLinks(sampling_strategy=classes), features, labels)


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
    """Without the features whose neighbours are not all, or not mostly, of their class (Wilson, 1972)."""
    sampler = under.EditedNearestNeighbours(sampling_strategy=classes, n_neighbors=neighbours, kind_sel=agreement)
    return _sampled(sampler, features, labels)


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
    """Edited nearest neighbours again and again, until nothing more is left out (Tomek, 1976)."""
    sampler = under.RepeatedEditedNearestNeighbours(
        sampling_strategy=classes, n_neighbors=neighbours, kind_sel=agreement
    )
    return _sampled(sampler, features, labels)


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
    """Edited nearest neighbours with one neighbour, then two, and so on to `neighbours` (Tomek, 1976)."""
    sampler = under.AllKNN(sampling_strategy=classes, n_neighbors=neighbours, kind_sel=agreement)
    return _sampled(sampler, features, labels)


@RESAMPLERS.register
def condensed_nearest_neighbour(features: Features, labels: Ints, seed: int, *, neighbours: Neighbours = 1) -> Sampled:
    """Of large classes only what nearest neighbours need to tell them from the smallest; slow (Hart, 1968)."""
    sampler = under.CondensedNearestNeighbour(n_neighbors=neighbours, random_state=seed)
    return _sampled(sampler, features, labels)


@RESAMPLERS.register
def one_sided_selection(features: Features, labels: Ints, seed: int, *, neighbours: Neighbours = 1) -> Sampled:
    """A quicker condensing, then without the common ends of Tomek links (Kubat and Matwin, 1997)."""
    return _sampled(under.OneSidedSelection(n_neighbors=neighbours, random_state=seed), features, labels)


@RESAMPLERS.register
def neighbourhood_cleaning_rule(
    features: Features, labels: Ints, seed: int, *, neighbours: Neighbours = 3, threshold: Ratio = 0.5
) -> Sampled:
    """Edited nearest neighbours, then without those that mislead neighbours of the smallest class (Laurikkala, 2001).

    threshold: how large a class must be, as a share of the smallest, for the second part to look at it.
    """
    sampler = under.NeighbourhoodCleaningRule(n_neighbors=neighbours, threshold_cleaning=threshold)
    return _sampled(sampler, features, labels)


@RESAMPLERS.register
def instance_hardness_threshold(features: Features, labels: Ints, seed: int, *, ratio: Ratio = 1.0) -> Sampled:
    """Large classes without what a random forest finds hardest, cut to the smallest / ratio (Smith et al., 2014)."""
    sampler = under.InstanceHardnessThreshold(sampling_strategy=_cut(labels, ratio), random_state=seed)
    return _sampled(sampler, features, labels)


@RESAMPLERS.register
def smote_tomek(
    features: Features, labels: Ints, seed: int, *, k_neighbours: Neighbours = 5, ratio: Ratio = 1.0
) -> Sampled:
    """SMOTE, then without both ends of every Tomek link (Batista et al., 2003)."""
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
    """SMOTE, then edited nearest neighbours of every class (Batista et al., 2004)."""
    grown = smote(features, labels, seed, k_neighbours=k_neighbours, ratio=ratio)
    return edited_nearest_neighbours(*grown, seed, neighbours=neighbours, classes="all")


def _grown(labels: Ints, ratio: float) -> dict[int, int]:
    """How many the classes are to have that are smaller than ratio x the largest."""
    sizes = _sizes(labels)
    wanted = round(ratio * max(sizes.values()))
    return {label: wanted for label, size in sizes.items() if size < wanted}


def _cut(labels: Ints, ratio: float) -> dict[int, int]:
    """How many the classes are to have that are larger than the smallest / ratio."""
    sizes = _sizes(labels)
    wanted = round(min(sizes.values()) / ratio)
    return {label: wanted for label, size in sizes.items() if size > wanted}


def _sizes(labels: Ints) -> dict[int, int]:
    found, sizes = np.unique(labels, return_counts=True)
    return dict(zip(found.tolist(), sizes.tolist(), strict=True))


def _sampled(sampler: Any, features: Features, labels: Ints) -> Sampled:
    found, found_labels = sampler.fit_resample(features, labels)
    return found, found_labels
