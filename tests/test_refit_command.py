"""A refit as part of a run, and the command that gives a finished run another classifier."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from command_line import complaint, imbalance
from small_data import complete, content, new_run, settings_for

from imbalance_cli import checkpoints, experiments, runs
from imbalance_cli.config import Setting, parse_assignment, resolve
from imbalance_cli.errors import CheckpointError, DivergedError, SettingError
from imbalance_cli.experiments import Run
from imbalance_cli.methods.refits import REFITS


@pytest.fixture(scope="module")
def refitted_run(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose experiment asks for a refit; tests only read it."""
    return complete(run_with(image_folder, tmp_path_factory.mktemp("refitted") / "run", refit="lws")).folder


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, beside which there is room."""
    return Path(shutil.copytree(finished_run, tmp_path / "mine"))


def run_with(image_folder: Path, folder: Path, **changes: object) -> Run:
    return new_run(settings_for(image_folder, image_folder / "cache", **changes), folder)


def train(run: Run) -> None:
    for _ in run.train():
        pass


def results_of(folder: Path) -> dict:
    """What a run found on the test images, without what evaluating its checkpoint does not tell."""
    results = json.loads((folder / runs.RESULTS).read_text())
    return {name: value for name, value in results.items() if name not in ("epochs", "steps", "test_digest")}


class TestInARun:
    def test_only_the_classifier_changes(self, finished_run, refitted_run):
        before, after = (checkpoints.load(folder).weights for folder in (finished_run, refitted_run))
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed == {"classifier.weight", "classifier.bias"}

    def test_operating_points_are_those_of_the_new_classifier(self, finished_run, refitted_run):
        assert any(checkpoints.load(finished_run).operating_points["prior"]["offsets"])
        assert not any(checkpoints.load(refitted_run).operating_points["prior"]["offsets"])  # lws is balanced

    def test_evaluating_the_checkpoint_gives_the_results_of_the_run(self, refitted_run):
        found = json.loads(imbalance("evaluate", refitted_run, "--json", "-q").stdout)
        assert found.items() >= results_of(refitted_run).items()

    def test_the_run_says_it_in_its_name_and_its_settings(self, refitted_run):
        experiment, _ = resolve(refitted_run / runs.CONFIG)
        assert experiment.refit == {"name": "lws", "epochs": 10, "learning_rate": 0.1}
        assert experiments.run_name(experiment).endswith("-lws-seed0")

    @pytest.mark.parametrize("stop", ["in an epoch", "after the last epoch", "before the results"])
    def test_a_stopped_run_resumes_to_the_same_bytes(self, refitted_run, image_folder, tmp_path, stop, monkeypatch):
        run = run_with(image_folder, tmp_path / "run", refit="lws")
        for number, _ in enumerate(run.train()):
            if number == 5 and stop == "in an epoch":
                run.save()
                break
        if stop == "before the results":
            with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
                context.setattr(experiments, "evaluate", interrupted)
                run.finish()
        assert not (run.folder / runs.RESULTS).exists()
        complete(experiments.resume(run.folder, [], lambda _: None))
        assert content(run.folder) == content(refitted_run)

    def test_with_averaged_weights_it_is_their_classifier(self, image_folder, tmp_path, monkeypatch):
        settings = {"refit": "crt", "ema": 0.9}
        whole = complete(run_with(image_folder, tmp_path / "whole", **settings))
        stopped = run_with(image_folder, tmp_path / "stopped", **settings)
        train(stopped)
        with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
            context.setattr(experiments, "evaluate", interrupted)
            stopped.finish()
        complete(experiments.resume(stopped.folder, [], lambda _: None))
        assert content(stopped.folder) == content(whole.folder)
        found = json.loads(imbalance("evaluate", whole.folder, "--json", "-q").stdout)
        assert found.items() >= results_of(whole.folder).items()

    def test_too_few_neighbours_are_found_before_training(self, image_folder, tmp_path):
        resample = {"name": "smote", "k_neighbours": 19}
        with pytest.raises(SettingError, match="needs more than 19 images of a class, but 'rare' has 19"):
            run_with(image_folder, tmp_path / "run", refit="crt", resample=resample)

    def test_a_cosine_classifier_is_refused_before_training(self, image_folder, tmp_path):
        with pytest.raises(SettingError, match="refit: the rows of a cosine classifier .*; set model.classifier=lin"):
            run_with(image_folder, tmp_path / "run", refit="crt", model__classifier="cosine")

    def test_a_refit_that_diverges_says_so_and_keeps_the_training(self, image_folder, tmp_path):
        refit = {"name": "crt", "epochs": 100, "learning_rate": 1000.0, "weight_decay": 1.0}
        run = run_with(image_folder, tmp_path / "run", refit=refit)
        train(run)
        with pytest.raises(DivergedError, match=r"refit: crt found .*; try refit.learning_rate=100$"):
            run.finish()
        assert checkpoints.load(run.folder).operating_points == {}

    def test_a_stage_has_no_refit_of_its_own(self):
        with pytest.raises(SettingError, match="refit: a stage goes on with the run's"):
            resolve(None, [parse_assignment("stages=[{refit: crt}]")])


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


class TestTheCommand:
    def test_makes_a_run_beside_the_one_it_comes_from(self, run, finished_run):
        result = imbalance("refit", run, "--device", "cpu")
        for part in ("Confusion matrix", "balanced accuracy", "The model ranks", "Try next:"):
            assert part in result.stdout
        new = run.parent / "mine-crt"
        assert {entry.name for entry in new.iterdir()} == {*runs.FILES, runs.LOCK} - {runs.PREVIOUS}
        assert f"run folder: {new}" in result.stderr.replace("\n", "")
        assert content(run) == content(finished_run)
        found = json.loads(imbalance("evaluate", new, "--json", "-q").stdout)
        assert found.items() >= results_of(new).items()

    def test_gives_the_same_bytes_as_training_with_that_refit(self, run, refitted_run):
        imbalance("refit", run, "--method", "lws", "--device", "cpu")
        assert content(run.parent / "mine-lws") == content(refitted_run)

    def test_never_overwrites(self, run):
        for _ in range(2):
            imbalance("refit", run / runs.CHECKPOINT, "--method", "nearest_mean", "-q")
        new, newer = run.parent / "mine-nearest_mean", run.parent / "mine-nearest_mean-2"
        assert results_of(new) == results_of(newer)
        told = complaint("refit", run, "--output", new, exit_code=4)
        assert told.startswith(f"{new} is not empty; ")

    def test_resamples_and_takes_options(self, run):
        flags = ["--resample", "smote", "--set", "resample.k_neighbours=3", "--set", "refit.epochs=2"]
        imbalance("refit", run, *flags, "-q")
        experiment, sources = resolve(run.parent / "mine-crt-smote" / runs.CONFIG)
        assert experiment.refit["epochs"] == 2
        assert experiment.resample == {"name": "smote", "k_neighbours": 3, "ratio": 1.0}
        session = runs.read_sessions(run.parent / "mine-crt-smote")[-1]
        assert session["settings_from"]["refit.epochs"] == "--set refit.epochs"
        assert session["settings_from"]["epochs"] == str(run)

    def test_several_methods_make_a_table(self, run):
        result = imbalance("refit", run, "--method", "crt", "tau_normalisation", "nearest_mean")
        for name in ("as trained", "crt", "tau_normalisation", "nearest_mean"):
            assert f"\n{name} " in result.stdout
        assert {entry.name for entry in run.parent.iterdir()} == {
            "mine", "mine-crt", "mine-tau_normalisation", "mine-nearest_mean"
        }  # fmt: skip

    def test_json_of_several_has_each_by_name(self, run):
        result = imbalance("refit", run, "--method", "crt", "nearest_mean", "--json", "-q")
        found = json.loads(result.stdout)
        assert list(found) == ["as trained", "crt", "nearest_mean"] and result.stderr == ""
        assert found["as trained"].items() <= results_of(run).items()
        assert found["crt"].items() >= results_of(run.parent / "mine-crt").items()
        assert found["crt"]["run"] == str(run.parent / "mine-crt")

    def test_names_the_folder_after_the_run_even_from_inside_it(self, run, monkeypatch):
        monkeypatch.chdir(run)
        imbalance("refit", ".", "--method", "nearest_mean", "-q")
        assert (run.parent / "mine-nearest_mean" / runs.RESULTS).exists()

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--method", "crtt"], "--method: unknown refit 'crtt'; did you mean 'crt'?"),
            (["--resample", "smot"], "--resample: unknown resample 'smot'; did you mean 'smote'?"),
            (["--set", "refit.epoch=3"], "unknown setting 'refit.epoch'; did you mean 'refit.epochs'?"),
            (["--method", "nearest_mean", "--set", "refit.epochs=3"], "refit.epochs has no use with nearest_mean; "),
            (["--set", "epochs=3"], "--set epochs: all but refit and resample stays as it was trained; "),
            (["--method", "crt", "lws", "-o", "x"], "--output is the folder of one run; give one --method"),
            (["--resample", "smote", "--set", "resample.k_neighbours=19"], "resample.k_neighbours: smote needs more"),
        ],
    )
    def test_a_usage_error_is_one_line_and_leaves_no_folder(self, run, flags, message):
        assert complaint("refit", run, *flags).startswith(message)
        assert [entry.name for entry in run.parent.iterdir()] == ["mine"]

    def test_features_that_a_method_cannot_work_with_leave_no_folder(self, run):
        flags = ["--resample", "kmeans_smote", "--set", "resample.clusters=200"]
        told = complaint("refit", run, *flags, exit_code=3)
        assert told.startswith("resample: kmeans_smote does not work on these features (common 96, rare 19): ")
        assert [entry.name for entry in run.parent.iterdir()] == ["mine"]

    def test_a_refitted_run_is_refused(self, refitted_run):
        assert complaint("refit", refitted_run, exit_code=4) == (
            "this model was refitted already, by lws; give the run that it came from, or train with --set refit=none"
        )

    def test_a_run_that_has_not_finished_is_refused(self, image_folder, tmp_path):
        run = run_with(image_folder, tmp_path / "run")
        for _ in run.train():
            break
        run.save()
        assert complaint("refit", run.folder, exit_code=4).startswith("training has not finished; ")

    def test_a_checkpoint_of_another_tool_has_no_training_to_go_on_from(self, finished_run):
        foreign = checkpoints.load(finished_run)
        foreign.progress = {}
        with pytest.raises(CheckpointError, match="training has not finished"):
            next(experiments.refitted(foreign, [], lambda _: None))


@pytest.mark.parametrize("name", [name for name in REFITS.names() if name != "none"])
def test_every_refit_works_on_a_trained_model(finished_run: Path, name: str) -> None:
    checkpoint = checkpoints.load(finished_run)
    own = [Setting((key,), value, "run") for key, value in checkpoint.config.items()]
    experiment, _ = resolve(None, [*own, Setting(("refit",), name, "test")])
    (run,) = experiments.refitted(checkpoint, [experiment], lambda _: None)
    assert set(run.operating_points) == {"argmax", "prior", "validation"}
