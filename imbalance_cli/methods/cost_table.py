"""What mistakes cost, as a setting says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imbalance_cli.errors import SettingError
from imbalance_cli.lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = lazy_import("numpy")

Costs = list[float] | list[list[float]] | None


def cost_table(costs: Costs, classes: int, setting: str) -> NDArray[np.float64]:
    """What each prediction costs, a row per true class: float64 [classes, classes], the diagonal 0.

    costs: such a table, or one number per class, what any mistake on an image of it costs; setting: where it was said.
    Raises SettingError.
    """
    if costs is None:
        raise SettingError(f"{setting} must be given: one cost per class, as in --set '{setting}=[1, 20]', or a matrix")
    if len(costs) != classes:
        raise SettingError(f"{setting} has {len(costs)} entries for {classes} classes; give one per class")
    for number, row in enumerate(costs):
        if isinstance(row, list) and len(row) != classes:
            raise SettingError(f"{setting}: row {number} has {len(row)} costs for {classes} classes; give {classes}")
    table = np.asarray(costs)
    wrong = table[(table < 0) | (table > 1e9)]
    if len(wrong) > 0:
        raise SettingError(f"{setting} must lie between 0 and 1e9; got {wrong[0]:g}")
    if table.ndim == 1:
        table = np.repeat(table[:, None], classes, axis=1) * (1 - np.eye(classes))
    if table.diagonal().any():
        raise SettingError(
            f"{setting}: a right prediction must cost 0, but the diagonal of the matrix is {table.diagonal().tolist()}"
        )
    return table
