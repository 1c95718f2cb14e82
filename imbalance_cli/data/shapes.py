"""The built-in data set `shapes`: ten classes of drawn 32x32 images that need no download."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from imbalance_cli.data.image_set import Dataset, ImageSet, class_names

Floats = NDArray[np.float32]

VERSION = 1  # raise it whenever a change alters a picture: subset files name the recipe they were made from
SIDE = 32
BLOCK = 250  # images drawn at once; part of the recipe, because a block's draws are made together

SIZE = (0.35, 0.6)  # radius, where the picture reaches from -1 to 1; so for the other lengths
REACH = 0.35  # the farthest that a centre lies from the middle, along each axis
SOFTNESS = (0.08, 0.25)  # width of a shape's edge
OPACITY = (0.7, 1.0)
HUE_SPREAD = 0.05  # half of the way from one class to the next, so that hue helps but does not decide
SATURATION = (0.4, 0.85)
SHAPE_VALUE = (0.55, 0.95)  # above the ground's: one polarity, so that few examples can suffice
GROUND_VALUE = (0.2, 0.4)
NOISE = 0.2
NOISE_CELLS = 7
WAVE = 0.08
WAVE_FREQUENCY = (1.5, 5.0)
BLOB_SIZE = (0.15, 0.4)
BLOB_VALUE = (0.4, 0.9)
BLOB_OPACITY = (0.2, 0.7)


def _box(x: Floats, y: Floats, width: float, height: float) -> Floats:
    across, along = abs(x) - width, abs(y) - height
    outside: Floats = np.hypot(np.maximum(across, 0), np.maximum(along, 0))
    inside: Floats = np.minimum(np.maximum(across, along), 0)
    return outside + inside


def _disc(x: Floats, y: Floats, radius: float) -> Floats:
    distance: Floats = np.hypot(x, y)
    return distance - radius


def _star(x: Floats, y: Floats, points: int, inner: float) -> Floats:
    """A star whose inner corners lie at radius `inner`; inner = cos(pi / points) is the regular polygon."""
    sector = np.pi / points
    radius, angle = np.hypot(x, y), abs(np.arctan2(y, x) % (2 * sector) - sector)  # 0 at an inner corner
    across, along = radius * np.cos(angle) - inner, radius * np.sin(angle)  # from the inner corner
    edge = np.array([np.cos(sector) - inner, np.sin(sector)], dtype=np.float32)
    length = np.hypot(*edge)
    edge /= length
    nearest = np.clip(across * edge[0] + along * edge[1], 0, length)
    distance = np.hypot(across - nearest * edge[0], along - nearest * edge[1])
    signed: Floats = np.copysign(distance, across * edge[1] - along * edge[0])
    return signed


def _heart(x: Floats, y: Floats) -> Floats:
    """A square on its corner with a disc on each of two neighbouring sides."""
    u, v = (x - y) * 0.7071 - 0.1, (x + y) * -0.7071 - 0.1
    discs = np.minimum(_disc(u + 0.55, v, 0.55), _disc(u, v + 0.55, 0.55))
    return np.minimum(_box(u, v, 0.55, 0.55), discs)


# Signed distance (negative inside) from the outline of a shape about as large as the unit disc.
_DISTANCES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "square": lambda x, y: _box(x, y, 0.85, 0.85),
    "triangle": lambda x, y: _star(x / 1.2, y / 1.2, 3, 0.5) * 1.2,
    "star": lambda x, y: _star(x / 1.2, y / 1.2, 5, 0.42) * 1.2,
    "cross": lambda x, y: np.minimum(_box(x, y, 1.1, 0.35), _box(x, y, 0.35, 1.1)),
    "ring": lambda x, y: abs(_disc(x, y, 0.8)) - 0.27,
    "circle": lambda x, y: _disc(x, y, 0.95),
    "semicircle": lambda x, y: np.maximum(_disc(x, y + 0.45, 1.15), -0.45 - y),
    "crescent": lambda x, y: np.maximum(_disc(x, y, 1.1), -_disc(x - 0.6, y, 0.85)),
    "heart": _heart,
    "bar": lambda x, y: _box(x, y, 1.25, 0.3),
}
CLASS_NAMES = tuple(_DISTANCES)


def load_shapes(
    classes: Sequence[str] | None = None, *, train_per_class: int = 5000, test_per_class: int = 1000
) -> Dataset:
    """Ten shapes at random place, size, turn and softness over noise, a wave and a distracting blob.

    classes: which of CLASS_NAMES, in the order of their labels; None takes all ten. Image i of a class and
    split is the same whatever else is drawn. Raises DataError for an unknown class, SettingError for a
    repeated one.
    """
    names = CLASS_NAMES if classes is None else class_names(classes, CLASS_NAMES)
    # The bytes may differ in the last bit from machine to machine, so the identity names the recipe.
    return Dataset(
        name="shapes",
        identity=f"shapes-{VERSION}",
        train=_draw_split(0, names, train_per_class),
        test=_draw_split(1, names, test_per_class),
    )


def _draw_split(split: int, names: tuple[str, ...], per_class: int) -> ImageSet:
    starts = range(0, per_class, BLOCK)
    images = np.empty((len(names), per_class, 3, SIDE, SIDE), dtype=np.uint8)

    def draw(label: int, start: int) -> None:
        kept = images[label, start : start + BLOCK]
        kept[:] = _draw_block(split, CLASS_NAMES.index(names[label]), start // BLOCK)[: len(kept)]

    with ThreadPoolExecutor() as pool:
        tasks = [pool.submit(draw, label, start) for label in range(len(names)) for start in starts]
        for task in tasks:
            task.result()
    return ImageSet(
        images=torch.from_numpy(images).flatten(0, 1),
        labels=torch.arange(len(names)).repeat_interleave(per_class),
        class_names=names,
        items=tuple(f"{name}/{i}" for name in names for i in range(per_class)),
    )


def _draw_block(split: int, kind: int, block: int) -> NDArray[np.uint8]:
    """Images `block * BLOCK` onwards of one class and split, uint8 [BLOCK, 3, SIDE, SIDE]."""
    random = np.random.Generator(np.random.Philox(key=[VERSION, kind], counter=[0, 0, block, split]))

    def between(low: float, high: float) -> Floats:
        """One number for every image, uniform."""
        return np.float32(low) + np.float32(high - low) * random.random((BLOCK, 1, 1, 1), np.float32)

    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]

    picture = between(*GROUND_VALUE) + _noise(random)
    direction, frequency = between(0, np.pi), between(*WAVE_FREQUENCY) * np.float32(np.pi)
    phase = frequency * (np.cos(direction) * x + np.sin(direction) * y) + between(0, 2 * np.pi)
    picture += between(0, WAVE) * np.sin(phase)

    colour = _rgb(between(0, 1), between(*SATURATION), between(*BLOB_VALUE))
    width, left, top = between(*BLOB_SIZE), between(-1, 1), between(-1, 1)
    cover = np.exp(-(((x - left) / width) ** 2)) * np.exp(-(((y - top) / width) ** 2))
    picture += between(*BLOB_OPACITY) * cover * (colour - picture)

    hue = kind / len(CLASS_NAMES) + HUE_SPREAD * random.standard_normal((BLOCK, 1, 1, 1), np.float32)
    colour = _rgb(hue, between(*SATURATION), between(*SHAPE_VALUE))
    size, turn, softness = between(*SIZE), between(0, 2 * np.pi), between(*SOFTNESS)
    across, down = (x - between(-REACH, REACH)) / size, (y - between(-REACH, REACH)) / size
    u, v = np.cos(turn) * across + np.sin(turn) * down, np.cos(turn) * down - np.sin(turn) * across
    distance = size * _DISTANCES[CLASS_NAMES[kind]](u, v)
    cover = np.clip(0.5 - distance / softness, 0, 1)
    picture += between(*OPACITY) * cover * (colour - picture)
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _noise(random: np.random.Generator) -> Floats:
    """Random colours on a coarse grid, interpolated linearly, [BLOCK, 3, SIDE, SIDE] around 0."""
    place = np.linspace(0, NOISE_CELLS - 1, SIDE, dtype=np.float32)
    weights = np.maximum(1 - abs(place[:, None] - np.arange(NOISE_CELLS, dtype=np.float32)), 0)
    grid = NOISE * (random.random((BLOCK * 3, NOISE_CELLS**2), np.float32) - 0.5)
    return (grid @ np.kron(weights, weights).T).reshape(BLOCK, 3, SIDE, SIDE)


def _rgb(hue: Floats, saturation: Floats, value: Floats) -> Floats:
    """HSV to RGB; hue counts turns and wraps; [n, 1, 1, 1] each to [n, 3, 1, 1]."""
    sector = (np.array([5, 3, 1], dtype=np.float32).reshape(3, 1, 1) + 6 * hue) % 6
    lack: Floats = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return value - value * saturation * lack
