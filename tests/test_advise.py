"""`imbalance advise`: what it sees in a data set, what it advises, and the study that it proposes."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import complaint, imbalance
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from imbalance_cli.advice.advice import advice_on, asked_for, proposed_study, runs_of, study_text
from imbalance_cli.advice.facts import Facts, Found, facts_of, half_width
from imbalance_cli.advice.report import in_words
from imbalance_cli.advice.rules import RULES, SECTIONS
from imbalance_cli.advice.training_time import study_times
from imbalance_cli.config import Setting, resolve
from imbalance_cli.experiment_data import Prepared, prepare
from imbalance_cli.strict_yaml import parse_yaml

ROOT = Path(__file__).parents[1]

Draw = Callable[..., np.ndarray]


def noise(random: np.random.Generator, label: int, side: int = 16) -> np.ndarray:
    """Images that tell the classes by how red they are."""
    pixels = random.integers(0, 150, (side, side, 3))
    pixels[..., 0] += 20 * (label % 5)
    return pixels.astype(np.uint8)


def make_folder(folder: Path, train: dict[str, int], test: dict[str, int], draw: Draw = noise) -> Path:
    """train/<class>/ and test/<class>/ with so many images each."""
    random = np.random.default_rng(0)
    for split, counts in (("train", train), ("test", test)):
        for label, (name, count) in enumerate(counts.items()):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draw(random, label)).save(folder / split / name / f"{number:04}.png")
    return folder


def loaded(folder: Path, **changes: object) -> Prepared:
    values = {"data.dataset": str(folder), "data.data_dir": str(folder.parent / "cache"), "data.allow_leak": True}
    said = [Setting(tuple(key.split(".")), value, "test") for key, value in {**values, **changes}.items()]
    return prepare(resolve(None, said)[0], lambda _: None)


def facts(folder: Path, **changes: object) -> Facts:
    return facts_of(loaded(folder, **changes), built_in=False, accelerator=False)


def fired(found: Facts) -> set[str]:
    return {each.rule.name for each in advice_on(found)}


def text_of(found: Facts, rule: str) -> str:
    return next(f"{each.text} {each.reason}" for each in advice_on(found) if each.rule.name == rule)


def of_counts(*train: int, held_out: int | None = None, test: int = 100, **more: object) -> Facts:
    """The facts of colour images of 32 pixels, with so many for training in each class."""
    return Facts(
        dataset="photos",
        built_in=False,
        classes=tuple(f"class{label}" for label in range(len(train))),
        train=train,
        held_out=tuple((count // 5 if count >= 20 else 0) if held_out is None else held_out for count in train),
        test=(test,) * len(train),
        image_size=32,
        **more,
    )


class TestFacts:
    def test_counts_and_what_is_held_out_are_of_every_class(self, tmp_path):
        found = facts(make_folder(tmp_path / "photos", {"good": 200, "rare": 12}, {"good": 20, "rare": 8}))
        assert (found.classes, found.train, found.test) == (("good", "rare"), (200, 12), (20, 8))
        assert found.held_out == (40, 0)  # of fewer than 20 images all train
        assert (found.fewest, found.ratio, found.rarest, found.tested) == (12, 0.06, 1, 8)
        assert found.trivial_accuracy == 20 / 28
        assert (found.image_size, found.sides, found.grey) == (32, (16, 16, 16), 0)

    def test_of_equal_classes_the_last_counts_as_the_rarest(self):
        assert of_counts(50, 50).rarest == 1

    def test_images_in_two_classes_and_in_both_splits_are_counted_and_named(self, tmp_path):
        folder = make_folder(tmp_path / "photos", {"a": 40, "b": 30}, {"a": 10, "b": 10})
        for here, there in (
            *(("train/a/0000.png", "train/b/x.png"), ("train/a/0001.png", "train/b/y.png")),
            *(("train/a/0002.png", "test/a/z.png"), ("train/b/0003.png", "train/b/w.png")),
        ):
            (folder / there).write_bytes((folder / here).read_bytes())
        found = facts(folder)
        assert found.in_two_classes == Found(2, ("a/0000.png (train)", "b/x.png (train)"))
        assert found.in_train_and_test == Found(1, ("a/0002.png (train)", "a/z.png (test)"))
        assert found.repeated.count == 1 and set(found.repeated.example) == {"b/0003.png (train)", "b/w.png (train)"}
        assert fired(found) >= {"two-classes", "train-and-test", "repeated"}
        assert "2 images in two classes, such as a/0000.png (train) and b/x.png (train)" in text_of(
            found, "two-classes"
        )

    def test_a_copy_that_was_saved_again_is_found_among_the_test_images(self, tmp_path):
        def smooth(random: np.random.Generator, label: int) -> np.ndarray:
            return np.asarray(Image.fromarray(noise(random, label, 4)).resize((32, 32), Image.Resampling.BICUBIC))

        folder = make_folder(tmp_path / "photos", {"a": 40, "b": 30}, {"a": 10, "b": 10}, smooth)
        Image.open(folder / "train/a/0004.png").save(folder / "test/a/again.jpg", quality=75)
        found = facts(folder)
        assert found.alike == Found(1, ("a/again.jpg (test)", "a/0004.png (train)"))
        assert found.in_train_and_test.count == 0
        assert "alike" in fired(found)

    def test_images_without_colour_are_seen(self, tmp_path):
        def grey(random: np.random.Generator, label: int) -> np.ndarray:
            return noise(random, label)[..., 0]

        found = facts(make_folder(tmp_path / "photos", {"a": 60, "b": 20}, {"a": 10, "b": 10}, grey))
        assert found.grey == 1
        assert "few-grey" in fired(found) and "few" not in fired(found)

    def test_sizes_that_tell_the_classes_apart_are_reported(self, tmp_path):
        def sized(random: np.random.Generator, label: int) -> np.ndarray:
            return noise(random, 0, (16, 40)[label])

        found = facts(make_folder(tmp_path / "photos", {"a": 40, "b": 20}, {"a": 10, "b": 10}, sized))
        assert (found.sides, found.ranking_by_size) == ((16, 16, 40), 1)
        assert "size-tells" in fired(found)

    def test_sizes_that_differ_in_both_classes_alike_are_no_finding(self, tmp_path):
        def sized(random: np.random.Generator, label: int) -> np.ndarray:
            return noise(random, 0, int(random.integers(16, 40)))

        found = facts(make_folder(tmp_path / "photos", {"a": 40, "b": 20}, {"a": 10, "b": 10}, sized))
        assert found.sides is not None and found.sides[0] < found.sides[1] < found.sides[2]
        assert "size-tells" not in fired(found)

    def test_the_quick_check_tells_easy_from_impossible(self, tmp_path):
        def same(random: np.random.Generator, label: int) -> np.ndarray:
            return noise(random, 0)

        counts = {"a": 150, "b": 40}, {"a": 10, "b": 10}
        easy = facts(make_folder(tmp_path / "easy", *counts))
        hard = facts(make_folder(tmp_path / "hard", *counts, same))
        assert easy.ranking is not None and easy.ranking > 0.95 and "easy" in fired(easy)
        assert hard.ranking is not None and 0.3 < hard.ranking < 0.7 and "hard" in fired(hard)

    def test_with_nine_rare_images_nothing_is_said_of_how_hard_they_are(self, tmp_path):
        found = facts(make_folder(tmp_path / "photos", {"a": 60, "b": 9}, {"a": 10, "b": 10}))
        assert found.ranking is None
        assert not fired(found) & {"easy", "hard"}

    @pytest.mark.parametrize("images", [2, 12, 90, 1000])
    def test_the_half_width_is_that_of_the_wilson_interval_of_one_half(self, images):
        interval = binomtest(images // 2, images).proportion_ci(method="wilson")
        assert half_width(images) == pytest.approx((interval.high - interval.low) / 2, abs=1e-6)

    def test_ranking_by_size_is_an_auroc_whichever_way_round(self):
        from imbalance_cli.advice.facts import _ranking_by_size

        random = np.random.default_rng(0)
        small, large = random.integers(10, 30, 50).tolist(), random.integers(20, 40, 30).tolist()
        expected = roc_auc_score([0] * 50 + [1] * 30, small + large)
        assert _ranking_by_size([small, large], 1) == pytest.approx(expected)
        assert _ranking_by_size([small, large], 0) == pytest.approx(expected)


class TestRules:
    def test_balanced_data_have_nothing_to_correct(self):
        names = fired(of_counts(500, 500))
        assert "plain" in names
        assert not names & {"logit-adjustment", "few", "focal", "inverse-weights", "no-threshold", "accuracy"}

    def test_one_to_a_hundred(self):
        found = of_counts(5000, 50)
        assert fired(found) >= {"logit-adjustment", "few", "inverse-weights", "focal", "pixel-smote", "shaky-threshold"}
        assert "10 validation images of class1" in text_of(found, "shaky-threshold")

    def test_twelve_rare_images_allow_no_threshold(self):
        found = of_counts(1200, 12)
        assert "0 validation images of class1: no validation threshold; use the prior." in text_of(
            found, "no-threshold"
        )
        assert "collect" not in fired(found)
        assert "collect" in fired(of_counts(1200, 9))

    def test_many_validation_images_allow_one(self):
        names = fired(of_counts(5000, 500))
        assert "threshold" in names and not names & {"no-threshold", "shaky-threshold", "few"}

    def test_ten_classes_with_a_long_tail(self):
        tail = of_counts(*(round(5000 * 0.6**label) for label in range(10)))
        assert fired(tail) >= {"logit-adjustment", "many-classes", "refit"}
        assert not fired(of_counts(5000, 50)) & {"many-classes", "refit"}

    def test_accuracy_is_worth_what_the_trivial_answer_gets(self):
        found = replace(of_counts(5000, 50), test=(1000, 10))
        assert "scores 99.0% on these test images" in text_of(found, "accuracy")  # 1 / (1 + 0.01)
        assert "prevalence" not in fired(found)
        assert "prevalence" in fired(of_counts(5000, 50))

    def test_few_test_images_are_told_with_the_width_of_a_recall(self):
        found = replace(of_counts(5000, 50), test=(1000, 12))
        assert "within 25 points only: 12 test images" in text_of(found, "wide")
        assert "narrow" in fired(of_counts(5000, 50, test=100))

    def test_large_images_take_another_model(self):
        found = replace(of_counts(500, 50), image_size=224)
        assert fired(found) >= {"large-images", "smaller-first", "pretrained"} and "small-images" not in fired(found)
        assert "smaller-first" not in fired(replace(found, accelerator=True))
        assert proposed_study(found, advice_on(found), {})["base"]["model"] == "resnet18"

    def test_few_images_train_for_more_epochs_up_to_300(self):
        assert proposed_study(found := of_counts(500, 500), advice_on(found), {})["base"]["epochs"] == 125
        assert proposed_study(found := of_counts(60, 20), advice_on(found), {})["base"]["epochs"] == 300
        assert "more-epochs" not in fired(of_counts(5000, 50))

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
    def test_each_has_a_source_that_names_a_paper_or_what_is_here(self, rule):
        assert rule.section in SECTIONS and rule.text.endswith(".") and rule.reason.endswith(".")
        files = re.findall(r"(?:benchmarks|configs)/[\w/.-]+", rule.source)
        assert all((ROOT / file).is_file() for file in files)
        assert files or re.search(r"[A-Z]\w+.*, (18|19|20)\d\d|this check|their counts|number of pixels", rule.source)

    @pytest.mark.parametrize(
        "rule", [rule for rule in RULES if "benchmarks/" in rule.source], ids=lambda rule: rule.name
    )
    def test_numbers_said_to_be_measured_here_are_those_of_the_named_files(self, rule):
        files = re.findall(r"benchmarks/[\w/.-]+", rule.source)
        measured = "".join((ROOT / file).read_text(encoding="utf-8") for file in files)
        for number in re.findall(r"\d+\.\d+(?: ± \d+\.\d+)?", rule.text + rule.reason):
            assert number in measured, number

    def test_what_was_measured_is_said_of_the_pair_and_the_networks_it_was_measured_on(self):
        for rule in ("threshold", "hard", "inverse-weights", "focal", "logit-adjustment"):
            said = next(each for each in RULES if each.name == rule)
            assert all(word in said.reason for word in ("airplane : automobile", "`cnn`", "`tutorial`")), rule
            assert "/losses.md" in said.source and "classroom.md" in said.source

    @pytest.mark.parametrize("rule", ["two-classes", "train-and-test"])
    def test_only_folders_and_csv_files_with_copies_are_refused(self, rule):
        copies = {"in_two_classes": Found(1, ("a", "b")), "in_train_and_test": Found(1, ("a", "b"))}
        assert "unless it is told --allow-leak" in text_of(found := of_counts(500, 50, **copies), rule)
        assert "refuses" not in text_of(replace(found, built_in=True), rule)

    def test_accuracy_of_a_hundred_uneven_classes_is_no_trap(self):
        found = of_counts(*[100] * 100)
        assert "accuracy" not in fired(replace(found, test=(14, *[10] * 99)))
        assert "accuracy" in fired(replace(found, test=(16, *[10] * 99)))  # 16 of 1006 > 1.5 of 100

    def test_with_more_than_two_classes_no_one_class_model_and_no_recipe_without_its_limit(self):
        pair, several = of_counts(1200, 9), of_counts(1200, 600, 9)
        assert "collect" in fired(pair) and "collect-or-leave-out" not in fired(pair)
        assert "collect-or-leave-out" in fired(several) and "collect" not in fired(several)
        assert "on two classes, not 3" in text_of(several, "few") and "not 2" not in text_of(pair, "few")

    def test_one_image_is_said_in_the_singular(self):
        found = replace(of_counts(1200, 1), test=(100, 1))
        assert "Look at the one image of class1." in text_of(found, "labels")
        assert "1 training image is too few" in text_of(found, "collect")
        assert "1 image is soon" in text_of(found, "few")
        assert "only: 1 test image." in text_of(found, "wide")

    def test_a_class_without_images_is_said_to_be_one(self):
        untrained = fired(of_counts(1200, 0))
        assert "untrained" in untrained and not untrained & {"collect", "labels", "few"}
        found = replace(of_counts(1200, 300, 12), test=(50, 0, 0))
        assert "nothing of class1, class2: there are no test images" in text_of(found, "untested")
        assert not fired(found) & {"wide", "narrow"}

    def test_names_are_unique(self):
        assert len({rule.name for rule in RULES}) == len(RULES)


counts = st.integers(0, 6000)
auroc = st.none() | st.floats(0, 1)
found_images = st.builds(Found, st.integers(0, 3), st.just(("one", "two")))


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    classes = draw(st.integers(2, 12))
    several = st.lists(counts, min_size=classes, max_size=classes).filter(any).map(tuple)
    return Facts(
        dataset="photos",
        built_in=draw(st.booleans()),
        classes=tuple(f"class{label}" for label in range(classes)),
        train=draw(several),
        held_out=draw(st.lists(st.integers(0, 60), min_size=classes, max_size=classes).map(tuple)),
        test=draw(several),
        image_size=draw(st.sampled_from([16, 32, 64, 96, 224])),
        grey=draw(st.floats(0, 1)),
        ranking=draw(auroc),
        ranking_by_size=draw(auroc),
        in_two_classes=draw(found_images),
        in_train_and_test=draw(found_images),
        repeated=draw(found_images),
        alike=draw(found_images),
        accelerator=draw(st.booleans()),
    )


class TestOnAnyData:
    @settings(max_examples=100, deadline=None)
    @given(any_facts())
    def test_no_two_pieces_of_advice_contradict_each_other(self, found):
        advice = advice_on(found)
        topics = [each.rule.topic for each in advice]
        assert len(set(topics)) == len(topics)
        settings = [item for each in advice for item in each.settings.get("base", {}).items()]
        assert len({key for key, _ in settings}) == len(settings)
        parts = [key for each in advice for key in each.settings if key not in ("base", "methods")]
        assert len(set(parts)) == len(parts)

    @settings(max_examples=100, deadline=None)
    @given(any_facts())
    def test_the_study_compares_at_least_two_methods_and_none_that_is_advised_against(self, found):
        advice = advice_on(found)
        study = proposed_study(found, advice, {})
        assert study["baseline"] in study["methods"] and len(study["methods"]) >= 2
        for setting, value in (pair for each in advice for pair in each.rule.discourages):
            assert all(method.get(setting) != value for method in study["methods"].values())
        assert study["point"] != "validation" or min(found.held_out) >= 30

    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(any_facts())
    def test_the_study_is_one_that_compare_accepts(self, found):
        study = proposed_study(found, advice := advice_on(found), {"data": {"dataset": "photos"}})
        text = study_text(study, advice)
        assert parse_yaml(text, source="study", error=ValueError).value == study
        assert all(line.startswith("# ") for line in text.partition("title:")[0].splitlines())
        runs = runs_of(text)
        assert len(runs) == 5 * len(study["methods"])
        assert {method for method, _ in runs} == set(study["methods"])


class TestStudy:
    def test_holds_what_the_user_asked_for_and_never_accepts_copies(self, image_folder):
        prepared = loaded(image_folder, **{"data.classes": ["rare", "common"], "validation": 0.1})
        asked = asked_for(prepared.experiment, allow_leak=False)
        assert asked["validation"] == 0.1
        assert asked["data"]["dataset"] == str(image_folder) and asked["data"]["classes"] == ["rare", "common"]
        assert "allow_leak" not in asked["data"]

    def test_what_the_recipe_says_is_what_configs_has(self):
        file = parse_yaml((ROOT / "configs/recipes/best.yaml").read_text(), source="", error=ValueError).value
        study = proposed_study(found := of_counts(5000, 50), advice_on(found), {})
        ours = study["methods"]["logit adjustment + mixup"] | study["base"]
        assert {key: value for key, value in file.items() if key != "data"} == ours

    def test_times_are_those_of_steps_on_the_images(self, image_folder, monkeypatch):
        monkeypatch.setattr("imbalance_cli.advice.training_time.SECONDS", 0.02)
        prepared = loaded(image_folder, **{"data.image_size": 16})
        experiment = prepared.experiment.model_copy(update={"epochs": 2})
        times = study_times([("one", experiment), ("one", experiment)], prepared)
        speed, seconds = times["methods"]["one"]["images_per_second"], times["methods"]["one"]["seconds"]
        held_out = len(prepared.validation)
        assert seconds == pytest.approx((2 * len(prepared.train) + (2 * held_out + 40) / 3) / speed)
        assert (times["runs"], times["seconds"]) == (2, pytest.approx(2 * seconds))

    def test_without_validation_the_held_out_images_train_too(self, image_folder, monkeypatch):
        monkeypatch.setattr("imbalance_cli.advice.training_time.SECONDS", 0)
        prepared = loaded(image_folder, **{"data.image_size": 16})
        experiment = prepared.experiment.model_copy(update={"epochs": 1, "validation": 0})
        times = study_times([("one", experiment)], prepared)["methods"]["one"]
        assert times["seconds"] * times["images_per_second"] == pytest.approx(144 + 40 / 3)

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [(0.2, "1 s"), (41, "41 s"), (150, "2.5 min"), (1200, "20 min"), (6000, "1.7 h"), (400_000, "4.6 days")],
    )
    def test_durations_are_said_as_people_say_them(self, seconds, words):
        assert in_words(seconds) == words


@pytest.fixture(autouse=True)
def narrow_and_quick(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("imbalance_cli.advice.training_time.SECONDS", 0)


class TestCommand:
    def test_prints_facts_advice_times_and_a_study_within_80_columns(self, image_folder, tmp_path):
        result = imbalance("advise", image_folder, "--image-size", 16, "--data-dir", tmp_path)
        lines = result.stdout.splitlines()
        shown, _, study = result.stdout.partition("# Proposed by")
        assert max(map(len, shown.splitlines())) <= 80 and "\x1b" not in result.stdout
        for heading in ("Before training", "Try first", "Not, or not yet", "On this machine"):
            assert heading in lines
        assert "common    120                      24    20" in lines
        assert "5 validation images of rare: no validation threshold" in " ".join(shown.split())
        assert len(runs_of("# Proposed by" + study)) == 15

    def test_json_holds_the_same(self, image_folder, tmp_path):
        result = imbalance("advise", image_folder, "--image-size", 16, "--data-dir", tmp_path, "--json", "--quiet")
        value = json.loads(result.stdout)
        assert result.stderr == ""
        assert value["facts"]["train"] == [120, 24]
        assert [row["id"] for row in value["advice"] if row["section"] == "first"][:2] == ["logit-adjustment", "few"]
        assert all(row.keys() == {"id", "section", "text", "reason", "source", "settings"} for row in value["advice"])
        assert list(value["times"]["methods"]) == list(value["study"]["methods"])
        assert value["written"] is None

    def test_writes_the_study_once(self, image_folder, tmp_path):
        file = tmp_path / "advice.yaml"
        asked = ("advise", image_folder, "--image-size", 16, "--data-dir", tmp_path, "--output", file)
        stdout = imbalance(*asked).stdout
        assert f"imbalance compare {file}" in stdout.splitlines() and "title:" not in stdout
        study = parse_yaml(file.read_text(), source="", error=ValueError).value
        assert study["title"] == "What helps on photos" and study["point"] == "prior"
        assert f"{file} exists" in complaint(*asked, exit_code=4)
        imbalance(*asked, "--overwrite")

    def test_copies_are_findings_and_no_error(self, tmp_path):
        folder = make_folder(tmp_path / "photos", {"a": 30, "b": 12}, {"a": 5, "b": 5})
        (folder / "test/b/copy.png").write_bytes((folder / "train/a/0000.png").read_bytes())
        stdout = imbalance("advise", folder, "--data-dir", tmp_path).stdout
        assert "Images that occur twice: 1 in two classes, 1 in training and test." in " ".join(stdout.split())
        assert "allow_leak" not in stdout

    @pytest.mark.parametrize("flags", [["--skip-bad", "--allow-leak"], ["--skip-bad"]])
    def test_a_study_on_bad_and_doubled_images_runs_as_asked(self, tmp_path, monkeypatch, flags):
        monkeypatch.chdir(tmp_path)
        folder = make_folder(tmp_path / "photos", {"a": 30, "b": 12}, {"a": 5, "b": 5})
        (folder / "train/a/bad.png").write_bytes(b"no image")
        (folder / "test/b/copy.png").write_bytes((folder / "train/a/0000.png").read_bytes())
        imbalance("advise", folder, "--data-dir", "cache", *flags, "-o", "advice.yaml", "-q")
        small = ["--epochs", 1, "--seeds", 1, "--set", "model.width=4"]
        accepts = "--allow-leak" in flags
        result = imbalance("compare", "advice.yaml", "-o", "study", *small, exit_code=0 if accepts else 3)
        assert accepts or "accept it with --allow-leak" in result.stderr
        if not accepts:
            imbalance("compare", "advice.yaml", "-o", "other", *small, "--allow-leak")

    @pytest.mark.parametrize("empty", ["train", "test"])
    def test_a_class_without_images_is_accepted_on_demand_and_in_the_study(self, tmp_path, empty):
        train, test = {"a": 30, "b": 12}, {"a": 5, "b": 5}
        (train if empty == "train" else test)["b"] = 0
        asked = ("advise", make_folder(tmp_path / "photos", train, test), "--data-dir", tmp_path, "--json")
        assert "--allow-empty" in complaint(*asked, exit_code=3)
        value = json.loads(imbalance(*asked, "--allow-empty").stdout)
        assert {"untrained", "untested"} & {row["id"] for row in value["advice"]} == {f"un{empty}ed"}
        assert value["study"]["base"]["data"]["allow_empty"] is True

    @pytest.mark.parametrize(
        ("args", "exit_code", "says"),
        [
            (["nowhere/"], 3, "no dataset or folder called 'nowhere/'"),
            (["shapes", "--ratio", "2"], 2, "--ratio: must be in (0, 1]; got 2"),
            (["shapes", "--validation", "0.9"], 2, "--validation"),
            (["shapes", "--classes", "square", "triangl"], 3, "did you mean 'triangle'?"),
            (["shapes", "--output", "no/such/folder.yaml"], 6, "cannot write no/such/folder.yaml"),
        ],
    )
    def test_mistakes_end_in_one_line_and_the_code_of_their_kind(self, args, exit_code, says):
        assert says in complaint("advise", *args, exit_code=exit_code)

    def test_help_imports_nothing_slow(self):
        code = (
            "import sys; from imbalance_cli.cli import app\n"
            "try: app(['advise', '--help'])\n"
            "except SystemExit: print('slow:', sorted({'torch', 'numpy', 'sklearn', 'PIL'} & set(sys.modules)))\n"
        )
        finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "--validation" in finished.stdout and finished.stdout.endswith("slow: []\n")
