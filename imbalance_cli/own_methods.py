"""Methods from a user's own Python file, named `mylosses.py:my_loss` where the name of a built-in one may stand.

A file is run only by `load`, which is for what the user names: on the command line, or in a configuration that he
gives to a command. What a run or a checkpoint records of it, the absolute path and the SHA-256, is enough to evaluate.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Container, Iterator, Mapping
from functools import wraps
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from imbalance_cli.errors import SettingError, UserError, did_you_mean, is_out_of_memory
from imbalance_cli.files import read_file
from imbalance_cli.lazy import lazy_import
from imbalance_cli.own_results import described, fault_of
from imbalance_cli.registry import RESERVED, Method, Registry, full_name, is_own

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

_modules: dict[tuple[Path, str], ModuleType] = {}  # by path and SHA-256: a file is run once


def with_full_names(settings: Any, folder: Path = Path()) -> Any:
    """`settings`, as YAML gives them, with the absolute paths of users' own methods, which they tell from `folder`.

    What they say of the data names no methods.
    """
    if isinstance(settings, dict):
        return {
            key: each if key.partition(".")[0] == "data" else with_full_names(each, folder)
            for key, each in settings.items()
        }
    if isinstance(settings, list):
        return [with_full_names(each, folder) for each in settings]
    return full_name(settings, folder) if isinstance(settings, str) else settings


def load_all(
    settings: dict[str, Any], registries: Mapping[str, Registry[Any]], *, recorded: bool
) -> list[tuple[tuple[str, ...], str]]:
    """Load the methods of users' own that `settings`, as YAML gives them, name, and write in what a run records.

    recorded: whether to run files whose SHA-256 is in the settings already. Returns what is wrong: where, and what.
    """
    faults = []
    for location, holder, key, registry in _named_in(settings, registries):
        if isinstance(holder[key], str) or "sha256" not in holder[key] or recorded:
            try:
                holder[key] = load(registry, holder[key])
            except SettingError as error:
                faults.append((location, str(error)))
    return faults


def load(registry: Registry[Any], choice: str | Mapping[str, Any]) -> dict[str, Any]:
    """Run the file that `choice` names and let `registry` know the function; returns the choice as a run records it.

    choice: `mylosses.py:my_loss`, or {name: that, option: value, ...}, with sha256 if the file must have that one.
    Raises SettingError, one line with the file, for everything that does not fit.
    """
    given = {"name": choice} if isinstance(choice, str) else dict(choice)
    stem, suffix, rest = full_name(given["name"]).rpartition(".py")
    file, function_name = stem + suffix, rest.removeprefix(":")
    if not function_name.isidentifier():
        name = f"{os.path.basename(file)}:my_{registry.kind}"
        raise SettingError(f"{given['name']}: name a function of the file too, as in {name}")
    if registry.kind == "model":
        raise SettingError(f"{given['name']}: a model must be built in, for evaluating a checkpoint runs no file")
    path = Path(file)
    try:
        content = read_file(path)
    except OSError as error:
        raise SettingError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    digest = hashlib.sha256(content).hexdigest()
    if given.get("sha256", digest) != digest:
        raise SettingError(
            f"{path} is no longer the file that was used: its SHA-256 differs; put it back, or, for a new run, "
            "leave out sha256"
        )
    if (path, digest) not in _modules:
        _modules[path, digest] = _run(path, content)
    function = _function(_modules[path, digest], function_name, path)
    place = f"{path}: {function_name}"
    _require_form(function, registry, place)
    name = f"{path}:{function_name}"
    method = Method(registry.kind, name, _telling_its_place(function, registry.kind, name, path))
    _require_options(method, place)
    registry.adopt(method)
    return given | {"name": method.name, "sha256": digest}


def try_loss(loss: Callable[..., Tensor], name: str, counts: Tensor, more: Container[str] = ()) -> None:
    """Raise SettingError unless `loss` gives a finite value and gradient for each example of a tiny batch.

    counts: what the loss will be given, float [classes]; the logits are of their precision and on their device.
    more: whether it is given `features` and `membership` too, as training does where a loss takes them.
    """
    classes = len(counts)
    labels = torch.arange(classes + 1, device=counts.device) % classes  # one more, so that values per class do not fit
    logits = torch.linspace(-1, 1, len(labels) * classes).view(-1, classes).to(counts).requires_grad_()
    extra = {"features": logits.detach().repeat(1, 4), "membership": torch.linspace(0, 1, len(labels)).to(counts)}
    values = loss(logits, labels, counts, **{key: value for key, value in extra.items() if key in more})
    if getattr(values, "shape", None) != labels.shape:
        raise SettingError(
            f"{name} must give one value per example, for {len(labels)} of them a tensor [{len(labels)}]; "
            f"got {described(values)}; with PyTorch's losses: reduction='none'"
        )
    if not values.requires_grad:
        raise SettingError(f"{name} has no gradient: compute it from the logits with PyTorch, without detach or item")
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    for what, found in (("value", values), ("gradient", gradient)):
        if not bool(found.isfinite().all()):
            raise SettingError(f"{name} gives a {what} that is no finite number, at logits between -1 and 1")


def _named_in(
    settings: Any, registries: Mapping[str, Registry[Any]]
) -> Iterator[tuple[tuple[str, ...], Any, Any, Registry[Any]]]:
    """Where `settings` name methods of users' own: the location, the dict or list and the key in it, the registry."""
    if not isinstance(settings, dict):
        return
    for name, registry in registries.items():
        value = settings.get(name)
        if isinstance(value, list):
            for number, item in enumerate(value):
                if _names_file(item):
                    yield (name, str(number)), value, number, registry
        elif _names_file(value):
            yield (name,), settings, name, registry
    stages = settings.get("stages")
    for number, changes in enumerate(stages if isinstance(stages, list) else []):
        for location, holder, key, registry in _named_in(changes, registries):
            yield ("stages", str(number), *location), holder, key, registry


