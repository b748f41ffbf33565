"""Every accelerator that the installed onnxruntime has: it starts, takes the work, and answers as the CPU does.

`make test-gpu` runs this in an environment of its own, with the extra `gpu` (or EXTRA=openvino) and without TensorFlow,
and prints the table of throughput.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest

import zoo
from zoo.contract import FLOAT16, INPUT, LOGITS, MODEL_FILE, MODEL_FILES, PROBABILITIES, read_manifest
from zoo.runtime.providers import PROVIDERS, available_providers

pytestmark = pytest.mark.gpu

EXPORTS = sorted(path.parent for path in (Path(__file__).parents[2] / "exports").glob("*/*/manifest.json"))
# TensorRT builds an engine for each shape, for minutes, and rounds to TF32: it isn't held to what is verified.
ACCELERATORS = [name for name in available_providers() if name not in {"cpu", "tensorrt"}]
BATCHES = (1, 64, 1024)
# None is shipped: `zoo quantize EXPORT… --precision float16` makes them.
IN_HALVES = [export for export in EXPORTS if (export / MODEL_FILES[FLOAT16]).is_file()]


# Files of contract 1, and of models that learned from all images, don't say how familiar an image is.
FAMILIAR = [export for export in EXPORTS if read_manifest(export).metadata.familiarity]


def named(export: Path) -> str:
    return f"{export.parent.name}/{export.name}"


def some_images(classifier: zoo.Classifier, count: int) -> np.ndarray:
    shape = (count, classifier.height, classifier.width, classifier.channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def more_or_less_familiar(export: Path, classifier: zoo.Classifier) -> np.ndarray:
    """The export's samples, more and more of each covered by noise: [N, H, W, C] uint8."""
    samples = [classifier.read(path) for path in sorted((export / "samples").glob("*.png"))]
    noise = some_images(classifier, len(samples))
    shares = (0, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
    return np.concatenate([(np.stack(samples) * (1 - share) + noise * share).astype(np.uint8) for share in shares])


def test_there_is_an_accelerator_to_test() -> None:
    assert ACCELERATORS, f"the installed onnxruntime has {', '.join(available_providers())}: make test-gpu installs one"


@pytest.mark.parametrize("name", ACCELERATORS)
@pytest.mark.parametrize("export", EXPORTS, ids=named)
def test_it_answers_as_the_cpu_does(export: Path, name: str) -> None:
    there, cpu = zoo.load(export, provider=name), zoo.load(export, provider="cpu")
    assert there.provider == name
    images = some_images(cpu, 300)
    expected = cpu.probabilities(images)
    for batch in (images, images[:1], images[:7]):
        np.testing.assert_allclose(there.probabilities(batch), expected[: len(batch)], atol=1e-4)
    larger = np.kron(images[:3], np.ones((1, 3, 2, 1), np.uint8))  # resized in the file on the CPU, before it elsewhere
    np.testing.assert_allclose(there.probabilities(larger), cpu.probabilities(larger), atol=2e-2)


@pytest.mark.skipif(not FAMILIAR, reason="no export says how familiar an image is")
@pytest.mark.parametrize("name", ACCELERATORS)
@pytest.mark.parametrize("export", FAMILIAR, ids=named)
def test_it_finds_images_as_familiar_as_the_cpu_does(export: Path, name: str) -> None:
    there, cpu = zoo.load(export, provider=name), zoo.load(export, provider="cpu")
    assert there.provider == name
    images = more_or_less_familiar(export, cpu)
    expected, found = cpu.predict_batch(images), there.predict_batch(images)
    shares = np.array([each.familiarity for each in expected], np.float64)
    assert shares.min() < 0.05 < 0.3 < shares.max(), "known ones and others"
    np.testing.assert_allclose([each.familiarity for each in found], shares, atol=1e-4)
    threshold = cpu.metadata.familiarity["threshold"]
    for one, other, share in zip(found, expected, shares, strict=True):
        assert one.known == other.known or abs(share - threshold) <= 1e-4
    assert there.predict(images[0]).familiarity == pytest.approx(shares[0], abs=1e-4)


@pytest.mark.parametrize("name", ACCELERATORS)
@pytest.mark.parametrize("export", EXPORTS, ids=named)
def test_it_takes_all_that_multiplies(export: Path, name: str) -> None:
    left = zoo.load(export, provider=name).placement().get("cpu", ())
    assert not {"Conv", "Gemm", "MatMul"} & {node.operation for node in left}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ACCELERATORS)
