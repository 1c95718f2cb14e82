"""Subset files: which images of which data an imbalanced subset holds, for people and for checking."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from imbalance_cli.data.image_set import Dataset, ImageSet, class_index, of_classes
from imbalance_cli.errors import DataError
from imbalance_cli.files import refuse_existing, write_file
from imbalance_cli.strict_yaml import Document, dump_yaml, read_yaml

FORMAT = "imbalance-subset-1"
THE_RUN = "the run"  # what a manifest is of that no user gave as a file
MAX_BYTES = 50_000_000  # over a million images; reading takes many times the memory

_HEADING = """\
# An imbalanced subset, by `imbalance make-subset`; train on it with `imbalance train --subset FILE`.
# The digest covers everything but comments and layout, so make a new file rather than edit this one.
"""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", coerce_numbers_to_str=True))
class Manifest:
    """The training images of a subset and how they were asked for; it builds only from well-typed values.

    dataset, identity: as in Dataset. profile: as in profile_counts, or "counts", or "all" where every class
    keeps all it has. protocol: as in choose_items. items: class name to the names of its training images,
    the classes in the order of their labels; test_items: the same of the test images, None if untouched.
    """

    dataset: str
    identity: str
    profile: str
    protocol: str
    seed: int
    items: dict[str, tuple[str, ...]]
    ratio: float | None = None
    minority: tuple[str, ...] | None = None
    test_ratio: float | None = None
    test_items: dict[str, tuple[str, ...]] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Training images per class."""
        return {name: len(items) for name, items in self.items.items()}

    @property
    def sha256(self) -> str:
        """The SHA-256 of the fields as compact JSON with sorted keys; the classes keep their order."""
        fields = asdict(self)
        for split in ("items", "test_items"):
            fields[split] = fields[split] and list(fields[split].items())
        return _sha256(fields)


def write_manifest(manifest: Manifest, path: Path, *, overwrite: bool = False) -> None:
    """Write `manifest` to `path` as YAML. Raises CheckpointError if there is such a file, DataError and WriteError."""
    refuse_existing(path, overwrite=overwrite)
    content = (_HEADING + dump_yaml(_content(manifest))).encode("utf-8", "surrogateescape")
    if len(content) > MAX_BYTES:
        raise DataError(f"{path} would have {len(content):,} bytes, the limit is {MAX_BYTES:,}; use fewer images")
    write_file(path, content)


def read_manifest(path: Path) -> Manifest:
    """Read and verify the subset file `path`. Raises DataError if it is missing, damaged or edited."""
    document = read_yaml(path, error=DataError, max_bytes=MAX_BYTES)
    content = document.value
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path} is not a subset file of this version: it should say 'format: {FORMAT}'")
    sha256, counts = content.pop("sha256", None), content.pop("counts", None)
    del content["format"]
    try:
        manifest = Manifest(**content)
    except ValidationError as problem:
        raise DataError(f"{path}:{_first_problem(problem, document)}") from None
    if counts != manifest.counts:
        raise DataError(f"{path}: the counts do not match the list{_difference(counts, manifest.counts)}")
    _refuse_misfits(manifest, path)
    for split in (manifest.items, manifest.test_items or {}):
        _refuse_repeats(split, path)
    if sha256 != manifest.sha256:
        raise DataError(f"{path} does not match its digest: it was edited or damaged; make it again")
    return manifest


def apply_manifest(manifest: Manifest, dataset: Dataset, place: str = THE_RUN) -> Dataset:
    """The subset of `dataset` that `manifest` names, with the manifest's classes, labelled in its order.

    The training images are in the manifest's order. The test images are those it lists, else all of its
    classes, in the order of `dataset`. place: the subset file, where the user gave one. Raises DataError if the
    manifest was made of other data.
    """
    if manifest.identity != dataset.identity:
        raise DataError(_what_changed(manifest, dataset, place))
    train = _pick(dataset.train, manifest.items, f"training images of {dataset.name}", place)
    if manifest.test_items is None:
        test = of_classes(dataset.test, tuple(manifest.items))
    else:
        test = _pick(dataset.test, manifest.test_items, f"test images of {dataset.name}", place)
    identity = _sha256([dataset.identity, list(manifest.items.items())])
    return Dataset(dataset.name, identity, train, test)


