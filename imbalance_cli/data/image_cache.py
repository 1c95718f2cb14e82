"""Decoded images kept in one verified file, so that the next start need not decode them.

The file is a line of JSON, the pixels of all images, and the SHA-256 (32 bytes) of everything before it.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from imbalance_cli.data.decode import BadImage, Content, ImageFile, decode_files
from imbalance_cli.errors import MemoryShortage, WriteError
from imbalance_cli.files import make_folder, remove_unfinished, whole_file

CACHE_FORMAT = "imbalance images 1"  # a new number when the same files would give other pixels

_WORTH_SAYING = 1000  # images to decode


class _Cache(NamedTuple):
    contents: dict[ImageFile, Content]  # in the order of the rows of pixels
    pixels: NDArray[np.uint8]  # [n, 3, size, size]


def read_images(
    root: Path, files: Sequence[ImageFile], image_size: int, *, path: Path, notice: Callable[[str], None]
) -> tuple[NDArray[np.uint8], list[Content | BadImage]]:
    """The pixels of `files` below `root`, uint8 [n, 3, image_size, image_size], and what each file is.

    Bad images have no row in the pixels. What the cache at `path` holds of files with the same name, size
    and time of change is not decoded again; afterwards it holds just these files. A cache that cannot be
    used is no error, `notice` is told. Raises MemoryShortage.
    """
    cache = _read(path, image_size, notice)
    if list(cache.contents) == list(files):
        return cache.pixels, list(cache.contents.values())

    row_of = {file: row for row, file in enumerate(cache.contents)}
    known = [index for index, file in enumerate(files) if file in row_of]
    missing = [index for index, file in enumerate(files) if file not in row_of]
    if len(missing) >= _WORTH_SAYING:
        notice(f"decoding {len(missing):,} images; later starts find them in the cache")
    try:
        pixels = np.empty((len(files), 3, image_size, image_size), np.uint8)
        pixels[known] = cache.pixels[[row_of[files[index]] for index in known]]
        decoded = decode_files(root, [files[i] for i in missing], [pixels[i] for i in missing], notice)
    except MemoryError as error:
        raise MemoryShortage(
            f"{len(files)} images of {image_size} x {image_size} pixels do not fit in memory; "
            "give a smaller --image-size or fewer --classes"
        ) from error
    fresh = dict(zip(missing, decoded, strict=True))
    contents = [fresh[index] if index in fresh else cache.contents[file] for index, file in enumerate(files)]

    good = {file: content for file, content in zip(files, contents, strict=True) if isinstance(content, Content)}
    if len(good) < len(files):
        pixels = pixels[[index for index, content in enumerate(contents) if isinstance(content, Content)]]
    if list(good) != list(cache.contents):
        _write(path, image_size, _Cache(good, pixels), notice)
    return pixels, contents


def _read(path: Path, image_size: int, notice: Callable[[str], None]) -> _Cache:
    """What the cache at `path` holds: nothing if it is missing, damaged or of another format."""
    nothing = _Cache({}, np.empty((0, 3, image_size, image_size), np.uint8))
    try:
        with open(path, "rb") as file:
            header = file.readline()
            body = np.fromfile(file, np.uint8)
    except FileNotFoundError:
        return nothing
    except OSError as error:
        notice(f"cannot read the image cache {path} ({error.strerror}); decoding again")
        return nothing
    digest = hashlib.sha256(header)
    digest.update(body[:-32].data)
    if digest.digest() != body[-32:].tobytes():
        notice(f"the image cache {path} is damaged; decoding again")
        return nothing
    try:
        facts: dict[str, Any] = json.loads(header)
        if (facts["format"], facts["image_size"]) != (CACHE_FORMAT, image_size):
            return nothing
        contents = {
            ImageFile(name, size, changed_ns): Content(str(content), tuple(map(str, conversions)))
            for name, size, changed_ns, content, conversions in facts["files"]
        }
        return _Cache(contents, body[:-32].reshape(len(contents), 3, image_size, image_size))
    except (ValueError, TypeError, LookupError, RecursionError):  # another program's, with a right digest
        notice(f"the image cache {path} is not one that this version wrote; decoding again")
        return nothing


def _write(path: Path, image_size: int, cache: _Cache, notice: Callable[[str], None]) -> None:
    files = [(*file, *content) for file, content in cache.contents.items()]
    header = json.dumps({"format": CACHE_FORMAT, "image_size": image_size, "files": files}).encode() + b"\n"
    digest = hashlib.sha256(header)
    digest.update(cache.pixels.data)
    try:
        make_folder(path.parent)
        remove_unfinished(path)
        with whole_file(path) as file:
            file.write(header)
            file.write(cache.pixels.data)
            file.write(digest.digest())
    except WriteError as error:
        notice(f"{error}; the images will be decoded again at the next start")
