"""Methods from a user's own file: chosen like built-in ones, checked before training, never run for a checkpoint."""

import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from command_line import complaint, imbalance
from small_data import complete, new_run, settings_for

from imbalance_cli import checkpoints, experiments
from imbalance_cli.config import EVERY_REGISTRY, Setting, parse_assignment, resolve
from imbalance_cli.errors import CheckpointError, SettingError
from imbalance_cli.experiments import run_name
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.schedules import SCHEDULES
from imbalance_cli.own_methods import load
from imbalance_cli.studies.reading import Flags, read_study

METHODS = '''
"""Mine."""
from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

Strength = Annotated[float, Interval(ge=0, le=10)]


def my_loss(
    logits: Tensor, labels: Tensor, counts: Tensor, *, strength: Strength = 1.0, how: Literal["a", "b"] = "a"
) -> Tensor:
    """Cross-entropy so many times, for trying out (Doe, 2024)."""
    return strength * F.cross_entropy(logits, labels, reduction="none")


def with_features(logits, labels, counts, features=None):
    """Cross-entropy, larger for long features."""
    length = 1 if features is None else features.norm(dim=1)
    return length * F.cross_entropy(logits, labels, reduction="none")


def mean(logits, labels, counts):
    """Forgets reduction."""
    return F.cross_entropy(logits, labels)


def infinite(logits, labels, counts):
    """Divides by 0."""
    return F.cross_entropy(logits, labels, reduction="none") / 0


def without_gradient(logits, labels, counts):
    """Detached."""
    return F.cross_entropy(logits, labels, reduction="none").detach()


def failing(logits, labels, counts):
    """Adds what does not fit."""
    wrong = torch.zeros(7)
    return logits + wrong


def half(counts, *, by: float = 2.0):
    """All classes the same but the last."""
    return torch.cat([torch.ones(len(counts) - 1), torch.full((1,), by)]).to(counts)


def first_only(counts):
    """One number."""
    return counts[:1]


def reversed_draws(counts, batches):
    """As many as the other class has."""
    return counts.flip(0)


def darker(images, draws, *, by: Annotated[int, Interval(ge=1, le=8)] = 2):
    """All images darker."""
    return images // by


def falling(progress):
    """From 1 to 0 like a parabola."""
    return (1 - progress) ** 2


def no_docstring(logits, labels, counts):
    return logits


def other_inputs(logits, target):
    """Two."""


def bare_option(logits, labels, counts, *, strength=1.0):
    """No type."""


def required_option(logits, labels, counts, *, strength: float):
    """No default."""


def odd_option(logits, labels, counts, *, strength: Tensor = None):
    """A tensor."""


def unknown_type(logits, labels, counts, *, strength: Strenght = 1.0):
    """A slip."""


def wrong_default(logits, labels, counts, *, strength: Strength = 11.0):
    """Too large."""


def reserved_option(logits, labels, counts, *, name: str = "x"):
    """A name."""
'''


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(METHODS)
    return path


def chosen(**settings: object):
    return resolve(None, [Setting((key,), value, f"--{key}") for key, value in settings.items()])[0]


