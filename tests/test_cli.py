"""The command line: how lists are read, what goes to stdout, exit codes, one-line errors, help."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import complaint, imbalance, shell
from small_data import complete, make_image_folder, new_run, settings_for

from imbalance_cli.cli.parsing import _one_value_each
from imbalance_cli.config import Setting, resolve
from imbalance_cli.data.sources import data_folder
from imbalance_cli.reports import next_command

COMMANDS = ["download", "make-subset", "train", "evaluate", "refit", "compare", "methods", "plot-loss"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMBALANCE_DATA", str(tmp_path / "data"))


# Lists


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("--gamma 0, 1,", "--gamma=0 --gamma=1"),
        ("--mirror http://a/b,c cifar100", "--mirror http://a/b,c cifar100"),
        ("--gamma 0 1 2 5", "--gamma=0 --gamma=1 --gamma=2 --gamma=5"),
        ("--gamma 0 --gamma 1", "--gamma=0 --gamma=1"),
        ("--gamma 0,1,2", "--gamma=0 --gamma=1 --gamma=2"),
        ("--gamma=0,1", "--gamma=0 --gamma=1"),
        ("--gamma -1 0.5", "--gamma=-1 --gamma=0.5"),
        ("--gamma 1e-3 nan", "--gamma=1e-3 --gamma=nan"),
        ("--gamma 0 1 x.yaml", "--gamma=0 --gamma=1 x.yaml"),
        ("x.yaml --gamma 0 1", "x.yaml --gamma=0 --gamma=1"),
        ("--classes airplane automobile --lr 1", "--classes=airplane --classes=automobile --lr 1"),
        ("--classes a b -- x.yaml", "--classes=a --classes=b -- x.yaml"),
        ("--vary a.b 1 2 --vary c x,y", "--vary=a.b=1 --vary=a.b=2 --vary=c=x --vary=c=y"),
        ("--vary a.b 1 2 x.yaml", "--vary=a.b=1 --vary=a.b=2 x.yaml"),
        ("--vary a.b [1,2] [3] --vary=c=4", "--vary=a.b=[1,2] --vary=a.b=[3] --vary=c=4"),
        ("--set a.b=[1,2] c=3", "--set=a.b=[1,2] --set=c=3"),
        ("--lr -1 --gamma 2", "--lr -1 --gamma=2"),
        ("--output --gamma --gamma 2", "--output --gamma --gamma=2"),
        ("-- --gamma 1 2", "-- --gamma 1 2"),
    ],
)
def test_values_stand_side_by_side(given: str, understood: str) -> None:
    lists, single = {"--gamma", "--classes", "--set", "--vary"}, {"--lr", "--output", "--mirror"}
    assert _one_value_each(given.split(), lists, single, complete=True) == understood.split()


def test_an_empty_list_is_a_usage_error() -> None:
    assert complaint("plot-loss", "--gamma").startswith("invalid value for --gamma: needs at least one value")
    assert "needs at least one value" in complaint("train", "--classes", "--ratio", "0.1")


def test_negative_numbers_reach_validation() -> None:
    assert complaint("plot-loss", "--gamma", -1, 0.5) == "--gamma must be at least 0; got -1.0"
    assert complaint("plot-loss", "--gamma", "0", "--gamma", "abc").startswith("--gamma must be a number; got 'abc'")


# Errors


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["trian"], "no such command 'trian'. Did you mean 'train'?"),
        (["train", "--los", "focal"], "unknown option --los; did you mean '--loss'?"),
        (["train", "--learning-rate", "0.1"], "unknown option --learning-rate; did you mean '--lr'?"),
        (["train", "--validation", "0"], "unknown option --validation; did you mean --set validation=...?"),
        (["train", "--momentum=0"], "unknown option --momentum; did you mean --set optimizer.momentum=...?"),
        (["compare", "--seed", "3"], "unknown option --seed; did you mean '--seeds'?"),
        *(
            (["train", *said], "--loss: train takes one loss; to compare several: imbalance compare --loss focal ldam")
            for said in (
                ["--loss", "focal", "ldam", "--ratio", "0.01"],
                ["--loss", "focal,ldam"],
                ["--loss", "focal", "--loss=ldam"],
                ["nope.yaml", "--loss", "focal", "ldam"],
            )
        ),
        (["train", "--loss", "focal", "ldam", "mse"], "imbalance compare --loss focal ldam mse"),
        (["train", "--loss", "focal", "nope.yaml"], "there is no file nope.yaml"),
        (["train", "a.yaml", "b.yaml"], "train takes one configuration file; got a.yaml, b.yaml"),
        (["train", "--loss", "focall"], "--loss: unknown loss 'focall'; did you mean 'focal'?"),
        (["train", "--gamma", "2"], "--gamma has no use with cross_entropy; it is an option of focal"),
        (["train", "--ratio", "nan"], "--ratio: must be in (0, 1]; got nan"),
        (
            ["train", "--ratio", "1:100"],
            "--ratio must be a number, as in 0.01; got '1:100' (see imbalance train --help)",
        ),
        (["make-subset", "--test-ratio", "1%"], "--test-ratio must be a number, as in 0.01; got '1%'"),
        (["train", "--epochs", "0"], "--epochs must be at least 1; got 0"),
        (["train", "--set", "lerning_rate=1"], "unknown setting 'lerning_rate'; did you mean 'learning_rate'?"),
        (["train", "nope.yaml"], "there is no file nope.yaml"),
        (["train", "--device", "cuda:7"], "device cuda:7: this machine has no CUDA device"),
        (["train", "--subset", "x.yaml"], "x.yaml"),
        *(
            (
                [command, "--subset", "s.yaml", "--ratio", "0.1"],
                "--ratio: the subset file decides that; leave out the one",
            )
            for command in ("train", "advise")
        ),
        (["train", "--subset", "s.yaml", "--set", "data.factor=10"], "data.factor: the subset file decides that"),
        (["train", "--set", "threshold_by=cost", "costs=[1, 20]"], "'costs'; did you mean 'threshold_by.costs'?"),
        (["train", "--set", "class_weights=costs", "costs=[1, 20]"], "'costs'; did you mean 'class_weights.costs'?"),
        (["plot-loss", "--vary", "loss.epsilon"], "as in loss.gamma 1 2 (see imbalance plot-loss --help)"),
        (
            ["plot-loss", "--loss", "poly1", "--vary", "epsilon", "1"],
            "--vary epsilon: give an option of the loss; did you mean 'loss.epsilon'?",
        ),
        (["plot-loss", "--vary", "nonsense", "1"], "--vary nonsense: give an option of the loss, as in loss.gamma"),
        (["make-subset", "shapes", "--classes", "circle", "star", "--counts", "circle=5"], "--counts"),
        (["make-subset", "shapes", "--counts", "circle"], "--counts circle: expected CLASS=N, as in automobile=50"),
        (["make-subset", "shapes", "--counts", "star=" + "9" * 5000], "expected CLASS=N, as in automobile=50"),
        (["make-subset", "shapes", "--seed", "-1"], "--seed must be at least 0; got -1"),
        (["plot-loss", "--output", "x.xyz"], "it has the suffix '.xyz'; known: .png, .svg, .pdf"),
        (["plot-loss", "--loss", "mse", "--gamma", "1"], "--gamma has no use with mse; it is an option of focal"),
        (["download", "cifar11"], "no downloadable dataset 'cifar11'; did you mean 'cifar10'?"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(args: list[str], message: str, tmp_path: Path) -> None:
    if "x.yaml" in args:
        assert message in complaint(*args, exit_code=3)  # the file does not exist
    elif "cuda:7" in args:
        assert message in complaint(*args, "-d", "shapes", "--epochs", "1", "-q")
    elif "--counts" in args and "circle=5" in args:
        imbalance(*args)  # classes that counts leaves out keep all they have
    else:
        assert message in complaint(*args)
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").glob("*/checkpoint.pt"))


def test_data_errors_are_exit_code_3(tmp_path: Path) -> None:
    assert "no dataset or folder called 'shaeps'; did you mean 'shapes'?" in complaint(
        "train", "-d", "shaeps", exit_code=3
    )
    assert "imbalance download cifar10" in complaint("train", "-d", "cifar10", exit_code=3)
    (tmp_path / "photos").mkdir()
    assert complaint("train", "-d", "phots", exit_code=3).endswith("'phots'; did you mean 'photos'?")
    told = complaint("train", "-d", tmp_path / "phots", exit_code=3)
    assert told.endswith(f"did you mean '{tmp_path / 'photos'}'?")
    (tmp_path / "empty").mkdir()
    assert "no class folders" in complaint("make-subset", "empty", exit_code=3)
    told = complaint("train", "-d", "photos.csv", exit_code=3)
    assert told == "no file called 'photos.csv'; give a name or an existing path"
    (tmp_path / "photo.csv").touch()
    assert complaint("train", "-d", "photos.csv", exit_code=3).endswith("'photos.csv'; did you mean 'photo.csv'?")


def test_class_folders_are_no_place_for_cifar(image_folder: Path, tmp_path: Path) -> None:
    for folder in (image_folder, image_folder / "train"):
        told = complaint("train", "-d", "cifar10", "--data-dir", folder, exit_code=3)
        assert told == f"{folder} holds class folders, not cifar10; to use its images: -d {folder}"
    (tmp_path / "decoded").mkdir()
    (tmp_path / "decoded" / "folder.images").write_bytes(b"\0" * 100)
    assert complaint("train", "-d", "cifar10", "--data-dir", tmp_path, exit_code=3).startswith("no cifar10 in ")


def test_checkpoint_errors_are_exit_code_4(tmp_path: Path, finished_run: Path) -> None:
    assert "nope.pt does not exist" in complaint("evaluate", "nope.pt", exit_code=4)
    assert "is not the folder of a run" in complaint("train", "--resume", tmp_path, exit_code=4)
    assert "runs/nope does not exist; give" in complaint("train", "--resume", "runs/nope", exit_code=4)
    assert "is not empty" in complaint("train", "--output", finished_run, exit_code=4)
    (tmp_path / "loss.png").touch()
    assert "loss.png exists" in complaint("plot-loss", exit_code=4)


def test_write_errors_are_exit_code_6(tmp_path: Path) -> None:
    assert "cannot write nowhere/x.png" in complaint("plot-loss", "-o", "nowhere/x.png", "-q", exit_code=6)
    (tmp_path / "file").touch()
    assert "cannot write" in complaint("train", "-d", "shapes", "-o", "file/run", "-q", exit_code=6)


# Help, version, entry points


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_needs_neither_torch_nor_matplotlib(command: list[str]) -> None:
    code = (
        "import sys; sys.argv[0] = 'imbalance'\nfrom imbalance_cli.cli import main\ntry: main()\n"
        "finally: assert not {'torch', 'matplotlib', 'numpy', 'rich'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "Usage: imbalance" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_the_list_of_commands_fits_80_columns() -> None:
    listed = shell("--help").stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed if line] >= COMMANDS[:1] and len(listed) >= len(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") and len(line) <= 80 for line in listed if line)


def test_help_names_every_method_or_says_where_they_are_listed() -> None:
    from imbalance_cli.catalogue import KINDS

    text = " ".join(imbalance("train", "--help").stdout.split())
    listed = re.findall(r"`imbalance methods (\w+)`", text)
    assert set(listed) >= {"loss", "class_weights", "sampler", "mixing"}
    for kind in listed:
        first_words = {line.partition(" ")[0] for line in imbalance("methods", kind).stdout.splitlines()}
        assert {*KINDS[kind].registry.names()} <= first_words
    for name in KINDS["model"].registry.names():
        assert re.search(rf"\b{name}\b", text), f"train --help does not name {name}"


def test_help_shows_the_defaults_of_the_settings() -> None:
    from imbalance_cli.config import DEFAULT_NAMES, Experiment

    text = " ".join(imbalance("train", "--help").stdout.split())
    options = {"class_weights": "class-weights", "batch_size": "batch-size", "learning_rate": "lr"}
    for name in ("loss", "class_weights", "sampler", "mixing", "model", "epochs", "batch_size", "seed", "device"):
        default = DEFAULT_NAMES.get(name, Experiment.model_fields[name].default)
        assert re.search(rf" --{options.get(name, name)} <\w+> [^\[]*\[default: {default}\]", text), name
    assert re.search(rf" --lr <float> [^\[]*\[default: {Experiment().learning_rate}\]", text)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_brackets_what_may_be_left_out_once_and_knows_no_type_of_lists(command: str) -> None:
    text = imbalance(command, "--help").stdout
    assert "[[" not in text and "list[" not in text
    if command == "train":
        assert "Usage: imbalance train [OPTIONS] [CONFIG.yaml]\n" in text and "--classes <str>..." in text


def test_version_and_no_arguments() -> None:
    assert re.fullmatch(r"imbalance \d+\.\d+\.\d+\n", imbalance("--version").stdout)
    assert shell("--version").stdout == imbalance("--version").stdout
    assert "Usage: imbalance" in imbalance(exit_code=2).output


def test_completion_knows_commands_and_options() -> None:
    environment = os.environ | {"_IMBALANCE_COMPLETE": "complete_bash", "COMP_CWORD": "1", "COMP_WORDS": "imbalance tr"}
    code = "from imbalance_cli.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["train"]
    environment |= {"COMP_CWORD": "4", "COMP_WORDS": "imbalance plot-loss --gamma 1 --out"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "--output" in done.stdout


def test_options_that_do_not_fit_the_classes_are_found_before_a_folder_is_made(image_folder: Path) -> None:
    told = complaint(*train_args(image_folder, "--loss", "focal", "--alpha", 0.1, 0.2, 0.7, "-q"))
    assert told.startswith("loss.alpha has 3 values for 2 classes; give one per class")
    assert not Path("runs").exists()


# Each command, end to end


def train_args(folder: Path, *more: object) -> list[object]:
    return [
        "train", "-d", folder, "--data-dir", folder / "cache", "--image-size", 16, "--epochs", 2,
        "--set", "model.width=4", "--device", "cpu", *more,
    ]  # fmt: skip


def test_train_shows_the_verdict_and_leaves_a_run(image_folder: Path, tmp_path: Path) -> None:
    result = imbalance(*train_args(image_folder, "--loss", "focal", "--gamma", 1))
    for part in ("Confusion matrix", "balanced accuracy", "AUROC", "prior-corrected", "The model ranks", "Try next:"):
        assert part in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert "epoch 2/2" in result.stderr and "\x1b" not in result.output
    assert (tmp_path / "runs" / "photos-focal1-seed0" / "checkpoint.pt").exists()
    imbalance(*train_args(image_folder, "--loss", "focal", "--gamma", 1, "-q"))
    assert (tmp_path / "runs" / "photos-focal1-seed0-2" / "results.json").exists()


@pytest.mark.parametrize(
    ("loss", "sampler", "command"),
    [
        ("focal", "instance", "imbalance train"),
        ("focal", "class_balanced", "imbalance evaluate"),
        ("vector_scaling", "instance", "imbalance evaluate"),
    ],
)
def test_a_correction_is_suggested_where_none_was_made(loss: str, sampler: str, command: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    settings = [Setting(("loss",), loss, ""), Setting(("sampler",), sampler, "")]
    assert next_command(resolve(None, settings)[0], tmp_path).startswith(command)


def test_nothing_is_suggested_that_was_just_done(finished_run: Path, tmp_path: Path) -> None:
    settings = resolve(None, [Setting(("loss",), "logit_adjustment", "")])[0]
    assert next_command(settings, finished_run) == f"imbalance report {finished_run}"
    assert next_command(settings, finished_run / "checkpoint.pt", drawn=True) == f"imbalance report {finished_run}"
    assert str(next_command(settings, tmp_path / "sent.pt")).startswith("imbalance evaluate")
    assert next_command(settings, tmp_path / "sent.pt", drawn=True) is None
    shutil.copy(finished_run / "checkpoint.pt", tmp_path / "sent.pt")
    told = imbalance("evaluate", "sent.pt", "-q")
    assert f"Try next:\n{next_command(settings, Path('sent.pt'))}\n" in told.stdout
    assert "Try next" not in imbalance("evaluate", "sent.pt", "-q", "-o", "figures").stdout


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["--prior", "0.01"], "the prior-corrected decision for the class shares asked for"),
        (["--threshold", "prior"], "the prior-corrected decision"),
        (["--threshold", "0.3"], "the threshold 0.3"),
        ([], "the prior-corrected decision"),
    ],
)
def test_the_verdict_is_on_the_decision_that_was_asked_for(finished_run: Path, said: list[str], words: str) -> None:
    text = " ".join(imbalance("evaluate", finished_run, *said, "-q").stdout.split())
    assert re.search(rf"; {words} (finds [\d.]+( %)?|answers \w+ every time|decides the same)", text)
    at = {"argmax": "at argmax", "0.3": "at threshold 0.3"}.get(said[-1] if said else "argmax", "prior-corrected")
    assert f"Confusion matrix {at}; rows are true classes" in text


def test_json_is_one_object_and_quiet_is_quiet(image_folder: Path) -> None:
    result = imbalance(*train_args(image_folder, "--json", "-q"))
    value = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1 and result.stderr == ""
    assert value["run"] == "runs/photos-cross_entropy-seed0" and "operating_points" in value


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_warnings_stay_in_the_json_of_a_quiet_run(image_folder: Path, more: list[str]) -> None:
    flags = ["--sampler", "class_balanced", "--class-weights", "inverse", "--json", "-q", *more]
    result = imbalance(*train_args(image_folder, *flags))
    (warning,) = json.loads(result.stdout)["warnings"]
    assert "class_balanced" in warning and result.stderr == ""


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("class_weights=costs", "class_weights.costs must be given"),
        ("class_weights={name: costs, costs: [1, 2, 3]}", "class_weights.costs has 3 entries for 2 classes"),
        ("loss={name: focal, alpha: [0.1, 0.2, 0.3]}", "loss.alpha"),
        ("sampler={name: at_least, per_batch: 100000}", "sampler"),
    ],
)
def test_a_dry_run_finds_what_does_not_fit_the_data(image_folder: Path, setting: str, told: str) -> None:
    assert told in complaint(*train_args(image_folder, "--dry-run", "--set", setting))


def test_dry_run_writes_nothing(image_folder: Path, tmp_path: Path) -> None:
    result = imbalance(*train_args(image_folder, "--loss", "focal", "--dry-run"))
    assert re.search(r"common\s+96\s+24\s+20", result.stdout) and "gamma: 2.0" in result.stdout
    value = json.loads(imbalance(*train_args(image_folder, "--dry-run", "--json", "-q")).stdout)
    assert value["counts"]["train"] == {"common": 96, "rare": 19}
    assert not (tmp_path / "runs").exists()


def test_overwrite_replaces_a_run_and_resume_shows_a_finished_one(image_folder: Path, tmp_path: Path) -> None:
    imbalance(*train_args(image_folder, "-o", "run", "-q"))
    before = (tmp_path / "run" / "results.json").read_bytes()
    assert "already complete" in imbalance("train", "--resume", "run").stderr
    imbalance(*train_args(image_folder, "-o", "run", "-q", "--overwrite", "--seed", 1))
    assert (tmp_path / "run" / "results.json").read_bytes() != before


def test_evaluate_repeats_the_results_of_the_run(finished_run: Path) -> None:
    stored = json.loads((finished_run / "results.json").read_text())
    for place in (finished_run, finished_run / "checkpoint.pt"):
        value = json.loads(imbalance("evaluate", place, "--json", "-q").stdout)
        of_the_run_alone = {"epochs", "steps", "test_digest"}
        assert value.items() >= {key: stored[key] for key in stored.keys() - of_the_run_alone}.items()


@pytest.mark.parametrize("threshold", ["argmax", "prior", "0.3"])
def test_evaluate_at_a_threshold(finished_run: Path, threshold: str) -> None:
    value = json.loads(imbalance("evaluate", finished_run, "--json", "-q", "--threshold", threshold).stdout)
    point = value["operating_points"][threshold]
    assert value["decision"] == threshold and value["balanced_accuracy"] == point["balanced_accuracy"]
    if threshold == "0.3":
        assert point["threshold"] == pytest.approx(0.3)


def test_evaluate_refuses_what_means_nothing(finished_run: Path) -> None:
    assert "a threshold needs 10 validation images" in complaint("evaluate", finished_run, "--threshold", "validation")
    assert "a probability between 0 and 1; got 1.5" in complaint("evaluate", finished_run, "--threshold", "1.5")
    assert "--split must be test, train, validation, or" in complaint("evaluate", finished_run, "--split", "tset")


def test_evaluate_draws_every_figure(finished_run: Path, tmp_path: Path) -> None:
    imbalance("evaluate", finished_run, "-o", "figures")
    names = {"confusion_matrix", "roc", "precision_recall", "threshold", "reliability", "recall"}
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert names <= drawn and (tmp_path / "figures" / "results.json").exists()
    assert "exists" in complaint("evaluate", finished_run, "-o", "figures", exit_code=4)


def test_evaluate_on_other_splits_and_images(finished_run: Path, image_folder: Path) -> None:
    counts = {}
    for split in ("train", "validation", "test"):
        counts[split] = json.loads(imbalance("evaluate", finished_run, "--split", split, "--json", "-q").stdout)["n"]
    assert counts == {"train": 115, "validation": 29, "test": 40}
    other = imbalance("evaluate", finished_run, "-d", image_folder, "--split", "all", "--json", "-q")
    assert json.loads(other.stdout)["n"] == 184
    assert "the images of shapes are 32 pixels wide; got 16" in complaint(
        "evaluate", finished_run, "-d", "shapes", "-q"
    )


def test_a_run_that_has_not_finished_says_how_to_go_on(finished_run: Path, image_folder: Path, tmp_path: Path) -> None:
    run = new_run(settings_for(image_folder, image_folder / "cache"), tmp_path / "a run")
    run.save()
    command = f"go on with: imbalance train --resume {shlex.quote(str(run.folder))}"
    for place in (run.folder, run.folder / "checkpoint.pt"):
        told = complaint("evaluate", place, exit_code=4)
        assert told == f"training has not finished, or the refit after it; {command}"
    assert complaint("refit", run.folder, exit_code=4) == f"training has not finished; {command}"
    told = complaint("compare", finished_run, run.folder, exit_code=4)
    assert told == f"the run {run.folder} has not finished; {command}"


def test_a_run_whose_images_were_moved_is_told_where_they_are(image_folder: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(image_folder, tmp_path / "photos"))
    for name in ("finished", "stopped"):
        run = new_run(settings_for(images, tmp_path / "cache", epochs=1), tmp_path / name)
        complete(run) if name == "finished" else run.save()
    moved = images.rename(tmp_path / "pictures")
    other = make_image_folder(tmp_path / "phots", train=(9, 9))  # whose name is not what is meant
    calls = (["evaluate", "finished"], ["refit", "finished", "-q"], ["train", "--resume", "stopped", "-q"])
    for call in calls:
        told = complaint(*call, exit_code=3)
        assert told.startswith(
            f"the images of the run are not at {images} any more; put them back, or say where they are"
        )
        if call[0] != "evaluate":  # which takes any images
            told = complaint(*call, "-d", other, exit_code=3)
            assert told == f"the run is of the images in {images}; those in {other} are others"
        imbalance(*call, "-d", "pictures")
    assert f"dataset: {moved}\n" in (tmp_path / "finished-crt" / "config.yaml").read_text()
    for name in ("checkpoint.pt", "results.json", "predictions.csv"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "finished" / name).read_bytes()
    assert complaint("train", "--resume", "stopped", "-d", "pictures", "--epochs", 9).startswith(
        "--resume goes on with"
    )


def test_a_missing_image_comes_first_in_the_message(image_folder: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(image_folder, tmp_path / "photos"))
    complete(new_run(settings_for(images, tmp_path / "cache", epochs=1), tmp_path / "run"))
    imbalance("make-subset", images, "--data-dir", "cache", "-q")
    (images / "train" / "rare" / "005.png").unlink()
    told = complaint("evaluate", "run", "--data-dir", "cache", exit_code=3)
    assert told == f"image 'rare/005.png' of the run is not in {images} any more; put it back, or train a new run"
    told = complaint("train", "--subset", "subset.yaml", "--data-dir", "cache", "-q", exit_code=3)
    assert told.startswith(
        f"image 'rare/005.png' of {tmp_path / 'subset.yaml'} is not in {images} any more; put it back, "
    )


@pytest.mark.parametrize(
    ("said", "epochs"), [([], 300), (["--batch-size", 16], 112), (["--epochs", 30], None), (["--batch-size", 2], None)]
)
def test_a_training_of_few_steps_is_warned_of(
    image_folder: Path, tmp_path: Path, said: list[object], epochs: int | None
) -> None:
    args = ["train", "-d", image_folder, "--data-dir", tmp_path, "--dry-run", "--json", "-q", *said]
    warnings = [line for line in json.loads(imbalance(*args).stdout)["warnings"] if "steps" in line]
    assert [line.rpartition(" ")[2] for line in warnings] == ([] if epochs is None else [str(epochs)])
    if not said:
        assert warnings[0].startswith("30 epochs of these 115 training images are only 30 steps; the runs that were")
        advised = json.loads(imbalance("advise", image_folder, "--data-dir", tmp_path, "--json", "-q").stdout)
        assert advised["study"]["base"]["epochs"] == epochs


def test_resume_refuses_a_configuration_that_was_edited(image_folder: Path, tmp_path: Path) -> None:
    run = new_run(settings_for(image_folder, image_folder / "cache"), tmp_path / "run")
    run.save()
    config = (run.folder / "config.yaml").read_text()
    (run.folder / "config.yaml").write_text(config.replace("epochs: 3", "epochs: 4"))
    told = complaint("train", "--resume", run.folder, exit_code=4)
    assert "config.yaml does not fit checkpoint.pt: epochs 3 -> 4" in told


def test_overwrite_touches_nothing_but_runs(image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("precious")
    told = complaint(*train_args(image_folder, "-o", "mine", "--overwrite", "-q"), exit_code=4)
    assert "holds files, but no run to overwrite" in told
    assert (tmp_path / "mine" / "config.yaml").read_text() == "precious"


def test_the_size_that_images_were_read_at_is_kept(image_folder: Path, tmp_path: Path) -> None:
    flags = ["-d", image_folder, "--data-dir", "cache", "--epochs", 1, "--set", "model.width=4", "-q", "--json"]
    imbalance("train", *flags, "-o", "run")
    assert "image_size: 32" in (tmp_path / "run" / "config.yaml").read_text()
    imbalance("train", "run/config.yaml", "-o", "again", "-q", "--json")
    assert (tmp_path / "again" / "results.json").read_bytes() == (tmp_path / "run" / "results.json").read_bytes()


@pytest.mark.slow
def test_a_full_or_closed_stdout_is_no_bug(finished_run: Path) -> None:
    command = [sys.executable, "-m", "imbalance_cli", "evaluate", str(finished_run), "-q"]
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 6 and done.stderr.startswith("error: cannot write the standard output")
        assert done.stderr.count("\n") == 1
    closed = subprocess.run(f"{' '.join(command)} | true; exit ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash")
    assert closed.returncode == 141


def test_make_subset_then_train_on_it(image_folder: Path, tmp_path: Path) -> None:
    flags = ["--data-dir", image_folder / "cache", "--image-size", 16]
    result = imbalance("make-subset", image_folder, "--ratio", 0.05, "-o", "s.yaml", "--preview", "s.png", *flags)
    assert re.search(r"rare\s+6\s+#+\s+20", result.stdout)
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    value = json.loads(imbalance(*train_args(image_folder, "--subset", "s.yaml", "--json", "-q")).stdout)
    assert [row["train_count"] for row in value["per_class"]] == [96, 6]
    assert "exists" in complaint("make-subset", image_folder, "-o", "s.yaml", *flags, exit_code=4)
    edited = (tmp_path / "s.yaml").read_text().replace("rare: 6", "rare: 7")
    (tmp_path / "s.yaml").write_text(edited)
    assert "s.yaml" in complaint(*train_args(image_folder, "--subset", "s.yaml"), exit_code=3)


def test_plot_loss_draws_one_curve_each(tmp_path: Path) -> None:
    result = imbalance(
        "plot-loss", "--gamma", 0, 1, 2, 5, "--loss", "focal", "hinge", "--csv", "loss.csv", "-o", "l.svg"
    )
    assert (tmp_path / "l.svg").read_text().startswith("<?xml")
    header = (tmp_path / "loss.csv").read_text().splitlines()[0]
    assert header.startswith('p,"focal, gamma = 0 (cross_entropy) loss"') and header.endswith("hinge gradient")
    assert "well classified" in result.stdout


@pytest.mark.parametrize("words", [["triangle", "square"], ["1", "0"]])
def test_classes_by_number_are_the_same_as_by_name(words: list[str]) -> None:
    flags = ["--ratio", 0.1, "--json", "-q", "-o", f"{words[0]}.yaml"]
    value = json.loads(imbalance("make-subset", "shapes", "--classes", *words, *flags).stdout)
    assert value["counts"] == {"triangle": 5000, "square": 500}


def test_a_class_named_twice_is_refused() -> None:
    assert "both name class 0" in complaint("make-subset", "shapes", "--classes", "square", "0")


def test_download_then_train_on_what_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cifar_archives import small_archive
    from fault_server import FaultServer

    from imbalance_cli.data import download
    from imbalance_cli.data.cifar import ARCHIVES

    (tmp_path / "server").mkdir()
    archive = small_archive("cifar10", tmp_path / "server", records=40)
    monkeypatch.setitem(ARCHIVES, "cifar10", archive)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "BACKOFF", 0.01)
    content = (tmp_path / "server" / archive.file).read_bytes()
    with FaultServer(content, status=500, failures=2) as server:
        result = imbalance("download", "cifar10", "--mirror", server.url, "--json")
        assert json.loads(result.stdout) == {"files": {"cifar10": str(tmp_path / "data" / archive.file)}}
        assert "retry 1/3" in result.stderr and "100 %" in result.stderr
        asked = len(server.requests)
        assert "already complete, verified" in imbalance("download", "--mirror", server.url).stderr
        assert len(server.requests) == asked
    with FaultServer(content, status=404, failures=99) as server:
        told = complaint("download", "--mirror", server.url, "--data-dir", "other", "-q", exit_code=5)
        assert "404" in told and server.url in told

    value = json.loads(imbalance("train", "--epochs", 1, "--set", "model.width=4", "--json", "-q").stdout)
    assert value["dataset"] == "cifar10" and value["classes"] == ["airplane", "automobile"]
    assert [row["train_count"] for row in value["per_class"]] == [16, 16]


def test_make_subset_says_what_it_wrote() -> None:
    told = imbalance("make-subset", "shapes", "--ratio", 0.01, "-o", "a set.yaml", "--preview", "x.png").stderr
    assert told.endswith(
        "written to a set.yaml, samples of it to x.png; train on it with: imbalance train --subset 'a set.yaml'\n"
    )


def test_the_figure_is_not_written_when_the_other_file_cannot_be(tmp_path: Path) -> None:
    complaint("plot-loss", "-o", "loss.png", "--csv", "missing/x.csv", exit_code=6)
    complaint("make-subset", "shapes", "-o", "x.yaml", "--preview", "missing/x.png", exit_code=6)
    assert list(tmp_path.iterdir()) == []


def test_without_a_home_only_those_who_need_it_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(*_: object) -> None:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("IMBALANCE_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", no_home)
    imbalance("train", "--dry-run", "-d", "shapes")
    told = complaint("train", "--dry-run", "-d", "cifar10")
    assert "no home folder" in told
    assert "--data-dir or IMBALANCE_DATA" in told


def test_a_tilde_is_the_home_folder_wherever_it_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder("~/x") == tmp_path / "x"
    assert data_folder(Path("~/x")) == tmp_path / "x"
    monkeypatch.setenv("IMBALANCE_DATA", "~/y")
    assert data_folder(None) == tmp_path / "y"
