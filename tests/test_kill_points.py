"""A run that is killed, or whose disk fails, at any file-system call: resumed, it ends with the same bytes.

strace counts the calls of one run that touch its folder, and then ends a run at each of them. By default every
STRIDE-th is tried, SIGTERM at fewer, with IMBALANCE_ALL_KILL_POINTS=1 every one.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fork_server import Child, ForkServer
from small_data import content

from imbalance_cli import checkpoints, runs

EVERYTHING = os.environ.get("IMBALANCE_ALL_KILL_POINTS") == "1"
STRIDE = 1 if EVERYTHING else 11
RANDOM_KILLS = 100 if EVERYTHING else 12
EPOCHS = 2

# Calls that may fail for want of room or because of the disk. A failing close is told after the fact.
WRITING = {"openat", "write", "pwrite64", "ftruncate", "fsync", "close", "chmod", "rename", "unlink", "mkdir"}
READING = {"read", "getdents64", "newfstatat"}  # where a rotten disk shows first
FALLIBLE = {"ENOSPC": WRITING, "EIO": WRITING | READING}


def ptrace_is_permitted() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.slow
needs_strace = pytest.mark.skipif(not ptrace_is_permitted(), reason="strace is missing or may not trace here")


@dataclass(frozen=True)
class Point:
    """The `number`-th call of `name` that a command makes."""

    name: str
    number: int
    line: str


class Runs:
    """Runs of one small experiment, whole and stopped."""

    def __init__(self, server: ForkServer, flags: list[object], folder: Path) -> None:
        self.server, self.flags, self.folder = server, flags, folder
        self.new(folder / "whole")
        self.whole = content(folder / "whole")

    def new(self, run: Path, *more: object) -> None:
        code, told = self.server.run("train", *self.flags, "-o", run, *more)
        assert code == 0, told

    def complete(self, run: Path) -> None:
        """Go on with `run` after something happened to it, as a user would who reads the messages."""
        if (run / runs.CONFIG).exists():
            place = place_of(run)
            code, told = self.server.run("train", "--resume", run)
            assert place in told, told
        else:  # nothing had begun
            assert self.server.run("train", "--resume", run)[0] == 4
            code, told = self.server.run("train", *self.flags, "-o", run)
        assert code == 0, told
        assert {entry.name for entry in run.iterdir()} == {*runs.FILES, runs.LOCK} - {runs.PREVIOUS}

    def traced(self, options: list[str], *args: object) -> tuple[Child, int]:
        """`imbalance ARGS` under strace."""
        child = self.server.start(*args)
        strace = subprocess.Popen(["strace", "-qq", "-y", *options, "-p", str(child.pid)], stderr=subprocess.PIPE)
        while "TracerPid:\t0" in Path(f"/proc/{child.pid}/status").read_text():
            assert strace.poll() is None, strace.communicate()
            time.sleep(0.002)
        child.go()
        code = child.wait()
        strace.communicate()
        return child, code

    def points(self, run: Path, *args: object) -> list[Point]:
        """Every call of `imbalance ARGS` that touches the folder `run`."""
        log = self.folder / "calls"
        _, code = self.traced(["-o", str(log), "-e", "trace=%file,%desc"], *args)
        assert code == 0
        seen: Counter[str] = Counter()
        found = []
        for line in log.read_text().splitlines():
            name = line.partition("(")[0]
            seen[name] += 1
            if str(run) in line:
                found.append(Point(name, seen[name], line))
        assert len(found) > 50, "strace shows too few calls to have seen the run"
        return found

    def disturbed(self, point: Point, how: str, *args: object) -> tuple[int, str]:
        """The exit code and complaints of `imbalance ARGS` with an injection at `point`."""
        log = self.folder / "injected"
        options = ["-o", str(log), "-e", f"trace={point.name}", "-e", f"inject={point.name}:{how}:when={point.number}"]
        child, code = self.traced(options, *args)
        return code, child.stderr.read_text()


def place_of(run: Path) -> str:
    """What resuming `run` says of where it goes on."""
    if (run / runs.RESULTS).exists():
        return "is already complete"
    saves = [run / name for name in (runs.CHECKPOINT, runs.PREVIOUS) if (run / name).exists()]
    if not saves:
        return "resuming from the start"
    progress = checkpoints.load(saves[0]).progress
    if progress["epoch"] == EPOCHS:
        return "resuming after the last epoch"
    return f"resuming at epoch {progress['epoch'] + 1}, step {progress['step'] + 1}"


@pytest.fixture(scope="module")
def trained(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("kill points")
    flags = ["-d", image_folder, "--data-dir", image_folder / "cache", "--image-size", 16, "--device", "cpu"]
    flags += ["--epochs", EPOCHS, "--batch-size", 64, "--set", "model.width=4"]
    server = ForkServer(folder, "train", *flags, "-o", folder / "warm-up")
    yield Runs(server, flags, folder)
    server.close()


def start_of(trained: Runs, run: Path) -> list[object]:
    shutil.rmtree(run, ignore_errors=True)
    return ["train", *trained.flags, "-o", run]


def resume_of(trained: Runs, run: Path) -> list[object]:
    """A run that was stopped in its second epoch, and left a file half-written."""
    stopped = trained.folder / "stopped"
    if not stopped.exists():
        points = trained.points(stopped, *start_of(trained, stopped))
        point = next(point for point in points if point.name == "rename" and point.line.endswith(f'{runs.LOG}") = 0'))
        assert trained.disturbed(point, "signal=KILL", *start_of(trained, stopped))[0] == -signal.SIGKILL
        assert (stopped / runs.CHECKPOINT).exists()
        (stopped / ".log.jsonl.abcdefgh.part").write_text("{")
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(stopped, run)
    return ["train", "--resume", run]


def overwriting_of(trained: Runs, run: Path) -> list[object]:
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(trained.folder / "whole", run)
    return ["train", *trained.flags, "-o", run, "--overwrite"]


COMMANDS = {"start": start_of, "resume": resume_of, "overwrite": overwriting_of}


@needs_strace
@pytest.mark.fault("T01")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["KILL", "TERM"])
def test_a_signal_at_any_call_loses_nothing(
    trained: Runs, figures: Callable[..., None], command: str, name: str
) -> None:
    run = trained.folder / "run"
    points = trained.points(run, *COMMANDS[command](trained, run))
    (written,) = [point for point in points if point.name == "rename" and f'{runs.RESULTS}") = 0' in point.line]
    ends = {-signal.SIGKILL} if name == "KILL" else {128 + signal.SIGTERM, -signal.SIGTERM}  # -15 before it listens
    tried = points[:: STRIDE if name == "KILL" or EVERYTHING else 3 * STRIDE]
    began = time.monotonic()
    for point in tried:
        ended, told = trained.disturbed(point, f"signal={name}", *COMMANDS[command](trained, run))
        nothing_is_left_to_stop = name == "TERM" and points.index(point) >= points.index(written)
        assert ended in ends or (nothing_is_left_to_stop and ended == 0), (point, ended, told)
        assert "Traceback" not in told, (point, told)
        trained.complete(run)
        assert content(run) == trained.whole, point
    seconds = round(time.monotonic() - began, 1)
    figures(suite=f"{name} at {command}", kill_points=len(points), tried=len(tried), seconds=seconds)


@needs_strace
@pytest.mark.fault("T11")
@pytest.mark.parametrize("command", ["start", "resume"])
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_failing_disk_is_one_line_and_the_run_goes_on_later(
    trained: Runs, figures: Callable[..., None], command: str, error: str
) -> None:
    run = trained.folder / "run"
    points = [p for p in trained.points(run, *COMMANDS[command](trained, run)) if p.name in FALLIBLE[error]]
    tried = points[::STRIDE]
    began = time.monotonic()
    for point in tried:
        ended, told = trained.disturbed(point, f"error={error}", *COMMANDS[command](trained, run))
        complaints = [line for line in told.splitlines() if line.startswith("error: ")]
        assert ended in (0, 3, 4, 6), (point, ended, told)
        assert len(complaints) == (ended != 0), (point, ended, told)
        assert "Traceback" not in told, (point, told)
        if point.name in ("write", "fsync", "rename", "mkdir"):
            assert ended == 6 and str(run) in complaints[0], (point, ended, told)
        trained.complete(run)
        assert content(run) == trained.whole, point
    seconds = round(time.monotonic() - began, 1)
    figures(suite=f"{error} at {command}", kill_points=len(points), tried=len(tried), seconds=seconds)


@needs_strace
def test_files_reach_the_disk_before_their_names_do(trained: Runs) -> None:
    run = trained.folder / "ordered"
    calls = [point.line for point in trained.points(run, *start_of(trained, run))]
    renames = [at for at, line in enumerate(calls) if line.startswith("rename(") and ".part" in line]
    assert len(renames) >= 10
    for at in renames:
        temporary = re.findall(r'"([^"]*)"', calls[at])[0]
        of_file = [line.partition("(")[0] for line in calls[:at] if f"<{temporary}>" in line]
        assert of_file[-2:] == ["fsync", "close"]
        assert [line.partition("(")[0] for line in calls[at + 1 : at + 4]][:3] == ["openat", "fsync", "close"]
        assert f"<{run}>" in calls[at + 2]


@pytest.mark.fault("T03")
def test_a_run_killed_at_random_times_ends_with_the_same_bytes(trained: Runs, figures: Callable[..., None]) -> None:
    kills, random_times = 0, random.Random(0)
    run = trained.folder / "killed"
    while kills < RANDOM_KILLS:
        command = start_of(trained, run)
        for _ in range(4):
            child = trained.server.start(*command)
            child.go()
            time.sleep(random_times.uniform(0, 0.4))
            os.kill(child.pid, signal.SIGKILL)
            ended = child.wait()
            if ended == 0:
                break
            assert ended == -signal.SIGKILL, child.stderr.read_text()
            kills += 1
            command = ["train", "--resume", run] if (run / runs.CONFIG).exists() else command
        trained.complete(run)
        assert content(run) == trained.whole
    figures(suite="random kills", kill_points=kills, tried=kills)


def test_a_run_stopped_at_random_steps_ends_with_the_same_bytes(trained: Runs) -> None:
    random_times = random.Random(1)
    run = trained.folder / "often"
    command = ["train", *trained.flags, "-o", run]
    for _ in range(RANDOM_KILLS):
        child = trained.server.start(*command)
        child.go()
        time.sleep(random_times.uniform(0.02, 0.25))
        os.kill(child.pid, random_times.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP]))
        assert child.wait() in (0, 129, 130, 143, -1, -15)  # the last two before it listens
        assert "Traceback" not in child.stderr.read_text()
        command = ["train", "--resume", run] if (run / runs.CONFIG).exists() else command
    trained.complete(run)
    assert content(run) == trained.whole
