"""The run folder: who may write it, what every run records, and reading that back (without torch)."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from imbalance_cli.errors import CheckpointError
from imbalance_cli.files import cannot_write, make_folder, write_file

CONFIG, SUBSET, ENVIRONMENT, LOG = "config.yaml", "subset.yaml", "environment.json", "log.jsonl"
CHECKPOINT, RESULTS, CURVES, CONFUSION = "checkpoint.pt", "results.json", "curves.png", "confusion_matrix.png"
LOCK = ".lock"
FILES = (CONFIG, SUBSET, ENVIRONMENT, LOG, CHECKPOINT, RESULTS, CURVES, CONFUSION)


def free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or with -2, -3 ... where that is taken. The folder is made, so that nobody else gets it.

    Raises WriteError.
    """
    make_folder(parent)
    for number in range(1, 1_000_000):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            try:
                folder.mkdir()
            except FileExistsError:
                continue  # another process was faster
            except OSError:
                make_folder(folder)  # says what is wrong
            return folder
    raise CheckpointError(f"{parent / name} and a million numbered folders beside it are taken")


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise CheckpointError if a new run cannot have `folder`, because it holds something."""
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; give a folder with --output")
    if not folder.is_dir() or all(entry.name == LOCK for entry in folder.iterdir()):
        return
    if not overwrite:
        raise CheckpointError(
            f"{folder} is not empty; go on with its run by --resume {folder}, replace it by --overwrite, "
            "or choose another --output"
        )
    if not all((folder / name).exists() for name in (CONFIG, SUBSET, ENVIRONMENT)):
        raise CheckpointError(f"{folder} holds files, but no run to overwrite; choose another --output")


def clear_folder(folder: Path) -> None:
    """Remove the files of the run before, and only those."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def require_run(folder: Path) -> None:
    """Raise CheckpointError unless `folder` is that of a run."""
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder} is not the folder of a run: it holds no {CONFIG}")


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep every other process from writing `folder` while the block runs. Raises CheckpointError if one does.

    The lock is the system's, on an open file: it ends with the process, however that ends.
    """
    try:
        handle: IO[str] = open(folder / LOCK, "a+", encoding="utf-8")
    except OSError as error:
        raise cannot_write(folder, error) from error
    with handle:
        try:
            import fcntl
        except ImportError:  # Windows: two runs never choose the same folder by themselves
            yield
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise CheckpointError(f"{folder} is being written by {holder}; wait, or choose another --output") from error
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}")
        handle.flush()
        yield  # the file stays: removing it could take the lock from under a process that has just opened it


def environment(device: str, threads: int, precision: str) -> dict[str, Any]:
    """What a result may depend on beside its configuration."""
    return {
        "command": sys.argv,
        "versions": {name: version(name) for name in ("imbalance-cli", "torch", "numpy", "scikit-learn", "pillow")},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "device": device,
        "precision": precision,
        "threads": threads,
        "git_commit": _git_commit(),
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """What of two environments differs that may change bytes: name, before, now."""
    for name in ("device", "precision", "threads", "python", "platform"):
        if before.get(name) != now[name]:
            yield name, before.get(name), now[name]
    for name, version_now in now["versions"].items():
        if before.get("versions", {}).get(name) != version_now:
            yield name, before.get("versions", {}).get(name), version_now


def peak_memory() -> dict[str, float]:
    """The most memory this process has held, in MiB, where the system tells."""
    try:
        import resource
    except ImportError:  # Windows
        return {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory_mib": round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)}


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON. Raises WriteError."""
    write_file(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in the JSON file `path`. Raises CheckpointError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist; is {path.parent} the folder of a run?") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: it is damaged or not JSON") from error


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """What the run's environment file says of each session that trained it. Raises CheckpointError."""
    sessions = read_json(folder / ENVIRONMENT)
    if not isinstance(sessions, list) or not sessions or not all(isinstance(each, dict) for each in sessions):
        raise CheckpointError(f"{folder / ENVIRONMENT} is damaged: it should list the run's sessions")
    return sessions


def write_log(folder: Path, log: list[dict[str, Any]]) -> None:
    """Write the log, one JSON object a line. Raises WriteError."""
    write_file(folder / LOG, "".join(json.dumps(line) + "\n" for line in log))


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
