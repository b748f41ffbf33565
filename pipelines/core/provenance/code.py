"""Whether it is the same code: what code means, as a digest.

Comments, docstrings, annotations, layout, messages of errors, and the names of modules mean nothing. All that a
function calls, holds and names does, as far as it is written in this project or in files of somebody's own that aren't
installed: followed through imports, by syntax alone, so that nothing has to be imported to be known. Of libraries the
names count that are used, and the versions, which are up to the caller.

A class counts by what is used of it: the members whose names occur in the code that was followed. One that is made of a
library's class counts as a whole, since the library calls what it likes.

What nobody can see: names that are put together at run time, modules imported by such names, and functions that put
themselves into a list when their file is imported.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypeVar

import numpy as np

from pipelines.core.provenance.syntax import (
    OURS,
    Function,
    Origin,
    attributes_in,
    dump,
    header_of,
    imports_in,
    is_used,
    members,
    names_bound,
    names_changed,
    names_imported,
    names_in,
)

PLAIN = (str, int, float, bool, bytes, type(None))

F = TypeVar("F", bound=Callable[..., Any])


def code_digest(*things: Any) -> str:
    """SHA-256, in hex, of the meaning of functions and of all that they use. The same wherever it is asked.

    things: functions, `functools.partial` of them, classes of the project or a library, and plain data (numbers, text,
    arrays, tuples, sets, mappings), which functions may also hold. Raises ValueError for anything else, of which nobody
    can tell whether it is the same next time: a lambda, which looks like any other on its line, a function that no file
    holds, an object.
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
    """A file. bound: name -> the statements at its top that bind or change it. imported: name -> where it comes from.

    A name may have several origins, as in `try: from a import f`, `except ImportError: from b import f`.
    """

    name: str
    path: Path
    tree: ast.Module = field(compare=False, repr=False)
    bound: Mapping[str, tuple[ast.stmt, ...]] = field(compare=False, repr=False)
    imported: Mapping[str, tuple[Origin, ...]] = field(compare=False, repr=False)

    @property
    def package(self) -> str:
        return self.name if self.path.stem == "__init__" else self.name.rpartition(".")[0]


def _module_in(path: Path, name: str) -> _Module:
    return _parsed(path.read_text(encoding="utf-8"), path, name)


@cache
def _parsed(text: str, path: Path, name: str) -> _Module:
    tree = ast.parse(text)
    bound: dict[str, tuple[ast.stmt, ...]] = {}
    imported: dict[str, tuple[Origin, ...]] = {}
    module = _Module(name, path, tree, bound, imported)
    for statement in tree.body:
        for each in names_bound(statement) | names_changed(statement):
            bound[each] = (*bound.get(each, ()), statement)
        for each, origin in names_imported(statement, module.package):
            imported[each] = (*imported.get(each, ()), origin)
    return module


def _module_called(name: str) -> _Module | None:
    """One of ours, or of somebody's own; None for a library's, and for a name that is no module."""
    first, *rest = name.split(".")
    if first in OURS:
        return _ours(name)
    try:
        found = find_spec(first)  # of one without a dot, nothing is imported
    except (ImportError, ValueError):
        return None
    if found is None:
        return None
    # By path: to look a module up in the usual way imports what it lies in, which may be Keras.
    places = list(found.submodule_search_locations or ())
    place = Path(places[0]).joinpath(*rest) if places else Path(found.origin or "")
    return None if _is_library(place) or (rest and not places) else _module_at(place, name)


@cache
def _ours(name: str) -> _Module | None:
    """Read once: what is edited while a process runs is not what it runs."""
    return _module_at(Path(__file__).parents[3].joinpath(*name.split(".")), name)


def _module_at(place: Path, name: str) -> _Module | None:
    """The package in a folder, or the module in a file; None where there is neither. place: with or without .py."""
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return _module_in(path, name) if path.is_file() else None


@cache
def _is_library(path: Path) -> bool:
    """Whether a file was installed, or is a part of Python."""
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    own = path.is_absolute() and not path.is_relative_to(sysconfig.get_path("stdlib"))
    return bool(installed) or not own


