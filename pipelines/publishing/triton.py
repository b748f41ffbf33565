"""`zoo export RUN|EXPORT --layout triton`: an export as the folder that Triton Inference Server and KServe load.

The layout is that of Triton's model repository, the text that of its schema, `ModelConfig` in model_config.proto.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.support.atomic import atomic_folder
from pipelines.core.support.markdown import plain
from pipelines.exporting.usage import resize_words
from zoo.contract import MODEL_FILE, PROBABILITIES, Metadata
from zoo.errors import ExportError
from zoo.runtime import Classifier, load
from zoo.runtime.loading import find_export

CONFIG_FILE = "config.pbtxt"
LABELS_FILE = "labels.txt"
NOTES_FILE = "README.md"
VERSION = "1"
LARGEST_BATCH = 64  # images or rows; throughput grows little beyond it, memory does
DATA_TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}  # onnxruntime's name -> Triton's
LONGEST_NAME = 63  # letters: a name of Kubernetes, which KServe makes host names of


@dataclass(frozen=True)
class TritonModel:
    """A model as it lies in a model repository. folder: its name there is what clients call the model by."""

    folder: Path
    metadata: Metadata

    @property
    def name(self) -> str:
        """What clients call it."""
        return self.folder.name


def triton(
    name: str | os.PathLike[str],
    *,
    exports: Path = Path("exports"),
    repository: Path = Path("models"),
    license: str = "",  # noqa: A002
    data_license: str = "",
    familiarity: bool = True,
) -> TritonModel:
    """Write an export to REPOSITORY/NAME as Triton reads it: config.pbtxt, 1/model.onnx, labels.txt, and a README.md.

    name: an export, as in `zoo.load`, or a run, which is first exported to `exports`. The folder is named after the
    data set and the model, in lowercase letters, digits, and hyphens, followed by eight hexadecimal digits where they
    aren't written so, or are too long; it can be renamed, because no file names it.
    license, data_license, familiarity: of a run, as in `export`.
    Raises ExportError for what isn't an export, for an export for which one of these is stated, for labels that a text
    file can't list line by line, and for a folder that is something else or can't be written; for a run, what `export`
    raises.
    """
    found = _export_of(name, exports, license=license, data_license=data_license, familiarity=familiarity)
    classifier = load(found, provider="cpu")
    metadata = classifier.metadata
    goal = repository / model_name(metadata)
    with atomic_folder(goal, holds=CONFIG_FILE, kind="a Triton model", option="--repository") as folder:
        (folder / CONFIG_FILE).write_text(config(classifier), encoding="utf-8")
        (folder / LABELS_FILE).write_text(_lines_of(metadata.labels, found), encoding="utf-8")
        (folder / NOTES_FILE).write_text(_notes(goal.name, metadata), encoding="utf-8")
        (folder / VERSION).mkdir()
        model = found / MODEL_FILE if found.is_dir() else found
        (folder / VERSION / MODEL_FILE).write_bytes(model.read_bytes())
    return TritonModel(goal, metadata)


def _export_of(name: str | os.PathLike[str], exports: Path, **stated: Any) -> Path:
    from pipelines.tracking.store import is_run

    if is_run(os.fspath(name)):
        from pipelines.exporting.export import export  # TensorFlow, seconds

        return export(os.fspath(name), exports=exports, **stated).folder
    if stated != {"license": "", "data_license": "", "familiarity": True}:
        raise ExportError(f"{name} is an export: --license, --data-license, and --no-familiarity require a run")
    # `--exports` is where names are looked up, as ZOO_EXPORTS does.
    return exports / name if (exports / name).is_dir() and not Path(name).exists() else find_export(name)


def model_name(metadata: Metadata) -> str:
    """fashion-mnist/conv-small -> fashion-mnist-conv-small: a name for Triton, Kubernetes and a folder."""
    whole = f"{metadata.data_set}-{metadata.model}"
    name = re.sub(r"[^a-z0-9]+", "-", whole.lower()).strip("-")
    name = name if name[:1].isalpha() else f"model-{name}"  # Kubernetes wants a letter first
    if name == whole and len(name) <= LONGEST_NAME:
        return name
    mark = hashlib.sha256(whole.encode()).hexdigest()[:8]  # other names may come to the same letters
    return f"{name[: LONGEST_NAME - len(mark) - 1].strip('-')}-{mark}"


def _lines_of(labels: tuple[str, ...], found: Path) -> str:
    """A label a line, by which Triton names classes."""
    for label in labels:
        if len(label.splitlines()) > 1:
            raise ExportError(f"{found} has the label {label!r}, expected one line each: rename the class, train again")
    return "".join(f"{label}\n" for label in labels)


def config(classifier: Classifier) -> str:
    """The text of config.pbtxt: what goes in and comes out, how requests become batches, and where they run.

    Inputs and outputs are those of the file itself; Triton leaves out their first dimension, the batch.
    """
    inputs, outputs = classifier.session.get_inputs(), classifier.session.get_outputs()
    images = not classifier.columns
    sample = (classifier.height, classifier.width, classifier.channels) if images else (len(classifier.columns),)
    lines = [
        "# For Triton Inference Server, written by `zoo export --layout triton`; its schema is model_config.proto.",
        "# Without a name of its own, the model is called as this folder is.",
        'backend: "onnxruntime"',
        f"max_batch_size: {LARGEST_BATCH}",
        "",
        "# Raw pixels [height, width, channels]: the file scales by itself, and on a processor it resizes; a GPU wants "
        f"{classifier.height}x{classifier.width}."
        if images
        else "# A value for each column of the table; a category is its place among the column's, NaN is missing.",
        "input [",
        *_tensors(inputs),
        "]",
        "output [",
        *_tensors(outputs),
        "]",
        "",
        "# What waits while a batch runs goes together into the next one. With max_queue_delay_microseconds above 0",
        "# the server waits for more: throughput against latency. Only images of one size share a batch."
        if images
        else "# the server waits for more: throughput against latency.",
        "dynamic_batching { }",
        "# One on each GPU, or one on the processor where there is none.",
        "instance_group [ { count: 1 kind: KIND_AUTO } ]",
        "# The first request is no slower than the second.",
        "model_warmup [",
        "  {",
        '    name: "zeros"',
        "    batch_size: 1",
        f'    inputs {{ key: "{inputs[0].name}" value {{ data_type: {DATA_TYPES[inputs[0].type]} '
        f"dims: {list(sample)} zero_data: true }} }}",
        "  }",
        "]",
    ]
    return "\n".join(lines) + "\n"


def _tensors(values: list[Any]) -> Iterator[str]:
    """Each as a line; a dimension that has a name in place of a number is free. One number an image is [1] there."""
    for place, value in enumerate(values):
        dims = [size if isinstance(size, int) else -1 for size in value.shape[1:]]
        labels = f' label_filename: "{LABELS_FILE}"' if value.name == PROBABILITIES else ""
        reshape = "" if dims else " reshape: { shape: [] }"
        comma = "," if place < len(values) - 1 else ""
        shape = f"dims: {dims or [1]}{reshape}"
        yield f'  {{ name: "{value.name}" data_type: {DATA_TYPES[value.type]} {shape}{labels} }}{comma}'


def _notes(name: str, metadata: Metadata) -> str:
    """README.md of the model's folder: how to start the servers, and how to ask."""
    about = f"{plain(metadata.data_set)}/{plain(metadata.model)}"
    if metadata.columns:
        imports, shape = "import json, urllib.request", [1, len(metadata.columns)]
        made = f"values = [0.0] * {len(metadata.columns)}  # one for each column"
        request = f'"datatype": "FP32", "shape": {shape}, "data": values'
        columns = ", ".join(plain(column.name) for column in metadata.columns)
        takes = f"It takes `features`, in this order: {columns}."
    else:
        imports = "import json, urllib.request\nimport numpy, PIL.Image"
        mode, axes = ("L", "[None, ..., None]") if metadata.channels == 1 else ("RGB", "[None]")
        made = f'image = numpy.asarray(PIL.Image.open("image.png").convert("{mode}")){axes}  # [1, H, W, C] uint8'
        request = '"datatype": "UINT8", "shape": image.shape, "data": image.ravel().tolist()'
        takes = (
            "It takes `images`, raw pixels, and scales them by itself. On a processor they may have any size and are "
            f"resized; onnxruntime's CUDA doesn't resize bytes: on a GPU, {resize_words(metadata)} before sending them."
        )
    return f"""# {name}

{about}, as Triton Inference Server loads it: `config.pbtxt`, `{VERSION}/{MODEL_FILE}`, and `{LABELS_FILE}` with the
classes in the order of the outputs. {takes}

The folder above this one is the model repository. In NVIDIA's container of the server, with onnxruntime 1.14 or later:

```sh
tritonserver --model-repository=/models
```

On a GPU, start it with `NVIDIA_TF32_OVERRIDE=0` in its environment: TF32 rounds, and the probabilities would
differ from the verified ones by more than 1e-4.

```python
{imports}

{made}
request = {{
    "inputs": [{{"name": "{metadata.input.name}", {request}}}],
    "outputs": [{{"name": "{PROBABILITIES}", "parameters": {{"classification": 3}}}}],
}}
url = "http://localhost:8000/v2/models/{name}/infer"
answer = json.load(urllib.request.urlopen(url, json.dumps(request).encode()))
print(answer["outputs"][0]["data"])  # the three likeliest, each as "probability:index:label"
```

KServe, with the repository in a volume or a bucket:

```yaml
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
spec:
  predictor:
    model:
      modelFormat: {{ name: onnx }}
      runtime: kserve-tritonserver
      protocolVersion: v2
      storageUri: pvc://models  # where the repository lies
```
"""
