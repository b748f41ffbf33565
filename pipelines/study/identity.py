"""What a figure depends on, as text that is the same everywhere: the code that measures it, and what that uses."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType
from typing import Any

from zoo.errors import StudyError

OURS = "pipelines.study"  # the package whose functions are followed
PLAIN = (str, int, float, bool, bytes, type(None))


def code_of(function: Callable[..., Any]) -> str:
    """A function's code without comments, docstrings and layout; and that of the functions and constants that it names.

    Those of its own file and of this package are followed, as what a partial and a closure hold is. Models, whose
    layers have an identity of their own, are not followed here, nor are libraries, whose versions count.
    Raises StudyError where it holds something of which nobody can tell whether it is the same next time.
    """
    seen: dict[str, str] = {}
    first = _told(function, seen)
    return "\n".join([first, *(f"{name} = {told}" for name, told in sorted(seen.items()))])


def _told(thing: Any, seen: dict[str, str]) -> str:
    """Of a value. seen: what was told of the functions and constants that were met, by name."""
    if isinstance(thing, PLAIN):
        return repr(thing)
    if isinstance(thing, tuple | list):
        return f"({', '.join(_told(each, seen) for each in thing)})"
    if isinstance(thing, Mapping):
        return f"{{{', '.join(f'{name!r}: {_told(value, seen)}' for name, value in thing.items())}}}"
    if isinstance(thing, partial):
        return f"partial{_told((thing.func, thing.args, thing.keywords), seen)}"
    if isinstance(thing, FunctionType):
        return _function(thing, seen)
    raise StudyError(
        f"a {type(thing).__name__} is part of what is measured, of which nobody can tell whether it is the same next "
        "time: let `measure` and `observe` have functions, numbers and text alone"
    )


def _function(function: FunctionType, seen: dict[str, str]) -> str:
    name = f"{function.__module__}.{function.__qualname__}"
    held = {key: _told(value, seen) for key, value in inspect.getclosurevars(function).nonlocals.items()}
    if name not in seen:
        seen[name] = ""  # so that one which calls itself comes to an end
        seen[name] = _source(function)
        for key in _names(function.__code__):
            value = function.__globals__.get(key)
            if isinstance(value, FunctionType):
                if value.__module__ == function.__module__ or value.__module__.startswith(OURS):
                    _told(value, seen)
            elif isinstance(value, (*PLAIN, tuple, Mapping)) and value is not None:
                seen[f"{function.__module__}.{key}"] = _told(value, seen)
    return f"{name}{held or ''}"


def _source(function: FunctionType) -> str:
    source = textwrap.dedent(inspect.getsource(function))
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a lambda, whose source is a piece of a line
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _names(code: CodeType) -> Iterator[str]:
    """What a function's code, and those of the functions within it, look up by name."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _names(each)
