"""Learning from class-imbalanced images: the package behind the `imbalance` command."""

from importlib.metadata import version

__version__ = version("imbalance-cli")