def _module_of(function: FunctionType) -> _Module | None:
    """The file that a function is written in; None for a library's. ValueError where no file holds it."""
    name = str(function.__globals__.get("__name__") or "")
    if name.partition(".")[0] in OURS and (known := _module_called(name)):
        return known
    path = Path(function.__code__.co_filename)
    if name.partition(".")[0] in sys.stdlib_module_names and not path.is_absolute():  # frozen ones
        return None
    try:
        path = path.resolve()
        return None if _is_library(path) else _module_in(path, name)
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
        """That is all it is, or else None: one that is changed afterwards counts as a whole."""
        last = self.statements[-1]
        return last if isinstance(last, ast.ClassDef) and len(self.statements) == 1 else None

    @property
    def is_whole(self) -> bool:
        """Whether it is a class made of a library's."""
        bases = self.its_class.bases if self.its_class else ()
        found = [each for base in bases for name in names_in(base)[0] for each in _resolve(self.module, name, {})]
        return any(isinstance(each, str) and each not in ("typing.Protocol", "typing.Generic") for each in found)

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
        self._held: list[Any] = []  # functions on the way to the one that is looked at

    def value(self, thing: Any) -> str:
        """A value as text, after what it uses was met."""
        if isinstance(thing, PLAIN):
            return repr(thing)
        if isinstance(thing, np.ndarray | np.generic):
            return f"array {thing.dtype} {thing.shape} {_sha256(np.ascontiguousarray(thing).tobytes())}"
        if isinstance(thing, tuple | list):
            return f"({', '.join(map(self.value, thing))})"
        if isinstance(thing, set | frozenset):
            return f"set {sorted(map(self.value, thing))}"
        if isinstance(thing, Mapping):
            return f"{{{', '.join(f'{name!r}: {self.value(value)}' for name, value in thing.items())}}}"
        if isinstance(thing, partial):
            return f"partial{self.value((thing.func, thing.args, thing.keywords))}"
        if isinstance(thing, BuiltinFunctionType | np.ufunc | ModuleType | type):
            return self._named(thing)
        if not isinstance(thing, FunctionType) and isinstance(getattr(thing, "__wrapped__", None), FunctionType):
            return f"cached {self.value(thing.__wrapped__)}"
        if isinstance(thing, FunctionType) and thing.__name__ != "<lambda>":
            return self._function(thing)
        raise _unknowable(thing)

    def _named(self, thing: Any) -> str:
        """What a module has under a name."""
        module, name = getattr(thing, "__module__", None) or "numpy", getattr(thing, "__qualname__", thing.__name__)
        if isinstance(thing, ModuleType):
            module, name = thing.__name__, ""
        found = [] if "<locals>" in name else list(_reached(module, [each for each in name.split(".") if each]))
        file = getattr(sys.modules.get(module), "__file__", None)  # None of what is built in
        known = module in sys.modules and module != "__main__" and (file is None or _is_library(Path(file)))
        if not found or (not known and any(isinstance(each, str) for each in found)):
            raise _unknowable(thing)
        for each in found:
            if isinstance(each, _Symbol):
                self._meet(each, called=True)
        return " ".join(each if isinstance(each, str) else each.name for each in found)

    def _function(self, function: FunctionType) -> str:
        if function in self._held:
            return "itself"
        module = _module_of(function)
        wrapped = getattr(function, "__wrapped__", None)
        if module is None:
            inner = f" of {self.value(wrapped)}" if isinstance(wrapped, FunctionType) else ""
            return f"{function.__module__}.{function.__qualname__}{inner}"
        self._held.append(function)
        given = self.value((function.__defaults__ or (), function.__kwdefaults__ or {}))
        name, path = function.__code__.co_name, function.__code__.co_qualname
        if path == name and name in module.bound:
            self._meet(_Symbol(module, name), called=True)
            node = module.bound[name][-1]
            text = f"{name} {_sha256(dump(node).encode())}{given}"
        else:
            held = inspect.getclosurevars(function).nonlocals
            text = f"{self._text(_definition(module, function), module, held)}{self.value(held)}{given}"
            owner = path.partition(".")[0]
            if owner in module.bound:  # a method's class
                self._meet(_Symbol(module, owner), called=False)
        self._held.pop()
        return text

    def finish(self) -> None:
        """Meet the members of classes that something met by now uses, until nothing new is met."""
        done: set[tuple[_Symbol, ast.stmt, str]] = set()
        while True:
            todo = [
                (symbol, name, statement, place)
                for symbol, made in list(self._classes.items())
                for name, statement, place in members(symbol.its_class)
                if (symbol, statement, name) not in done and is_used(name, statement, made, self._attributes)
            ]
            if not todo:
                return
            for symbol, name, statement, place in todo:
                done.add((symbol, statement, name))
                before = self._parts.get((symbol, name), "")  # a property may have several functions
                self._parts[symbol, name] = f"{before}{place}{self._text(statement, symbol.module)}"

    def described(self) -> list[str]:
        """A line for each thing met, without the module that it is in."""
        return [f"{symbol.name}.{member} = {text}" for (symbol, member), text in self._parts.items()]

    def _meet(self, symbol: _Symbol, *, called: bool) -> None:
        known = self._classes.get(symbol)
        if symbol.its_class is not None and not (called and symbol.is_whole):
            if known or (known is False and not called):
                return
            self._classes[symbol] = called
            self._parts[symbol, ""] = ""
            self._parts[symbol, ""] = self._text(header_of(symbol.its_class), symbol.module)
        elif called and (symbol, "whole") not in self._parts:
            self._parts[symbol, "whole"] = ""  # so that one which calls itself comes to an end
            self._parts[symbol, "whole"] = "; ".join(self._text(each, symbol.module) for each in symbol.statements)

    def _text(self, node: ast.AST, module: _Module, held: Mapping[str, Any] | None = None) -> str:
        """A node as text: what it says, and which thing each of its names is. held: values of names around it."""
        self._attributes |= attributes_in(node)
        references: dict[str, list[str]] = {}
        look_up = _known_names if module.name.partition(".")[0] in OURS else _names
        for name, called, meant in look_up(node, module):
            if name.partition(".")[0] in (held or {}):
                continue
            for found in meant:
                if isinstance(found, str):
                    what = found
                elif found.statements == (node,) or found.by_content:
                    continue
                else:
                    self._meet(found, called=called)
                    what = _short(found)
                if called:
                    references.setdefault(name, []).append(what)
        return f"{dump(node)} {references}" if references else dump(node)


