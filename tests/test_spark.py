"""The logged model as a function on Spark's columns, by the code that docs/serving.md shows, on a local Spark."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pyarrow.parquet
import pytest

import zoo
from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.tracking.models.logging import find_export
from zoo.contract import MODEL_FILE

ROOT = Path(__file__).parent.parent
EXPORT = ROOT / "exports" / "digits" / "conv-small"  # with an activation map
SAMPLES = sorted((EXPORT / "samples").glob("*.png"))
SHOWN = re.search(r"## On Spark.*?```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(), re.DOTALL)[1]
LOCAL = {  # what makes it a Spark of this machine that nobody else reaches
    "SPARK_LOCAL_IP": "127.0.0.1",
    "PYSPARK_SUBMIT_ARGS": "--master local[2] --conf spark.ui.enabled=false --driver-memory 1g pyspark-shell",
}

# Java, and MLflow in each of Spark's workers: minutes on a machine that has other things to do.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def model_id(shared_store):
    """A logged model in a store of its own."""
    pytest.importorskip("pyspark", reason="needs pyspark")
    if shutil.which("java") is None:
        pytest.skip("needs Java 17")
    plan = make_plan("conv-small", "digits")
    run = tracking.start_run(plan, load_data(plan), {})
    model = onnx.load(EXPORT / MODEL_FILE)
    tracking.log_export(run, model, {}, SAMPLES[0].read_bytes())
    return find_export(run, model)


def program(model_id, text):
    """Run Python as the page shows it, about this model and these images."""
    text = text.replace("models:/fashion-mnist@champion", f"models:/{model_id}")
    Path("program.py").write_text(text)
    paths = {**os.environ, **LOCAL, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    paths["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path('mlruns/mlflow.db').absolute()}"
    paths |= {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    return subprocess.run([sys.executable, "program.py"], env=paths, check=False, capture_output=True, text=True)


def test_the_code_of_the_page_answers_as_the_file_does(model_id):
    shoes = Path("shoes")
    shoes.mkdir()
    for file in SAMPLES:
        shutil.copy(file, shoes)
    done = program(model_id, SHOWN)
    assert done.returncode == 0, done.stderr
    rows = pyarrow.parquet.read_table("answers").to_pylist()
    assert sorted(Path(row["path"]).name for row in rows) == [file.name for file in SAMPLES]
    classifier = zoo.load(EXPORT)
    for row in rows:
        expected = classifier.predict(shoes / Path(row["path"]).name)
        assert row["label"] == expected.label
        assert max(row["probabilities"]) == pytest.approx(expected.probability, abs=1e-6)


def test_base64_is_taken_too_and_what_is_no_image_is_named(model_id):
    images = [base64.b64encode(file.read_bytes()).decode() for file in SAMPLES]
    begin, _, _ = SHOWN.partition("images = ")
    _, _, udf = SHOWN.partition("columns = ")
    udf = "columns = " + udf.partition("answers = ")[0]
    text = f"{begin}{udf}\nfor images in ({images!r}, ['bWlsaw==']):\n"
    text += "    table = spark.createDataFrame([(image,) for image in images], ['content'])\n"
    text += "    print(*[row.answer.label for row in table.select(answer('content').alias('answer')).collect()])\n"
    done = program(model_id, text)
    classifier = zoo.load(EXPORT)
    assert done.stdout.split() == [classifier.predict(file).label for file in SAMPLES]
    assert done.returncode == 1
    assert "images[0]: " in done.stderr
