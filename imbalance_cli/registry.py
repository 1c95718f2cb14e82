"""Names to functions: a method's keyword-only parameters are its options, its docstring is its catalogue entry."""

import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from imbalance_cli.docstrings import Description, describe
from imbalance_cli.errors import SettingError, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel

F = TypeVar("F", bound=Callable[..., Any])

RESERVED = ("name", "sha256")  # what a choice says beside the options: the method, and of a user's own the file

_OWN = re.compile(r".+\.py(:.*)?", re.DOTALL)


def is_own(name: str) -> bool:
    """Whether `name` is that of a user's own method, which stands in a file, as in mylosses.py:my_loss."""
    return _OWN.fullmatch(name) is not None


def full_name(name: str, folder: Path = Path()) -> str:
    """`name`, of a user's own method with the absolute path of its file, which is told from `folder`."""
    return os.path.abspath(folder / os.path.expanduser(name)) if is_own(name) else name


def short_name(name: str) -> str:
    """The name of a method alone, without the file of a user's own."""
    return name.rpartition(":")[2]


def as_said(name: str) -> str:
    """`name` in the form in which names are compared: Balanced-Softmax is balanced_softmax."""
    return name.lower().replace("-", "_").replace(" ", "_")


class Described(Protocol):
    """What has a name and a description."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> Description: ...


D = TypeVar("D", bound=Described)


def known_as(entries: Iterable[D], name: str) -> tuple[D, str] | None:
    """Which of `entries` others call `name`, and how it is said here: `logit_adjustment (tau = 1)`."""
    for entry in entries:
        for other, note in entry.description.also_known_as.items():
            if as_said(name) == as_said(other):
                return entry, f"{entry.name} ({note})" if note else entry.name
    return None


@dataclass(frozen=True)
class Method(Generic[F]):
    """A registered function, with what its signature and docstring say."""

    kind: str
    name: str
    function: F

    @cached_property
    def description(self) -> Description:
        """What the docstring says."""
        return describe(inspect.getdoc(self.function) or "")

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.description.summary

    @cached_property
    def options(self) -> dict[str, inspect.Parameter]:
        """The keyword-only parameters: name to parameter, its annotation evaluated."""
        found = {}
        for name, parameter in inspect.signature(self.function).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                annotation = parameter.annotation
                if isinstance(annotation, str):  # `from __future__ import annotations`; tensors stay unevaluated
                    annotation = eval(annotation, inspect.unwrap(self.function).__globals__)
                found[name] = parameter.replace(annotation=annotation)
        return found

    @cached_property
    def inputs(self) -> list[str]:
        """The names of what the method is given, options left out."""
        parameters = inspect.signature(self.function).parameters.values()
        return [each.name for each in parameters if each.kind is not inspect.Parameter.KEYWORD_ONLY]

    @cached_property
    def schema(self) -> "type[BaseModel]":
        """A pydantic model of the options: strict types, finite numbers, no other names."""
        from pydantic import ConfigDict, create_model

        config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

        fields: dict[str, Any] = {name: (option.annotation, option.default) for name, option in self.options.items()}
        return create_model(self.name, __config__=config, **fields)


class Registry(Generic[F]):
    """The methods of one kind, by name, in the order of their definition."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._methods: dict[str, Method[F]] = {}
        self._own: dict[str, Method[F]] = {}  # users', found by name, but in no list

    def register(self, function: F) -> F:
        """Decorator: add `function` under its own name."""
        name = function.__name__
        if name in self._methods:
            raise ValueError(f"two methods of kind {self.kind} are called {name}")
        self._methods[name] = Method(self.kind, name, function)
        return function

    def adopt(self, method: Method[F]) -> None:
        """Let `method`, a user's own, be found by its name."""
        self._own[method.name] = method

    def __contains__(self, name: str) -> bool:
        return name in self._methods or name in self._own

    def __iter__(self) -> Iterator[Method[F]]:
        return iter(self._methods.values())

    def names(self) -> list[str]:
        return list(self._methods)

    def get(self, name: str) -> Method[F]:
        """The method called `name`. Raises SettingError with the nearest name.

        No file is run for it: of a user's own methods those are found that were loaded (see `own_methods`).
        """
        if name in self._own:
            return self._own[name]
        if is_own(name):
            raise SettingError(
                f"{self.kind} {name}: only a command that is given this name runs its file; "
                "try: imbalance train RUN/config.yaml"
            )
        if name not in self._methods:
            known = self.known_as(name)
            hint = f"; known here as {known[1]}" if known else did_you_mean(name, self._methods)
            raise SettingError(f"unknown {self.kind} {name!r}{hint}")
        return self._methods[name]

    def known_as(self, name: str) -> tuple[Method[F], str] | None:
        """The method that others call `name`, and how it is said here: `logit_adjustment (tau = 1)`."""
        return known_as(self, name)

    def having(self, option: str) -> list[str]:
        """The names of the methods that take `option`."""
        return [method.name for method in self if option in method.options]

    def bind(self, choice: Mapping[str, Any]) -> F:
        """The function that `choice` ({name: ..., option: value, ...}, validated) describes."""
        options = {key: value for key, value in choice.items() if key not in RESERVED}
        return partial(self.get(choice["name"]).function, **options)  # type: ignore[return-value]
