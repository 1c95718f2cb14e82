"""What goes wrong while training: signals, full disks, divergence, memory, two processes, lost listeners."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fork_server import Child, ForkServer
from small_data import content, make_image_folder
from typer.testing import CliRunner

from imbalance_cli import checkpoints, experiments, files, runs
from imbalance_cli.cli import app
from imbalance_cli.training import Trainer


class Training:
    """One small experiment: how it is started, and what it gives undisturbed."""

    def __init__(self, images: Path, folder: Path) -> None:
        self.folder = folder
        self.flags: list[object] = ["-d", images, "--data-dir", folder / "cache", "--image-size", 16]
        self.flags += ["--batch-size", 32, "--set", "model.width=4", "--device", "cpu"]
        self.server = ForkServer(folder, "train", *self.flags, "--epochs", 1, "-o", folder / "warm-up")
        self.whole: dict[str, bytes] = {}

    def command(self, run: Path, *more: object) -> list[object]:
        """A run long enough that a signal meets it in the middle."""
        return ["train", *self.flags, "--epochs", 30, "-o", run, *more]

    def undisturbed(self) -> dict[str, bytes]:
        if not self.whole:
            assert self.server.run(*self.command(self.folder / "whole"))[0] == 0
            self.whole = content(self.folder / "whole")
        return self.whole

    def started(self, run: Path, *more: object) -> Child:
        """A training process that has finished its second epoch."""
        child = self.server.start(*self.command(run, *more))
        child.go()
        wait_for("epoch 2/30", child)
        return child

    def resumed(self, run: Path) -> dict[str, bytes]:
        code, told = self.server.run("train", "--resume", run)
        assert code == 0, told
        return content(run)


def wait_for(text: str, child: Child) -> None:
    deadline = time.monotonic() + 60
    while text not in child.stderr.read_text():
        assert time.monotonic() < deadline, child.stderr.read_text()
        time.sleep(0.005)


@pytest.fixture(scope="module")
def training(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    training = Training(image_folder, tmp_path_factory.mktemp("training"))
    yield training
    training.server.close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def imbalance(*args: object, exit_code: int = 0) -> str:
    """What `imbalance ARGS` says on stderr."""
    result = CliRunner().invoke(app, list(map(str, args)), prog_name="imbalance")
    assert result.exit_code == exit_code, result.output
    return result.stderr


def complaint(told: str) -> str:
    (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in told
    return line


def tree(folder: Path) -> dict[str, str]:
    return {entry.name: hashlib.sha256(entry.read_bytes()).hexdigest() for entry in folder.iterdir()}


def short(training: Training, run: Path, *more: object) -> list[object]:
    return ["train", *training.flags, "--epochs", 2, "-o", run, *more]


# Signals


@pytest.mark.parametrize(
    ("name", "code"),
    [
        pytest.param("SIGTERM", 143, marks=pytest.mark.fault("T06")),
        pytest.param("SIGINT", 130, marks=pytest.mark.fault("T07")),
        pytest.param("SIGHUP", 129, marks=pytest.mark.fault("T09")),
    ],
)
def test_a_signal_saves_and_the_run_resumes_to_the_same_bytes(
    training: Training, run: Path, name: str, code: int
) -> None:
    child = training.started(run)
    os.kill(child.pid, signal.Signals[name])
    began = time.monotonic()
    assert child.wait() == code
    assert time.monotonic() - began < 10
    told = child.stderr.read_text()
    assert f"{name}: saved at " in told and told.endswith(f"; resume with: imbalance train --resume {run}\n")
    assert checkpoints.load(run).progress["epoch"] >= 2 and not (run / runs.RESULTS).exists()
    assert training.resumed(run) == training.undisturbed()


@pytest.mark.fault("T08")
def test_a_second_signal_stops_at_once_and_the_last_save_stays(
    training: Training, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = experiments.Run.save

    def interrupted(self: experiments.Run) -> None:
        save(self)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(experiments.Run, "save", interrupted)
    told = imbalance(*training.command(run), exit_code=130)
    assert "SIGINT: stopped at once; last save at the end of epoch 1; resume with: imbalance train --resume" in told
    monkeypatch.undo()
    assert checkpoints.load(run).progress["epoch"] == 1
    assert training.resumed(run) == training.undisturbed()


@pytest.mark.fault("T08")
def test_a_second_signal_does_not_wait_for_a_long_operation(training: Training, run: Path) -> None:
    """As one step of a large model is, during which Python sees no signals."""
    code = f"""
