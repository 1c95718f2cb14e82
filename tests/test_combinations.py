"""Combinations that defeat their purpose: told with their size where it is measured, and only then."""

from itertools import combinations, product

import numpy as np
import pytest
import torch

from imbalance_cli.combinations import NEUTRAL, warnings
from imbalance_cli.config import REGISTRIES, Experiment, Setting, resolve
from imbalance_cli.conflicts import RULES
from imbalance_cli.stages import Stage

IMAGES = {"airplane": 5000, "automobile": 50}
INVERSE = ("class_weights", "inverse")
BALANCED = ("sampler", "class_balanced")
COSINE = ("model.classifier", "cosine")


def told(*assignments, counts=IMAGES):
    settings = [Setting(tuple(key.split(".")), value, "test") for key, value in assignments]
    return list(warnings(resolve(None, settings)[0], counts))


def pair(**parts):
    return {name: {"name": choice} if isinstance(choice, str) else choice for name, choice in parts.items()}.items()


# What corrects twice


def test_a_double_correction_is_named_with_its_size():
    assert told(BALANCED, INVERSE) == [
        "sampler class_balanced and class_weights inverse correct twice: an image that says nothing would be called "
        "automobile 100 times as often as airplane; leave one of them out"
    ]


def test_where_the_counts_are_not_known_an_example_is_told_as_one():
    (line,) = told(BALANCED, INVERSE, counts=None)
    assert "the rarest 100 times as often as the commonest class at 5000 : 50 images; leave" in line


@pytest.mark.parametrize(
    ("parts", "times"),
    [
        (pair(sampler={"name": "at_least", "per_batch": 63}, class_weights="inverse"), "100 times"),
        (pair(mixing="cmo", class_weights="inverse"), "9.7 times"),
        (pair(mixing={"name": "remix", "tau": 1.0}, class_weights="inverse"), "2 times"),
        (pair(loss="equalization", class_weights="inverse"), "10 times"),
        (pair(loss={"name": "focal", "alpha": "counts"}, class_weights="inverse"), "5.5 times"),
        (pair(loss={"name": "focal", "alpha": 0.9}, class_weights="inverse"), "2.3 times"),
        (pair(loss="seesaw", class_weights="inverse"), "2.5 times"),
        (pair(loss="label_aware_smoothing", class_weights="inverse"), "1.9 times"),
        (pair(loss="equalization", sampler={"name": "power", "q": 0.25}), "3.2 times"),
        (pair(loss="logit_adjustment", class_weights="sqrt"), "10 times"),
    ],
)
def test_what_corrects_twice_is_named_whatever_it_is(parts, times):
    (line,) = told(*parts)
    first, second = (f"{name} {choice['name']}" for name, choice in parts)
    assert first in line and second in line and f"automobile {times} as often" in line


@pytest.mark.parametrize(
    "settings",
    [
        [],
        [BALANCED],
        [("sampler", {"name": "power", "q": 0.25}), ("loss", "logit_adjustment")],
        [("sampler", {"name": "power", "q": 1.0}), INVERSE],
        [("sampler", "square_root"), ("class_weights", "sqrt")],
        [("loss", {"name": "logit_adjustment", "tau": 0.0}), INVERSE],
        [("loss", "focal"), INVERSE],
        [("loss", "ldam"), COSINE, INVERSE],
        [("loss", "logit_adjustment"), ("mixing", "remix")],
        [("loss", "vector_scaling"), ("mixing", {"name": "margin_mixup", "omega": 1.0})],
    ],
)
def test_what_belongs_together_is_not_named(settings):
    assert told(*settings) == []


def test_costs_go_with_what_balances_but_the_prior_correction_takes_them_back():
    costs = ("class_weights", {"name": "costs", "costs": [1, 20]})
    (line,) = told(costs, BALANCED)
    assert line.startswith("class_weights costs: the prior-corrected decisions, which are for balanced accuracy, take")
    plain, dear = (Stage(Experiment(**dict(more)), torch.tensor([5000, 50]), 0) for more in ([], [costs]))
    by_cost = np.log(20) / 2  # to either side
    assert dear.uninformative_logits(0) == pytest.approx(plain.uninformative_logits(0) + [-by_cost, by_cost], abs=1e-4)


def test_equal_counts_leave_nothing_to_correct():
    assert told(BALANCED, INVERSE, counts={"airplane": 500, "automobile": 500}) == []


