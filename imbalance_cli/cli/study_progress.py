"""How the runs of a study are shown while they go on: a live table in a terminal, a line for each elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from imbalance_cli.errors import CheckpointError, SettingError, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from imbalance_cli.cli.output import Output
    from imbalance_cli.studies.cell_runs import Board, Failure, StudyRuns
    from imbalance_cli.studies.study import Cell

WIDTH = 79
MOST_SHOWN = 20  # of the cells that are running, and of those that others run


class StudyProgress:
    """What hears how the cells of a study go, and shows it."""

    def __init__(self, study_runs: StudyRuns, output: Output, metric: str, point: str) -> None:
        self.study_runs, self.output = study_runs, output
        self.metric, self.point = metric, point
        self._refresh: Callable[[], None] = lambda: None
        self._told: set[str] = set()
        self._waits = ""

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the live table, in a terminal, while the block runs."""
        if not self.output.live:
            yield
            return
        from rich.live import Live

        with Live(console=self.output.stderr, transient=True, auto_refresh=False) as live:
            self._refresh = lambda: live.update(self._table(), refresh=True)
            try:
                yield
            finally:
                self._refresh = lambda: None

    def tick(self) -> None:
        """Draw the table again, or say once what is waited for."""
        self._refresh()
        board = self.study_runs.board
        if board.elsewhere and not board.waiting and not board.running and not self.output.live:
            line = f"waiting for {_runs(len(board.elsewhere))} of another process"
            if line != self._waits:
                self.output.notice(line)
            self._waits = line

    def told(self, cell: Cell, line: str) -> None:
        """Pass on what a run has to say, what many say only once."""
        if line.startswith(("resuming", "bits may differ")):
            line = f"{cell.label}: {line}"
        if line not in self._told:
            self._told.add(line)
            self.output.notice(line)

    def ended(self, cell: Cell, failure: Failure | None, seconds: float) -> None:
        """Say how a cell ended, where no table shows it."""
        board = self.study_runs.board
        count = f"{len(board.finished) + len(board.failed)}/{board.total}"
        if failure is not None:
            self.output.notice(f"{count} {cell.label}: failed: {failure.reason}")
        elif not self.output.live and not self.output.quiet:
            self.output.notice(f"{count} {cell.label}: {self._score(cell)} ({duration(seconds)})")

    def _score(self, cell: Cell) -> str:
        from imbalance_cli.studies.cell_runs import gather
        from imbalance_cli.studies.scores import METRICS, POINTS

        metric = METRICS[self.metric]
        try:
            outcome = gather(self.study_runs.folder, cell)
            point = self.point if outcome.results["operating_points"][self.point] is not None else "prior"
            score = outcome.score(self.metric, point)
        except (CheckpointError, SettingError):  # which the comparison will tell
            return "finished"
        return f"{metric.words} {metric.shown(score)}{f' {POINTS[point]}' if metric.decided else ''}"

    def _table(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        board = self.study_runs.board
        table = Table.grid(padding=(0, 1))
        table.add_row(Text(summary(board, self.study_runs.jobs)))
        for label, (_, event) in list(board.running.items())[:MOST_SHOWN]:
            table.add_row(Text(f"  {_fitting(label, where := _where(event))}  {where}"))
        for cell, holder in list(board.elsewhere.values())[:MOST_SHOWN]:
            table.add_row(Text(f"  {_fitting(cell.label, holder)}  {holder}", style="dim"))
        return table


def summary(board: Board, jobs: int) -> str:
    """How many cells are where, and the time left."""
    counts = {
        "finished": len(board.finished),
        "failed": len(board.failed),
        "running": len(board.running),
        "run by others": len(board.elsewhere),
        "waiting": len(board.waiting),
    }
    parts = [f"{count} {name}" for name, count in counts.items() if count or name in ("finished", "running")]
    left = board.time_left(jobs)
    about = "" if left is None else f"; about {duration(left)} left"
    return f"{_runs(board.total)}: {', '.join(parts)}{about}"


def duration(seconds: float) -> str:
    """`seconds` for people: 14 s, 3 min, 2 h 5 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _where(event: dict[str, Any]) -> str:
    trial = f"trial {event['trial']}/{event['trials']}, " if "trial" in event else ""
    return f"{trial}epoch {event['epoch']}/{event['epochs']}" if "epoch" in event else "starting"


def _fitting(label: str, other: str) -> str:
    """`label` cut to what a line has room for beside `other`."""
    label, room = printable(label), max(10, WIDTH - 4 - len(other))
    return label if len(label) <= room else f"{label[: room - 3]}..."


def _runs(count: int) -> str:
    return f"{count} run{'s' if count != 1 else ''}"
