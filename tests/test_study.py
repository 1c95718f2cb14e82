"""Studies: what a file and flags make, that names and folders stay, what is refused, and what is tuned."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from imbalance_cli.config import Setting, resolve
from imbalance_cli.errors import SettingError
from imbalance_cli.studies import tuning
from imbalance_cli.studies.cell_runs import located
from imbalance_cli.studies.reading import Flags, read_study
from imbalance_cli.studies.study import Cell, Study, shard_of, slug, with_values
from imbalance_cli.studies.tuning import Range, Tuning

STUDY = """\
title: The classroom
base:
  data: {dataset: shapes, classes: [circle, square]}
  epochs: 2
methods:
  cross-entropy: {loss: cross_entropy}
  focal 2: {loss: {name: focal, gamma: 2}}
vary:
  data.ratio: [0.1, 0.01]
seeds: 3
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def study_of(text: str = STUDY, **flags: Any) -> Study:
    Path("classroom.yaml").write_text(text)
    return read_study(Path("classroom.yaml"), Flags(**flags))[0]


def from_flags(**flags: Any) -> Study:
    return read_study(None, Flags(**flags))[0]


def runs_of(study: Study) -> set[str]:
    """What tells the runs of a study apart, but for the names of its methods."""
    return {cell.folder[-8:] for cell in study.cells()}


def refusal(text: str, **flags: Any) -> list[str]:
    with pytest.raises(SettingError) as caught:
        study_of(text, **flags).cells()
    return str(caught.value).splitlines()


class TestTheGrid:
    def test_is_every_method_under_every_condition_with_every_seed(self) -> None:
        study = study_of()
        assert study.methods == ["cross-entropy", "focal 2"]
        assert study.conditions == ["ratio 0.1", "ratio 0.01"]
        assert (study.title, study.baseline, study.seeds) == ("The classroom", "cross-entropy", (0, 1, 2))
        cells = study.cells()
        assert {(cell.method, cell.condition, cell.seed) for cell in cells} == {
            *itertools.product(study.methods, study.conditions, study.seeds)
        }
        assert [cell.seed for cell in cells] == [0] * 4 + [1] * 4 + [2] * 4  # whoever stops early has whole seeds

    def test_gives_each_cell_its_whole_experiment(self) -> None:
        cell = study_of().cells()[-1]
        assert cell.label == "focal 2, ratio 0.01, seed 2"
        assert cell.experiment.loss == {"name": "focal", "gamma": 2.0, "alpha": None}
        assert (cell.experiment.data.ratio, cell.experiment.epochs, cell.experiment.seed) == (0.01, 2, 2)

    def test_of_one_condition_does_not_name_it(self) -> None:
        study = study_of(STUDY.replace("[0.1, 0.01]", "[0.1]"))
        assert study.conditions == [""]
        assert study.cells()[0].label == "cross-entropy, seed 0"

    def test_is_read_again_from_what_is_written(self) -> None:
        study = study_of(changes={"tune": ("--tune", {"loss.gamma": [1, 2]}), "seeds": ("--seeds", [4, 7])})
        Path("study.yaml").write_text(study.as_yaml())
        again, _ = read_study(Path("study.yaml"), Flags())
        assert again.as_yaml() == study.as_yaml()
        assert [(cell.label, cell.folder) for cell in again.cells()] == [
            (cell.label, cell.folder) for cell in study.cells()
        ]

    def test_finds_its_files_again_from_another_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("photos").mkdir()
        Path("mine.py").write_text(
            '"""Mine."""\ndef mine(logits, labels, counts):\n    """A loss."""\n    return logits.sum(1)\n'
        )
        study = study_of("base: {data: {dataset: photos, data_dir: kept}}\nmethods: {a: {loss: 'mine.py:mine'}}")
        Path("study.yaml").write_text(study.as_yaml())
        Path("elsewhere").mkdir()
        monkeypatch.chdir("elsewhere")
        again, _ = read_study(Path("../study.yaml"), Flags())
        assert runs_of(again) == runs_of(study)
        assert again.cells()[0].experiment.data.dataset.endswith("photos")

    def test_needs_no_torch(self) -> None:
        modules = "imbalance_cli.studies.reading, imbalance_cli.studies.cell_runs"
        code = f"import sys, {modules}; assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)


