"""Modules that are imported at their first use, so that `--help` and a mistyped setting never wait for torch."""

from importlib import import_module
from types import ModuleType
from typing import Any


class _LazyModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        module = import_module(self.__name__)
        value = getattr(module, name)
        setattr(self, name, value)  # later look-ups are as fast as in the module itself
        return value


def lazy_import(name: str) -> Any:
    """A stand-in for module `name` that imports it when an attribute is first read."""
    return _LazyModule(name)