def _content(manifest: Manifest) -> dict[str, Any]:
    """What the file says, in its order; what does not apply is left out."""
    fields = {name: value for name, value in asdict(manifest).items() if value is not None}
    items: dict[str, Any] = {
        split: {name: [_bare(item) for item in chosen] for name, chosen in fields.pop(split).items()}
        for split in ("items", "test_items")
        if split in fields
    }
    return {"format": FORMAT, "sha256": manifest.sha256, **fields, "counts": manifest.counts, **items}


def _bare(item: str) -> str | int:
    """An item that is a number as a number, which needs no quotes; reading turns it back into text."""
    number = item.isascii() and item.isdecimal() and len(item) < 19 and (item == "0" or item[0] != "0")
    return int(item) if number else item


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _first_problem(problem: ValidationError, document: Document) -> str:
    first = problem.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{document.line(*first['loc'])}: {where}: {first['msg'].lower()}"


def _difference(stated: Any, listed: dict[str, int]) -> str:
    """`: 'cat' says 50, lists 49`, for the first class that differs."""
    stated = stated if isinstance(stated, dict) else {}
    name = next(name for name in {**stated, **listed} if stated.get(name) != listed.get(name))
    return f": {name!r} says {stated.get(name, 'nothing')}, lists {listed.get(name, 'nothing')}"


def _refuse_misfits(manifest: Manifest, path: Path) -> None:
    classes = list(manifest.items)
    if len(classes) < 2 or not any(manifest.items.values()):
        raise DataError(f"{path}: a subset has at least 2 classes, and images; it lists {manifest.counts}")
    if manifest.test_items is not None and list(manifest.test_items) != classes:
        raise DataError(f"{path}: the classes of test_items are {list(manifest.test_items)}, those of items {classes}")


def _refuse_repeats(items: dict[str, tuple[str, ...]], path: Path) -> None:
    owner: dict[str, str] = {}
    for name, chosen in items.items():
        for item in chosen:
            if item in owner:
                raise DataError(f"{path}: item {item!r} is listed twice, for {owner[item]!r} and {name!r}")
            owner[item] = name


def _what_changed(manifest: Manifest, dataset: Dataset, place: str) -> str:
    """Why the identities differ, as far as the names of the items tell."""
    anew = "train a new run" if place == THE_RUN else "make a new subset"
    known = {*dataset.train.items, *(dataset.test.items if dataset.test_is_drawn else ())}
    listed = [item for items in manifest.items.values() for item in items]
    gone = [item for item in listed if item not in known]
    if manifest.dataset != dataset.name and not 0 < 2 * len(gone) < len(listed):
        return f"{place} is of the images in {manifest.dataset}; those in {dataset.name} are others"
    if gone and len(gone) < len(listed):
        images = f"image {gone[0]!r}" if len(gone) == 1 else f"image {gone[0]!r} and {len(gone) - 1} more"
        here = f"{'is' if len(gone) == 1 else 'are'} not in {dataset.name} any more"
        return f"{images} of {place} {here}; put {'it' if len(gone) == 1 else 'them'} back, or {anew}"
    return (
        f"images in {dataset.name} were changed, added, removed or renamed since {place} was made; "
        f"put them back as they were, or {anew}"
    )


def _pick(images: ImageSet, items: dict[str, tuple[str, ...]], source: str, place: str) -> ImageSet:
    """The images called `items`, labelled by the order of its classes."""
    position = {item: index for index, item in enumerate(images.items)}
    labels = images.labels.tolist()
    indices, new_labels = [], []
    for label, (name, chosen) in enumerate(items.items()):
        source_label = class_index(name, images.class_names)
        for item in chosen:
            if item not in position:
                raise DataError(f"{place} lists item {item!r}, which is not among the {source}")
            if labels[position[item]] != source_label:
                actual = images.class_names[labels[position[item]]]
                raise DataError(f"{place} lists item {item!r} for class {name!r}; in the {source} it is {actual!r}")
            indices.append(position[item])
        new_labels.append(torch.full((len(chosen),), label))
    chosen_images = images.select(torch.tensor(indices, dtype=torch.int64))
    return ImageSet(chosen_images.images, torch.cat(new_labels), tuple(items), chosen_images.items)
