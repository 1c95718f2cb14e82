"""The run folder: who may write it, what every run records, and reading that back (without torch)."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from imbalance_cli.errors import CheckpointError
from imbalance_cli.files import cannot_write, make_folder, write_file

CONFIG, SUBSET, ENVIRONMENT, LOG = "config.yaml", "subset.yaml", "environment.json", "log.jsonl"
CHECKPOINT, RESULTS, CURVES, CONFUSION = "checkpoint.pt", "results.json", "curves.png", "confusion_matrix.png"
PREVIOUS = "checkpoint.previous.pt"  # the save before the last, until the run is complete
LOCK = ".lock"
BEGINNING = (SUBSET, ENVIRONMENT, CONFIG)  # written first, in this order: a folder with a config.yaml holds a run
FILES = (RESULTS, CONFUSION, CURVES, LOG, PREVIOUS, CHECKPOINT, CONFIG, ENVIRONMENT, SUBSET)


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
    if not folder.is_dir() or _never_began(folder):
        return
    if not overwrite:
        raise CheckpointError(
            f"{folder} is not empty; go on with its run by --resume {folder}, replace it by --overwrite, "
            "or choose another --output"
        )
    if not all((folder / name).exists() for name in BEGINNING):
        raise CheckpointError(f"{folder} holds files, but no run to overwrite; choose another --output")


def clear_folder(folder: Path) -> None:
    """Remove the files of the run before, and only those. Raises WriteError.

    Stopped anywhere, this leaves a run that can be resumed or overwritten, or a folder in which none began.
    """
    remove_stale(folder)
    for name in FILES:
        remove(folder / name)


def remove_stale(folder: Path) -> None:
    """Remove what a process that was killed while writing a run's file left beside it. Raises WriteError."""
    for path in _stale(folder):
        remove(path)


def remove(path: Path) -> None:
    """Remove the file `path` if it is there. Raises WriteError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def require_run(folder: Path) -> None:
    """Raise CheckpointError unless `folder` is that of a run."""
    if (folder / CONFIG).is_file():
        return
    if folder.is_dir() and (folder / LOCK).exists() and _never_began(folder):
        raise CheckpointError(f"{folder} holds no run: it was stopped before it began; start it again without --resume")
    raise CheckpointError(f"{folder} is not the folder of a run: it holds no {CONFIG}")


def require_unchanged(folder: Path, digests: dict[str, Any], cure: str) -> None:
    """Raise CheckpointError if a file of `folder` that `digests` name has another SHA-256."""
    for name, digest in digests.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise CheckpointError(f"cannot read {folder / name}: {(error.strerror or str(error)).lower()}") from error
        if sha256(content) != digest:
            raise CheckpointError(f"{folder / name} was edited or damaged: its SHA-256 differs; {cure}")


def sha256(content: bytes) -> str:
    """The SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _never_began(folder: Path) -> bool:
    """Whether `folder` is empty but for what a start that was stopped may have left, which another start replaces."""
    left = {entry.name for entry in folder.iterdir()} - {path.name for path in _stale(folder)}
    return not left or (LOCK in left and left <= {LOCK, SUBSET, ENVIRONMENT})


def _stale(folder: Path) -> list[Path]:
    beginnings = tuple(f".{name}." for name in FILES)
    return [path for path in folder.iterdir() if path.name.startswith(beginnings) and path.suffix == ".part"]


@contextmanager
def lock(folder: Path, notice: Callable[[str], None]) -> Iterator[None]:
    """Keep every other process from writing `folder` while the block runs. Raises CheckpointError if one does.

    The lock is the system's, on an open file: it ends with the process, however that ends. `notice` hears where
    the file system has none.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        _take_lock(descriptor, folder, notice)
        yield  # the file stays: removing it could take the lock from under a process that has just opened it
    finally:
        os.close(descriptor)


def _take_lock(descriptor: int, folder: Path, notice: Callable[[str], None]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two runs never choose the same folder by themselves
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            notice(f"{folder} is on a file system without locks: let no second process write this run")
            return
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
        raise CheckpointError(f"{folder} is being written by {holder}; wait, or choose another --output") from error
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    try:
        os.ftruncate(descriptor, os.pwrite(descriptor, holder.encode(), 0))
    except OSError as error:
        raise cannot_write(folder / LOCK, error) from error


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


def as_json(value: Any) -> str:
    """`value` as indented JSON; what of a name is not UTF-8 is escaped as JSON does it."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON. Raises WriteError."""
    write_file(path, as_json(value))


def read_json(path: Path) -> Any:
    """The value in the JSON file `path`. Raises CheckpointError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist; is {path.parent} the folder of a run?") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: it is damaged or not JSON") from error


def read_results(folder: Path) -> Any:
    """The results of the finished run in `folder`. Raises CheckpointError."""
    digest = read_sessions(folder)[-1].get("results_sha256")
    require_unchanged(folder, {RESULTS: digest}, "remove it, and --resume makes it again")
    return read_json(folder / RESULTS)


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """What the run's environment file says of each session that trained it. Raises CheckpointError."""
    sessions = read_json(folder / ENVIRONMENT)
    if not isinstance(sessions, list) or not sessions or not all(map(_is_session, sessions)):
        raise CheckpointError(f"{folder / ENVIRONMENT} is damaged: it should list the run's sessions")
    return sessions


def _is_session(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name, {}), dict) for name in ("versions", "sha256"))


def write_log(folder: Path, log: list[dict[str, Any]]) -> None:
    """Write the log, one JSON object a line. Raises WriteError."""
    write_file(folder / LOG, "".join(json.dumps(line) + "\n" for line in log))


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
