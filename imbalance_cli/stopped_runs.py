"""Runs that were stopped: what their folders hold, and whether they can go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imbalance_cli import checkpoints, runs
from imbalance_cli.checkpoints import Checkpoint
from imbalance_cli.config import Experiment, Setting, resolve
from imbalance_cli.data.manifest import read_manifest
from imbalance_cli.errors import CheckpointError, DamageError, DataError, SettingError
from imbalance_cli.experiment_data import Notice


@dataclass(frozen=True)
class Stopped:
    """A run that was stopped, as its folder tells: its last whole save, None if it has none yet, and its sessions.

    sessions: none if the environment file is damaged, which only a run without a save cannot do without.
    """

    folder: Path
    checkpoint: Checkpoint | None
    last_is_damaged: bool
    sessions: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path, notice: Notice) -> Stopped:
        """Raises CheckpointError, also if the last save cannot be read for another reason than damage."""
        checkpoint, last_is_damaged = _last_checkpoint(folder, notice)
        try:
            sessions = runs.read_sessions(folder)
        except DamageError as error:
            if checkpoint is None:
                raise
            notice(f"warning: {error}; beginning a new one")
            sessions = []
        return cls(folder, checkpoint, last_is_damaged, sessions)

    def require_whole(self, experiment: Experiment) -> None:
        """Raise CheckpointError if the settings, here `experiment`, or the subset are not those of the run."""
        digests = self.sessions[0].get("sha256", {}) if self.sessions else {}
        if self.checkpoint is None:
            wanted = {name: digests.get(name) for name in (runs.CONFIG, runs.SUBSET)}
            runs.require_unchanged(self.folder, wanted, "put it back, or start a new run")
            return
        if changes := list(_changes(self.checkpoint.config, experiment.model_dump())):
            raise CheckpointError(f"{self.folder / runs.CONFIG} does not fit {runs.CHECKPOINT}: {'; '.join(changes)}")
        try:
            if runs.file_sha256(self.folder / runs.SUBSET) != digests.get(runs.SUBSET):
                read_manifest(self.folder / runs.SUBSET)
        except (CheckpointError, DataError) as error:
            raise CheckpointError(f"{error}; {_cure(self.folder, 'manifest')}") from error

    def digests(self) -> dict[str, str]:
        """The SHA-256 of what the run must not change."""
        return {name: runs.file_sha256(self.folder / name) for name in (runs.CONFIG, runs.SUBSET)}


def settings_of(folder: Path, said: Iterable[Setting]) -> Experiment:
    """The experiment of the run in `folder`, as it records it: no Python file that it names is run.

    Raises SettingError if `said` differs from it, and CheckpointError.
    """
    try:
        experiment, _ = resolve(folder / runs.CONFIG, runs_files=False)
    except SettingError as error:
        *lines, last = str(error).splitlines()
        raise CheckpointError(*lines, f"{last}; {_cure(folder, 'config')}") from error
    recorded = [Setting((name,), value, str(folder / runs.CONFIG)) for name, value in experiment.model_dump().items()]
    changed, _ = resolve(None, [*recorded, *said])
    if differences := [
        f"{change} changes the schedule" if change.startswith("epochs ") else change
        for change in _changes(experiment.model_dump(), changed.model_dump())
    ]:
        raise SettingError(
            f"--resume goes on with the settings of {folder}, but {'; '.join(differences)}; "
            "leave that out, or start a new run"
        )
    return experiment


def _last_checkpoint(folder: Path, notice: Notice) -> tuple[Checkpoint | None, bool]:
    """The last save, None if there is none, or the one before it where that is damaged, and whether it is.

    Raises CheckpointError.
    """
    names, reasons = runs.entries(folder), []
    for path in (folder / runs.CHECKPOINT, folder / runs.PREVIOUS):
        if path.name not in names:
            continue
        try:
            checkpoint = checkpoints.load(path)
        except DamageError as error:
            reasons.append(str(error))
            continue
        if reasons:
            notice(f"warning: {runs.CHECKPOINT} is damaged; using the save before it, {path} ({reasons[0]})")
        return checkpoint, bool(reasons)
    if reasons:
        raise DamageError(f"no save of this run is whole, start it again: {'; '.join(reasons)}")
    return None, False


def _cure(folder: Path, field: str) -> str:
    """What helps when a file of the run is damaged that its checkpoint holds too, in `field`."""
    if runs.CHECKPOINT not in runs.entries(folder):
        return "put it back, or start a new run"
    return f"put it back; in Python, checkpoints.load of {folder / runs.CHECKPOINT} has it too, as {field}"


def _changes(before: dict[str, Any], now: dict[str, Any], place: str = "") -> Iterator[str]:
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, f"{place}{name}.")
        elif old != new:
            yield f"{place}{name} {old} -> {new}"
