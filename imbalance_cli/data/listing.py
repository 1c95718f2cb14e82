"""Which files of a folder, or of a CSV file, are samples of which class."""

import csv
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from imbalance_cli.data.decode import ImageFile, is_image
from imbalance_cli.data.image_set import class_names
from imbalance_cli.errors import DataError, SettingError, did_you_mean, printable

SPLITS = ("train", "test")
LAYOUT = (
    "expected train/<class>/ and test/<class>/, or <class>/ alone, with images in them, "
    "or a CSV file with the columns path,label[,split]"
)

_JUNK = {"Thumbs.db", "desktop.ini", "__MACOSX"}  # left behind by other programs


class Sample(NamedTuple):
    """An image file, its name within its split, its class, and its split: train, test or "" (to be drawn)."""

    file: ImageFile
    item: str
    label: int
    split: str


class Listing(NamedTuple):
    """The chosen classes and their samples, before any image is read."""

    class_names: tuple[str, ...]
    samples: list[Sample]


def list_folder(
    root: Path, classes: Sequence[str] | None, notice: Callable[[str], None], *, exact: bool = False
) -> Listing:
    """The samples in train/<class>/ and test/<class>/, or in <class>/ alone, without reading them.

    Sub-folders of a class belong to it. Raises DataError for links that loop, dangle or leave the folder,
    and for images outside any class folder.
    """
    hidden: list[str] = []
    here = (os.path.realpath(root),)
    top = _subfolders(root, "", here, hidden)
    if _has_splits(root, top):
        absent = [split for split in SPLITS if split not in top]
        if absent:
            present = next(split for split in SPLITS if split in top)
            raise DataError(
                f"{printable(str(root))} has {present}/ but no {absent[0]}/; add it, "
                f"or give {printable(str(root / present))} to have test images drawn from it"
            )
        unread = sorted(top.keys() - set(SPLITS))
        if unread:
            notice(f"only train/ and test/ are read, not {', '.join(map(printable, unread))}")
        by_split = {split: _subfolders(root, split, top[split], hidden) for split in SPLITS}
    else:
        by_split = {"": top}
    known = sorted({name for folders in by_split.values() for name in folders})
    if not known:
        raise DataError(f"{printable(str(root))} has no class folders; {LAYOUT}")
    chosen = _choose_classes(root, known, classes, exact)
    samples = []
    for split, folders in by_split.items():
        for label, class_name in enumerate(chosen):
            if class_name in folders:
                folder = os.path.join(split, class_name)
                for file in _files_below(root, folder, folders[class_name], hidden):
                    item = file.name.removeprefix(split + os.sep).replace(os.sep, "/")
                    samples.append(Sample(file, item, label, split))
    if hidden:
        entries = "entry" if len(hidden) == 1 else "entries"
        notice(f"{len(hidden)} hidden {entries} ignored, such as {printable(hidden[0])}")
    return Listing(chosen, samples)


def list_csv(path: Path, classes: Sequence[str] | None, *, exact: bool = False) -> Listing:
    """The samples that a CSV file (header path,label[,split]) names relative to its folder.

    Raises DataError, with the line, for anything that is not exactly one sample.
    """
    rows = _csv_rows(path)
    chosen = _choose_classes(path, sorted({label for _, _, label, _ in rows}), classes, exact)
    labels = {class_name: label for label, class_name in enumerate(chosen)}
    root = os.path.realpath(path.parent)
    lines: dict[str, int] = {}
    samples = []
    for line, name, class_name, split in rows:
        if class_name not in labels:
            continue
        place = f"{printable(str(path))} line {line}"
        shown = repr(printable(name))
        if not os.path.isfile(path.parent / name):
            raise DataError(f"{place}: no file {shown} below the CSV file's folder")
        full = os.path.realpath(path.parent / name)
        if not _is_within(full, root):
            raise DataError(f"{place}: {shown} leads out of the CSV file's folder; put the file below it")
        if full in lines:
            raise DataError(f"{place}: {shown} is listed in line {lines[full]} too; remove one of the two")
        lines[full] = line
        samples.append(Sample(_image_file(name, full), name, labels[class_name], split))
    return Listing(chosen, samples)


def holds_class_folders(root: Path) -> bool:
    """Whether images lie in folders of `root`, or in those of its train/ and test/, as `list_folder` reads them."""
    tops = [top for top in (root, *(root / split for split in SPLITS)) if os.path.isdir(top)]
    folders = [entry.path for top in tops for entry in _visible(top, []) if os.path.isdir(entry.path)]
    first = [entry for folder in folders for entry in _visible(Path(folder), [])[:1]]
    return any(entry.is_file() and is_image(Path(entry.path)) for entry in first)


def _has_splits(root: Path, top: dict[str, tuple[str, ...]]) -> bool:
    """Whether train/ and test/ are splits: both are there, or one has sub-folders (and is no class)."""
    present = [split for split in SPLITS if split in top]
    return len(present) == 2 or any(
        os.path.isdir(entry.path)  # unlike entry.is_dir(), false where a link leads in a circle
        for split in present
        for entry in _visible(root / split, hidden=[])
    )


