"""How a user says which method he wants: by flags of `imbalance train`, by --set, in a configuration file."""

from __future__ import annotations

import shlex
from collections.abc import Container
from decimal import Decimal
from typing import Any

from imbalance_cli.catalogue import TO_BE_GIVEN, Entry, default_names
from imbalance_cli.config import DEFAULT_NAMES
from imbalance_cli.training_aids import AIDS

# What a setting, or one of its methods, is of no use without, and what to set that to.
NEEDED: dict[str | tuple[str, str], dict[str, Any]] = {
    "resample": {"refit": "crt"},
    "second_view": {"mixing": "mixup"},
    "class_weights_schedule": {"class_weights": "effective_number"},
    ("loss", "ldam"): {"model.classifier": "cosine"},
    ("optimizer", "adamw"): {"learning_rate": 0.001},
}


def needed(setting: str, name: str) -> dict[str, Any]:
    """The settings without which method `name` of `setting` is of no use."""
    return {} if name == "none" else NEEDED.get(setting, {}) | NEEDED.get((setting, name), {})


def ways_to_say(entry: Entry, flags: Container[str]) -> dict[str, str]:
    """How to choose the method, each way by its name. flags: the parameters of train."""
    setting, options = entry.settings[0], _options(entry)
    if entry.kind.name == "augment":
        chosen = _flow(
            [*(name for name in default_names(setting) if name != entry.name), {"name": entry.name, **options}]
        )
        return {"set": shlex.join(["--set", f"{setting}={chosen}"]), "yaml": f"{setting}: {chosen}"}
    also = needed(setting, entry.name)
    if entry.kind.name == AIDS.kind:
        said = also | {setting: AIDS.get(entry.name).settings[setting]}
    else:
        said = also | {setting: entry.name} | {f"{setting}.{name}": value for name, value in options.items()}
    ways = {}
    if setting in flags:
        words = [f"--{setting.replace('_', '-')}", entry.name]
        for name, value in options.items():
            known = setting == "loss" and name in flags
            words += [f"--{name}", _flow(value)] if known else ["--set", f"{setting}.{name}={_flow(value)}"]
        words += [word for key, value in also.items() for word in ("--set", f"{key}={_flow(value)}")]
        ways["flags"] = shlex.join(words)
    ways["set"] = " ".join(f"--set {shlex.quote(f'{key}={_flow(value)}')}" for key, value in said.items())
    ways["yaml"] = "\n".join(f"{key}: {_flow(value)}" for key, value in _document(said).items())
    return ways


def _options(entry: Entry) -> dict[str, Any]:
    """Those that were given; else the first that has a value by default, or one that has to be given."""
    values = {option.name: TO_BE_GIVEN.get(option.name, option.default) for option in entry.options}
    return entry.given or dict([each for each in values.items() if each[1] is not None][:1])


def _document(said: dict[str, Any]) -> dict[str, Any]:
    """`{model.classifier: cosine}` as `{model: {name: cnn, classifier: cosine}}`."""
    document: dict[str, Any] = {}
    for key, value in said.items():
        setting, _, option = key.partition(".")
        if option:
            choice = document.get(setting, DEFAULT_NAMES[setting])
            document[setting] = (choice if isinstance(choice, dict) else {"name": choice}) | {option: value}
        else:
            document[setting] = value
    return document


def _flow(value: Any) -> str:
    """`value` as YAML in one line."""
    if isinstance(value, dict):
        inner = ", ".join(f"{key}: {_flow(each)}" for key, each in value.items())
        return f"{{{inner}}}" if len(value) > 1 else _flow(value["name"])
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{Decimal(f'{value:g}'):f}" if isinstance(value, float) else str(value)  # 0.00001 rather than 1e-05