class TestFolders:
    def test_are_named_after_the_cell_and_its_settings(self) -> None:
        name = study_of().cells()[0].folder
        assert name.startswith("cross-entropy-ratio-0.1-seed0-") and len(name.rpartition("-")[2]) == 8

    def test_stay_when_the_grid_grows(self) -> None:
        few = {cell.folder for cell in study_of().cells()}
        many = study_of(
            losses=["mse"], changes={"seeds": ("--seeds", 4)}, factors=[("--ratio", "data.ratio", [0.01, 0.1, 1.0])]
        )
        assert few < {cell.folder for cell in many.cells()} and len(many.cells()) == 3 * 3 * 4

    def test_are_others_when_a_setting_changes(self) -> None:
        assert runs_of(study_of()).isdisjoint(runs_of(study_of(STUDY.replace("epochs: 2", "epochs: 3"))))

    def test_are_found_again_whatever_the_methods_are_called(self, tmp_path: Path) -> None:
        (cell,) = study_of(STUDY.replace("[0.1, 0.01]", "[0.1]"), changes={"seeds": ("--seeds", 1)}).cells()[:1]
        (tmp_path / "all" / cell.folder).mkdir(parents=True)
        renamed = study_of(STUDY.replace("cross-entropy:", "plain:")).cells()
        assert cell.folder in {each.folder for each in located(tmp_path / "all", renamed)}

    def test_have_names_that_any_file_system_takes(self) -> None:
        assert all(len(slug(name).encode()) <= 60 for name in ("飛行機" * 40, "x" * 200)) and slug("/") == "x"


class TestFlags:
    def test_make_the_same_runs_as_a_file(self) -> None:
        study = from_flags(
            losses=["cross_entropy", "focal"],
            factors=[("--ratio", "data.ratio", [0.1, 0.01])],
            overrides=[
                Setting(("data", "dataset"), "shapes", "--dataset"),
                Setting(("data", "classes"), ["circle", "square"], "--classes"),
                Setting(("epochs",), 2, "--epochs"),
            ],
            changes={"seeds": ("--seeds", 3)},
        )
        assert study.methods == ["cross_entropy", "focal"]
        assert runs_of(study) == runs_of(study_of())

    def test_of_several_values_multiply_the_methods(self) -> None:
        factors = [
            ("--sampler", "sampler", ["instance", "class_balanced"]),
            ("--mixing", "mixing", ["none", "mixup"]),
        ]
        assert from_flags(losses=["focal", "mse"], factors=factors).methods == [
            *("focal", "focal + mixing mixup"),
            *("focal + sampler class_balanced", "focal + sampler class_balanced + mixing mixup"),
            *("mse", "mse + mixing mixup"),
            *("mse + sampler class_balanced", "mse + sampler class_balanced + mixing mixup"),
        ]

    def test_of_one_value_hold_for_every_run(self) -> None:
        study = study_of(factors=[("--model", "model", ["resnet8"])], overrides=[Setting(("epochs",), 5, "--epochs")])
        assert study.methods == ["cross-entropy", "focal 2"]
        assert {(cell.experiment.model["name"], cell.experiment.epochs) for cell in study.cells()} == {("resnet8", 5)}

    def test_hold_for_methods_that_say_otherwise(self) -> None:
        text = STUDY.replace("{loss: cross_entropy}", "{loss: cross_entropy, epochs: 9, model: resnet8}")
        study = study_of(
            text, overrides=[Setting(("epochs",), 5, "--epochs"), Setting(("model", "width"), 4, "--set model.width")]
        )
        assert {(cell.experiment.epochs, cell.experiment.model["width"]) for cell in study.cells()} == {(5, 4)}

    def test_vary_only_methods_that_have_the_option(self) -> None:
        study, notices = read_study(
            None, Flags(losses=["cross_entropy", "focal"], factors=[("--vary loss.gamma", "loss.gamma", [1, 5])])
        )
        assert study.methods == ["cross_entropy", "focal + gamma 1", "focal + gamma 5"]
        assert notices == ["cross_entropy has no loss.gamma, so it stays as it is"]

    def test_vary_the_data_into_conditions(self) -> None:
        factors = [
            ("--vary data.profile", "data.profile", ["step", "linear"]),
            ("--ratio", "data.ratio", [0.1, 0.01]),
        ]
        assert from_flags(factors=factors).conditions == [
            *("profile step, ratio 0.1", "profile step, ratio 0.01"),
            *("profile linear, ratio 0.1", "profile linear, ratio 0.01"),
        ]


