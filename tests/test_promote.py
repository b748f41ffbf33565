"""`zoo promote` and `zoo demote`: which version an alias names, what stops it, and that nothing is written then."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from processes import until
from servers import ask, free_port

import zoo
from pipelines import tracking
from pipelines.cli import main
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.core.provenance.reading import Located
from pipelines.evaluation.predictions import answers_of
from pipelines.evaluation.reliability import reliability_metrics
from pipelines.evaluation.robustness import measure_corrupted, robust_metrics
from pipelines.exporting.checks import check_manifest
from pipelines.exporting.export import write_export
from pipelines.exporting.verify import verify
from pipelines.publishing.promote import _data_of, _folder_of, demote, promote
from zoo.contract import MANIFEST_FILE, MODEL_FILE, MODEL_FILES, read_manifest
from zoo.data import load
from zoo.errors import ExportError, TrackingError

EXPORTS = Path(__file__).parent.parent / "exports" / "digits"
SOFTMAX, CONV, LENET = (EXPORTS / name for name in ("softmax", "conv-small", "lenet5"))  # 95.26 %, 99.44 %, 98.89 %


@pytest.fixture
def store(store, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(store / "cache"))
    return store


@pytest.fixture(scope="module", autouse=True)
def shipped_exports_are_verified_once():
    """For real, when one is promoted first: no test changes it where it lies, and copies are verified each time."""
    kept = {}

    def verify_once(folder, **options):
        if Path(folder).parent != EXPORTS:
            return verify(folder, **options)
        asked = (Path(folder), str(options))
        if asked not in kept:
            kept[asked] = verify(folder, **options)
        return kept[asked]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.publishing.promote.verify", verify_once)
        yield


def registered(name: str = "digits"):
    """Aliases of the registered model, and its versions by number; None where there is none."""
    with tracking.open_client() as client:
        if not client.search_registered_models(f"name = '{name}'"):
            return None
        versions = {int(v.version): client.get_model_version(name, v.version) for v in client.search_model_versions()}
        return {alias: int(v) for alias, v in client.get_registered_model(name).aliases.items()}, versions


def runs() -> int:
    return len(tracking.search(""))


def test_the_champion_is_the_model_that_was_promoted_and_gives_its_answers(store):
    found = promote(SOFTMAX)
    assert (found.registered, found.version, found.before, found.refusal) == ("digits", 1, None, "")
    found = promote(CONV, max_latency=1000, max_size=1_000_000)
    assert (found.version, found.before) == (2, 1)
    aliases, versions = registered()
    assert aliases == {"champion": 2}

    from_store, from_file = zoo.load("models:/digits@champion"), zoo.load(CONV)
    assert from_store.metadata == from_file.metadata
    for sample in sorted((CONV / "samples").glob("*.png")):
        assert from_store.predict(sample) == from_file.predict(sample)
    assert zoo.load("models:/digits/1").metadata.model == "softmax"

    version = versions[2]
    assert version.tags["model"] == "conv-small"
    assert version.tags["sha256"] == next(f.sha256 for f in read_manifest(CONV).files if f.path == MODEL_FILE)
    for gate in found.gates:
        assert f"| {gate.name} |" in version.description
    assert "99.44% against 95.26%" in version.description
    with tracking.open_client() as client:  # so that the UI shows the version beside its model
        logged = client.get_logged_model(version.tags["model_id"])
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "digits", "version": 2}]


def test_a_worse_model_is_refused_says_why_and_leaves_nothing(store, capsys):
    promote(CONV)
    before = runs()
    assert main(["promote", str(SOFTMAX)]) == 1
    told = capsys.readouterr()
    assert re.search("accuracy +no", told.out)
    assert (
        "digits/softmax isn't promoted, champion of digits stays version 1: accuracy (95.26% against 99.44%" in told.err
    )
    assert registered()[0] == {"champion": 1}
    assert set(registered()[1]) == {1}
    assert runs() == before


def test_a_model_that_may_be_worse_by_chance_passes_but_not_a_margin(store):
    promote(CONV)
    found = promote(LENET, margin=1)
    assert found.version is None
    assert "at most 1 points below version 1" in found.refusal
    assert promote(LENET).version == 2


def test_budgets_are_kept(store):
    found = promote(CONV, max_latency=1e-6, max_size=1000)
    assert [gate.name for gate in found.gates if not gate.passed] == ["latency", "size"]
    assert registered() is None
    assert runs() == 0


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """softmax with what today's evaluation finds of its calibration and robustness; and without either."""
    test, classifier = load("digits").test, zoo.load(SOFTMAX, provider="cpu")
    corrupted = measure_corrupted(test, partial(answers_of, classifier), classifier.metadata.recipe)
    told = robust_metrics(corrupted) | reliability_metrics(test, answers_of(classifier, test.inputs), {}, {})
    folders = tuple(shutil.copytree(SOFTMAX, tmp_path_factory.mktemp(name) / "softmax") for name in ("with", "without"))
    for folder, more in zip(folders, (told, {}), strict=True):
        manifest = json.loads((folder / MANIFEST_FILE).read_text())
        kept = {name: v for name, v in manifest["metrics"].items() if not name.startswith(("test_robust", "test_mass"))}
        (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, "metrics": kept | more}))
    return *folders, told