import hashlib, sys, imbalance_cli.training as training
def step(*_):
    print("stepping", file=sys.stderr, flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)
training.Trainer._step = step
sys.argv = ["imbalance", *{[str(word) for word in training.command(run)]!r}]
from imbalance_cli.cli import main
main()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "stepping" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, told = process.communicate(timeout=30)
    assert time.monotonic() - began < 2 and process.returncode == 130
    assert "SIGINT: stopped at once; nothing was saved yet" in told


@pytest.mark.fault("T08")
def test_a_second_signal_does_not_wait_for_a_reader_either(training: Training, run: Path, tmp_path: Path) -> None:
    """Nobody reads the pipe that stderr is, and it is full."""
    code = f"""
import hashlib, os, pathlib, sys, imbalance_cli.training as training
def step(*_):
    os.set_blocking(2, False)
    try:
        while True:
            os.write(2, b"x")
    except BlockingIOError:
        os.set_blocking(2, True)
    pathlib.Path({str(tmp_path / "stepping")!r}).touch()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)
training.Trainer._step = step
sys.argv = ["imbalance", *{[str(word) for word in training.command(run)]!r}]
from imbalance_cli.cli import main
main()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    assert process.stderr is not None
    while not (tmp_path / "stepping").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(timeout=5) == 130
    finally:
        process.kill()
        process.stderr.close()


def test_a_signal_while_the_command_winds_up_changes_nothing(
    training: Training, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imbalance_cli import experiment_data
    from imbalance_cli.cli.output import Output

    monkeypatch.setattr(experiment_data, "prepare", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    notice = Output.notice

    def interrupted(self: Output, line: str) -> None:
        signal.raise_signal(signal.SIGINT)
        notice(self, line)

    monkeypatch.setattr(Output, "notice", interrupted)
    assert imbalance(*training.command(run), exit_code=143) == "SIGTERM: stopped before the run began\n"


@pytest.mark.parametrize("moment", ["loading", "finishing"])
def test_a_signal_before_or_after_training_ends_cleanly(
    training: Training, run: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    from imbalance_cli import experiment_data

    module, name = {"loading": (experiment_data, "prepare"), "finishing": (experiments, "evaluate")}[moment]
    monkeypatch.setattr(module, name, lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    told = imbalance(*training.command(run), exit_code=143)
    monkeypatch.undo()
    if moment == "loading":
        assert told == "SIGTERM: stopped before the run began\n" and not run.exists()
    else:
        assert "SIGTERM: saved at the end of epoch 30; resume with" in told
        assert training.resumed(run) == training.undisturbed()


def test_ignored_signals_stay_ignored(training: Training, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        monkeypatch.setattr(experiments.Run, "finish", lambda self: signal.raise_signal(signal.SIGHUP) or {})
        monkeypatch.setattr("imbalance_cli.cli.train._show", lambda *_: None)
        imbalance(*short(training, run))
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.fault("T10")
def test_a_run_that_sleeps_for_a_while_notices_nothing(training: Training, run: Path) -> None:
    child = training.started(run)
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(0.5)
    os.kill(child.pid, signal.SIGCONT)
    assert child.wait() == 0
    assert content(run) == training.undisturbed()


# Nobody listens


@pytest.mark.slow
@pytest.mark.fault("T46")
def test_training_goes_on_when_its_reader_has_gone(training: Training, run: Path) -> None:
    words = [sys.executable, "-m", "imbalance_cli", *map(str, training.command(run))]
    done = subprocess.run(["bash", "-c", '"$@" 2>&1 | head -1; exit ${PIPESTATUS[0]}', "-", *words])
    assert done.returncode == 0
    assert content(run) == training.undisturbed()


@pytest.mark.slow
@pytest.mark.fault("T47")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_training_goes_on_when_nothing_can_be_printed(training: Training, run: Path) -> None:
    words = [sys.executable, "-m", "imbalance_cli", *map(str, training.command(run))]
    with open("/dev/full", "w") as full:
        assert subprocess.run(words, stdout=full, stderr=full).returncode == 0
    assert content(run) == training.undisturbed()


@pytest.mark.slow
@pytest.mark.parametrize("hangup", ["ends", "is ignored"])
def test_a_lost_terminal(training: Training, run: Path, hangup: str) -> None:
    pty = pytest.importorskip("pty")
    words = [sys.executable, "-m", "imbalance_cli", *map(str, training.command(run))]
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if hangup == "is ignored" else signal.SIG_DFL)
        os.execv(words[0], words)
    while not (run / runs.CHECKPOINT).exists():
        os.read(terminal, 10_000)
    os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if hangup == "is ignored":
        assert code == 0 and content(run) == training.undisturbed()
    else:
        assert code == 129 and training.resumed(run) == training.undisturbed()


# Disks


@pytest.mark.fault("T11")
def test_a_full_disk_says_what_is_needed_and_keeps_the_last_save(
    training: Training, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves, sync = 0, os.fsync

    def full_at_the_third_save(descriptor: int) -> None:
        nonlocal saves
        saves += "checkpoint.pt" in os.readlink(f"/proc/self/fd/{descriptor}") if os.path.exists("/proc/self") else 1
        if saves == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(files.os, "fsync", full_at_the_third_save)
    line = complaint(imbalance(*training.command(run), exit_code=6))
    monkeypatch.undo()
    assert f"cannot write {run / runs.CHECKPOINT}: no space left on device (" in line and " bytes needed, " in line
    assert f"; last save at the end of epoch 2; resume with: imbalance train --resume {run}" in line
    assert checkpoints.load(run).progress["epoch"] == 2
    assert not list(run.glob(".*.part"))
    assert training.resumed(run) == training.undisturbed()


def test_a_file_that_cannot_grow_is_a_full_disk(training: Training, run: Path) -> None:
    """The same without a hand in the code: a limit on the size of files, which a checkpoint exceeds."""
    words = [sys.executable, "-m", "imbalance_cli", *map(str, short(training, run))]
    limited = "import os, resource, signal, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
    limited += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", limited, *words], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 6
    assert "checkpoint.pt: file too large; nothing was saved yet" in complaint(done.stderr)
    assert training.server.run("train", "--resume", run)[0] == 0


# Numbers


@pytest.mark.parametrize("broken", ["loss", "weights"])
def test_divergence_stops_with_the_step_and_keeps_the_last_good_epoch(
    training: Training, run: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    step = Trainer._step

    def breaking(self: Trainer, *args: Any) -> torch.Tensor:
        loss = step(self, *args)
        if (self.progress.epoch, self.progress.step) != (2, 1):
            return loss
        if broken == "weights":
            self.trained[0].data.fill_(float("nan"))
            return loss
        return loss * float("inf")

    monkeypatch.setattr(Trainer, "_step", breaking)
    line = complaint(imbalance(*training.command(run), exit_code=7))
    where = (
        "inf at epoch 3, step 2, learning rate 0.0" if broken == "loss" else "nan at epoch 3, step 3, learning rate 0.0"
    )
    assert f"training diverged: the loss was {where}" in line and "; try --lr 0.01; " in line
    assert line.endswith(f"{run / runs.CHECKPOINT} is the state at the end of epoch 2")
    assert checkpoints.load(run).progress["epoch"] == 2
    assert "diverged" in runs.read_sessions(run)[-1]["failed"]


def test_a_signal_never_saves_what_has_diverged(training: Training, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Trainer._step

    def breaking(self: Trainer, *args: Any) -> torch.Tensor:
        if (self.progress.epoch, self.progress.step) != (1, 1):
            return step(self, *args)
        signal.raise_signal(signal.SIGTERM)
        return step(self, *args) * float("nan")

    monkeypatch.setattr(Trainer, "_step", breaking)
    assert "the loss was nan at epoch 2, step 2" in complaint(imbalance(*training.command(run), exit_code=7))
    assert checkpoints.load(run).progress["epoch"] == 1


def options(*words: object) -> list[object]:
    return ["train", "-d", "shapes", "--loss", "focal", *words]


@pytest.mark.parametrize(
    ("gamma", "told"),
    [
        pytest.param("-1", "--gamma must be at least 0; got -1", marks=pytest.mark.fault("T22")),
        pytest.param("nan", "--gamma must be", marks=pytest.mark.fault("T23")),
        pytest.param("inf", "--gamma must be", marks=pytest.mark.fault("T23")),
        pytest.param("1e4", "--gamma must be at most", marks=pytest.mark.fault("T23")),
    ],
)
def test_a_gamma_out_of_range_is_refused(run: Path, gamma: str, told: str) -> None:
    assert told in complaint(imbalance(*options("--gamma", gamma, "-o", run), exit_code=2))
    assert not run.exists()


@pytest.mark.fault("T24")
def test_gamma_0_is_cross_entropy_to_the_bit(training: Training, tmp_path: Path) -> None:
    for name, loss in (("focal", ["--loss", "focal", "--gamma", 0]), ("ce", ["--loss", "cross_entropy"])):
        imbalance("train", *training.flags, *loss, "--epochs", 1, "-o", tmp_path / name, "-q")
    focal, plain = (checkpoints.load(tmp_path / name).weights for name in ("focal", "ce"))
    assert all(torch.equal(focal[name], plain[name]) for name in plain)


@pytest.mark.fault("T25")
@pytest.mark.parametrize("scale", [100.0, -100.0, 1e4])
def test_saturated_logits_have_finite_gradients_at_gamma_below_1(scale: float) -> None:
    from imbalance_cli.methods.losses import LOSSES

    logits = torch.tensor([[scale, -scale], [0.0, scale]], requires_grad=True)
    loss = LOSSES.bind({"name": "focal", "gamma": 0.5, "alpha": None})
    value = loss(logits, torch.tensor([0, 1]), torch.tensor([9.0, 1.0])).sum()
    value.backward()
    assert value.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


# Sizes


@pytest.mark.fault("T18")
def test_a_batch_larger_than_the_data_is_all_of_them(training: Training, run: Path) -> None:
    told = imbalance(*short(training, run, "--batch-size", 100_000))
    assert "an epoch: batch of 115 (all data)" in told
    assert len(checkpoints.load(run).progress["log"]) == 2


@pytest.mark.fault("T19")
def test_no_batch_is_left_with_a_single_image(tmp_path: Path, run: Path) -> None:
    images = make_image_folder(tmp_path / "photos", train=(50, 15), test=(5, 5))
    flags = ["-d", images, "--data-dir", tmp_path / "cache", "--image-size", 16, "--set", "model.width=4"]
    told = imbalance("train", *flags, "--set", "validation=0", "--epochs", 1, "--batch-size", 64, "-o", run)
    assert "an epoch: 65 images in 2 batches of 32 or 33" in told


@pytest.mark.fault("T27")
def test_out_of_memory_names_a_batch_size_and_the_run_says_that_it_failed(training: Training, run: Path) -> None:
    """The address space is limited to what the process has when the first batch comes, and 50 MB."""
    code = f"""
