"""Whether it is the same code: what code means, as a digest.

Comments, docstrings, annotations, layout, messages of errors, and the names of modules mean nothing. All that a
function calls, holds and names does, as far as it is written in this project or in the function's own file: followed
through imports, by syntax alone, so that nothing has to be imported to be known. Of libraries the versions count, which
is up to the caller.

A class counts by what is used of it: the members whose names occur in the code that was followed.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import numpy as np

from pipelines.core.provenance.syntax import (
    Function,
    attributes_in,
    dump,
    header_of,
    imports_in,
    members_used,
    names_bound,
    names_imported,
    names_in,
    statements,
)

OURS = ("zoo", "pipelines")
PLAIN = (str, int, float, bool, bytes, type(None))

F = TypeVar("F", bound=Callable[..., Any])


def code_digest(*things: Any) -> str:
    """SHA-256, in hex, of the meaning of functions and of all that they use. The same wherever it is asked.

    things: functions, `functools.partial` of them, and plain data (numbers, text, arrays, tuples, mappings), which
    functions may also hold. Raises ValueError for anything else, of which nobody can tell whether it is the same next
    time: a lambda, which looks like any other on its line, a function that no file holds, an object.
    """
    closure = _Closure()
    values = [closure.value(thing) for thing in things]
    closure.finish()
    text = "\n".join([*values, *sorted(closure.described())])
    return hashlib.sha256(text.encode()).hexdigest()


def known_by_content(function: F) -> F:
    """Mark a function whose result has a digest of its own, such as a data set: how it came about isn't followed."""
    return function


# --- modules, as they are written ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Module:
    """A file. bound: name -> the statements at its top that bind it. imported: name -> where it comes from."""

    name: str
    tree: ast.Module = field(compare=False, repr=False)
    bound: Mapping[str, tuple[ast.stmt, ...]] = field(compare=False, repr=False)
    imported: Mapping[str, tuple[str, str]] = field(compare=False, repr=False)  # (module, name in it or "")


def _module_in(path: Path, name: str) -> _Module:
    return _parsed(path.read_text(encoding="utf-8"), name)


@cache
def _parsed(text: str, name: str) -> _Module:
    tree = ast.parse(text)
    bound: dict[str, tuple[ast.stmt, ...]] = {}
    imported: dict[str, tuple[str, str]] = {}
    for statement in statements(tree.body):
        imported |= names_imported(statement)
        for each in names_bound(statement):
            bound[each] = (*bound.get(each, ()), statement)
    return _Module(name, tree, bound, imported)


def _module_called(name: str) -> _Module | None:
    """One of ours; None for a library's, and for a name that is no module."""
    first, *rest = name.split(".")
    package = find_spec(first) if first in OURS else None
    if package is None or not package.origin:
        return None
    # By path: to look a module up in the usual way imports what it lies in, which may be Keras.
    place = Path(package.origin).parent.joinpath(*rest)
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return _module_in(path, name) if path.is_file() else None


def _module_of(function: FunctionType) -> _Module | None:
    """The file that a function is written in; None for a library's. ValueError where no file holds it."""
    name = function.__module__ or ""
    if known := _module_called(name):
        return known
    if name.partition(".")[0] in sys.stdlib_module_names:
        return None
    path = Path(function.__code__.co_filename)
    if "site-packages" in path.parts:
        return None
    try:
        return _module_in(path.resolve(), name)
    except (OSError, SyntaxError):
        raise ValueError(f"no file holds the function {function.__qualname__}: write it into one") from None


# --- what is followed ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Symbol:
    """A name that a module of ours binds at its top."""

    module: _Module
    name: str

    @property
    def statements(self) -> tuple[ast.stmt, ...]:
        return self.module.bound[self.name]

    @property
    def its_class(self) -> ast.ClassDef | None:
        last = self.statements[-1]
        return last if isinstance(last, ast.ClassDef) else None

    @property
    def by_content(self) -> bool:
        last = self.statements[-1]
        marks = last.decorator_list if isinstance(last, Function) else ()
        return any(isinstance(mark, ast.Name) and mark.id == known_by_content.__name__ for mark in marks)


