"""What is refused for its names alone: by the configuration, with the reason that the pages give."""

import pytest
import torch
from torch.nn import BatchNorm2d

from imbalance_cli.config import Experiment, Setting, resolve
from imbalance_cli.conflicts import BATCH_NORM, RULES, AnyBut, conflicts
from imbalance_cli.errors import SettingError
from imbalance_cli.models import MODELS, build_model

# What an AnyBut may be, by its setting.
SOME = {
    "max_norm": 1.0,
    "early_stopping": 3,
    "second_view": "mixup",
    "second_view.partner_power": 0.5,
    "resample": "smote",
    "stages": [{"epochs": 1}],
}
REFUSED = [rule for rule in RULES if rule.cure]


def said(rule, *, value_of=lambda values: values[0]):
    """The settings of an experiment that the rule is about."""
    found = []
    for name, values in rule.settings.items():
        value = SOME[name] if isinstance(values, AnyBut) else value_of(values)
        if name == "second_view.partner_power":
            found += [Setting(("mixing",), "mixup", "test"), Setting(("second_view",), "cmo", "test")]
        found.append(Setting(tuple(name.split(".")), value, "test"))
    return found


@pytest.mark.parametrize("rule", REFUSED, ids=lambda rule: " ".join(rule.settings))
def test_what_a_rule_refuses_is_refused_with_its_reason_and_cure(rule):
    with pytest.raises(SettingError) as raised:
        resolve(None, said(rule))
    assert f"{rule.reason}; {rule.cure}" in str(raised.value)


@pytest.mark.parametrize("rule", REFUSED, ids=lambda rule: " ".join(rule.settings))
def test_a_rule_refuses_no_defaults(rule):
    assert rule.values(dict(resolve(None)[0])) is None


@pytest.mark.parametrize("rule", [rule for rule in RULES if not rule.cure], ids=lambda rule: " ".join(rule.settings))
def test_what_is_only_warned_of_is_taken(rule):
    resolve(None, said(rule))


def test_a_stage_is_refused_in_its_place():
    changes = [Setting(("model", "classifier"), "cosine", "test"), Setting(("stages",), [{"max_norm": 1.0}], "test")]
    with pytest.raises(SettingError, match=r"in stages.0: max_norm: in a cosine classifier the length of a row"):
        resolve(None, changes)


def test_a_stage_without_mixing_may_leave_out_the_second_view_instead():
    changes = [Setting((name,), "mixup", "test") for name in ("mixing", "second_view")]
    with pytest.raises(SettingError, match=r"in stages.0: second_view: .*; set mixing too, or second_view=none$"):
        resolve(None, [*changes, Setting(("stages",), [{"mixing": "none"}], "test")])
    resolve(None, [*changes, Setting(("stages",), [{"mixing": "none", "second_view": "none"}], "test")])


@pytest.mark.parametrize(
    ("source", "place"),
    [("--set early_stopping", "early_stopping: "), ("x.yaml:3", "x.yaml:3: early_stopping: ")],
)
def test_early_stopping_beside_stages_is_told_where_it_is_said(source, place):
    with pytest.raises(SettingError) as raised:
        resolve(None, [Setting(("stages",), [{"epochs": 1}], "x.yaml:1"), Setting(("early_stopping",), 3, source)])
    assert str(raised.value) == f"{place}it would not know which stage to end; leave it out, or leave out stages"


def test_a_reason_says_what_it_is_about_where_no_value_is_named():
    with pytest.raises(SettingError) as raised:
        resolve(None, [Setting(("mixing",), "mixup", "test"), Setting(("second_view",), "cmo", "--second-view")])
    assert str(raised.value).startswith("--second-view: a mixing that draws partners of its own can only be the first")
    (told,) = [each for each in conflicts(["mixing", "second_view"], "cmo", ["partner_power"]) if not each.setting]
    assert told.own == "as second_view" and told.refused
    assert told.reason == "a mixing that draws partners of its own can only be the first view"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: " ".join(rule.settings))
def test_every_setting_of_a_rule_is_one(rule):
    assert {name.partition(".")[0] for name in rule.settings} <= set(Experiment.model_fields)


def test_batch_norm_is_in_the_models_of_which_that_is_said():
    pytest.importorskip("torchvision")
    found = []
    for name in MODELS.names():
        with torch.device("meta"):  # without weights
            model = build_model({"name": name}, 2, 32, 0)
        if any(isinstance(module, BatchNorm2d) for module in model.modules()):
            found.append(name)
    assert found == list(BATCH_NORM)


def test_conflicts_are_told_from_the_side_of_each_setting():
    (told,) = [each for each in conflicts(["loss"], "ldam") if each.setting == "model.classifier"]
    assert (told.own, told.values, told.refused) == ("", ("linear",), False)
    (told,) = [each for each in conflicts(["refit"], "lws") if each.refused]
    assert (told.setting, told.values) == ("model.classifier", ("cosine",))
    owns = {each.own for each in conflicts(["model"], "cnn", ["classifier", "dropout"])}
    assert owns == {"", "with classifier linear", "with classifier cosine"}
    assert [each.own for each in conflicts(["mixing", "second_view"], "mixup", ["alpha"])] == ["as second_view"]
    (told,) = conflicts(["max_norm"], "max_norm")
    assert (told.setting, told.values, told.refused) == ("model.classifier", ("cosine",), True)
