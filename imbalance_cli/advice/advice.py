"""What to try on a data set, what not to, and why; and the study that tries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap
from typing import Any

from imbalance_cli.advice.facts import Facts, half_width
from imbalance_cli.advice.rules import BATCH, RULES, SECTIONS, Rule, epochs_for, smallest_held
from imbalance_cli.config import Experiment
from imbalance_cli.methods.criteria import FEWEST_TO_CHOOSE_ON
from imbalance_cli.strict_yaml import dump_yaml
from imbalance_cli.studies.reading import Flags, read_study
from imbalance_cli.studies.study import STUDY

REFUSED = (
    "; training on a folder or CSV file refuses such data, unless it is told --allow-leak; said to `imbalance advise`, "
    "it is written into the study"
)


@dataclass(frozen=True)
class Advice:
    """A rule that applies, in words for the data at hand; settings: what it puts into the study."""

    rule: Rule
    text: str
    reason: str
    source: str
    settings: dict[str, Any]


def advice_on(facts: Facts) -> list[Advice]:
    """All rules that apply to `facts`, by section."""
    told = words(facts)
    return [
        Advice(
            rule,
            text=rule.text.format_map(told),
            reason=rule.reason.format_map(told),
            source=rule.source.format_map(told),
            settings=rule.study(facts),
        )
        for section in SECTIONS
        for rule in RULES
        if rule.section == section and rule.applies(facts)
    ]


def proposed_study(facts: Facts, advice: Sequence[Advice], base: Mapping[str, Any]) -> dict[str, Any]:
    """The study that `advice` adds up to; base: the settings of every run that the user asked for."""
    name = facts.dataset.rstrip("/").rpartition("/")[2]
    whole: dict[str, Any] = {
        "title": f"What helps on {name}",
        "base": dict(base),
        "methods": {},
        "seeds": 5,
        "metric": "balanced_accuracy",
        "point": "validation",
        "baseline": "cross-entropy",
    }
    for each in advice:
        for key, value in each.settings.items():
            whole[key] = whole[key] | value if isinstance(value, dict) else value
    return whole


def study_text(study: Mapping[str, Any], advice: Sequence[Advice]) -> str:
    """The proposed study as a file, which says where each part of it comes from."""
    lines = ["# Proposed by `imbalance advise`; to run it: imbalance compare FILE"]
    for each in advice:
        parts = [*each.settings.get("methods", {}), *each.settings.get("base", {})]
        parts += [f"{key}: {value}" for key, value in each.settings.items() if not isinstance(value, dict)]
        if parts:
            line = f"# {', '.join(parts)}: {each.source}"
            lines += wrap(line, 100, subsequent_indent="#   ", break_on_hyphens=False)
    return "\n".join([*lines, dump_yaml(study)])


def runs_of(text: str) -> list[tuple[str, Experiment]]:
    """The method and the experiment of each run of the study with that file. Raises SettingError."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / STUDY
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        study, _ = read_study(path, Flags())
    return [(cell.method, cell.experiment) for cell in study.cells()]


def asked_for(experiment: Experiment, *, allow_leak: bool) -> dict[str, Any]:
    """What is not as by default in the data of `experiment`, and in the validation.

    allow_leak: whether the runs are to accept copies, as looking for them does.
    """
    said = experiment.model_dump(include={"data": True, "validation": True}, exclude_defaults=True)
    said["data"] = {name: value for name, value in said["data"].items() if name != "allow_leak"}
    return said | {"data": said["data"] | ({"allow_leak": True} if allow_leak else {})}


def words(facts: Facts) -> dict[str, str]:
    """What the texts of the rules say of the data."""
    held, tested, largest = smallest_held(facts), facts.tested, max(facts.train)
    found = ("in_two_classes", "in_train_and_test", "repeated", "alike")
    return {
        "rarest": facts.classes[facts.rarest],
        "commonest": facts.classes[facts.train.index(largest)],
        "commonest_tested": facts.classes[facts.test.index(max(facts.test))],
        "untested": ", ".join(name for name, count in zip(facts.classes, facts.test, strict=True) if not count),
        "fewest": f"{facts.fewest:,}",
        "every_rare": "the one image" if facts.fewest == 1 else f"all {facts.fewest:,} images",
        "rare_images_are": _number(facts.fewest, "image is", "images are"),
        "training_images_are": _number(facts.fewest, "training image is", "training images are"),
        "found_on_two": " on two classes, not " + str(len(facts.classes)) if len(facts.classes) > 2 else "",
        "refused": "" if facts.built_in else REFUSED,
        "most": f"{largest:,}",
        "images_are": _number(sum(facts.train), "image is", "images are"),
        "classes": str(len(facts.classes)),
        "one_share": f"{1 / facts.fewest:.0%}" if facts.fewest else "all",
        "image_size": str(facts.image_size),
        "times_slower": f"{(facts.image_size / 64) ** 2:.0f}",
        "epochs": str(epochs_for(sum(facts.train))),
        "batch": str(BATCH),
        "steps": _number(-(-sum(facts.train) // BATCH), "batch", "batches"),
        "parameters": "94 thousand",
        "ranking": f"{facts.ranking or 0:.2f}",
        "by_size": f"{facts.ranking_by_size or 0:.2f}",
        "held": str(held),
        "held_words": _number(held, f"validation image of {_least(facts)}", f"validation images of {_least(facts)}"),
        "held_width": f"{half_width(held) * 100:.0f}",
        "needed": str(FEWEST_TO_CHOOSE_ON),
        "test_images": _number(tested, "test image", "test images"),
        "width": f"{half_width(tested) * 100:.0f}",
        "trivial": f"{facts.trivial_accuracy:.1%}",
        "test_most": f"{max(facts.test):,}",
        "test_all": f"{sum(facts.test):,}",
        **{name.removeprefix("in_"): _number(getattr(facts, name).count, "image", "images") for name in found},
        **{f"{name.removeprefix('in_')}_example": " and ".join(getattr(facts, name).example) for name in found},
    }


def _least(facts: Facts) -> str:
    return facts.classes[facts.held_out.index(smallest_held(facts))]


def _number(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
