"""How command lines are read: lists side by side, and the values of single options."""

import os
import re
from collections.abc import Sequence
from typing import Any, cast

import typer
from typer.core import TyperCommand

from imbalance_cli.errors import SettingError

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)

KEEPS_COMMAS = ("--set", "--mirror")  # in YAML and in addresses a comma has a meaning of its own
ONE_AT_A_TIME = {"download": "--mirror", "train": "--loss"}  # only repeated, because other words may follow
SETTING_NAMES = {"lr": "learning_rate"}  # of options that have a name of their own
KEYED = ("--vary", "--tune")  # a setting and its values: `--vary loss.gamma 1 2`


class ListCommand(TyperCommand):
    """A command whose list options take their values side by side: `--gamma 0 1 2 5`.

    `--gamma 0 --gamma 1` and `--gamma 0,1` say the same. A list that begins with a number ends at the first word
    that is none; any list ends at an option or `--`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        lists = {flag for parameter in self.params if getattr(parameter, "multiple", False) for flag in parameter.opts}
        one_at_a_time = {ONE_AT_A_TIME.get(str(self.name), "")}
        lists -= one_at_a_time
        single = {
            flag
            for parameter in self.params
            if not getattr(parameter, "multiple", False) and not getattr(parameter, "is_flag", False)
            for flag in parameter.opts
        } | one_at_a_time
        try:
            args = _one_value_each(args, lists, single, complete=not ctx.resilient_parsing)
        except typer.BadParameter as error:
            error.ctx = ctx  # whose --help the message names
            raise
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """As always, but lists are `<path>...`, not `<list[Path]>`."""
        for parameter in cast(list[Any], self.params):
            kind = re.sub(r"<list\[(\w+)\]>", lambda of: f"<{of[1].lower()}>...", parameter.display_type(ctx))
            parameter.display_type = lambda ctx, kind=kind: kind
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        try:
            os.getcwd()
        except OSError as error:  # nor could torch find its own libraries
            raise SettingError("the current folder does not exist any more; go to one that does") from error
        return super().invoke(ctx)


class SettingsCommand(ListCommand):
    """A command whose options are settings of an experiment: its help shows the defaults of those."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from imbalance_cli.config import DEFAULT_NAMES, Experiment

        for parameter in cast(list[Any], self.params):
            name = SETTING_NAMES.get(str(parameter.name), parameter.name)
            if name in Experiment.model_fields and parameter.default is None:
                default = DEFAULT_NAMES.get(name, Experiment.model_fields[name].default)
                parameter.help = f"{parameter.help}  [default: {default}]"
        super().format_help(ctx, formatter)


def _one_value_each(args: list[str], lists: set[str], single: set[str], *, complete: bool) -> list[str]:
    """`args` with `--list a b` written as `--list=a --list=b`, the form that the parser underneath knows."""
    rewritten: list[str] = []
    words = list(args)
    while words:
        word = words.pop(0)
        if word == "--":
            return [*rewritten, word, *words]
        flag, equals, value = word.partition("=")
        if word in single and words:
            rewritten += [word, words.pop(0)]  # its value may look like anything, even a list option
            continue
        if flag not in lists:
            rewritten.append(word)
            continue
        if flag in KEYED and not equals:
            rewritten += _each_with_its_key(flag, words, complete=complete)
            continue
        values = [value] if equals else _take_values(words)
        if flag not in (*KEEPS_COMMAS, *KEYED):
            values = [part for value in values for part in value.split(",") if part]
        if not values and complete:
            raise typer.BadParameter("needs at least one value", param_hint=flag)
        if not values:
            rewritten.append(word)
        rewritten += [f"{flag}={value}" for value in values]
    return rewritten


def _each_with_its_key(flag: str, words: list[str], *, complete: bool) -> list[str]:
    """`--vary key a b` as `--vary=key=a --vary=key=b`, taken from the front of `words`."""
    key = words.pop(0) if words and not words[0].startswith("-") else ""
    key, equals, first = key.partition("=")
    given = ([first] if equals else []) + _take_values(words)
    values = [part for value in given for part in ([value] if set(value) & set("[{\"'") else value.split(",")) if part]
    if complete and not (key and values):
        raise typer.BadParameter("needs a setting and its values, as in loss.gamma 1 2", param_hint=flag)
    return [f"{flag}={key}={value}" for value in values]


def _take_values(words: list[str]) -> list[str]:
    values: list[str] = []
    while words and (not words[0].startswith("-") or _is_number(words[0])):
        if values and _is_number(values[0]) and not _is_number(words[0]):
            break
        values.append(words.pop(0))
    return values


def _is_number(word: str) -> bool:
    return all(_NUMBER.fullmatch(part) for part in word.split(","))


def numbers_or_words(values: Sequence[str], flag: str) -> Any:
    """What `--alpha` says: one value as itself, several as a list; none as None. Raises SettingError."""
    from imbalance_cli.strict_yaml import parse_yaml

    read = [parse_yaml(value, source=flag, error=SettingError).value for value in values]
    read = [None if value == "none" else value for value in read]
    return read[0] if len(read) == 1 else read


def values_by_key(given: Sequence[str] | None, flag: str) -> dict[str, list[Any]]:
    """What `--vary loss.gamma 1 2` says, as often as it is given, the values read as YAML. Raises SettingError."""
    from imbalance_cli.strict_yaml import parse_yaml

    found: dict[str, list[Any]] = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise SettingError(f"{flag} {text}: expected a setting and its values, as in {flag} loss.gamma 1 2")
        found.setdefault(key, []).append(parse_yaml(value, source=f"{flag} {key}", error=SettingError).value)
    return found


def setting_of(option: str) -> str | None:
    """The setting that the unknown `option` names, as `--set` takes it: of `--momentum`, optimizer.momentum."""
    from imbalance_cli.config import REGISTRIES, DataSettings, Experiment

    name = option.lstrip("-").replace("-", "_")
    keys = [*Experiment.model_fields, *(f"data.{field}" for field in DataSettings.model_fields)]
    keys += [f"{key}.{name}" for key, registry in REGISTRIES.items() if registry.having(name)]
    return next((key for key in keys if key.rpartition(".")[2] == name), None)


def class_counts(values: Sequence[str] | None) -> dict[str, int] | None:
    """What `--counts airplane=5000 automobile=50` says. Raises SettingError."""
    if not values:
        return None
    counts: dict[str, int] = {}
    for value in values:
        name, equals, number = value.rpartition("=")
        if not equals or not number.isdecimal() or len(number) > 18 or not name:
            raise SettingError(f"--counts {value}: expected CLASS=N, as in automobile=50")
        if name in counts:
            raise SettingError(f"--counts: class {name!r} is given twice")
        counts[name] = int(number)
    return counts


def class_images(values: list[str]) -> dict[str, int]:
    """What `--counts 5000 50` or `--counts airplane=5000 automobile=50` says. Raises SettingError."""
    if not any("=" in value for value in values):
        for value in values:
            if not value.isdecimal():
                raise SettingError(f"--counts {value}: expected images of each class, as in --counts 5000 50")
        values = [f"{number}={value}" for number, value in enumerate(values)]
    counts = class_counts(values) or {}
    if values and (len(counts) < 2 or not any(counts.values())):
        raise SettingError("--counts: give the images of two classes or more, as in --counts 5000 50")
    return counts
