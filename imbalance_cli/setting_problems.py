"""What is wrong with an experiment's settings, in words: pydantic's problems, one line each."""

from __future__ import annotations

from collections.abc import Mapping
from reprlib import Repr
from typing import Any

from pydantic import ValidationError

from imbalance_cli.errors import did_you_mean
from imbalance_cli.registry import Registry

Registries = Mapping[str, Registry[Any]]

_SHORT = Repr()
_SHORT.maxlevel = 3
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 20
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 130  # of which `shown` cuts the end


def problems_of(
    error: ValidationError,
    raw: dict[str, Any],
    sources: dict[str, str],
    registries: Registries,
    known: Mapping[str, list[str]],
) -> list[str]:
    """One line a wrong setting: place, name, what is expected, what was given.

    raw: what was validated; sources: where each setting comes from; registries: those of the settings that name a
    method; known: the settings, those of the data under "data" and all others under "".
    """
    lines = []
    grouped: dict[tuple[str, ...], list[Any]] = {}
    for problem in error.errors(include_url=False):
        # What concerns several settings has no place of its own, except in the stages, which name it themselves.
        location = tuple(str(part) for part in problem["loc"]) or ("stages",)
        depth = {"data": 2, "augment": 3}.get(location[0], 2 if location[0] in registries else 1)
        if problem["type"] == "extra_forbidden":
            depth = len(location)
        grouped.setdefault(location[:depth], []).append(problem)
    for location, problems in grouped.items():
        place, name = place_of(location, sources)
        if problems[0]["type"] == "extra_forbidden":
            lines.append(place + _unknown(name, location, raw, registries, known))
        elif problems[0]["type"] == "value_error":
            named = "" if location == ("stages",) else f"{name}: "
            lines.append(f"{place}{named}{problems[0]['ctx']['error']}")
        else:
            expected = " or ".join(dict.fromkeys(wanted(problem) for problem in problems))
            given = _value_at(raw, location)
            lines.append(f"{place}{name} must be {expected}; got {shown(given)}")
    return lines


def place_of(location: tuple[str, ...], sources: dict[str, str]) -> tuple[str, str]:
    """How a message about a setting begins: the line of the file, if it has one, and what the user calls it."""
    name = ".".join(location)
    source = sources.get(name) or sources.get(location[0])
    if source is None or source.startswith("--set"):
        return "", name
    return ("", source) if source.startswith("--") else (f"{source}: ", name)


def _unknown(
    name: str,
    location: tuple[str, ...],
    raw: dict[str, Any],
    registries: Registries,
    known: Mapping[str, list[str]],
) -> str:
    key = location[0]
    if len(location) == 2 and key in registries:
        registry = registries[key]
        chosen = raw[key]["name"]
        having = registry.having(location[1])
        if having:
            return f"{name} has no use with {chosen}; it is an option of {', '.join(having)}"
        if not registry.get(chosen).options:
            return f"unknown setting {name!r}; {chosen} has no options"
        options = [
            *registry.get(chosen).options,
            *(option for method in registry for option in method.options),
        ]
        return f"unknown setting {name!r}{did_you_mean(name, [f'{key}.{option}' for option in options])}"
    of_data = [f"data.{field}" for field in known["data"]]
    if location[0] == "data":
        return f"unknown setting {name!r}{did_you_mean(name, of_data)}"
    nested = [other for other in of_data if other.endswith(f".{name}")]
    having = [key for key, registry in registries.items() if registry.having(name)]
    having.sort(key=lambda key: not _takes(raw.get(key), registries[key], name))
    nested += [f"{key}.{name}" for key in having]
    if nested:
        return f"unknown setting {name!r}; did you mean {nested[0]!r}?"
    return f"unknown setting {name!r}{did_you_mean(name, known[''])}"


def _takes(given: Any, registry: Registry[Any], option: str) -> bool:
    """Whether the method that is `given`, with options or without, has one called `option`."""
    chosen = given.get("name") if isinstance(given, Mapping) else given
    return isinstance(chosen, str) and chosen in registry and option in registry.get(chosen).options


def wanted(problem: Any) -> str:
    """What would have been right instead of the value that pydantic's `problem` is about."""
    limits = problem.get("ctx", {})
    match problem["type"]:
        case "int_type" | "int_from_float" | "int_parsing":
            return "a whole number"
        case "float_type" | "float_parsing":
            return "a number"
        case "finite_number":
            return "a finite number"
        case "bool_type":
            return "true or false"
        case "string_type":
            return "text (put quotes around true, false and numbers)"
        case "list_type":
            return "a list, as in [a, b]"
        case "dict_type" | "model_type":
            return "a group of settings, key: value"
        case "greater_than_equal":
            return f"at least {_limit(limits['ge'])}"
        case "greater_than":
            return f"more than {_limit(limits['gt'])}"
        case "less_than_equal":
            return f"at most {_limit(limits['le'])}"
        case "less_than":
            return f"less than {_limit(limits['lt'])}"
        case "literal_error":
            return f"{limits['expected']}"
        case "string_pattern_mismatch":
            return "auto, cpu, cuda, cuda:N or mps"
        case "none_required":
            return "null"
        case _:
            return str(problem["msg"])


def _limit(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _value_at(raw: Any, location: tuple[str, ...]) -> Any:
    for part in location:
        raw = raw[int(part)] if isinstance(raw, list) else raw[part] if isinstance(raw, dict) else raw
    return raw


def shown(value: Any) -> str:
    """`value` in at most 60 characters, in about as much work, however much it holds."""
    text = _SHORT.repr(value) if not isinstance(value, bool) else f"{str(value).lower()} (quote it if you mean text)"
    return text if len(text) <= 60 else text[:57] + "..."
