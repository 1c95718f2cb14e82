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

from imbalance_cli.catalogue import KINDS, find_entry, find_kind, in_words
from imbalance_cli.catalogue_report import method_report
from imbalance_cli.cli.train import train
from imbalance_cli.config import EVERY_REGISTRY, Setting, parse_assignment, resolve
from imbalance_cli.method_effects import Effect, effect_of
from imbalance_cli.strict_yaml import parse_yaml
from imbalance_cli.training_aids import AIDS
from imbalance_cli.ways_to_say import ways_to_say

EVERY_METHOD = [(kind.name, name) for kind in KINDS.values() for name in kind.registry.names()]
FLAGS = set(train.__annotations__)


def value_of(*args: object) -> dict:
    return json.loads(imbalance("methods", *args, "--json").stdout)


def default_choice(kind: str, name: str) -> dict:
    if kind == "aid":
        return {"name": name, **AIDS.get(name).settings}
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
        assert {kind.registry for kind in KINDS.values()} == {*EVERY_REGISTRY.values(), AIDS}
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
        assert all(part in flat for part in (entry.summary, *entry.explanation))
        assert all(f"{cited}: {paper.title}" in flat and paper.link in text for cited, paper in entry.papers)
        assert all(f"\n  {line}" in text for line in entry.description.formula)
        assert entry.when in flat
        assert all(f"{option.name} {option.values}" in flat for option in entry.options)
        assert all(conflict.reason in flat for conflict in entry.conflicts)

    @pytest.mark.parametrize(("kind", "name"), EVERY_METHOD)
    def test_is_chosen_by_what_the_catalogue_says(self, kind, name):
        entry = find_entry(KINDS[kind], name)
        ways = ways_to_say(entry, FLAGS)
        said = [parse_assignment(word) for word in shlex.split(ways["set"]) if word != "--set"]
        document = parse_yaml(ways["yaml"], source="test", error=ValueError).value
        from_file = [Setting((key,), value, "test") for key, value in document.items()]
        chosen = [resolve(None, each)[0] for each in (said, from_file)]
        assert chosen[0] == chosen[1]
        if kind == "aid":
            assert chosen[0] != resolve(None)[0] or name in ("mixing_until", "warmup")  # on by default
        else:
            choice = getattr(chosen[0], entry.settings[0])
            assert name in ([each["name"] for each in choice] if kind == "augment" else [choice["name"]])
        assert list(ways_to_say(entry, FLAGS)) == (
            ["flags", "set", "yaml"]
            if kind in ("loss", "class_weights", "sampler", "mixing", "model")
            else ["set", "yaml"]
        )

    def test_is_explained_whole(self):
        assert imbalance("methods", "aid", "max_norm").stdout == dedent(
            """\
            aid max_norm

            Shortens long rows of the classifier to a given length, after every step:
            MaxNorm (Alshammari et al., 2022).

            Formula
              row = row min(1, max_norm / |row|)

            When to use it
              With several uneven classes, whose rows otherwise grow the longer the more
              images a class has. Of two classes the rows are nearly equally long anyway.

            A row holds the weights of one class. null is off. refit max_norm does the same
            to a classifier on finished features.

            Options
              max_norm  number above 0 or null  default null

            Say it to imbalance train
              --set max_norm=1
            or in its configuration file
              max_norm: 1

            Papers
              Alshammari et al., 2022: Long-Tailed Recognition via Weight Balancing,
                https://arxiv.org/abs/2203.14197

            What it does not go together with
              Refused with model.classifier cosine: in a cosine classifier the length of a
                row changes nothing.
            """
        )

    def test_a_loss_is_explained_whole_with_what_it_does_to_given_counts(self):
        text = imbalance("methods", "loss", "class_balanced_focal", "--counts", 5000, 50).stdout
        assert text == dedent(
            """\
            loss class_balanced_focal

            Sigmoid focal loss of each class against the rest, weighted by effective numbers
            (Cui et al., 2019).

            Formula
              loss = w_y (f(z_y) + sum_{j != y} f(-z_j))
              f(z) = -(1 - sigmoid(z))^gamma log sigmoid(z)
              w_j = e_j (sum_k n_k) / (sum_k n_k e_k)
              e_j = (1 - beta) / (1 - beta^n_j)

              y: the true class; j: any class; z_j: the logit of class j; n_j: how many
              images of class j an epoch draws; w_j: the weight of class j
              Another index means the same of another class.

            When to use it
              Made for long tails of many classes. Of two very uneven classes argmax finds
              the rare one about as well as with class_weights inverse, so less well than
              with logit_adjustment, and images are ranked worse than by cross-entropy.

            The weights are scaled as class_weights are: the average example of the stream
            weighs 1, where the paper's weights sum to the number of classes. class_weights
            multiply them, so leave those at none. beta 0 weighs all alike, and gamma 0 then
            leaves the sum of the classes' binary cross-entropies.

            Options
              beta   number at least 0 and below 1  default 0.9999
              gamma  number 0 to 100                default 1

            Say it to imbalance train
              --loss class_balanced_focal --set loss.beta=0.9999
              --set loss=class_balanced_focal --set loss.beta=0.9999
            or in its configuration file
              loss: {name: class_balanced_focal, beta: 0.9999}

            Papers
              Cui et al., 2019: Class-Balanced Loss Based on Effective Number of Samples,
                https://arxiv.org/abs/1901.05555

            Also known as cb_focal, class_balanced_loss.

            What it does not go together with
              Not with class_weights inverse, sqrt, power or effective_number: the loss
                weighs the classes itself: that corrects twice.

            class  images  share of the gradient  uninformative logit
            0       5,000                55.90 %                0.134
            1          50                44.10 %               -0.134

            share of the gradient: how much of the pull on the logits comes from each class
            when all logits are 0, summed over its images. uninformative logit: what
            training would answer to an image that says nothing about its class; where these
            differ, argmax favours the higher ones, and the prior correction subtracts them.
            """
        )

    def test_a_formula_is_shown_line_by_line_with_what_its_letters_mean(self):
        text = imbalance("methods", "class_weights", "power").stdout
        formula = ["r_j = N_j^-exponent", "w_j = r_j (sum_k n_k) / (sum_k n_k r_k)"]
        assert f"Formula\n  {formula[0]}\n  {formula[1]}\n\n  j: any class; n_j: " in text
        value = value_of("class_weights", "power")
        assert value["formula"] == formula
        assert list(value["symbols"]) == ["j", "n_j", "N_j", "w_j"]
        assert value_of("schedule", "cosine")["symbols"] == {}  # its pi is the number

    def test_another_index_than_that_of_the_symbols_is_explained(self):
        told = "  Another index means the same of another class.\n"
        assert told in imbalance("methods", "resample", "near_miss").stdout  # min_k N_k
        assert told in imbalance("methods", "loss", "cross_entropy").stdout  # p_y
        assert told not in imbalance("methods", "sampler", "instance").stdout
        assert told not in imbalance("methods", "sampler", "over_sampling").stdout  # N_max has its own words

    def test_x_is_an_image_or_its_features(self):
        assert value_of("mixing", "mixup")["symbols"]["x"] == value_of("aid", "test_time_flip")["symbols"]["x"]
        assert value_of("mixing", "mixup")["symbols"]["x"] == "an image"
        for kind, name in (("refit", "crt"), ("resample", "smote"), ("loss", "influence_balanced")):
            assert value_of(kind, name)["symbols"]["x"] == "the features of an image"

    @pytest.mark.parametrize(("kind", "name"), [("class_weights", "costs"), ("threshold_by", "cost")])
    def test_an_option_without_a_default_is_said_to_be_needed(self, kind, name):
        text = imbalance("methods", kind, name).stdout
        assert "  costs  [number, ...] or [[number, ...], ...]  must be given\n" in text and "null" not in text

    def test_what_a_loss_needs_beside_it_is_said_with_it(self):
        say = value_of("loss", "ldam")["say"]
        assert "--set model.classifier=cosine" in say["flags"] and "--set model.classifier=cosine" in say["set"]
        assert "model: {name: cnn, classifier: cosine}\n" in say["yaml"]

    def test_a_flag_is_used_where_there_is_one(self):
        assert value_of("loss", "focal")["say"]["flags"] == "--loss focal --gamma 2"
        assert value_of("sampler", "power")["say"]["flags"] == "--sampler power --set sampler.q=0.25"

    def test_what_a_docstring_says_to_programmers_is_left_out(self):
        assert "Raises" not in imbalance("methods", "loss", "focal").stdout

    def test_papers_come_from_the_docstring(self):
        papers = value_of("loss", "logit_adjustment")["papers"]
        assert [paper["cited"] for paper in papers] == ["Menon et al., 2021", "Ren et al., 2020"]
        assert papers[0] | {"cited": ""} == {
            "cited": "",
            "title": "Long-Tail Learning via Logit Adjustment",
            "link": "https://arxiv.org/abs/2007.07314",
        }

    def test_conflicts_are_told_from_both_sides(self):
        told = value_of("class_weights", "inverse")["conflicts"]
        assert any(conflict["setting"] == "loss" and "logit_adjustment" in conflict["values"] for conflict in told)
        (told,) = value_of("loss", "ldam")["conflicts"]
        assert (told["setting"], told["values"], told["refused"]) == ("model.classifier", ["linear"], False)
        assert any(
            (told["own"], told["setting"], told["values"]) == ("with classifier linear", "loss", ["ldam"])
            for told in value_of("model", "cnn")["conflicts"]
        )

    def test_what_is_refused_is_told_as_that(self):
        (told,) = [
            each for each in value_of("refit", "tau_normalisation")["conflicts"] if each["setting"] == "resample"
        ]
        assert told["refused"] and told["values"] == ["any but none"]
        assert (
            "Refused with resample any but none: tau_norm" in imbalance("methods", "refit", "tau_normalisation").stdout
        )
        text = " ".join(imbalance("methods", "model", "cnn").stdout.split())
        assert "With classifier cosine, refused with refit lws: lws learns" in text
        assert "Refused with batch_size 1: batch norm" in text

    def test_what_is_decided_for_the_whole_run_is_told_as_refused_in_a_stage(self):
        told = "Refused in a stage: it is decided once for the whole run."
        for words in (["refit", "crt"], ["model", "cnn"], ["aid", "ema"], ["aid", "dropout"]):
            assert told in imbalance("methods", *words).stdout
        assert told not in imbalance("methods", "aid", "max_norm").stdout

    def test_cmo_is_not_offered_as_a_second_view(self):
        text = imbalance("methods", "mixing", "cmo").stdout
        assert "can be chosen for" not in text and "Refused as second_view: " in text
        assert value_of("mixing", "cmo")["settings"] == ["mixing"]

    def test_a_rising_schedule_is_not_offered_for_the_learning_rate(self):
        assert value_of("schedule", "rising")["settings"] == ["class_weights_schedule", "sampler_schedule"]
        assert "Refused as learning_rate_schedule: it rises" in imbalance("methods", "schedule", "rising").stdout
        assert value_of("schedule", "cosine")["settings"][0] == "learning_rate_schedule"

    def test_a_schedule_is_drawn(self):
        curve = dict(map(tuple, value_of("schedule", "linear")["curve"]))
        assert curve[0.0] == 1 and curve[0.5] == 0.5 and curve[1.0] == 0
        assert "  0.5 0.500 ####################\n" in imbalance("methods", "schedule", "linear").stdout

    def test_a_schedule_that_is_not_0_is_not_drawn_as_0(self):
        assert "\n  0.9 0.0001\n" in imbalance("methods", "schedule", "step").stdout
        assert "\n  1.0 0.000\n" in imbalance("methods", "schedule", "linear").stdout

    def test_a_small_number_is_said_without_powers_of_ten(self):
        assert value_of("aid", "l1")["say"] == {"set": "--set l1=0.00001", "yaml": "l1: 0.00001"}

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
        text = imbalance("methods", "sampler", "under_sampling", "--counts", "5000,50").stdout
        assert "An epoch is 100 images in 1 batch.\n" in text

    def test_the_numbers_of_a_column_stand_under_each_other(self):
        lines = imbalance("methods", "class_weights", "inverse", "--counts", 5000, 50).stdout.splitlines()
        assert lines[-3:] == [
            "class  images  weight  share of the loss",
            "0       5,000   0.505            50.00 %",
            "1          50  50.500            50.00 %",
        ]

    def test_no_share_that_is_more_than_none_is_shown_as_none(self):
        text = imbalance("methods", "loss", "cross_entropy", "--counts", 1_000_000, 5).stdout
        assert " 99.9995 % " in text and " 0.0005 % " in text

    def test_logits_are_told_in_three_decimals_however_near_to_0_one_of_them_is(self):
        told = Effect({"bias": [1.0002, -1.0, -0.0004]})
        rows = explained("aid", "bias_from_prior", {"a": 3, "b": 1, "c": 2}, told).splitlines()[-3:]
        assert [row.split()[-1] for row in rows] == ["1", "-1", "0"]

    def test_losses_pull_as_many_images_do_at_the_start(self):
        for name in ("cross_entropy", "focal"):
            told = effect("loss", name, "--counts", 5000, 50)
            assert told["share of the gradient"] == pytest.approx([5000 / 5050, 50 / 5050])

    def test_losses_that_allow_for_the_prior_pull_evenly(self):
        # at logits 0 the adjusted ones are the log prior, so p_0 = 5000/5050; an image of class 0 pulls by 1 - p_0
        told = effect("loss", "logit_adjustment", "--counts", 5000, 50)
        assert told["share of the gradient"] == pytest.approx([0.5, 0.5])
        assert told["uninformative logit"] == pytest.approx([0, 0], abs=1e-6)

    @pytest.mark.parametrize("loss", ["auc_margin", "pairwise_hinge"])
    @pytest.mark.parametrize("counts", [(5000, 50), (806, 100_000)])  # not whole in the batch that stands for them
    def test_losses_that_compare_examples_weigh_the_classes_alike(self, loss, counts):
        assert effect("loss", loss, "--counts", *counts)["share of the gradient"] == pytest.approx([0.5, 0.5])

    def test_a_loss_that_draws_at_random_is_shown_by_its_mean(self):
        # a common image pulls only where the rare class is not left out, 1 time in 10: so 500 to 50
        told = effect("loss", "equalization", "--counts", 5000, 50)
        assert told["share of the gradient"] == pytest.approx([10 / 11, 1 / 11])
        assert told["uninformative logit"] == pytest.approx([math.log(10) / 2, -math.log(10) / 2], abs=1e-5)
        # of three classes two are rare, and 2, 1 or none of the others are left out
        one, two = math.sqrt(1 / 2), math.sqrt(2 / 3)
        pulls = [5000 * (0.18 * one + 0.01 * two), *(images * (0.9 * one + 0.1 * two) for images in (500, 50))]
        told = effect("loss", "equalization", "--counts", 5000, 500, 50)["share of the gradient"]
        assert told == pytest.approx([pull / sum(pulls) for pull in pulls], abs=0.002)

    def test_uninformative_logits_are_the_log_prior_of_cross_entropy(self):
        told = effect("loss", "cross_entropy", "--counts", 5000, 50)["uninformative logit"]
        assert told[0] - told[1] == pytest.approx(4.60517, abs=1e-4)  # log 100

    def test_options_change_the_effect(self):
        told = effect("loss", "logit_adjustment", "--counts", 5000, 50, "--set", "loss.tau=0")
        assert told["share of the gradient"] == pytest.approx([5000 / 5050, 50 / 5050])
        told = effect("class_weights", "costs", "--set", "class_weights.costs=[1,10]", "--counts", 50, 5)
        assert told["share of the loss"] == pytest.approx([0.5, 0.5])

    def test_uninformative_logits_are_free_of_the_noise_of_the_search(self):
        told = effect("loss", "logit_adjustment", "--counts", 5000, 50)
        assert told["uninformative logit"] == [0, 0]

    def test_mixing_tells_whose_labels_the_loss_sees(self):
        told = effect("mixing", "cmo", "--counts", 5000, 50, "--set", "mixing.probability=1")
        assert told["drawn as partner"] == pytest.approx([2525, 2525])
        # E[(s - s^2/4)^2] for s^2 uniform: 1/2 - 1/2 * 2/5 + 1/16 * 1/3 of an image is its partner's
        pasted = 1 / 2 - 1 / 5 + 1 / 48
        assert told["share of the labels"][1] == pytest.approx((1 - pasted) * 50 / 5050 + pasted / 2)
        told = effect("mixing", "mixup", "--counts", 5000, 50)
        assert told["share of the labels"] == pytest.approx(told["share of the images"])
        assert "drawn as partner" not in told
        assert effect("mixing", "remix", "--counts", 5000, 50)["share of the labels"][1] > 50 / 5050

    def test_resampling_tells_the_class_counts_that_it_aims_at(self):
        told = effect("resample", "smote", "--counts", 400, 40, 100, "--set", "resample.ratio=0.5")
        assert told["new"] == [0, 160, 100] and told["then"] == [400, 200, 200]
        told = effect("resample", "near_miss", "--counts", 400, 40, 100, "--set", "resample.ratio=0.5")
        assert told["then"] == [80, 40, 80] and "new" not in told
        assert "needs more than 5 images of a class" in complaint("methods", "resample", "smote", "--counts", 50, 4)
        assert "depends on images and network" in imbalance("methods", "tomek_links", "--counts", 50, 4).stdout

    def test_training_aids_tell_what_follows_from_the_counts(self):
        told = effect("aid", "augment_rarer", "--counts", 5000, 50, "--set", "augment_rarer=1")
        assert told["share changed"] == pytest.approx([0.01, 1])
        told = effect("aid", "bias_from_prior", "--counts", 5000, 50)
        assert told["bias"] == pytest.approx([math.log(100) / 2, -math.log(100) / 2], abs=1e-4)
        # as its formula has it: the log of the class's share, less the mean of these logs
        assert value_of("aid", "bias_from_prior")["formula"] == ["bias_j = log pi_j - mean_k log pi_k"]

    @pytest.mark.parametrize("aid", ["label_smoothing", "warmup", "mixing_until", "l1", "weight_decay", "dropout"])
    def test_training_aids_that_know_no_class_say_so(self, aid):
        assert value_of("aid", aid, "--counts", 5000, 50)["effect"]["notes"] == [
            "It does the same whatever the class counts."
        ]

    @pytest.mark.parametrize(("kind", "name"), [each for each in EVERY_METHOD if each != ("class_weights", "costs")])
    def test_every_method_has_something_to_say_of_them(self, kind, name):
        counts = [500, 6]
        found = effect_of(kind, default_choice(kind, name), counts)
        text = explained(kind, name, {f"class {number}": count for number, count in enumerate(counts)}, found)
        assert max(map(len, text.splitlines())) <= 80
        assert all(math.isfinite(value) for values in found.columns.values() for value in values)
        assert ("class    images" in text) == bool(found.columns)
        assert kind not in ("loss", "class_weights", "sampler") or found.columns
        assert found.columns or "class counts" in " ".join(text.split())


