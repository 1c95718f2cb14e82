"""`imbalance compare`: a study from one command, going on with it, failures, shares, several processes, tuning."""

import io
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import complaint, imbalance, shell
from small_data import content, make_image_folder

from imbalance_cli import runs
from imbalance_cli.cli.study_progress import StudyProgress, duration, summary
from imbalance_cli.studies import cell_runs
from imbalance_cli.studies import worker as cell_worker
from imbalance_cli.studies.study import Cell

METHODS = ["cross_entropy", "focal"]


class InThisProcess:
    """A worker in a thread: importing torch anew would take most of the time of these tests."""

    started = 0

    def __init__(self, events: "queue.Queue[Any]", threads: int | None) -> None:
        type(self).started += 1
        self.cell: Cell | None = None
        self.began = 0.0
        self.tasks: queue.Queue[Any] = queue.Queue()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work, args=(events,), daemon=True)
        self.thread.start()

    def work(self, events: "queue.Queue[Any]") -> None:
        worker = cell_worker.Worker(lambda event: events.put((self, event)), self.stopping)
        while task := self.tasks.get():
            worker.carry_out(json.loads(json.dumps(task)))

    def tell(self, message: dict[str, Any]) -> None:
        self.tasks.put(message)

    def end(self, *, patience: float = 0.0) -> None:
        self.tasks.put(None)
        self.thread.join()


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> type[InThisProcess]:
    monkeypatch.setattr(cell_runs, "Worker", InThisProcess)
    monkeypatch.setattr(InThisProcess, "started", 0)
    return InThisProcess


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of which enough are rare for a threshold to be chosen on validation."""
    return make_image_folder(tmp_path_factory.mktemp("photos") / "photos", train=(120, 60))


def flags_for(photos: Path) -> list[object]:
    flags: list[object] = ["-d", photos, "--data-dir", photos / "cache", "--image-size", 16]
    return [*flags, "--set", "model.width=4", "batch_size=64", "device=cpu"]


@pytest.fixture
def small(photos: Path) -> list[object]:
    """The flags of runs that take a moment."""
    return [*flags_for(photos), "--epochs", 1]


@pytest.fixture(scope="session")
def whole_study(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study of two methods and two seeds; tests only read it."""
    folder = tmp_path_factory.mktemp("studies") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_runs, "Worker", InThisProcess)
        imbalance(*grid([*flags_for(photos), "--epochs", 1]), "-o", folder)
    return folder


@pytest.fixture
def study(whole_study: Path) -> Path:
    """A finished study in the current folder, to do something to."""
    return Path(shutil.copytree(whole_study, "study"))


def grid(small: list[object], *more: object, losses: Sequence[str] = METHODS, seeds: int = 2) -> list[object]:
    return ["compare", *small, "--loss", *losses, "--seeds", seeds, "-o", "study", *more]


def cells(folder: str = "study") -> dict[str, Path]:
    """The run folders of a study, by what they are called but for the digits at the end."""
    return {path.name[:-9]: path for path in sorted(Path(folder).iterdir()) if path.is_dir()}


def comparison(folder: str = "study") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "comparison.json").read_text())
    return found


def finished(folder: str = "study") -> list[str]:
    return [name for name, path in cells(folder).items() if (path / runs.RESULTS).exists()]


