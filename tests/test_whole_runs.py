"""Experiments from Python: a dictionary to results."""

from pathlib import Path

import pytest

from imbalance_cli import checkpoints, runs
from imbalance_cli.config import Setting, resolve
from imbalance_cli.errors import CheckpointError, DivergedError, SettingError
from imbalance_cli.evaluation import evaluate
from imbalance_cli.experiment_data import images_for
from imbalance_cli.whole_runs import run_experiment


def settings(image_folder: Path, **more: object) -> dict[str, object]:
    data = {"dataset": str(image_folder), "data_dir": str(image_folder / "cache"), "image_size": 16}
    model = {"name": "cnn", "width": 4}
    return {"data": data, "model": model, "epochs": 1, "batch_size": 32, "device": "cpu", **more}


def test_a_dictionary_is_read_as_a_file_would_be_and_stays_as_it_is() -> None:
    given = {"loss": {"name": "focal", "gamma": 3.0}, "data": {"ratio": 0.1}}
    said = [Setting(("loss", "gamma"), 1.0, "mine"), Setting(("data", "classes"), ["a", "b"], "mine")]
    experiment, sources = resolve(given, said)
    assert experiment.loss["gamma"] == 1.0 and experiment.data.ratio == 0.1 and experiment.data.classes == ["a", "b"]
    assert sources == {"loss.gamma": "mine", "data.classes": "mine"}
    assert given == {"loss": {"name": "focal", "gamma": 3.0}, "data": {"ratio": 0.1}}


def test_mistakes_in_it_are_told_as_those_of_a_file() -> None:
    with pytest.raises(SettingError) as caught:
        resolve({"los": "focal", "data": {"ratio": 3.0}})
    assert "unknown setting 'los'; did you mean 'loss'?" in str(caught.value) and "data.ratio" in str(caught.value)


def test_a_run_is_whole_and_its_results_are_those_of_its_checkpoint(image_folder: Path, tmp_path: Path) -> None:
    told: list[str] = []
    experiment, _ = resolve(settings(image_folder, loss="logit_adjustment", class_weights="inverse"))
    results = run_experiment(experiment, tmp_path / "run", sources={"loss": "a test"}, notice=told.append)
    assert results == runs.read_results(tmp_path / "run")
    assert runs.read_sessions(tmp_path / "run")[0]["settings_from"] == {"loss": "a test"}
    assert any(line.startswith("warning: ") and "class_weights inverse" in line for line in told)
    checkpoint = checkpoints.load(tmp_path / "run")
    images, _ = images_for(checkpoint, None, "test", {}, told.append)
    assert results.items() >= evaluate(checkpoint, images, device="cpu")[0].items()


def test_why_a_training_failed_is_noted_as_the_command_does(image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="training diverged"):
        run_experiment(resolve(settings(image_folder, learning_rate=1000.0, epochs=5))[0], tmp_path / "run")
    assert runs.read_sessions(tmp_path / "run")[0]["failed"].startswith("training diverged")


def test_a_folder_with_something_in_it_is_left_alone(image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(CheckpointError, match="is not empty"):
        run_experiment(resolve(settings(image_folder))[0], tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]
