"""Resampling: features and labels to others in better balance; `form` says what every method is given and returns."""

# A family registers its methods as it is imported, so this is their order in every list.
from imbalance_cli.methods.resampling import (  # isort: skip
    adding as adding,
    cutting as cutting,
    cleaning as cleaning,
    combined as combined,
)
from imbalance_cli.methods.resampling.chosen import resample
from imbalance_cli.methods.resampling.form import RESAMPLERS
from imbalance_cli.methods.resampling.needs import require_enough

__all__ = ["RESAMPLERS", "require_enough", "resample"]