@pytest.mark.usefixtures("workers")
class TestAStudy:
    def test_is_one_command(self, small: list[object]) -> None:
        result = imbalance(*grid(small, "--ratio", 0.5, 0.3, seeds=1))
        assert finished() == [*(f"{method}-ratio-{ratio}-seed0" for method in METHODS for ratio in (0.3, 0.5))]
        lines = [line for line in result.stderr.splitlines() if line.startswith("4/4 ")]
        score = r"balanced accuracy \d+\.\d % prior-corrected \(\d+ s\)"  # at 0.3 there are too few for a threshold
        assert re.fullmatch(rf"4/4 focal, ratio 0\.3, seed 0: {score}", lines[0])
        assert {path.name for path in Path("study").iterdir() if path.is_file()} == {
            *("study.yaml", "comparison.json", "comparison.md", "comparison.csv", "comparison.tex")
        }
        found = comparison()
        assert [each["name"] for each in found["conditions"]] == ["ratio 0.5", "ratio 0.3"]
        assert {row["method"] for row in found["conditions"][0]["rows"]} == {*METHODS}
        assert found["missing"] == 0 and found["title"] == "Comparison on photos"
        assert "focal" in result.stdout and max(map(len, result.stdout.splitlines())) <= 80

    @pytest.mark.usefixtures("study")
    def test_runs_nothing_that_is_finished(self, small: list[object], workers: type[InThisProcess]) -> None:
        before = {name: content(path) for name, path in cells().items()}
        again = imbalance("compare", "study", "--json")
        assert json.loads(again.stdout) == comparison()
        assert imbalance("compare", "study/study.yaml", "-q").stdout == imbalance(*grid(small)).stdout
        assert workers.started == 0
        assert {name: content(path) for name, path in cells().items()} == before

    @pytest.mark.usefixtures("study")
    def test_that_has_grown_runs_what_is_new(self, small: list[object]) -> None:
        result = imbalance(*grid(small, losses=[*METHODS, "mse"], seeds=3))
        assert "9/9 mse, seed 2" in result.stderr and "5/9 " in result.stderr and "4/9 " not in result.stderr
        assert len(comparison()["conditions"][0]["rows"]) == 3
        assert result.stderr.splitlines()[-1] == "written to study; a page of it: imbalance report study"

    @pytest.mark.usefixtures("study")
    def test_keeps_what_another_study_compared(self, small: list[object], workers: type[InThisProcess]) -> None:
        files = [path for path in Path("study").iterdir() if path.is_file()]
        before = [path.read_bytes() for path in files]
        end = "; give another --output, or go on with that one: imbalance compare study/study.yaml"
        for changed, words in (
            (grid(small, losses=["focal"]), "the method cross_entropy"),
            (grid(small, "--ratio", 0.3), "cross_entropy with data.ratio none"),
            (grid(small, "--tune", "loss.gamma", 1, 2), "focal without tuning"),
            (grid(small, seeds=1), "seed 1"),
        ):
            assert complaint(*changed, "-q", exit_code=4) == f"study holds another study, which has {words}{end}"
            assert imbalance(*changed, "--dry-run").exit_code == 0
        assert [path.read_bytes() for path in files] == before and workers.started == 0

    @pytest.mark.usefixtures("study")
    def test_of_flags_alone_gets_a_folder_of_its_own(self, small: list[object]) -> None:
        def folder(*flags: object) -> Any:
            return json.loads(imbalance("compare", *small, *flags, "--dry-run", "--json").stdout)["folder"]

        Path("runs").mkdir()
        Path("study").rename("runs/comparison-on-photos")
        assert folder("--loss", *METHODS, "mse", "--seeds", 3) == "runs/comparison-on-photos"
        assert folder("--loss", "focal", "--tune", "loss.gamma", 1, 2) == "runs/comparison-on-photos-2"
        told = imbalance("compare", *small, "--loss", "focal", "--seeds", 1).stderr
        assert (
            "runs/comparison-on-photos holds another study, which has the method cross_entropy; "
            "this one is in runs/comparison-on-photos-2\n" in told
        )
        assert folder("--loss", "focal", "mse", "--seeds", 2) == "runs/comparison-on-photos-2"
        assert folder("--loss", "mse", "hinge") == "runs/comparison-on-photos-3"

    @pytest.mark.usefixtures("study")
    def test_is_made_of_runs_as_train_makes_them(self) -> None:
        for name in ("focal-seed0", "focal-seed1"):  # the second in a worker that has carried out another
            cell = cells()[name]
            imbalance("train", cell / runs.CONFIG, "-o", name)
            assert content(Path(name)) == content(cell)
            (own, cells_own) = (runs.read_sessions(folder)[-1] for folder in (Path(name), cell))
            assert own["threads"] == cells_own["threads"]
            assert cells_own["settings_from"]["epochs"] == "--epochs"

    def test_shows_what_it_would_do(self, small: list[object], workers: type[InThisProcess]) -> None:
        result = imbalance(*grid(small, "--dry-run", "--tune", "loss.gamma", 1, 2))
        assert "4 runs, of which 0 are finished; 4 trials" in result.stdout
        assert not Path("study").exists() and workers.started == 0
        images = f"data\n  dataset {small[1]}\n  data_dir {small[1]}/cache\n"
        told = imbalance(*grid(small, "--dry-run", "--ratio", 0.5)).stdout
        assert f"{images}  ratio 0.5\n  image_size 16\nmethods" in told and "\nepochs\n  1\nseeds" in told
        told = imbalance(*grid(small, "--dry-run", "--ratio", 0.5, 0.3)).stdout
        assert f"{images}  image_size 16\nconditions\n  ratio 0.5\n  ratio 0.3\n" in told
        plan = json.loads(imbalance(*grid(small, "--dry-run", "--json")).stdout)
        assert plan["epochs"] == {"cross_entropy": 1, "focal": 1} and plan["data"]["dataset"] == str(small[1])
        assert (plan["methods"], plan["seeds"], plan["cells"], plan["finished"]) == (METHODS, [0, 1], 4, 0)

    def test_is_quiet_when_asked(self, small: list[object]) -> None:
        assert imbalance(*grid(small, "--quiet", seeds=1)).stderr == ""

    @pytest.mark.usefixtures("study")
    def test_goes_on_where_a_run_was_stopped(self, small: list[object]) -> None:
        cell = cells()["focal-seed0"]
        whole = content(cell)
        for name in (runs.RESULTS, runs.PREDICTIONS, runs.CURVES):
            (cell / name).unlink()
        result = imbalance(*grid(small))
        assert "focal, seed 0: resuming after the last epoch" in result.stderr
        assert content(cell) == whole


