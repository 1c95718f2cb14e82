"""What many tests share: one thread, and one small run."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from small_data import complete, make_image_folder, new_run, settings_for

# A background job of a shell, or nohup, starts with these ignored; the tests of signals send them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Two cores shared by two test processes are slower with two threads each; and bytes depend on the number, also those of
# the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
import torch  # isort: skip

torch.set_num_threads(1)

# The same examples in every run: a suite that fails now and then is not believed when it matters.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 144 training and 40 test images in two classes."""
    return make_image_folder(tmp_path_factory.mktemp("images") / "photos")


@pytest.fixture(scope="session")
def finished_run(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on `image_folder`; tests only read it."""
    run = new_run(settings_for(image_folder, image_folder / "cache"), tmp_path_factory.mktemp("runs") / "run")
    return complete(run).folder


@pytest.fixture
def figures() -> Callable[..., None]:
    """Adds a line to the file of figures that IMBALANCE_FIGURES names, for benchmarks/robustness.py."""

    def add(**values: object) -> None:
        print(json.dumps(values))
        if path := os.environ.get("IMBALANCE_FIGURES"):
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")

    return add
