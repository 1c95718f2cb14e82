"""What the commands print: results to stdout; notices, progress and errors to stderr."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

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
        self.as_json, self.quiet = as_json, quiet
        self.stdout: Console = Console(highlight=False)
        self.stderr: Console = Console(stderr=True, highlight=False)

    def notice(self, line: str) -> None:
        """One line about what happens, for people."""
        if not self.quiet:
            self.stderr.print(line, markup=False, style="dim", soft_wrap=True)

    def result(self, shown: RenderableType, value: Any) -> None:
        """The command's result: `shown` to a person, `value` with --json."""
        try:
            with self.stdout.capture() as captured:
                self.stdout.print(shown)
            sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n" if self.as_json else captured.get())
            sys.stdout.flush()
        except OSError as error:
            # Python flushes once more as it exits, and would complain of the same.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):  # the reader has had enough, as in `imbalance ... | head`
                raise typer.Exit(128 + signal.SIGPIPE) from error
            raise cannot_write(Path("the standard output"), error) from error
