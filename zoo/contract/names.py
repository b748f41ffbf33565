"""What the two sides agree upon by name: inputs, outputs, files, versions, and ways to resize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CONTRACT = "2"  # of what is written
CONTRACTS = ("1", CONTRACT)  # that are read: files of 1 say nothing of how far their answers can be relied on
INPUT = "images"  # [N, H, W, C] uint8, raw pixels; N, H and W free
FEATURES = "features"  # of a table, in place of images: [N, F] float32, raw values, a column each; N free
PROBABILITIES = "probabilities"  # [N, K] float32
LOGITS = "logits"  # [N, K] float32
# [N, K, h, w] float32, an output of some models of images: what each of h x w positions adds to a class. Its mean
# over them, plus the last layer's bias, is the logits. The positions lie evenly over the image of the model's size.
# Where there are hidden layers, it is of the units that all positions together have made active.
ACTIVATION_MAP = "activation_map"
# [N] float32 in 0..1, an output of files whose metadata speak of it: the share of images of the known classes, held out
# of the training, that look less familiar than this one. The last output.
FAMILIARITY = "familiarity"
OPSET = 18  # the first with an antialiased Resize; onnxruntime 1.14 (February 2023) and later run it
IR_VERSION = 8  # what tf2onnx writes; web and older runtimes refuse newer ones (onnxruntime#20559)
PARITY_TOLERANCE = 1e-5  # largest difference of a probability between Keras and the file, float32
# How an image of another size comes to the model's: stretched to it; cut to its proportions from the middle; or whole,
# between black margins.
RESIZINGS = ("stretch", "crop", "pad")
WHITE = 65535  # of images of 16 bits, where nothing else is known of them
LARGEST_SIDE = 4096  # pixels of the height or the width that a model is made for: more is a slip or an attack

MODEL_FILE = "model.onnx"
# An export's files by precision, of the weights: `zoo export` writes the first, `zoo quantize` the others beside it. A
# file that names none is of the first.
FLOAT32, INT8, FLOAT16 = "float32", "int8", "float16"
MODEL_FILES: Mapping[str, str] = {FLOAT32: MODEL_FILE, INT8: "model.int8.onnx", FLOAT16: "model.fp16.onnx"}
MANIFEST_FILE = "manifest.json"
CARD_FILE = "README.md"
SAMPLES_FOLDER = "samples"
SAMPLES_FILE = "samples/samples.json"
PLOTS_FOLDER = "plots"

PREFIX = "zoo."  # of our keys among a file's metadata_props

# Names that files, runs and recipes were written under before, and today's. Whatever reads them takes both.
OLD_NAMES: Mapping[str, str] = {
    "pictures": "images",
    "test_pictures": "test_images",
    "calibration_pictures": "calibration_images",
}


def renamed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What was stored by name, under today's names."""
    return {OLD_NAMES.get(name, name): value for name, value in stored.items()}
