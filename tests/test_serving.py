"""The logged ONNX model through MLflow: what a request may hold, and that the answers are those of the file."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from servers import ask, ask_for_refusal, serving

import zoo
from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.tracking.models.logging import find_export
from zoo.contract import MODEL_FILE

ROOT = Path(__file__).parent.parent
EXPORT = ROOT / "exports" / "digits" / "conv-small"  # with an activation map
SAMPLES = sorted((EXPORT / "samples").glob("*.png"))


@pytest.fixture(scope="module")
def model_id(shared_store):
    """A logged model in a store of its own."""
    plan = make_plan("conv-small", "digits")
    run = tracking.start_run(plan, load_data(plan), {})
    model = onnx.load(EXPORT / MODEL_FILE)
    tracking.log_export(run, model, {}, SAMPLES[0].read_bytes())
    return find_export(run, model)


@pytest.fixture(scope="module")
def folder(model_id):
    """Where the store keeps it."""
    (found,) = Path("mlruns").absolute().rglob(f"{model_id}/artifacts")
    return found


@pytest.fixture(scope="module")
def served(folder):
    """The model as `mlflow.pyfunc.load_model` gives it."""
    import mlflow

    return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture(scope="module")
def classifier():
    return zoo.load(EXPORT)


@pytest.fixture
def post(served):
    """What the server makes of a body of JSON, without the server."""
    from mlflow.pyfunc.scoring_server import invocations

    def ask(body):
        text = json.dumps(body).encode()
        answer = invocations(text, "application/json", served, served.metadata.get_input_schema())
        assert answer.status == 200
        return json.loads(answer.response)["predictions"]

    return ask


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def of_size(height: int, width: int, kind: str = "PNG", mode: str = "RGB") -> str:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def test_encoded_images_in_every_form_that_mlflow_takes_are_answered_as_by_the_file(post, classifier):
    images = [encoded(path) for path in SAMPLES]
    expected = [classifier.predict(path) for path in SAMPLES]
    for body in (
        {"inputs": {"images": images}},
        {"inputs": images},
        {"instances": images},
        {"instances": [{"images": image} for image in images]},
        {"dataframe_records": [{"images": image} for image in images]},
        {"dataframe_split": {"columns": ["images"], "data": [[image] for image in images]}},
    ):
        answer = post(body)
        assert answer["label"] == [prediction.label for prediction in expected]
        for probabilities, prediction in zip(answer["probabilities"], expected, strict=True):
            assert max(probabilities) == pytest.approx(prediction.probability, abs=1e-6)


def test_pixels_are_answered_as_by_the_file(post, classifier):
    images = np.stack([np.asarray(Image.open(path)) for path in SAMPLES])[..., np.newaxis]
    expected = classifier.probabilities(images)
    for body in (
        {"inputs": {"images": images.tolist()}},
        {"inputs": {"images": images[..., 0].tolist()}},  # gray ones without their channel
        {"instances": images.tolist()},
        {"instances": [{"images": image} for image in images.tolist()]},
    ):
        answer = post(body)
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
        assert set(answer) == {"label", "probabilities", "logits", "activation_map", "familiarity"}


def test_one_request_may_mix_sizes_formats_and_pixels(post, classifier):
    images = [of_size(8, 8), of_size(31, 57, "JPEG"), np.full((3, 4, 3), 7).tolist(), of_size(31, 57, "GIF", "L")]
    expected = [
        classifier.predict(base64.b64decode(p) if isinstance(p, str) else np.array(p, np.uint8)) for p in images
    ]
    answer = post({"inputs": {"images": images}})
    assert answer["label"] == [prediction.label for prediction in expected]
    np.testing.assert_allclose([max(p) for p in answer["probabilities"]], [p.probability for p in expected], atol=1e-6)


def test_base64_in_lines_as_the_command_writes_it_is_read(post):
    wrapped = base64.encodebytes(SAMPLES[0].read_bytes()).decode()
    assert "\n" in wrapped
    assert post({"inputs": {"images": [wrapped]}}) == post({"inputs": {"images": [encoded(SAMPLES[0])]}})


def test_in_python_arrays_and_bytes_will_do(served, classifier):
    images = np.stack([np.asarray(Image.open(path)) for path in SAMPLES])[..., np.newaxis]
    expected = classifier.probabilities(images)
    np.testing.assert_array_equal(served.predict({"images": images})["probabilities"], expected)
    encoded_images = np.array([path.read_bytes() for path in SAMPLES], object)
    np.testing.assert_allclose(served.predict({"images": encoded_images})["probabilities"], expected, atol=1e-6)


REFUSED = [
    (["not base64!"], r"images\[0\]: expected an image as base64"),
    ([base64.b64encode(b"no image at all").decode()], r"images\[0\]: "),
    ([encoded(SAMPLES[0]), encoded(SAMPLES[0])[:80]], r"images\[1\]: "),
    (["/etc/passwd"], r"images\[0\]: "),  # a text is never a path
    ([str(SAMPLES[0])], r"images\[0\]: "),
    ([[[[256]]]], r"images\[0\]: .* whole numbers 0..255, received 256..256"),
    ([[[[-1]]]], "received -1..-1"),
    ([[[[0.5]]]], "received 0.5..0.5"),
    ([[[["a"]]]], "whole numbers 0..255"),
    ([[[[1, 2]]]], r"images\[0\]: expected an image"),
    ([[[[1], [2]], [[3]]]], r"images\[0\]: "),
    ([None], "whole numbers 0..255"),
    ([{}], "whole numbers 0..255"),
    ([], "expected a list of images or rows, received none"),
    (5, "received a single one"),
]


@pytest.mark.parametrize(("images", "reason"), REFUSED)
def test_what_is_no_image_is_a_400_that_says_why(post, images, reason):
    from mlflow import MlflowException

    with pytest.raises(MlflowException, match=f"(?s){reason}") as refusal:
        post({"inputs": {"images": images}})
    assert refusal.value.get_http_status_code() == 400
    assert "Traceback" not in refusal.value.serialize_as_json()


def test_the_input_example_is_a_request_that_is_answered(folder, post, served, classifier):
    body = json.loads((folder / "serving_input_example.json").read_text())
    assert post(body)["label"] == [classifier.predict(SAMPLES[0]).label]
    assert body == {"inputs": {"images": [encoded(SAMPLES[0])]}}
    example = served.metadata.load_input_example()
    assert served.predict(example)["label"].tolist() == [classifier.predict(SAMPLES[0]).label]


def test_plain_onnx_tools_find_the_same_file_and_nothing_is_pickled(folder):
    import mlflow

    assert mlflow.onnx.load_model(str(folder)) == onnx.load(EXPORT / MODEL_FILE)
    described = mlflow.models.Model.load(str(folder))
    assert described.flavors["python_function"]["loader_module"] == "pipelines.tracking.serving"
    assert "code" not in described.flavors["python_function"]
    assert {path.name for path in folder.iterdir()} == {
        "MLmodel",
        "model.onnx",
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
        "input_example.json",
        "serving_input_example.json",
    }
    assert "classifier-zoo" not in (folder / "requirements.txt").read_text()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mlflows_own_server_answers_and_refuses(model_id, classifier):
    expected = [classifier.predict(path) for path in SAMPLES]
    images = np.stack([np.asarray(Image.open(path)) for path in SAMPLES])[..., np.newaxis]
    with serving(["models", "serve", "-m", f"models:/{model_id}", "--env-manager", "local"], "/ping") as url:
        answer = ask(f"{url}/invocations", {"inputs": {"images": [encoded(path) for path in SAMPLES]}})["predictions"]
        assert answer["label"] == [prediction.label for prediction in expected]
        answer = ask(f"{url}/invocations", {"inputs": {"images": images.tolist()}})["predictions"]
        np.testing.assert_allclose(answer["probabilities"], classifier.probabilities(images), atol=1e-6)
        status, told = ask_for_refusal(f"{url}/invocations", {"inputs": {"images": ["not base64!"]}})
        assert status == 400
        assert "expected an image as base64" in told
        assert "Traceback" not in told