class TestChoosing:
    def test_a_loss_becomes_the_record_of_its_file(self, mine):
        loss = chosen(loss={"name": "mine.py:my_loss", "strength": 2}).loss
        assert loss["name"] == f"{mine}:my_loss" and len(loss["sha256"]) == 64
        assert (loss["strength"], loss["how"]) == (2.0, "a")
        logits, labels, counts = torch.zeros(3, 2), torch.tensor([0, 1, 1]), torch.ones(2)
        assert LOSSES.bind(loss)(logits, labels, counts).tolist() == pytest.approx([2 * 0.693147] * 3, rel=1e-5)

    def test_options_are_checked_like_built_in_ones(self):
        assert "loss.strength must be at most 10; got 20" in complaint(
            "train", "--loss", "mine.py:my_loss", "--set", "loss.strength=20"
        )
        assert "unknown setting 'loss.stregth'; did you mean 'loss.strength'?" in complaint(
            "train", "--loss", "mine.py:my_loss", "--set", "loss.stregth=2"
        )

    def test_it_is_no_entry_of_the_lists(self):
        chosen(loss="mine.py:my_loss")
        assert not any("mine" in name for name in LOSSES.names())

    def test_every_place_of_a_file_may_name_one(self, tmp_path, mine):
        (tmp_path / "c.yaml").write_text(
            "loss: {name: mine.py:my_loss, strength: 3}\naugment: [crop, {name: mine.py:darker, by: 3}]\n"
            "class_weights: mine.py:half\nlearning_rate_schedule: mine.py:falling\n"
            "stages:\n- {epochs: 2, sampler: mine.py:reversed_draws}\n"
        )
        experiment, _ = resolve(tmp_path / "c.yaml")
        assert experiment.augment[1]["name"] == f"{mine}:darker" and experiment.augment[1]["by"] == 3
        assert experiment.class_weights["by"] == 2.0
        assert experiment.in_stages()[1].sampler["name"] == experiment.stages[0]["sampler"]["name"]
        assert experiment.stages[0]["sampler"]["sha256"] == experiment.loss["sha256"]

    def test_a_file_tells_from_its_own_folder_and_a_flag_from_the_current_one(self, tmp_path, mine):
        folder = tmp_path / "experiments"
        folder.mkdir()
        (folder / "own.py").write_text(METHODS)
        (folder / "c.yaml").write_text(
            "loss: {name: own.py:my_loss, strength: 3}\naugment: [crop, ./own.py:darker]\n"
            "class_weights: ../mine.py:half\ndata: {dataset: own.py}\n"
            "stages:\n- {epochs: 2, sampler: own.py:reversed_draws}\n"
        )
        experiment, sources = resolve(folder / "c.yaml", [Setting(("learning_rate_schedule",), "mine.py:falling", "x")])
        assert experiment.loss["name"] == f"{folder / 'own.py'}:my_loss" and experiment.loss["strength"] == 3
        assert experiment.augment[1]["name"] == f"{folder / 'own.py'}:darker"
        assert experiment.class_weights["name"] == f"{mine}:half"
        assert experiment.learning_rate_schedule["name"] == f"{mine}:falling"
        assert experiment.in_stages()[1].sampler["name"] == f"{folder / 'own.py'}:reversed_draws"
        assert experiment.data.dataset == "own.py" and sources["loss"] == f"{folder / 'c.yaml'}:1"

    def test_so_does_that_of_a_study_and_each_of_its_recipes(self, tmp_path, mine):
        for name in ("studies", "recipes"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "own.py").write_text(METHODS)
        (tmp_path / "recipes" / "c.yaml").write_text("class_weights: own.py:half\n")
        (tmp_path / "studies" / "s.yaml").write_text(
            "base: {learning_rate_schedule: own.py:falling}\n"
            "methods: {a: {loss: own.py:my_loss}, b: ../recipes/c.yaml}\n"
            "vary: {sampler: [own.py:reversed_draws, instance]}\n"
        )
        study, _ = read_study(tmp_path / "studies" / "s.yaml", Flags(losses=["mine.py:my_loss"]))
        found = {cell.method: cell.experiment for cell in study.cells()}
        own, recipes_own = (tmp_path / name / "own.py" for name in ("studies", "recipes"))
        assert found["a"].loss["name"] == f"{own}:my_loss"
        assert found["a"].learning_rate_schedule["name"] == f"{own}:falling"
        assert found["b + sampler own.py:reversed_draws"].sampler["name"] == f"{own}:reversed_draws"
        assert found["b"].class_weights["name"] == f"{recipes_own}:half"
        assert found["mine.py:my_loss"].loss["name"] == f"{mine}:my_loss"

    def test_changed_settings_keep_its_options(self):
        experiment = resolve(
            None, [Setting(("loss",), "mine.py:my_loss", "--loss"), Setting(("loss", "strength"), 4.0, "--set")]
        )[0]
        assert experiment.loss["strength"] == 4.0

    def test_the_run_is_named_after_the_function(self):
        assert run_name(chosen(loss="mine.py:my_loss", class_weights="mine.py:half")) == "auto-my_loss-half-seed0"

    def test_the_file_is_run_once(self, mine):
        mine.write_text(METHODS + "\nwith open('ran', 'a') as file: file.write('x')\n")
        chosen(loss="mine.py:my_loss", class_weights="mine.py:half")
        chosen(loss="./mine.py:with_features")
        assert Path("ran").read_text() == "x"