class TestOtherNames:
    def test_a_name_that_others_use_shows_the_method_and_says_so(self):
        lines = imbalance("methods", "loss", "balanced_softmax").stdout.splitlines()
        assert lines[0] == "balanced_softmax is known here as logit_adjustment (tau = 1)."
        assert lines[2] == "loss logit_adjustment"
        assert imbalance("methods", "loss", "Balanced-Softmax").stdout.splitlines()[2] == "loss logit_adjustment"
        assert value_of("mixing", "mamix")["name"] == "margin_mixup"
        assert value_of("mixing", "mamix")["asked"].startswith("mamix is known here as margin_mixup")

    def test_train_names_the_method_but_does_not_take_the_name(self):
        told = complaint("train", "--loss", "balanced_softmax")
        assert told == "--loss: unknown loss 'balanced_softmax'; known here as logit_adjustment (tau = 1)"

    @pytest.mark.parametrize(
        ("said", "name", "option", "value"),
        [("recall>=0.95", "recall_at_least", "recall", 0.95), ("fpr<=0.2", "fpr_at_most", "fpr", 0.2)]
        + [("f2", "f_beta", "beta", 2.0)],
    )
    def test_the_short_form_of_a_criterion_shows_what_it_is_short_for(self, said, name, option, value):
        shown = value_of("threshold_by", said)
        assert shown["name"] == name and shown["say"]["yaml"] == f"threshold_by: {{name: {name}, {option}: {value:g}}}"
        text = imbalance("methods", said).stdout
        assert text.splitlines()[0] == f"{said} is short for {name} with {option} {value:g}."

    def test_a_name_alone_is_enough_where_one_kind_has_it(self):
        assert imbalance("methods", "ema").stdout == imbalance("methods", "aid", "ema").stdout
        text = imbalance("methods", "focal", "--counts", 5000, 50, "--set", "loss.gamma=5").stdout
        assert text == imbalance("methods", "loss", "focal", "--counts", 5000, 50, "--set", "loss.gamma=5").stdout

    def test_a_name_of_several_kinds_is_told_with_them(self):
        told = complaint("methods", "max_norm")
        assert told == (
            "max_norm is a method of more than one kind; say which: "
            "imbalance methods refit max_norm, imbalance methods aid max_norm"
        )