def test_calibration_and_robustness_are_kept_to_what_is_asked_for(store, measured):
    folder, _, told = measured
    error, robust = 100 * told["test_mass_calibration_error"], 100 * told["test_robust_mean"]
    found = promote(folder, max_calibration_error=error - 0.1, min_robust_accuracy=robust + 0.1)
    assert [gate.name for gate in found.gates if not gate.passed] == ["calibration", "robustness"]
    assert f"calibration (error {error:.2f}% (95% interval: " in found.refusal
    assert f"wanted: at most {error - 0.1:g}%" in found.refusal
    assert f"robustness ({robust:.2f}% (" in found.refusal and f"{told['test_robust_unseen']:.2%} on" in found.refusal
    assert registered() is None
    assert promote(folder, max_calibration_error=error + 0.1, min_robust_accuracy=robust - 0.1).version == 1
    (version,) = registered()[1].values()
    assert float(version.tags["test_robust_mean"]) == pytest.approx(robust / 100, abs=1e-6)
    assert "| robustness |" in version.description


def test_robustness_that_is_asked_for_is_measured_again(store, measured):
    folder = shutil.copytree(measured[0], store / "boasting")
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["metrics"]["test_robust_mean"] = 0.99
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    found = promote(folder, min_robust_accuracy=90)
    assert [gate.name for gate in found.gates if not gate.passed] == ["parity"]
    assert "the manifest has a test_robust_mean of 0.99000, the file gives" in found.refusal


def test_an_export_that_does_not_say_how_reliable_it_is_is_refused_where_that_is_asked_for(store, measured, capsys):
    _, folder, _ = measured
    asked = ["--max-calibration-error", "5", "--min-robust-accuracy", "50"]
    assert main(["promote", str(folder), *asked]) == 1
    told = capsys.readouterr().err
    assert (
        "calibration (not measured: evaluate its run and export it again; wanted: at most 5%); robustness (not "
        "measured: evaluate its run and export it again; wanted: at least 50% on corrupted images)"
    ) in " ".join(told.split())
    assert registered() is None
    assert [gate.found for gate in promote(folder).gates[-2:]] == ["not measured", "not measured"]


@pytest.mark.parametrize("option", ["--max-calibration-error", "--min-robust-accuracy"])
def test_percents_are_above_0_and_below_100(option, capsys):
    for wrong in ("0", "100", "-5", "nan", "some"):
        with pytest.raises(SystemExit):
            main(["promote", "digits/softmax", f"{option}={wrong}"])
        assert "expected percent above 0 and below 100, such as 2.5, received" in capsys.readouterr().err