class TestFaults:
    """Each one line: the setting or flag, the file, what would work."""

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("mine.py", "name a function of the file too, as in mine.py:my_loss"),
            ("mine.py:my-loss", "name a function of the file too, as in mine.py:my_loss"),
            ("none.py:my_loss", "cannot read {folder}/none.py: no such file or directory"),
            ("mine.py:my_los", "{mine} has no function 'my_los'; did you mean 'my_loss'?"),
            ("mine.py:Strength", "{mine} has no function 'Strength'"),
            ("mine.py:no_docstring", "{mine}: no_docstring has no docstring; give it one"),
            (
                "mine.py:other_inputs",
                "{mine}: other_inputs takes (logits, target); loss: give it (logits, labels, counts) or (logits, ",
            ),
            ("mine.py:bare_option", "option strength needs a type and a default, as in strength: float = 1.0"),
            ("mine.py:required_option", "option strength needs a type and a default, as in strength: float = 1.0"),
            ("mine.py:odd_option", "the type of an option is none that settings have"),
            ("mine.py:unknown_type", "name 'Strenght' is not defined"),
            ("mine.py:wrong_default", "the default of option strength is not of its type: input should be less than"),
            ("mine.py:reserved_option", "no option can be called name; rename it"),
        ],
    )
    def test_of_a_function(self, name, told, mine, tmp_path):
        line = complaint("train", "-d", "shapes", "--loss", name)
        assert line.startswith("--loss: ") and told.format(mine=mine, folder=tmp_path) in line

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            ("def my_loss(:\n", "{mine}:1: invalid syntax"),
            ("\n\n1 / 0\n", "{mine}:3: ZeroDivisionError: division by zero"),
            ("import nothing_of_that_name\n", "{mine}:1: ModuleNotFoundError: No module named"),
            ("import sys\nsys.exit(3)\n", "{mine}:2: SystemExit: 3"),
        ],
    )
    def test_of_a_file(self, content, told, mine):
        mine.write_text(content)
        assert told.format(mine=mine) in complaint("train", "--loss", "mine.py:my_loss")

    def test_of_a_configuration_are_told_with_its_line(self, tmp_path):
        (tmp_path / "c.yaml").write_text("epochs: 3\nloss: mine.py:my_los\naugment: [mine.py:dark]\n")
        with pytest.raises(SettingError) as caught:
            resolve(tmp_path / "c.yaml")
        first, second = str(caught.value).splitlines()
        assert first.startswith(f"{tmp_path / 'c.yaml'}:2: loss: ") and "did you mean 'my_loss'" in first
        assert second.startswith(f"{tmp_path / 'c.yaml'}:3: augment.0: ") and "'dark'" in second

    def test_a_model_must_be_built_in(self):
        assert "a model must be built in" in complaint("train", "--model", "mine.py:my_loss")

    def test_a_rising_one_does_not_suit_the_learning_rate(self, mine):
        mine.write_text('def up(progress):\n    """Up."""\n    return progress\n')
        assert "rises" in complaint("train", "--set", "learning_rate_schedule=mine.py:up")


TRIED = """
import torch
from imbalance_cli.methods.refits import Linear

nan = float("nan")
"""

FORMS = {  # of what a method is given
    "loss": "logits, labels, counts",
    "sampler": "counts, batches",
    "class_weights": "counts",
    "sampler_schedule": "progress",
    "class_weights_schedule": "progress",
    "learning_rate_schedule": "progress",
    "augment": "images, draws",
    "mixing": "images, labels, partners, partner_labels, counts, generator",
    "second_view": "images, labels, partners, partner_labels, counts, generator",
    "optimizer": "weights, gradients, memory, learning_rate, weight_decay",
    "refit": "features, labels, classifier, generator",
    "resample": "features, labels, seed",
    "threshold_by": "decisions",
}
BUILT_IN = {
    "loss": "cross_entropy",
    "sampler": "square_root",
    "class_weights": "sqrt",
    "sampler_schedule": "rising",
    "class_weights_schedule": "deferred",
    "learning_rate_schedule": "linear",
    "augment": "flip",
    "mixing": "mixup",
    "second_view": "cutmix",
    "optimizer": "adamw",
    "refit": "crt",
    "resample": "smote",
    "threshold_by": "g_mean",
}
BESIDE = {"resample": ["--set", "refit=nearest_mean"], "second_view": ["--set", "mixing=mixup"]}  # what it asks for
DESCENT = "torch._foreach_add_(weights, gradients, alpha=-learning_rate)"