class TestTrainingAids:
    def test_type_limits_and_default_are_those_of_the_experiment(self):
        options = value_of("aid", "sam_radius")["options"]
        assert options["sam_radius"] == {"values": "number 0 to 10", "default": 0.0}
        assert options["sam_classes"] == {"values": "all or rare", "default": "all"}
        assert value_of("aid", "early_stopping")["options"]["early_stopping"]["values"] == (
            "whole number at least 1 or null"
        )
        assert value_of("aid", "dropout")["options"]["model.dropout"]["default"] == 0.0
        assert value_of("aid", "second_view")["options"]["second_view"]["values"] == "a method of mixing"

    def test_options_of_several_methods_name_these(self):
        told = "loss.label_smoothing is an option of loss cross_entropy, "
        assert told in imbalance("methods", "aid", "label_smoothing").stdout

    def test_a_method_with_another_default_has_its_own(self):
        options = value_of("aid", "label_smoothing")["options"]
        assert {name: option["default"] for name, option in options.items()} == {
            "loss.label_smoothing": 0.0,
            "loss.label_smoothing of asymmetric": 0.1,
        }
        for aid in AIDS:
            options = value_of("aid", aid.name)["options"]
            for setting in aid.settings:
                kind, _, option = setting.partition(".")
                for name in aid.methods(setting):
                    own = options.get(f"{setting} of {name}", options[setting])
                    assert own["default"] == EVERY_REGISTRY[kind].get(name).options[option].default

    def test_label_smoothing_tells_how_asymmetric_differs(self):
        assert "In asymmetric the share of another class counts less than that, p_j^gamma_negative times" in " ".join(
            imbalance("methods", "aid", "label_smoothing").stdout.split()
        )

    def test_a_second_setting_shows_its_aid(self):
        assert value_of("aid", "sam_classes")["name"] == "sam_radius"


