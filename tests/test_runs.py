"""A run from start to end: what its folder holds, that it can be repeated, stopped and resumed to the same bytes."""

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from small_data import complete, content, make_image_folder, new_run, settings_for

from imbalance_cli import checkpoints, experiments, runs
from imbalance_cli.config import Setting, resolve
from imbalance_cli.errors import CheckpointError, DataError, DivergedError, SettingError, WriteError


def said(lines: list[str]) -> str:
    return "\n".join(lines)


def no_notice(line: str) -> None:
    raise AssertionError(line)


def test_a_run_folder_explains_itself(finished_run: Path) -> None:
    assert {entry.name for entry in finished_run.iterdir()} == {*runs.FILES} - {runs.PREVIOUS}
    experiment, _ = resolve(finished_run / runs.CONFIG)
    assert experiment.epochs == 3 and experiment.model["width"] == 4
    log = [json.loads(line) for line in (finished_run / runs.LOG).read_text().splitlines()]
    assert [line["epoch"] for line in log] == [1, 2, 3]
    assert log[0].keys() == {"epoch", "train_loss", "learning_rate", "validation_loss", "validation_recall"}
    environment = json.loads((finished_run / runs.ENVIRONMENT).read_text())[-1]
    assert {"versions", "threads", "device", "git_commit", "command", "seconds", "settings_from"} <= environment.keys()
    assert environment["settings_from"]["epochs"] == "test"


def test_results_hold_what_is_promised(finished_run: Path) -> None:
    results = json.loads((finished_run / runs.RESULTS).read_text())
    promised = "dataset split classes n parameters confusion_matrix accuracy balanced_accuracy g_mean mcc macro_f1"
    promised += " auroc average_precision ece per_class operating_points"
    assert set(promised.split()) <= results.keys()
    assert results["classes"] == ["common", "rare"] and results["n"] == 40
    assert sum(results["confusion_matrix"][0]) == 20  # rows are true classes
    assert [row["train_count"] for row in results["per_class"]] == [96, 19]  # a fifth of each class was held out
    assert {"name", "train_count", "support", "precision", "recall", "f1"} <= results["per_class"][0].keys()
    points = results["operating_points"]
    assert points["argmax"]["balanced_accuracy"] == results["balanced_accuracy"]
    assert len(points["prior"]["recalls"]) == 2
    assert points["validation"] is None  # five rare images in validation are too few to choose a threshold on


def test_the_same_experiment_gives_the_same_bytes(finished_run: Path, image_folder: Path, tmp_path: Path) -> None:
    again = complete(new_run(settings_for(image_folder, image_folder / "cache"), tmp_path / "again"))
    assert content(again.folder) == content(finished_run)


def test_another_seed_gives_another_run(finished_run: Path, image_folder: Path, tmp_path: Path) -> None:
    other = complete(new_run(settings_for(image_folder, image_folder / "cache", seed=1), tmp_path / "other"))
    assert content(other.folder)[runs.CHECKPOINT] != content(finished_run)[runs.CHECKPOINT]


@pytest.mark.parametrize("stops", [[1], [4], [5], [6], [2, 7], list(range(1, 13)), [12]])
def test_a_stopped_run_resumes_to_the_same_bytes(
    finished_run: Path, image_folder: Path, tmp_path: Path, stops: list[int]
) -> None:
    run = new_run(settings_for(image_folder, image_folder / "cache"), tmp_path / "run")
    taken = 0
    for stop in stops:
        for progress in run.train():
            taken += progress.step > 0
            if taken == stop:
                break
        run.save()
        run = experiments.resume(run.folder, [], lambda _: None)
    complete(run)
    assert content(run.folder) == content(finished_run)
    assert all(session["seconds"] > 0 for session in runs.read_sessions(run.folder))


def test_a_run_stopped_before_its_first_checkpoint_starts_again(
    finished_run: Path, image_folder: Path, tmp_path: Path
) -> None:
    run = new_run(settings_for(image_folder, image_folder / "cache"), tmp_path / "run")
    lines: list[str] = []
    complete(experiments.resume(run.folder, [], lines.append))
    assert "resuming from the start" in said(lines)
    assert content(run.folder) == content(finished_run)


@pytest.mark.parametrize("content", ["", "[", "{}", "[]", "[1]", '[{"versions": 3}]', "[" * 100_000, "\udcff"])
def test_a_damaged_environment_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / runs.ENVIRONMENT).write_bytes(os.fsencode(content))
    with pytest.raises(CheckpointError, match=r"environment\.json .*damaged"):
        runs.read_sessions(tmp_path)


def test_resuming_with_other_settings_names_each_difference(finished_run: Path) -> None:
    changes = [Setting(("epochs",), 20, "--epochs"), Setting(("optimizer", "momentum"), 0.5, "--set")]
    with pytest.raises(SettingError) as caught:
        experiments.resume(finished_run, changes, lambda _: None)
    assert "epochs 3 -> 20 changes the schedule" in str(caught.value)
    assert "optimizer.momentum 0.9 -> 0.5" in str(caught.value)


