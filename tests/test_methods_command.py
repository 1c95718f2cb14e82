"""`imbalance methods`: every method of every kind listed and explained, and what it does to given class counts."""

import json
import math
import shlex
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from command_line import complaint, imbalance

from imbalance_cli.catalogue import KINDS, find_entry, find_kind, in_words, ways_to_say
from imbalance_cli.catalogue_report import method_report
from imbalance_cli.cli.train import train
from imbalance_cli.config import EVERY_REGISTRY, Setting, parse_assignment, resolve
from imbalance_cli.method_effects import Effect, effect_of
from imbalance_cli.strict_yaml import parse_yaml

EVERY_METHOD = [(kind.name, name) for kind in KINDS.values() for name in kind.registry.names()]
FLAGS = set(train.__annotations__)


def value_of(*args: object) -> dict:
    return json.loads(imbalance("methods", *args, "--json").stdout)


def default_choice(kind: str, name: str) -> dict:
    return {"name": name} | KINDS[kind].registry.get(name).schema().model_dump()


def explained(kind: str, name: str, counts: dict[str, int] | None = None, found: Effect | None = None) -> str:
    """What the command shows of a method in 80 columns."""
    entry = find_entry(KINDS[kind], name)
    return method_report(entry, default_choice(kind, name), FLAGS, 80, counts or {}, found)[0].plain


def effect(*args: object) -> dict:
    """The rows of the effect by heading, each a list in the order of the classes."""
    return {
        heading: list(values.values()) for heading, values in value_of(*args)["effect"].items() if heading != "notes"
    }


class TestLists:
    def test_every_registry_of_the_configuration_has_its_kind(self):
        assert {kind.registry for kind in KINDS.values()} == set(EVERY_REGISTRY.values())
        assert {setting for kind in KINDS.values() for setting in kind.settings} == set(EVERY_REGISTRY)

    def test_all_kinds_are_listed_with_how_many_methods_they_have(self):
        text = imbalance("methods").stdout
        for kind in KINDS.values():
            assert f"{kind.name} {len(kind.registry.names())} {kind.summary}" in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 80
        assert {name: row["methods"] for name, row in value_of().items()} == {
            kind.name: kind.registry.names() for kind in KINDS.values()
        }

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_kind_lists_its_methods_with_their_first_lines(self, kind):
        text = imbalance("methods", kind).stdout
        for method in KINDS[kind].registry:
            assert method.summary in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 80
        assert list(value_of(kind)["methods"]) == KINDS[kind].registry.names()

    def test_the_default_is_marked(self):
        assert "cross_entropy (default)\n" in imbalance("methods", "loss").stdout
        lines = imbalance("methods", "schedule").stdout.splitlines()
        assert "cosine (default of learning_rate_schedule)" in lines
        assert "constant (default of class_weights_schedule and sampler_schedule)" in lines
        defaults = {name for name, row in value_of("augment")["methods"].items() if row["default_of"]}
        assert defaults == {"crop", "flip"}

    @pytest.mark.parametrize(
        ("said", "meant"),
        [("losses", "loss"), ("samplers", "sampler"), ("class-weights", "class_weights"), ("schedules", "schedule")]
        + [("sampler_schedule", "schedule"), ("learning-rate-schedule", "schedule")],
    )
    def test_a_kind_may_be_said_as_a_plural_a_flag_or_a_setting(self, said, meant):
        assert find_kind(said).name == meant