def test_throughput(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No claim, a table: images a second, ours on the accelerator against the CPU, in turns."""
    lines = [f"\nimages a second on {name} (and over the cpu's)", f"{'':34}" + "".join(f"{n:>24}" for n in BATCHES)]
    for export in EXPORTS:
        there, cpu = zoo.load(export, provider=name), zoo.load(export, provider="cpu")
        cells = []
        for count in BATCHES:
            images = some_images(cpu, count)
            fast, slow = in_turns(lambda: there.probabilities(images), lambda: cpu.probabilities(images))  # noqa: B023
            cells.append(f"{count / fast:>15,.0f} ({slow / fast:5.2f})")
        lines.append(f"{named(export):34}" + "".join(cells))
    with capsys.disabled():
        print("\n".join(lines))


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not IN_HALVES, reason="no export has a file in float16: zoo quantize EXPORT --precision float16")
@pytest.mark.parametrize("name", ACCELERATORS)
def test_float16_answers_as_float32_does_and_how_fast(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A claim on the answers to images of noise, which are the least sure, and a table of throughput."""
    lines = [
        f"\nfloat16 on {name}: largest difference of a probability, and images a second (and over float32's)",
        f"{'':42}" + "".join(f"{n:>24}" for n in BATCHES),
    ]
    for export in IN_HALVES:
        half, whole = (zoo.load(export, provider=name, precision=precision) for precision in (FLOAT16, "float32"))
        images = some_images(whole, 300)
        off = float(np.abs(half.probabilities(images) - whole.probabilities(images)).max())
        assert off < 0.03, export
        cells = []
        for count in BATCHES:
            images = some_images(whole, count)
            fast, slow = in_turns(lambda: half.probabilities(images), lambda: whole.probabilities(images))  # noqa: B023
            cells.append(f"{count / fast:>15,.0f} ({slow / fast:5.2f})")
        lines.append(f"{named(export):34}{off:8.4f}" + "".join(cells))
    with capsys.disabled():
        print("\n".join(lines))


@pytest.mark.skipif("cuda" not in ACCELERATORS, reason="only CUDA has graphs, and memory of its own to bind")
def test_whether_binding_and_graphs_would_pay(capsys: pytest.CaptureFixture[str]) -> None:
    """One image, which launches of kernels hold up most: as `probabilities` does it, bound, and as a CUDA graph.

    The API has neither, until this table says that they pay: it takes and gives arrays, and a graph is of one shape.
    """
    import onnxruntime

    lines = ["\none image on cuda, microseconds: as it is, input and output bound to the GPU, and as a CUDA graph"]
    for export in EXPORTS:
        classifier = zoo.load(export, provider="cuda")
        images = some_images(classifier, 1)
        ways: list[Callable[[], Any]] = [lambda: classifier.probabilities(images)]  # noqa: B023
        for graph in ("0", "1"):
            options = {**PROVIDERS["cuda"].options, "enable_cuda_graph": graph}
            technical = [(PROVIDERS["cuda"].technical_name, options)]
            try:
                session = onnxruntime.InferenceSession(export / MODEL_FILE, providers=technical, enable_fallback=0)
                bound = session.io_binding()
                bound.bind_ortvalue_input(INPUT, onnxruntime.OrtValue.ortvalue_from_numpy(images, "cuda", 0))
                for output in (PROBABILITIES, LOGITS):
                    shape = [1, len(classifier.labels)]
                    empty = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, "cuda", 0)
                    bound.bind_ortvalue_output(output, empty)
                session.run_with_iobinding(bound)
            except Exception as error:  # a graph needs every node on the GPU
                lines.append(f"{named(export):34} no CUDA graph: {str(error).splitlines()[0][:120]}")
                continue
            expected = classifier.probabilities(images)
            np.testing.assert_allclose(bound.get_outputs()[0].numpy(), expected, atol=1e-4)
            ways.append(lambda: session.run_with_iobinding(bound))  # noqa: B023
        lines.append(f"{named(export):34}" + "".join(f"{time * 1e6:10.1f}" for time in in_turns(*ways)))
    with capsys.disabled():
        print("\n".join(lines))


def in_turns(*ways: Callable[[], Any], seconds: float = 0.5) -> list[float]:
    """The median seconds of each, called in turns after a warm-up; at least five turns of each."""
    times: list[list[float]] = [[] for _ in ways]
    for way in ways:
        way()
    end = perf_counter() + seconds
    while perf_counter() < end or len(times[0]) < 5:
        for own, way in zip(times, ways, strict=True):
            start = perf_counter()
            way()
            own.append(perf_counter() - start)
    return [float(np.median(own)) for own in times]
