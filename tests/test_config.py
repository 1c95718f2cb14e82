"""Settings: what a file, flags and --set make of an experiment, and how mistakes are reported."""

import subprocess
import sys
from pathlib import Path

import pytest

from imbalance_cli.config import Experiment, Setting, parse_assignment, resolve
from imbalance_cli.errors import SettingError


def said(*assignments: str) -> Experiment:
    return resolve(None, [parse_assignment(text) for text in assignments])[0]


def complaint(*assignments: str) -> str:
    with pytest.raises(SettingError) as caught:
        said(*assignments)
    return str(caught.value)


def test_defaults_hold_every_option_of_every_method() -> None:
    experiment = said()
    assert experiment.loss == {"name": "cross_entropy", "label_smoothing": 0.0}
    assert experiment.model == {"name": "cnn", "width": 32, "dropout": 0.0}
    assert experiment.augment == [{"name": "crop", "padding": 4}, {"name": "flip", "probability": 0.5}]
    assert experiment.validation == 0.2


def test_a_resolved_experiment_resolves_to_itself() -> None:
    experiment = said("loss=focal", "loss.alpha=[0.25, 0.75]", "data.ratio=0.01", "augment=[flip]")
    assert Experiment.model_validate(experiment.model_dump()) == experiment


def test_later_settings_win_and_the_source_of_each_is_known(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("learning_rate: 1e-3\nloss: {name: focal, gamma: 1}\nepochs: 7\n")
    settings = [Setting(("learning_rate",), 0.5, "--lr"), parse_assignment("loss.gamma=5")]
    experiment, sources = resolve(file, settings)
    assert (experiment.learning_rate, experiment.loss["gamma"], experiment.epochs) == (0.5, 5, 7)
    assert sources["learning_rate"] == "--lr"
    assert sources["loss.gamma"] == "--set loss.gamma"
    assert sources["epochs"] == f"{file}:3"


def test_a_number_with_an_exponent_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("learning_rate: 1e-3\n")
    assert resolve(file)[0].learning_rate == 0.001


def test_another_method_drops_the_options_of_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("loss: {name: focal, gamma: 1}\n")
    assert resolve(file, [Setting(("loss",), "hinge", "--loss")])[0].loss == {"name": "hinge", "margin": 1.0}
    assert resolve(file, [Setting(("loss",), "focal", "--loss")])[0].loss["gamma"] == 1


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["loss=focal", "loss.gama=2"], "unknown setting 'loss.gama'; did you mean 'loss.gamma'?"),
        (["lerning_rate=1"], "unknown setting 'lerning_rate'; did you mean 'learning_rate'?"),
        (["ratio=0.1"], "unknown setting 'ratio'; did you mean 'data.ratio'?"),
        (["data.ratoi=0.1"], "unknown setting 'data.ratoi'; did you mean 'data.ratio'?"),
        (["loss=focall"], "loss: unknown loss 'focall'; did you mean 'focal'?"),
        (["loss.gamma=2"], "loss.gamma has no use with cross_entropy; it is an option of focal"),
        (["loss=focal", "loss.gamma=-1"], "loss.gamma must be at least 0; got -1"),
        (["loss=focal", "loss.gamma=.nan"], "loss.gamma must be a finite number; got nan"),
        (["loss=focal", "loss.gamma=true"], "loss.gamma must be a number; got true (quote it if you mean text)"),
        (["epochs=ten"], "epochs must be a whole number; got 'ten'"),
        (["epochs=0"], "epochs must be at least 1; got 0"),
        (["data.ratio=0"], "data.ratio: must be in (0, 1]; got 0.0"),
        (["data.ratio=.nan"], "data.ratio: must be in (0, 1]; got nan"),
        (["data.ratio=.inf"], "data.ratio: must be in (0, 1]; got inf"),
        (["augment=[{name: crop, padding: 0}]"], "augment.0.padding must be at least 1; got 0"),
        (["device=gpu"], "device must be auto, cpu, cuda, cuda:N or mps; got 'gpu'"),
        (["epochs.x=1"], "epochs must be a whole number; got {'x': 1}"),
        (["seed=-1"], "seed must be at least 0; got -1"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_would_work(assignments: list[str], message: str) -> None:
    assert complaint(*assignments) == message


def test_all_mistakes_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("epochs: ten\nbatch_size: -1\nlerning_rate: 0.1\n")
    with pytest.raises(SettingError) as caught:
        resolve(file)
    assert str(caught.value).splitlines() == [
        f"{file}:1: epochs must be a whole number; got 'ten'",
        f"{file}:2: batch_size must be at least 1; got -1",
        f"{file}:3: unknown setting 'lerning_rate'; did you mean 'learning_rate'?",
    ]


@pytest.mark.parametrize("text", ["loss", "=1", ".=1", "a..b=1"])
def test_set_wants_a_key_and_a_value(text: str) -> None:
    with pytest.raises(SettingError, match="expected KEY=VALUE"):
        parse_assignment(text)


def test_a_list_keeps_its_commas() -> None:
    assert parse_assignment("data.classes=[a,b]").value == ["a", "b"]


def test_class_names_that_look_like_numbers_are_names() -> None:
    assert said("data.classes=[1, 2]").data.classes == ["1", "2"]


def test_settings_are_checked_without_torch() -> None:
    code = (
        "import sys; from imbalance_cli.config import *; "
        "resolve(None, [parse_assignment('loss=focal'), parse_assignment('loss.gamma=2')]); "
        "assert not {'torch', 'matplotlib', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
