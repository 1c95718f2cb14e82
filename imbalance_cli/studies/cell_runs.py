"""The runs of a study: which are finished, and the others carried out by processes side by side."""

from __future__ import annotations

import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from imbalance_cli import runs
from imbalance_cli.errors import CheckpointError, DivergedError, MemoryShortage, SettingError, UserError
from imbalance_cli.files import make_folder, write_file
from imbalance_cli.strict_yaml import read_yaml
from imbalance_cli.studies.comparison import Outcome, outcome_of
from imbalance_cli.studies.reading import Flags, read_study
from imbalance_cli.studies.study import STUDY, Cell, Study, is_record, slug
from imbalance_cli.studies.tuning import tried

TRIAL, CHOICE = "trial.json", "choice.json"

PATIENCE = 10.0  # seconds that stopped workers have to save where they are
POLL = 0.2  # seconds between two looks at signals
POLL_OTHERS = 1.0  # seconds between two looks at cells that other processes run


@dataclass(frozen=True)
class Failure:
    """Why a cell has no result, and the exit code that this would have as a run of its own."""

    reason: str
    exit_code: int


def check_folder(folder: Path, title: str) -> None:
    """Raise CheckpointError if `folder` holds something else than the study called `title`."""
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise CheckpointError(f"{folder} is a file; give a folder with --output")
    names = {name for name in runs.entries(folder) if not name.startswith(f".{STUDY}.")}
    if names and STUDY not in names:
        raise CheckpointError(f"{folder} is not empty and holds no {STUDY}; choose another --output")
    if names:
        value = read_yaml(folder / STUDY, error=CheckpointError).value
        other = value.get("title") if isinstance(value, dict) else None
        if other != title:
            raise CheckpointError(f"{folder} holds the study {other!r}, not {title!r}; choose another --output")
        if not is_record(folder / STUDY):
            raise CheckpointError(f"{folder / STUDY} is a file of your own and stays; choose another --output")


def recorded(folder: Path) -> Study | None:
    """The study that `folder` holds. Raises CheckpointError."""
    if STUDY not in runs.entries(folder):
        return None
    try:
        study = read_study(folder / STUDY, Flags())[0]
        study.cells()
    except SettingError as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{folder} holds a study that cannot be gone on with; choose another --output ({reason})"
        ) from error
    return study


def free_folder(study: Study, notice: Callable[[str], None]) -> Path:
    """Where a study without a file goes: to the folder of its title, numbered where another study is in it."""
    name, taken = slug(study.title), ""
    for folder in map(Path("runs").joinpath, chain([name], (f"{name}-{number}" for number in count(2)))):
        check_folder(folder, study.title)
        there = recorded(folder)
        if there is None or not study.lacks(there):
            break
        taken = taken or f"{folder} holds another study, which has {study.lacks(there)}"
    if taken:
        notice(f"{taken}; this one is in {folder}")
    return folder


def located(folder: Path, cells: Iterable[Cell]) -> list[Cell]:
    """`cells` with the names of their folders in `folder`, which may be of a time when the methods had other names."""
    names = {name[-8:]: name for name in sorted(runs.entries(folder)) if name[-9:-8] == "-"}
    return [replace(cell, folder=names.get(cell.folder[-8:], cell.folder)) for cell in cells]


def read_choice(folder: Path) -> dict[str, Any] | None:
    """What was chosen in the `folder` of a tuned cell.

    None if it is yet to be chosen or the file is damaged: as the trials are kept, it is soon made again.
    """
    kinds = {"chosen": str, "values": dict, "trials": list}
    with suppress(CheckpointError):
        value = runs.read_json(folder / CHOICE)
        if isinstance(value, dict) and all(isinstance(value.get(name), kind) for name, kind in kinds.items()):
            return value
    return None


def is_finished(folder: Path, cell: Cell) -> bool:
    """Whether the cell has its results."""
    if cell.tuning is None:
        return runs.RESULTS in runs.entries(folder / cell.folder)
    choice = read_choice(folder / cell.folder)
    return choice is not None and runs.RESULTS in runs.entries(folder / choice["chosen"])


def recorded_failure(folder: Path) -> UserError | None:
    """Why the last session of the run in `folder` failed, if it did and said so."""
    if runs.RESULTS in runs.entries(folder) or runs.ENVIRONMENT not in runs.entries(folder):
        return None
    with suppress(CheckpointError):  # whoever goes on with it will say what is wrong
        if reason := runs.read_sessions(folder)[-1].get("failed"):
            # Only these two are recorded, see `cli.train`.
            error = MemoryShortage if str(reason).startswith("out of memory") else DivergedError
            return error(str(reason))
    return None


