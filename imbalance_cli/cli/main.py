"""The command's top level: its subcommands, and how everything that goes wrong ends in one line and an exit code."""

import gc
import os
import signal
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from imbalance_cli import __version__
from imbalance_cli.cli.advise import advise
from imbalance_cli.cli.compare import compare
from imbalance_cli.cli.download import download
from imbalance_cli.cli.evaluate import evaluate
from imbalance_cli.cli.make_subset import make_subset
from imbalance_cli.cli.methods import methods
from imbalance_cli.cli.output import check_stdout, complain, require_stdout, write_stdout
from imbalance_cli.cli.parsing import ListCommand, SettingsCommand, setting_of
from imbalance_cli.cli.plot_loss import plot_loss
from imbalance_cli.cli.refit import refit
from imbalance_cli.cli.report import report
from imbalance_cli.cli.train import train
from imbalance_cli.errors import MemoryShortage, UserError, did_you_mean, is_out_of_memory, one_line

SHARES = ("--ratio", "--test-ratio", "--validation")  # which some would write as 1:100 or 1%
OTHER_NAMES = {"--learning-rate": "--lr", "--seed": "--seeds"}


class Group(TyperGroup):
    """The top of the command: a user's error is one line on stderr and its exit code."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **kwargs: Any
    ) -> Any:
        try:
            require_stdout()
            code = self._run(args, **kwargs)
        except UserError as error:
            code = error.exit_code
            for line in str(error).splitlines():
                complain(f"error: {line}")
        except typer.Exit as error:
            code = error.exit_code
        except typer.TyperException as error:
            code = error.exit_code
            shows_help = type(error).__name__ == "NoArgsIsHelpError"
            complain(error.format_message() if shows_help else f"error: {_usage_error(error)}")
        except Exception as error:
            if is_out_of_memory(error):
                code = MemoryShortage.exit_code
                complain("error: out of memory; try a smaller --batch-size, model or --image-size")
            else:
                code = 1
                complain(traceback.format_exc())
                complain(f"error: this is a bug in imbalance {__version__}; please report it with the lines above")
        if not standalone_mode:
            return code
        raise SystemExit(code if isinstance(code, int) else 0)

    def _run(self, args: Sequence[str] | None, **kwargs: Any) -> Any:
        try:
            code = super().main(args, standalone_mode=False, **kwargs)
        except SystemExit as error:
            if isinstance(error.__context__, BrokenPipeError):  # typer's way to end `imbalance --help | head`
                return 128 + signal.SIGPIPE
            raise
        except OSError:
            check_stdout()  # says so if it was the standard output
            raise
        write_stdout()  # what help or version have left to write
        return code


def _usage_error(error: Any) -> str:
    """The message of typer's `error`, with the value that was given or the option that may have been meant."""
    place = getattr(getattr(error, "ctx", None), "command_path", "imbalance")
    message = " ".join(error.format_message().split())
    if type(error).__name__ == "NoSuchOption":
        known = [flag for parameter in error.ctx.command.params for flag in parameter.opts if flag.startswith("--")]
        message = f"unknown option {error.option_name}{_meant(error.option_name, error.ctx.info_name, known)}"
    elif hasattr(error.__cause__, "errors"):  # pydantic's, whose message does not show the value
        from imbalance_cli.setting_problems import wanted

        problem = error.__cause__.errors()[0]
        flag = error.param.opts[-1]
        example = ", as in 0.01" if flag in SHARES else ""
        message = f"{flag} must be {wanted(problem)}{example}; got {problem['input']!r}"
    return one_line(f"{message[:1].lower()}{message[1:].rstrip('.')} (see {place} --help)")


def _meant(option: str, command: str, known: Sequence[str]) -> str:
    """The end of the message about an unknown option."""
    if (flag := OTHER_NAMES.get(option)) in known:
        return f"; did you mean {flag!r}?"
    if command in ("train", "compare") and (key := setting_of(option)):
        return f"; did you mean --set {key}=...?"
    return did_you_mean(option, known)


# Plain help: drawing it with rich would double the time that --help takes.
app = typer.Typer(
    name="imbalance", cls=Group, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _show_version(value: bool) -> None:
    if value:
        print(f"imbalance {__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Learn from class-imbalanced images, and see honestly what each remedy changes.

    Start with: imbalance train --loss focal --ratio 0.01
    """


app.command(cls=ListCommand)(download)
app.command(cls=ListCommand, name="make-subset")(make_subset)
# What to do with several files or losses train itself says.
app.command(cls=SettingsCommand, context_settings={"allow_extra_args": True})(train)
app.command(cls=ListCommand)(evaluate)
app.command(cls=ListCommand)(refit)
app.command(cls=ListCommand)(compare)
app.command(cls=ListCommand)(report)
app.command(cls=SettingsCommand)(advise)
app.command(cls=ListCommand, name="plot-loss")(plot_loss)
app.command(cls=ListCommand)(methods)


def main() -> None:
    """Run the command line."""
    # PyTorch's threads wait for each other many times a step. By default they wait by spinning, so on a machine with
    # other work they take the processor from the thread they wait for: measured, up to twenty times slower. Set
    # before torch is imported; an idle machine is as fast either way.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # A training step makes thousands of small objects and hardly any cycle; looking for cycles after every 700 of
    # them, as Python does by default, took a sixth of a short run.
    gc.set_threshold(10_000)
    app(prog_name="imbalance")
