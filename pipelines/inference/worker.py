"""One model in one library, in a process of its own: `python -m pipelines.inference.worker SETTINGS` (JSON).

It imports, loads and answers one image as soon as it starts, which is the cold start, and then takes orders, a line
of JSON each, for a turn at a batch size. So no library meets another's threads or settings, and peak memory is that of
one library. `pipelines.inference.harness` is the other side of the talk.
"""

from time import perf_counter

BEGAN = perf_counter()  # the clock of the cold start: neither NumPy nor the library is imported yet

import gc  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Mapping  # noqa: E402
from pathlib import Path  # noqa: E402
from time import perf_counter_ns  # noqa: E402
from typing import Any  # noqa: E402

Settings = Mapping[str, Any]
Answer = Callable[[], Any]  # probabilities [N, K] of the batch that it was made for
Prepare = Callable[[Any], Answer]  # takes the batch: images [N, H, W, C] uint8, or features [N, F] float32

WARM_UP = 0.3  # of a turn's time, before the clock runs: who waited is cold
LEAST_CALLS = 3  # of a turn, however long one takes

MATRIX = 512  # rows and columns: three such matrices of float32 fit into a core's second cache, where a product is
# as fast as the machine can be; 1024 was slower by a third next to other programs

# --- libraries: each imports, loads, and gives what prepares a batch -------------------------------------------------


def _zoo(settings: Settings) -> Prepare:
    """An export as apps run it, through `zoo.load`."""
    import zoo

    classifier = zoo.load(settings["file"], settings["provider"], settings["threads"], settings["precision"])
    return lambda batch: lambda: classifier.probabilities(batch)


def _onnxruntime(settings: Settings) -> Prepare:
    """Any ONNX file in onnxruntime as it comes, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    session = onnxruntime.InferenceSession(settings["file"], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: lambda: session.run(["probabilities"], {name: batch})[0]


def _openvino(settings: Settings) -> Prepare:
    """An ONNX file in OpenVINO, at its best: fixed shapes, tuned for latency, no copies of inputs and outputs.

    Where a file doesn't say int8 it calculates in float32: on processors with bfloat16 it would take that unasked.
    """
    import openvino

    core = openvino.Core()
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": settings["threads"],
    }

    def prepare(batch: Any) -> Answer:
        model = core.read_model(settings["file"])
        model.reshape(list(batch.shape))
        compiled = core.compile_model(model, "CPU", options)
        request, output = compiled.create_infer_request(), compiled.output("probabilities")
        return lambda: request.infer([batch], share_inputs=True, share_outputs=True)[output]

    return prepare


def _litert(settings: Settings) -> Prepare:
    from ai_edge_litert.interpreter import Interpreter

    def prepare(batch: Any) -> Answer:
        interpreter = Interpreter(model_path=settings["file"], num_threads=settings["threads"])
        (input_,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(input_["index"], batch.shape)
        interpreter.allocate_tensors()

        def answer() -> Any:
            interpreter.set_tensor(input_["index"], batch)
            interpreter.invoke()
            return interpreter.get_tensor(output["index"])

        return answer

    return prepare


def _tensorflow(settings: Settings) -> Prepare:
    """The Keras model as a `tf.function`, compiled for each shape."""
    model = _keras_model(settings)
    import tensorflow as tf

    function = tf.function(lambda images: model(images, training=False)["probabilities"], jit_compile=False)

    def prepare(batch: Any) -> Answer:
        concrete = function.get_concrete_function(tf.TensorSpec(batch.shape, batch.dtype))
        return lambda: concrete(tf.convert_to_tensor(batch)).numpy()

    return prepare


def _keras(settings: Settings) -> Prepare:
    model = _keras_model(settings)
    return lambda batch: lambda: model.predict(batch, batch_size=len(batch), verbose=0)["probabilities"]


def _keras_model(settings: Settings) -> Any:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import tensorflow as tf

    import zoo.models.normalization  # noqa: F401 (Keras finds its layers by their names then)

    tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
    return keras.saving.load_model(settings["file"], compile=False)


def _matrix(_: Settings) -> Prepare:
    """A product of two matrices: the most multiply-accumulates a second that this machine is seen to do."""
    import numpy as np

    random = np.random.default_rng(0)
    a, b = (random.random((MATRIX, MATRIX), np.float32) for _ in range(2))
    product = np.empty_like(a)
    return lambda _: lambda: np.matmul(a, b, out=product)


LIBRARIES: Mapping[str, Callable[[Settings], Prepare]] = {
    "zoo": _zoo,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "litert": _litert,
    "tensorflow": _tensorflow,
    "keras": _keras,
    "matrix": _matrix,
}

# --- orders --------------------------------------------------------------------------------------------------------


def main() -> None:
    """Start, and take orders until none comes any more. What goes wrong is reported in a line, too."""
    settings: Settings = json.loads(sys.argv[1])
    try:
        import numpy as np

        inputs = np.load(settings["inputs"], mmap_mode="r")  # no pickle
        prepare = LIBRARIES[settings["library"]](settings)
        first = prepare(np.array(inputs[:1]))()
        _tell(cold_start=perf_counter() - BEGAN, answer=np.asarray(first[0], float).tolist())

        prepared: dict[int, Answer] = {}
        gc.disable()
        for line in sys.stdin:
            order = json.loads(line)
            batch = order["batch"]
            if batch not in prepared:
                prepared[batch] = prepare(np.array(inputs[:batch]))
            _tell(nanoseconds=_turn(prepared[batch], order["seconds"]), peak_memory=_peak_memory())
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        _tell(error=lines[0] if lines else type(error).__name__)


def _turn(answer: Answer, seconds: float) -> list[int]:
    """The nanoseconds of each call, in so many seconds after a warm-up."""
    taken: list[int] = []
    warm = perf_counter() + WARM_UP * seconds
    answer()
    while perf_counter() < warm:
        answer()
    end = perf_counter_ns() + int(seconds * 1e9)
    while len(taken) < LEAST_CALLS or perf_counter_ns() < end:
        start = perf_counter_ns()
        answer()
        taken.append(perf_counter_ns() - start)
    return taken


def _peak_memory() -> int:
    """The most bytes of memory that this process has held so far."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")  # Linux' ru_maxrss may be that of the parent
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        try:
            import resource
        except ImportError:  # Windows
            return 0
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes


def _tell(**measured: Any) -> None:
    print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
