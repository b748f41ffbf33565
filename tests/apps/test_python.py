"""examples/python, for real: uvicorn in a process of its own, in an environment that holds the wheel, and HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from environments import ROOT, clean_environment, reseal, run
from PIL import Image

import zoo

pytestmark = pytest.mark.apps
EXAMPLE = ROOT / "examples" / "python"
TOLERANCE = 1e-5  # of a probability
LARGEST_UPLOAD = 10 * 2**20  # bytes
PATIENCE = 5  # seconds that the service gives an upload
SAMPLE = (ROOT / "exports" / "fashion-mnist" / "conv-small" / "samples" / "0.png").read_bytes()


@pytest.fixture(scope="module")
def python(python_environment: Callable[..., Path], wheel: Path) -> Path:
    """What README.md installs."""
    return python_environment(f"{wheel}[cpu]", "--requirement", EXAMPLE / "requirements.txt")


@pytest.fixture(scope="module")
def service(python: Path, exports3: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the service, with all three exports."""
    with serving(python, exports3, tmp_path_factory.mktemp("service")) as url:
        yield url


@contextmanager
def serving(python: Path, exports: Sequence[Path], folder: Path) -> Iterator[str]:
    """The address of a service for exports."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log"
    command = [python, EXAMPLE / "service.py", *exports, "--port", str(port), "--patience", str(PATIENCE)]
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=log.parent, env=clean_environment(), stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while True:
            try:
                assert ask(f"{url}/health") == (200, {"status": "ready"})
                break
            except URLError:
                assert process.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)
    assert "Traceback" not in log.read_text()


def ask(url: str, body: Any = None, kind: str = "image/png") -> tuple[int, Any]:
    """Status and JSON of a GET, or of a POST of that body."""
    try:
        with urlopen(Request(url, body, {"Content-Type": kind} if body is not None else {}), timeout=120) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def form(field: str, content: bytes) -> tuple[bytes, str]:
    """A form with one file, and its content type."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="p.png"\r\n\r\n'
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def test_each_sample_is_predicted_as_expected_as_body_and_as_form(service: str, exports3, samples_of) -> None:
    for export in exports3:
        url = f"{service}/predict?model=fashion-mnist/{export.name}"
        for file, _, expected in samples_of(export):
            for body in ((file.read_bytes(), "image/png"), form("image", file.read_bytes())):
                status, answer = ask(url, *body)
                assert (status, answer["model"]) == (200, f"fashion-mnist/{export.name}")
                found = {one["label"]: one["probability"] for one in answer["ranking"]}
                assert found == pytest.approx(expected, abs=TOLERANCE)
                assert answer["label"] == answer["ranking"][0]["label"] == max(expected, key=expected.__getitem__)
                assert answer["probability"] == answer["ranking"][0]["probability"] == max(found.values())


def test_the_first_export_is_used_where_none_is_named(service: str, exports3, samples_of) -> None:
    file, *_ = samples_of(exports3[0])[0]
    assert ask(f"{service}/predict", file.read_bytes())[1]["model"] == f"fashion-mnist/{exports3[0].name}"


def test_a_coverage_gives_a_set_of_labels_where_the_export_has_sets(
    python: Path, with_sets: Path, service: str, samples_of, tmp_path: Path
) -> None:
    assert ask(f"{service}/predict", SAMPLE)[1]["labels"] == []
    before = ROOT / "tests" / "runtime" / "fixture" / "digits" / "softmax"  # of contract 1
    with serving(python, [with_sets, before], tmp_path) as url:
        for file, *_ in samples_of(with_sets):
            found = ask(f"{url}/predict?coverage=0.95&by_class=true", file.read_bytes())[1]
            expected = zoo.load(with_sets).predict(file, coverage=0.95, by_class=True)
            assert found["labels"] == list(expected.labels) and found["label"] == found["labels"][0]
            assert found["familiarity"] == pytest.approx(expected.familiarity, abs=TOLERANCE)
            assert found["known"] == expected.known
        for query, sentence in (
            ("coverage=2", "a share above 0 and below 1"),
            ("by_class=true", "requires a coverage"),
            ("coverage=0.95&model=digits/softmax", "it is of contract 1"),
        ):
            status, problem = ask(f"{url}/predict?{query}", SAMPLE)
            assert status == 422 and sentence in problem["detail"]


