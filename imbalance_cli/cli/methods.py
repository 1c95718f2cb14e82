"""`imbalance methods`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from imbalance_cli.catalogue import Entry
    from imbalance_cli.config import Experiment


def methods(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="As in loss, or the name of a method alone; without one, all kinds."),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="As in focal, or your own: mylosses.py:my_loss.")
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
    """List and explain every loss, sampler and other method.

    Example: imbalance methods loss focal --counts 5000 50
    """
    from imbalance_cli import catalogue, catalogue_report
    from imbalance_cli.cli.output import Output
    from imbalance_cli.cli.parsing import class_images
    from imbalance_cli.cli.train import train
    from imbalance_cli.errors import SettingError

    out = Output(as_json=as_json)
    width = out.stdout.width
    entry = _entry(kind, name)
    if entry is None:
        if counts or settings:
            raise SettingError("--counts and --set are about one method: imbalance methods loss focal --counts 5000 50")
        if kind is None:
            out.result(*catalogue_report.kinds_report())
        else:
            out.result(*catalogue_report.kind_report(catalogue.find_kind(kind), width))
        return
    images = class_images(counts or [])
    choice = _choice(entry, settings or [])
    effect = None
    if counts:
        from imbalance_cli.method_effects import effect_of

        effect = effect_of(entry.kind.name, choice, list(images.values()))
    flags = inspect.signature(train).parameters
    out.result(*catalogue_report.method_report(entry, choice, flags, width, images, effect))


def _entry(kind: str | None, name: str | None) -> Entry | None:
    """The method that is meant, also by its name alone; None if it is a kind, or all of them. Raises SettingError."""
    from imbalance_cli.catalogue import find_entries, find_entry, find_kind, unknown
    from imbalance_cli.errors import SettingError
    from imbalance_cli.registry import is_own

    if kind is None:
        return None
    if name is not None:
        return find_entry(find_kind(kind), name)
    if is_own(kind):
        raise SettingError(f"{kind}: say its kind too, as in imbalance methods loss {kind}")
    try:
        find_kind(kind)
    except SettingError:
        found = find_entries(kind)
        if len(found) > 1:
            ways = ", ".join(f"imbalance methods {entry.kind.name} {kind}" for entry in found)
            raise SettingError(f"{kind} is a method of more than one kind; say which: {ways}") from None
        if not found:
            raise unknown(kind) from None
        return found[0]
    return None


def _choice(entry: Entry, settings: list[str]) -> dict[str, Any]:
    """The method with its options, validated as in a run; of a training aid its settings. Raises SettingError."""
    from imbalance_cli.config import parse_assignment
    from imbalance_cli.errors import SettingError
    from imbalance_cli.training_aids import AIDS
    from imbalance_cli.ways_to_say import needed

    kind, setting = entry.kind, entry.settings[0]
    assignments = list(map(parse_assignment, settings))
    if kind.name == AIDS.kind:
        said = {key: value for key, value in AIDS.get(entry.name).settings.items() if value is not None}
        for assignment in assignments:
            if (key := ".".join(assignment.path)) not in entry.settings:
                raise SettingError(f"{assignment.source}: give {' or '.join(entry.settings)}")
            said[key] = assignment.value
        _resolve(needed(setting, entry.name) | said)
        return {"name": entry.name, **said}
    given = {"name": entry.name, **entry.given}
    for assignment in assignments:
        first, *option = assignment.path
        if first not in kind.settings or len(option) != 1:
            raise SettingError(f"{assignment.source}: give an option of {entry.name}, as in {setting}.OPTION=VALUE")
        given[option[0]] = assignment.value
    chosen = _resolve(needed(setting, entry.name) | {setting: [given] if kind.name == "augment" else given})
    choice: dict[str, Any] = chosen.augment[0] if kind.name == "augment" else getattr(chosen, setting)
    return choice


def _resolve(said: dict[str, Any]) -> Experiment:
    from imbalance_cli.config import Setting, resolve

    return resolve(None, [Setting(tuple(key.split(".")), value, "--set") for key, value in said.items()])[0]