class TestPublishedNumbers:
    TEXT = STUDY + "published: {focal 2: {ratio 0.1: 80.5, ratio 0.01: {value: 70, source: A, chosen_on_test: true}}}\n"

    def test_are_kept_with_their_source(self) -> None:
        assert study_of(self.TEXT).published["focal 2"] == {
            "ratio 0.1": {"value": 80.5, "source": "", "chosen_on_test": False},
            "ratio 0.01": {"value": 70.0, "source": "A", "chosen_on_test": True},
        }

    def test_are_left_out_where_flags_ask_for_other_images(self) -> None:
        Path("classroom.yaml").write_text(self.TEXT)
        study, notices = read_study(
            Path("classroom.yaml"), Flags(overrides=[Setting(("data", "dataset"), "cifar10", "-d")])
        )
        assert study.published == {} and "published numbers are of other images" in notices[0]


class TestRecipes:
    def test_are_methods_named_by_their_files(self) -> None:
        Path("recipes").mkdir()
        Path("recipes/strong.yaml").write_text("loss: focal\nmixing: mixup\n")
        Path("study").mkdir()
        Path("study/study.yml").write_text("methods: {a: ../recipes/strong.yaml}\n")
        study, _ = read_study(Path("study/study.yml"), Flags(recipes=[Path("recipes/strong.yaml")], losses=["mse"]))
        assert study.methods == ["a", "strong", "mse"]
        assert [each.value for each in study.rows["a"]] == ["focal", "mixup"]

    def test_give_every_method_the_same_images(self) -> None:
        Path("a.yaml").write_text("data: {ratio: 0.01}\nloss: focal\n")
        study, notices = read_study(None, Flags(recipes=[Path("a.yaml")], losses=["mse"]))
        assert {cell.experiment.data.ratio for cell in study.cells()} == {0.01}
        assert notices == ["for every method, from the recipes: data.ratio 0.01"]
        Path("long_tail.yml").write_text("base: {data: {factor: 100}}\nmethods: {a: a.yaml}\n")
        study, notices = read_study(Path("long_tail.yml"), Flags())
        assert notices == [] and study.cells()[0].experiment.data.ratio is None

    def test_give_way_to_what_the_study_says_of_the_data(self) -> None:
        Path("a.yaml").write_text("data: {ratio: 0.01}\nloss: mse\n")
        study = study_of(recipes=[Path("a.yaml")])
        assert {cell.experiment.data.ratio for cell in study.cells()} == {0.1, 0.01}

    def test_that_differ_in_their_images_are_refused(self) -> None:
        Path("a.yaml").write_text("data: {ratio: 0.01}\nloss: mse\n")
        Path("b.yaml").write_text("loss: focal\ndata: {ratio: 0.1}\n")
        with pytest.raises(SettingError, match=r"data\.ratio is 0\.01 in a\.yaml:1 and 0\.1 in b\.yaml:2; "):
            from_flags(recipes=[Path("a.yaml"), Path("b.yaml")])


