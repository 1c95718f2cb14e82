"""How many images a resampling needs, which is known before there are any features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imbalance_cli.errors import SettingError
from imbalance_cli.methods.resampling.form import cut, grown
from imbalance_cli.registry import is_own

FOLDS = 5  # of the images, in each of which instance_hardness_threshold needs one of the largest class


def require_enough(choice: Mapping[str, Any], counts: Sequence[int], class_names: Sequence[str]) -> None:
    """Raise SettingError if the chosen method cannot work on classes of so many images, whatever their features."""
    name = choice["name"]
    sizes = {label: count for label, count in zip(class_names, counts, strict=True) if count > 0}
    if name == "none" or is_own(name):
        return
    if len(sizes) < 2:
        raise SettingError(f"resample: {name} balances classes, but only one of them has images; leave it out")
    rarest, largest = min(sizes, key=lambda label: sizes[label]), max(sizes.values())
    if name == "near_miss":
        is_cut = bool(cut(sizes, choice["ratio"]))
        if is_cut and choice["version"] != 2 and choice["k_neighbours"] > sizes[rarest]:  # 2 takes what there is
            raise SettingError(
                f"resample.k_neighbours: near_miss looks at {choice['k_neighbours']} images of the smallest class, but "
                f"{rarest!r} has {sizes[rarest]}; set resample.k_neighbours={sizes[rarest]}, or "
                "resample=random_under_sampling"
            )
    elif "k_neighbours" in choice:
        _require_neighbours(choice, sizes)
    if name == "instance_hardness_threshold" and largest < FOLDS:
        raise SettingError(
            f"resample: {name} needs {FOLDS} images of the largest class, which has {largest}; "
            "set resample=random_under_sampling"
        )
    most = _most_neighbours(choice, sizes)
    if most is not None and choice["neighbours"] > most:
        told = ", ".join(f"{label} {count}" for label, count in sizes.items())
        raise SettingError(
            f"resample.neighbours: {name} finds at most {most} neighbours here ({told}); got {choice['neighbours']}; "
            f"set resample.neighbours={most} or fewer"
        )


def _require_neighbours(choice: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    """Raise SettingError if a class that is to grow has too few images: new ones lie between one and its neighbours."""
    wanted = choice["k_neighbours"]
    for label in grown(sizes, choice["ratio"]):
        count = sizes[label]
        if count <= wanted:
            fewer = f"set resample.k_neighbours={count - 1}, or resample" if count > 1 else "set resample"
            raise SettingError(
                f"resample.k_neighbours: {choice['name']} needs more than {wanted} images of a class, but {label!r} "
                f"has {count}; {fewer}=random_over_sampling"
            )


def _most_neighbours(choice: Mapping[str, Any], sizes: Mapping[str, int]) -> int | None:
    """The most `neighbours` that there can be; None if the method has no such option, or makes do with fewer."""
    if choice["name"] in ("condensed_nearest_neighbour", "one_sided_selection"):
        return min(sizes.values()) + 1  # they begin with the smallest class and one image of another
    if "neighbours" not in choice or choice["name"] == "all_knn":
        return None
    added = grown(sizes, choice["ratio"]) if "ratio" in choice else {}  # smote_enn looks at what it has added too
    return sum({**sizes, **added}.values()) - 1