def _names(node: ast.AST, module: _Module) -> tuple[tuple[str, bool, tuple[_Symbol | str, ...]], ...]:
    """The names in a node of a module: each, whether it is more than an annotation, and what it means there."""
    used, annotated = names_in(node)
    imported = imports_in(node, module.package)
    return tuple((name, name in used, tuple(_resolve(module, name, imported))) for name in sorted(used | annotated))


_known_names = cache(_names)  # of ours, which stay as they are while a process runs


def _short(symbol: _Symbol) -> str:
    """Which one of several of its name a symbol is."""
    nodes = [header_of(symbol.its_class)] if symbol.its_class else symbol.statements
    return _sha256("; ".join(map(dump, nodes)).encode())[:16]


def _resolve(module: _Module, name: str, imported: Mapping[str, tuple[Origin, ...]]) -> Iterator[_Symbol | str]:
    """What a dotted name means in a module: symbols, and dotted names of libraries.

    imported: what a function imports itself.
    """
    first, *rest = name.split(".")
    if first in module.bound and first not in imported:
        yield _Symbol(module, first)
    for origin, attribute in imported.get(first) or module.imported.get(first, ()):
        yield from _reached(origin, [each for each in (attribute, *rest) if each])
    if not any(first in names for names in (module.bound, module.imported, imported)):
        for origin, _ in (*module.imported.get("*", ()), *imported.get("*", ())):
            if (found := _module_called(origin)) and (first in found.bound or first in found.imported):
                yield from _resolve(found, name, {})


def _reached(origin: str, path: list[str]) -> Iterator[_Symbol | str]:
    """What a module has at a path of names: all of it where there are none."""
    found = _module_called(origin)
    if found is None:
        yield ".".join((origin, *path))
        return
    while path and path[0] not in found.bound and path[0] not in found.imported:
        inner = _module_called(f"{found.name}.{path[0]}")
        if inner is None:
            break
        found, path = inner, path[1:]
    if not path:
        yield from (_Symbol(found, name) for name in sorted(found.bound))
    elif path[0] not in found.bound and path[0] not in found.imported and "__getattr__" in found.bound:
        yield _Symbol(found, "__getattr__")
    else:
        yield from _resolve(found, ".".join(path), {})


def _definition(module: _Module, function: FunctionType) -> Function:
    """Where a function that another one made, or a class has, is written."""
    line = function.__code__.co_firstlineno
    for node in ast.walk(module.tree):
        if isinstance(node, Function) and node.name == function.__code__.co_name:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            if first <= line <= node.lineno:
                return node
    raise ValueError(f"the function {function.__qualname__} isn't in its file any more: start anew")


def _unknowable(thing: Any) -> ValueError:
    return ValueError(
        f"a {type(thing).__name__} decides what comes out, of which nobody can tell whether it is the same next "
        "time: give functions with names, numbers and text alone"
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