class TestOneMethod:
    @pytest.mark.parametrize(("kind", "name"), EVERY_METHOD)
    def test_is_explained_within_80_columns(self, kind, name):
        text, entry = explained(kind, name), find_entry(KINDS[kind], name)
        assert max(map(len, text.splitlines())) <= 80 and text.isascii()
        flat = " ".join(text.split())
        assert all(part in flat for part in (entry.summary, *entry.explanation, *entry.papers))
        assert all(f"{option.name} {option.values}" in flat for option in entry.options)

    @pytest.mark.parametrize(("kind", "name"), EVERY_METHOD)
    def test_is_chosen_by_what_the_catalogue_says(self, kind, name):
        entry = find_entry(KINDS[kind], name)
        ways = ways_to_say(entry, FLAGS)
        said = [parse_assignment(word) for word in shlex.split(ways["set"]) if word != "--set"]
        document = parse_yaml(ways["yaml"], source="test", error=ValueError).value
        from_file = [Setting((key,), value, "test") for key, value in document.items()]
        chosen = [getattr(resolve(None, each)[0], entry.settings[0]) for each in (said, from_file)]
        assert chosen[0] == chosen[1]
        names = [each["name"] for each in chosen[0]] if kind == "augment" else [chosen[0]["name"]]
        assert name in names
        assert list(ways_to_say(entry, FLAGS)) == (
            ["flags", "set", "yaml"]
            if kind in ("loss", "class_weights", "sampler", "mixing", "model")
            else ["set", "yaml"]
        )

    def test_is_explained_whole(self):
        assert imbalance("methods", "loss", "class_balanced_focal").stdout == dedent(
            """\
            loss class_balanced_focal

            Sigmoid focal loss of each class against the rest, weighted by effective numbers
            (Cui et al., 2019).

            Made for long tails of many classes.

            The weights are scaled as class_weights are: the average example of the stream
            weighs 1, where the paper's weights sum to the number of classes. class_weights
            multiply them, so leave those at none.

            Options
              beta   number at least 0 and below 1  default 0.9999
              gamma  number 0 to 100                default 1

            Say it to imbalance train
              --loss class_balanced_focal --set loss.beta=0.9999
              --set loss=class_balanced_focal --set loss.beta=0.9999
            or in its configuration file
              loss: {name: class_balanced_focal, beta: 0.9999}

            From Cui et al., 2019.

            Not with class_weights inverse, sqrt, power or effective_number: the loss weighs
            the classes itself: that corrects twice.
            """
        )

    def test_a_flag_is_used_where_there_is_one(self):
        assert value_of("loss", "focal")["say"]["flags"] == "--loss focal --gamma 2"
        assert value_of("sampler", "power")["say"]["flags"] == "--sampler power --set sampler.q=0.25"

    def test_what_a_docstring_says_to_programmers_is_left_out(self):
        assert "Raises" not in imbalance("methods", "loss", "focal").stdout

    def test_papers_come_from_the_docstring(self):
        assert value_of("loss", "logit_adjustment")["papers"] == ["Menon et al., 2021", "Ren et al., 2020"]

    def test_conflicts_are_told_from_both_sides(self):
        told = value_of("class_weights", "inverse")["conflicts"]
        assert any(conflict["setting"] == "loss" and "logit_adjustment" in conflict["values"] for conflict in told)
        (told,) = value_of("loss", "ldam")["conflicts"]
        assert (told["setting"], told["values"]) == ("model.classifier", ["linear"])

    def test_a_rising_schedule_is_not_offered_for_the_learning_rate(self):
        assert value_of("schedule", "rising")["settings"] == ["class_weights_schedule", "sampler_schedule"]
        assert value_of("schedule", "cosine")["settings"][0] == "learning_rate_schedule"

    def test_a_schedule_is_drawn(self):
        curve = dict(map(tuple, value_of("schedule", "linear")["curve"]))
        assert curve[0.0] == 1 and curve[0.5] == 0.5 and curve[1.0] == 0
        assert "  0.5 0.500 ####################\n" in imbalance("methods", "schedule", "linear").stdout

    @pytest.mark.parametrize(
        ("annotation", "words"),
        [
            (float, "number"),
            (bool, "true or false"),
            (list[float] | None, "[number, ...] or null"),
            (EVERY_REGISTRY["model"].get("resnet32").options["width"].annotation, "whole number 1 to 1024"),
            (EVERY_REGISTRY["model"].get("resnet32").options["classifier"].annotation, "linear or cosine"),
            (EVERY_REGISTRY["loss"].get("hinge").options["margin"].annotation, "number above 0"),
        ],
    )
    def test_types_are_told_in_words(self, annotation, words):
        assert in_words(annotation) == words