def gather(folder: Path, cell: Cell) -> Outcome:
    """The outcome of a finished cell. Raises CheckpointError."""
    choice = read_choice(folder / cell.folder)
    if cell.tuning is None or choice is None:
        return outcome_of(folder / cell.folder, condition=cell.condition, method=cell.method, seed=cell.seed)
    run = folder / choice["chosen"]
    outcome = outcome_of(run, condition=cell.condition, method=cell.method, seed=cell.seed, chosen=choice["values"])
    seconds = {trial["folder"]: trial["seconds"] for trial in choice["trials"]}  # a value proposed twice is one trial
    return replace(outcome, seconds=outcome.seconds + sum(seconds.values()), tried=tried(choice, cell.tuning.metric))


def threads_each(jobs: int) -> int | None:
    """The threads of each of `jobs` workers; None for one alone, which has those that a run of its own has."""
    if jobs == 1:
        return None
    given = os.environ.get("OMP_NUM_THREADS", "")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, (int(given) if given.isdecimal() else available) // jobs)


class Worker:
    """A process that carries out one cell after the other; it ends with this one, however this ends."""

    def __init__(self, events: queue.Queue[tuple[Worker, dict[str, Any]]], threads: int | None) -> None:
        self.cell: Cell | None = None
        self.began = 0.0
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "imbalance_cli.studies.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="ascii",
            env=os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)}),
            start_new_session=True,  # Ctrl-C in the terminal is for the command, which then stops its workers
        )
        self._listening = threading.Thread(target=self._listen, args=(events,), daemon=True)
        self._listening.start()

    def _listen(self, events: queue.Queue[tuple[Worker, dict[str, Any]]]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.endswith("\n"):  # else the process was killed while it wrote
                    events.put((self, json.loads(line)))
        events.put((self, {"ended": True}))

    def tell(self, message: dict[str, Any]) -> None:
        """Send a line; if the process has ended, its last event says so."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def end(self, *, patience: float = 0.0) -> None:
        """Let the process end: by itself within `patience` seconds, then at once."""
        assert self._process.stdin is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=patience)
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listening.join()
        self._errors.close()

    def why_it_ended(self) -> Failure:
        """What the ended process says of its end."""
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return Failure(
                "its process was killed (SIGKILL), as a system does that is out of memory; try fewer --jobs",
                MemoryShortage.exit_code,
            )
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return Failure(f"its process {how}: {last}", 1)


@dataclass
class Board:
    """Where the cells of a study stand, for whoever shows it."""

    total: int
    waiting: deque[Cell] = field(default_factory=deque)
    running: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)  # by label: since when, and where
    finished: list[Cell] = field(default_factory=list)
    failed: dict[str, tuple[Cell, Failure]] = field(default_factory=dict)  # by folder
    elsewhere: dict[str, tuple[Cell, str]] = field(default_factory=dict)  # by folder: who runs it
    seconds: list[tuple[Cell, float]] = field(default_factory=list)  # what cells took

    def time_left(self, jobs: int) -> float | None:
        """Seconds until all is done, by what others took that are alike; None before the first."""
        if not self.seconds:
            return None
        left = sum(self._expected(cell) for cell in self.waiting)
        for began, _ in self.running.values():
            left += max(0.0, self._mean(self.seconds) - (time.monotonic() - began))
        return left / max(1, min(jobs, len(self.waiting) + len(self.running)))

    def _expected(self, cell: Cell) -> float:
        alike = [each for each in self.seconds if (each[0].method, each[0].condition) == (cell.method, cell.condition)]
        return self._mean(alike or self.seconds)

    def _mean(self, seconds: Sequence[tuple[Cell, float]]) -> float:
        return sum(each for _, each in seconds) / len(seconds)


class StudyRuns:
    """The cells of a study in its folder: looked through, then carried out."""

    def __init__(self, folder: Path, cells: Sequence[Cell], *, jobs: int, retry: bool) -> None:
        self.folder, self.jobs, self.retry = folder, jobs, retry
        self.board = Board(len(cells))
        for cell in cells:
            failure = recorded_failure(folder / cell.folder)
            if is_finished(folder, cell):
                self.board.finished.append(cell)
            elif failure is not None and not retry:
                self.board.failed[cell.folder] = cell, Failure(str(failure), failure.exit_code)
            else:
                self.board.waiting.append(cell)
        self._events: queue.Queue[tuple[Worker, dict[str, Any]]] = queue.Queue()
        self._workers: list[Worker] = []

    def carry_out(
        self,
        *,
        leave: bool,
        is_stopped: Callable[[], bool],
        tick: Callable[[], None],
        told: Callable[[Cell, str], None],
        ended: Callable[[Cell, Failure | None, float], None],
    ) -> bool:
        """Carry out what is waiting, and return whether nothing stopped that.

        leave: whether cells that other processes run are left to them, else they are waited for; is_stopped, tick:
        called a few times a second; told: hears a worker's notices; ended: hears of every cell how it ended.
        """
        self._told, self._ended = told, ended
        try:
            while self.board.waiting or self.board.running or (self.board.elsewhere and not leave):
                if is_stopped():
                    return False
                self._hand_out()
                self._hear(POLL)
                self._look_elsewhere()
                tick()
            return True
        finally:
            self._end_workers(PATIENCE if is_stopped() else 0.0)

    def _hand_out(self) -> None:
        board = self.board
        idle = [worker for worker in self._workers if worker.cell is None]
        while board.waiting and (idle or len(self._workers) < self.jobs):
            cell = board.waiting.popleft()
            if is_finished(self.folder, cell):  # another process was faster
                self._end(cell, None)
                continue
            if not idle:
                idle.append(Worker(self._events, threads_each(self.jobs)))
                self._workers.append(idle[0])
            worker = idle.pop()
            worker.cell, worker.began = cell, time.monotonic()
            board.running[cell.label] = worker.began, {}
            worker.tell(self._task(cell))

    def _task(self, cell: Cell) -> dict[str, Any]:
        return {
            "study": str(self.folder),
            "command": sys.argv,
            "retry": self.retry,
            "folder": cell.folder,
            "condition": cell.condition,
            "method": cell.method,
            "seed": cell.seed,
            "settings": [[setting.path, setting.value, setting.source] for setting in cell.settings],
            "tuning": cell.tuning and asdict(cell.tuning),
        }

    def _hear(self, seconds: float) -> None:
        with suppress(queue.Empty):
            worker, event = self._events.get(timeout=seconds)
            while True:
                self._handle(worker, event)
                worker, event = self._events.get_nowait()

    def _handle(self, worker: Worker, event: dict[str, Any]) -> None:
        cell = worker.cell
        if cell is None:  # it ended with nothing to do
            self._dismiss(worker)
        elif "epoch" in event:
            self.board.running[cell.label] = worker.began, event
        elif "notice" in event:
            self._told(cell, event["notice"])
        elif "taken" in event:
            self._release(worker)
            self.board.elsewhere[cell.folder] = cell, event["taken"]
        elif "finished" in event:
            self.board.seconds.append((cell, event["seconds"]))
            self._release(worker)
            self._end(cell, None, event["seconds"])
        elif "failed" in event:
            self._release(worker)
            self._end(cell, Failure(event["failed"], event["exit_code"]))
        else:
            self._release(worker)
            self._end(cell, worker.why_it_ended())
            self._dismiss(worker)

    def _release(self, worker: Worker) -> None:
        if worker.cell is not None:
            self.board.running.pop(worker.cell.label)
        worker.cell = None

    def _dismiss(self, worker: Worker) -> None:
        worker.end()
        self._workers.remove(worker)

    def _end(self, cell: Cell, failure: Failure | None, seconds: float = 0.0) -> None:
        if failure is None:
            self.board.finished.append(cell)
        else:
            self.board.failed[cell.folder] = cell, failure
        self._ended(cell, failure, seconds)

    def _look_elsewhere(self) -> None:
        """Take back what other processes have left or finished, once there is nothing else to do."""
        if self.board.waiting or self.board.running or not self.board.elsewhere:
            return
        time.sleep(POLL_OTHERS - POLL)
        for folder, (cell, _) in list(self.board.elsewhere.items()):
            with suppress(CheckpointError):
                if not is_finished(self.folder, cell):
                    runs.require_unlocked(self.folder / folder)
                del self.board.elsewhere[folder]
                self.board.waiting.append(cell)

    def _end_workers(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        if patience:
            for worker in self._workers:
                worker.tell({"stop": True})
        for worker in self._workers:
            worker.end(patience=max(0.0, deadline - time.monotonic()) if worker.cell else 0.0)


def begin(folder: Path, study: Study) -> None:
    """Make the study's folder and write its file.

    Raises CheckpointError if the folder holds what would then be in the comparison no more, and WriteError.
    """
    check_folder(folder, study.title)
    there = recorded(folder)
    if there is not None and (lost := study.lacks(there) or study.lacks_seeds(there)):
        raise CheckpointError(
            f"{folder} holds another study, which has {lost}; give another --output, "
            f"or go on with that one: imbalance compare {shlex.quote(str(folder / STUDY))}"
        )
    make_folder(folder)
    write_file(folder / STUDY, study.as_yaml())
