"""Random generators keyed by what they are for, so that any draw can be made again without the ones before it."""

import hashlib
from typing import TYPE_CHECKING

from imbalance_cli.lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")


def keyed_seed(*key: int | str) -> int:
    """A 63-bit seed that depends on every part of `key`, equal on every machine."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def keyed_generator(*key: int | str) -> "torch.Generator":
    """A CPU generator for one purpose: `keyed_generator(seed, "order", epoch)`."""
    return torch.Generator().manual_seed(keyed_seed(*key))


def keyed_numpy(*key: int | str) -> "np.random.Generator":
    """NumPy's generator for one purpose, where a distribution is needed that PyTorch draws from no generator."""
    return np.random.default_rng(keyed_seed(*key))
