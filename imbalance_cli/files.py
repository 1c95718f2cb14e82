"""Writing files so that each appears whole or not at all, and reading those that are files."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from imbalance_cli.errors import CheckpointError, SettingError, WriteError


@contextmanager
def whole_file(path: Path, *, size: int | None = None, previous: Path | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` for writing; on success it is synced to disk and becomes `path`.

    When the block raises, `path` stays as it was. size: how many bytes it will need, for the message of a full disk.
    previous: the name under which what was at `path` is kept. Raises WriteError if the place cannot be written.
    """
    place = _place(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{place.name[:80]}.", suffix=".part", dir=place.parent)
    except OSError as error:
        raise cannot_write(path, error, size) from error
    held = None
    try:
        with os.fdopen(handle, "wb") as file:
            if _take_lock(handle):
                held = os.dup(handle)  # until it has its own name, for `remove_unfinished`
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files; ours follow the user's umask
        if previous is not None and os.path.exists(place):
            os.replace(place, previous)
        os.replace(temporary, place)
        sync_folder(place.parent)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise cannot_write(path, error, size) from error
        raise
    finally:
        if held is not None:
            with suppress(OSError):  # what it held is on the disk, or told already
                os.close(held)


def write_file(path: Path, content: str | bytes, *, previous: Path | None = None) -> None:
    """Write `content` (text as UTF-8) to `path`, whole or not at all. Raises WriteError.

    previous: the name under which what was at `path` is kept.
    """
    content = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with whole_file(path, size=len(content), previous=previous) as file:
        file.write(content)


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes that were writing `path` left beside it, as far as that can be.

    Empty files stay: in its first moment a file that is being written is empty, and not locked yet.
    """
    beginning = f".{path.name[:80]}."
    with suppress(OSError):
        for entry in path.parent.iterdir():
            if entry.name.startswith(beginning) and entry.suffix == ".part":
                with suppress(OSError), entry.open("rb") as file:
                    if os.fstat(file.fileno()).st_size and _take_lock(file.fileno()):
                        entry.unlink()


def read_file(path: Path) -> bytes:
    """The content of the file `path`. Raises OSError, also for a name that no file can have."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except ValueError as error:  # a NUL character
        raise OSError(errno.EINVAL, str(error)) from error
    if not is_file:  # opening a pipe would wait for ever
        raise OSError(errno.EINVAL, "it is not a regular file")
    return path.read_bytes()


def require_places(*paths: Path | None) -> None:
    """Raise WriteError if one of `paths` cannot be written, so that none is written before another fails."""
    for path in paths:
        if path is not None:
            try:
                tempfile.TemporaryFile(dir=_place(path).parent).close()
            except OSError as error:
                raise cannot_write(path, error) from error


def refuse_existing(*paths: Path | None, overwrite: bool) -> None:
    """Raise CheckpointError if there is a file at one of `paths` that is not to be replaced, or two are the same."""
    given = [Path(path) for path in paths if path is not None]
    for path in given:
        if os.path.isfile(path) and not overwrite:
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
    """Make a rename inside folder `path` survive a power failure, where the system can do that.

    Raises OSError if the disk fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # some file systems, and Windows, cannot open a folder
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError, size: int | None = None) -> WriteError:
    """The one-line error for a failed write of `size` bytes to `path`."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC and size is not None:
        with suppress(OSError):
            reason += f" ({size:,} bytes needed, {shutil.disk_usage(Path(path).parent).free:,} free)"
    return WriteError(f"cannot write {path}: {reason[:1].lower()}{reason[1:]}")


def _place(path: Path) -> Path:
    """Where a file called `path` is: a link stays, and what it leads to is written. Raises WriteError."""
    place = Path(os.path.realpath(path))
    try:
        mode = os.stat(place).st_mode
    except FileNotFoundError:
        return place
    except OSError as error:
        raise cannot_write(path, error) from error
    if not stat.S_ISREG(mode):  # renaming would put a file in the place of a device
        reason = "is a directory" if stat.S_ISDIR(mode) else "a device or pipe is no file"
        raise WriteError(f"cannot write {path}: {reason}")
    return place


def _take_lock(handle: int) -> bool:
    """Lock the open file until its last descriptor is closed, as a killed process's are; False if that cannot be."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # it is being written; or Windows, or a file system without locks
        return False
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
