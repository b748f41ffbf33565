"""The first layer of an exported file: its weights, as images in one PNG for a page."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from math import ceil

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from pipelines.exporting.graph.edit import Model
from pipelines.plotting.first_layer import colored, legend, strongest
from zoo.contract import Metadata
from zoo.images import Pixels

COLUMNS = 8
TILE = 28  # pixels of a tile's side, at least: filters are a few pixels wide
GAP = 3  # pixels between tiles, clear


@dataclass(frozen=True)
class FirstLayer:
    """png: the image's bytes. text: what it shows."""

    png: bytes
    text: str


def first_layer(model: Model, metadata: Metadata) -> FirstLayer | None:
    """The image of an export's first layer; None where its weights aren't images."""
    weights = first_weights(model, metadata)
    if weights is None:
        return None
    units, unit = weights.shape[3], "neuron" if weights.shape[:2] == (metadata.height, metadata.width) else "filter"
    shown = strongest(weights)
    which = f"the {len(shown)} strongest of {units}" if len(shown) < units else f"its {units}"
    text = f"First layer, {which} {unit}s ({legend(metadata.channels)})"
    return FirstLayer(_sheet(colored(weights[..., shown])), text)


def first_weights(model: Model, metadata: Metadata) -> NDArray[np.float32] | None:
    """The weights that meet the pixels, [H, W, C, F]; None where the first that there are don't."""
    initializers = {weights.name: weights for weights in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2 or node.input[1] not in initializers:
            continue
        if initializers[node.input[1]].data_location == onnx.TensorProto.EXTERNAL:
            return None  # an export is one file: whatever lies beside it is none of ours
        kernel = numpy_helper.to_array(initializers[node.input[1]]).astype(np.float32)
        height, width, channels = metadata.height, metadata.width, metadata.channels
        if node.op_type == "Conv":  # [F, C, H, W]
            return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 and kernel.shape[1] == channels else None
        if any(attribute.name == "transB" and attribute.i for attribute in node.attribute):
            kernel = kernel.T
        fits = kernel.ndim == 2 and len(kernel) == height * width * channels
        return kernel.reshape(height, width, channels, -1) if fits else None
    return None


def _sheet(tiles: Pixels) -> bytes:
    """The PNG with the tiles in rows, each enlarged without smoothing."""
    from PIL import Image

    times = ceil(TILE / max(tiles.shape[1:3]))
    tiles = tiles.repeat(times, axis=1).repeat(times, axis=2)
    count, height, width, _ = tiles.shape
    # As many as give full rows, where there are such.
    columns = min(count, next((columns for columns in (8, 7, 6, 5) if count % columns == 0), COLUMNS))
    rows = ceil(count / columns)
    sheet = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 4), np.uint8)
    for k, tile in enumerate(tiles):
        top, left = (k // columns) * (height + GAP), (k % columns) * (width + GAP)
        sheet[top : top + height, left : left + width, :3] = tile
        sheet[top : top + height, left : left + width, 3] = 255
    file = BytesIO()
    Image.fromarray(sheet).quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        file, "PNG", optimize=True
    )
    return file.getvalue()
