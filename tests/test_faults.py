"""What a command reports where the disk is full, the store read-only, the file system without locks, a server silent.

Real faults: a small file system of its own (where root may mount one), a C library whose `flock` refuses, a socket
that takes connections and never answers, a server that answers that it is well and nothing else. Each is one sentence
that names the reason.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from pipelines import tracking
from pipelines.core.support.atomic import atomic_folder
from pipelines.run import run
from pipelines.tracking.outbox.journal import Journal
from zoo.errors import ExportError, TrackingError

ROOT = Path(__file__).parents[1]
FULL, READ_ONLY = "No space left on device|disk is full", "[Rr]ead-?only"
LOCKS, SILENT = r"its file system has no locks \(No locks available\)", r"doesn't answer \(nothing within 5 s\)"
HUNG = r"it took a request, and gave no answer within 10(\.0)? s"


@contextmanager
def mounted(folder, options="size=8m"):
    """A file system of its own at that folder."""
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can't be mounted here: that takes root, on Linux")
    try:
        yield folder
    finally:
        os.chdir("/")
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Leave no byte of its file system free."""
    with (folder / "fill").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


class OnlyHealth(BaseHTTPRequestHandler):
    """Answers that it is well. To all else it says nothing until it is `over`."""

    over = Event()

    def do_GET(self):
        if self.path == "/health":
            self.send_response(200)
            self.end_headers()
        else:
            self.over.wait()

    do_POST = do_GET  # noqa: N815 (as http.server calls it)

    def log_message(self, *_):
        pass


@contextmanager
def hanging():
    """The address of a server that has got stuck."""
    OnlyHealth.over.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), OnlyHealth) as server:
        Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            OnlyHealth.over.set()
            server.shutdown()


