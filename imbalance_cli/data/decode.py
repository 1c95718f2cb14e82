"""Image files to uint8 RGB pixels of one size, whatever their format, depth and orientation."""

import hashlib
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from imbalance_cli.errors import printable

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")  # told apart by content, never by suffix
MAX_PIXELS = 100_000_000
MAX_BYTES = 2**30  # of a file: Pillow reads some formats whole before it tells their dimensions
MIN_SIDE = 8
MAX_ASPECT = 20

_USUAL_SIZES = (32, 64, 96, 128, 224)
_USUAL_BYTES = 2**30  # of all images together
_HEADERS_READ = 1000
_CHUNK = 64
_LARGE = 25_000_000  # pixels
_ONE_LARGE_IMAGE = threading.Lock()
_SECONDS_BETWEEN_NOTICES = 10
_CONVERSIONS = {
    "1": "1-bit: read as black and white",
    "L": "grey: repeated in all three channels",
    "LA": "grey: repeated in all three channels",
    "P": "palette: colours looked up",
    "PA": "palette: colours looked up",
    "CMYK": "CMYK: converted to RGB without a colour profile",
}


class ImageFile(NamedTuple):
    """A file's path relative to the dataset's folder, size in bytes and time of its last change in nanoseconds.

    The last change is of content or status, whichever is later: a copied modification time hides no change.
    """

    name: str
    size: int
    changed_ns: int


class Content(NamedTuple):
    """The SHA-256 of a file that was read, in hexadecimal, and what it took to make it plain 8-bit RGB.

    Each conversion reads "kind of image: what was done".
    """

    digest: str
    conversions: tuple[str, ...]


class BadImage(Exception):
    """Why a file cannot be a sample, without its name."""


def decode_files(
    root: Path,
    files: Sequence[ImageFile],
    into: Sequence[NDArray[np.uint8]],
    notice: Callable[[str], None] = lambda _: None,
) -> list[Content | BadImage]:
    """Read each of `files` below `root` into its array of `into`, uint8 [3, size, size].

    Images are turned upright by their EXIF orientation; the shorter side is scaled to `size` and the middle
    of the longer one kept. An array whose file is a BadImage holds nothing of use. `notice` hears now and then
    how far it is.
    """

    def decode_chunk(start: int) -> list[Content | BadImage]:
        chunk = slice(start, start + _CHUNK)
        return [_decode(root / file.name, pixels) for file, pixels in zip(files[chunk], into[chunk], strict=True)]

    # Pillow decodes without the interpreter's lock, but for tiny files the handing over of the lock costs
    # more than that gains (12,000 JPEGs of 32 x 32: 0.9 s with one thread, 1.2 s with two).
    small = sum(file.size for file in files) < 4096 * len(files)
    with _quiet_pillow(), ThreadPoolExecutor(1 if small else min(os.cpu_count() or 1, 8)) as threads:
        contents: list[Content | BadImage] = []
        said = time.monotonic()
        for chunk in threads.map(decode_chunk, range(0, len(files), _CHUNK)):
            contents += chunk
            if time.monotonic() - said > _SECONDS_BETWEEN_NOTICES:
                said = time.monotonic()
                notice(f"decoded {len(contents):,} of {len(files):,} images")
        return contents