class TestMistakes:
    @pytest.mark.parametrize(
        ("args", "told"),
        [
            (["lss", "focal"], "unknown kind of method 'lss'; did you mean 'loss'?"),
            (["loss", "focall"], "unknown loss 'focall'; did you mean 'focal'?"),
            (["loss", "--counts", 5, 5], "--counts and --set are about one method"),
            (["loss", "focal", "--counts", 5], "--counts: give the images of two classes or more"),
            (["loss", "focal", "--counts", 0, 0], "--counts: give the images of two classes or more"),
            (["loss", "focal", "--counts", "many"], "--counts many: expected images of each class"),
            (["loss", "focal", "--counts", "a=1", "a=2"], "--counts: class 'a' is given twice"),
            (["loss", "focal", "--set", "loss.gamma=500"], "loss.gamma must be at most 100; got 500"),
            (["loss", "focal", "--set", "sampler.q=1"], "--set sampler.q: give an option of focal, as in loss.OPTION"),
            (
                ["class_weights", "costs", "--counts", 5, 5],
                "must be given: one cost per class, as in --set 'class_weights.costs=[1, 20]'",
            ),
            (["foccal"], "no kind or method is called 'foccal'; did you mean 'focal'?"),
            (["lss"], "no kind or method is called 'lss'; did you mean 'loss'?"),
            (["xyzzy"], "no kind or method is called 'xyzzy'; known: model, loss, "),
            (["mine.py:my_loss"], "mine.py:my_loss: say its kind too, as in imbalance methods loss mine.py:my_loss"),
            (["loss", "softmax_balanced"], "unknown loss 'softmax_balanced'"),
            (["aid", "emma"], "unknown aid 'emma'; did you mean 'ema'?"),
            (["aid", "ema", "--set", "ema=2"], "ema must be less than 1; got 2"),
            (["aid", "sam_radius", "--set", "ema=0.9"], "--set ema: give sam_radius or sam_classes"),
            (["threshold_by", "auc"], "threshold_by: auc looks at the order of the images alone"),
            (["auroc"], "threshold_by: auroc looks at the order of the images alone"),
        ],
    )
    def test_are_one_line(self, args, told):
        assert told in complaint("methods", *args)


@pytest.mark.parametrize("args", [[], ["loss"], ["loss", "focal"], ["schedule", "cosine"], ["aid"], ["ema"]])
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