class TestMistakes:
    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("seeds: 3", "seed: 3", "classroom.yaml:10: unknown setting 'seed'; did you mean 'seeds'?"),
            ("seeds: 3", "epochs: 3", "classroom.yaml:10: unknown setting 'epochs'; did you mean 'base.epochs'?"),
            ("seeds: 3", "seeds: [1, 1]", "classroom.yaml:10: seeds: a seed is given twice; got [1, 1]"),
            ("seeds: 3", "seeds: 0", "classroom.yaml:10: seeds must be at least 1"),
            ("seeds: 3", "metric: auc", "classroom.yaml:10: metric: unknown metric 'auc'; did you mean 'auroc'?"),
            ("seeds: 3", "point: best", "classroom.yaml:10: point: unknown operating point 'best'; known: argmax"),
            ("seeds: 3", "baseline: focal", "classroom.yaml:10: unknown method 'focal'; did you mean 'focal 2'?"),
            ("seeds: 3", "published: {mse: {'': 3}}", "classroom.yaml:10: unknown method 'mse'"),
            ("seeds: 3", "published: {focal 2: {'': 3}}", "unknown condition ''; known: ratio 0.1, ratio 0.01"),
            ("epochs: 2", "epochs: 0", "classroom.yaml:4: epochs must be at least 1; got 0"),
            ("epochs: 2", "seed: 4", "classroom.yaml:4: a study has seeds, say them there"),
            ("gamma: 2", "gama: 2", "method focal 2: classroom.yaml:7: unknown setting 'loss.gama'; did you mean"),
            ("{loss: cross", "{data.ratio: 1, loss: cross", "classroom.yaml:6: data.ratio: every method gets the same"),
            ("[0.1, 0.01]", "[0.1, 2]", "classroom.yaml:9: data.ratio: must be in (0, 1]; got 2"),
            ("[0.1, 0.01]", "[0.1, 0.1]", "classroom.yaml:9: data.ratio 0.1 is given twice"),
            ("[0.1, 0.01]", "[0.1, '0.1']", "two conditions are called 'ratio 0.1'"),
            (
                "data.ratio: [0.1, 0.01]",
                "data.dataset: [x/photos, y/photos]",
                "two conditions are called 'dataset photos'",
            ),
            ("data.ratio: [0.1, 0.01]", "data.subset: [s.yaml, ./s.yaml]", "is given twice"),
            ("data.ratio: [0.1, 0.01]", "data: [{ratio: 0.1}, {ratio: 0.2}]", "vary data.KEY, as in data.ratio"),
            ("{loss: cross_entropy}", "recipe.yaml", "classroom.yaml:6: there is no file recipe.yaml"),
            (
                "{loss: cross_entropy}",
                "{loss: {name: focal, gamma: 2.0}}",
                "'cross-entropy' and 'focal 2' have the same",
            ),
        ],
    )
    def test_are_one_line_with_the_place(self, old: str, new: str, message: str) -> None:
        assert old in STUDY
        (line,) = refusal(STUDY.replace(old, new))
        assert message in line

    def test_are_all_told_at_once(self) -> None:
        text = STUDY.replace("cross_entropy}", "focall}").replace("gamma: 2", "gamma: -1").replace("0.01]", "7]")
        lines = refusal(text)
        assert len(lines) == 3
        assert lines[0].startswith("method cross-entropy: classroom.yaml:6: loss: unknown loss 'focall'")
        assert "method focal 2: classroom.yaml:7: loss.gamma must be at least 0; got -1" in lines

    def test_in_flags_name_the_flag(self) -> None:
        (line,) = refusal(STUDY, losses=["focall"])
        assert line.startswith("method focall: --loss: unknown loss 'focall'; did you mean 'focal'?")
        (line,) = refusal(STUDY, changes={"metric": ("--metric", "auc")})
        assert line == "--metric: unknown metric 'auc'; did you mean 'auroc'?"
        (line,) = refusal(STUDY, factors=[("--vary loss.tau", "loss.tau", [1, 2])])
        assert line == "--vary loss.tau: no method of the study has loss.tau"


