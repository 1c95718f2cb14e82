"""The process that carries out cells of a study: a line of JSON on stdin for each, lines on stdout about how it goes.

It ends when its stdin does, at once and in the midst of whatever it does: the command that started it may have been
killed, and a run goes on from its last save to the same bytes.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imbalance_cli import runs
from imbalance_cli.config import Setting, resolve
from imbalance_cli.errors import (
    OUT_OF_MEMORY_AT_THE_END,
    CheckpointError,
    DivergedError,
    MemoryShortage,
    SettingError,
    UserError,
    is_out_of_memory,
)
from imbalance_cli.files import make_folder
from imbalance_cli.studies.cell_runs import CHOICE, TRIAL, located, recorded_failure
from imbalance_cli.studies.comparison import Outcome
from imbalance_cli.studies.scores import METRICS
from imbalance_cli.studies.study import Settings, cell_of, with_values
from imbalance_cli.studies.tuning import Tuning, Values, best

if TYPE_CHECKING:
    from imbalance_cli.experiments import Run

Report = Callable[[dict[str, Any]], None]


class Taken(Exception):
    """Another process runs the cell."""


class Stopped(Exception):
    """The run was asked to stop, and has saved where it is."""


@dataclass(frozen=True)
class Worker:
    """What cells are carried out with: who hears how it goes, and whether to stop."""

    report: Report
    stopping: threading.Event

    def carry_out(self, task: Mapping[str, Any]) -> None:
        """Finish the cell that `task` describes, and report how that ended."""
        began = time.monotonic()
        try:
            self._finish(task)
            self.report({"finished": True, "seconds": time.monotonic() - began})
        except Taken as taken:
            self.report({"taken": str(taken)})
        except UserError as error:
            self.report({"failed": "; ".join(str(error).splitlines()), "exit_code": error.exit_code})
        except Exception as error:
            if is_out_of_memory(error):
                self.report({"failed": OUT_OF_MEMORY_AT_THE_END, "exit_code": MemoryShortage.exit_code})
                return
            traceback.print_exc()
            kind = type(error).__name__
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}:{last.lineno}"
            self.report({"failed": f"this is a bug, please report it: {kind}: {error} ({place})", "exit_code": 1})

    def _finish(self, task: Mapping[str, Any]) -> None:
        study, settings = Path(task["study"]), tuple(Setting(tuple(path), *more) for path, *more in task["settings"])
        if task["tuning"] is None:
            self._run(study / task["folder"], settings, retry=task["retry"])
        else:
            self._tune(study, task, settings, Tuning(**task["tuning"]))

    def _notice(self, line: str) -> None:
        self.report({"notice": line})

    def _run(self, folder: Path, settings: Settings, *, retry: bool = True) -> None:
        """Train and test one run, from where it is."""
        with _locked(folder, self._notice):
            if runs.RESULTS in runs.entries(folder):
                return
            if not retry and (failure := recorded_failure(folder)):  # another process has just tried
                raise failure
            run = self._opened(folder, settings)
            self._train(run, {})
            with run.noting_failure():
                run.finish()

    def _opened(self, folder: Path, settings: Settings) -> Run:
        from imbalance_cli import experiment_data, experiments
        from imbalance_cli.advice.training_time import too_short

        if runs.CONFIG in runs.entries(folder):
            return experiments.resume(folder, [], self._notice)
        runs.check_folder(folder, overwrite=False)
        experiment, sources = resolve(None, settings)
        prepared = experiment_data.prepare(experiment, self._notice)
        if warning := too_short(prepared):
            self._notice(f"warning: {warning}")
        run = experiments.Run(prepared)
        runs.clear_folder(folder)
        run.start(folder, sources)
        return run

    def _train(self, run: Run, where: dict[str, Any]) -> None:
        where = where | {"epochs": run.prepared.experiment.all_epochs}
        self.report({"epoch": run.trainer.progress.epoch, **where})
        with run.noting_failure():
            for progress in run.train():
                if progress.step == 0:
                    self.report({"epoch": progress.epoch, **where})
                if self.stopping.is_set():
                    run.save()
                    raise Stopped

    def _tune(self, study: Path, task: Mapping[str, Any], settings: Settings, tuning: Tuning) -> None:
        """Train with every proposal, and test the run of the one that is best on validation."""
        folder, seed = study / task["folder"], task["seed"]
        with _locked(folder, self._notice):
            trials: list[dict[str, Any]] = []

            def try_out(values: Values) -> float | None:
                own = with_values(settings, values)
                cell = cell_of(task["condition"], task["method"], resolve(None, own)[0], own, seed)
                (cell,) = located(study, [cell])
                where = {"trial": len(trials) + 1, "trials": tuning.count}
                trial = _scored(self._trial(study / cell.folder, own, where, retry=task["retry"]), tuning)
                trials.append({"folder": cell.folder, "values": values, **trial})
                score: float | None = trial["score"]
                return score

            tuning.search_for(try_out, seed)
            if all(trial["score"] is None for trial in trials):
                raise DivergedError(f"every trial failed: {trials[0]['failed']}")
            chosen = trials[best(trials)]

            def report(event: dict[str, Any]) -> None:
                if not event.get("notice", "").startswith("resuming"):  # nobody stopped the trial that was chosen
                    self.report(event)

            replace(self, report=report)._run(study / chosen["folder"], with_values(settings, chosen["values"]))
            choice = {"chosen": chosen["folder"], "values": chosen["values"], "trials": trials}
            runs.write_json(folder / CHOICE, choice)

    def _trial(self, folder: Path, settings: Settings, where: dict[str, Any], *, retry: bool) -> dict[str, Any]:
        """What the run in `folder` reaches on its validation images; the test images stay unseen."""
        began = time.monotonic()
        with _locked(folder, self._notice):
            found = _read_trial(folder)
            if found is not None and not (retry and found["validation"] is None):
                return found
            try:
                trial: dict[str, Any] = {"validation": self._validated(folder, settings, where)}
            except (DivergedError, MemoryShortage) as error:
                trial = {"validation": None, "failed": str(error)}
            trial["seconds"] = round(time.monotonic() - began, 2)
            runs.write_json(folder / TRIAL, trial)
            return trial

    def _validated(self, folder: Path, settings: Settings, where: dict[str, Any]) -> dict[str, Any]:
        from imbalance_cli import checkpoints
        from imbalance_cli.evaluation import evaluate
        from imbalance_cli.experiment_data import images_for

        if runs.RESULTS in runs.entries(folder):
            checkpoint = checkpoints.load(folder / runs.CHECKPOINT)
            images, _ = images_for(checkpoint, None, "validation", {}, self._notice)
        else:
            run = self._opened(folder, settings)
            held_out = run.prepared.validation
            if held_out is None or bool((held_out.counts() == 0).any()):
                raise SettingError("tune: there are no validation images of every class to choose on")
            self._train(run, where)
            if not run.operating_points:
                run.decide()
            run.save()
            checkpoint, images = checkpoints.load(folder / runs.CHECKPOINT), held_out
        scores, _ = evaluate(checkpoint, images, device=checkpoint.config["device"])
        return scores


def _read_trial(folder: Path) -> dict[str, Any] | None:
    """What a trial in `folder` reached before; None if there was none or its file is damaged."""
    with suppress(CheckpointError):
        value = runs.read_json(folder / TRIAL)
        if isinstance(value, dict) and {"validation", "seconds"} <= value.keys():
            return value
    return None


def _scored(trial: Mapping[str, Any], tuning: Tuning) -> dict[str, Any]:
    """A trial with its score, of which the highest is best; with None if its training failed."""
    scores = trial["validation"]
    if scores is None:
        return {**trial, "score": None, "auroc": None, "point": None}
    point = tuning.point if scores["operating_points"][tuning.point] is not None else "prior"
    score = Outcome("", "", 0, scores, 0.0, 0, 0, "validation").score(tuning.metric, point)
    score *= 1 if METRICS[tuning.metric].higher_is_better else -1
    return {"score": score, "auroc": scores["auroc"], "point": point, "seconds": trial["seconds"]}


@contextmanager
def _locked(folder: Path, notice: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of `folder`, which is made, while the block runs. Raises Taken if another process does."""
    make_folder(folder)
    with ExitStack() as held:
        try:
            held.enter_context(runs.lock(folder, notice))
        except CheckpointError as error:
            raise Taken(str(error)) from error
        yield


def main() -> None:
    """Carry out what stdin asks for, until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a user's own method prints is no answer
    asked: queue.Queue[dict[str, Any]] = queue.Queue()
    stopping = threading.Event()

    def report(event: dict[str, Any]) -> None:
        answers.write(json.dumps(event) + "\n")
        answers.flush()

    def listen() -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "stop" in message:
                stopping.set()
            asked.put(message)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    gc.set_threshold(10_000)  # as the command does
    importlib.import_module("imbalance_cli.experiments")  # for seconds, which are not the first cell's
    worker = Worker(report, stopping)
    while "stop" not in (task := asked.get()):
        sys.argv = task["command"]  # which the run records
        try:
            worker.carry_out(task)
        except Stopped:
            break
    os._exit(0)


if __name__ == "__main__":
    main()