def default_image_size(root: Path, files: Sequence[ImageFile], notice: Callable[[str], None]) -> int:
    """The largest usual size that is not above the median shorter side and keeps all images within 1 GiB.

    At most 1000 image headers are read, evenly spread over `files`.
    """
    sides = []
    with _quiet_pillow():
        for file in files[:: len(files) // _HEADERS_READ + 1]:
            try:
                _check_bytes(root / file.name)
                with Image.open(root / file.name, formats=FORMATS) as image:
                    sides.append(min(image.size))
            except Exception:  # a bad file is reported, with its reason, when it is decoded
                continue
    if not sides:
        return _USUAL_SIZES[0]
    middle = median_low(sides)
    fitting = [s for s in _USUAL_SIZES if s <= middle and 3 * s * s * len(files) <= _USUAL_BYTES]
    size = max(fitting, default=_USUAL_SIZES[0])
    span = f"{min(sides)} to {max(sides)}, median {middle}" if min(sides) < max(sides) else str(middle)
    notice(f"images are read at {size} x {size} pixels (shorter sides seen: {span}); --image-size changes that")
    return size


def is_image(path: Path) -> bool:
    """Whether the content of `path` starts like an image of a format that is read here."""
    with _quiet_pillow():
        try:
            _check_bytes(path)
            with Image.open(path, formats=FORMATS):
                return True
        except Exception:  # Pillow raises nearly every built-in exception for what is no image
            return False


def _decode(path: Path, into: NDArray[np.uint8]) -> Content | BadImage:
    size = into.shape[-1]
    try:
        with open(path, "rb") as file:
            _check_bytes(file.fileno())
            with Image.open(file, formats=FORMATS) as image:
                _check_dimensions(*image.size)
                conversions = []
                if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a photo's previews
                    conversions.append(f"animated: first frame of {getattr(image, 'n_frames', 1)}")
                image.draft(None, (2 * size, 2 * size))  # spares a large JPEG the detail that would be lost
                with _turn(image.width * image.height):
                    ImageOps.exif_transpose(image, in_place=True)
                    rgb, steps = _to_rgb(image)
                    if rgb.size != (size, size):
                        rgb = ImageOps.fit(rgb, (size, size), Image.Resampling.LANCZOS)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except BadImage as error:
        return error
    except UnidentifiedImageError:
        return BadImage(f"not an image in any of the formats {', '.join(FORMATS)}")
    except FileNotFoundError:
        return BadImage("gone since the folder was listed")
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises nearly every built-in exception for damaged files
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return BadImage(f"cannot be decoded ({printable(reason)})")
    into[:] = np.asarray(rgb).transpose(2, 0, 1)
    return Content(digest, (*conversions, *steps))


def _turn(pixels: int) -> AbstractContextManager[object]:
    """Large images are decoded one at a time: on its way to RGB a pixel takes up to 16 bytes, in a file of few."""
    return _ONE_LARGE_IMAGE if pixels > _LARGE else nullcontext()


def _check_bytes(file: Path | int) -> None:
    size = os.stat(file).st_size
    if size > MAX_BYTES:
        raise BadImage(f"{size:,} bytes, the limit is {MAX_BYTES:,}")


def _check_dimensions(width: int, height: int) -> None:
    given = f"{width} x {height} pixels"
    if width * height > MAX_PIXELS:
        raise BadImage(f"{given} are {width * height}, the limit is {MAX_PIXELS}")
    if min(width, height) < MIN_SIDE:
        raise BadImage(f"{given}, the minimum is {MIN_SIDE} on each side")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadImage(f"{given}, one side may be at most {MAX_ASPECT} times the other")


def _to_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """`image` with 8-bit red, green and blue, and what was done to get there."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, []
    if image.mode[0] in "IF":
        return _wide_to_rgb(image)
    steps = []
    if image.mode in _CONVERSIONS:
        steps.append(_CONVERSIONS[image.mode])
    elif image.mode not in ("RGB", "RGBA"):
        steps.append(f"{image.mode}: converted to RGB")
    if image.has_transparency_data:
        steps.append("transparency: composed on white")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB"), steps


def _wide_to_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Grey with more than 8 bits; Pillow's own conversion clips at 255 instead of scaling."""
    values: NDArray[Any] = np.asarray(image)
    step, top = "16-bit grey: scaled to 8 bits", 65535
    if image.mode == "F":
        step, top = "float grey: 0 to 1 scaled to 8 bits", 1
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # so written, NaN is refused too
        raise BadImage(f"grey values from {low} to {high}, they may be from 0 to {top}")
    scaled = values * 255 + 0.5 if image.mode == "F" else values >> 8
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB"), [step]


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """No warnings or log lines, and no size limit beside our own, which can say what is allowed."""
    limit, log = Image.MAX_IMAGE_PIXELS, logging.getLogger("PIL")
    Image.MAX_IMAGE_PIXELS = None
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
        log.setLevel(logging.NOTSET)
