"""What the method of a run does to each class: how often it is drawn, what it weighs, how hard it pulls."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from imbalance_cli.checkpoints import Checkpoint
from imbalance_cli.errors import SettingError
from imbalance_cli.experiment_data import experiment_of
from imbalance_cli.loss_curves import compares_images
from imbalance_cli.method_effects import pulls
from imbalance_cli.metrics import softmax
from imbalance_cli.stages import Stage, stages

_NEARLY = 0.1  # log-odds that change no statement about probabilities


def class_effects(checkpoint: Checkpoint) -> dict[str, Any]:
    """A row of numbers for each class, and whether weights and draws are others at the end of training.

    `unknown` says why there are no numbers: a method of a user's own, whose file a report does not run. `pull` is the
    share of the gradient when all logits are 0; `lean` the probability that an image gets which says nothing about its
    class, None where it is not known; `behind` by how much the log of the class's share is below the largest.
    """
    experiment, counts = experiment_of(checkpoint), torch.tensor(checkpoint.counts)
    all_stages = list(stages(experiment, counts))
    first, last = all_stages[0], all_stages[-1]
    try:
        rows = _rows(first, checkpoint)
        end = {"draws": last.draws(last.end - 1).tolist(), "weight": last.class_weights(last.end - 1).tolist()}
    except SettingError as error:
        return {"rows": [], "changes": False, "unknown": str(error)}
    changes = any(not np.allclose([row[name] for row in rows], values, rtol=1e-3) for name, values in end.items())
    for row, draws, weight in zip(rows, end["draws"], end["weight"], strict=True):
        row |= {"draws_at_end": draws, "weight_at_end": weight}
    return {"rows": rows, "changes": changes, "unknown": None}


def shares_meant(checkpoint: Checkpoint) -> str:
    """The class shares for which the probabilities may be right: "training", "equal", "neither" or "unknown".

    Told by what training makes of an image that says nothing about its class, of the classes that it has seen: the
    log prior, the same for all, or something else, as with focal loss or with weights in between.
    """
    if "reference" not in checkpoint.calibration:
        return "unknown"
    counts = np.array(checkpoint.counts)
    reference, prior = np.array(checkpoint.calibration["reference"])[counts > 0], np.log(counts[counts > 0])
    if np.ptp(reference - prior) < _NEARLY:
        return "training"
    return "equal" if np.ptp(reference) < _NEARLY else "neither"


def _rows(stage: Stage, checkpoint: Checkpoint) -> list[dict[str, Any]]:
    counts = stage.counts.double()
    draws, weights, seen = stage.draws(0), stage.class_weights(0), stage.seen(0)
    compares = compares_images(stage.experiment.loss["name"])
    pull = weights * pulls(stage.loss(seen), seen, compares=compares)
    reference = checkpoint.calibration.get("reference")
    leans = [None] * len(counts) if reference is None else softmax(np.array([reference]))[0].tolist()
    columns = {
        "name": checkpoint.class_names,
        "count": checkpoint.counts,
        "share": (counts / counts.sum()).tolist(),
        "draws": draws.tolist(),
        "each": torch.where(counts > 0, draws / counts.clamp(min=1), 0.0).tolist(),
        "weight": weights.tolist(),
        "pull": (pull / pull.sum()).tolist(),
        "lean": leans,
        "behind": (seen.max() / seen.clamp(min=1)).log().tolist(),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
