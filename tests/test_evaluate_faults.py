"""Evaluating what is unusual: other images, other sizes, images seen before, files in the way."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import complaint, imbalance
from PIL import Image
from small_data import COMMON, RARE, complete, make_image_folder, new_run, settings_for

from imbalance_cli import checkpoints
from imbalance_cli.data.folder import load_folder
from imbalance_cli.errors import WriteError
from imbalance_cli.evaluation import evaluate
from imbalance_cli.figures import EVALUATION


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A folder of the same classes with other images, not split."""
    photos = make_image_folder(tmp_path / "made", train=(12, 12), test=(1, 1)) / "train"
    for path in photos.rglob("*.png"):
        with Image.open(path) as image:
            Image.fromarray(255 - np.asarray(image)).save(path)
    return photos.rename(tmp_path / "others")


def test_other_images_of_the_same_classes_need_no_warning(finished_run: Path, others: Path) -> None:
    result = imbalance("evaluate", finished_run, "-d", others, "--split", "all", "--json")
    assert json.loads(result.stdout)["n"] == 24 and "warning" not in result.stderr


@pytest.mark.fault("E02")
@pytest.mark.parametrize("how", ["no folder", "empty folder"])
def test_images_of_a_single_class_are_scored_with_a_warning(finished_run: Path, others: Path, how: str) -> None:
    shutil.rmtree(others / RARE)
    if how == "empty folder":
        (others / RARE).mkdir()
    result = imbalance("evaluate", finished_run, "-d", others, "--split", "all", "--json")
    assert "warning: balanced accuracy over 1 of 2 classes: no images of rare" in result.stderr
    value = json.loads(result.stdout)
    assert [row["recall"] is None for row in value["per_class"]] == [False, True]
    assert value["classes_present"] == 1 and value["balanced_accuracy"] == value["per_class"][0]["recall"]
    shown = imbalance("evaluate", finished_run, "-d", others, "--split", "all").stdout
    assert "balanced accuracy over 1 of 2 classes" in shown
    assert "nothing can be said about telling classes apart" in " ".join(shown.split())


@pytest.mark.fault("E03")
@pytest.mark.parametrize("how", [shutil.copytree, shutil.move], ids=["one more", "renamed"])
def test_images_of_a_class_that_the_model_does_not_know_are_refused(
    finished_run: Path, others: Path, how: Callable[[Path, Path], object]
) -> None:
    how(others / RARE, others / "rarer")
    told = complaint("evaluate", finished_run, "-d", others, "--split", "all", "-q", exit_code=3)
    assert "has images of rarer; the classes are common, rare" in told


@pytest.mark.fault("E04")
def test_results_do_not_depend_on_the_batch_size(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "imbalance_cli.figures.draw_evaluation", lambda *_: []
    )  # seconds, and drawn of the same numbers
    sizes = (1, 7, 512)
    shown = {imbalance("evaluate", finished_run, "--batch-size", n, "-o", str(n), "--json", "-q").stdout for n in sizes}
    written = {(tmp_path / str(size) / "results.json").read_bytes() for size in sizes}
    assert len(shown) == len(written) == 1


def test_a_model_whose_outputs_overflow_is_refused(finished_run: Path, tmp_path: Path) -> None:
    checkpoint = checkpoints.load(finished_run)
    checkpoint.normalisation = replace(checkpoint.normalisation, std=(1e-300, 1e-300, 1e-300))
    checkpoints.save(checkpoint, tmp_path / "x.pt")
    assert "the model's outputs are not finite numbers" in complaint("evaluate", tmp_path / "x.pt", exit_code=4)


@pytest.mark.fault("E05")
def test_images_of_another_size_are_scaled_to_the_models_and_that_is_said(finished_run: Path, others: Path) -> None:
    for path in others.rglob("*.png"):
        with Image.open(path) as image:
            image.resize((64, 64)).save(path)
    result = imbalance("evaluate", finished_run, "-d", others, "--split", "all", "--json")
    assert "images are scaled to 16 x 16 pixels, the size that the model was trained at" in result.stderr


@pytest.mark.fault("E06")
def test_the_normalisation_is_the_checkpoints(finished_run: Path, others: Path, tmp_path: Path) -> None:
    value = json.loads(imbalance("evaluate", finished_run, "-d", others, "--json", "-q").stdout)
    images = load_folder(others, image_size=16, cache_dir=tmp_path / "cache", notice=lambda _: None).test
    checkpoint = checkpoints.load(finished_run)
    scores, logits = evaluate(checkpoint, images, device="cpu")
    assert value["log_loss"] == scores["log_loss"]
    model = checkpoint.build()
    mean, std = (
        np.asarray(part)[:, None, None] for part in (checkpoint.normalisation.mean, checkpoint.normalisation.std)
    )
    pixels = ((images.images.numpy() / 255 - mean) / std).astype(np.float32)
    by_hand = model(type(images.images)(pixels.tolist()).float()).detach().numpy()
    assert logits == pytest.approx(by_hand, abs=1e-3)
    assert not {"mean", "std", "normal"} & set(imbalance("evaluate", "--help").stdout.lower().split())


