"""A dataset by the name that the user gives it."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from shlex import quote

from imbalance_cli.data.cifar import ARCHIVES, is_downloaded, load_cifar
from imbalance_cli.data.image_set import Dataset, class_names, of_classes
from imbalance_cli.errors import DataError, SettingError, did_you_mean

BUILT_IN = ("auto", "shapes", *ARCHIVES)
AUTO_CIFAR_CLASSES = ("airplane", "automobile")


def data_folder(given: str | Path | None) -> Path:
    """Where downloads and caches live: `given`, else IMBALANCE_DATA, else the user's cache folder.

    Raises SettingError if the user has none.
    """
    if chosen := given or os.environ.get("IMBALANCE_DATA"):
        return Path(os.path.expanduser(chosen))
    import platformdirs

    try:
        return platformdirs.user_cache_path("imbalance")
    except RuntimeError as error:
        raise SettingError(
            "data.data_dir: there is no home folder to keep data in; name a folder by --data-dir or IMBALANCE_DATA"
        ) from error


def resolve_auto(data_dir: Path) -> tuple[str, tuple[str, ...], str]:
    """What `auto` means here: the dataset, its usual pair of classes, and one line that says which and why."""
    if is_downloaded("cifar10", data_dir):
        return "cifar10", AUTO_CIFAR_CLASSES, "data: CIFAR-10, because it is downloaded (built-in images: -d shapes)"
    from imbalance_cli.data.shapes import CLASS_NAMES

    line = "data: the built-in shapes, because CIFAR-10 is not downloaded (to get it: imbalance download cifar10)"
    return "shapes", CLASS_NAMES[:2], line


def load_dataset(
    name: str,
    *,
    data_dir: str | Path | None = None,
    classes: Sequence[str] | None = None,
    image_size: int | None = None,
    split_seed: int = 0,
    skip_bad: bool = False,
    allow_leak: bool = False,
    allow_empty: bool = False,
    exact: bool = False,
    notice: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """The dataset called `name`: shapes, cifar10, cifar100, or the path of an image folder or CSV file.

    data_dir: as in data_folder. classes: names or numbers of those that are wanted, by default all; only they are
    returned, in that order. The other options are for folders and CSV files. exact: they may have no other classes
    than `classes`, but need not have images of each. Raises DataError and SettingError.
    """
    path = Path(name)
    if name in BUILT_IN and name != "auto":
        if image_size not in (None, 32):
            raise SettingError(f"data.image_size: the images of {name} are 32 pixels wide; got {image_size}")
        if name == "shapes":
            from imbalance_cli.data.shapes import load_shapes

            return load_shapes(classes)
        _refuse_class_folders(name, data_folder(data_dir))
        dataset = load_cifar(name, data_folder(data_dir))
        names = class_names(classes, dataset.train.class_names) if classes else dataset.train.class_names
        return replace(dataset, train=of_classes(dataset.train, names), test=of_classes(dataset.test, names))
    if not name or not os.path.exists(name):
        shown = name if len(name) <= 200 else f"{name[:200]}..."
        kind = "file" if path.suffix == ".csv" else "dataset or folder"
        raise DataError(f"no {kind} called {shown!r}{_meant(name)}")
    from imbalance_cli.data.folder import load_folder

    return load_folder(
        path,
        image_size=image_size,
        seed=split_seed,
        classes=classes,
        skip_bad=skip_bad,
        allow_leak=allow_leak,
        allow_empty=allow_empty,
        exact=exact,
        cache_dir=data_folder(data_dir) / "decoded",
        notice=notice,
    )


def _refuse_class_folders(name: str, data_dir: Path) -> None:
    """Raise DataError if `data_dir` holds images by class rather than the archive called `name`."""
    from imbalance_cli.data.listing import holds_class_folders

    if not is_downloaded(name, data_dir) and holds_class_folders(data_dir):
        raise DataError(f"{data_dir} holds class folders, not {name}; to use its images: -d {quote(str(data_dir))}")


def _meant(name: str) -> str:
    """The end of the message that nothing is called `name`: what lies there under a name like it, or what would do."""
    path = Path(name)
    beside: list[str] = []
    with suppress(OSError, ValueError):  # no such folder, a NUL character in its name
        folders_too = path.suffix != ".csv"
        beside = sorted(
            each.name for each in path.parent.iterdir() if each.suffix == ".csv" or (folders_too and each.is_dir())
        )
    built_in = () if os.sep in name or path.suffix else BUILT_IN[1:]
    if close := get_close_matches(path.name, [*built_in, *beside], n=1):
        return f"; did you mean {str(path.parent / close[0])!r}?"
    return did_you_mean(name, built_in) or "; give a name or an existing path"