def test_of_three_parts_those_are_named_that_do_it():
    (line,) = told(("loss", "logit_adjustment"), BALANCED, INVERSE)  # the loss allows for what is drawn
    assert line.startswith("sampler class_balanced and class_weights inverse correct twice")
    assert line.endswith("; leave out class_weights inverse")  # without the sampler the loss would take its place
    (line,) = told(("loss", "class_balanced_focal"), BALANCED, INVERSE)
    assert line.startswith(
        "loss class_balanced_focal, sampler class_balanced and class_weights inverse correct 3 times"
    )


@pytest.mark.parametrize(("schedule", "lines"), [("deferred", 1), ("rising", 1), ({"name": "step", "factor": 0.0}, 0)])
def test_what_counts_is_the_end_of_training(schedule, lines):
    assert len(told(BALANCED, INVERSE, ("class_weights_schedule", schedule))) == lines


def test_while_images_are_mixed_counts_too():
    (line,) = told(("mixing", "cmo"), INVERSE)
    assert "correct twice while images are mixed: " in line
    (line,) = told(("mixing", "cmo"), INVERSE, ("mixing_until", 1.0))
    assert "correct twice: " in line


def test_a_stage_is_named_and_told_once():
    stage = {"sampler": "class_balanced"}
    (line,) = told(INVERSE, ("stages", [stage, stage]))
    assert line.startswith("in stages.0: sampler class_balanced and")
    (line,) = told(INVERSE, BALANCED, ("stages", [{"trainable": "classifier"}]))
    assert line.startswith("sampler")


def test_what_does_not_fit_the_classes_is_left_to_who_trains():
    assert told(("sampler", {"name": "at_least", "per_batch": 500}), INVERSE) == []


def test_a_method_of_ones_own_is_measured_and_its_faults_are_left_to_who_trains(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nimport torch.nn.functional as F\n\n\n"
        "def allowing(logits, labels, counts):\n"
        '    """Logit adjustment."""\n'
        "    return F.cross_entropy(logits + counts.log().to(logits), labels, reduction='none')\n\n\n"
        "def averaging(logits, labels, counts):\n"
        '    """No value for each example."""\n'
        "    return F.cross_entropy(logits, labels)\n"
    )
    (line,) = told(("loss", f"{tmp_path}/mine.py:allowing"), INVERSE)
    assert line.startswith("loss allowing and class_weights inverse correct twice")
    assert told(("loss", f"{tmp_path}/mine.py:averaging"), INVERSE) == []


# What makes a method correct by more than by default, or by so little that another can be too much.
OTHERWISE = {
    "at_least": {"per_batch": 30},
    "under_sampling": {"ratio": 0.3},
    "over_sampling": {"ratio": 0.3},
    "equalization": {"tail": 1.0, "ignored": 0.99},
    "seesaw": {"mitigation": 5.0},
    "label_aware_smoothing": {"head": 0.9},
    "cmo": {"probability": 1.0, "partner_power": -2.0},
}


def correct_twice(*settings):
    return any("correct twice" in line for line in told(*settings))


def test_the_catalogue_names_the_pairs_that_correct_twice_by_default_or_with_some_options():
    named = {
        frozenset([(first, one), (second, other)])
        for rule in RULES
        if rule.measured
        for (first, ones), (second, others) in combinations(rule.settings.items(), 2)
        for one, other in product(ones, others)
    }
    methods = [
        (part, name)
        for part, neutral in NEUTRAL.items()
        for name in REGISTRIES[part].names()
        if name not in (neutral, "costs")
    ]
    pairs = {frozenset(two) for two in combinations(methods, 2) if two[0][0] != two[1][0]}
    # Where the loss is not concerned all is checked, and of the losses what they do with the strongest others.
    strongest = {INVERSE, BALANCED, ("sampler", "power"), ("mixing", "cmo")}
    checked = {two for two in pairs if not any(part == "loss" for part, _ in two) or two & strongest}
    by_default = {two for two in checked | named if correct_twice(*two)}
    assert by_default - named == set()

    scheduled = [("sampler_schedule", {"name": "step", "factor": 0.8})]
    for two in named - by_default:
        choices = [[(part, {"name": name, **OTHERWISE.get(name, {})}), (part, name)] for part, name in two]
        tried = product(([], scheduled), product(*choices))
        assert any(correct_twice(*chosen, *schedule) for schedule, chosen in tried), two


# What is no matter of counts


def test_margins_of_cosines_need_a_cosine_classifier():
    (line,) = told(("loss", "ldam"))
    assert "set model.classifier=cosine" in line
    assert told(("loss", "ldam"), COSINE) == []