def test_an_export_that_does_not_keep_its_promises_is_refused(store):
    copied = shutil.copytree(SOFTMAX, store / "softmax")
    samples = copied / "samples" / "samples.json"
    samples.write_text(samples.read_text().replace("0.9", "0.8", 1))
    with pytest.raises(ExportError, match="isn't the file that manifest"):
        promote(copied)
    model = onnx.load(copied / MODEL_FILE)
    for weights in model.graph.initializer:
        if weights.dims and weights.data_type == onnx.TensorProto.FLOAT:
            changed = onnx.numpy_helper.to_array(weights) * 0.5
            weights.CopyFrom(onnx.numpy_helper.from_array(changed, weights.name))
    resealed = seal(shutil.copytree(SOFTMAX, store / "halved"), model)
    found = promote(resealed)
    assert [gate.name for gate in found.gates if not gate.passed] == ["parity"]
    assert str(store) not in found.refusal
    assert registered() is None


def seal(folder: Path, model) -> Path:
    """The export with another model, of which the manifest knows."""
    from zoo.contract import describe_file

    (folder / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
    found = json.loads((folder / MANIFEST_FILE).read_text())
    entry = describe_file(folder, folder / MODEL_FILE)
    found["files"] = [
        {"path": entry.path, "size": entry.size, "sha256": entry.sha256} if f["path"] == MODEL_FILE else f
        for f in found["files"]
    ]
    (folder / MANIFEST_FILE).write_text(json.dumps(found))
    return folder


def test_demoting_goes_back_step_by_step_even_over_a_version_that_was_champion_twice(store):
    for folder in (SOFTMAX, LENET, CONV):
        promote(folder)
    assert promote(LENET).version == 2  # registered before: no second version of the same model
    assert [demote("digits").version for _ in range(3)] == [3, 2, 1]
    assert registered()[0] == {"champion": 1}
    with pytest.raises(TrackingError, match="no version of digits was champion before 1"):
        demote("digits")
    assert set(registered()[1]) == {1, 2, 3}


@pytest.mark.parametrize("amid", ["set_registered_model_alias", "set_registered_model_tag"])
def test_a_demotion_that_was_interrupted_can_be_done_again(store, monkeypatch, amid):
    from mlflow import MlflowClient

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for folder in (SOFTMAX, CONV):
        promote(folder)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MlflowClient, amid, interrupt)
        demote("digits")
    assert demote("digits").version == 1
    assert registered()[0] == {"champion": 1}


def test_what_holds_the_alias_already_stays_and_nothing_is_written(store):
    promote(CONV)
    before = registered()[1][1].last_updated_timestamp
    found = promote(CONV)
    assert (found.version, found.before) == (1, 1)
    assert registered()[1][1].last_updated_timestamp == before
    assert set(registered()[1]) == {1}


def test_another_alias_has_a_history_of_its_own_and_leads_to_the_champion(store):
    promote(SOFTMAX)
    promote(CONV, alias="staging")
    assert registered()[0] == {"champion": 1, "staging": 2}
    assert promote("models:/digits@staging").version == 2
    assert registered()[0] == {"champion": 2, "staging": 2}
    with pytest.raises(TrackingError, match="was staging before 2"):
        demote("digits", alias="staging")


def test_a_version_whose_run_was_exported_anew_is_not_taken_for_the_new_file(store):
    promote(CONV, alias="staging")
    tracking.log_folder(registered()[1][1].run_id, SOFTMAX, "export")
    with pytest.raises(TrackingError, match=r"version 1 of digits isn't what run .* holds, which was exported again"):
        promote("models:/digits@staging")
    assert registered()[0] == {"staging": 1}


def test_what_an_earlier_export_left_in_a_run_is_no_part_of_the_later_one(store, tmp_path):
    promote(CONV)
    run_id = registered()[1][1].run_id
    tracking.log_folder(run_id, SOFTMAX, "export")  # which has no int8 file, and takes none away
    folder = _folder_of(run_id, tmp_path)
    assert not (folder / MODEL_FILES["int8"]).exists()
    check_manifest(folder)


@pytest.mark.parametrize("somewhere", [True, False])
def test_a_known_data_set_is_found_where_its_run_found_it(store, somewhere):
    files = store / "files"
    files.mkdir()
    plan = make_plan("softmax", "fashion-mnist", data_folder=files if somewhere else None)
    run_id = tracking.start_run(plan, load_data(make_plan("softmax", "digits")), {})
    about = replace(read_manifest(SOFTMAX).metadata, data_set="fashion-mnist", run_id=run_id)
    assert _data_of(about) == (Located("fashion-mnist", data_folder=str(files)) if somewhere else None)
    files.rmdir()
    assert _data_of(about) is None


