"""What many tests share: one thread, and one small run."""

from pathlib import Path

import pytest
from small_data import complete, make_image_folder, new_run, settings_for

# Two cores shared by two test processes are slower with two threads each; and bytes depend on the number.
import torch  # isort: skip

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 144 training and 40 test images in two classes."""
    return make_image_folder(tmp_path_factory.mktemp("images") / "photos")


@pytest.fixture(scope="session")
def finished_run(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on `image_folder`; tests only read it."""
    run = new_run(settings_for(image_folder, image_folder / "cache"), tmp_path_factory.mktemp("runs") / "run")
    return complete(run).folder
