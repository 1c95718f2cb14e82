"""The command line as tests run it: in this process, or in one of its own."""

import subprocess
import sys
from typing import Any

from typer.testing import CliRunner, Result

from imbalance_cli.cli import app


def imbalance(*args: object, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(arg) for arg in args], prog_name="imbalance")
    assert result.exit_code == exit_code, result.output
    return result


def complaint(*args: object, exit_code: int = 2) -> str:
    """The one line on stderr of a command that is refused."""
    result = imbalance(*args, exit_code=exit_code)
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0].removeprefix("error: ")


def shell(*args: object, **more: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; `more` is for subprocess.run."""
    command = [sys.executable, "-m", "imbalance_cli", *map(str, args)]
    return subprocess.run(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more)
