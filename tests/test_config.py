"""Settings: what a file, flags and --set make of an experiment, and how mistakes are reported."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from command_line import imbalance

from imbalance_cli.config import Experiment, Setting, parse_assignment, resolve
from imbalance_cli.errors import SettingError
from imbalance_cli.setting_problems import shown


def said(*assignments: str) -> Experiment:
    return resolve(None, [parse_assignment(text) for text in assignments])[0]


def complaint(*assignments: str) -> str:
    with pytest.raises(SettingError) as caught:
        said(*assignments)
    return str(caught.value)


def test_defaults_hold_every_option_of_every_method() -> None:
    experiment = said()
    assert experiment.loss == {"name": "cross_entropy", "label_smoothing": 0.0}
    assert experiment.model == {"name": "cnn", "width": 32, "dropout": 0.0, "classifier": "linear"}
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
        (
            ["loss.gamma=2"],
            "loss.gamma has no use with cross_entropy; it is an option of focal, class_balanced_focal, poly_focal, "
            "vector_scaling",
        ),
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


def test_all_mistakes_of_all_stages_are_told_at_once() -> None:
    told = complaint("stages=[{epochs: 0, model: cnn}, {epochs: 1}, {loss: focall, validation: 0, mixing_until: 2}]")
    assert told.split("; in ") == [
        "in stages.0: model: a stage goes on with the run's; set it outside the stages",
        "stages.0: epochs must be at least 1; got 0",
        "stages.2: validation: a stage goes on with the run's; set it outside the stages",
        "stages.2: loss: unknown loss 'focall'; did you mean 'focal'?",
        "stages.2: mixing_until must be at most 1; got 2",
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


# Files that are refused: one process reads them all, as a user's command does, and tells what came of each.

REFUSED = [
    pytest.param(
        "C01",
        "epochs: 3\nlerning_rate: 0.1\n",
        ["x.yaml:2: unknown setting 'lerning_rate'; did you mean 'learning_rate'?"],
        marks=pytest.mark.fault("C01"),
    ),
    pytest.param(
        "C02", "epochs: ten\n", ["x.yaml:1: epochs must be a whole number; got 'ten'"], marks=pytest.mark.fault("C02")
    ),
    pytest.param(
        "C04",
        "loss: on\nmodel: true\ndata:\n  dataset: true\n",
        [
            "x.yaml:4: data.dataset must be text (put quotes around true, false and numbers); "
            "got true (quote it if you mean text)",
            "x.yaml:2: model: must be a name, or a name with options as in {name: NAME, OPTION: VALUE}; "
            "got true (quote it if you mean text)",
            "x.yaml:1: loss: unknown loss 'on'; ",
        ],
        marks=pytest.mark.fault("C04"),
    ),
    pytest.param(
        "C06",
        "a: &a [x]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi")),
        ["x.yaml:1: a: anchors and aliases (&, *) are not accepted; repeat the value"],
        marks=pytest.mark.fault("C06"),
    ),
    pytest.param(
        "C08",
        "epochs: 1\nloss: !!python/object/apply:os.system [touch PWNED]\n",
        ["x.yaml:2: loss: the tag tag:yaml.org,2002:python/object/apply:os.system is not accepted"],
        marks=pytest.mark.fault("C08"),
    ),
    pytest.param("C09", "", ["x.yaml is empty"], marks=pytest.mark.fault("C09")),
    pytest.param("C10", "- a\n", ["x.yaml: expected `key: value` lines, found ['a']"], marks=pytest.mark.fault("C10")),
    pytest.param(
        "C10 text", "hello\n", ["x.yaml: expected `key: value` lines, found 'hello'"], marks=pytest.mark.fault("C10")
    ),
    pytest.param(
        "C11", b"\xff\xfe", ["x.yaml is not UTF-8 text: byte 0 cannot be read"], marks=pytest.mark.fault("C11")
    ),
    pytest.param(
        "C13",
        "[" * 2000,
        ["x.yaml:1: nested too deep; at most 50 levels are read"],
        marks=pytest.mark.fault("C13"),
    ),
    pytest.param(
        "C15",
        f"epochs: {'9' * 5000}\n",
        ["x.yaml:1: epochs: 999999999999... (5000 characters) is out of range for a whole number (64 bits)"],
        marks=pytest.mark.fault("C15"),
    ),
    pytest.param(
        "C15 64 bits",
        f"epochs: {2**63}\n",
        ["x.yaml:1: epochs must be at most 1000000; got 9223372036854775808"],
        marks=pytest.mark.fault("C15"),
    ),
    pytest.param(
        "C16",
        "epochs: 1\n---\nepochs: 2\n",
        ["x.yaml:2: a second document starts; expected one document"],
        marks=pytest.mark.fault("C16"),
    ),
    pytest.param(
        "C18",
        "epochs: 0\nbatch_size: -1\nworkers: -1\n",
        [
            "x.yaml:1: epochs must be at least 1; got 0",
            "x.yaml:2: batch_size must be at least 1; got -1",
            "x.yaml:3: unknown setting 'workers'",
        ],
        marks=pytest.mark.fault("C18"),
    ),
    pytest.param(
        "C19",
        "seed: 010\n",
        ["x.yaml:1: seed: to some YAML readers 010 is octal; write 10, or quote a text"],
        marks=pytest.mark.fault("C19"),
    ),
    pytest.param(
        "C19 time",
        "epochs: 1:30\n",
        ["x.yaml:1: epochs: to some YAML readers 1:30 is a time; write one number"],
        marks=pytest.mark.fault("C19"),
    ),
    pytest.param(
        "C22",
        "loss: {name: cross_entropy, gamma: 2}\n",
        ["x.yaml:1: loss.gamma has no use with cross_entropy; it is an option of "],
        marks=pytest.mark.fault("C22"),
    ),
    pytest.param(
        "C22 at the top",
        "gamma: 2\n",
        ["x.yaml:1: unknown setting 'gamma'; did you mean 'loss.gamma'?"],
        marks=pytest.mark.fault("C22"),
    ),
    pytest.param("C20 missing", None, ["there is no file x.yaml"], marks=pytest.mark.fault("C20")),
    pytest.param(
        "C20 folder", Path.mkdir, ["x.yaml is a folder; expected a YAML file"], marks=pytest.mark.fault("C20")
    ),
    pytest.param(
        "C20 pipe", os.mkfifo, ["x.yaml is not a regular file; expected a YAML file"], marks=pytest.mark.fault("C20")
    ),
]

READ_THEM_ALL = """
import contextlib, io, json, os, sys, time
from pathlib import Path
from imbalance_cli.cli import app
told = {}
for folder in sorted(Path().iterdir()):
    os.chdir(folder)
    began, before, errors = time.monotonic(), sorted(os.listdir()), io.StringIO()
    with contextlib.redirect_stderr(errors):
        code = app(["train", "x.yaml", "-o", "R"], standalone_mode=False, prog_name="imbalance")
    left = sorted(set(os.listdir()) - set(before))
    heavy = sorted({"torch", "numpy"} & set(sys.modules))
    told[folder.name] = [code, errors.getvalue().splitlines(), left, heavy, time.monotonic() - began]
    os.chdir("..")
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Of each refused file what `imbalance train x.yaml` does: exit code, errors, what it left, imports, seconds."""
    root = tmp_path_factory.mktemp("refused")
    for case in REFUSED:
        name, content, _ = case.values
        (root / name).mkdir()
        if callable(content):
            content(root / name / "x.yaml")
        elif content is not None:
            (root / name / "x.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    done = subprocess.run([sys.executable, "-c", READ_THEM_ALL], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("case", "_", "wanted"), REFUSED)
def test_a_file_that_is_wrong_is_refused_at_once_with_every_reason(
    told: dict[str, list[Any]], case: str, _: object, wanted: list[str]
) -> None:
    code, errors, left, heavy, seconds = told[case]
    assert code == 2 and left == [] and heavy == [] and seconds < 2
    assert len(errors) == len(wanted), errors
    for line, words in zip(errors, wanted, strict=True):
        assert line.startswith(f"error: {words}")


@pytest.mark.fault("C03", "C21")
def test_the_run_records_each_value_and_who_said_it(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text("learning_rate: 1e-3\nepochs: 5\nmodel: {name: cnn, width: 4}\n")
    flags = ["-d", image_folder, "--data-dir", image_folder / "cache", "--image-size", 16, "--device", "cpu"]
    imbalance("train", "x.yaml", *flags, "--epochs", 1, "-o", "R", "-q")
    assert "learning_rate: 0.001\n" in (tmp_path / "R" / "config.yaml").read_text()
    assert "epochs: 1\n" in (tmp_path / "R" / "config.yaml").read_text()
    (session,) = json.loads((tmp_path / "R" / "environment.json").read_text())
    sources = session["settings_from"]
    assert (sources["learning_rate"], sources["epochs"], sources["model.width"]) == ("x.yaml:1", "--epochs", "x.yaml:3")


def test_a_value_that_unfolds_without_end_is_shown_at_once() -> None:
    value: list[object] = []
    for _ in range(60):
        value = [value, value]
    assert len(shown(value)) <= 60
    assert shown([1, "two", None]) == "[1, 'two', None]"
    assert shown("x" * 100) == "'" + "x" * 56 + "..."


@pytest.mark.parametrize("name", ["data_dir", "subset"])
def test_a_path_has_no_nul_character(name: str) -> None:
    with pytest.raises(SettingError, match=f"data.{name}.*NUL"):
        resolve(None, [Setting(("data", name), "a\0b", "test")])
