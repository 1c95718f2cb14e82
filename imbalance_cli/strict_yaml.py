"""YAML without surprises: one document of plain values, with the line of each for error messages."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from imbalance_cli.errors import UserError

Place = tuple[str | int, ...]  # keys and list positions from the top, as in ("stages", 1, "loss")

MAX_DEPTH = 50
MAX_INTEGER = 2**64

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")

_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"([-+]?)0+([0-9]+)")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?")


@dataclass(frozen=True)
class Document:
    """What a YAML text says, and where.

    value: None, bool, int, float, str, and lists and dicts of these; the keys of a dict are always text.
    lines: the line, from 1, of every key and list item.
    """

    value: Any
    lines: dict[Place, int]

    def line(self, *place: str | int) -> int:
        """The line of `place`, or of the nearest thing around it that the text has."""
        while place not in self.lines:
            place = place[:-1]
        return self.lines[place]


def read_yaml(path: Path, *, error: type[UserError], max_bytes: int = 1_000_000) -> Document:
    """Read the YAML file `path` as parse_yaml does. Raises `error`, also if there is no such file."""
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise error(f"{path} is a folder; expected a YAML file")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise error(f"{path} is not a regular file; expected a YAML file")
        if status.st_size > max_bytes:
            raise error(f"{path} has {status.st_size:,} bytes; at most {max_bytes:,} are read")
        content = path.read_bytes()
    except FileNotFoundError:
        raise error(f"there is no file {path}") from None
    except (OSError, ValueError) as problem:  # ValueError: a NUL character in the path
        raise error(f"cannot read {path}: {getattr(problem, 'strerror', None) or problem}") from problem
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not UTF-8 text: byte {problem.start} cannot be read") from None
    return parse_yaml(text, source=str(path), error=error)


def parse_yaml(text: str, *, source: str, error: type[UserError]) -> Document:
    """Read `text`, which came from `source` (a path or a flag, for messages).

    Plain words follow YAML 1.2: `1e-3` is a number; `no`, `on` and `2024-01-01` are text. Raises `error`,
    with the line, for tags, anchors, aliases, repeated keys, several documents, nesting beyond MAX_DEPTH,
    numbers that YAML readers disagree about (`010`, `1:30`), integers beyond 64 bits and broken syntax.
    """
    text = text.removeprefix("\ufeff")
    unprintable = _UNPRINTABLE.search(text)
    if unprintable:
        line = text.count("\n", 0, unprintable.start()) + 1
        code = f"U+{ord(unprintable[0]):04X}"
        raise error(f"{_at(source, line)}: not YAML text: it holds the control character {code}")
    return _Reader(text, source, error).document()


def dump_yaml(value: Any) -> str:
    """YAML that parse_yaml reads back as `value`, a value as in Document; tuples are written as lists.

    Lists of plain values stand in a line, the rest a line each.
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Reader:
    """One pass over a YAML text's parsing events."""

    def __init__(self, text: str, source: str, error: type[UserError]) -> None:
        # libyaml is 20 times faster, but is not always built in, and refuses the escaped surrogates by which
        # Python names files whose names are not UTF-8.
        fast = None if _SURROGATE_ESCAPE.search(text) else getattr(yaml, "CSafeLoader", None)
        self.rows = text.splitlines()
        self.events: Iterator[Any] = yaml.parse(text, Loader=fast or yaml.SafeLoader)
        self.source = source
        self.error = error
        self.lines: dict[Place, int] = {}

    def document(self) -> Document:
        try:
            next(self.events)  # the start of the stream
            if isinstance(next(self.events), yaml.StreamEndEvent):
                raise self.error(f"{self.source} is empty")
            value = self.value(next(self.events), ())
            next(self.events)  # the end of the document
            event = next(self.events)
            if not isinstance(event, yaml.StreamEndEvent):
                raise self.refusal(event, (), "a second document starts; expected one document")
        except yaml.MarkedYAMLError as problem:
            told = "a tab; indent with spaces" if self.is_tab(problem.problem_mark) else problem.problem
            raise self.refusal(problem, (), f"not valid YAML: {told}") from None
        return Document(value, self.lines)

    def is_tab(self, mark: Any) -> bool:
        return any(row[mark.column : mark.column + 1] == "\t" for row in self.rows[mark.line : mark.line + 1])

    def value(self, event: Any, place: Place) -> Any:
        self.lines.setdefault(place, _line(event.start_mark))  # a key's own line where there is a key
        self.check_plain(event, place)
        if isinstance(event, yaml.ScalarEvent):
            try:
                return _plain_value(event.value) if event.implicit[0] else event.value
            except ValueError as problem:
                raise self.refusal(event, place, str(problem)) from None
        if len(place) >= MAX_DEPTH:
            raise self.refusal(event, (), f"nested too deep; at most {MAX_DEPTH} levels are read")
        return self.mapping(place) if isinstance(event, yaml.MappingStartEvent) else self.sequence(place)

    def mapping(self, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            self.check_plain(event, place)
            if not isinstance(event, yaml.ScalarEvent):
                raise self.refusal(event, place, "a list or mapping stands where a key should")
            key = event.value
            here = (*place, key)
            if key in values:
                raise self.refusal(event, here, f"given twice, first in line {self.lines[here]}")
            self.lines[here] = _line(event.start_mark)
            values[key] = self.value(next(self.events), here)
        return values

    def sequence(self, place: Place) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            values.append(self.value(event, (*place, len(values))))
        return values

    def check_plain(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            raise self.refusal(event, place, "anchors and aliases (&, *) are not accepted; repeat the value")
        if getattr(event, "tag", None) is not None:
            raise self.refusal(event, place, f"the tag {event.tag} is not accepted; write a plain value")

    def refusal(self, event: Any, place: Place, problem: str) -> UserError:
        mark = event.problem_mark if isinstance(event, yaml.MarkedYAMLError) else event.start_mark
        name = ".".join(str(part) for part in place)
        name = f"{name if name.isprintable() else repr(name)}: " if name else ""
        return self.error(f"{_at(self.source, _line(mark))}: {name}{problem}")


def _at(source: str, line: int) -> str:
    """A line of the file `source`; a flag has one line only."""
    return source if source.startswith("--") else f"{source}:{line}"


def _line(mark: Any) -> int:
    return int(mark.line) + 1


def _plain_value(text: str) -> Any:
    """The value of an unquoted word. Raises ValueError saying what to write instead."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if zero := _LEADING_ZERO.fullmatch(text):
        decimal = zero[1] + zero[2]
        raise ValueError(f"to some YAML readers {_short(text)} is octal; write {_short(decimal)}, or quote a text")
    if _SEXAGESIMAL.fullmatch(text):
        raise ValueError(f"to some YAML readers {_short(text)} is a time; write one number, or quote a text")
    if _INTEGER.fullmatch(text) or _OTHER_BASE.fullmatch(text):
        number = int(text, 0) if len(text) <= 70 else MAX_INTEGER
        if abs(number) >= MAX_INTEGER:
            raise ValueError(f"{_short(text)} is out of range for a whole number (64 bits)")
        return number
    if _FLOAT.fullmatch(text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"{_short(text)} is out of range for a number")
        return value
    return text


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:12]}... ({len(text)} characters)"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Quote what parse_yaml would not read as text; the emitter quotes the rest that needs it."""
    try:
        style = None if isinstance(_plain_value(text), str) else "'"
    except ValueError:
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if not text.isprintable() else style)


def _represent_list(dumper: yaml.SafeDumper, values: list[Any] | tuple[Any, ...]) -> yaml.Node:
    inline = not any(isinstance(value, dict | list | tuple) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=inline)


def _represent_dict(dumper: yaml.SafeDumper, values: dict[str, Any]) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", values, flow_style=False)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)
_Dumper.add_representer(dict, _represent_dict)
