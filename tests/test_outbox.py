"""What a run logs while its store is away: kept in order, sent once, and never in the way of the training."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from nothing_lost import TRAINING, counted, run_ids, server_is_killed, ten_at_once, told, whole
from processes import end, server, start, stop, until
from servers import free_port

from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.core.provenance.reading import read_data
from pipelines.evaluation.evaluate import evaluate
from pipelines.maintenance.sync import sync
from pipelines.tracking.outbox import sender
from pipelines.tracking.outbox.journal import Journal, waits
from pipelines.training.train import train
from zoo.errors import TrackingError
from zoo.models import build


@pytest.fixture
def folder(store):
    return store


def records(journal: Journal) -> list[int]:
    return [entry.record["n"] for entry in journal.waiting()]


# --- the journal ---------------------------------------------------------------------------------------------------


def test_a_journal_keeps_what_was_not_confirmed_in_order(tmp_path):
    journal = Journal(tmp_path / "run")
    for n in range(5):
        journal.append({"kind": "test", "n": n})
    assert records(journal) == [0, 1, 2, 3, 4]
    journal.confirm(journal.waiting()[1])
    journal.close()
    again = Journal(tmp_path / "run")
    assert records(again) == [2, 3, 4]
    assert waits(tmp_path / "run") == 3


def test_a_torn_last_record_was_never_there(tmp_path):
    journal = Journal(tmp_path / "run")
    for n in range(2):
        journal.append({"kind": "test", "n": n})
    journal.close()
    path = tmp_path / "run" / "journal.jsonl"
    whole = path.read_bytes()
    for torn in range(1, len(whole) // 2):
        path.write_bytes(whole[:-torn])
        again = Journal(tmp_path / "run")
        assert records(again) == [0]
        again.append({"kind": "test", "n": 7})
        assert records(again) == [0, 7]
        again.close()


def test_a_journal_that_is_damaged_in_its_midst_is_told(tmp_path):
    journal = Journal(tmp_path / "run")
    for n in range(3):
        journal.append({"kind": "test", "n": n})
    journal.close()
    path = tmp_path / "run" / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"n": 1', b"\0\0\0\0\0\0"))
    for _ in range(2):  # the first leaves it open to the second
        with pytest.raises(TrackingError, match="is damaged at byte"):
            Journal(tmp_path / "run")


def test_a_journal_whose_folder_is_gone_says_so(tmp_path):
    journal = Journal(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(TrackingError, match="can't be written"):
        journal.append({"kind": "test", "n": 0})


def test_the_files_of_a_record_are_its_own_and_go_when_it_is_confirmed(tmp_path):
    journal, files = Journal(tmp_path / "run"), tmp_path / "files"
    files.mkdir()
    for n in range(2):
        (files / "note.txt").write_text(str(n), encoding="utf-8")
        journal.append({"kind": "test", "n": n}, files)
    first, second = journal.waiting()
    assert [(entry.files / "note.txt").read_text(encoding="utf-8") for entry in (first, second)] == ["0", "1"]
    journal.confirm(first)
    assert not first.files.exists()
    assert second.files.exists()


def test_two_cannot_write_one_run(tmp_path):
    journal = Journal(tmp_path / "run")
    with pytest.raises(TrackingError, match=rf"is being trained by process {os.getpid()}"):
        Journal(tmp_path / "run")
    journal.close()
    Journal(tmp_path / "run").close()
    assert not (tmp_path / "run").exists(), "nothing waits in it"


def test_a_lock_that_could_not_be_written_is_let_go(tmp_path, monkeypatch):
    """On a full disk, which has room for a name."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for _ in range(2):
            with pytest.raises(TrackingError, match=r"can't be written \(No space left on device\)"):
                Journal(tmp_path / "run")
    Journal(tmp_path / "run").close()


