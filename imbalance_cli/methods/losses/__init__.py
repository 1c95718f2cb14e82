"""Losses: logits and labels to one value per example; `form` says what every loss is given and gives back."""

# A family registers its losses as it is imported, so this is their order in every list.
from imbalance_cli.methods.losses import (  # isort: skip
    classic as classic,
    focusing as focusing,
    margins as margins,
    rivals as rivals,
    influence as influence,
    smoothing as smoothing,
    noise as noise,
    ranking as ranking,
)
from imbalance_cli.methods.losses.form import LOSSES

__all__ = ["LOSSES"]