def test_margins_are_those_that_are_said_only_at_the_scale_of_the_classifier():
    (line,) = told(("loss", {"name": "ldam", "scale": 10.0}), COSINE)
    assert line == (
        "loss ldam with scale 10: the cosine classifier multiplies by 30, so the widest margin is 0.167 in cosine, "
        "not 0.5; leave loss.scale at 30"
    )


# What a training is too short for


def test_a_schedule_that_never_sets_in_is_told():
    deferred = ("class_weights_schedule", "deferred")
    assert told(INVERSE, deferred, ("epochs", 4)) == [
        "class_weights_schedule deferred never sets in: its start 0.8 lies beyond 0.75, where the last of 4 epochs "
        "begins; train for more, or set it lower"
    ]
    assert told(INVERSE, deferred, ("epochs", 5)) == []
    (line,) = told(BALANCED, ("sampler_schedule", "deferred"), ("stages", [{"epochs": 2}]))
    assert line.startswith("in stages.0: sampler_schedule deferred never sets in")


# What does nothing


@pytest.mark.parametrize(
    ("setting", "value", "line", "needed"),
    [
        ("sam_classes", "rare", "sam_classes rare has no effect with sam_radius 0; ", ("sam_radius", 0.05)),
        ("consistency", 2.0, "consistency 2 has no effect with second_view none; ", ("second_view", "cutmix")),
        (
            *(
                "class_weights_schedule",
                "deferred",
                "class_weights_schedule deferred has no effect with class_weights none",
            ),
            INVERSE,
        ),
        (
            *("sampler_schedule", {"name": "step", "factor": 0.5}, "sampler_schedule step has no effect with sampler"),
            BALANCED,
        ),
        ("mixing_until", 0.5, "mixing_until 0.5 has no effect with mixing none; ", ("mixing", "mixup")),
        ("augment_rarer", 0.5, "augment_rarer 0.5 has no effect with augment []; ", ("augment", ["flip"])),
    ],
)
def test_a_setting_that_changes_nothing_is_told(setting, value, line, needed):
    mixed, none = ("mixing", "mixup"), ("augment", [])
    given = [none] * (setting == "augment_rarer") + [mixed] * (setting == "consistency")
    assert told(*given) == []
    (found,) = told(*given, (setting, value))
    assert found.startswith(line)
    assert found.endswith(f"; set {needed[0]} too, or leave {setting} out")
    assert told(*given, needed, (setting, value)) == []
    assert told(("stages", [dict([needed])]), *given, (setting, value)) == []  # what a stage goes on with
    assert told(*given, needed, (setting, value), ("stages", [{needed[0]: OFF.get(needed[0], "none")}])) == []


OFF = {"sam_radius": 0.0, "augment": [], "sampler": "instance"}


@pytest.mark.parametrize(
    ("epochs", "until", "lines"), [(1, None, 1), (2, None, 0), (10, 0.9, 1), (10, 0.8, 0), (20, 0.9, 0), (20, 1.0, 1)]
)
def test_a_search_for_noise_that_has_no_time_is_told(epochs, until, lines):
    mixing = [] if until is None else [("mixing", "mixup"), ("mixing_until", until)]
    found = told(("noise_share", 0.2), ("epochs", epochs), *mixing)
    assert sum(line.startswith("noise_share 0.2 has no effect: ") for line in found) == lines


def test_a_noise_share_that_a_short_training_does_not_reach_is_told():
    assert told(("noise_share", 0.3), ("epochs", 3)) == [
        "noise_share 0.3 gets no further than 0.06: it rises over the first 10 epochs; train for more"
    ]
    assert told(("noise_share", 0.3), ("epochs", 11)) == []


def test_a_mixing_that_never_sets_in_is_told():
    assert told(("mixing", "mixup"), ("mixing_until", 0.0)) == [
        "mixing mixup never sets in: mixing_until is 0; set it to 0.9, say, or leave mixing out"
    ]


def test_a_mixing_that_never_ends_is_told():
    (line,) = told(("mixing", "mixup"), ("epochs", 9))
    assert line == (
        "mixing mixup never ends: mixing_until 0.9 lies beyond 0.889, where the last of 9 epochs begins; "
        "train for more, or set it to 1"
    )
    assert told(("mixing", "mixup"), ("epochs", 10)) == []
    assert told(("mixing", "mixup"), ("epochs", 9), ("mixing_until", 1.0)) == []
    assert told(("epochs", 9)) == []