def test_a_server_that_gets_stuck_is_reported_as_such(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with hanging() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(TrackingError, match=rf"^the tracking store {uri} failed: it took a request, and gave no"):
            tracking.search("")


@pytest.fixture
def without_locks(tmp_path):
    """An environment whose C library refuses locks, as file systems over a network do."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler makes a library for LD_PRELOAD here")
    source, library = tmp_path / "locks.c", tmp_path / "locks.so"
    source.write_text(
        "#include <errno.h>\nint flock(int file, int operation) { errno = ENOLCK; return -1; }\n", encoding="ascii"
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return {"LD_PRELOAD": str(library)}


# --- the parts that write ------------------------------------------------------------------------------------------


def test_what_writes_to_a_full_disk_says_so(tmp_path, empty_database, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (files := tmp_path / "files").mkdir()
    (files / "large").write_bytes(b"x" * 100_000)
    (disk := tmp_path / "disk").mkdir()
    with mounted(disk):
        (disk / "mlruns").mkdir()
        shutil.copy(empty_database, disk / "mlruns")
        monkeypatch.chdir(disk)
        journal = Journal(disk / "outbox")
        fill(disk)
        with pytest.raises(TrackingError, match=rf"^the outbox .+ can't be written \(({FULL})\)$"):
            journal.append({"kind": "folder", "path": None}, files)
        refused = rf"^exports/new can't be written \(({FULL})\): choose another folder"
        with pytest.raises(ExportError, match=refused), atomic_folder(Path("exports/new")) as new:
            shutil.copytree(files, new / "files")
        refused = rf"^the tracking store \S+ failed: .*({FULL}): free some space$"
        with pytest.raises(TrackingError, match=refused), tracking.open_client() as client:
            for name in map(str, range(1000)):
                client.create_experiment(name)
        with pytest.raises(TrackingError, match=rf"^the outbox .+ can't be written \(({FULL})\)$"):
            Journal(disk / "another", store="x")


def test_a_lock_that_is_refused_is_not_somebody_elses(tmp_path, without_locks):
    program = (
        "from pathlib import Path\nfrom pipelines.tracking.outbox.journal import Journal\nJournal(Path('outbox/run'))"
    )
    done = call(tmp_path, without_locks, "-c", program)
    assert f"TrackingError: the outbox outbox/run can't be written ({LOCKS}".replace("\\", "") in done.stderr
    assert "trained by" not in done.stderr


# --- commands ------------------------------------------------------------------------------------------------------

TRAIN = ("train", "softmax", "--data", "digits", "--set", "epochs=1")
QUANTIZE = ("quantize", "digits/softmax", "--precision", "float16")
READERS = (("runs",), ("gc",), ("sync",))
# fault -> (command, what it reports; "" where it needs nothing that is missing)
TABLE = {
    "full": [
        (TRAIN, FULL),
        (("train", "--resume", "RUN"), FULL),
        (("evaluate", "RUN"), FULL),
        (("export", "RUN"), FULL),
        (QUANTIZE, FULL),
        (("promote", "digits/softmax"), FULL),
        *((command, "") for command in READERS),
    ],
    "read-only": [
        (TRAIN, READ_ONLY),
        (("train", "--resume", "RUN"), READ_ONLY),
        (("evaluate", "RUN"), READ_ONLY),
        (("export", "RUN"), READ_ONLY),
        (QUANTIZE, READ_ONLY),
        (("promote", "digits/softmax"), READ_ONLY),
        (("runs",), ""),
    ],
    "no locks": [
        (TRAIN, LOCKS),
        (("train", "--resume", "RUN"), LOCKS),
        (("runs",), ""),
    ],
    "silent server": [
        (TRAIN, SILENT),
        (("train", "--resume", "RUN"), SILENT),
        (("evaluate", "RUN"), SILENT),
        (("export", "RUN"), SILENT),
        (("promote", "digits/softmax"), SILENT),
        (("runs",), SILENT),
        (("gc",), SILENT),
    ],
    "hanging server": [
        (TRAIN, HUNG),
        (("evaluate", "RUN"), HUNG),
        (("runs",), HUNG),
    ],
}
CASES = [(fault, command, expected) for fault, several in TABLE.items() for command, expected in several]


def call(folder, environment, *arguments):
    """`python ARGUMENTS` there. The limit is against what hangs: on an idle machine the slowest takes 20 seconds."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def exported(shared_store):
    """A folder with a run and its export."""
    run(["softmax"], "digits", settings={"epochs": 1})
    (found,) = tracking.search("")
    return shared_store, found.info.run_id


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "command", "expected"), CASES, ids=[f"{fault}: {' '.join(command)}" for fault, command, _ in CASES]
)
def test_a_fault_is_reported_in_one_sentence(fault, command, expected, exported, tmp_path, request):
    """Slow: each case is a process that imports TensorFlow or MLflow."""
    made, run_id = exported
    (folder := tmp_path / "there").mkdir()
    environment = request.getfixturevalue("without_locks") if fault == "no locks" else {}
    arguments = ("-m", "pipelines.cli", *(run_id[:8] if word == "RUN" else word for word in command))

    def copied():
        for each in ("mlruns", "exports"):
            shutil.copytree(made / each, folder / each)

    if fault in ("full", "read-only"):
        with mounted(folder, "size=64m"):
            copied()
            if fault == "full":
                fill(folder)
            else:
                subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            done = call(folder, environment, *arguments)
    elif fault == "silent server":
        copied()
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(100)
            uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
            done = call(folder, {"MLFLOW_TRACKING_URI": uri}, *arguments)
    elif fault == "hanging server":
        copied()
        with hanging() as uri:
            done = call(folder, {"MLFLOW_TRACKING_URI": uri}, *arguments)
    else:
        copied()
        done = call(folder, environment, *arguments)

    assert "Traceback" not in done.stderr
    if not expected:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 1, done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("zoo: ")]
    assert len(sentences) == 1 and sentences[0] == done.stderr.splitlines()[-1]
    (sentence,) = sentences
    assert len(sentence) < 500
    assert re.search(expected, sentence), sentence
