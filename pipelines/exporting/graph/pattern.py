"""Formulas found in a graph: what tf2onnx writes out node by node is recognized by what it calculates."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any, TypeAlias

from pipelines.exporting.graph.edit import Graph, Node

# A name stands for any value, the same wherever it is written; a tuple for a node: its operator, then its inputs.
# ("Mul", "x", ("Neg", "x")) is x · (-x), and finds it also as (-x) · x.
Pattern: TypeAlias = str | tuple[Any, ...]
Found: TypeAlias = dict[str, str]  # the values that the names of a pattern stand for

COMMUTATIVE = ("Add", "Mul")


def find(graph: Graph, pattern: tuple[Any, ...]) -> list[tuple[Node, Found]]:
    """The nodes whose output is what the pattern says, each with the values that it is calculated from."""
    found = [(node, match(graph, node.output[0], pattern)) for node in graph.node if node.op_type == pattern[0]]
    return [(node, values) for node, values in found if values is not None]


def match(graph: Graph, value: str, pattern: Pattern, found: Found | None = None) -> Found | None:
    """What the names of the pattern stand for if the value is calculated so; None if it isn't.

    found: what some of the names stand for already.
    """
    producers = {name: node for node in graph.node for name in node.output}
    return next(_matches(producers, value, pattern, found or {}), None)


def _matches(producers: dict[str, Node], value: str, pattern: Pattern, found: Found) -> Iterator[Found]:
    """Each way in which the value is what the pattern says, given what its names already stand for."""
    if isinstance(pattern, str):
        if found.get(pattern, value) == value:
            yield {**found, pattern: value}
        return
    operator, *inputs = pattern
    node = producers.get(value)
    if node is None or node.op_type != operator:
        return
    for order in permutations(inputs) if operator in COMMUTATIVE else [inputs]:
        yield from _match_all(producers, list(zip(node.input, order, strict=False)), found)


def _match_all(producers: dict[str, Node], pairs: list[tuple[str, Pattern]], found: Found) -> Iterator[Found]:
    if not pairs:
        yield found
        return
    (value, pattern), *others = pairs
    for so_far in _matches(producers, value, pattern, found):
        yield from _match_all(producers, others, so_far)