class TestTrials:
    """Before training every method of a user's own is called; one line says what came back, and what it should be.

    The training images are 96 common ones and 19 rare ones.
    """

    @pytest.mark.parametrize(
        ("setting", "result", "told"),
        [
            ("loss", "logits.mean()", "must give one value per example, for 3 of them a tensor [3]; got float32 []"),
            ("loss", "None", "must give one value per example, for 3 of them a tensor [3]; got None; with PyTorch"),
            ("loss", "logits.sum(1) / 0", "gives a value that is no finite number"),
            ("loss", "(logits.sum(1) - logits.sum(1)) ** 0.5", "gives a gradient that is no finite number"),
            ("loss", "logits.detach().sum(1)", "has no gradient: compute it from the logits"),
            ("sampler", "counts[:1]", "must give one number per class, float64 [2] as counts is; got float64 [1]"),
            ("sampler", "counts.float()", "float64 [2] as counts is; got float32 [2]"),
            ("sampler", "counts.tolist()", "float64 [2] as counts is; got a list"),
            ("sampler", "counts.numpy()", "float64 [2] as counts is; got a NumPy array, float64 [2]"),
            ("sampler", "counts * torch.tensor([1, nan])", "must give finite draws of at least 0; got nan at index 1"),
            ("sampler", "counts - 29", "must give finite draws of at least 0; got -10 at index 1"),
            (
                "sampler",
                "counts * 0",
                "must draw from 2 to 100,000,000 images in an epoch, all classes together; got 0",
            ),
            ("sampler", "counts * 1e12", "must draw from 2 to 100,000,000 images in an epoch, all classes together"),
            ("class_weights", "counts[:1]", "must give one number per class, a tensor [2]; got float64 [1]"),
            ("class_weights", "3", "must give one number per class, a tensor [2]; got 3"),
            ("class_weights", "counts * nan", "must give finite weights above 0; got nan at index 0"),
            ("class_weights", "counts * 0", "must give finite weights above 0; got 0 at index 0"),
            ("class_weights", "torch.tensor([1, -1])", "must give finite weights above 0; got -1 at index 1"),
            ("sampler_schedule", "3 - 6 * progress", "must give a number from 0 to 1"),
            ("sampler_schedule", "nan", "must give a finite number of at least 0; got nan at progress 0"),
            ("class_weights_schedule", "3 - 6 * progress", "or draws; got 3 at progress 0"),
            ("class_weights_schedule", "2 * progress", "or draws; got 1.02 at progress 0.51"),
            ("class_weights_schedule", "nan", "must give a finite number of at least 0; got nan at progress 0"),
            ("class_weights_schedule", "'much'", "must give a number; got a str at progress 0"),
            ("learning_rate_schedule", "3 - 6 * progress", "a finite number of at least 0; got -3 at progress 1"),
            ("learning_rate_schedule", "nan if 0 < progress < 1 else 1", "at least 0; got nan at progress 0.01"),
            ("learning_rate_schedule", "None", "must give a number; got None at progress 0"),
            ("augment", "images / 255", "as it is given them, uint8 [8, 3, 16, 16]; got float32 [8, 3, 16, 16]"),
            ("augment", "images[:, :, 1:]", "as it is given them, uint8 [8, 3, 16, 16]; got uint8 [8, 3, 15, 16]"),
            ("augment", "None", "must give images as it is given them, uint8 [8, 3, 16, 16]; got None"),
            ("mixing", "images", "here (float32 [8, 3, 16, 16], float32 [8]); got float32 [8, 3, 16, 16]"),
            ("mixing", "(images, 0.5)", "got (float32 [8, 3, 16, 16], 0.5)"),
            ("mixing", "(images.double(), images[:, 0, 0, 0])", "got (float64 [8, 3, 16, 16], float32 [8])"),
            ("mixing", "(images, torch.full((len(images),), 3.0))", "must give shares from 0 to 1; got 3"),
            ("mixing", "(images, torch.full((len(images),), nan))", "must give shares from 0 to 1; got nan"),
            ("mixing", "(images * nan, torch.ones(len(images)))", "must give finite images; got some that are not"),
            ("second_view", "(images, -torch.ones(len(images)))", "must give shares from 0 to 1; got -1"),
            ("optimizer", "[w - g for w, g in zip(weights, gradients)]", "must change the weights in place"),
            ("optimizer", "[w.mul_(nan) for w in weights]", "must leave weights finite"),
            (
                "optimizer",
                f"[{DESCENT}, memory.update(last=(1, 2))]",
                "in memory, for a stopped run to go on; got (1, 2)",
            ),
            (
                "refit",
                "classifier.weight",
                "must give a classifier of the kind it was given, as in classifier._replace(weight=weight); got ",
            ),
            ("refit", "classifier._replace(bias=classifier.bias[:1])", "a bias float32 [2], as the trained one's; got"),
            ("refit", "classifier._replace(bias=classifier.bias.requires_grad_())", "without gradient; add .detach()"),
            (
                "refit",
                "Linear(*(each * nan for each in classifier))",
                "must give finite weights; got some that are not",
            ),
            ("resample", "features", "must give (features, labels), NumPy arrays of float [m, 8] and int64 [m]; got a"),
            (
                "resample",
                "(features, labels[1:])",
                "int64 [m]; got (a NumPy array, float32 [115, 8], a NumPy array, int",
            ),
            ("resample", "(features[:0], labels[:0])", "must leave some of the features; got none"),
            ("resample", "(features * nan, labels)", "must give finite features; got some that are not"),
            ("resample", "(features, labels + 1)", "must give labels that occur in those it is given; got 2"),
            ("threshold_by", "1.0", "must give a score for every decision, one more than there are images"),
            (
                "threshold_by",
                "decisions.hits[:, -1] * nan",
                "must give a score for every decision; got nan for number 0, as of 0 / 0",
            ),
        ],
    )
    def test_a_fault_is_told_before_anything_is_written(self, setting, result, told, image_folder, tmp_path):
        (tmp_path / "own.py").write_text(f'{TRIED}\ndef it({FORMS[setting]}):\n    """Mine."""\n    return {result}\n')
        choice = "[own.py:it]" if setting == "augment" else "own.py:it"
        more = ["--set", f"{setting}={choice}", *BESIDE.get(setting, ())]
        line = complaint("train", *flags(image_folder), *more)
        assert f"{tmp_path / 'own.py'}:it" in line and told in line
        assert not (tmp_path / "runs").exists()

    @pytest.mark.parametrize("setting", FORMS)
    def test_what_it_raises_is_told_with_its_line(self, setting, image_folder, tmp_path):
        (tmp_path / "own.py").write_text(f'def it({FORMS[setting]}):\n    """Mine."""\n    return 1 / 0\n')
        choice = "[own.py:it]" if setting == "augment" else "own.py:it"
        more = ["--set", f"{setting}={choice}", *BESIDE.get(setting, ())]
        line = complaint("train", *flags(image_folder), *more)
        assert f"{tmp_path / 'own.py'}:3: it: ZeroDivisionError: division by zero" in line
        assert not (tmp_path / "runs").exists()

    @pytest.mark.parametrize("second", [None, "{epochs: 1, class_weights: mine.py:first_only}"])
    def test_each_stage_is_tried_out(self, second, image_folder, tmp_path):
        more = ["--set", f"stages=[{second}]"] if second else ["--set", "class_weights=mine.py:first_only"]
        assert "mine.py:first_only must give" in complaint("train", *flags(image_folder), *more)
        assert not (tmp_path / "runs").exists()

    def test_a_loss_is_tried_out_with_features_too(self, image_folder, mine):
        mine.write_text(METHODS.replace("features.norm(dim=1)", "features.norm()[None, None]"))
        line = complaint("train", *flags(image_folder), "--loss", "mine.py:with_features")
        assert "mine.py:with_features must give one value per example" in line

    def test_an_option_of_cmo_means_what_it_means_there(self, image_folder, mine):
        form = FORMS["mixing"]
        mine.write_text(f'def it({form}, *, partner_power: float = 0.0):\n    """Mine."""\n    return images, labels\n')
        line = complaint("train", *flags(image_folder), "--set", "mixing=mine.py:it")
        assert "the option partner_power is that of cmo, with its alpha and probability; add these, or rename" in line

    def test_training_goes_on_undisturbed(self, image_folder, tmp_path):
        """Methods of one's own of every kind, which do what built-in ones do, give the same bytes."""
        text = "from imbalance_cli.config import EVERY_REGISTRY\n"
        for setting, name in BUILT_IN.items():
            text += f'def {setting}({FORMS[setting]}):\n    """Mine."""\n'
            text += f"    return EVERY_REGISTRY['{setting}'].get('{name}').function({FORMS[setting]})\n"
        (tmp_path / "own.py").write_text(text)
        weights = []
        for names in (BUILT_IN, {setting: f"own.py:{setting}" for setting in BUILT_IN}):
            settings = settings_for(image_folder, image_folder / "cache", **names | {"augment": [names["augment"]]})
            run = complete(new_run(settings, tmp_path / f"run{len(weights)}"))
            weights.append(run.trainer.state()["weights"])
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def flags(image_folder: Path) -> list[object]:
    return ["-d", image_folder, "--data-dir", image_folder / "cache", "--image-size", 16, "-q"]