class _Closure:
    """All that was met on the way from some functions, each once."""

    def __init__(self) -> None:
        self._parts: dict[tuple[_Symbol, str], str] = {}  # (symbol, member of a class or "") -> what it is, in text
        self._classes: dict[_Symbol, bool] = {}  # whether it is made, or called by its name, rather than only annotated
        self._attributes: set[str] = set()

    def value(self, thing: Any) -> str:
        """A value as text, after what it uses was met."""
        if isinstance(thing, PLAIN):
            return repr(thing)
        if isinstance(thing, np.ndarray):
            return f"array {thing.dtype} {thing.shape} {_sha256(np.ascontiguousarray(thing).tobytes())}"
        if isinstance(thing, tuple | list):
            return f"({', '.join(map(self.value, thing))})"
        if isinstance(thing, Mapping):
            return f"{{{', '.join(f'{name!r}: {self.value(value)}' for name, value in thing.items())}}}"
        if isinstance(thing, partial):
            return f"partial{self.value((thing.func, thing.args, thing.keywords))}"
        thing = inspect.unwrap(thing) if callable(thing) else thing  # of a cached one the function
        if isinstance(thing, FunctionType) and thing.__name__ != "<lambda>":
            return self._function(thing)
        raise ValueError(
            f"a {type(thing).__name__} decides what comes out, of which nobody can tell whether it is the same next "
            "time: give functions with names, numbers and text alone"
        )

    def _function(self, function: FunctionType) -> str:
        module = _module_of(function)
        if module is None:
            return f"{function.__module__}.{function.__qualname__}"
        given = self.value((function.__defaults__ or (), function.__kwdefaults__ or {}))
        if "<locals>" not in function.__qualname__ and function.__name__ in module.bound:
            self._meet(_Symbol(module, function.__name__), called=True)
            node = module.bound[function.__name__][-1]
            return f"{function.__name__} {_sha256(dump(node).encode())}{given}"
        node = _definition(module, function)
        held = self.value(inspect.getclosurevars(function).nonlocals)
        return f"{self._text(node, module, outside=set(inspect.getclosurevars(function).nonlocals))}{held}{given}"

    def finish(self) -> None:
        """Meet the members of classes that something met by now uses, until nothing new is met."""
        done: set[tuple[_Symbol, str, bool]] = set()
        while True:
            todo = [
                (symbol, name, statement)
                for symbol, made in list(self._classes.items())
                for name, statement in members_used(symbol.its_class, made, self._attributes)
                if (symbol, name, made) not in done
            ]
            if not todo:
                return
            for symbol, name, statement in todo:
                done.add((symbol, name, self._classes[symbol]))
                self._parts[symbol, name] = self._text(statement, symbol.module)

    def described(self) -> list[str]:
        """A line for each thing met, without the module that it is in."""
        return [f"{symbol.name}.{member} = {text}" for (symbol, member), text in self._parts.items()]

    def _meet(self, symbol: _Symbol, *, called: bool) -> None:
        known = self._classes.get(symbol)
        if symbol.its_class is not None:
            if known or (known is False and not called):
                return
            self._classes[symbol] = called
            self._parts[symbol, ""] = ""
            self._parts[symbol, ""] = self._text(header_of(symbol.its_class), symbol.module)
        elif called and (symbol, "") not in self._parts:
            self._parts[symbol, ""] = ""  # so that one which calls itself comes to an end
            self._parts[symbol, ""] = "; ".join(self._text(each, symbol.module) for each in symbol.statements)

    def _text(self, node: ast.AST, module: _Module, outside: set[str] | None = None) -> str:
        """A node as text: what it says, and which thing each of its names is. outside: names that are held values."""
        used, annotated, local = names_in(node)
        imported = imports_in(node)
        self._attributes |= attributes_in(node)
        references = {}
        for called, names in ((True, used), (False, annotated - used)):
            for name in sorted(names):
                first = name.partition(".")[0]
                if first in imported or first not in (local | (outside or set())):
                    symbol = _resolve(module, name, imported)
                    if symbol is not None and symbol.statements != (node,) and not symbol.by_content:
                        self._meet(symbol, called=called)
                        if called:
                            references[name] = _sha256("; ".join(map(dump, symbol.statements)).encode())[:16]
        return f"{dump(node)} {references}" if references else dump(node)


def _resolve(module: _Module, name: str, imported: Mapping[str, tuple[str, str]]) -> _Symbol | None:
    """What a dotted name means in a module; None for what isn't ours. imported: what a function imports itself."""
    first, _, rest = name.partition(".")
    if first in imported or (first in module.imported and first not in module.bound):
        origin, attribute = imported.get(first) or module.imported[first]
        path = [each for each in (*attribute.split("."), *rest.split(".")) if each]
        found = _module_called(origin)
        while found is not None and path:
            inner = _module_called(f"{found.name}.{path[0]}")
            if inner is None or path[0] in found.bound or path[0] in found.imported:
                break
            found, path = inner, path[1:]
        if found is None or not path:
            return None
        if path[0] not in found.bound and path[0] not in found.imported and "__getattr__" in found.bound:
            return _Symbol(found, "__getattr__")
        return _resolve(found, path[0], {})
    if first in module.bound and not hasattr(builtins, first):
        return _Symbol(module, first)
    return None


def _definition(module: _Module, function: FunctionType) -> Function:
    """Where a function that another one made is written."""
    line = function.__code__.co_firstlineno
    for node in ast.walk(module.tree):
        if isinstance(node, Function) and node.name == function.__name__:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            if first <= line <= node.lineno:
                return node
    raise ValueError(f"the function {function.__qualname__} isn't in its file any more: start anew")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