def test_resuming_notices_changed_images(image_folder: Path, tmp_path: Path) -> None:
    import shutil

    images = tmp_path / "images"
    shutil.copytree(image_folder, images)
    run = new_run(settings_for(images, tmp_path / "cache"), tmp_path / "run")
    (images / "train" / "common" / "000.png").write_bytes((images / "test" / "common" / "000.png").read_bytes())
    (images / "test" / "common" / "000.png").unlink()
    with pytest.raises(DataError, match=f"images in {images} were changed, added, removed or renamed since the run"):
        experiments.resume(run.folder, [], lambda _: None)


def test_batches_of_one_do_not_meet_batch_norm(image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="batch_size: batch norm needs two images or more"):
        new_run(settings_for(image_folder, image_folder / "cache", batch_size=1), tmp_path / "run")


def test_validation_0_trains_on_everything(image_folder: Path, tmp_path: Path) -> None:
    run = complete(new_run(settings_for(image_folder, image_folder / "cache", validation=0), tmp_path / "run"))
    assert checkpoints.load(run.folder).counts == [120, 24]
    prior = json.loads((run.folder / runs.RESULTS).read_text())["operating_points"]["prior"]
    assert prior["tau"] == 1 and prior["offsets"][1] - prior["offsets"][0] == pytest.approx(1.609437912, abs=1e-6)


def test_classes_with_few_images_are_not_held_out(image_folder: Path, tmp_path: Path) -> None:
    from imbalance_cli import experiment_data

    settings = settings_for(image_folder, image_folder / "cache", data__ratio=0.1)
    lines: list[str] = []
    prepared = experiment_data.prepare(resolve(None, settings)[0], lines.append)
    assert prepared.train.counts().tolist() == [96, 12]
    assert prepared.validation is not None and prepared.validation.counts().tolist() == [24, 0]
    assert "rare: fewer than 20 images, so all of them train" in said(lines)


def test_validation_is_set_higher_only_where_that_helps(image_folder: Path) -> None:
    from imbalance_cli import experiment_data

    for ratio, cure in ((0.2, "rare has 5; set validation higher, or leave"), (0.1, "rare has 0; leave")):
        settings = settings_for(image_folder, image_folder / "cache", data__ratio=ratio, early_stopping=2)
        with pytest.raises(SettingError, match=f"{cure} early_stopping out"):
            experiment_data.prepare(resolve(None, settings)[0], lambda _: None)


def test_only_one_process_writes_a_folder(tmp_path: Path) -> None:
    with (
        runs.lock(tmp_path, no_notice),
        pytest.raises(CheckpointError, match=f"is being written by process {os.getpid()} on "),
    ):
        with runs.lock(tmp_path, no_notice):
            pass
    with runs.lock(tmp_path, no_notice):  # a lock ends with its block
        pass


def test_resuming_notices_changed_test_images(tmp_path: Path) -> None:
    images = make_image_folder(tmp_path / "photos", train=(30, 10), test=(4, 4))
    run = new_run(settings_for(images, tmp_path / "cache", epochs=2), tmp_path / "run")
    next(progress for progress in run.train() if progress.step == 0)
    notices: list[str] = []
    experiments.resume(run.folder, [], notices.append)
    assert "test images are not those" not in said(notices)
    next((images / "test" / "rare").iterdir()).unlink()
    experiments.resume(run.folder, [], notices.append)
    assert "the test images are not those of the run" in said(notices)


def test_outputs_that_are_not_finite_end_training_though_the_weights_are(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(settings_for(image_folder, image_folder / "cache", epochs=1), tmp_path / "run")
    monkeypatch.setattr(
        "imbalance_cli.training.predict", lambda _, images, *__, **___: torch.full((len(images), 2), torch.nan)
    )
    with pytest.raises(DivergedError, match="are no finite numbers; try --lr 0.01"):
        complete(run)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / runs.ENVIRONMENT)
    with pytest.raises(CheckpointError, match="not a regular file"):
        runs.read_sessions(tmp_path)


@pytest.mark.parametrize("ask", [lambda place: runs.check_folder(place, overwrite=False), runs.require_run])
def test_a_folder_that_the_system_cannot_look_at_is_told(tmp_path: Path, ask: Callable[[Path], None]) -> None:
    with pytest.raises(CheckpointError, match="cannot read .*: file name too long"):
        ask(tmp_path / ("x" * 300))


def test_a_folder_on_a_failing_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> list[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "listdir", fail)
    for ask in (runs.require_run, runs.remove_stale, lambda place: runs.check_folder(place, overwrite=True)):
        with pytest.raises(CheckpointError, match="cannot read .*: input/output error"):
            ask(tmp_path)


def test_a_free_folder_has_a_name_that_the_system_can_store(tmp_path: Path) -> None:
    assert runs.free_folder(tmp_path, "x" * 255).name == "x" * 255
    with pytest.raises(WriteError, match="file name too long"):
        runs.free_folder(tmp_path, "x" * 255)  # which appends -2


def test_a_run_whose_environment_file_is_damaged_meanwhile_can_finish(image_folder: Path, tmp_path: Path) -> None:
    run = new_run(settings_for(image_folder, image_folder / "cache", epochs=1), tmp_path / "run")
    (run.folder / runs.ENVIRONMENT).write_text("[")
    with suppress(DivergedError), run.noting_failure():
        raise DivergedError("a test")
    complete(run)
    (session,) = runs.read_sessions(run.folder)
    assert session["failed"] == "a test" and runs.read_results(run.folder)["n"] == 40
