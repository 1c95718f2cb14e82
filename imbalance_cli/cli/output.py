"""What the commands print: results to stdout; notices, progress and errors to stderr."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import typer

from imbalance_cli.errors import WriteError, printable
from imbalance_cli.files import cannot_write

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class Output:
    """Where one command's output goes, by its --json and --quiet."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        from rich.console import Console

        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is escaped
        if not os.environ.get("COLUMNS", "1").strip("0"):  # some programs start others so; rich would draw nothing
            del os.environ["COLUMNS"]
        self.as_json, self.quiet = as_json, quiet
        self.warnings: list[str] = []  # of all notices those that JSON should hold too
        self.stdout: Console = Console(highlight=False)
        self.stderr: Console = Console(file=cast(TextIO, _Unfailing(sys.stderr)), highlight=False)

    @property
    def live(self) -> bool:
        """Whether stderr is a terminal in which progress may be drawn again and again."""
        return sys.stderr.isatty() and not self.stderr.is_dumb_terminal and not self.quiet

    def notice(self, line: str) -> None:
        """One line about what happens, for people. A warning is kept, also where --quiet hides it."""
        if line.startswith("warning: "):
            self.warnings.append(line.removeprefix("warning: "))
        if not self.quiet:
            self.stderr.print(printable(line), markup=False, style="dim", soft_wrap=True)

    def result(self, shown: RenderableType, value: Any) -> None:
        """The command's result: `shown` to a person, `value` with --json."""
        with _writing_stdout(), self.stdout.capture() as captured:  # which writes nothing, but even that may fail
            self.stdout.print(shown, overflow="ignore", crop=False)
        write_stdout(json.dumps(value, ensure_ascii=False) + "\n" if self.as_json else captured.get())


class _Unfailing:
    """The standard error, which may be a full disk or a terminal that is gone: that is no reason to stop working."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            _discard(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            _discard(self._stream)


def require_stdout() -> None:
    """Raise WriteError if the standard output is closed: the next file that is opened would take its place.

    A closed input or error is replaced, for the same reason, the input first: what is opened takes the lowest number.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")
    if sys.stdout is None:
        raise WriteError("cannot write the standard output: it is closed; send it to a file, or to /dev/null")


def write_stdout(text: str = "") -> None:
    """Write `text`, and what is still waiting, to stdout. Raises WriteError."""
    with _writing_stdout():
        if text:  # unbuffered, writing nothing fails too
            sys.stdout.write(text)
        sys.stdout.flush()


def check_stdout() -> None:
    """Raise WriteError if stdout cannot be written: with what is still waiting or, unbuffered, with nothing."""
    with _writing_stdout():
        sys.stdout.write("")
        sys.stdout.flush()


@contextmanager
def _writing_stdout() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _discard(sys.stdout)
        if isinstance(error, BrokenPipeError):  # the reader has had enough, as in `imbalance ... | head`
            raise typer.Exit(128 + signal.SIGPIPE) from error
        raise cannot_write(Path("the standard output"), error) from error


def complain(line: str) -> None:
    """Print one line to stderr, if that is there."""
    stderr = _Unfailing(sys.stderr)
    stderr.write(f"{line}\n")
    stderr.flush()


def _discard(stream: TextIO) -> None:
    """Let `stream` go nowhere: Python flushes once more as it exits, and would complain of the same."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
