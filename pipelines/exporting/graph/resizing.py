"""The way of an image of any size to the model's: the arithmetic of `zoo.images.resize`, on bytes, in the file."""

from __future__ import annotations

from onnx import TensorProto, helper, parser

from pipelines.exporting.graph.edit import Graph, Model, consumers_of, drop_unused
from zoo.contract import INPUT, IR_VERSION, OPSET

# Antialiased and without weights outside of the image it is Pillow's bilinear resizing, to a step of 1 in 255. On
# bytes, as Pillow does it, and between no transposes, which onnxruntime would try to move through it, and break.
# OpenVINO ignores `antialias` here as in any other form of Resize, and onnxruntime's CUDA doesn't take bytes: for both,
# images of another size than the model's have to be resized beforehand, as `zoo.load` does.
RESIZE = (
    'Resize <axes = [1, 2], mode = "linear", antialias = 1, exclude_outside = 1, '
    'coordinate_transformation_mode = "half_pixel">'
)
# `size` and `turned_size` are the model's [height, width] and [width, height]; `sides` and `turned` the image's.
SIDES = """
        sides = Shape <start = 1, end = 3> (images)
        turned = Gather (sides, swap)"""


def _proportional(result: str, a: str, b: str, c: str, most: str) -> str:
    """`zoo.images._proportional`, on both sides at once: a * b / c, rounded, at least 1 and at most `most`."""
    return f"""
        product = Mul ({a}, {b})
        twice = Mul (product, two)
        rounding = Add (twice, {c})
        divisor = Mul ({c}, two)
        ideal = Div (rounding, divisor)
        some = Max (ideal, one)
        {result} = Min (some, {most})"""


FRONTS = {
    "stretch": f"resize = {RESIZE} (images, , , size)",
    "crop": f"""{SIDES}{_proportional("cut", "turned", "size", "turned_size", most="sides")}
        rest = Sub (sides, cut)
        begin = Div (rest, two)
        end = Add (begin, cut)
        crop = Slice (images, begin, end, axes)
        resize = {RESIZE} (crop, , , size)""",
    "pad": f"""{SIDES}{_proportional("fit", "sides", "turned_size", "turned", most="size")}
        resize = {RESIZE} (images, , , fit)
        rest = Sub (size, fit)
        before = Div (rest, two)
        after = Sub (rest, before)
        margins = Concat <axis = 0> (before, after)
        pad = Pad (resize, margins, black, axes)""",
}
RESIZED = {"stretch": "resize", "crop": "resize", "pad": "pad"}  # the value that has the model's size


def take_any_image(graph: Graph, height: int, width: int, policy: str) -> None:
    """Let uint8 images of any size in: resized as in training, then converted.

    policy: stretch, crop or pad. An image that has the size already passes unchanged.
    """
    channels = graph.input[0].type.tensor_type.shape.dim[3].dim_value
    resized = RESIZED[policy]
    front = _front(height, width, channels, policy, f"pixels = Cast <to = {TensorProto.FLOAT}> ({resized})")
    for node in front.node:  # names are tidied later: those of one step go together
        node.name = node.output[0] if node.output[0] in ("crop", "resize", "pad", "pixels") else "sides"
    for node in consumers_of(graph, INPUT):
        node.input[:] = ["pixels" if name == INPUT else name for name in node.input]
    nodes = [*front.node, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.extend(front.input)
    graph.initializer.extend(front.initializer)
    # ONNX's own shape inference forgets the batch here.
    del graph.value_info[:]
    graph.value_info.extend(front.output)


def resizing_model(height: int, width: int, channels: int, policy: str) -> Model:
    """What an exported file does with an image of any size, alone: images [N, H, W, C] -> [N, height, width, C].

    Both are uint8; the output has the name that RESIZED gives. policy: stretch, crop or pad.
    """
    front = _front(height, width, channels, policy)
    drop_unused(front)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(front, opset_imports=[opset], ir_version=IR_VERSION, producer_name="classifier-zoo")


def _front(height: int, width: int, channels: int, policy: str, then: str = "") -> Graph:
    """The graph of one policy, followed by a node of the caller's; its output is what has the model's size."""
    constants = (
        f"int64[2] size = {{{height}, {width}}}, int64[2] turned_size = {{{width}, {height}}}, "
        "int64[2] swap = {1, 0}, int64[2] axes = {1, 2}, int64[2] one = {1, 1}, int64[2] two = {2, 2}, "
        "uint8 black = {0}"
    )
    resized = RESIZED[policy]
    return parser.parse_graph(
        f"front (uint8[N, H, W, {channels}] {INPUT}) => (uint8[N, {height}, {width}, {channels}] {resized})\n"
        f"<{constants}> {{{FRONTS[policy]}\n {then}}}"
    )
