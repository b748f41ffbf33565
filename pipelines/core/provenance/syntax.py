"""What of a syntax tree means something, as text that all versions of Python agree on."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

# What a member's value says to people, not to other code.
SHOWN = frozenset({"__repr__", "__str__", "__doc__", "__all__"})


LOGGERS = frozenset({"log", "logger"})  # what a module calls its logger: what it writes decides nothing


Function = ast.FunctionDef | ast.AsyncFunctionDef


def statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those in its `if`, `try` and `with` among them."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With):
            for part in ("body", "orelse", "finalbody"):
                yield from statements(getattr(statement, part, ()))
            for handler in getattr(statement, "handlers", ()):
                yield from statements(handler.body)


def names_bound(statement: ast.stmt) -> list[str]:
    """The names that a statement gives something to: of a function, a class, an assignment."""
    if isinstance(statement, Function | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    return []


def names_imported(statement: ast.AST) -> dict[str, tuple[str, str]]:
    """Name -> (module, name in it, or "" for the module itself), of an import that isn't relative; else none."""
    if isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
        return {each.asname or each.name: (statement.module, each.name) for each in statement.names}
    if isinstance(statement, ast.Import):
        return {
            each.asname or each.name.partition(".")[0]: (each.name if each.asname else each.name.partition(".")[0], "")
            for each in statement.names
        }
    return {}


@cache
def header_of(definition: ast.ClassDef) -> ast.ClassDef:
    """A class without its body."""
    return ast.ClassDef(definition.name, definition.bases, definition.keywords, [], definition.decorator_list)


def members_used(definition: ast.ClassDef | None, made: bool, attributes: set[str]) -> Iterator[tuple[str, ast.stmt]]:
    """Of a class what is used: where it is only annotated, somebody else makes it, and its fields are given."""
    for statement in definition.body if definition else ():
        for name in names_bound(statement):
            special = name.startswith("__") and name not in SHOWN and isinstance(statement, Function)
            if special and not made and name in ("__init__", "__post_init__", "__new__"):
                continue
            if special or (name in attributes and (made or isinstance(statement, Function))):
                yield name, statement


@cache
def names_in(node: ast.AST) -> tuple[set[str], set[str], set[str]]:
    """The dotted names that a node looks up; those in its annotations; those that it binds itself."""
    used: set[str] = set()
    local: set[str] = set()
    for each in meaningful(node):
        if isinstance(each, ast.Name):
            (used if isinstance(each.ctx, ast.Load) else local).add(each.id)
        elif isinstance(each, ast.Attribute) and (dotted := _dotted(each)):
            used.add(dotted)
        elif isinstance(each, ast.arg):
            local.add(each.arg)
        elif isinstance(each, Function | ast.ClassDef) and each is not node:
            local.add(each.name)
    annotations = (
        annotation
        for each in ast.walk(node)
        for name in ("annotation", "returns")
        if isinstance(annotation := getattr(each, name, None), ast.expr)
    )
    annotated = {
        _dotted(each) or ""
        for found in annotations
        for each in ast.walk(found)
        if isinstance(each, ast.Name | ast.Attribute)
    }
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        local = set()
    return used, annotated - {""}, local


@cache
def imports_in(node: ast.AST) -> dict[str, tuple[str, str]]:
    """What a node imports itself, as `names_imported` gives it."""
    return {name: origin for each in ast.walk(node) for name, origin in names_imported(each).items()}


@cache
def attributes_in(node: ast.AST) -> set[str]:
    """The names that a node looks up in objects."""
    return {each.attr for each in meaningful(node) if isinstance(each, ast.Attribute)}


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return None


def meaningful(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it that means something."""
    yield node
    for _, value in _fields(node):
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                yield from meaningful(each)


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """The fields of a node that mean something. Empty ones are left out: newer versions of Python have more of them."""
    if isinstance(node, ast.Raise):
        return  # that it ends here means something, in which words it doesn't
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_comment", "type_params", "kind", "ctx"):
            continue
        if isinstance(node, ast.Assert) and name == "msg":
            continue
        if isinstance(value, list):
            if name == "body" and isinstance(node, Function | ast.ClassDef) and ast.get_docstring(node) is not None:
                value = value[1:]
            if name == "decorator_list":
                value = [each for each in value if not _registers(each)]
            value = [each for each in value if not _says(each)]
        if value is not None and value != []:
            yield name, value


def _says(node: Any) -> bool:
    """Whether a statement writes to a log, and nothing more."""
    call = node.value if isinstance(node, ast.Expr) else None
    function = call.func if isinstance(call, ast.Call) else None
    return isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id in LOGGERS


def _registers(decorator: ast.expr) -> bool:
    """Whether a decorator lists a function under a name, as `@model("lenet5", …)` does, and gives it back as it is."""
    return (
        isinstance(decorator, ast.Call)
        and bool(decorator.args)
        and isinstance(decorator.args[0], ast.Constant)
        and isinstance(decorator.args[0].value, str)
    )


@cache
def dump(node: ast.AST) -> str:
    """A node as text that all versions of Python agree on."""
    return _dumped(node)


def _dumped(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_dumped, value))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    inside = ", ".join(f"{name}={_dumped(value)}" for name, value in _fields(value))
    return f"{type(value).__name__}({inside})"
