"""Imbalanced subsets: how many images each class keeps, and which."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import MAX_EMAX, MIN_EMIN, ROUND_DOWN, ROUND_UP, Context, Decimal, localcontext

import numpy as np

from imbalance_cli.data.image_set import Dataset, ImageSet, class_names
from imbalance_cli.data.manifest import Manifest, apply_manifest
from imbalance_cli.errors import DataError, SettingError, did_you_mean

Number = Decimal | float | str  # a float counts as the decimal that it prints as

PROFILES = ("exponential", "step", "linear")
PROTOCOLS = ("nested", "cao")
MAX_SEED = 2**32 - 1  # the largest that NumPy's legacy generator takes

_EXACT = Context(prec=60, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])  # without traps, text becomes NaN
_CLEAN = Context(prec=40)  # drops the rounding noise of _EXACT: a sixth of 15 is 2.5 again


def make_subset(
    dataset: Dataset,
    *,
    classes: Sequence[str] | None = None,
    ratio: Number | None = None,
    factor: Number | None = None,
    profile: str | None = None,
    counts: Mapping[str, int] | None = None,
    minority: Sequence[str] = (),
    protocol: str = "nested",
    seed: int = 0,
    test_ratio: Number | None = None,
) -> tuple[Manifest, Dataset]:
    """An imbalanced subset of `dataset`, and the manifest that says what it holds.

    classes: names or numbers, in the order of the new labels; by default those of `counts`, else all. The profile
    goes by their order if they are given, else from the class with the most training images to that with the fewest,
    of equals as they come: so of two classes the rarer is the minority, of equals the second.
    ratio: images of the smallest class over the largest, in (0, 1]; factor: its inverse.
    counts: images of each class, instead of a ratio; a class it leaves out keeps all it has, as every class
    does when there is no ratio either. profile, minority: see profile_counts; the profile is by default step
    for two classes or a named minority, else exponential. protocol, seed: see choose_items.
    test_ratio: makes the test images imbalanced by the same profile; else they stay as they are.
    Raises SettingError and DataError.
    """
    train_ratio, rest_ratio = exact_ratio(ratio, factor), exact_ratio(test_ratio, name="test_ratio")
    rated = train_ratio is not None or rest_ratio is not None
    if counts and (rated or profile or minority):
        raise SettingError("counts says what each class keeps; leave out ratio, factor, profile and minority")
    if (profile or minority) and not rated:
        raise SettingError(f"{'profile' if profile else 'minority'} needs a ratio or a factor")

    known = dataset.train.class_names
    named = dict(zip(class_names(counts or (), known), (counts or {}).values(), strict=True))
    names = class_names(classes, known) if classes else list(named) or list(known)
    few = class_names(minority, known)
    if stray := [name for name in (*named, *few) if name not in names]:
        raise SettingError(f"class {stray[0]!r} is not among the chosen classes: {', '.join(names)}")
    profile = profile or ("step" if few or len(names) == 2 else "exponential")

    available = _available(dataset.train, names)
    ranked = names if classes else sorted(names, key=available.__getitem__, reverse=True)

    def rated_counts(images: ImageSet, asked: Decimal, setting: str) -> dict[str, int]:
        sizes = _available(images, ranked)
        counts = profile_counts(sizes, asked, profile=profile, minority=few, protocol=protocol, setting=setting)
        return {name: counts[name] for name in names}

    if train_ratio is None:
        wanted = available | named
        _check_counts(wanted, available)
    else:
        wanted = rated_counts(dataset.train, train_ratio, "ratio")
    if len(wanted) < 2:
        raise SettingError(f"a subset needs at least 2 classes; got only {names[0]!r}")
    items = choose_items(dataset.train, wanted, protocol=protocol, seed=seed)
    test_items = None
    if rest_ratio is not None:
        wanted = rated_counts(dataset.test, rest_ratio, "test_ratio")
        test_items = choose_items(dataset.test, wanted, protocol=protocol, seed=seed)
    manifest = Manifest(
        dataset=dataset.name,
        identity=dataset.identity,
        profile=profile if rated else "counts" if counts else "all",
        ratio=None if train_ratio is None else float(train_ratio),
        minority=tuple(few) or None,
        test_ratio=None if rest_ratio is None else float(rest_ratio),
        protocol=protocol,
        seed=seed,
        items=items,
        test_items=test_items,
    )
    return manifest, apply_manifest(manifest, dataset)


def exact_ratio(ratio: Number | None, factor: Number | None = None, *, name: str = "ratio") -> Decimal | None:
    """`ratio`, or the inverse of `factor`, as a decimal number in (0, 1]; None if neither is given.

    Raises SettingError, which calls the ratio `name`.
    """
    if ratio is None and factor is None:
        return None
    if ratio is not None and factor is not None:
        raise SettingError(f"{name} and factor say the same thing (factor = 1 / {name}); give one of them")
    with localcontext(_EXACT):
        exact = 1 / Decimal(str(factor)) if ratio is None else Decimal(str(ratio))
        if 0 < exact <= 1:
            return exact
    if ratio is None:
        raise SettingError(f"factor must be a number of at least 1; got {factor}")
    raise SettingError(f"{name} must be in (0, 1]; got {ratio}")


def profile_counts(
    available: Mapping[str, int],
    ratio: Decimal,
    *,
    profile: str,
    minority: Collection[str] = (),
    protocol: str = "nested",
    setting: str = "ratio",
) -> dict[str, int]:
    """How many of its `available` images each class keeps, in the order of `available`.

    step, and any profile of two classes: the minority, by default the last half (one of three), gets
    ratio x the largest other class; the others keep all they have. exponential (Cui et al., 2019): class j
    of K gets ratio^(j / (K - 1)) x the first class, which keeps all it has. linear: from the first class to
    ratio x the first class in equal steps. Counts are exact, then rounded half to even: 0.29 of 100 is 29.
    Protocol cao cuts off binary fractions instead, as the code of Cao et al. (2019) does: 28.
    Raises SettingError where a class would get no image, or more than it has, which calls the ratio `setting`;
    DataError where it has none.
    """
    _check_known("profile", profile, PROFILES)
    _check_known("protocol", protocol, PROTOCOLS)
    if protocol == "cao" and profile == "linear":
        raise SettingError("protocol cao has the profiles exponential and step; got linear")
    names, few = list(available), set(minority)
    if empty := [name for name in names if not available[name]]:
        raise DataError(f"class {empty[0]!r} has 0 images; choose other classes, or leave out the ratio")
    if few and profile != "step" and len(names) > 2:
        raise SettingError(f"a named minority goes with profile step; got {profile}")
    if few.issuperset(names):
        raise SettingError(f"no majority class left: all {len(names)} classes are in the minority")

    if profile == "step" or len(names) <= 2:
        few = few or set(names[len(names) - len(names) // 2 :])
        largest = max(available[name] for name in names if name not in few)
        share = float(ratio) if protocol == "cao" else ratio
        counts = {name: _portion(share, largest) if name in few else available[name] for name in names}
        fewest = min((available[name] for name in few), default=largest)
        present = Context(prec=3, rounding=ROUND_DOWN).divide(Decimal(fewest), Decimal(largest))
        cure = f"{fewest} to {largest} is a ratio of {present} already: "
    else:
        largest = available[names[0]]
        shares = _long_tail(ratio, len(names) - 1, profile, protocol)
        counts = {name: _portion(share, largest) for name, share in zip(names, shares, strict=True)}
        falling = sorted(available.values(), reverse=True) == list(available.values())
        cure = "" if falling else "put larger classes first, or "
    smallest_ratio = Context(prec=2, rounding=ROUND_UP).divide(Decimal(1), Decimal(largest))
    _check_counts(
        counts,
        available,
        too_few=f"; a {setting} of at least {smallest_ratio} gives it one",
        too_many=f"; {cure}leave out the {setting} or take a smaller one",
    )
    return counts


def choose_items(
    images: ImageSet, counts: Mapping[str, int], *, protocol: str, seed: int
) -> dict[str, tuple[str, ...]]:
    """The items of `counts[name]` random images of each class, each class in the order of `images`.

    nested: the first by SHA-256 of seed, class and item. A smaller count's items are among a larger one's,
    no class depends on another, and no library's random generator has a say. cao: the first after shuffling
    class by class with NumPy's legacy generator, as the code of Cao et al. (2019) does with seed 0.
    Raises SettingError for an unknown protocol and for a seed out of range.
    """
    _check_known("protocol", protocol, PROTOCOLS)
    if type(seed) is not int or not 0 <= seed <= MAX_SEED:
        raise SettingError(f"seed must be a whole number from 0 to {MAX_SEED}; got {seed}")
    labels = images.labels.numpy()
    shuffler = np.random.RandomState(seed)
    chosen = {}
    for label, name in enumerate(images.class_names):
        if name not in counts:
            continue
        members = np.flatnonzero(labels == label)
        if protocol == "cao":
            shuffler.shuffle(members)
        else:
            members = members[np.argsort([_draw(seed, name, images.items[index]) for index in members])]
        chosen[name] = tuple(images.items[index] for index in np.sort(members[: counts[name]]))
    return {name: chosen[name] for name in counts}


def _long_tail(ratio: Decimal, last: int, profile: str, protocol: str) -> Sequence[Decimal | float]:
    """The share of the first class that each class gets, from 1 to `ratio` for class `last`."""
    if protocol == "cao":
        return [float(ratio) ** (place / last) for place in range(last + 1)]
    with localcontext(_EXACT):
        if profile == "exponential":
            return [ratio ** (Decimal(place) / last) for place in range(last + 1)]
        return [1 - (1 - ratio) * place / last for place in range(last + 1)]


def _portion(share: Decimal | float, number: int) -> int:
    """share x number: rounded half to even for a decimal, cut off for a float."""
    if isinstance(share, float):
        return int(share * number)
    return round(_CLEAN.plus(_EXACT.multiply(share, Decimal(number))))


def _draw(seed: int, name: str, item: str) -> str:
    """A random key; surrogates, which stand for bytes that are not UTF-8, pass."""
    return hashlib.sha256(f"{seed}\0{name}\0{item}".encode("utf-8", "surrogatepass")).hexdigest()


def _available(images: ImageSet, names: Iterable[str]) -> dict[str, int]:
    sizes = dict(zip(images.class_names, images.counts().tolist(), strict=True))
    return {name: sizes[name] for name in names}


def _check_counts(
    counts: Mapping[str, int], available: Mapping[str, int], *, too_few: str = "", too_many: str = ""
) -> None:
    for name, asked in counts.items():
        has = available[name]
        if asked == has == 0:  # loading a folder refuses an empty class unless it is meant to be one
            continue
        if type(asked) is not int or asked < 1:
            raise SettingError(f"class {name!r}: asked {asked}, needs at least 1 image{too_few}")
        if asked > has:
            raise SettingError(f"class {name!r}: asked {asked}, has {has}{too_many}")


def _check_known(setting: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingError(f"unknown {setting} {value!r}{did_you_mean(value, known)}")
