"""What others may build on: the names of `zoo` and `pipelines`, and their signatures, as public_surface.txt has them.

Whoever means to change it runs `python tests/test_public_surface.py`, which writes the file anew, and says so in
CHANGELOG.md.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import pipelines
import zoo
from zoo import errors

FILE = Path(__file__).parent / "public_surface.txt"


def described(name: str, found: object) -> Iterator[str]:
    """A line for it, and for each public member where it is a class."""
    if isinstance(found, type) and issubclass(found, Exception):
        yield f"{name}({', '.join(base.__name__ for base in found.__bases__)})"
    elif isinstance(found, type):
        yield f"{name}{signature(found)}" if is_dataclass(found) else name
        for member, value in vars(found).items():
            if not member.startswith("_"):
                yield from described(f"{name}.{member}", value)
    elif isinstance(found, FunctionType):
        yield f"{name}{signature(found)}"
    else:
        yield name


def signature(found: object) -> str:
    """With types as they are written, and nothing that another machine would write otherwise."""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(found)))
    text = re.sub(r"\w+Path\('([^']*)'\)", r"Path('\1')", text)
    return re.sub(r"<(?:function|built-in function) .*?>(?=[,)])", "...", text)


def surface() -> str:
    lines = []
    for package in (zoo, pipelines):
        for name in sorted(package.__all__):
            found = getattr(package, name)
            if isinstance(found, ModuleType):  # pipelines.run, pipelines.study
                name, found = f"{name}.{name}", getattr(found, name)
            lines += described(f"{package.__name__}.{name}", found)
    return "\n".join(lines) + "\n"


def test_the_public_surface_is_the_one_that_is_written_down():
    assert surface().splitlines() == FILE.read_text(encoding="utf-8").splitlines(), __doc__


def test_every_error_is_public_and_in_the_tree_that_is_drawn():
    classes = {name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, Exception)}
    assert classes <= set(zoo.__all__)
    drawn = re.findall(r"^([│ ]*)(?:├── |└── )?(\w+Error)\b", errors.__doc__, re.MULTILINE)
    assert {name for _, name in drawn} == classes


EXAMPLES = sorted(path for path in (FILE.parents[1] / "examples").rglob("*.py") if "node_modules" not in path.parts)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_what_examples_import_of_ours_is_there(example):
    """`make test-apps` runs them; a name that has moved is seen here."""
    for node in ast.walk(ast.parse(example.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("zoo", "pipelines"):
            module = importlib.import_module(node.module)
            assert [each.name for each in node.names if not hasattr(module, each.name)] == []


def test_what_an_app_imports_stays_light_and_commands_are_imported_at_their_first_use():
    code = "import sys, zoo, pipelines; print(*{'numpy', 'onnxruntime', 'keras', 'mlflow', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
    assert set(zoo.__all__) <= set(dir(zoo))
    assert set(pipelines.__all__) <= set(dir(pipelines))


if __name__ == "__main__":
    FILE.write_text(surface(), encoding="utf-8")
