"""Refits: a trained network's features to another classifier on top of them; `form` says what each is given."""

# A family registers its refits as it is imported, so this is their order in every list.
from imbalance_cli.methods.refits import (  # isort: skip
    trained as trained,
    found as found,
)
from imbalance_cli.methods.refits.form import FROM_FEATURES_ALONE, NEEDS_LENGTHS, REFITS, Cosine, Linear

__all__ = ["FROM_FEATURES_ALONE", "NEEDS_LENGTHS", "REFITS", "Cosine", "Linear"]
