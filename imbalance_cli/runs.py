"""The run folder: who may write it, what every run records, and reading that back (without torch)."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from imbalance_cli.errors import CheckpointError, DamageError, UnfinishedError
from imbalance_cli.files import cannot_write, make_folder, read_file, write_file

CONFIG, SUBSET, ENVIRONMENT, LOG = "config.yaml", "subset.yaml", "environment.json", "log.jsonl"
CHECKPOINT, RESULTS, CURVES, CONFUSION = "checkpoint.pt", "results.json", "curves.png", "confusion_matrix.png"
PREDICTIONS = "predictions.csv"
PREVIOUS = "checkpoint.previous.pt"  # the save before the last, until the run is complete
LOCK = ".lock"
BEGINNING = (SUBSET, ENVIRONMENT, CONFIG)  # written first, in this order: a folder with a config.yaml holds a run
FILES = (RESULTS, PREDICTIONS, CONFUSION, CURVES, LOG, PREVIOUS, CHECKPOINT, CONFIG, ENVIRONMENT, SUBSET)


def free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or with -2, -3 ... where that is taken. The folder is made, so that nobody else gets it.

    Raises WriteError.
    """
    make_folder(parent)
    for number in range(1, 1_000_000):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise cannot_write(folder, error) from error
        return folder
    raise CheckpointError(f"{parent / name} and a million numbered folders beside it are taken")


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise CheckpointError if a new run cannot have `folder`, because it holds something."""
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise CheckpointError(f"{folder} is a file; give a folder with --output")
    names = entries(folder)
    if _never_began(names):
        return
    if not overwrite:
        raise CheckpointError(
            f"{folder} is not empty; go on with its run by {resume_command(folder)}, replace it by --overwrite, "
            "or choose another --output"
        )
    if not names.issuperset(BEGINNING):
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
    for name in _stale(entries(folder)):
        remove(folder / name)


def remove(path: Path) -> None:
    """Remove the file `path` if it is there. Raises WriteError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def resume_command(folder: Path) -> str:
    """The command that goes on with the run in `folder`."""
    return shlex.join(["imbalance", "train", "--resume", str(folder)])


def require_run(folder: Path) -> None:
    """Raise CheckpointError unless `folder` is that of a run."""
    names = entries(folder)
    if CONFIG in names:
        return
    if LOCK in names and _never_began(names):
        raise CheckpointError(f"{folder} holds no run: it was stopped before it began; start it again without --resume")
    raise CheckpointError(f"{folder} is not the folder of a run: it holds no {CONFIG}")


def require_unchanged(folder: Path, digests: dict[str, Any], cure: str) -> None:
    """Raise CheckpointError if a file of `folder` that `digests` name has another SHA-256."""
    for name, digest in digests.items():
        if file_sha256(folder / name) != digest:
            raise DamageError(f"{folder / name} was edited or damaged: its SHA-256 differs; {cure}")


def file_sha256(path: Path) -> str:
    """The SHA-256 of the file `path` in hexadecimal. Raises CheckpointError if it cannot be read."""
    try:
        return sha256(read_file(path))
    except OSError as error:
        raise _cannot_read(path, error) from error


def sha256(content: bytes) -> str:
    """The SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def entries(folder: Path) -> set[str]:
    """The names in `folder`; none if there is no such folder. Raises CheckpointError if it cannot be listed."""
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise _cannot_read(folder, error) from error


def _cannot_read(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"cannot read {path}: {(error.strerror or str(error)).lower()}")


def _never_began(names: set[str]) -> bool:
    """Whether a folder of `names` holds nothing but what a stopped start may have left, which another replaces."""
    left = names - _stale(names)
    return not left or (LOCK in left and left <= {LOCK, SUBSET, ENVIRONMENT})


def _stale(names: set[str]) -> set[str]:
    beginnings = tuple(f".{name}." for name in FILES)
    return {name for name in names if name.startswith(beginnings) and name.endswith(".part")}


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
        with suppress(OSError):  # nothing was written
            os.close(descriptor)


def require_unlocked(folder: Path) -> None:
    """Raise CheckpointError if another process is writing `folder` at this moment."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR)
    except OSError:  # there is no lock yet, or it cannot be used, which whoever takes it will say
        return
    try:
        _flock(descriptor, folder, "LOCK_SH", lambda _: None)
    finally:
        os.close(descriptor)


def _take_lock(descriptor: int, folder: Path, notice: Callable[[str], None]) -> None:
    if not _flock(descriptor, folder, "LOCK_EX", notice):
        return
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    try:
        os.ftruncate(descriptor, os.pwrite(descriptor, holder.encode(), 0))
    except OSError as error:
        raise cannot_write(folder / LOCK, error) from error


def _flock(descriptor: int, folder: Path, kind: str, notice: Callable[[str], None]) -> bool:
    """Lock the open file, and return whether this system can. Raises CheckpointError, saying who holds it."""
    try:
        import fcntl
    except ImportError:  # Windows: two runs never choose the same folder by themselves
        return False
    try:
        fcntl.flock(descriptor, getattr(fcntl, kind) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            notice(f"{folder} is on a file system without locks: let no second process write this run")
            return False
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
        raise CheckpointError(f"{folder} is being written by {holder}; wait, or choose another --output") from error
    return True


NO_MATTER = {"command", "git_commit", "versions"}  # of an environment: bytes do not depend on these, or one by one


def environment(computing: dict[str, Any]) -> dict[str, Any]:
    """What a result may depend on beside its configuration; computing: what torch says of the devices it uses."""
    return {
        "command": sys.argv,
        "versions": {name: version(name) for name in ("imbalance-cli", "torch", "numpy", "scikit-learn", "pillow")},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        **computing,
        "git_commit": _git_commit(),
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """What of two environments differs that may change bytes: name, before, now."""
    for name in sorted(now.keys() - NO_MATTER):
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
        return json.loads(read_file(path).decode("utf-8"))
    except FileNotFoundError as error:
        raise DamageError(f"{path} does not exist; is {path.parent} the folder of a run?") from error
    except OSError as error:
        raise _cannot_read(path, error) from error
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{path} cannot be read: it is damaged or not JSON") from error


def read_results(folder: Path) -> Any:
    """The results of the finished run in `folder`. Raises CheckpointError."""
    if RESULTS not in entries(folder):
        require_run(folder)
        raise UnfinishedError(f"the run {folder} has not finished; go on with: {resume_command(folder)}")
    try:
        digest = read_sessions(folder)[-1].get("results_sha256")
    except DamageError as error:
        raise DamageError(f"{error}; remove {folder / RESULTS}, and --resume makes both again") from error
    require_unchanged(folder, {RESULTS: digest}, "remove it, and --resume makes it again")
    return read_json(folder / RESULTS)


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """What the run's environment file says of each session that trained it. Raises CheckpointError."""
    sessions = read_json(folder / ENVIRONMENT)
    if not isinstance(sessions, list) or not sessions or not all(map(_is_session, sessions)):
        raise DamageError(f"{folder / ENVIRONMENT} is damaged: it should list the run's sessions")
    return sessions


def _is_session(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name, {}), dict) for name in ("versions", "sha256"))


def write_log(folder: Path, log: list[dict[str, Any]]) -> None:
    """Write the log, one JSON object a line. Raises WriteError."""
    write_file(folder / LOG, "".join(json.dumps(line) + "\n" for line in log))


def _processor() -> str:
    """The model of the processor, where the system tells, and its architecture."""
    model = platform.processor()
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), model)
    return " ".join(dict.fromkeys([model, platform.machine()])).strip()


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
