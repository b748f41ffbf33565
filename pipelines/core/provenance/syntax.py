"""What of a syntax tree means something, as text that all versions of Python agree on."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

OURS = ("zoo", "pipelines")
# What a member's value says to people, not to other code.
SHOWN = frozenset({"__repr__", "__str__", "__doc__", "__all__"})
LOGGERS = frozenset({"log", "logger"})  # what a module calls its logger: what it writes decides nothing
LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
LISTING = frozenset({"model", "data_set", "command", "experiment"})  # decorators that give back what they list

Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Origin = tuple[str, str]  # what an import names: a module, and a name in it or ""


def names_bound(node: ast.AST) -> set[str]:
    """The names that a node gives something to; those within a function or a comprehension are its own."""
    if isinstance(node, Function | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Lambda):
        return set()
    if isinstance(node, Comprehension):
        return set().union(*(names_bound(each.target) for each in ast.walk(node) if isinstance(each, ast.NamedExpr)))
    found: set[str] = set()
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        found = {node.id}
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.MatchMapping):
        name = node.rest if isinstance(node, ast.MatchMapping) else node.name
        found = {name} if name else set()
    return found.union(*map(names_bound, ast.iter_child_nodes(node)))


def names_changed(statement: ast.stmt) -> set[str]:
    """The names of what a statement at the top of a module changes: TABLE[…] = …, TABLE.update(…)."""
    if isinstance(statement, Function | ast.ClassDef):
        return set()
    targets = [each for each in ast.walk(statement) if isinstance(each, ast.Attribute | ast.Subscript)]
    calls = [
        each.value.func
        for each in ast.walk(statement)
        if isinstance(each, ast.Expr) and isinstance(each.value, ast.Call)
    ]
    changed = [*(each for each in targets if not isinstance(each.ctx, ast.Load)), *calls]
    return {found for each in changed if (found := _base(each))}


def _base(node: ast.expr) -> str | None:
    """Of `a.b[c].d` the a."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def names_imported(node: ast.AST, package: str) -> Iterator[tuple[str, Origin]]:
    """What the imports in a node, but not in its functions, bind: names, or "*", and their origins.

    package: that relative imports start from.
    """
    if isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        module = ".".join(filter(None, [*above, node.module or ""]))
        yield from ((each.asname or each.name, (module, each.name)) for each in node.names)
    elif isinstance(node, ast.Import):
        for each in node.names:
            first = each.name.partition(".")[0]
            yield each.asname or first, (each.name if each.asname else first, "")
    for below in ast.iter_child_nodes(node):
        if not isinstance(below, Function | ast.ClassDef):
            yield from names_imported(below, package)


@cache
def header_of(definition: ast.ClassDef) -> ast.ClassDef:
    """A class without its body."""
    return ast.ClassDef(definition.name, definition.bases, definition.keywords, [], definition.decorator_list)


@cache
def members(definition: ast.ClassDef | None) -> tuple[tuple[str, ast.stmt, str], ...]:
    """Name, statement and place of each member of a class. The place means something of fields, which have an order."""
    place, found = 0, []
    for statement in definition.body if definition else ():
        place += isinstance(statement, ast.AnnAssign)
        for name in sorted(names_bound(statement)):
            found.append((name, statement, f"{place} " if isinstance(statement, ast.AnnAssign) else ""))
    return tuple(found)


def is_used(name: str, statement: ast.stmt, made: bool, attributes: set[str]) -> bool:
    """Whether a member of a class is: where it is only annotated, somebody else makes it, and its fields are given."""
    if name.startswith("__") and name not in SHOWN:
        return made or (isinstance(statement, Function) and name not in ("__init__", "__post_init__", "__new__"))
    return name in attributes and (made or not isinstance(statement, ast.Assign | ast.AnnAssign))


@cache
def names_in(node: ast.AST) -> tuple[set[str], set[str]]:
    """The dotted names that a node looks up outside of itself, and those in its annotations."""
    annotations = (
        annotation
        for each in ast.walk(node)
        for name in ("annotation", "returns")
        if isinstance(annotation := getattr(each, name, None), ast.expr)
    )
    return set(_looked_up(node, frozenset())), {
        name for found in annotations for name in _looked_up(found, frozenset())
    }