class TestAStudyInTheSameFolder:
    def test_goes_on_or_has_grown(self) -> None:
        study = study_of()
        grown = STUDY.replace("0.01]", "0.01, 0.5]").replace("seeds: 3", "seeds: 5").replace("focal 2:", "focal two:")
        assert study.lacks(study_of()) == study_of(grown, losses=["mse"]).lacks(study) == ""
        assert study.lacks(study_of(STUDY.replace("[0.1, 0.01]", "[0.1]"))) == ""  # whose condition had no name
        tuned = [study_of(changes={"tune": ("--tune", {"loss.gamma": values})}) for values in ([1, 3], [1, 2, 3])]
        assert tuned[1].lacks(tuned[0]) == "" and tuned[0].lacks(tuned[1]) == "focal 2 tuned by loss.gamma [1, 2, 3]"
        assert tuned[0].lacks(study) == "focal 2 without tuning"

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("  cross-entropy: {loss: cross_entropy}\n", "", "the method cross-entropy"),
            ("[0.1, 0.01]", "[0.1, 0.5]", "the condition ratio 0.01"),
            ("gamma: 2", "gamma: 3", "focal 2 with loss.gamma 2.0"),
            ("epochs: 2", "epochs: 3", "cross-entropy with epochs 2"),
        ],
    )
    def test_is_another_where_it_lacks_something(self, old: str, new: str, words: str) -> None:
        assert study_of(STUDY.replace(old, new)).lacks(study_of()) == words

    def test_may_lack_seeds(self) -> None:
        assert study_of(STUDY.replace("seeds: 3", "seeds: [0, 5]")).lacks_seeds(study_of()) == "seeds 1 2"
        assert study_of(STUDY.replace("seeds: 3", "seeds: 5")).lacks_seeds(study_of()) == ""


class TestShards:
    def test_share_the_cells_without_overlap(self) -> None:
        cells = study_of().cells()
        shares = [shard_of(cells, f"{number}/5") for number in range(1, 6)]
        assert sorted(map(len, shares)) == [2, 2, 2, 3, 3]
        assert sorted((cell for share in shares for cell in share), key=cells.index) == cells
        assert shard_of(cells, None) == cells

    @pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4"])
    def test_are_numbered_from_one(self, shard: str) -> None:
        with pytest.raises(SettingError, match="--shard must be I/N"):
            shard_of(study_of().cells(), shard)


def tuned(**changes: Any) -> Tuning:
    values: dict[str, Any] = {
        "settings": {"loss.gamma": [0.5, 1, 2], "learning_rate": [0.1, 0.01]},
        "trials": None,
        "search": "grid",
        "metric": "auroc",
        "point": "validation",
    }
    return Tuning(**{**values, **changes})


