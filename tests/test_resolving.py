"""Models by their address in a store: what `zoo.load` does where the store is hostile, or MLflow isn't there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

import zoo
from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from zoo.errors import ExportError, TrackingError

EXPORT = Path(__file__).parent.parent / "exports" / "digits" / "softmax"
RUN = "ab" * 16


class Store(BaseHTTPRequestHandler):
    """MLflow's REST interface, as far as it is asked here, with whatever names and files the server is told to give."""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        name = asked.get("name", "digits")
        version = {"name": name, "version": "1", "source": self.server.source, "run_id": RUN, "status": "READY"}
        model = {"name": name, "aliases": [{"alias": "champion", "version": "1"}], "latest_versions": [version]}
        experiment = {"experiment_id": "1", "name": "digits", "artifact_location": "mlflow-artifacts:/1"}
        run = {
            "info": {
                "run_id": RUN,
                "run_uuid": RUN,
                "experiment_id": "1",
                "artifact_uri": f"mlflow-artifacts:/1/{RUN}",
            },
            "data": {},
        }
        path = address.path.partition("/mlflow/")[2]
        answers = {
            "registered-models/get": {"registered_model": model},
            "model-versions/get": {"model_version": version},
            "experiments/get": {"experiment": experiment},
            "experiments/get-by-name": {"experiment": experiment},
            "experiments/search": {"experiments": [experiment]},
            "runs/get": {"run": run},
            "artifacts/list": {"root_uri": "", "files": self.server.listing},
        }
        if path in answers:
            self._send(json.dumps(answers[path]).encode())
        elif address.path.endswith("/mlflow-artifacts/artifacts"):
            asked_for_folder = not asked.get("path", "").endswith((".onnx", ".txt"))
            listing = self.server.listing if asked_for_folder or self.server.file is None else []
            self._send(json.dumps({"files": listing}).encode())
        elif "/mlflow-artifacts/artifacts/" in address.path:
            self._send(self.server.file or b"evil")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        run_id = self.server.run_id
        found = {"info": {"run_id": run_id, "run_uuid": run_id, "experiment_id": "1"}, "data": {}}
        self._send(json.dumps({"runs": [found], "run": found}).encode())

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A server that a test tells what to answer; working folder and cache lie below `tmp_path / "work"`."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "work" / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "work"))
    monkeypatch.setattr("tempfile.tempdir", None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    server.source, server.listing, server.file = "mlflow-artifacts:/1/models/m-1/artifacts", [], None
    server.run_id = RUN
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield server
    server.shutdown()
    server.server_close()


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_model_of_a_server_is_the_file(store, tmp_path):
    store.file = (EXPORT / "model.onnx").read_bytes()
    assert zoo.load("models:/digits@champion").metadata == zoo.load(EXPORT).metadata
    (kept,) = [path for path in written(tmp_path) if path.endswith(".onnx")]
    assert kept.startswith("work/cache/classifier-zoo/models/")


def test_a_data_set_whose_name_begins_as_the_id_of_a_model_does_is_meant(store):
    store.file = (EXPORT / "model.onnx").read_bytes()
    assert zoo.load("models:/m-nist@champion").metadata.model == "softmax"


EVIL = [
    "../evil.txt",
    "../../../../evil.txt",
    "/evil.txt",
    "x/../../../evil.txt",
    "..\\..\\evil.txt",
    "%2e%2e/evil.txt",
]


@pytest.mark.parametrize("name", EVIL)
def test_names_of_a_hostile_store_lead_nowhere(store, tmp_path, name):
    store.listing = [{"path": name, "is_dir": False, "file_size": 4}]
    with pytest.raises((TrackingError, ExportError)):
        zoo.load("models:/digits@champion")
    (tmp_path / "work" / "deep" / "er").mkdir(parents=True)
    with suppress(TrackingError):  # on Linux a backslash is a letter like any other
        tracking.fetch_folder(RUN, "export", tmp_path / "work" / "deep" / "er")
    assert not [path for path in written(tmp_path) if "evil" in path and not path.startswith("work/deep/er/")]
    assert not Path("/evil.txt").exists()


@pytest.mark.parametrize("run_id", ["../../thesis", "/thesis", "..", ""])
def test_the_id_of_a_run_leads_nowhere_either(store, run_id):
    """Its checkpoint and its outbox lie in folders of that name, which are removed at its end."""
    store.run_id = run_id
    with pytest.raises(TrackingError, match="gives a run the id"):
        tracking.find_run("ab")
    plan = make_plan("softmax", "digits")
    with pytest.raises(TrackingError, match="gives a run the id"):
        tracking.start_run(plan, load_data(plan), {})


@pytest.mark.parametrize("source", ["mlflow-artifacts:/../../etc", "file:///etc", "/etc", "nonsense:/x", ""])
def test_a_source_that_holds_no_model_is_told(store, tmp_path, source):
    store.source = source
    with pytest.raises((TrackingError, ExportError)):
        zoo.load("models:/digits@champion")


def test_a_file_that_is_no_model_is_told(store):
    store.file = b"evil" * 1000
    with pytest.raises(ExportError):
        zoo.load("models:/digits@champion")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("models:/digits@nobody", "digits has no 'nobody' .its aliases: champion"),
        ("models:/digits", "names no model: expected models:/NAME@ALIAS"),
        ("models:/a/b/c", "names no model"),
        (f"runs:/{RUN}/keras", "doesn't name an exported model: expected runs:/RUN/onnx"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_without_the_password(store, address, told):
    with pytest.raises(TrackingError, match=told) as error:
        zoo.load(address)
    assert "secret" not in str(error.value)


def test_where_mlflow_is_not_installed_its_extra_is_named(tmp_path):
    script = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "mlflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import zoo
try:
    zoo.load("models:/digits@champion")
except zoo.MissingExtraError as error:
    print(error)
"""
    paths = os.pathsep.join(filter(None, sys.path))
    environment = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "PATH": "", "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert re.fullmatch(r"mlflow is not installed: pip install '.*\[train\]'\n", done.stdout), done.stderr


def test_where_no_package_can_fetch_it_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    with pytest.raises(zoo.MissingExtraError, match=r"\[train\]"):
        zoo.load("models:/digits@champion")
