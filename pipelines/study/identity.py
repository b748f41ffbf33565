"""What a figure depends on, as text that is the same everywhere: the code that measures it, and what that uses."""

from __future__ import annotations

import ast
import dis
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from zoo.errors import StudyError

OURS = "pipelines.study"  # the package whose functions and classes are followed
PLAIN = (str, int, float, bool, bytes, type(None))
DATA = (*PLAIN, tuple, list, Mapping, np.ndarray)


def code_of(function: Callable[..., Any]) -> str:
    """A function's code without comments, docstrings and layout; and that of what it is given, holds and names.

    Functions, classes and constants of its own file and of this package are followed. Libraries aren't, whose versions
    count; nor is the rest of ours, as what it builds has an identity of its own (models, images, recipes).
    Raises StudyError where it is given or holds something of which nobody can tell whether it is the same next time,
    and for a lambda, which can't be told from another one on the same line.
    """
    seen: dict[str, str] = {}
    first = _told(function, seen)
    return "\n".join([first, *(f"{name} = {told}" for name, told in sorted(seen.items()))])


def digest_of(function: Callable[..., Any]) -> str:
    """SHA-256 of that, in hex."""
    return hashlib.sha256(code_of(function).encode()).hexdigest()


def _told(thing: Any, seen: dict[str, str]) -> str:
    """Of a value. seen: what was told of the functions, classes and constants that were met, by name."""
    if isinstance(thing, PLAIN):
        return repr(thing)
    if isinstance(thing, np.ndarray):
        return f"array {thing.dtype} {thing.shape} {hashlib.sha256(np.ascontiguousarray(thing).tobytes()).hexdigest()}"
    if isinstance(thing, tuple | list):
        return f"({', '.join(_told(each, seen) for each in thing)})"
    if isinstance(thing, Mapping):
        return f"{{{', '.join(f'{name!r}: {_told(value, seen)}' for name, value in thing.items())}}}"
    if isinstance(thing, partial):
        return f"partial{_told((thing.func, thing.args, thing.keywords), seen)}"
    thing = inspect.unwrap(thing) if callable(thing) else thing  # of a cached one the function
    if isinstance(thing, FunctionType) and thing.__name__ != "<lambda>":
        return _function(thing, seen)
    raise StudyError(
        f"a {type(thing).__name__} is part of what is measured, of which nobody can tell whether it is the same next "
        "time: let `measure` and `observe` have functions with names, numbers and text alone"
    )


def _function(function: FunctionType, seen: dict[str, str]) -> str:
    name = f"{function.__module__}.{function.__qualname__}"
    held = _told(inspect.getclosurevars(function).nonlocals, seen)
    given = _told((function.__defaults__ or (), function.__kwdefaults__ or {}), seen)
    if name not in seen:
        seen[name] = ""  # so that one which calls itself comes to an end
        seen[name] = _source(function)
        for key in _names(function.__code__):
            if key in function.__globals__:
                _follow(key, function.__globals__[key], function.__module__, seen)
    return f"{name}{held}{given}"


def _follow(name: str, value: Any, module: str, seen: dict[str, str]) -> None:
    """What a function of the module finds under the name, if it is ours or data."""
    value = inspect.unwrap(value) if callable(value) else value
    if isinstance(value, DATA):
        seen[f"{module}.{name}"] = _told(value, seen)
    elif isinstance(value, FunctionType | type) and (value.__module__ == module or value.__module__.startswith(OURS)):
        if isinstance(value, FunctionType):
            _told(value, seen)
        elif f"{value.__module__}.{value.__qualname__}" not in seen:
            seen[f"{value.__module__}.{value.__qualname__}"] = _source(value)


def _source(thing: FunctionType | type) -> str:
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _names(code: CodeType) -> Iterator[str]:
    """The globals that a function's code, and those of the functions within it, look up."""
    yield from (str(each.argval) for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL")
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _names(each)