@pytest.mark.parametrize(
    "count, words",
    [
        (1, "1 record of run 00000000 waits in {}, as the store doesn't take it (away): `zoo sync` sends it"),
        (2, "2 records of run 00000000 wait in {}, as the store doesn't take them (away): `zoo sync` sends them"),
    ],
)
def test_what_the_store_did_not_take_is_counted(tmp_path, monkeypatch, caplog, count, words):
    def away(*_, **__):
        raise TrackingError("away")

    monkeypatch.setattr(sender, "send", away)
    monkeypatch.setattr(sender, "LAST_PATIENCE", 0)
    outbox = sender.Outbox("0" * 32, Journal(tmp_path), (), ())
    for _ in range(count):
        outbox.put({"kind": "status", "status": "FINISHED", "time": 1})
    outbox.close()
    assert words.format(tmp_path) in caplog.messages


# --- what reaches the store ----------------------------------------------------------------------------------------


@contextmanager
def deaf_at_first(port: int) -> Iterator[tuple[int, list[str]]]:
    """A way to a server that loses its first answer to each kind of request that writes, after it has passed it on.

    Yields its own port, and the kinds whose answers were lost.
    """
    lost: list[str] = []

    class Way(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}{self.path}", body, headers, method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    status, found = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, found = error.code, error.read()
            kind = f"{self.command} " + re.sub(r"/m-\w+|/[0-9a-f]{32}", "", self.path.partition("?")[0])
            reads = self.command == "GET" or self.path.endswith("search")
            if not reads and kind not in lost:
                lost.append(kind)
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        do_GET = do_POST = do_PUT = do_PATCH = pass_on  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Way) as way:
        Thread(target=way.serve_forever, daemon=True).start()
        yield way.server_port, lost
        way.shutdown()


@pytest.mark.slow  # what is sent again from the journal is in the tests below
@pytest.mark.timeout(600)
def test_what_was_received_without_an_answer_is_not_written_twice(folder, empty_database, monkeypatch):
    """The server may die between taking a record and saying so: all is sent again, and there once."""
    plan = make_plan("softmax", "digits")
    monkeypatch.setattr("pipelines.tracking.outbox.sender.PAUSES", (0.1,))
    (folder / "server").mkdir()
    shutil.copy(empty_database, folder / "server")
    with server(folder / "server", port := free_port()), deaf_at_first(port) as (way, lost):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        run = tracking.start_run(plan, load_data(plan), {})
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{way}")
        with tracking.outbox_of(run):
            for epoch in range(4, 41, 4):
                tracking.log_epoch(run, epoch, dict.fromkeys(tracking.HISTORY, 0.5))
            tracking.log_folder(run, Path(__file__).parent / "runtime" / "fixture" / "digits")
            tracking.log_keras_model(run, build("softmax", 8, 8, 1, 10))
            tracking.log_metrics(run, {"best_epoch": 3, "parameters": 650})
            tracking.finish(run, "FINISHED")
            until(lambda: not tracking.unsent(run), every=0.1)
        kinds = {kind.rpartition("/mlflow")[2] for kind in lost}
        assert {"/runs/log-batch", "/logged-models", "/runs/outputs", "/runs/update"} <= kinds, lost
        whole(run, epochs=40)


def test_what_waits_is_known_by_its_step_when_it_is_sent_again(folder):
    """Also where the store would take an epoch for another one, as it was measured at another time."""
    plan = make_plan("softmax", "digits")
    run = tracking.start_run(plan, load_data(plan), {})
    kept = folder / "kept"
    with tracking.outbox_of(run):
        for epoch in range(1, 4):
            tracking.log_epoch(run, epoch, {"train_loss": 1 / epoch})
            tracking.log_tags(run, {"epoch": str(epoch)})  # what is between two epochs parts them into requests
        shutil.copytree(folder / "mlruns" / "outbox" / run, kept)
    journal = kept / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "metrics":
            line["metrics"][0][2] += 5000
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (kept / "sent").unlink(missing_ok=True)
    kept.rename(folder / "mlruns" / "outbox" / run)
    (synced,) = sync()
    assert (synced.sent, synced.waiting) == (6, 0)
    assert counted(run)["train_loss"] == {1: 1, 2: 1, 3: 1}


