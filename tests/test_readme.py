"""The README and the shipped configurations do what they say."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imbalance_cli.catalogue import KINDS
from imbalance_cli.cli import app
from imbalance_cli.config import resolve
from imbalance_cli.errors import UserError
from imbalance_cli.metrics import decision_scores
from imbalance_cli.studies.reading import Flags, read_study

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
STUDIES = sorted((ROOT / "configs" / "studies").glob("*.yaml"))
CONFIGS = sorted({*(ROOT / "configs").rglob("*.yaml")} - {*STUDIES})
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)  # the first is a file of methods
COMMANDS = [line.partition("  #")[0].strip() for line in re.findall(r"^imbalance .*$", README, re.MULTILINE)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_runs(
    command: str, finished_run: Path, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMBALANCE_DATA", str(tmp_path / "data"))
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(image_folder, tmp_path / "photos")
    shutil.copytree(image_folder, tmp_path / "new_photos")
    own_methods, *_ = PYTHON
    (tmp_path / "mylosses.py").write_text(own_methods)
    for run in re.findall(r"runs/[\w.-]+", command):
        shutil.copytree(finished_run, tmp_path / run)
    args = shlex.split(command)[1:]
    needs_cifar = "cifar10" in args or any("classroom" in arg for arg in args)
    if args[0] == "download":
        monkeypatch.setattr("imbalance_cli.data.cifar.fetch", lambda *_, **__: None)
    if args[0] == "train" and "--dry-run" not in args:  # for real, but short
        args += ["--epochs", "1", "--set", "model.width=4"]
    if args[0] == "compare" and not any(arg.startswith("runs/") or arg == "--dry-run" for arg in args):
        args += ["--dataset", "photos", "--epochs", "1", "--seeds", "1", "--set", "data.ratio=0.2", "model.width=4"]
        args += [] if "--tune" in args else ["--dry-run"]  # one of them for real: test_compare_command runs all kinds
    if "subset.yaml" in command and args[0] == "train":
        made = ["make-subset", "shapes", "--classes", "square", "triangle", "--ratio", "0.01"]
        assert CliRunner().invoke(app, made).exit_code == 0
    result = CliRunner().invoke(app, args)
    if needs_cifar and args[0] == "train":  # all is right but for the missing archive
        assert result.exit_code == 3 and "imbalance download cifar10" in result.stderr
    else:
        assert result.exit_code == 0, result.output


def test_the_block_of_commands_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure takes the place of one before it, and CIFAR-10 is fetched before it is used."""
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        if command.startswith("imbalance plot-loss"):
            assert CliRunner().invoke(app, shlex.split(command)[1:]).exit_code == 0, command
    needing = [place for place, command in enumerate(COMMANDS) if re.search(r"train .*(cifar10|classroom)", command)]
    assert len(needing) == 2 and COMMANDS.index("imbalance download cifar10") < min(needing)


def test_the_readme_names_commands_of_every_kind() -> None:
    assert {shlex.split(command)[1] for command in COMMANDS} == {
        "train", "evaluate", "refit", "plot-loss", "make-subset", "download", "methods", "compare", "report", "advise",
    }  # fmt: skip


def test_the_readme_lists_the_exit_codes_that_exist() -> None:
    def codes(error: type[UserError]) -> set[int]:
        return {error.exit_code}.union(*(codes(kind) for kind in error.__subclasses__()))

    listed = {int(code) for code in re.findall(r"^\| (\d) \|", README, re.MULTILINE)}
    assert listed == {0, 1} | codes(UserError)


def test_the_readme_shows_every_kind_of_method() -> None:
    listed = CliRunner().invoke(app, ["methods"]).stdout
    assert f"```text\n{listed}```" in README
    assert [kind for kind in KINDS if f"\n{kind} " not in listed] == []


def test_the_yaml_of_the_readme_resolves(tmp_path: Path) -> None:
    for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)):
        (tmp_path / f"{number}.yaml").write_text(text)
        resolve(tmp_path / f"{number}.yaml")


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in PYTHON[1:]:  # for real, but short
        exec(block.replace('"epochs": 2}', '"epochs": 1, "model": {"name": "cnn", "width": 4}}'), names)
    assert len(names["order"]) == 505 and names["losses"].shape == (505,)
    found, told = names["results"]["operating_points"]["prior"], (tmp_path / "runs/mine/config.yaml").read_text()
    assert decision_scores(names["labels"], names["answers"], 2)["recalls"] == found["recalls"]
    assert "gamma: 1.0" in told and "width: 4" in told and len(PYTHON) == 4


def test_every_file_that_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_resolves_and_says_what_it_is(config: Path) -> None:
    assert config.read_text().startswith("# ")
    resolve(config)


def test_configurations_differ_from_the_defaults_in_what_they_say() -> None:
    default = resolve(None)[0]
    for config in CONFIGS:
        assert resolve(config)[0] != default


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_every_shipped_study_resolves_and_says_what_it_asks(study: Path) -> None:
    assert study.read_text().startswith("# ")
    assert read_study(study, Flags())[0].cells()
