"""`imbalance methods`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from imbalance_cli.catalogue import Kind


def methods(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="As in loss; without one, all kinds.")] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="As in focal, or your own: mylosses.py:my_loss.")
    ] = None,
    counts: Annotated[
        list[str] | None,
        typer.Option(metavar="N ...", help="Images of each class: what the method does on such data."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option, as in loss.gamma=5.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List and explain every loss, sampler, augmentation and other method.

    Example: imbalance methods loss focal --counts 5000 50
    """
    from imbalance_cli import catalogue, catalogue_report
    from imbalance_cli.cli.output import Output
    from imbalance_cli.cli.train import train
    from imbalance_cli.errors import SettingError

    out = Output(as_json=as_json)
    width = out.stdout.width
    if (counts or settings) and (kind is None or name is None):
        raise SettingError("--counts and --set are about one method: imbalance methods loss focal --counts 5000 50")
    if kind is None:
        out.result(*catalogue_report.kinds_report())
        return
    chosen = catalogue.find_kind(kind)
    if name is None:
        out.result(*catalogue_report.kind_report(chosen, width))
        return
    entry = catalogue.find_entry(chosen, name)
    images = class_images(counts or [])
    choice = _choice(chosen, entry.settings[0], name, settings or [])
    effect = None
    if counts:
        from imbalance_cli.method_effects import effect_of

        effect = effect_of(chosen.name, choice, list(images.values()))
    flags = inspect.signature(train).parameters
    out.result(*catalogue_report.method_report(entry, choice, flags, width, images, effect))


def class_images(values: list[str]) -> dict[str, int]:
    """What `--counts 5000 50` or `--counts airplane=5000 automobile=50` says. Raises SettingError."""
    from imbalance_cli.cli.parsing import class_counts
    from imbalance_cli.errors import SettingError

    if not any("=" in value for value in values):
        for value in values:
            if not value.isdecimal():
                raise SettingError(f"--counts {value}: expected images of each class, as in --counts 5000 50")
        values = [f"{number}={value}" for number, value in enumerate(values)]
    counts = class_counts(values) or {}
    if values and (len(counts) < 2 or not any(counts.values())):
        raise SettingError("--counts: give the images of two classes or more, as in --counts 5000 50")
    return counts


def _choice(kind: Kind, setting: str, name: str, settings: list[str]) -> dict[str, Any]:
    """The method with its options, validated as in a run. Raises SettingError."""
    from imbalance_cli.catalogue import NEEDED
    from imbalance_cli.config import Setting, parse_assignment, resolve
    from imbalance_cli.errors import SettingError

    given = {"name": name}
    for assignment in map(parse_assignment, settings):
        first, *option = assignment.path
        if first not in kind.settings or len(option) != 1:
            raise SettingError(f"{assignment.source}: give an option of {name}, as in {setting}.OPTION=VALUE")
        given[option[0]] = assignment.value
    said = NEEDED.get(setting, {}) | {setting: [given] if kind.name == "augment" else given}
    chosen, _ = resolve(None, [Setting((key,), value, "--set") for key, value in said.items()])
    choice: dict[str, Any] = chosen.augment[0] if kind.name == "augment" else getattr(chosen, setting)
    return choice