class TestRuns:
    """A run with methods of its user's own in every kind that training asks for."""

    @pytest.fixture
    def run(self, image_folder, tmp_path):
        settings = settings_for(
            image_folder,
            image_folder / "cache",
            loss={"name": "mine.py:with_features"},
            class_weights="mine.py:half",
            sampler="mine.py:reversed_draws",
            augment=["mine.py:darker"],
            learning_rate_schedule="mine.py:falling",
            stages=[{"epochs": 1, "loss": "mine.py:my_loss"}],
        )
        return new_run(settings, tmp_path / "run")

    @pytest.fixture
    def stopped(self, run):
        for _ in run.train():
            if run.trainer.progress.epoch == 1:
                run.save()
                break
        return run.folder

    def test_trains_and_its_configuration_repeats_it(self, run, tmp_path):
        folder = complete(run).folder
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["loss"]["name"] == f"{tmp_path / 'mine.py'}:with_features"
        assert resolve(folder / "config.yaml")[0] == run.prepared.experiment

    def test_is_resumed_while_the_file_is_unchanged(self, stopped):
        value = json.loads(imbalance("train", "--resume", stopped, "-q", "--json").stdout)
        assert value["classes"] == ["common", "rare"]

    def test_goes_on_with_its_options_when_it_is_named_again(self, stopped):
        imbalance("train", "--resume", stopped, "--set", "sampler=./mine.py:reversed_draws", "-q", "--json")

    def test_a_new_run_of_its_configuration_may_name_the_file_as_it_is_now(self, run, mine):
        mine.write_text(METHODS.replace("many times, for", "often, for"))
        config = run.folder / "config.yaml"
        with pytest.raises(SettingError, match="SHA-256 differs; put it back, or, for a new run, leave out sha256"):
            resolve(config)
        names = ["loss=mine.py:with_features", "class_weights=mine.py:half", "sampler=mine.py:reversed_draws"]
        names += ["learning_rate_schedule=mine.py:falling", "augment=[]", "stages=[]"]
        experiment, _ = resolve(config, map(parse_assignment, names))
        assert experiment.loss["sha256"] != run.prepared.experiment.loss["sha256"]

    @pytest.mark.parametrize("change", ["edited", "gone"])
    def test_is_not_resumed_with_another_file(self, stopped, mine, change):
        if change == "gone":
            mine.unlink()
        else:
            mine.write_text(METHODS + "\nopen('ran', 'w')\n")
        told = complaint_lines("train", "--resume", stopped, exit_code=4)
        assert all(str(mine) in line for line in told)
        assert ("SHA-256 differs" in told[0]) == (change == "edited")
        assert not Path("ran").exists()

    @pytest.mark.parametrize("saved", [True, False])
    @pytest.mark.parametrize("recorded", [True, False])
    def test_no_file_is_run_that_only_its_configuration_names(self, run, stopped, tmp_path, saved, recorded):
        """The configuration of a run is not what the run began with, for it names another file."""
        (tmp_path / "evil.py").write_text("open('ran', 'w')\n")
        config = yaml.safe_load((stopped / "config.yaml").read_text())
        config["loss"] = {"name": f"{tmp_path / 'evil.py'}:my_loss"}
        if recorded:
            config["loss"]["sha256"] = experiments.runs.sha256((tmp_path / "evil.py").read_bytes())
        (stopped / "config.yaml").write_text(yaml.safe_dump(config))
        if not saved:
            for path in stopped.glob("checkpoint*.pt"):
                path.unlink()
        forget()
        *_, told = complaint_lines("train", "--resume", stopped, exit_code=4)
        if not recorded:
            assert "only a command that is given this name runs its file" in told
        else:
            assert ("does not fit checkpoint.pt" if saved else "config.yaml was edited or damaged") in told
        assert not Path("ran").exists()

    def test_is_shown_without_the_file_when_it_is_complete(self, run, mine):
        folder = complete(run).folder
        mine.write_text("open('ran', 'w')\n")
        forget()
        assert "is already complete" in imbalance("train", "--resume", folder).stderr
        assert not Path("ran").exists()

    def test_is_evaluated_without_the_file(self, run, mine):
        folder = complete(run).folder
        mine.write_text("open('ran', 'w')\n")
        forget()
        stored = json.loads((folder / "results.json").read_text())
        value = json.loads(imbalance("evaluate", folder, "-q", "--json").stdout)
        assert value["confusion_matrix"] == stored["confusion_matrix"] and value["auroc"] == stored["auroc"]
        assert not Path("ran").exists()

    def test_a_checkpoint_runs_no_file_even_if_it_matches(self, run, mine):
        folder = complete(run).folder
        mine.write_text("open('ran', 'w')\n")
        checkpoint = checkpoints.load(folder)
        for value in (checkpoint.config["loss"], checkpoint.config["stages"][0]["loss"]):
            value["sha256"] = experiments.runs.sha256(mine.read_bytes())
        forget()
        checkpoints.save(checkpoint, folder / "checkpoint.pt")
        imbalance("evaluate", folder, "-q")
        own = [Setting((name,), value, "a checkpoint") for name, value in checkpoint.config.items()]
        resolve(None, own)
        assert not Path("ran").exists()

    def test_a_checkpoint_that_names_a_file_without_its_sha256_is_refused(self, finished_run, tmp_path, mine):
        mine.write_text("open('ran', 'w')\n")
        checkpoint = checkpoints.load(finished_run)
        checkpoint.config["loss"] = {"name": f"{mine}:my_loss"}
        checkpoints.save(checkpoint, tmp_path / "c.pt")
        with pytest.raises(CheckpointError, match="only a command that is given this name runs its file"):
            checkpoints.load(tmp_path / "c.pt")
        assert not Path("ran").exists()