@pytest.mark.parametrize("alias", ["latest", "v1", "a b", "", "../x", "1"])
def test_an_alias_that_mlflow_would_not_take_is_told_before_anything_is_written(store, alias):
    with pytest.raises(TrackingError, match="can't be an alias"):
        promote(SOFTMAX, alias=alias)
    assert registered() is None


def test_an_alias_that_somebody_moved_meanwhile_is_not_overwritten(store, monkeypatch):
    promote(SOFTMAX)
    adopt = tracking.adopt

    def moved_meanwhile(*arguments):
        with tracking.open_client() as client:
            client.delete_registered_model_alias("digits", "champion")
        return adopt(*arguments)

    monkeypatch.setattr(tracking, "adopt", moved_meanwhile)
    with pytest.raises(TrackingError, match=r"the champion of digits changed meanwhile \(now none\): promote again"):
        promote(CONV)
    assert registered()[0] == {}


def test_an_export_without_a_run_here_gets_one_and_only_one(store):
    promote(SOFTMAX, alias="a")
    promote(SOFTMAX, alias="b")
    (run,) = tracking.search("")
    assert run.info.run_name == "softmax"
    assert run.info.status == "FINISHED"
    assert run.data.tags["trained_as"] == read_manifest(SOFTMAX).metadata.run_id
    assert run.data.metrics["test_accuracy"] == read_manifest(SOFTMAX).metadata.test_accuracy
    assert set(registered()[1]) == {1}


def test_where_nothing_was_exported_it_says_what_to_do(store):
    plan = make_plan("softmax", "digits")
    run = tracking.start_run(plan, load_data(plan), {})
    with pytest.raises(TrackingError, match=f"run {run} holds no export: `zoo export {run[:8]}` writes it"):
        promote(run)
    with pytest.raises(ExportError, match="is a file, expected an export's folder or a run"):
        promote(SOFTMAX / MODEL_FILE)


# --- images of one's own -----------------------------------------------------------------------------------------


IMAGES = "my <img src=x> images"


