"""FAMILIARITY as nodes of the exported graph: standard operators, float32, continuous, so that runtimes agree."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from pipelines.exporting.familiarity.features import Placed
from pipelines.exporting.familiarity.fit import Fitted, Matrix
from pipelines.exporting.graph.edit import Graph, add_constant, constant_of, drop_unused, producer_of
from zoo.contract import FAMILIARITY


def add_familiarity(graph: Graph, placed: Placed, fitted: Fitted) -> None:
    """Give a graph with features one more output, the last: FAMILIARITY [N] float32, by `Fitted.familiarity`'s formula.

    The other outputs are calculated by the same nodes as before and keep each bit. onnxruntime calculates this one
    whether or not it is asked for.
    """
    features, sizes = placed

    def constant(name: str, values: object) -> str:
        return add_constant(graph, f"{FAMILIARITY}/{name}", np.asarray(values, np.float32))

    def half(name: str, values: object) -> str:
        """A constant in float16, which a runtime makes float32 of when it opens the file."""
        stored = add_constant(graph, f"{FAMILIARITY}/{name}/half", np.asarray(values, np.float16))
        return node("Cast", [stored], name, to=TensorProto.FLOAT)

    def node(operator: str, inputs: list[str], name: str, **attributes: object) -> str:
        name = name if name == FAMILIARITY else f"{FAMILIARITY}/{name}"
        graph.node.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    columns = add_constant(graph, f"{FAMILIARITY}/columns", np.array([1], np.int64))
    scaled = features
    if len(sizes) > 1:
        scaled = node("Mul", [features, constant("scale", fitted.scale)], "scaled")
    # The scale of a single activation is one number, which shares of a sum don't depend on: it saves a step.
    epsilon = fitted.epsilon if len(sizes) > 1 else fitted.epsilon / float(fitted.scale[0])
    sums = constant("sum", np.full((sum(sizes), 1), fitted.total))
    total = node("Gemm", [scaled, sums, constant("epsilon", [epsilon])], "total")
    unit = node("Sqrt", [node("Div", [scaled, total], "shares")], "unit")
    y = node("Sub", [unit, constant("center", fitted.center)], "centered")
    directions = half("directions", fitted.directions)
    along = node("MatMul", [y, directions], "along")
    white = node("Gemm", [along, directions, y], "white", alpha=-1.0, transB=1)
    squared = node("ReduceSumSquare", [white, columns], "squared")
    *first, last = fitted.classes
    for place, factor in enumerate(first):
        white = node("MatMul", [white, half(f"means{place}", factor)], f"by_mean{place}")
    by_class = node("Gemm", [white, half("classes", last), constant("offsets", fitted.offsets)], "by_class")
    nearest = node("ReduceMax", [by_class, columns], "nearest")
    score = node("Sub", [nearest, squared], "score")  # [N, 1]
    grid = [constant("steepness", fitted.steepness[np.newaxis]), constant("start", fitted.start)]
    cells = node("Gemm", [score, *grid], "cells")
    clipped = node("Clip", [cells, constant("least", 0), constant("most", 1)], "clipped")
    node("ReduceMean", [clipped, columns], FAMILIARITY, keepdims=0)
    graph.output.append(helper.make_tensor_value_info(FAMILIARITY, TensorProto.FLOAT, ["N"]))


def without_familiarity(graph: Graph) -> bool:
    """Take the output away with all that only it needs. Returns whether it was there."""
    kept = [output for output in graph.output if output.name != FAMILIARITY]
    found = len(kept) < len(graph.output)
    del graph.output[:]
    graph.output.extend(kept)
    drop_unused(graph)
    return found


def read_familiarity(graph: Graph, images: int) -> tuple[str, Fitted]:
    """The features' name in a graph that `add_familiarity` has written to, and the numbers that it wrote.

    Raises ValueError for a graph that it hasn't written to, and IndexError or TypeError for numbers of other shapes.
    """

    def constant(name: str) -> Matrix:
        found = constant_of(graph, f"{FAMILIARITY}/{name}")
        if found is None:
            raise ValueError(f"it lacks {name}")
        return found.astype(np.float64)

    total = producer_of(graph, f"{FAMILIARITY}/total")
    scaled = None if total is None else producer_of(graph, total.input[0])
    if total is None:
        raise ValueError("it lacks total")
    if scaled is not None and scaled.name != f"{FAMILIARITY}/scaled":
        scaled = None  # of a single activation, whose scale says nothing
    names = [name for name in ("means0", "classes") if constant_of(graph, f"{FAMILIARITY}/{name}/half") is not None]
    center = constant("center")
    fitted = Fitted(
        scale=np.ones(len(center)) if scaled is None else constant("scale"),
        total=float(constant("sum")[0, 0]),
        epsilon=float(constant("epsilon")[0]),
        center=center,
        directions=constant("directions/half"),
        classes=tuple(constant(f"{name}/half") for name in names),
        offsets=constant("offsets"),
        steepness=constant("steepness")[0],
        start=constant("start"),
        images=images,
    )
    return str(total.input[0] if scaled is None else scaled.input[0]), fitted
