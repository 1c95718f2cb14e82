"""An experiment from Python, from its settings to its results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imbalance_cli import combinations, experiments, runs
from imbalance_cli.advice.training_time import too_short
from imbalance_cli.config import Experiment
from imbalance_cli.experiment_data import Notice, prepare
from imbalance_cli.files import make_folder


def run_experiment(
    experiment: Experiment,
    folder: Path,
    *,
    sources: Mapping[str, str] | None = None,
    notice: Notice = lambda line: None,
) -> dict[str, Any]:
    """Train and test as `imbalance train` does: `folder` becomes a run folder, and its results come back.

    sources: who set which setting, as `config.resolve` tells. notice: told what the command would print on the way,
    warnings among it. Raises a UserError for all that a user can put right, CheckpointError if `folder` is not empty.
    """
    runs.check_folder(folder, overwrite=False)
    prepared = prepare(experiment, notice)
    counts = dict(zip(prepared.train.class_names, prepared.train.counts().tolist(), strict=True))
    for warning in filter(None, (*combinations.warnings(prepared.experiment, counts), too_short(prepared))):
        notice(f"warning: {warning}")
    run = experiments.Run(prepared)
    make_folder(folder)
    with runs.lock(folder, notice):
        runs.check_folder(folder, overwrite=False)  # nobody has started a run there meanwhile
        run.start(folder, dict(sources or {}))
        with run.noting_failure():
            for _ in run.train():
                pass
            return run.finish()
