"""What Ctrl-C and the like do to a training run: the first lets it save, any other ends the command at once."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from imbalance_cli.errors import UnfinishedError
from imbalance_cli.runs import resume_command

if TYPE_CHECKING:
    from imbalance_cli.cli.output import Output
    from imbalance_cli.experiments import Run

PATIENCE = 0.5  # seconds from the second signal until an operation that takes long is abandoned


class Stopped(BaseException):
    """A signal ends the command. It is no error, so that nothing which handles errors takes it for one."""


class Signals:
    """The signals received so far, and what they mean for the run in progress."""

    def __init__(self) -> None:
        self.received: list[signal.Signals] = []
        self.run: Run | None = None
        self.ending = False  # whether the command is winding up, which nothing but `_impatience` may disturb
        self._awaited = False

    def receive(self, number: int, _: Any) -> None:
        """Handle signal `number`."""
        if self.ending:
            return
        self.received.append(signal.Signals(number))
        if not self._awaited or len(self.received) > 1:
            self._end()

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Let the block look at `received` by itself, and end the command after it if there is something."""
        self._awaited = True
        yield
        self._awaited = False
        if self.received:
            self._end()

    def _end(self) -> None:
        self.ending = True
        raise Stopped

    def told(self) -> str:
        """What ended the command, what of its run is saved, and how to go on."""
        name = self.received[-1].name
        if self.run is None:
            return f"{name}: stopped before the run began"
        if len(self.received) == 1 and self.run.saved == self.run.place():
            return f"{name}: {how_to_go_on(self.run).replace('last save at', 'saved at', 1)}"
        return f"{name}: stopped at once; {how_to_go_on(self.run)}"


def how_to_go_on(run: Run) -> str:
    """What of `run` is saved, and the command that resumes it."""
    saved = f"last save at {run.saved}" if run.saved else "nothing was saved yet"
    return f"{saved}; resume with: {resume_command(run.folder)}"


@contextmanager
def naming_the_run(place: Path) -> Iterator[None]:
    """Let an error about the unfinished run of `place`, its folder or its checkpoint, say how to go on with it."""
    try:
        yield
    except UnfinishedError as error:
        folder = place if os.path.isdir(place) else place.parent
        raise UnfinishedError(f"{error}; go on with: {resume_command(folder)}") from error


@contextmanager
def stopped_by_signals(out: Output) -> Iterator[Signals]:
    """Receive the signals that end a command, but for those that are ignored, as nohup does with SIGHUP."""
    signals = Signals()
    known = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    watched = [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, signals.receive) for number in watched}
    report = sys.unraisablehook

    def report_others(unraisable: sys.UnraisableHookArgs) -> None:
        """Be quiet about a signal that came while Python was freeing an object: training will see it."""
        if unraisable.exc_type is Stopped:
            signals.ending = False
        else:
            report(unraisable)

    sys.unraisablehook = report_others
    try:
        with _impatience(signals, out):
            yield signals
    except Stopped:
        out.notice(signals.told())
        raise typer.Exit(128 + signals.received[-1]) from None
    finally:
        signals.ending = True
        sys.unraisablehook = report
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _impatience(signals: Signals, out: Output) -> Iterator[None]:
    """End the process soon after a second signal, though one operation may keep Python from handling it for minutes.

    Nothing is lost by that: a file appears whole or not at all, whenever a process ends.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)
    earlier = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        numbers = heard.recv(1) + heard.recv(1)
        if len(numbers) == 2 and not ended.wait(PATIENCE):
            signals.received = [signal.Signals(number) for number in numbers]
            telling = threading.Thread(target=tell, daemon=True)
            telling.start()
            telling.join(PATIENCE)  # and no longer: it may be a full pipe that the operation waits for
            os._exit(128 + numbers[1])

    def tell() -> None:
        out.stderr.show_cursor()
        out.notice(signals.told())

    ended = threading.Event()
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier)
        ended.set()
        told.close()
        watching.join()  # a thread that outlives Python's last moments can abort the process
        heard.close()
