"""Names to functions: a method's keyword-only parameters are its options, its docstring is its catalogue entry."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from imbalance_cli.errors import SettingError, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Method(Generic[F]):
    """A registered function, with what its signature and docstring say."""

    kind: str
    name: str
    function: F

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @cached_property
    def options(self) -> dict[str, inspect.Parameter]:
        """The keyword-only parameters: name to parameter, its annotation evaluated."""
        found = {}
        for name, parameter in inspect.signature(self.function).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                annotation = parameter.annotation
                if isinstance(annotation, str):  # `from __future__ import annotations`; tensors stay unevaluated
                    annotation = eval(annotation, self.function.__globals__)
                found[name] = parameter.replace(annotation=annotation)
        return found

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

    def register(self, function: F) -> F:
        """Decorator: add `function` under its own name."""
        name = function.__name__
        if name in self._methods:
            raise ValueError(f"two methods of kind {self.kind} are called {name}")
        self._methods[name] = Method(self.kind, name, function)
        return function

    def __iter__(self) -> Iterator[Method[F]]:
        return iter(self._methods.values())

    def names(self) -> list[str]:
        return list(self._methods)

    def get(self, name: str) -> Method[F]:
        """The method called `name`. Raises SettingError with the nearest name."""
        if name not in self._methods:
            raise SettingError(f"unknown {self.kind} {name!r}{did_you_mean(name, self._methods)}")
        return self._methods[name]

    def having(self, option: str) -> list[str]:
        """The names of the methods that take `option`."""
        return [method.name for method in self if option in method.options]

    def bind(self, choice: Mapping[str, Any]) -> F:
        """The function that `choice` ({name: ..., option: value, ...}, validated) describes."""
        options = {key: value for key, value in choice.items() if key != "name"}
        return partial(self.get(choice["name"]).function, **options)  # type: ignore[return-value]