def test_many_requests_at_once_get_a_prediction_each(service: str, exports3, samples_of) -> None:
    samples = samples_of(exports3[1])
    url = f"{service}/predict?model=fashion-mnist/{exports3[1].name}"
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda sample: ask(url, sample[0].read_bytes())[1]["label"], samples * 8))
    assert answers == [max(expected, key=expected.__getitem__) for *_, expected in samples] * 8


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (
            (b"%PDF-1.7\n",),
            422,
            "the image of 9 bytes is a document, which isn't read: save its pages as PNG",
        ),
        ((b"",), 422, "the image of 0 bytes is empty (0 bytes): replace it"),
        (form("image", SAMPLE[: len(SAMPLE) // 2]), 422, "bytes is damaged, it can't be decoded"),
        (form("photo", b"x"), 422, "the form has no file called 'image': send one, or the image as the body"),
        ((b"x" * (LARGEST_UPLOAD + 1),), 413, "the upload is too large, expected at most 10,485,760 bytes"),
        (form("image", b"x" * LARGEST_UPLOAD), 413, "the upload is too large, expected at most 10,485,760 bytes"),
        ((b"no form", "multipart/form-data; boundary=x"), 400, ""),
    ],
    ids=["pdf", "empty", "cut short", "another field", "large", "large form", "no form"],
)
def test_errors_in_a_request_are_reported_in_one_sentence(service: str, body, status: int, sentence: str) -> None:
    found, problem = ask(f"{service}/predict", *body)
    assert found == status, problem
    assert sentence in problem["detail"]


def test_an_upload_of_unknown_length_is_limited_too(service: str) -> None:
    pieces = (b"x" * 2**20 for _ in range(11))  # sent in chunks, without Content-Length
    assert ask(f"{service}/predict", pieces)[0] == 413


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x"])
def test_an_upload_that_never_ends_is_ended(service: str, kind: str) -> None:
    port = int(service.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n--x\r\n"
        slow.sendall(head.encode())
        answer = b"".join(iter(lambda: slow.recv(4096), b""))  # until the service closes it
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the upload took longer than 5 s" in answer


def test_an_upload_that_is_broken_off_leaves_no_traceback(python: Path, exports3, tmp_path: Path) -> None:
    with serving(python, exports3[:1], tmp_path) as url:  # whose log it looks at in the end
        host, port = url.removeprefix("http://").split(":")
        for _ in range(3):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf")
        assert ask(f"{url}/predict", SAMPLE)[0] == 200


def test_large_images_keep_no_small_one_waiting(service: str) -> None:
    """The small ones are asked for after 45 large ones, and have their answers before most of those."""
    packed = BytesIO()
    Image.new("RGB", (7900, 7900), "gray").save(packed, "PNG")
    done: list[int] = []
    with ThreadPoolExecutor(45) as pool:
        sent = [pool.submit(lambda: done.append(ask(f"{service}/predict", packed.getvalue())[0])) for _ in range(45)]
        while 503 not in done and len(done) < 45:  # by the first 503 as many wait as may
            time.sleep(0.01)
        assert [ask(f"{service}/predict", SAMPLE)[0] for _ in range(10)] == [200] * 10
        assert done.count(200) < 16
        for each in sent:
            each.result()
    assert done.count(200) >= 16 and set(done) == {200, 503}


def test_an_unknown_model_is_reported_with_those_that_there_are(service: str) -> None:
    status, problem = ask(f"{service}/predict?model=lenet", b"x")
    assert (status, problem["detail"].partition(":")[0]) == (404, "no model is called 'lenet'")
    assert "fashion-mnist/conv-small" in problem["detail"]


def test_the_models_and_the_description_of_the_service(service: str, exports3) -> None:
    models = ask(f"{service}/models")[1]
    assert [model["model"] for model in models] == [f"fashion-mnist/{export.name}" for export in exports3]
    assert models[1]["family"] == "conv" and models[1]["labels"][9] == "Ankle boot" and models[1]["height"] == 28
    described = ask(f"{service}/openapi.json")[1]["paths"]
    assert set(described) == {"/predict", "/models", "/health"}
    assert set(described["/predict"]["post"]["requestBody"]["content"]) == {"image/*", "multipart/form-data"}
    assert set(described["/predict"]["post"]["responses"]) == {"200", "404", "408", "413", "422", "503"}


@pytest.mark.parametrize(
    ("export", "sentence"),
    [
        ("misled", "predicts its own sample 3.png differently than expected, by 2.0e-05"),
        ("wine", "the rows of a table"),
        ("no samples", "holds no samples"),
        ("another file", "isn't the file that manifest.json names"),
    ],
)
def test_an_export_that_predicts_its_sample_otherwise_is_not_served(
    python: Path, export: str, sentence: str, misled: Path
) -> None:
    folder = ROOT / "tests" / "runtime" / "fixture" / "wine" / "softmax" if export == "wine" else misled
    if export in ("no samples", "another file"):
        (samples := folder / "samples" / "samples.json").write_text("[1, 2]")
        if export == "no samples":
            reseal(folder, samples)
    command = [python, EXAMPLE / "service.py", folder, "--port", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=60, check=False)
    assert done.returncode == 1
    assert str(folder) in done.stderr and sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_script_prints_label_and_probability(python: Path, exports3, samples_of, tmp_path: Path) -> None:
    for export, place in zip(exports3, (0, 4, 9), strict=True):
        file, _, expected = samples_of(export)[place]
        label, probability = max(expected.items(), key=lambda item: item[1])
        printed = run([python, EXAMPLE / "classify.py", export, file], tmp_path)
        assert printed == f"{label}  {probability:.1%}\n"