@pytest.mark.usefixtures("study")
class TestRuns:
    def test_are_compared_on_the_same_test_images(self) -> None:
        two = [cells()[f"{method}-seed0"] for method in METHODS]
        value = json.loads(imbalance("compare", *two, "--json").stdout)
        assert imbalance("compare", two[0], two[1] / runs.CHECKPOINT).stdout == imbalance("compare", *two).stdout
        assert all(run.name in json.dumps(value) for run in two)
        argmax = json.loads(imbalance("compare", *two, "--point", "argmax", "--json").stdout)
        assert (value["point"], argmax["point"]) == ("validation", "argmax")


@pytest.mark.usefixtures("workers")
class TestFailures:
    DIVERGING = "methods: {good: {loss: focal}, bad: {learning_rate: 1000, warmup: 0}}\nseeds: 2\n"

    def study(self, small: list[object], *more: object, exit_code: int) -> Any:
        Path("study.yml").write_text(self.DIVERGING)
        return imbalance("compare", "study.yml", *small, "--epochs", 3, "-o", "study", *more, exit_code=exit_code)

    def test_stop_no_other_run(self, small: list[object]) -> None:
        result = self.study(small, exit_code=7)
        assert finished() == ["good-seed0", "good-seed1"]
        (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert error.startswith("error: bad, seed 0") and "training diverged" in error
        found = comparison()
        assert [(each["method"], each["seed"]) for each in found["failed"]] == [("bad", 0), ("bad", 1)]
        assert [row["method"] for row in found["conditions"][0]["rows"]] == ["good"]
        assert "good" in result.stdout

    def test_are_tried_again_only_when_asked(self, small: list[object], workers: type[InThisProcess]) -> None:
        self.study(small, exit_code=7)
        assert "training diverged" in self.study(small, exit_code=7).stderr
        assert workers.started == 1
        self.study(small, "--retry", exit_code=7)
        assert workers.started == 2 and len(runs.read_sessions(cells()["bad-seed0"])) == 2

    def test_of_all_runs_are_told_once(self, small: list[object]) -> None:
        flags = [*small, "--set", "data.minority=[nobody]"]
        result = imbalance("compare", *flags, "--loss", *METHODS, "-o", "study", exit_code=2)
        (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert error.startswith("error: cross_entropy, seed 0 and 9 more runs: minority needs ")
        assert not Path("study/comparison.json").exists()

    @pytest.mark.usefixtures("study")
    def test_in_a_damaged_result_leave_the_others(self, small: list[object]) -> None:
        with open(cells()["focal-seed1"] / runs.RESULTS, "a") as file:
            file.write(" ")
        result = imbalance(*grid(small), exit_code=4)
        assert "error: focal, seed 1: " in result.stderr and "SHA-256 differs" in result.stderr
        assert len(comparison()["failed"]) == 1


@pytest.mark.usefixtures("workers")
class TestShares:
    def test_are_collected_by_a_last_call(self, small: list[object], workers: type[InThisProcess]) -> None:
        first = imbalance(*grid(small, "--shard", "1/3"))
        assert len(finished()) == 2 and first.stdout == ""
        assert "2 of 4 runs are missing; when they are there, collect with: imbalance compare " in first.stderr
        imbalance(*grid(small, "--shard", "2/3"))
        last = imbalance(*grid(small, "--shard", "3/3"))
        assert len(finished()) == 4 and "focal" in last.stdout
        assert all(len(runs.read_sessions(path)) == 1 for path in cells().values())
        assert imbalance("compare", "study").stdout == last.stdout and workers.started == 3

    @pytest.mark.usefixtures("study")
    def test_leave_what_another_process_runs(self, small: list[object]) -> None:
        cell = cells()["cross_entropy-seed0"]
        (cell / runs.RESULTS).unlink()
        with runs.lock(cell, print):
            result = imbalance(*grid(small, "--shard", "1/4"))
        assert "1 of 4 runs are missing" in result.stderr and len(finished()) == 3

    @pytest.mark.usefixtures("study")
    def test_whole_studies_wait_for_it(self, small: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
        cell = cells()["focal-seed0"]
        results = (cell / runs.RESULTS).read_bytes()
        (cell / runs.RESULTS).unlink()

        def finish_it() -> None:
            with runs.lock(cell, print):
                held.set()
                awaited.wait()
                (cell / runs.RESULTS).write_bytes(results)

        def tick(self: StudyProgress) -> None:
            shown(self)
            if self.study_runs.board.elsewhere:
                awaited.set()

        shown = StudyProgress.tick
        monkeypatch.setattr(StudyProgress, "tick", tick)
        held, awaited = threading.Event(), threading.Event()
        other = threading.Thread(target=finish_it)
        other.start()
        held.wait()
        result = imbalance(*grid(small))
        other.join()
        assert "waiting for 1 run of another process" in result.stderr
        assert comparison()["missing"] == 0 and len(runs.read_sessions(cell)) == 1


@pytest.mark.usefixtures("workers")
class TestTuning:
    def tuned(self, small: list[object], **more: Any) -> Any:
        return imbalance(*grid(small, "--tune", "loss.gamma", 0, 5, **more))

    def test_tests_only_the_chosen(self, small: list[object]) -> None:
        result = self.tuned(small)
        assert "cross_entropy is not tuned by loss.gamma" in result.stderr and "resuming" not in result.stderr
        trials = [path for path in Path("study").glob("focal-seed*") if (path / cell_runs.TRIAL).exists()]
        choices = [json.loads(path.read_text()) for path in sorted(Path("study").glob("*/choice.json"))]
        assert len(trials) == 4 and len(choices) == 2
        assert {path.name for path in trials if (path / runs.RESULTS).exists()} == {each["chosen"] for each in choices}
        for choice in choices:
            assert [trial["values"]["loss.gamma"] for trial in choice["trials"]] == [0, 5]
            best = max(choice["trials"], key=lambda trial: (trial["score"], trial["auroc"]))
            assert (choice["chosen"], choice["values"]) == (best["folder"], best["values"])
        (row,) = [row for row in comparison()["conditions"][0]["rows"] if row["method"] == "focal"]
        assert row["seeds"] == [0, 1]

    def test_shows_what_every_candidate_reached_on_validation(self, small: list[object]) -> None:
        table = self.tuned(small).stdout
        rows = {row["method"]: row for row in comparison()["conditions"][0]["rows"]}
        assert rows["cross_entropy"]["tried"] is None
        tried, chosen = rows["focal"]["tried"], rows["focal"]["chosen"]
        for trials, values in zip(tried, chosen, strict=True):
            assert [trial["values"]["loss.gamma"] for trial in trials] == [0, 5]
            assert [trial["values"] for trial in trials if trial["chosen"]] == [values]
            assert {trial["point"] for trial in trials} == {"validation"}
        imbalance("report", "study", "-o", "page.html")
        (page,) = re.findall("<h3>What was tried on validation images.*?</table>", Path("page.html").read_text(), re.S)
        markdown = Path("study/comparison.md").read_text()
        for index, gamma in enumerate((0, 5)):
            cells = [f"{'✓ ' * trials[index]['chosen']}{trials[index]['validation'] * 100:.1f} %" for trials in tried]
            assert re.search(rf"^focal: loss.gamma {gamma} +{' +'.join(cells)}$", table, re.M)
            assert f"| focal: loss.gamma {gamma} | {' | '.join(cells)} |" in markdown
            assert f"loss.gamma {gamma}</td><td>{'</td><td>'.join(cells)}</td>" in page
        words = "Tried: balanced accuracy on the validation images of each seed, at the threshold from validation"
        assert words in " ".join(table.split())

    def test_calls_a_method_of_ones_own_by_its_short_name(self, small: list[object]) -> None:
        Path("mine.py").write_text(
            "import torch\n\n\ndef every(counts, batches):\n"
            '    """Each class as often as it has images."""\n    return counts.double()\n'
        )
        tune = ["--tune", "sampler", "mine.py:every", "square_root"]
        table = imbalance(*grid(small, *tune, losses=["focal"], seeds=1)).stdout
        (trials,) = comparison()["conditions"][0]["rows"][0]["tried"]
        assert [trial["values"]["sampler"] for trial in trials] == [
            str(Path("mine.py").resolve()) + ":every",
            "square_root",
        ]
        assert re.search(r"^focal: sampler mine.py:every  ", table, re.M)
        assert "| focal: sampler mine.py:every |" in Path("study/comparison.md").read_text()

    def test_scores_the_validation_images(self, small: list[object]) -> None:
        self.tuned(small, losses=["focal"], seeds=1)
        (path,) = Path("study").glob("*/choice.json")
        (folder, score) = ((trial := json.loads(path.read_text())["trials"][0])["folder"], trial["score"])
        validation = imbalance("evaluate", Path("study") / folder, "--split", "validation", "--json", exit_code=0)
        points = json.loads(validation.stdout)["operating_points"]
        assert score == pytest.approx(points["validation"]["balanced_accuracy"])

    @pytest.mark.parametrize("content", ["{}", "[]", '{"chosen": ', '{"chosen": 3, "values": {}, "trials": []}'])
    def test_survives_a_damaged_choice(self, small: list[object], content: str) -> None:
        self.tuned(small, losses=["focal"], seeds=1)
        (choice,) = Path("study").glob("*/choice.json")
        whole = choice.read_bytes()
        choice.write_text(content)
        next(Path("study").glob("*/trial.json")).write_text(content)
        assert self.tuned(small, losses=["focal"], seeds=1).exit_code == 0
        seconds = re.compile(rb'"seconds": [\d.]+')
        assert seconds.sub(b"", choice.read_bytes()) == seconds.sub(b"", whole)

    def test_goes_on_and_grows(self, small: list[object]) -> None:
        self.tuned(small, losses=["focal"])
        sessions = {path: len(runs.read_sessions(path)) for path in Path("study").glob("focal-seed?-[0-9a-f]*")}
        result = imbalance(*grid(small, "--tune", "loss.gamma", 0, 5, 20, losses=["focal"]))
        assert "2/2 focal, seed 1" in result.stderr
        again = {path: len(runs.read_sessions(path)) for path in sessions}
        assert sum(again.values()) - sum(sessions.values()) <= 2  # at most that an older trial was chosen, and tested

    def test_leaves_out_what_diverges(self, small: list[object]) -> None:
        tune = ["--tune", "learning_rate", 1000, 0.1, "--set", "warmup=0"]
        imbalance(*grid([*small, "--epochs", 3], *tune, losses=["focal"], seeds=1))
        choices = [json.loads(path.read_text()) for path in Path("study").glob("*/choice.json")]
        assert {choice["values"]["learning_rate"] for choice in choices} == {0.1}

    def test_needs_validation_images(self, small: list[object]) -> None:
        told = complaint(*grid(small, "--tune", "loss.gamma", 1, 2, "--set", "validation=0"))
        assert told.endswith("--tune needs validation images to choose on, and validation is 0")
        few = [*small, "--set", "data.counts={common: 40, rare: 5}"]
        result = imbalance(*grid(few, "--tune", "loss.gamma", 1, 2, losses=["focal"], seeds=1), exit_code=2)
        assert "tune: there are no validation images of every class to choose on" in result.stderr


class TestMistakes:
    @pytest.mark.parametrize("flags", [[], ["--loss", "focal"], ["--class-weights", "inverse"]])
    def test_with_nothing_to_compare_say_what_to_give(self, flags: list[object], workers: type[InThisProcess]) -> None:
        told = complaint("compare", "-d", "shapes", *flags)
        method = "focal" if "focal" in flags else "cross_entropy"
        assert told.startswith(
            f"there is nothing to compare {method} with; give two losses (--loss cross_entropy focal)"
        )
        assert workers.started == 0 and not Path("runs").exists()
        for more in (["--seeds", 2], ["--ratio", 0.1, 0.01], ["--tune", "learning_rate", 0.1, 0.01]):
            imbalance("compare", "-d", "shapes", *flags, *more, "--dry-run")
        Path("one.yaml").write_text("methods: {focal: {loss: focal}}\n")
        imbalance("compare", "one.yaml", "-d", "shapes", "--dry-run")

    def test_in_settings_are_exit_code_2(self, small: list[object]) -> None:
        assert "unknown loss 'focall'; did you mean 'focal'?" in complaint("compare", "--loss", "focall", "mse")
        assert complaint("compare", "nope.yaml") == "there is no file nope.yaml"
        told = complaint("compare", "--vary", "gamma", 1, 2, "-d", "shapes")
        assert told == "unknown setting 'gamma'; did you mean 'loss.gamma'?"
        Path("experiment.yaml").write_text("loss: focal\n")
        told = complaint("compare", "experiment.yaml")
        assert told == "experiment.yaml is an experiment, not a study; give it with --recipe"
        assert complaint("compare", "--shard", "5/4", "-d", "shapes", "--seeds", 2).startswith("--shard must be I/N")
        assert complaint("compare", "--metric", "auc").startswith(
            "--metric: unknown metric 'auc'; did you mean 'auroc'"
        )
        assert "needs a setting and its values" in complaint("compare", "--vary", "loss.gamma")
        assert "expected a setting and its values" in complaint("compare", "--vary=loss.gamma")
        assert "one study, or two or more runs" in complaint("compare", "a.yaml", "b.yaml")
        assert "leave out all flags but --point" in complaint("compare", "a", "b", "--loss", "focal")
        Path("empty").mkdir()
        assert "empty is no study" in complaint("compare", "empty")
        assert not Path("runs").exists()

    def test_in_data_are_exit_code_3(self) -> None:
        result = imbalance("compare", "-d", "nowhere", "--loss", "focal", "--seeds", 1, exit_code=3)
        assert "error: focal, seed 0: no dataset or folder called 'nowhere'" in result.stderr

    def test_in_numbers_are_told_also_where_they_are_zero(self) -> None:
        assert "--seeds must be at least 1" in complaint("compare", "--loss", "focal", "--seeds", 0)
        assert "--trials must be at least 1" in complaint(
            "compare", "--loss", "focal", "--tune", "loss.gamma", 1, 2, "--trials", 0
        )

    def test_in_a_name_that_no_file_can_have_are_one_line(self) -> None:
        assert "x" * 300 in complaint("compare", "x" * 300)

    def test_in_folders_are_exit_code_4(self, small: list[object]) -> None:
        Path("study").mkdir()
        Path("study/notes.txt").touch()
        assert "study is not empty and holds no study.yaml" in complaint(*grid(small), exit_code=4)
        Path("study/study.yaml").write_text("title: Another\n")
        assert "holds the study 'Another', not 'Comparison on photos'" in complaint(*grid(small), exit_code=4)
        Path("file").touch()
        assert "file is a file" in complaint(*grid(small), "-o", "file", exit_code=4)


def sessions() -> dict[str, int]:
    """How many sessions each run has had that began."""
    begun = {name: path for name, path in cells().items() if (path / runs.ENVIRONMENT).exists()}
    return {name: len(runs.read_sessions(path)) for name, path in begun.items()}


def started(*args: object, until: str) -> "subprocess.Popen[str]":
    """`imbalance ARGS`, which has said `until`."""
    command = [sys.executable, "-m", "imbalance_cli", *map(str, args)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if until in line:
            return process
    process.communicate()
    raise AssertionError(f"the command ended with {process.wait()}")


def workers_of(folder: Path) -> list[int]:
    """The processes that hold a lock in the study, by what its locks say."""
    return [int(path.read_text().split()[1]) for path in folder.glob(f"*/{runs.LOCK}") if path.read_text()]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


class TestSeveralProcesses:
    @pytest.mark.slow
    def test_disturbed_give_the_same_bytes_and_run_no_cell_twice(
        self, small: list[object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flags = [*small, "--epochs", 10]
        with monkeypatch.context() as patch:
            patch.setattr(cell_runs, "Worker", InThisProcess)
            imbalance("compare", *flags, "--loss", *METHODS, "--seeds", 2, "-o", "whole")
        whole = {name: content(path) for name, path in cells("whole").items()}

        killed = started(*grid(flags, "--jobs", 2), until="1/4 ")
        running = workers_of(Path("study"))
        killed.kill()
        killed.communicate()
        wait_until(lambda: all(map(is_gone, running)))
        assert 1 <= len(finished()) < 4

        stopped = started("compare", "study", until="validation: held out")
        stopped.send_signal(signal.SIGTERM)
        _, told = stopped.communicate()
        assert stopped.returncode == 143
        assert " of 4 runs are finished; go on with: imbalance compare study/study.yaml" in told

        done = finished()
        before = sessions()
        command = [sys.executable, "-m", "imbalance_cli", "compare", "study", "-q"]
        both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert [process.wait() for process in both] == [0, 0]
        assert {name: content(path) for name, path in cells().items()} == whole
        for name, count in sessions().items():
            assert count == (before[name] if name in done else before.get(name, 0) + 1)
        assert comparison()["missing"] == 0

    def test_a_file_of_the_users_called_study_yaml_is_not_a_folder_of_runs(self, small: list[object]) -> None:
        Path("study.yaml").write_text("title: mine\nmethods: {a: {loss: focal}, b: {loss: mse}}\n")
        imbalance("compare", "study.yaml", *small, "--seeds", 1, "-q")
        assert Path("runs/mine/comparison.json").exists()
        Path("own").mkdir()
        Path("own/study.yaml").write_text(Path("study.yaml").read_text())
        told = complaint("compare", "own/study.yaml", *small, "-o", "own", exit_code=4)
        assert told == "own/study.yaml is a file of your own and stays; choose another --output"

    def test_survive_a_worker_that_is_killed(self, small: list[object]) -> None:
        Path("deadly.py").write_text(
            "import os, signal\n\ndef deadly(logits, labels, counts):\n"
            '    """Ends the process, as a system does that is out of memory."""\n'
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        flags = [*small, "--seeds", 1, "--loss", "deadly.py:deadly", "focal", "-o", "study"]
        done = shell("compare", *flags)
        assert done.returncode == 8, done.stderr
        assert (
            "its process was killed (SIGKILL), as a system does that is out of memory; try fewer --jobs" in done.stderr
        )
        assert [row["method"] for row in comparison()["conditions"][0]["rows"]] == ["focal"]


class TestProgress:
    def test_counts_cells_and_tells_the_time_left(self, small: list[object]) -> None:
        board = cell_runs.Board(10)
        cell = Cell("", "focal", 0, None, "x")  # type: ignore[arg-type]
        assert summary(board, 1) == "10 runs: 0 finished, 0 running"
        board.finished += [cell] * 4
        board.seconds += [(cell, 20.0), (cell, 40.0)]
        board.waiting.extend([cell] * 6)
        assert summary(board, 1) == "10 runs: 4 finished, 0 running, 6 waiting; about 3 min left"
        assert summary(board, 2).endswith("about 90 s left")

    @pytest.mark.parametrize(("seconds", "words"), [(14.2, "14 s"), (200, "3 min"), (7500, "2 h 5 min")])
    def test_tells_time_in_words(self, seconds: float, words: str) -> None:
        assert duration(seconds) == words

    def test_of_a_terminal_fits_80_columns(self, small: list[object]) -> None:
        from rich.console import Console

        from imbalance_cli.cli.output import Output

        study = cell_runs.StudyRuns(Path("nowhere"), [], jobs=2, retry=False)
        study.board.running["a method with a long name, " * 5] = (
            0.0,
            {"epoch": 3, "epochs": 30, "trial": 1, "trials": 4},
        )
        study.board.elsewhere["x"] = Cell("", "m" * 100, 0, None, "x"), "taken by process 12"  # type: ignore[arg-type]
        progress = StudyProgress(study, Output(), "auroc", "validation")
        console = Console(width=80, file=io.StringIO(), record=True)
        console.print(progress._table())
        lines = console.export_text().splitlines()
        assert max(map(len, lines)) <= 80 and "trial 1/4, epoch 3/30" in lines[1]
