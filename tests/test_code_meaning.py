"""What a change of code means: two versions of a small file of somebody's own, and whether they have one digest."""

from __future__ import annotations

import itertools
import runpy
import sys

import numpy as np
import pytest

from pipelines.core.provenance.code import code_digest
from pipelines.study import lab
from pipelines.training.fingerprint import training_code

# What differs -> the file, one version's text and the other's, which stand where the file has %.
DECISIVE = {
    "a function that a nested one has an argument of the name of": (
        "def f(x): return x + %\ndef measure(x):\n    def inner(f): return f\n    return f(inner(x))\n",
        "1",
        "2",
    ),
    "a function that a comprehension has a variable of the name of": (
        "def f(x): return x + %\ndef measure(x): return f(x) + sum(f for f in range(3))\n",
        "1",
        "2",
    ),
    "a function that is an argument's default, under its own name": (
        "def f(x): return x + %\ndef g(x, f=f): return f(x)\ndef measure(x): return g(x)\n",
        "1",
        "2",
    ),
    "a global that is counted up": (
        "n = %\ndef measure(x):\n    global n\n    n += 1\n    return n\n",
        "1",
        "2",
    ),
    "a function with the name of a builtin": (
        "def round(x): return x + %\ndef measure(x): return round(x)\n",
        "1",
        "2",
    ),
    "what a name is imported from": ("from math import % as f\ndef measure(x): return f(x)\n", "floor", "ceil"),
    "the library that a name is imported from": (
        "import % as m\ndef measure(x): return m.sqrt(x)\n",
        "math",
        "cmath",
    ),
    "the condition of a constant": ("if %:\n    n = 1\nelse:\n    n = 2\ndef measure(x): return n\n", "True", "False"),
    "a constant made by a loop": (
        "t = {}\nfor i in range(3):\n    t[i] = i * %\ndef measure(x): return t[x]\n",
        "1",
        "2",
    ),
    "a table that is added to": ("t = {}\nt.update(a=%)\ndef measure(x): return t[x]\n", "1", "2"),
    "a constant of several": ("a, (b, *c) = 1, (%, 3)\ndef measure(x): return b\n", "1", "2"),
    "a constant that grows": ("a = 1\na += %\ndef measure(x): return a\n", "1", "2"),
    "a constant in passing": ("if (a := %) > 0:\n    pass\ndef measure(x): return a\n", "1", "2"),
    "a table of functions": ("def f(x): return x + %\nt = {'f': f}\ndef measure(x): return t['f'](x)\n", "1", "2"),
    "a property beside its setter": (
        "class A:\n"
        "    @property\n    def p(self): return %\n"
        "    @p.setter\n    def p(self, v): pass\n"
        "def measure(x): return A().p\n",
        "1",
        "2",
    ),
    "a method in a condition": (
        "class A:\n    if True:\n        def m(self): return %\ndef measure(x): return A().m()\n",
        "1",
        "2",
    ),
    "a method that is inherited": (
        "class A:\n    def m(self): return %\nclass B(A): pass\ndef measure(x): return B().m()\n",
        "1",
        "2",
    ),
    "a method that a library calls": (
        "from json import JSONEncoder\n"
        "class A(JSONEncoder):\n    def default(self, o): return %\n"
        "def measure(x): return A().encode(x)\n",
        "1",
        "2",
    ),
    "an operator by another name": (
        "class A:\n    def m(self, o): return 1\n    def n(self, o): return 2\n    __add__ = %\n"
        "def measure(x): return A() + x\n",
        "m",
        "n",
    ),
    "the order of fields": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    %\n"
        "def measure(x):\n    a = A(x, 2)\n    return a.p - a.q\n",
        "p: int\n    q: int",
        "q: int\n    p: int",
    ),
    "a field by its name as text": (
        "class A:\n    p = %\ndef measure(x): return getattr(A(), 'p')\n",
        "1",
        "2",
    ),
    "a decorator that is given text": (
        "def by(name):\n    def change(f): return lambda x: f(x) + %\n    return change\n"
        "@by('light')\ndef f(x): return x\ndef measure(x): return f(x)\n",
        "1",
        "2",
    ),
    "what goes into a list called log": (
        "def measure(x):\n    log = []\n    log.append(x + %)\n    return log[-1]\n",
        "1",
        "2",
    ),
    "a wrapper that shows what it wraps": (
        "import functools\n"
        "def twice(f):\n    @functools.wraps(f)\n    def g(x): return % * f(x)\n    return g\n"
        "def plain(x): return x\nmeasure = twice(plain)\n",
        "2",
        "3",
    ),
    "a method that has the name of a function": (
        "def measure(x): return 0\n"
        "class A:\n    @staticmethod\n    def measure(x): return %\n"
        "function, measure = measure, A.measure\n",
        "1",
        "2",
    ),
    "what a method calls": (
        "class A:\n    def measure(self): return self.m()\n    def m(self): return %\nmeasure = A.measure\n",
        "1",
        "2",
    ),
    "a cached function": ("import functools\n@functools.cache\ndef measure(x): return %\n", "1", "2"),
    "a module used as a value": (
        "import helper\ndef measure(x): return getattr(helper, x)()\n",
        "HELPER 1",
        "HELPER 2",
    ),
    "a function of another file": ("from helper import f\ndef measure(x): return f()\n", "HELPER 1", "HELPER 2"),
    "all of another file": ("from helper import *\ndef measure(x): return f()\n", "HELPER 1", "HELPER 2"),
    "a file in a folder": ("import kit.helper\ndef measure(x): return kit.helper.f()\n", "HELPER 1", "HELPER 2"),
    "a file that another imports from its own folder": (
        "from kit import f\ndef measure(x): return f()\n",
        "HELPER 1",
        "HELPER 2",
    ),
    "an import that depends": (
        "try:\n    from helper import f\nexcept ImportError:\n    f = None\ndef measure(x): return f()\n",
        "HELPER 1",
        "HELPER 2",
    ),
    "an import in a function": ("def measure(x):\n    from helper import f\n    return f()\n", "HELPER 1", "HELPER 2"),
}
HARMLESS = {
    "the words of an error": ("def measure(x):\n    if x: raise ValueError(%)\n    return 1\n", "'a'", "'b'"),
    "the words of an assertion": ("def measure(x):\n    assert x, %\n    return 1\n", "'a'", "'b'"),
    "an annotation": ("def measure(x: %): return x\n", "int", "float"),
    "a function that nobody calls": ("%\ndef measure(x): return x\n", "def f(): return 1", "def f(): return 2"),
    "what a module tells its log": (
        "import logging\nlogger = logging.getLogger()\ndef measure(x):\n    logger.info(%)\n    return x\n",
        "'a'", "'b'",
    ),
    "where ours is imported from": (
        "def measure(x):\n    from % import definition\n    return definition(x)\n",
        "zoo.models", "zoo.models.registry",
    ),
    "a new field, of which nothing is known": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    p: int%\ndef measure(x): return A(x).p\n",
        "", "\n    q: int = 3",
    ),
    "an argument named as a function": (
        "def f(x): return %\ndef g(f): return f\ndef measure(x): return g(x)\n", "1", "2",
    ),
    "a variable in passing, named as a function": (
        "def f(x): return %\ndef measure(x): return sum(f for f in x)\n", "1", "2",
    ),
}  # fmt: skip


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """A function: a file with a version -> the digest of its `measure`."""
    number = itertools.count()

    def digest(text, version):
        folder = tmp_path / str(next(number))
        (folder / "kit").mkdir(parents=True)
        helper = f"def f(): return {version}\n".replace("HELPER ", "")
        if version.startswith("HELPER"):
            (folder / "helper.py").write_text(helper, encoding="utf-8")
            (folder / "kit" / "helper.py").write_text(helper, encoding="utf-8")
            (folder / "kit" / "__init__.py").write_text("from .helper import f\n", encoding="utf-8")
        path = folder / "measures.py"
        path.write_text(text.replace("%", version), encoding="utf-8")
        with monkeypatch.context() as context:
            context.syspath_prepend(folder)
            for name in [name for name in sys.modules if name.partition(".")[0] in ("helper", "kit")]:
                context.delitem(sys.modules, name)
            try:
                return code_digest(runpy.run_path(str(path))["measure"])
            finally:
                for name in [name for name in sys.modules if name.partition(".")[0] in ("helper", "kit")]:
                    sys.modules.pop(name)

    return digest


@pytest.mark.parametrize("change", DECISIVE)
def test_what_decides_a_result_changes_the_digest(digest_of, change):
    text, one, other = DECISIVE[change]
    assert digest_of(text, one) == digest_of(text, one) != digest_of(text, other)


@pytest.mark.parametrize("change", HARMLESS)
def test_what_decides_nothing_changes_no_digest(digest_of, change):
    text, one, other = HARMLESS[change]
    assert digest_of(text, one) == digest_of(text, other)


def test_what_functions_may_hold():
    def holding(thing):
        def measure(x):
            return thing, x

        return measure

    def again(x):
        return again(x - 1) if x else 0

    assert code_digest(again) == code_digest(again)  # it comes to an end
    held = [np, np.float32, np.int64(3), frozenset({1, 2}), np.maximum, len, lab.Arm, np.minimum, min, lab.Lab, {1}]
    assert len({code_digest(holding(thing)) for thing in held}) == len(held)


def test_what_a_training_starts_and_learns_from_has_code_of_its_own():
    kinds = [(transfers, distills) for transfers in (False, True) for distills in (False, True)]
    assert len({training_code(transfers=transfers, distills=distills) for transfers, distills in kinds}) == 4
