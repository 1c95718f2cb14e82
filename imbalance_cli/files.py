"""Writing files so that each appears whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from imbalance_cli.errors import CheckpointError, SettingError, WriteError


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` for writing; on success it is synced to disk and becomes `path`.

    When the block raises, `path` stays as it was. Raises WriteError if the place cannot be written.
    """
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                raise cannot_write(path, error) from error
        try:
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files; ours follow the user's umask
            os.replace(temporary, path)
            sync_folder(path.parent)
        except OSError as error:
            raise cannot_write(path, error) from error
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def write_file(path: Path, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) to `path`, whole or not at all. Raises WriteError."""
    with whole_file(path) as file:
        file.write(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)


def refuse_existing(*paths: Path | None, overwrite: bool) -> None:
    """Raise CheckpointError if there is a file at one of `paths` that is not to be replaced, or two are the same."""
    given = [Path(path) for path in paths if path is not None]
    for path in given:
        if path.is_file() and not overwrite:
            raise CheckpointError(f"{path} exists; choose another name, or replace it with --overwrite")
    if len({path.absolute() for path in given}) < len(given):
        raise SettingError(f"{given[0]} is asked for twice; choose two names")


def make_folder(path: Path) -> None:
    """Create folder `path` with its parents. Raises WriteError."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def sync_folder(path: Path) -> None:
    """Make a rename inside folder `path` survive a power failure, where the system can do that."""
    with suppress(OSError):  # some file systems, and Windows, cannot open a folder
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> WriteError:
    """The one-line error for a failed write to `path`."""
    reason = error.strerror or str(error)
    return WriteError(f"cannot write {path}: {reason[:1].lower()}{reason[1:]}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