@pytest.fixture
def folder_export(store, metadata_of):
    """Makes an export of a folder of images, at a size, whose model looks at `where` pixels: bright or dark."""
    random = np.random.default_rng(0)
    for label, level in (("dark | <b>", 60), ("bright", 190)):
        (store / IMAGES / label).mkdir(parents=True)
        for k in range(40):
            image = np.clip(random.normal(level, 20, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(store / IMAGES / label / f"{k}.png")

    def make(name: str, size: tuple[int, int], sign: float = 1.0) -> Path:
        from zoo.models import build

        data_set = load_data(make_plan("softmax", str(store / IMAGES), size=size))
        model = build("softmax", *size, 1, 2)
        layer = next(layer for layer in model.layers if layer.weights)
        kernel = np.zeros(layer.weights[0].shape, np.float32)
        kernel[:, data_set.labels.index("bright")] = sign / kernel.shape[0] * 10
        bias = np.zeros(2, np.float32)
        bias[data_set.labels.index("bright")] = -5 * sign
        layer.set_weights([kernel, bias])
        metadata = metadata_of("softmax", model, data_set)
        metrics = {"test_accuracy": metadata.test_accuracy}
        return write_export(store / name, model, data_set, metadata, metrics).folder

    return make


def test_images_of_ones_own_are_compared_at_the_size_of_each(folder_export, store):
    good, small, wrong = folder_export("a", (16, 16)), folder_export("b", (8, 8)), folder_export("c", (16, 16), -1.0)
    data = str(store / IMAGES)
    assert "say where it is with --data" in promote(good).refusal
    found = promote(good, data=data)
    assert (found.registered, found.version) == ("my-img-src-x-images", 1)
    assert promote(small, data=data).version == 2
    refused = promote(wrong, data=data)
    assert [gate.name for gate in refused.gates if not gate.passed] == ["accuracy"]
    assert zoo.load("models:/my-img-src-x-images@champion").labels == ("bright", "dark | <b>")
    with tracking.open_client() as client:  # MLflow shows HTML in them, a backslash before it or not
        model = client.get_registered_model("my-img-src-x-images")
        told = [model.description, client.get_model_version(model.name, "1").description]
    assert all("images" in each and "<" not in each for each in told)


# --- what it prints ------------------------------------------------------------------------------------------------


def printed_lines(capsys) -> list[str]:
    """The lines in which `zoo promote` says how the champion is loaded and served."""
    capsys.readouterr()
    assert main(["promote", str(SOFTMAX)]) == 0
    found = [line.partition(" it:") for line in capsys.readouterr().out.splitlines()]
    return [command.strip() for does, _, command in found if does in {"load", "serve"}]


def test_what_it_prints_names_the_store(store, capsys):
    load_line, serve_line = printed_lines(capsys)
    assert load_line == 'zoo.load("models:/digits@champion")'
    setting, *command = shlex.split(serve_line)
    assert setting == f"MLFLOW_TRACKING_URI=sqlite:///{store}/mlruns/mlflow.db"
    assert command == ["mlflow", "models", "serve", "-m", "models:/digits@champion", "--env-manager", "local"]


@pytest.mark.slow  # MLflow's server takes ten seconds to start
@pytest.mark.timeout(300)
def test_the_line_that_serves_it_works_in_another_folder(store, capsys, tmp_path_factory):
    line = printed_lines(capsys)[1]
    elsewhere, port = tmp_path_factory.mktemp("elsewhere"), free_port()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    process = subprocess.Popen(
        f"{line} --port {port}", shell=True, cwd=elsewhere, env=environment, start_new_session=True
    )
    sample = sorted((SOFTMAX / "samples").glob("*.png"))[0]

    def answers() -> bool:
        assert process.poll() is None, "the server ended"
        with suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
            return True
        return False

    try:
        until(answers, every=0.2)
        image = base64.b64encode(sample.read_bytes()).decode()
        answer = ask(f"http://127.0.0.1:{port}/invocations", {"inputs": {"images": [image]}})["predictions"]
        assert answer["label"] == [zoo.load(SOFTMAX).predict(sample).label]
        assert list(elsewhere.iterdir()) == [], "no store of MLflow's own"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


# --- at the same moment ----------------------------------------------------------------------------------------------


def test_of_promotions_at_once_only_the_one_that_holds_the_alias_says_that_it_was_promoted(store):
    """What they do before is the same as that of one alone: the part that writes, from three threads."""
    promote(SOFTMAX)
    before = tracking.find_holder("digits", "champion")
    versions = []
    for number in range(3):
        with tracking.open_client() as client:
            made = client.create_model_version("digits", before.source, before.run_id, {"model": str(number)})
        versions.append(replace(before, number=int(made.version)))
    refused, at_once = [], threading.Barrier(3)

    def move(version):
        at_once.wait()
        try:
            tracking.move_alias(version, "champion", before)
            tracking.log_promotion(version, "champion", {"promoted_to_champion": "now"}, "promoted")
        except TrackingError as error:
            refused.append(str(error))

    movers = [threading.Thread(target=move, args=(version,)) for version in versions]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
    aliases, known = registered()
    says_so = {number for number, version in known.items() if "promoted_to_champion" in version.tags}
    assert says_so == {before.number, aliases["champion"]}
    assert [error for error in refused if "changed meanwhile" not in error] == []
    assert len(refused) == 2
    assert demote("digits").version == before.number


@pytest.mark.parametrize("step", ["register", "move_alias", "log_promotion"])
def test_a_promotion_that_is_interrupted_says_nothing_that_is_not_so_and_is_done_again(store, monkeypatch, step):
    class StopError(Exception):
        pass

    def interrupted(*arguments):
        raise StopError

    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(tracking, step, interrupted)
        promote(SOFTMAX)
    found = registered()
    for number, version in found[1].items() if found else ():
        assert "promoted" not in version.description + str(version.tags), number
    assert (found[0] if found else {}) == ({"champion": 1} if step == "log_promotion" else {})
    assert promote(SOFTMAX).version == 1
    aliases, versions = registered()
    assert aliases == {"champion": 1}
    assert "promoted_to_champion" in versions[1].tags
    assert "promoted to champion" in versions[1].description