def test_a_run_that_was_killed_after_its_model_was_sent_has_it_once(folder):
    plan = make_plan("softmax", "digits")
    run = tracking.start_run(plan, load_data(plan), {})
    model = build("softmax", 8, 8, 1, 10)
    for resumed in (False, True):
        with tracking.outbox_of(run, resumed=resumed):
            tracking.log_keras_model(run, model)
    with tracking.open_client() as client:
        experiment = client.get_run(run).info.experiment_id
        assert len(client.search_logged_models([experiment], f"source_run_id = '{run}'")) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_server_that_is_killed_and_started_again_has_everything_once(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{(port := free_port())}")
    server_is_killed(folder, partial(server, folder / "server", port), epochs=4000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_training_outlives_its_server_and_sync_sends_the_rest(folder, monkeypatch):
    uri = f"http://me:pass%21word@127.0.0.1:{(port := free_port())}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with server(folder / "server", port) as first:
        process = start(folder, train, **TRAINING)
        until(lambda: Path("mlruns/outbox").is_dir() and run_ids(), every=0.2)
        (run,) = run_ids()
        stop(first)
        assert end(process) == 0, "the training goes on"
    said = told(folder)
    assert "`zoo sync` sends them" in said
    assert "connection refused" in said
    with pytest.raises(TrackingError, match=r"doesn't answer \(connection refused\): start it, or unset .* `zoo sync`"):
        evaluate(run)
    with pytest.raises(TrackingError, match="doesn't answer"):
        sync()
    kept = [path.read_bytes() for path in Path("mlruns").rglob("*") if path.is_file()]
    assert not [secret for secret in (b"pass%21word", b"pass!word") if secret in said.encode() + b"".join(kept)]
    with server(folder / "server", port):
        with pytest.raises(TrackingError, match="hasn't reached the store: `zoo sync` sends it"):
            evaluate(run)
        (synced,) = sync()
        assert (synced.run, synced.waiting, synced.reason) == (run, 0, "")
        assert synced.sent > 0
        assert sync() == ()
        whole(run)
    assert not Path("mlruns/outbox", run).exists()


def test_a_server_that_is_away_is_told_before_anything_is_read(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    read_data.cache_clear()
    with pytest.raises(TrackingError, match=r"connection refused.*unset MLFLOW_TRACKING_URI to keep runs in mlruns/"):
        train("softmax", "digits")
    assert read_data.cache_info().misses == 0
    assert [path.name for path in folder.rglob("*")] == ["mlruns", "mlflow.db"], "nothing is new"


def test_a_server_that_never_answers_is_told_in_seconds(folder, monkeypatch):
    import socket

    monkeypatch.setattr("pipelines.tracking.store.ANSWER_PATIENCE", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(TrackingError, match=r"doesn't answer \(nothing within 0\.5 s\)"):
            tracking.check_store()


def test_a_run_whose_outbox_cannot_be_written_does_not_count_as_running_for_ever(folder):
    (folder / "mlruns" / "outbox").write_text("", encoding="utf-8")
    with pytest.raises(TrackingError, match="can't be written"):
        train("softmax", "digits", settings={"epochs": 1})
    (run,) = run_ids()
    assert tracking.load_run(run).status == "FAILED"


def test_what_belongs_to_another_store_is_not_sent_here(folder, monkeypatch):
    journal = Journal(folder / "mlruns" / "outbox" / ("0" * 32), "http://elsewhere:5000")
    journal.append({"kind": "status", "status": "FINISHED", "time": 1})
    journal.close()
    (synced,) = sync()
    assert (synced.sent, synced.waiting) == (0, 1)
    assert synced.reason.startswith("it belongs to http://elsewhere:5000, not to sqlite:///")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_trainings_at_once_on_one_database_are_ten_complete_runs(folder):
    ten_at_once(folder)
    assert "locked" not in told(folder)
    assert not list(Path("mlruns/outbox").glob("*"))