def tried(what: Tuning, seed: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    what.search_for(lambda values: found.append(values), seed)
    return found


class TestTuning:
    def test_is_of_the_settings_that_a_method_has(self) -> None:
        study = study_of(changes={"tune": ("--tune", {"loss.gamma": [1, 2]})})
        cells = {cell.method: cell for cell in study.cells()}
        assert cells["cross-entropy"].tuning is None
        focal = cells["focal 2"].tuning
        assert focal is not None and focal.count == 2
        assert "cross-entropy is not tuned by loss.gamma, which it does not have" in study.cautions()

    def test_tries_the_whole_grid(self) -> None:
        assert tried(tuned()) == [
            {"loss.gamma": gamma, "learning_rate": rate} for gamma in (0.5, 1, 2) for rate in (0.1, 0.01)
        ]

    def test_tries_other_draws_with_another_seed(self) -> None:
        draws = [tried(tuned(trials=3), seed) for seed in range(8)]
        assert all(len(draw) == 3 and all(values in tried(tuned()) for values in draw) for draw in draws)
        assert len({str(draw) for draw in draws}) > 1 and draws[0] == tried(tuned(trials=3), 0)

    def test_takes_the_best_then_the_one_that_ranks_better_then_the_first(self) -> None:
        def trials(*pairs: tuple[float | None, float | None]) -> list[dict[str, Any]]:
            return [{"score": score, "auroc": auroc} for score, auroc in pairs]

        assert tuning.best(trials((0.5, 0.9), (0.7, 0.6), (None, None))) == 1
        assert tuning.best(trials((0.7, 0.6), (0.7, 0.8), (0.7, 0.8))) == 1
        assert tuning.best(trials((0.7, None), (0.7, 0.8))) == 1

    def test_checks_every_value_before_anything_runs(self) -> None:
        (line,) = refusal(STUDY, changes={"tune": ("--tune", {"loss.gamma": [1, -1]})})
        assert line == "method focal 2: --tune loss.gamma must be at least 0; got -1"

    def test_takes_options_as_those_of_the_method_that_was_chosen(self) -> None:
        chosen = with_values((), {"loss.gamma": 5, "loss": "poly_focal"})
        assert resolve(None, chosen)[0].loss["gamma"] == 5

    def test_reads_ranges(self) -> None:
        assert tuning.range_of("a", "0.001..0.1") == Range(0.001, 0.1)
        assert tuning.range_of("a", ["1..1000"]) == Range(1, 1000)
        assert Range(0.001, 0.1).logarithmic and not Range(0.01, 0.1).logarithmic and not Range(0, 10).logarithmic
        assert tuning.range_of("a", [1, 2]) is None
        for wrong in ("3..1", "a..b", "1..1"):
            with pytest.raises(SettingError, match="a range goes from a lower to a higher number"):
                tuning.range_of("a", wrong)

    def test_refuses_what_cannot_be(self) -> None:
        (line,) = refusal(STUDY, changes={"tune": ("--tune", {"loss.gamma": ["1..2"]})})
        assert "tune loss.gamma: a range is for --search tpe" in line
        (line,) = refusal(STUDY, changes={"tune": ("--tune", {"data.ratio": [1, 0.1]})})
        assert "--tune data.ratio: " in line and "images" in line
        (line,) = refusal(STUDY, changes={"tune": ("--tune", {"loss.tau": [1, 0.1]})})
        assert line == "--tune loss.tau: no method of the study has loss.tau"
        (line,) = refusal(STUDY.replace("epochs: 2", "validation: 0"), changes={"tune": ("--tune", {"epochs": [1, 2]})})
        assert "needs validation images" in line

    def test_by_tpe_is_repeatable_and_stays_in_its_ranges(self) -> None:
        pytest.importorskip("optuna")
        ranges = {"learning_rate": "0.001..1", "batch_size": "8..64", "optimizer": ["sgd", "adam"]}
        search = tuned(settings=ranges, search="tpe", trials=12)

        def path(seed: int) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []

            def try_out(values: dict[str, Any]) -> float | None:
                found.append(values)
                return None if len(found) == 3 else -abs(values["learning_rate"] - 0.1)

            search.search_for(try_out, seed)
            return found

        assert path(0) == path(0) != path(1)
        assert all(0.001 <= each["learning_rate"] <= 1 and 8 <= each["batch_size"] <= 64 for each in path(0))
        assert all(isinstance(each["batch_size"], int) and each["optimizer"] in ("sgd", "adam") for each in path(0))


def test_a_cell_is_called_by_what_tells_it_apart() -> None:
    experiment = study_of().cells()[0].experiment
    assert Cell("ratio 0.1", "focal", 3, experiment, "x").label == "focal, ratio 0.1, seed 3"