class TestCounts:
    """5000 : 50, the counts of the classroom example; shares and weights by hand."""

    def test_class_weights(self):
        # inverse: both classes have half of the loss, so 5050 / 2 / 5000 and 5050 / 2 / 50
        told = effect("class_weights", "inverse", "--counts", 5000, 50)
        assert told["weight"] == pytest.approx([0.505, 50.5]) and told["share of the loss"] == pytest.approx([0.5, 0.5])
        told = effect("class_weights", "sqrt", "--counts", 400, 100)  # 1/20 : 1/10, so 20 : 10 of the loss
        assert told["share of the loss"] == pytest.approx([2 / 3, 1 / 3])

    def test_samplers(self):
        told = effect("sampler", "class_balanced", "--counts", "airplane=5000", "automobile=50")
        assert told["drawn"] == pytest.approx([2525, 2525]) and told["each image"] == pytest.approx([0.505, 50.5])
        text = imbalance("methods", "sampler", "over_sampling", "--counts", "5000,50").stdout
        assert "An epoch is 10,000 images in 79 batches of about 128." in text

    def test_losses_pull_as_many_images_do_at_the_start(self):
        for name in ("cross_entropy", "focal"):
            told = effect("loss", name, "--counts", 5000, 50)
            assert told["share of the gradient"] == pytest.approx([5000 / 5050, 50 / 5050])

    def test_losses_that_allow_for_the_prior_pull_evenly(self):
        # at logits 0 the adjusted ones are the log prior, so p_0 = 5000/5050; an image of class 0 pulls by 1 - p_0
        told = effect("loss", "logit_adjustment", "--counts", 5000, 50)
        assert told["share of the gradient"] == pytest.approx([0.5, 0.5])
        assert told["uninformative logit"] == pytest.approx([0, 0], abs=1e-6)

    def test_losses_that_compare_examples_weigh_the_classes_alike(self):
        told = effect("loss", "auc_margin", "--counts", 5000, 50)
        assert told["share of the gradient"] == pytest.approx([0.5, 0.5], abs=0.01)

    def test_uninformative_logits_are_the_log_prior_of_cross_entropy(self):
        told = effect("loss", "cross_entropy", "--counts", 5000, 50)["uninformative logit"]
        assert told[0] - told[1] == pytest.approx(4.60517, abs=1e-4)  # log 100

    def test_options_change_the_effect(self):
        told = effect("loss", "logit_adjustment", "--counts", 5000, 50, "--set", "loss.tau=0")
        assert told["share of the gradient"] == pytest.approx([5000 / 5050, 50 / 5050])
        told = effect("class_weights", "costs", "--set", "class_weights.costs=[1,10]", "--counts", 50, 5)
        assert told["share of the loss"] == pytest.approx([0.5, 0.5])

    @pytest.mark.parametrize(("kind", "name"), [each for each in EVERY_METHOD if each != ("class_weights", "costs")])
    def test_every_method_has_something_to_say_of_them(self, kind, name):
        counts = [500, 5]
        found = effect_of(kind, default_choice(kind, name), counts)
        text = explained(kind, name, {f"class {number}": count for number, count in enumerate(counts)}, found)
        assert max(map(len, text.splitlines())) <= 80
        assert all(math.isfinite(value) for values in found.columns.values() for value in values)
        table = kind in ("loss", "class_weights", "sampler")
        assert ("class    images" in text) == table
        assert table or "class counts" in " ".join(text.split())


class TestMistakes:
    @pytest.mark.parametrize(
        ("args", "told"),
        [
            (["los"], "unknown kind of method 'los'; did you mean 'loss'?"),
            (["loss", "focall"], "unknown loss 'focall'; did you mean 'focal'?"),
            (["loss", "--counts", 5, 5], "--counts and --set are about one method"),
            (["loss", "focal", "--counts", 5], "--counts: give the images of two classes or more"),
            (["loss", "focal", "--counts", 0, 0], "--counts: give the images of two classes or more"),
            (["loss", "focal", "--counts", "many"], "--counts many: expected images of each class"),
            (["loss", "focal", "--counts", "a=1", "a=2"], "--counts: class 'a' is given twice"),
            (["loss", "focal", "--set", "loss.gamma=500"], "loss.gamma must be at most 100; got 500"),
            (["loss", "focal", "--set", "sampler.q=1"], "--set sampler.q: give an option of focal, as in loss.OPTION"),
            (["class_weights", "costs", "--counts", 5, 5], "class_weights.costs must be given"),
        ],
    )
    def test_are_one_line(self, args, told):
        assert told in complaint("methods", *args)


@pytest.mark.parametrize("args", [[], ["loss"], ["loss", "focal"], ["schedule", "cosine"]])
def test_the_lists_need_no_torch(args: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv[0] = 'imbalance'\nfrom imbalance_cli.cli import main\ntry: main()\n"
        "finally: assert not {'torch', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code, "methods", *args], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize("loss", ["auc_margin", "pairwise_hinge"])
def test_a_loss_without_anything_to_compare_pulls_at_no_class(loss):
    shown = imbalance("methods", "loss", loss, "--counts", "50", "0").stdout
    assert "nan" not in shown and "0.00 %" in shown