def _names_file(choice: Any) -> bool:
    name = choice.get("name") if isinstance(choice, dict) else choice
    return isinstance(name, str) and is_own(name)


def _run(path: Path, content: bytes) -> ModuleType:
    """The module that `content`, what the file holds, makes. Raises SettingError."""
    module = ModuleType(f"{__name__}.{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look there
    try:
        exec(compile(content, path, "exec"), module.__dict__)
    except SyntaxError as error:
        raise SettingError(f"{path}:{error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise SettingError(f"{_line(error, path)}: {type(error).__name__}: {error}") from error
    return module


def _function(module: ModuleType, name: str, path: Path) -> FunctionType:
    own = {key: value for key, value in vars(module).items() if isinstance(value, FunctionType)}
    public = [key for key, value in own.items() if value.__module__ == module.__name__ and not key.startswith("_")]
    if name not in own:
        raise SettingError(f"{path} has no function {name!r}{did_you_mean(name, public)}")
    return own[name]


def _require_form(function: FunctionType, registry: Registry[Any], place: str) -> None:
    """Raise SettingError unless `function` is given what a built-in method of the kind is given."""
    forms = list(dict.fromkeys(_form(method.function) for method in registry))
    if _form(function) not in forms:
        raise SettingError(
            f"{place} takes {_form(function)}; {registry.kind}: give it {' or '.join(forms)}, and options after a *"
        )
    if not inspect.getdoc(function):
        raise SettingError(f'{place} has no docstring; give it one, as in """What it does, and what for."""')


def _form(function: Callable[..., Any]) -> str:
    """The parameters of `function` that are no options, as in `(logits, labels, counts, features=None)`."""
    parameters = [
        each.replace(annotation=each.empty)
        for each in inspect.signature(function).parameters.values()
        if each.kind is not each.KEYWORD_ONLY
    ]
    return str(inspect.Signature(parameters))


def _require_options(method: Method[Any], place: str) -> None:
    """Raise SettingError unless every option has a type that settings can have and a default of that type."""
    from pydantic import ValidationError
    from pydantic.errors import PydanticUserError

    try:
        options = method.options
        for name, option in options.items():
            if name in RESERVED:
                raise SettingError(f"{place}: no option can be called {name}; rename it")
            if option.annotation is option.empty or option.default is option.empty:
                raise SettingError(f"{place}: option {name} needs a type and a default, as in {name}: float = 1.0")
        method.schema.model_validate({name: option.default for name, option in options.items()})
    except ValidationError as error:
        problem = error.errors()[0]
        raise SettingError(
            f"{place}: the default of option {problem['loc'][0]} is not of its type: {problem['msg'].lower()}"
        ) from error
    except (NameError, AttributeError, SyntaxError, TypeError, PydanticUserError) as error:
        raise SettingError(
            f"{place}: the type of an option is none that settings have ({str(error).splitlines()[0]}); "
            "use bool, int, float, str, Literal, lists of these, or None"
        ) from error


def _telling_its_place(function: FunctionType, kind: str, name: str, path: Path) -> Callable[..., Any]:
    """`function`, its faults, and those of what it gives back, told in one line with the place in the file."""

    @wraps(function)
    def told(*given: Any, **options: Any) -> Any:
        try:
            result = function(*given, **options)
        except UserError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise SettingError(f"{_line(error, path)}: {function.__name__}: {type(error).__name__}: {error}") from error
        if (fault := fault_of(kind, result, given)) is not None:
            raise SettingError(f"{name} {fault}")
        return result

    return told


def _line(error: BaseException, path: Path) -> str:
    """The path, and the last of its lines that led to `error`."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)
