"""A refit as part of a run, and the command that gives a finished run another classifier."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from command_line import complaint, imbalance
from small_data import complete, content, new_run, settings_for

from imbalance_cli import checkpoints, experiments, refitting, runs, training
from imbalance_cli.config import Experiment, Setting, parse_assignment, resolve
from imbalance_cli.errors import CheckpointError, DataError, DivergedError, SettingError
from imbalance_cli.experiments import Run
from imbalance_cli.methods.refits import NEEDS_LENGTHS, REFITS


@pytest.fixture(scope="module")
def refitted_run(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose experiment asks for a refit; tests only read it."""
    return complete(run_with(image_folder, tmp_path_factory.mktemp("refitted") / "run", refit="lws")).folder


@pytest.fixture(scope="module")
def cosine_run(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of LDAM on a cosine classifier; tests only read it."""
    run = run_with(image_folder, tmp_path_factory.mktemp("cosine") / "run", model__classifier="cosine", loss="ldam")
    return complete(run).folder


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

    @pytest.mark.parametrize("name", NEEDS_LENGTHS)
    def test_what_changes_row_lengths_is_refused_for_a_cosine_classifier_before_training(
        self, image_folder, tmp_path, name
    ):
        with pytest.raises(SettingError) as raised:
            run_with(image_folder, tmp_path / "run", refit=name, model__classifier="cosine")
        assert str(raised.value) == (
            f"test: refit: {name} {NEEDS_LENGTHS[name]}; choose another (refit=crt, "
            "refit=label_over_smoothing, refit=nearest_mean), or train with model.classifier=linear"
        )

    def test_a_refit_that_diverges_says_so_and_keeps_the_training(self, image_folder, tmp_path):
        refit = {"name": "crt", "epochs": 100, "learning_rate": 1000.0, "weight_decay": 1.0}
        run = run_with(image_folder, tmp_path / "run", refit=refit)
        train(run)
        with pytest.raises(DivergedError) as raised:
            run.finish()
        assert str(raised.value) == (
            "refit: crt found weights that are no finite numbers; the training is saved, go on with: "
            f"imbalance refit {run.folder} --method crt --set refit.learning_rate=100"
        )
        assert checkpoints.load(run.folder).operating_points == {}

    def test_a_resampling_that_finds_nothing_keeps_the_training_and_says_how_to_go_on(self, image_folder, tmp_path):
        resample = {"name": "kmeans_smote", "clusters": 200}
        run = run_with(image_folder, tmp_path / "a run", refit="lws", resample=resample)
        train(run)
        with pytest.raises(DataError, match="no cluster holds enough of a small class; ") as raised:
            run.finish()
        told, _, command = str(raised.value).partition("; the training is saved, go on with: imbalance ")
        assert told.startswith("resample: kmeans_smote does not work on these features (common 96, rare 19): ")
        assert complaint("evaluate", run.folder, exit_code=4).startswith("training has not finished, or the refit ")
        assert complaint("train", "--resume", run.folder, exit_code=3) == str(raised.value)
        imbalance(*shlex.split(command), "-q")
        assert (tmp_path / "a run-lws-smote" / runs.RESULTS).exists()
        imbalance("refit", run.folder, "--method", "none", "--resample", "none", "-o", tmp_path / "as trained", "-q")
        assert (tmp_path / "as trained" / runs.RESULTS).exists()

    @pytest.mark.parametrize("resample", ["none", "smote"])
    def test_a_refit_of_ones_own_that_fails_sends_to_another_refit_not_to_another_resampling(
        self, image_folder, tmp_path, resample
    ):
        own = write_own(
            tmp_path, "refit(features, labels, classifier, generator)", "features.shape[1] == 8", "classifier"
        )
        run = run_with(image_folder, tmp_path / "run", refit=f"{own}:refit", resample=resample)
        train(run)
        with pytest.raises(SettingError) as raised:
            run.finish()
        told, _, command = str(raised.value).partition("; the training is saved, go on with: imbalance ")
        assert told == f"{own}:3: refit: AssertionError: "
        assert command == f"refit {run.folder} --method nearest_mean"
        imbalance(*shlex.split(command), "-q")

    @pytest.mark.parametrize("refit", ["none", "crt"])
    def test_a_criterion_of_ones_own_that_fails_is_no_fault_of_the_refit(self, image_folder, tmp_path, refit):
        scores = "1.0 * decisions.labels.repeat(2)[: len(decisions.labels) + 1]"
        own = write_own(tmp_path, "score(decisions)", "len(decisions.labels) <= 4", scores)
        run = run_with(image_folder, tmp_path / "run", validation=0.5, refit=refit, threshold_by=f"{own}:score")
        train(run)
        with pytest.raises(SettingError) as raised:
            run.finish()
        told = f"{own}:3: score: AssertionError: "
        assert str(raised.value) == f"{told}; the training is saved in {run.folder / runs.CHECKPOINT}"
        with pytest.raises(SettingError) as raised:  # where nothing is saved yet
            list(experiments.refitted(checkpoints.load(run.folder), [run.prepared.experiment], lambda _: None))
        assert str(raised.value) == told

    def test_outputs_that_are_not_finite_are_no_fault_of_the_refit(self, image_folder, tmp_path, monkeypatch):
        run = run_with(image_folder, tmp_path / "run", refit="crt", resample="smote")
        train(run)
        monkeypatch.setattr(training, "predict", lambda *given, **named: torch.full((1, 2), torch.nan))
        with pytest.raises(DivergedError, match="^training diverged: after 3 epochs the outputs .*; try --lr 0.01$"):
            run.finish()

    @pytest.mark.parametrize("refit", ["crt", "nearest_mean"])
    def test_features_that_are_not_finite_send_to_another_training(self, image_folder, tmp_path, monkeypatch, refit):
        run = run_with(image_folder, tmp_path / "run", refit=refit)
        train(run)
        predict = refitting.predict
        monkeypatch.setattr(refitting, "predict", lambda *given, **named: predict(*given, **named) * torch.inf)
        with pytest.raises(DivergedError) as raised:
            run.finish()
        assert str(raised.value) == (
            "training diverged: the features of the training images are no finite numbers; train again with --lr 0.01"
        )

    def test_what_the_counts_say_is_refused_without_training_too(self, image_folder):
        flags = ["--set", "refit=crt", "--set", "resample={name: smote, k_neighbours: 19}"]
        assert complaint("train", "-d", image_folder, "--dry-run", *flags) == (
            "resample.k_neighbours: smote needs more than 19 images of a class, but 'rare' has 19; "
            "set resample.k_neighbours=18, or resample=random_over_sampling"
        )

    def test_a_stage_has_no_refit_of_its_own(self):
        with pytest.raises(SettingError, match="refit: a stage goes on with the run's"):
            resolve(None, [parse_assignment("stages=[{refit: crt}]")])


def write_own(folder: Path, form: str, holds_when_tried_out: str, result: str) -> Path:
    """A file with a method that passes the trial before training, and fails after it."""
    path = folder / "mine.py"
    path.write_text(f'def {form}:\n    """Mine."""\n    assert {holds_when_tried_out}\n    return {result}\n')
    return path


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

    def test_features_are_extracted_once_for_all_methods(self, run, monkeypatch):
        calls = []
        predict = refitting.predict
        monkeypatch.setattr(refitting, "predict", lambda *given, **named: calls.append(1) or predict(*given, **named))
        checkpoint = checkpoints.load(run)
        wanted = [with_refit(checkpoint, name) for name in ("nearest_mean", "lws", "crt")]
        found = [refit.trainer.state()["weights"] for refit in experiments.refitted(checkpoint, wanted, lambda _: None)]
        assert len(calls) == 1
        (alone,) = experiments.refitted(checkpoint, wanted[-1:], lambda _: None)
        assert all(map(torch.equal, found[-1].values(), alone.trainer.state()["weights"].values()))

    def test_the_prior_correction_is_that_of_the_training_though_this_version_would_compute_another(self, finished_run):
        checkpoint = checkpoints.load(finished_run)
        checkpoint.calibration["reference"] = [0.25, -0.25]
        (run,) = experiments.refitted(checkpoint, [with_refit(checkpoint, "none")], lambda _: None)
        assert run.calibration["reference"] == [0.25, -0.25]
        checkpoint.config["refit"] = {"name": "crt"}  # then it is that of the refit
        (run,) = experiments.refitted(checkpoint, [with_refit(checkpoint, "crt")], lambda _: None)
        assert run.calibration["reference"] == [0, 0]

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
        assert told.endswith("; try --method crt --resample smote")
        assert [entry.name for entry in run.parent.iterdir()] == ["mine"]

    @pytest.mark.parametrize("method", ["crt", "nearest_mean"])
    def test_of_a_refitted_run_gives_the_bytes_of_the_run_that_it_came_from(self, run, refitted_run, tmp_path, method):
        shutil.copytree(refitted_run, tmp_path / "again")
        for folder in (run, tmp_path / "again"):
            imbalance("refit", folder, "--method", method, "--device", "cpu", "-q")
        assert content(tmp_path / f"again-{method}") == content(tmp_path / f"mine-{method}")

    def test_a_table_of_a_refitted_run_says_what_it_was(self, refitted_run, tmp_path):
        shutil.copytree(refitted_run, tmp_path / "again")
        found = json.loads(
            imbalance("refit", tmp_path / "again", "--method", "crt", "nearest_mean", "--json", "-q").stdout
        )
        assert list(found) == ["as refitted by lws", "crt", "nearest_mean"]

    def test_a_refitted_run_is_refused_where_its_trained_classifier_is_needed(self, refitted_run, tmp_path):
        shutil.copytree(refitted_run, tmp_path / "again")
        told = complaint("refit", tmp_path / "again", "--method", "crt", "max_norm", exit_code=4)
        assert told == (
            "max_norm goes on from the classifier that was trained, and lws has replaced that here; give the run that "
            "it came from, train with --set refit=none, or choose crt or nearest_mean, which look at the features alone"
        )
        assert [entry.name for entry in tmp_path.iterdir()] == ["again"]

    def test_a_method_that_does_not_fit_leaves_no_folder_of_one_that_does(self, cosine_run, tmp_path):
        shutil.copytree(cosine_run, tmp_path / "mine")
        told = complaint("refit", tmp_path / "mine", "--method", "crt", "lws")
        assert told.startswith("--method: lws learns how long the weights of each class are to be, ")
        assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]

    def test_of_a_cosine_classifier_resamples_by_angle(self, cosine_run, tmp_path, monkeypatch):
        seen = []
        resample = refitting.resample
        monkeypatch.setattr(
            refitting,
            "resample",
            lambda choice, features, *given: seen.append(features) or resample(choice, features, *given),
        )
        shutil.copytree(cosine_run, tmp_path / "mine")
        checkpoint = checkpoints.load(tmp_path / "mine")
        more = [Setting(("resample",), {"name": "smote", "k_neighbours": 3}, "test")]
        (run,) = experiments.refitted(checkpoint, [with_refit(checkpoint, "crt", *more)], lambda _: None)
        torch.testing.assert_close(seen[0], F.normalize(run.features()))

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


def with_refit(checkpoint: checkpoints.Checkpoint, name: str, *more: Setting) -> Experiment:
    own = [Setting((key,), value, "run") for key, value in checkpoint.config.items()]
    return resolve(None, [*own, Setting(("refit",), name, "test"), *more])[0]


@pytest.mark.parametrize("name", [name for name in REFITS.names() if name != "none"])
def test_every_refit_works_on_a_trained_model(finished_run: Path, name: str) -> None:
    checkpoint = checkpoints.load(finished_run)
    (run,) = experiments.refitted(checkpoint, [with_refit(checkpoint, name)], lambda _: None)
    assert set(run.operating_points) == {"argmax", "prior", "validation"}


@pytest.mark.parametrize("name", ["crt", "nearest_mean", "label_over_smoothing"])
def test_a_cosine_classifier_is_refitted_to_another(
    cosine_run: Path, image_folder: Path, tmp_path: Path, name: str
) -> None:
    """To the bytes of training with that refit; only the rows change, and the prior correction is that of the refit."""
    shutil.copytree(cosine_run, tmp_path / "mine")
    imbalance("refit", tmp_path / "mine", "--method", name, "--device", "cpu", "-q")
    whole = run_with(image_folder, tmp_path / "whole", model__classifier="cosine", loss="ldam", refit=name)
    assert content(tmp_path / f"mine-{name}") == content(complete(whole).folder)
    before, after = (checkpoints.load(tmp_path / folder) for folder in ("mine", f"mine-{name}"))
    changed = {key for key in before.weights if not torch.equal(before.weights[key], after.weights[key])}
    assert changed == {"classifier.weight"}
    assert any(after.calibration["reference"]) == (name == "label_over_smoothing")