def _subfolders(root: Path, folder: str, above: tuple[str, ...], hidden: list[str]) -> dict[str, tuple[str, ...]]:
    """The folders in `folder` of `root`, each with the real paths from `root` down to it.

    Raises DataError if images lie beside them.
    """
    found, loose = {}, []
    for entry in _visible(root / folder, hidden):
        real = _real_path(entry, above)
        if entry.is_dir():
            found[entry.name] = (*above, real)
        elif entry.is_file() and is_image(Path(entry.path)):
            loose.append(entry.path)
    if loose:
        raise DataError(f"{len(loose)} images lie outside any class folder, such as {printable(loose[0])}; {LAYOUT}")
    return found


def _files_below(root: Path, folder: str, above: tuple[str, ...], hidden: list[str]) -> Iterator[ImageFile]:
    """The files in `folder` of `root` and its sub-folders, by name; `above` are the real paths down to it."""

    def inside(folder: str, above: tuple[str, ...]) -> list[tuple[str, os.DirEntry[str], tuple[str, ...]]]:
        entries = reversed(_visible(root / folder, hidden))
        return [(os.path.join(folder, entry.name), entry, above) for entry in entries]

    waiting = inside(folder, above)  # a stack, as folders can be nested deeper than calls
    while waiting:
        name, entry, above = waiting.pop()
        real = _real_path(entry, above)
        if entry.is_dir():
            waiting += inside(name, (*above, real))
        elif entry.is_file():
            yield _image_file(name, entry.path)
        else:
            raise DataError(f"{printable(entry.path)} is neither a file nor a folder; remove it")


def _image_file(name: str, path: str) -> ImageFile:
    try:
        facts = os.stat(path)
    except OSError as error:
        raise DataError(f"cannot read {printable(path)}: {error.strerror}; it was there a moment ago") from error
    return ImageFile(name, facts.st_size, max(facts.st_mtime_ns, facts.st_ctime_ns))


def _visible(folder: Path, hidden: list[str]) -> list[os.DirEntry[str]]:
    """The entries of `folder` by name; those of no interest to anyone go to `hidden`, by path."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot list folder {printable(str(folder))}: {error.strerror}") from error
    ignored = {entry.name for entry in found if entry.name.startswith(".") or entry.name in _JUNK}
    hidden += [entry.path for entry in found if entry.name in ignored]
    return [entry for entry in found if entry.name not in ignored]


def _real_path(entry: os.DirEntry[str], above: tuple[str, ...]) -> str:
    """Where `entry`, in the last of the folders `above`, really is. Raises DataError if it leads astray."""
    if not entry.is_symlink():
        return os.path.join(above[-1], entry.name)
    link = f"{printable(entry.path)} is a link"
    try:
        link = f"{link} to {printable(os.readlink(entry.path))}"
        target = os.path.realpath(entry.path, strict=True)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"{link}: a link loop; remove it") from error
        raise DataError(f"{link}, which is not there; remove it or put the target back") from error
    if target in above:
        raise DataError(f"{link}: a link loop; remove it")
    if not _is_within(target, above[0]):
        raise DataError(f"{link}, out of {printable(above[0])}; put a copy in its place")
    return target


def _is_within(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _csv_rows(path: Path) -> list[tuple[int, str, str, str]]:
    """Line number, path, label and split ("" where there is no such column) of each row."""
    place = printable(str(path))
    rows = []
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            columns = reader.fieldnames or []
            for column in ("path", "label"):
                if column not in columns:
                    raise DataError(f"{place} line 1: no column {column!r}; the header is path,label[,split]")
            if len(set(columns)) < len(columns):
                twice = next(column for column in columns if columns.count(column) > 1)
                raise DataError(f"{place} line 1: two columns are called {twice!r}; remove one of them")
            for row in reader:
                line = reader.line_num
                if None in row or None in row.values():
                    raise DataError(
                        f"{place} line {line}: not as many values as the header has columns, {len(columns)}; "
                        "a value with a comma needs quotes"
                    )
                for column in ("path", "label"):
                    if not row[column].strip():
                        raise DataError(f"{place} line {line}: the {column} is empty")
                split = row.get("split", "")
                if "split" in columns and split not in SPLITS:
                    raise DataError(f"{place} line {line}: unknown split {split!r}{did_you_mean(split, SPLITS)}")
                rows.append((line, row["path"], row["label"], split))
    except csv.Error as error:
        raise DataError(f"{place} line {reader.line_num}: not a CSV file ({error})") from error
    except OSError as error:
        raise DataError(f"cannot read {place}: {error.strerror}") from error
    return rows


def _choose_classes(source: Path, known: list[str], classes: Sequence[str] | None, exact: bool) -> tuple[str, ...]:
    if classes and exact:
        if others := ", ".join(printable(name) for name in known if name not in classes):
            names = ", ".join(map(printable, classes))
            raise DataError(
                f"{printable(str(source))} has images of {others}; the classes are {names}: rename or remove"
            )
        return tuple(classes)
    chosen = class_names(classes, tuple(known)) if classes else tuple(known)
    if len(chosen) < 2 and classes:
        raise SettingError(f"a subset needs at least 2 classes; got only {chosen[0]!r}")
    if len(chosen) < 2:
        found = ": ".join([str(len(chosen)), *map(printable, chosen)])
        raise DataError(f"{printable(str(source))} needs at least 2 classes, found {found}")
    return chosen
