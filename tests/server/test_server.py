"""examples/server for real: every step from a training to MLflow's own serving, on PostgreSQL, S3 and with accounts."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from own_server import address, secrets_of, start, stop
from servers import ask, free_port, serving

import zoo
from pipelines import tracking
from pipelines.cli import main

pytestmark = [pytest.mark.apps, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(own_folder, tmp_path_factory):
    """(folder of the server, its port, its secrets); the environment is a client's, the working folder its own."""
    folder, port = own_folder, free_port()
    process = start(folder, port)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path_factory.mktemp("client"))
            patch.setenv("XDG_CACHE_HOME", str(Path.cwd() / "cache"))
            # The address holds the password: wherever that is written down, a test below finds it.
            patch.setenv("MLFLOW_TRACKING_URI", address(folder, port))
            yield folder, port, secrets_of(folder)
    finally:
        stop(process)


@pytest.fixture(scope="module")
def promoted(place, tmp_path_factory):
    """What the commands printed, from the training to the promotion; the last of them as JSON."""
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    printed = []

    def zoo_(*arguments: str) -> str:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(arguments)
        printed.append(out.getvalue() + err.getvalue())
        assert code == 0, printed
        return out.getvalue()

    run = json.loads(zoo_("train", "softmax", "--data", "digits", "--set", "epochs=3", "--json"))["run"]
    zoo_("evaluate", run[:12], "--json")
    zoo_("export", run[:12], "--json")
    found = json.loads(zoo_("promote", "digits/softmax", "--json"))
    return run, found, "".join(printed)


def test_the_run_is_in_the_database_with_all_that_belongs_to_it(promoted):
    run, _, _ = promoted
    (found,) = tracking.search("status = 'FINISHED'")
    assert found.info.run_id == run
    tracked = tracking.load_run(run)
    assert len(tracked.history["train_loss"]) == len(tracked.history["epoch"]) >= 1
    assert tracking.load_keras_model(tracked.run_id).count_params() == 650
    with tracking.open_client() as client:
        there = {file.path for file in client.list_artifacts(run)}
    assert {"plan.json", "versions.json", "export"} <= there


def test_the_champion_answers_as_the_file_does(promoted):
    run, found, _ = promoted
    assert (found["registered"], found["version"], found["refusal"]) == ("digits", 1, "")
    from_store, from_file = zoo.load("models:/digits@champion"), zoo.load("digits/softmax")
    assert from_store.metadata == from_file.metadata
    assert from_store.metadata.run_id == run
    for sample in sorted(Path("exports/digits/softmax/samples").glob("*.png")):
        assert from_store.predict(sample) == from_file.predict(sample)
    assert zoo.load(f"runs:/{run}/onnx").metadata == from_file.metadata


def test_mlflow_serves_the_champion(promoted):
    samples = sorted(Path("exports/digits/softmax/samples").glob("*.png"))
    expected = [zoo.load("digits/softmax").predict(sample) for sample in samples]
    images = [base64.b64encode(sample.read_bytes()).decode() for sample in samples]
    with serving(["models", "serve", "-m", "models:/digits@champion", "--env-manager", "local"], "/ping") as url:
        answer = ask(f"{url}/invocations", {"inputs": {"images": images}})["predictions"]
    assert answer["label"] == [prediction.label for prediction in expected]
    assert [max(each) for each in answer["probabilities"]] == pytest.approx([p.probability for p in expected], abs=1e-6)


