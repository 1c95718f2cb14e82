"""Augmentations: a batch of images to a changed one; `form` says what every augmentation is given and gives back."""

# A family registers its augmentations as it is imported, so this is their order in every list.
from imbalance_cli.methods.augment import (  # isort: skip
    geometry as geometry,
    colour as colour,
    occlusion as occlusion,
    policies as policies,
)
from imbalance_cli.methods.augment.form import AUGMENTATIONS, DRAWS
from imbalance_cli.methods.augment.strength import strength_by_class

__all__ = ["AUGMENTATIONS", "DRAWS", "strength_by_class"]
