"""What `zoo export --layout triton` writes, read by Triton Inference Server itself and by its schema.

The server is the one that the package nvidia-pytriton carries, for Linux on x86-64. It has no ONNX backend, for which
triton_backend/model.py stands in; all else is the server's own: config, versions, warm-up, batching, labels, protocol.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
from environments import ROOT, clean_environment, run
from PIL import Image

import zoo
from pipelines.publishing.triton import triton

pytestmark = [
    pytest.mark.apps,
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="nvidia-pytriton is for Linux on x86-64"
    ),
]
TOLERANCE = 1e-5  # of a probability
TABLE = ROOT / "tests" / "runtime" / "fixture" / "wine" / "softmax"

PARSE = """
import sys
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
for path in sys.argv[1:]:
    config = text_format.Parse(open(path).read(), ModelConfig())
    print(json_format.MessageToJson(config, preserving_proto_field_name=True, indent=None))
"""


@pytest.fixture(scope="module")
def python(python_environment: Callable[..., Path]) -> Path:
    # The stand-in's side of the server was built for NumPy 1: with 2 it mistakes the size of arrays.
    return python_environment("nvidia-pytriton==0.7.0", "onnxruntime", "numpy<2")


@pytest.fixture(scope="module")
def repository(exports3: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton") / "models"
    for export in (*exports3, TABLE):
        triton(export, repository=folder)
    return folder


@pytest.fixture(scope="module")
def server(python: Path, repository: Path) -> Iterator[str]:
    """The address of the server on the repository."""
    work = repository.parent
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], work).strip())
    bundled = site / "pytriton" / "tritonserver"
    shutil.copytree(bundled / "backends" / "python", work / "backends" / "python")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(bundled / "python_backend_stubs" / version / "triton_python_backend_stub", work / "backends" / "python")
    shutil.copytree(Path(__file__).parent / "triton_backend", work / "backends" / "onnxruntime")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [bundled / "bin" / "tritonserver", f"--model-repository={repository}", f"--http-port={port}"]
    command += [f"--backend-directory={work / 'backends'}", "--http-address=127.0.0.1"]
    command += ["--allow-grpc=0", "--allow-metrics=0"]
    environment = clean_environment() | {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(site),
        "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"),
    }
    log = work / "log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=work, env=environment, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}/v2"
    try:
        until = time.monotonic() + 90
        while True:
            try:
                urlopen(f"{url}/health/ready", timeout=5).close()
                break
            except URLError:  # no listener yet, or 400 while models load
                assert process.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def infer(server: str, model: str, name: str, values: np.ndarray, **parameters: int) -> dict[str, Any]:
    """The answer of a request as KServe's protocol has it, for the probabilities alone."""
    kind = {"uint8": "UINT8", "float32": "FP32"}[str(values.dtype)]
    asked = {
        "inputs": [{"name": name, "datatype": kind, "shape": values.shape, "data": values.ravel().tolist()}],
        "outputs": [{"name": "probabilities", "parameters": parameters}],
    }
    with urlopen(f"{server}/models/{model}/infer", json.dumps(asked).encode(), timeout=60) as answer:
        return json.load(answer)["outputs"][0]


def test_the_config_is_one_of_triton_s_schema(python: Path, repository: Path) -> None:
    paths = sorted(repository.glob("*/config.pbtxt"))
    parsed = [json.loads(line) for line in run([python, "-c", PARSE, *paths], repository).splitlines()]
    configs = dict(zip([path.parent.name for path in paths], parsed, strict=True))
    found = configs["fashion-mnist-conv-small"]
    assert (found["backend"], found["max_batch_size"], found["dynamic_batching"]) == ("onnxruntime", 64, {})
    assert found["input"] == [{"name": "images", "data_type": "TYPE_UINT8", "dims": ["-1", "-1", "1"]}]
    assert found["output"] == [
        {"name": "probabilities", "data_type": "TYPE_FP32", "dims": ["10"], "label_filename": "labels.txt"},
        {"name": "logits", "data_type": "TYPE_FP32", "dims": ["10"]},
        {"name": "activation_map", "data_type": "TYPE_FP32", "dims": ["10", "7", "7"]},
    ]
    assert found["instance_group"] == [{"count": 1}]  # KIND_AUTO is the schema's default
    assert configs["wine-softmax"]["input"] == [{"name": "features", "data_type": "TYPE_FP32", "dims": ["3"]}]


def test_the_server_answers_each_sample_as_expected(server: str, exports3, samples_of) -> None:
    for export in exports3:
        for file, _, expected in samples_of(export):
            image = np.asarray(Image.open(file))[None, ..., None]
            found = infer(server, f"fashion-mnist-{export.name}", "images", image)
            assert found["data"] == pytest.approx(list(expected.values()), abs=TOLERANCE)


def test_the_server_takes_images_of_any_size(server: str, exports3) -> None:
    random = np.random.default_rng(0)
    classifier = zoo.load(exports3[1])
    for shape in ((1, 40, 57, 1), (3, 9, 8, 1)):
        images = random.integers(0, 256, shape, dtype=np.uint8)
        found = infer(server, "fashion-mnist-conv-small", "images", images)
        assert found["data"] == pytest.approx(classifier.probabilities(images).ravel().tolist(), abs=TOLERANCE)


def test_the_server_names_classes_by_their_labels(server: str, exports3, samples_of) -> None:
    for file, _, expected in samples_of(exports3[1]):
        image = np.asarray(Image.open(file))[None, ..., None]
        told = infer(server, "fashion-mnist-conv-small", "images", image, classification=3)["data"]
        ranked = sorted(expected, key=expected.__getitem__, reverse=True)[:3]
        assert [line.split(":", 2)[2] for line in told] == ranked


def test_requests_that_wait_are_put_together(server: str, exports3, samples_of) -> None:
    model = "fashion-mnist-mlp-small"
    samples = [(np.asarray(Image.open(f))[None, ..., None], e) for f, _, e in samples_of(exports3[0])] * 20
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda sample: infer(server, model, "images", sample[0])["data"], samples))
    for answer, (_, expected) in zip(answers, samples, strict=True):
        assert answer == pytest.approx(list(expected.values()), abs=TOLERANCE)
    with urlopen(f"{server}/models/{model}/stats", timeout=30) as told:
        (stats,) = json.load(told)["model_stats"]
    assert stats["execution_count"] < stats["inference_count"]


def test_the_server_answers_rows_of_a_table(server: str) -> None:
    rows = np.array([[13.0, 2.0, 1.0], [12.0, 3.0, 0.0]], np.float32)
    expected = zoo.load(TABLE).probabilities(rows)
    found = infer(server, "wine-softmax", "features", rows)
    assert found["data"] == pytest.approx(expected.ravel().tolist(), abs=TOLERANCE)


def test_what_the_notes_show_works(server: str, repository: Path, exports3, samples_of) -> None:
    text = (repository / "fashion-mnist-conv-small" / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    file, _, expected = samples_of(exports3[1])[3]
    code = code.replace("http://localhost:8000/v2", server).replace("image.png", str(file))
    told = run([sys.executable, "-c", code], repository)
    assert max(expected, key=expected.__getitem__) in told
