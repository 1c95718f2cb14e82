"""What the results of one run mean, in a sentence, and the words and pairs that its tables and its page share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imbalance_cli.errors import printable
from imbalance_cli.studies.scores import decimal, percent

FEWEST_FOR_PERCENT = 30  # test images of a class: of fewer a share sounds surer than it is


def verdict(results: dict[str, Any]) -> str:
    """What the numbers mean, in plain words."""
    if results["auroc"] is None:
        return (
            f"Only one class occurs in these {results['n']} images, so nothing can be said about telling classes apart."
        )
    name, points, auroc = printable(results["minority"]), results["operating_points"], results["auroc"]
    rarest = results["classes"].index(results["minority"])
    quality = "well" if auroc >= 0.9 else "fairly" if auroc >= 0.75 else "poorly"
    text = f"The model ranks {quality} ({auroc_words(results)} {decimal(auroc)})"
    argmax = points["argmax"]
    if argmax["recalls"][rarest] is None:
        return f"{text}; {name} does not occur in these images."
    constant = _only_answer(results, argmax) is not None
    disappoints = auroc >= 0.75 and (constant or argmax["recalls"][rarest] < 0.5)
    text += f"{' but' if disappoints else ' and'} argmax {_doing(results, argmax, named=True)}"
    # Which point to name is not decided by these results: that would be a choice made on the test images.
    other = results["decision"]
    if other == "argmax":
        other = "validation" if points["validation"] is not None else "prior"
    point, how = points[other], _decider(other, points[other])
    if point["recalls"] == argmax["recalls"]:
        return f"{text}; {how} decides the same."
    finding = f"{text}; {how} {_doing(results, point, named=constant)}"
    if "target" in point:  # balanced accuracy is not what it is for
        return f"{finding}."
    change = f"balanced accuracy {percent(argmax['balanced_accuracy'])} to {percent(point['balanced_accuracy'])}"
    return f"{finding} ({change})."


def auroc_words(results: Mapping[str, Any]) -> str:
    """What the AUROC in `results` is called: of more than two classes it is a mean."""
    return "AUROC" if len(results["classes"]) == 2 else "mean AUROC of the classes"


def worst_confusions(results: Mapping[str, Any], matrix: Sequence[Sequence[int]], most: int) -> list[dict[str, Any]]:
    """The pairs of classes with the largest share of one taken for the other, by `matrix`; at most so many."""
    names = results["classes"]
    pairs = [
        {"true": names[true], "taken": names[taken], "count": count, "share": count / sum(row)}
        for true, row in enumerate(matrix)
        for taken, count in enumerate(row)
        if taken != true and count
    ]
    return sorted(pairs, key=lambda pair: -pair["share"])[:most]


def _decider(name: str, point: Mapping[str, Any]) -> str:
    """The operating point called `name`, as what decides."""
    if name == "prior":
        return "the prior-corrected decision" + (" for the class shares asked for" if "target" in point else "")
    return "the threshold from validation" if name == "validation" else f"the threshold {name}"


def _doing(results: Mapping[str, Any], point: Mapping[str, Any], *, named: bool) -> str:
    """What an operating point does with the rarest class: `finds 32.5 % of triangle`; of few images how many.

    named: whether to say of which class that is.
    """
    if (only := _only_answer(results, point)) is not None:
        return f"answers {printable(only)} every time"
    name, rarest = printable(results["minority"]), results["classes"].index(results["minority"])
    images = point["supports"][rarest]
    if images >= FEWEST_FOR_PERCENT:
        return f"finds {percent(point['recalls'][rarest])}" + (f" of {name}" if named else "")
    found = point["confusion_matrix"][rarest][rarest]
    return f"finds {found}" + (f" of {images} image{'' if images == 1 else 's'} of {name}" if named else "")


def _only_answer(results: Mapping[str, Any], point: Mapping[str, Any]) -> str | None:
    """The class that every image is given, if it is the same one."""
    given = [name for name, *column in zip(results["classes"], *point["confusion_matrix"], strict=True) if any(column)]
    return given[0] if len(given) == 1 else None