def forget() -> None:
    """Know of no method of a user's own, like a new process."""
    for registry in EVERY_REGISTRY.values():
        registry._own.clear()


def complaint_lines(*args: object, exit_code: int) -> list[str]:
    return imbalance(*args, exit_code=exit_code).stderr.splitlines()


def test_the_catalogue_explains_it() -> None:
    value = json.loads(
        imbalance("methods", "loss", "mine.py:my_loss", "--counts", 30, 10, "--set", "loss.strength=2", "--json").stdout
    )
    assert value["say"]["flags"] == "--loss mine.py:my_loss --set loss.strength=1"
    assert value["options"]["strength"] == {"values": "number 0 to 10", "default": 1.0}
    assert [paper["cited"] for paper in value["papers"]] == ["Doe, 2024"] and value["effect"][
        "share of the gradient"
    ] == pytest.approx({"0": 0.75, "1": 0.25})


def test_its_loss_curve_is_drawn() -> None:
    value = json.loads(imbalance("plot-loss", "--loss", "mine.py:my_loss", "--json", "-q").stdout)
    assert value["curves"] == ["my_loss"]


def test_a_file_may_define_dataclasses_and_decorate(mine: Path) -> None:
    mine.write_text(
        "from __future__ import annotations\nimport functools\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Point:\n    x: float\n"
        "def plainly(f):\n    @functools.wraps(f)\n    def inner(*a, **k):\n        return f(*a, **k)\n"
        "    return inner\n"
        "@plainly\ndef down(progress, *, by: float = 1.0):\n    '''Down.'''\n    return Point(1 - by * progress).x\n"
    )
    choice = load(SCHEDULES, {"name": "mine.py:down", "by": 0.5})
    assert SCHEDULES.bind(choice)(1.0) == 0.5


@pytest.mark.parametrize("name", ["pipe.py", "a\0.py"])
def test_what_is_no_file_is_not_read(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(SettingError, match="cannot read"):
        load(LOSSES, f"{tmp_path / name}:my_loss")