@cache
def imports_in(node: ast.AST, package: str) -> dict[str, tuple[Origin, ...]]:
    """What a node, and all functions in it, import: names, each with its origins, as `names_imported` gives them."""
    found: dict[str, tuple[Origin, ...]] = {}
    for each in ast.walk(node):
        if isinstance(each, ast.Import | ast.ImportFrom):
            for name, origin in names_imported(each, package):
                found[name] = (*found.get(name, ()), origin)
    return found


@cache
def attributes_in(node: ast.AST) -> set[str]:
    """The names that a node may look up in objects; any text may be one: getattr(…, "name")."""
    found = list(meaningful(node))
    text = {each.value for each in found if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    return text | {each.attr for each in found if isinstance(each, ast.Attribute)}


def _looked_up(node: ast.AST, local: frozenset[str]) -> Iterator[str]:
    """local: names that functions around the node have as their own."""
    dotted = _dotted(node)
    if dotted is not None:
        if dotted.partition(".")[0] not in local and (not isinstance(node, ast.Name) or isinstance(node.ctx, ast.Load)):
            yield dotted
    elif isinstance(node, ast.Global):
        yield from node.names
    elif isinstance(node, Function | ast.Lambda):
        arguments = node.args
        outside = [*arguments.defaults, *arguments.kw_defaults, *getattr(node, "decorator_list", ())]
        yield from _all_looked_up((each for each in outside if each is not None and not _lists(each)), local)
        body = [*node.body] if isinstance(node.body, list) else [node.body]
        shared = {name for each in ast.walk(node) if isinstance(each, ast.Global) for name in each.names}
        own = {each.arg for each in ast.iter_child_nodes(arguments) if isinstance(each, ast.arg)}
        own = own.union(*map(names_bound, body))
        for each in body:
            if not _says(each):
                yield from _looked_up(each, local | (own - shared))
    elif isinstance(node, Comprehension):
        yield from _looked_up(node.generators[0].iter, local)
        own = set().union(*(names_bound(each.target) for each in node.generators))
        yield from _all_looked_up(_below(node), local | own)
    else:
        yield from _all_looked_up(_below(node), local)


def _all_looked_up(nodes: Iterable[ast.AST], local: frozenset[str]) -> Iterator[str]:
    for node in nodes:
        yield from _looked_up(node, local)


def _dotted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return None


def meaningful(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it that means something."""
    yield node
    for each in _below(node):
        yield from meaningful(each)


def _below(node: ast.AST) -> Iterator[ast.AST]:
    for _, value in _fields(node):
        yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, ast.AST))


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """The fields of a node that mean something. Empty ones are left out: newer versions of Python have more of them."""
    if isinstance(node, ast.Raise):
        return  # that it ends here means something, in which words it doesn't
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_comment", "type_params", "kind", "ctx"):
            continue
        if isinstance(node, ast.Assert) and name == "msg":
            continue
        if isinstance(node, ast.ImportFrom) and name == "module" and str(value).partition(".")[0] in OURS:
            continue
        if isinstance(value, list):
            if name == "body" and isinstance(node, Function | ast.ClassDef) and ast.get_docstring(node) is not None:
                value = value[1:]
            if name == "decorator_list":
                value = [each for each in value if not _lists(each)]
            value = [each for each in value if not _says(each)]
        if value is not None and value != []:
            yield name, value


def _says(node: Any) -> bool:
    """Whether a statement writes to a log, and nothing more."""
    call = node.value if isinstance(node, ast.Expr) else None
    function = call.func if isinstance(call, ast.Call) else None
    return isinstance(function, ast.Attribute) and function.attr in LEVELS and _dotted(function.value) in LOGGERS


def _lists(decorator: ast.expr) -> bool:
    """Whether a decorator lists a function under a name, as `@model("lenet5", …)` does, and gives it back as it is."""
    name = _dotted(decorator.func) if isinstance(decorator, ast.Call) else None
    return name is not None and name.rpartition(".")[2] in LISTING


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