def test_a_better_model_takes_over_a_worse_one_does_not_and_demotion_goes_back(promoted, capsys):
    assert main(["promote", str(ROOT / "exports/digits/conv-small"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 2
    assert main(["promote", "digits/softmax", "--json"]) == 1
    assert "champion of digits stays version 2: accuracy" in capsys.readouterr().err
    assert main(["demote", "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "registered": "digits",
        "alias": "champion",
        "before": 2,
        "version": 1,
    }


def test_files_are_in_the_s3_store_and_rows_in_postgresql(place, promoted):
    folder, _, _ = place
    assert sum(path.stat().st_size for path in (folder / "s3").rglob("*.dat")) > 100_000
    assert not list(folder.rglob("*.db"))
    assert not Path("mlruns/mlflow.db").exists()  # checkpoints are all that is kept here
    assert not Path("mlruns/artifacts").exists()


def test_nobody_gets_in_without_the_password(place, promoted, monkeypatch, capsys):
    _, port, _ = place
    url = f"http://127.0.0.1:{port}"
    for user in ("", "admin:wrong@"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url.replace("//", f"//{user}"))
        assert main(["predict", "models:/digits@champion", "exports/digits/softmax/samples/0.png"]) == 1
        told = capsys.readouterr().err
        assert "not authenticated" in told
        assert "wrong" not in told
    with pytest.raises(urllib.error.HTTPError) as refusal, urllib.request.urlopen(f"{url}/", timeout=60):
        pass
    refusal.value.close()
    assert refusal.value.code == 401


def test_no_secret_is_written_into_a_run_an_export_a_log_or_a_list_of_processes(place, promoted):
    folder, _, secrets = place
    _, _, printed = promoted
    assert not [name for name, secret in secrets.items() if secret in printed]
    kept = {"secrets.json", "accounts.ini", "s3.json", "environment"}
    logs = [path for path in folder.glob("*") if path.is_file() and path.name not in kept]
    assert {"mlflow.log", "postgres.log", "s3.log"} <= {path.name for path in logs}
    with tracking.open_client() as client:
        for run in tracking.search(""):
            assert not [name for name, secret in secrets.items() if secret in str(run.to_dictionary())]
            if client.list_artifacts(run.info.run_id):
                client.download_artifacts(run.info.run_id, "", str(Path.cwd()))
        for version in client.search_model_versions():
            assert not [name for name, secret in secrets.items() if secret in str(dict(version))]
            where = client.get_model_version_download_uri(version.name, version.version)
            into = Path.cwd() / f"version-{version.version}"
            into.mkdir()
            import mlflow

            mlflow.artifacts.download_artifacts(artifact_uri=where, dst_path=str(into))
    ours = [path for path in Path.cwd().rglob("*") if path.is_file()]
    assert {"plan.json", "MLmodel", "manifest.json", "README.md"} <= {path.name for path in ours}
    for path in [*logs, *ours, *Path("/proc").glob("[0-9]*/cmdline")]:
        try:
            found = path.read_bytes()
        except OSError:  # a process that has ended
            continue
        assert not [name for name, secret in secrets.items() if secret.encode() in found], path
    assert not [path for path in ours if path.suffix in (".pkl", ".pickle")]
    for path in [folder / name for name in kept]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_everything_listens_on_this_machine_alone(place):
    folder, port, _ = place
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    sockets = {line.split()[9]: line.split()[1] for line in listening if line.split()[3] == "0A"}
    parts = [p for p in Path("/proc").glob("[0-9]*") if _is_part(p, folder, port)]
    found = set()
    for part in parts:
        for descriptor in (part / "fd").glob("*"):
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if (inode := target.removeprefix("socket:[").rstrip("]")) in sockets:
                found.add(sockets[inode].partition(":")[0])
    assert found == {"0100007F"}  # 127.0.0.1


def _is_part(process: Path, folder: Path, port: int) -> bool:
    try:
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return False
    return str(folder) in command or f"--port {port}" in command


def test_the_next_start_finds_everything_as_it_was(place, promoted, monkeypatch):
    _, _, secrets = place
    copied = Path(tempfile.mkdtemp(prefix="zoo-server-"))
    port = free_port()
    process = start(copied, port)  # a server of its own, stopped and started again
    try:
        assert secrets_of(copied) != secrets
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", secrets_of(copied)["admin"])
        assert main(["promote", str(ROOT / "exports/digits/lenet5")]) == 0
        stop(process)
        began = time.monotonic()
        assert main(["predict", "models:/digits@champion", "exports/digits/softmax/samples/0.png"]) == 1
        assert time.monotonic() - began < 60
        process = start(copied, port)
        assert zoo.load("models:/digits@champion").metadata.model == "lenet5"
    finally:
        stop(process)
        shutil.rmtree(copied, ignore_errors=True)
