"""The errors that a user can fix, with their exit codes."""

import errno
from collections.abc import Iterable
from difflib import get_close_matches

LONGEST_LINE = 500
OUT_OF_MEMORY = (  # the CPU's allocator, CUDA, its libraries, Apple's, and the system through any of them
    *("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"),
    *("CUDNN_STATUS_ALLOC_FAILED", "MPS backend out of memory", "Cannot allocate memory"),
)
OUT_OF_MEMORY_AT_THE_END = "out of memory while saving or evaluating"  # no batch size helps there


class UserError(Exception):
    """Something the user can put right, in one line: the place, what was given, what would work.

    Several lines are several problems. Whatever a name or a value from outside holds, a line stays a line that a
    terminal can show: what is not printable is escaped, and the middle of a very long one is left out.
    """

    exit_code = 2

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(one_line, lines)))


class SettingError(UserError):
    """A flag, a configuration value or a method's option is wrong (exit code 2)."""


class DataError(UserError):
    """The images, a subset file or a dataset is missing, damaged or unsuitable (exit code 3)."""

    exit_code = 3


class CheckpointError(UserError):
    """A checkpoint or run folder is missing, damaged, taken or does not fit (exit code 4)."""

    exit_code = 4


class DamageError(CheckpointError):
    """A file of a run is not as it was written."""


class UnfinishedError(CheckpointError):
    """A run was stopped before what is asked of it was there."""


class NetworkError(UserError):
    """A download failed (exit code 5)."""

    exit_code = 5


class WriteError(UserError):
    """A file cannot be written (exit code 6)."""

    exit_code = 6


class DivergedError(UserError):
    """The training loss is no longer a finite number (exit code 7)."""

    exit_code = 7


class MemoryShortage(UserError):
    """The device or the machine has too little memory for what was asked (exit code 8)."""

    exit_code = 8


def printable(text: str) -> str:
    """`text` with line breaks, control characters and bytes that are not UTF-8 as escapes, for messages."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """`text` as one line of LONGEST_LINE characters at most, all of them printable."""
    text = printable(text)
    if len(text) <= LONGEST_LINE:
        return text
    half = LONGEST_LINE // 2 - 20
    return f"{text[:half]} ... {text[-half:]}"


def is_out_of_memory(error: Exception) -> bool:
    """Whether `error` is torch's, Python's or the system's way to say that memory ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in OUT_OF_MEMORY)
    )


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: `; did you mean 'focal'?`, else the list of names."""
    names = list(known)
    lowered = {name.lower(): name for name in reversed(names)}
    close = get_close_matches(given.lower(), lowered, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {lowered[close[0]]!r}?"
    if len(names) > 12:
        return f"; known are {', '.join(names[:12])} and {len(names) - 12} more"
    return f"; known: {', '.join(names)}" if names else ""