@pytest.mark.fault("E07")
@pytest.mark.parametrize("name", ["results.json", "predictions.csv", "roc.png", "missed.png"])
def test_no_file_in_the_way_is_replaced_unasked(finished_run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("precious")
    told = complaint("evaluate", finished_run, "-o", "out", "-q", exit_code=4)
    assert told == f"out/{name} exists; choose another name, or replace it with --overwrite"
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_overwrite_replaces_every_file_of_an_evaluation(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    names = {"results.json", "predictions.csv", *(f"{name}.png" for name in EVALUATION)}
    for name in names:
        (tmp_path / "out" / name).write_text("of another model")
    imbalance("evaluate", finished_run, "-o", "out", "-q", "--overwrite")
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert all(path.read_bytes() != b"of another model" for path in (tmp_path / "out").iterdir())


@pytest.mark.fault("E09")
def test_images_that_were_in_training_are_counted(finished_run: Path, image_folder: Path, others: Path) -> None:
    result = imbalance("evaluate", finished_run, "--split", "train", "--json")
    assert "warning: 115 images were in training, all of them" in result.stderr
    result = imbalance("evaluate", finished_run, "-d", image_folder, "--split", "all", "--json")
    assert "warning: 144 images were in training, of 184" in result.stderr
    result = imbalance("evaluate", finished_run, "-d", image_folder / "train", "--split", "all", "--json")
    assert "warning: 144 images were in training, of 144" in result.stderr
    for number in range(3):  # under other names, among others
        shutil.copy(image_folder / "train" / COMMON / f"{number:03}.png", others / COMMON / f"new_{number}.png")
    result = imbalance("evaluate", finished_run, "-d", others, "--split", "all", "--json")
    assert "warning: 3 images were in training, of 27" in result.stderr
    result = imbalance("evaluate", finished_run, "-d", others, "--split", "all", "--json", "-q")
    assert result.stderr == ""  # but who reads the JSON is warned
    assert json.loads(result.stdout)["warnings"] == [
        "3 images were in training, of 27: the results are better than on new ones"
    ]
    result = imbalance("evaluate", finished_run, "--json")
    assert "warning" not in result.stderr and json.loads(result.stdout)["warnings"] == []


def test_of_a_folder_without_splits_a_part_is_tested_or_all(finished_run: Path, others: Path) -> None:
    told = imbalance("evaluate", finished_run, "-d", others).stderr
    assert "no test images are marked" in told and "; --split all evaluates all of them" in told
    told = imbalance("evaluate", finished_run, "-d", others, "--split", "all").stderr
    assert "no test images are marked" not in told
    assert complaint("evaluate", finished_run, "--split", "all") == (
        "--split must be test, train, validation, or all with -d/--dataset; got all"
    )


@pytest.mark.fault("E10")
def test_evaluating_twice_gives_the_same_and_leaves_the_checkpoint_alone(finished_run: Path) -> None:
    def digest() -> str:
        return hashlib.sha256((finished_run / "checkpoint.pt").read_bytes()).hexdigest()

    before = digest()
    first, second = (imbalance("evaluate", finished_run, "--json", "-q").stdout for _ in range(2))
    assert first == second and digest() == before


def test_test_images_that_changed_since_the_run_are_noticed(tmp_path: Path) -> None:
    images = make_image_folder(tmp_path / "photos", train=(30, 10), test=(4, 4))
    run = complete(new_run(settings_for(images, tmp_path / "cache", epochs=1), tmp_path / "run")).folder
    words = "the test images are not those of the run"
    assert words not in imbalance("evaluate", run).stderr
    changed = images / "test" / RARE / "000.png"
    Image.new("RGB", (16, 16)).save(changed)
    assert words in imbalance("evaluate", run).stderr
    assert words not in imbalance("evaluate", run, "--split", "validation").stderr
    changed.unlink()
    assert words in imbalance("evaluate", run).stderr
    assert words in imbalance("refit", run).stderr


def test_a_failed_evaluation_leaves_no_results_beside_figures_of_another(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imbalance("evaluate", finished_run, "-o", tmp_path / "out")

    def fail(*_: object) -> None:
        raise WriteError("the disk is full")

    monkeypatch.setattr("imbalance_cli.figures.draw_evaluation", fail)
    imbalance("evaluate", finished_run, "-o", tmp_path / "out", "--overwrite", exit_code=6)
    assert not (tmp_path / "out" / "results.json").exists()