import resource, sys, imbalance_cli.training as training
step = training.Trainer._step
def limited(*args):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000,) * 2)
    return step(*args)
training.Trainer._step = limited
sys.argv = ["imbalance", *{[str(word) for word in short(training, run)]!r}, "--set", "model.width=400", "-q"]
from imbalance_cli.cli import main
main()
"""
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("this system does not tell how much address space a process has")
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 8, done.stderr
    line = complaint(done.stderr)
    assert "out of memory on cpu with batch_size 32; try --batch-size 16" in line
    assert "out of memory" in runs.read_sessions(run)[-1]["failed"]
    assert not list(run.glob(".*.part"))
    assert "batch_size 32 -> 16" in complaint(imbalance("train", "--resume", run, "--batch-size", 16, exit_code=2))


@pytest.mark.fault("T26", "T27")
@pytest.mark.parametrize("moment", ["placing", "evaluating"])
def test_out_of_memory_before_and_after_the_loop_is_told_too(
    training: Training, run: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    import imbalance_cli.training

    def fail(*_: object, **__: object) -> None:
        raise error

    if moment == "placing":
        error: Exception = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        monkeypatch.setattr(imbalance_cli.training, "place", fail)
    else:
        error = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        monkeypatch.setattr(experiments, "evaluate", fail)
    line = complaint(imbalance(*short(training, run), exit_code=8))
    monkeypatch.undo()
    assert "out of memory" in runs.read_sessions(run)[-1]["failed"]
    if moment == "placing":
        assert "try --batch-size 16" in line
    else:
        assert line.endswith(f"last save at the end of epoch 2; resume with: imbalance train --resume {run}")
        imbalance("train", "--resume", run, "-q")


@pytest.mark.fault("T26")
@pytest.mark.gpu
def test_out_of_memory_on_the_gpu_names_a_batch_size(training: Training, run: Path) -> None:
    words = [
        "--device",
        "cuda",
        "--set",
        "model.width=1024",
        "-q",
    ]  # 380 MB of weights, as much of gradients, and so on
    torch.cuda.set_per_process_memory_fraction(900 * 2**20 / torch.cuda.get_device_properties(0).total_memory)
    try:
        assert "try --batch-size 16" in complaint(imbalance(*short(training, run, *words), exit_code=8))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.fault("T44")
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_missing_gpu_is_never_replaced_silently(training: Training, run: Path) -> None:
    line = complaint(imbalance(*short(training, run, "--device", "cuda"), exit_code=2))
    assert "no CUDA device" in line and "--device cpu" in line
    assert not run.exists()


# Run folders


@pytest.mark.fault("T28")
def test_a_folder_with_a_run_is_left_alone(training: Training, run: Path) -> None:
    imbalance(*short(training, run, "-q"))
    before = tree(run)
    line = complaint(imbalance(*short(training, run), exit_code=4))
    assert str(run) in line and f"--resume {run}" in line and "another --output" in line
    assert tree(run) == before


@pytest.mark.fault("T29")
def test_an_empty_folder_is_used(training: Training, run: Path) -> None:
    run.mkdir()
    imbalance(*short(training, run, "-q"))
    assert (run / runs.RESULTS).exists()


def test_a_start_that_was_stopped_leaves_a_folder_that_can_be_used(training: Training, run: Path) -> None:
    run.mkdir()
    for name in (runs.LOCK, runs.SUBSET, ".environment.json.abcdefgh.part"):
        (run / name).write_text("half")
    assert "stopped before it began; start it again" in complaint(imbalance("train", "--resume", run, exit_code=4))
    imbalance(*short(training, run, "-q"))
    assert (run / runs.RESULTS).exists() and not list(run.glob(".*.part"))


@pytest.mark.fault("T30", "T31")
def test_a_second_process_is_refused_until_the_first_is_gone(training: Training, run: Path) -> None:
    child = training.started(run)
    for more in (["-o", run], ["-o", run, "--overwrite"], ["--resume", run]):
        words = ["train", *training.flags, *more] if "-o" in more else ["train", *more]
        line = complaint(imbalance(*words, exit_code=4))
        assert f"{run} is being written by process {child.pid} on {os.uname().nodename}" in line
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert training.resumed(run) == training.undisturbed()


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    lines: list[str] = []
    with runs.lock(tmp_path, lines.append):
        assert "on a file system without locks" in lines[0]


# Resuming


@pytest.fixture
def stopped(training: Training, run: Path) -> Path:
    """A run that was killed after two saves at least."""
    child = training.started(run)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    return run


@pytest.mark.fault("T32", "T45")
def test_resuming_with_other_settings_is_refused(training: Training, stopped: Path) -> None:
    before = tree(stopped)
    line = complaint(imbalance("train", "--resume", stopped, "--lr", 0.05, "--epochs", 20, exit_code=2))
    assert "epochs 30 -> 20 changes the schedule" in line and "learning_rate 0.1 -> 0.05" in line
    assert tree(stopped) == before


@pytest.mark.fault("T34")
def test_resuming_elsewhere_says_that_bits_may_differ(
    training: Training, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = runs.read_sessions(stopped)[-1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "NEWER")
    monkeypatch.setattr(runs, "_processor", lambda: "Another CPU")
    monkeypatch.setattr(runs, "version", lambda name: "9.9")
    told = imbalance("train", "--resume", stopped)
    assert "bits may differ: threads 1 -> 64" in told
    assert f"bits may differ: instructions {before['instructions']} -> NEWER" in told
    assert f"bits may differ: processor {before['processor']} -> Another CPU" in told
    assert f"bits may differ: torch {before['versions']['torch']} -> 9.9" in told
    assert [session["threads"] for session in runs.read_sessions(stopped)] == [1, 64]


@pytest.mark.fault("T35")
def test_resuming_a_finished_run_shows_it_and_changes_nothing(training: Training, run: Path) -> None:
    imbalance(*short(training, run, "-q"))
    before = tree(run)
    result = CliRunner().invoke(app, ["train", "--resume", str(run), "--json"])
    assert result.exit_code == 0 and "already complete" in result.stderr
    assert json.loads(result.stdout)["n"] == 40
    assert tree(run) == before
    results = run / runs.RESULTS
    results.write_bytes(results.read_bytes().replace(b"0.", b"1.", 1))
    line = complaint(imbalance("train", "--resume", run, exit_code=4))
    assert f"{results} was edited or damaged" in line and "remove it, and --resume makes it again" in line
    results.unlink()
    imbalance("train", "--resume", run, "-q")
    assert tree(run)[runs.RESULTS] == before[runs.RESULTS]


@pytest.mark.fault("T36")
@pytest.mark.parametrize("damage", ["truncated", "a flipped bit", "emptied"])
def test_a_damaged_save_is_replaced_by_the_one_before_it(training: Training, stopped: Path, damage: str) -> None:
    newest = stopped / runs.CHECKPOINT
    saved = newest.read_bytes()
    middle = len(saved) // 2
    flipped = saved[:middle] + bytes([saved[middle] ^ 1]) + saved[middle + 1 :]
    newest.write_bytes({"truncated": saved[:-1], "a flipped bit": flipped, "emptied": b""}[damage])
    assert complaint(imbalance("evaluate", stopped, exit_code=4))  # which never looks at another
    told = training.server.run("train", "--resume", stopped)
    assert told[0] == 0
    assert f"warning: checkpoint.pt is damaged; using the save before it, {stopped / runs.PREVIOUS}" in told[1]
    assert content(stopped) == training.undisturbed() and not (stopped / runs.PREVIOUS).exists()


def test_the_save_before_a_damaged_one_stays_until_there_is_a_new_one(training: Training, stopped: Path) -> None:
    (stopped / runs.CHECKPOINT).write_bytes(b"")
    good = (stopped / runs.PREVIOUS).read_bytes()
    run = experiments.resume(stopped, [], lambda _: None)
    next(run.train())
    run.save()
    assert (stopped / runs.PREVIOUS).read_bytes() == good
    assert checkpoints.load(stopped).progress["step"] == 1


@pytest.mark.fault("T37")
def test_when_every_save_is_damaged_each_is_named_and_none_deleted(training: Training, stopped: Path) -> None:
    for name in (runs.CHECKPOINT, runs.PREVIOUS):
        os.truncate(stopped / name, 1000)
    before = tree(stopped)
    line = complaint(imbalance("train", "--resume", stopped, exit_code=4))
    assert all(str(stopped / name) in line for name in (runs.CHECKPOINT, runs.PREVIOUS))
    assert tree(stopped) == {**before, runs.LOCK: tree(stopped)[runs.LOCK]}


@pytest.mark.parametrize("obstacle", ["a pipe", "a link to nothing"])
def test_a_save_that_cannot_be_read_is_not_taken_for_damaged(training: Training, stopped: Path, obstacle: str) -> None:
    newest = stopped / runs.CHECKPOINT
    newest.rename(stopped / "aside")
    newest.symlink_to("nowhere") if obstacle == "a link to nothing" else os.mkfifo(newest)
    previous = (stopped / runs.PREVIOUS).read_bytes()
    line = complaint(imbalance("train", "--resume", stopped, exit_code=4))
    assert "cannot read" in line or "not a regular file" in line
    assert (stopped / runs.PREVIOUS).read_bytes() == previous
    (stopped / "aside").replace(newest)
    assert training.resumed(stopped) == training.undisturbed()


def test_a_damaged_environment_file_is_begun_anew(training: Training, stopped: Path) -> None:
    (stopped / runs.ENVIRONMENT).write_text("[{")
    code, told = training.server.run("train", "--resume", stopped)
    assert code == 0 and "environment.json cannot be read: it is damaged or not JSON; beginning a new one" in told
    assert content(stopped) == training.undisturbed()
    (session,) = runs.read_sessions(stopped)
    assert session["sha256"].keys() == {runs.CONFIG, runs.SUBSET}
    (stopped / runs.ENVIRONMENT).unlink()
    line = complaint(imbalance("train", "--resume", stopped, exit_code=4))
    assert line.endswith(f"remove {stopped / runs.RESULTS}, and --resume makes both again")


@pytest.mark.parametrize(("name", "field"), [(runs.CONFIG, "config"), (runs.SUBSET, "manifest")])
def test_what_is_damaged_is_in_the_checkpoint_too(stopped: Path, name: str, field: str) -> None:
    given = bytearray((stopped / name).read_bytes())
    given[len(given) // 2] ^= 0x80  # which is no UTF-8
    (stopped / name).write_bytes(given)
    line = complaint(imbalance("train", "--resume", stopped, exit_code=4))
    assert str(stopped / name) in line
    assert line.endswith(
        f"put it back; in Python, checkpoints.load of {stopped / runs.CHECKPOINT} has it too, as {field}"
    )
    assert getattr(checkpoints.load(stopped), field)


@pytest.mark.fault("T38")
def test_nothing_is_decided_by_the_clock(training: Training, stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(stopped / runs.PREVIOUS, (4_070_908_800, 4_070_908_800))  # the year 2099
    os.utime(stopped / runs.CHECKPOINT, (0, 0))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 10 * 365 * 86_400)
    imbalance("train", "--resume", stopped, "-q")
    assert content(stopped) == training.undisturbed()
    assert runs.read_sessions(stopped)[-1]["seconds"] > 0


@pytest.mark.fault("T39")
def test_a_run_can_be_moved_before_it_is_resumed(training: Training, stopped: Path, tmp_path: Path) -> None:
    shutil.move(stopped, tmp_path / "moved")
    assert training.resumed(tmp_path / "moved") == training.undisturbed()


@pytest.mark.parametrize("name", [runs.CONFIG, runs.SUBSET])
def test_a_run_edited_before_its_first_save_is_refused(training: Training, run: Path, name: str) -> None:
    imbalance(*short(training, run, "-q"))
    for other in (runs.CHECKPOINT, runs.RESULTS):
        (run / other).unlink()
    with open(run / name, "a") as file:
        file.write("# a remark\n")
    line = complaint(imbalance("train", "--resume", run, exit_code=4))
    assert f"{run / name} was edited or damaged: its SHA-256 differs; put it back, or start a new run" in line


def test_a_run_with_another_subset_than_its_save_is_refused(training: Training, stopped: Path, tmp_path: Path) -> None:
    imbalance(*short(training, tmp_path / "other", "-q", "--ratio", 0.1))
    shutil.copy(tmp_path / "other" / runs.SUBSET, stopped / runs.SUBSET)
    assert "another subset than checkpoint.pt" in complaint(imbalance("train", "--resume", stopped, exit_code=4))
