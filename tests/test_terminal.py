"""Wherever the command runs (pipes, odd terminals, no home, no folder), nothing is cut and nothing breaks."""

import io
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import complaint, imbalance, shell
from small_data import COMMON, RARE, complete, make_image_folder, new_run, settings_for

STRANGE, LONG = "猫 \x1b[31m\udcff", "a_very_long_class_name_that_no_terminal_should_cut"
ESCAPE = "\x1b"


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what speaks of a terminal, then `changes`."""
    spoken_of = ("COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "PYTHONIOENCODING", "LC_ALL", "LANG")
    return {name: value for name, value in os.environ.items() if name not in spoken_of} | changes


@pytest.fixture(scope="module")
def strange_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose classes have names that are hard to show."""
    images = make_image_folder(tmp_path_factory.mktemp("strange") / "photos", train=(24, 24), test=(4, 4))
    for split in ("train", "test"):
        (images / split / COMMON).rename(images / split / LONG)
        (images / split / RARE).rename(images / split / STRANGE)
    run = new_run(settings_for(images, images / "cache", epochs=1), tmp_path_factory.mktemp("runs") / "run")
    return complete(run).folder


def numbers(text: str) -> list[str]:
    return sorted(set(re.findall(r"\d+(?:[.,]\d+)*", text)))


@pytest.mark.fault("X01")
def test_without_a_terminal_there_are_no_escapes_and_no_questions(strange_run: Path) -> None:
    for args in (["--help"], ["evaluate", strange_run]):
        done = shell(*args, stdin=subprocess.DEVNULL, env=environment(TERM="xterm-256color"))
        assert done.returncode == 0, done.stderr
        assert ESCAPE not in done.stdout + done.stderr and "\r" not in done.stdout + done.stderr


