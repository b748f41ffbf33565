"""How an export is called: the card's code, and its tables of inputs and outputs."""

from __future__ import annotations

from pipelines.core.support.markdown import filled, plain, row, table
from zoo.contract import (
    ACTIVATION_MAP,
    FAMILIARITY,
    FEATURES,
    INPUT,
    LOGITS,
    MODEL_FILE,
    PREFIX,
    PROBABILITIES,
    SAMPLES_FILE,
    SAMPLES_FOLDER,
    WHITE,
    Manifest,
    Metadata,
)

# The package isn't on an index: what works everywhere is a copy of its sources.
_OURS = "Or with Classifier Zoo's own runtime (`pip install '.[cpu]'` in a copy of its source code):"
CATEGORIES_LISTED = 10  # of a column: the file names them all


def calls(metadata: Metadata, sample: str) -> str:
    """The code of a classifier of images. sample: the path of one in the export."""
    convert, axes = ('.convert("L")', "None, ..., None") if metadata.channels == 1 else ("", "None")
    return f"""## Usage

In this folder, with onnxruntime only (`pip install onnxruntime pillow`):

```python
import json, numpy, onnxruntime, PIL.Image, PIL.ImageOps
session = onnxruntime.InferenceSession("{MODEL_FILE}")
labels = json.loads(session.get_modelmeta().custom_metadata_map["{PREFIX}labels"])
image = PIL.ImageOps.exif_transpose(PIL.Image.open("{sample}")).convert("RGBA")  # upright, on white
image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image).convert("RGB")
pixels = numpy.asarray(image{convert})[{axes}]
print(labels[session.run(["{PROBABILITIES}"], {{"{INPUT}": pixels}})[0][0].argmax()])
```

{_OURS}

```python
import zoo

classifier = zoo.load(".")
prediction = classifier.predict("{sample}")
print(prediction.label, prediction.probability)
```

`{SAMPLES_FOLDER}/` contains images with their expected probabilities: use them to test your code in any language."""


def inputs_and_outputs(manifest: Manifest) -> str:
    """The table of a classifier of images."""
    metadata = manifest.metadata
    channels = "grayscale" if metadata.channels == 1 else "red, green, blue"
    rows = [
        (
            "in",
            f"`{INPUT}`",
            "uint8",
            f"[N, H, W, {metadata.channels}]",
            f"raw pixels 0 to 255, {channels}; any N, H, W",
        ),
        ("out", f"`{PROBABILITIES}`", "float32", f"[N, {len(metadata.labels)}]", "one per class, in the order below"),
        ("out", f"`{LOGITS}`", "float32", f"[N, {len(metadata.labels)}]", "before the softmax"),
    ]
    if manifest.map_size:
        shape = f"[N, {len(metadata.labels)}, {', '.join(map(str, manifest.map_size))}]"
        holds = "contribution of each position to a class; their mean plus the last layer's bias is the logit"
        rows.append(("out", f"`{ACTIVATION_MAP}`", "float32", shape, holds))
    rows += _familiarity(metadata)
    elsewhere = (
        f"On CUDA and in OpenVINO, {resize_words(metadata)} before passing them, as `zoo.load` does: onnxruntime 1.31 "
        "can't resize uint8 images on CUDA, and OpenVINO 2026.4 downscales without antialiasing."
    )
    values = table(("", "name", "type", "shape", "description"), map(row, rows))
    sixteen = (
        ""
        if metadata.white == WHITE
        else f"White is {metadata.white:,} in 16-bit images, as in the training images. `zoo.load` scales them "
        "accordingly; if you pass pixels yourself, divide by that value and multiply by 255."
    )
    return "\n\n".join(["## Inputs and outputs", values, filled(elsewhere), *([filled(sixteen)] if sixteen else [])])


def resize_words(metadata: Metadata) -> str:
    """How images come to the model's size, as an instruction: as `zoo.images.resize` does."""
    size = f"{metadata.height}×{metadata.width}"
    return {
        "stretch": f"resize images to {size}",
        "crop": f"crop images to the largest part in the middle with the proportions of {size}, and resize that",
        "pad": f"resize images to fit into {size}, and center them between black margins,",
    }[metadata.resizing]


def _familiarity(metadata: Metadata) -> list[tuple[str, str, str, str, str]]:
    """The row of the output that says whether an input is of a known class, where the file has it."""
    if not metadata.familiarity:
        return []
    holds = f"0 to 1; below {metadata.familiarity['threshold']:g}, the class is probably unknown"
    return [("out", f"`{FAMILIARITY}`", "float32", "[N]", holds)]


def calls_of_table(sample: str) -> str:
    """The code of a classifier of tables. sample: the path of the file with rows."""
    return f"""## Usage

In this folder, with onnxruntime only (`pip install onnxruntime`):

```python
import json, numpy, onnxruntime
row = json.load(open("{sample}", encoding="utf-8"))[0]["row"]
session = onnxruntime.InferenceSession("{MODEL_FILE}")
about = session.get_modelmeta().custom_metadata_map
labels, columns = json.loads(about["{PREFIX}labels"]), json.loads(about["{PREFIX}columns"])

def feature(value, categories):
    if categories is None:
        return numpy.nan if value is None else value
    value = "" if value is None else value
    return categories.index(value) if value in categories else -1

features = [[feature(row[column["name"]], column["categories"]) for column in columns]]
answer = session.run(["{PROBABILITIES}"], {{"{FEATURES}": numpy.array(features, "float32")}})[0][0]
print(labels[answer.argmax()])
```

{_OURS}

```python
import json, zoo

classifier = zoo.load(".")
row = json.load(open("{sample}", encoding="utf-8"))[0]["row"]  # column -> value, None if missing
prediction = classifier.predict(row)
print(prediction.label, prediction.probability)
```

`{SAMPLES_FILE}` contains rows with their expected probabilities: use them to test your code in any language."""


def inputs_and_outputs_of_table(metadata: Metadata) -> str:
    """The tables of a classifier of tables: inputs and outputs, and columns."""
    classes = f"[N, {len(metadata.labels)}]"
    rows = [
        ("in", f"`{FEATURES}`", "float32", f"[N, {len(metadata.columns)}]", "raw values, in the order below; any N"),
        ("out", f"`{PROBABILITIES}`", "float32", classes, "one per class, in the order below"),
        ("out", f"`{LOGITS}`", "float32", classes, "before the softmax"),
        *_familiarity(metadata),
    ]
    listed = []
    for place, column in enumerate(metadata.columns):
        if column.categories is None:
            kind, value = "number", "as is; NaN if missing"
        else:
            kind = f"{len(column.categories)} categories"
            names = [repr(category) for category in column.categories[:CATEGORIES_LISTED]]
            more = ", …" if len(column.categories) > CATEGORIES_LISTED else ""
            value = f"0 to {len(column.categories) - 1} for {', '.join(names)}{more}; -1 for any other"
        listed.append((f"{place}", plain(column.name), kind, plain(value)))
    about = f"""
        The class is the value of the column {plain(metadata.label_column)}. Missing numbers are replaced by the median
        of the training rows.
    """
    values = table(("", "name", "type", "shape", "description"), map(row, rows))
    columns = table((">feature", "column", "type", "value"), map(row, listed))
    return f"## Inputs and outputs\n\n{values}\n\n{filled(about)}\n\n{columns}"