@pytest.mark.fault("X02")
def test_a_narrow_terminal_cuts_no_name_and_no_number(strange_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {}
    for width in (10, 40, 80, 400):
        monkeypatch.setenv("COLUMNS", str(width))
        shown[width] = imbalance("evaluate", strange_run, "-q").stdout
    for text in shown.values():
        assert "…" not in text and "~" not in text
        assert LONG in text and "猫 \\x1b[31m\\udcff" in text
        assert numbers(text) == numbers(shown[400])
    assert "\n  test 4,\n" in shown[10] and re.search(r"train +test +recall", shown[400])


@pytest.mark.fault("X02")
def test_every_command_fits_ten_columns(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "10")
    assert "focal, gamma = 2" in imbalance("plot-loss", "--gamma", 2).stdout
    flags = ["--data-dir", image_folder / "cache", "--image-size", 16]
    made = imbalance("make-subset", image_folder, "--ratio", 0.05, "-o", "s.yaml", *flags).stdout
    assert "common\n  train 120,\n" in made and "rare\n  train 6," in made
    dry = imbalance("train", "-d", image_folder, *flags, "--dry-run").stdout
    assert "learning_rate_schedule:" in dry and "common\n  train 96" in dry


def test_ten_classes_have_numbers_where_their_names_are_too_wide() -> None:
    from rich.console import Console

    from imbalance_cli.reports import Rows

    names = [f"automobile {number}" for number in range(10)]
    rows = Rows(["true \\ predicted", *names], [[name, *map(str, range(10))] for name in names], numbered=True)
    console = Console(width=80)
    with console.capture() as captured:
        console.print(rows)
    lines = captured.get().splitlines()
    assert len(lines) == 11 and max(map(len, lines)) <= 80
    assert lines[0].split()[-3:] == ["8", "9", "10"] and " 3 automobile 2" in lines[3]


@pytest.mark.fault("X03")
def test_a_terminal_that_knows_ascii_only_shows_names_escaped(strange_run: Path) -> None:
    done = shell("evaluate", strange_run, env=environment(PYTHONIOENCODING="ascii", LC_ALL="C"))
    assert done.returncode == 0 and done.stdout.isascii()
    assert "\\u732b \\x1b[31m\\udcff" in done.stdout and LONG in done.stdout
    done = shell("train", "猫.yaml", env=environment(PYTHONIOENCODING="ascii", LC_ALL="C"))
    assert (done.returncode, done.stderr) == (2, "error: there is no file \\u732b.yaml\n")


def test_json_keeps_every_name_as_it_is(strange_run: Path) -> None:
    value = json.loads(imbalance("evaluate", strange_run, "--json", "-q").stdout)
    assert value["classes"] == [LONG, STRANGE]


def in_a_terminal(*args: object, **changes: str) -> str:
    """What the command shows in a terminal of its own."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "imbalance_cli", *map(str, args)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(**changes))
    os.close(theirs)
    shown = b""
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the process has closed its end
                break
    os.close(ours)
    assert process.wait() == 0, shown
    return shown.decode()


@pytest.mark.slow
@pytest.mark.fault("X05")
def test_a_dumb_terminal_gets_no_codes_but_every_line(image_folder: Path, tmp_path: Path) -> None:
    flags = ["-d", image_folder, "--data-dir", image_folder / "cache", "--image-size", 16, "--epochs", 1]
    flags += ["--set", "model.width=4", "--device", "cpu", "-o", tmp_path / "run"]
    shown = in_a_terminal("train", *flags, TERM="dumb", COLUMNS="80")
    assert ESCAPE not in shown
    assert "epoch 1/1" in shown and "balanced accuracy" in shown


@pytest.mark.parametrize(("width", "last"), [(60, "loss"), (80, "recall"), (100, "validation loss")])
def test_the_progress_of_a_training_has_the_numbers_that_fit(
    width: int, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imbalance_cli.cli.output import Output
    from imbalance_cli.cli.progress import show_training
    from imbalance_cli.training import Progress

    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    log = [{"train_loss": 0.0399, "validation_loss": 0.0692, "validation_recall": [1.0, 0.0]}]
    steps = [Progress(30, 0, log)]
    for _ in show_training(steps, Output(), epochs=30, steps_per_epoch=4, class_names=("square", "[b]angle")):
        pass
    line = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.getvalue()).split("\r")[-2].strip()
    numbers = ["loss 0.0399", "recall square 100% [b]angle 0%", "validation loss 0.0692"]
    fit = next(count for count, number in enumerate(numbers, 1) if number.startswith(last))
    assert line.startswith("epoch 30/30 ━") and line.endswith("  ".join(numbers[:fit])) and "…" not in line


@pytest.mark.slow
@pytest.mark.fault("X05")
def test_forced_colours_in_a_file_bring_no_cursor_codes(image_folder: Path, tmp_path: Path) -> None:
    flags = ["-d", image_folder, "--data-dir", image_folder / "cache", "--image-size", 16, "--epochs", 1]
    flags += ["--set", "model.width=4", "--device", "cpu", "-o", tmp_path / "run"]
    done = shell("train", *flags, env=environment(FORCE_COLOR="1", TERM="xterm"))
    codes = set(re.findall(r"\x1b\[[\d;?]*([A-Za-z])", done.stdout + done.stderr))
    assert done.returncode == 0 and codes == {"m"}  # colours alone
    assert "epoch 1/1" in done.stderr


# Streams that are closed or full


@pytest.mark.fault("X08")
@pytest.mark.parametrize("args", ["--version", "--help", "train --help", "plot-loss"])
def test_a_closed_stdout_is_an_error_before_anything_is_done(args: str, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m imbalance_cli {args} >&-"
    done = subprocess.run(command, shell=True, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    told = "error: cannot write the standard output: it is closed; send it to a file, or to /dev/null\n"
    assert (done.returncode, done.stderr) == (6, told)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("args", ["--version", "--help", "train --help"])
def test_a_full_stdout_is_an_error_in_one_line(args: str) -> None:
    with open("/dev/full", "w") as full:
        done = shell(*args.split(), stdout=full)
    assert (done.returncode, done.stderr) == (
        6, "error: cannot write the standard output: no space left on device\n",
    )  # fmt: skip


@pytest.mark.parametrize("args", ["--help", "train --help", "plot-loss -q"])
def test_a_reader_that_has_had_enough_ends_the_command_quietly(args: str, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = shell(*args.split(), stdout=write, cwd=tmp_path)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["full", "closed", "broken"])
def test_notices_that_nobody_can_read_stop_nothing(how: str, tmp_path: Path) -> None:
    if how == "full" and not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    where = {"full": "2>/dev/full", "closed": "2>&-", "broken": "2> >(exit)"}[how]
    command = f"{sys.executable} -m imbalance_cli plot-loss {where}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0 and "well classified" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]


# Commands that are mistyped, and bugs


@pytest.mark.fault("X10")
def test_a_mistyped_command_is_answered_with_the_right_one() -> None:
    assert complaint("trian") == "no such command 'trian'. Did you mean 'train'? (see imbalance --help)"


@pytest.mark.fault("X11")
def test_without_arguments_the_help_is_shown() -> None:
    done = shell()
    assert done.returncode == 2 and "Usage: imbalance" in done.stderr and "plot-loss" in done.stderr


@pytest.mark.fault("X15")
def test_a_bug_shows_its_traceback_and_asks_for_a_report(tmp_path: Path) -> None:
    code = "import imbalance_cli.config as c; c.resolve = None; from imbalance_cli.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "train"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("Traceback") and "TypeError: 'NoneType' object is not callable" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == "error: this is a bug in imbalance 0.1.0; please report it with the lines above"


# Places: no torch, no home, no folder


@pytest.mark.fault("X12")
@pytest.mark.parametrize("args", [["--version"], ["--help"], ["train", "--help"]])
def test_version_and_help_need_no_torch(args: list[str]) -> None:
    code = "import sys; sys.modules['torch'] = None; from imbalance_cli.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "imbalance" in done.stdout


@pytest.mark.fault("X13", "P14")
@pytest.mark.parametrize("home", [pytest.param(None, marks=pytest.mark.slow), "file"])
def test_no_command_needs_a_home(home: str | None, finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = {} if home is None else {"HOME": str(tmp_path / home), "MPLCONFIGDIR": "/nope"}
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")} | place
    (tmp_path / "work").mkdir()
    done = shell("--version", env=bare, cwd=tmp_path / "work")
    assert (done.returncode, done.stderr, list((tmp_path / "work").iterdir())) == (0, "", [])
    done = shell("plot-loss", "-q", env=bare, cwd=tmp_path / "work")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("loss\n")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["loss.png"]


@pytest.mark.fault("X14")
def test_in_a_deleted_folder_the_version_is_shown_and_work_is_refused(tmp_path: Path) -> None:
    def gone(args: str) -> subprocess.CompletedProcess[str]:
        command = f"mkdir d && cd d && rmdir ../d && exec {sys.executable} -m imbalance_cli {args}"
        return subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)

    assert (gone("--version").returncode, gone("--version").stdout) == (0, "imbalance 0.1.0\n")
    assert gone("train --help").returncode == 0
    done = gone(f"plot-loss -o {tmp_path / 'l.png'}")
    assert done.returncode == 2
    assert done.stderr == "error: the current folder does not exist any more; go to one that does\n"


@pytest.mark.slow
@pytest.mark.fault("X16")
def test_files_and_folders_follow_the_umask(image_folder: Path, tmp_path: Path) -> None:
    flags = ["-d", image_folder, "--data-dir", tmp_path / "data", "--image-size", 16, "--epochs", 1, "-q"]
    flags += ["--set", "model.width=4", "--device", "cpu", "-o", tmp_path / "run"]
    assert shell("train", *flags, umask=0o077).returncode == 0
    modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in [tmp_path / "run", *(tmp_path / "run").iterdir()]}
    assert modes == {True: 0o700, False: 0o600}
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "data").rglob("*")} == {0}


# Names


def test_names_that_are_not_utf8_work_from_subset_to_figures(
    strange_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "r\udcffn"
    shutil.copytree(strange_run, folder)
    result = imbalance("evaluate", folder, "-o", "out\udcff")
    assert "results and figures written to out\\udcff" in result.stderr
    assert json.loads((tmp_path / "out\udcff" / "results.json").read_text(encoding="utf-8"))["classes"] == [
        LONG,
        STRANGE,
    ]


def test_an_error_about_a_strange_path_is_one_line_without_codes(tmp_path: Path) -> None:
    told = complaint("evaluate", tmp_path / "a\nb\x1b[2J\udcff", exit_code=4)
    assert told.endswith("/a\\nb\\x1b[2J\\udcff does not exist; give a checkpoint or the folder of a run")


@pytest.mark.parametrize("columns", ["0", "00"])
def test_a_terminal_of_no_width_is_one_of_unknown_width(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert "cross_entropy" in imbalance("methods", "loss").stdout


def test_closed_streams_give_their_numbers_to_no_file(tmp_path: Path) -> None:
    code = "import os; from imbalance_cli.cli.output import require_stdout; require_stdout(); "
    code += "print(os.open('file', os.O_CREAT))"
    closing = ["sh", "-c", 'exec "$0" -c "$1" <&- 2>&-', sys.executable, code]
    done = subprocess.run(closing, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True)
    assert int(done.stdout) > 2
