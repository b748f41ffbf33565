"""`zoo benchmark`: numbers that agree with each other, in a table, as JSON and in a run; and who is left out."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from pipelines import tracking
from pipelines.cli import main
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.inference import harness, peers
from pipelines.inference.benchmark import benchmark
from pipelines.inference.harness import Entry, Timing, WorkerError, ratio, time_in_turns
from pipelines.inference.peers import PEERS
from zoo.contract import MANIFEST_FILE, MODEL_FILE, describe_file
from zoo.errors import ExportError, ProviderError

EXPORTS = Path(__file__).parent.parent / "exports"
SOFTMAX = EXPORTS / "digits/softmax"
QUICK = {"batches": (1, 16), "threads": (1,), "seconds": 0.02}


@pytest.fixture(scope="module")
def measured():
    """A small conv model, and the same file in OpenVINO."""
    (export,) = benchmark([EXPORTS / "digits/conv-small"], peers=("openvino",), **QUICK).exports
    return export


def test_the_export_and_its_peer_are_measured_at_each_batch_size(measured) -> None:
    assert (measured.name, measured.family) == ("digits/conv-small", "conv")
    found = [(each.name, each.precision, [t.batch for t in each.timings]) for each in measured.entries]
    assert found == [("zoo on cpu", "float32", [1, 16]), ("OpenVINO", "float32", [1, 16])]
    assert measured.notes == ()


def test_numbers_agree_with_each_other(measured) -> None:
    size = (EXPORTS / "digits/conv-small" / MODEL_FILE).stat().st_size
    for each in measured.entries:
        assert each.size == size
        assert 0.01 < each.cold_start < 60
        assert 20e6 < each.peak_memory < 2e9  # Python and NumPy alone take 30 MB
        assert each.difference < 1e-5
        for timing in each.timings:
            assert timing.threads == 1
            assert timing.calls >= 3 * len(timing.rounds) == 15
            assert 0 < timing.median <= timing.p95 <= timing.p99
            assert min(timing.rounds) <= timing.median <= max(timing.rounds)
            assert timing.throughput == pytest.approx(1000 * timing.batch / timing.median)


def test_the_share_of_the_peak_is_one_of_the_machine(measured) -> None:
    assert 1e9 < measured.peak < 1e14  # multiply-accumulates a second: one core without vectors, a thousand with
    for each in measured.entries:
        for timing in each.timings:
            speed = measured.multiply_accumulates * timing.throughput
            assert timing.share == pytest.approx(speed / measured.peak)
            assert timing.share > 0


def test_contestants_are_compared_round_by_round() -> None:
    def timing(*rounds: float) -> Timing:
        return Timing(1, 1, 3, 1.0, 1.0, 1.0, rounds)

    against = ratio(timing(1, 2, 10), timing(2, 4, 5))  # a busy third round
    assert (against.ratio, against.low, against.high) == (2, 0.5, 2)


def test_the_command_prints_a_table_with_the_machine_and_draws_a_plot(capsys, tmp_path: Path) -> None:
    plot = tmp_path / "speeds.png"
    words = ["benchmark", str(SOFTMAX), "--batch", "1,4", "--threads", "1", "--seconds", "0.05", "--plot", str(plot)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "digits/softmax" in shown
    assert "zoo on cpu" in shown
    assert "core" in shown
    with Image.open(plot) as image:
        assert image.width > 800


def test_as_json_it_holds_every_round(capsys) -> None:
    words = ["benchmark", str(SOFTMAX), "--batch", "2", "--threads", "1", "--seconds", "0.05", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    (export,) = found["exports"]
    (each,) = export["entries"]
    (timing,) = each["timings"]
    assert len(timing["rounds"]) == 5
    assert timing["throughput"] == pytest.approx(2000 / timing["median"])
    assert found["machine"]["cores"] >= 1
    assert found["versions"]["onnxruntime"] == onnxruntime.__version__


def test_a_table_is_measured_by_its_rows() -> None:
    export = Path(__file__).parent / "runtime/fixture/wine/softmax"
    (found,) = benchmark([export], **QUICK).exports
    assert found.entries[0].at(16).throughput > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--provider", "cudaa"], "no provider is called 'cudaa': did you mean cuda"),
        (["--provider", "cpu,coreml"], "provider 'coreml' isn't in the installed onnxruntime"),
        (["--precision", "int4"], "no precision is called 'int4'"),
        (["--plot", "/nowhere/speeds.png"], "/nowhere isn't a folder that can be written to"),
        (["--plot", "/"], "it is a folder"),
    ],
)
def test_what_can_not_be_measured_is_told_in_one_sentence(capsys, words: list[str], message: str) -> None:
    assert main(["benchmark", str(SOFTMAX), *words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    told = err.splitlines()[-1]
    assert told.startswith("zoo: ")
    assert message in told


def test_a_precision_that_the_export_lacks_names_the_command_that_makes_it() -> None:
    with pytest.raises(ExportError, match=r"holds no model\.int8\.onnx"):
        benchmark([SOFTMAX], precisions=("int8",))


@pytest.mark.parametrize("words", [["--batch", "0"], ["--threads", "1,x"], ["--seconds", "0"], ["--seconds", "nan"]])
def test_a_number_that_can_not_be_is_a_wrong_command_line(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["benchmark", str(SOFTMAX), *words])
    assert caught.value.code == 2


def test_peers_that_are_not_installed_are_each_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda module: None)
    entries, left_out = peers.prepare(SOFTMAX, {"float32": SOFTMAX / MODEL_FILE}, tuple(PEERS), tmp_path)
    assert entries == []
    assert [line.partition(" is left out")[0] for line in left_out] == [peer.name for peer in PEERS.values()]
    assert "OpenVINO is left out, it needs openvino: pip install openvino" in left_out


def test_a_file_that_never_had_familiarity_is_not_measured_twice(tmp_path: Path) -> None:
    (bare,), left_out = peers.prepare(SOFTMAX, {"float32": SOFTMAX / MODEL_FILE}, ("bare",), tmp_path)
    assert (bare.name, left_out) == ("without familiarity", [])
    assert [output.name for output in onnx.load(bare.file).graph.output] == ["probabilities", "logits"]
    (tmp_path / "twice").mkdir()
    assert peers.prepare(SOFTMAX, {"float32": bare.file}, ("bare",), tmp_path / "twice") == ([], [])


def test_peers_that_need_keras_say_why_a_table_has_none(tmp_path: Path) -> None:
    export = Path(__file__).parent / "runtime/fixture/wine/softmax"
    entries, left_out = peers.prepare(
        export, {"float32": export / MODEL_FILE}, ("tf2onnx", "keras", "openvino"), tmp_path
    )
    assert [each.name for each in entries] == ["OpenVINO"]
    assert len(left_out) == 1
    assert "tf2onnx, Keras predict" in left_out[0]
    assert "it was trained on a table" in left_out[0]


@pytest.mark.parametrize(
    "named", [("bare", "tf2onnx", "litert", "openvino"), pytest.param(tuple(PEERS), marks=pytest.mark.slow)], ids=len
)
def test_the_same_model_answers_alike_in_every_peer(named: tuple[str, ...]) -> None:
    (found,) = benchmark([SOFTMAX], peers=named, batches=(4,), threads=(1,), seconds=0.05).exports
    there = [key for key in named if all(find_spec(module) for module in PEERS[key].modules)]
    assert {each.name for each in found.entries} == {"zoo on cpu", *(PEERS[key].name for key in there)}
    assert len(found.notes) == len(named) - len(there)
    assert all(each.difference < 1e-5 for each in found.entries)


def test_a_peer_that_fails_is_left_out_and_an_export_that_fails_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    ours = Entry("zoo on cpu", "zoo", SOFTMAX, provider="cpu")
    peer = Entry("tf2onnx", "onnxruntime", broken)
    images = np.zeros((1, 8, 8, 1), np.uint8)
    turns = time_in_turns([ours, peer], images, (1,), threads=(1,), seconds=0.01)
    assert [each.name for each in turns.measured] == ["zoo on cpu"]
    assert len(turns.left_out) == 1
    assert turns.left_out[0].startswith("tf2onnx (float32) is left out: ")
    with pytest.raises(WorkerError, match="can't be read as ONNX"):
        time_in_turns([Entry("zoo on cpu", "zoo", broken, provider="cpu")], images, (1,), threads=(1,), seconds=0.01)


@pytest.mark.parametrize("threads", [(1, 2), (1,)], ids=["before the rounds", "after them"])
def test_a_peer_that_does_not_start_again_is_left_out_too(
    tmp_path: Path, monkeypatch, threads: tuple[int, ...]
) -> None:
    """As one that the machine ends, when all run at once."""
    file = tmp_path / "soon gone.onnx"
    shutil.copy(SOFTMAX / MODEL_FILE, file)
    start, started = harness._Process.__init__, []

    def starting(process: harness._Process, entry: Entry, *rest: object) -> None:
        if entry.file == file and len(started) == 2:
            file.write_bytes(b"no model")
        started.extend([entry] if entry.file == file else [])
        start(process, entry, *rest)

    monkeypatch.setattr(harness._Process, "__init__", starting)
    entries = [Entry("zoo on cpu", "zoo", SOFTMAX, provider="cpu"), Entry("tf2onnx", "onnxruntime", file)]
    turns = time_in_turns(entries, np.zeros((1, 8, 8, 1), np.uint8), (1,), threads=threads, seconds=0.01)
    assert [each.name for each in turns.measured] == ["zoo on cpu"]
    assert [sentence.partition(":")[0] for sentence in turns.left_out] == ["tf2onnx (float32) is left out"]


def test_answers_are_compared_with_those_in_float32(tmp_path: Path) -> None:
    entries = [Entry("zoo on cpu", "zoo", EXPORTS / "digits/conv-small", each, "cpu") for each in ("int8", "float32")]
    images = load_data(make_plan("softmax", "digits")).test.inputs[:1]
    int8, float32 = time_in_turns(entries, images, (1,), threads=(1,), seconds=0.01).measured
    assert float32.difference == 0 < int8.difference


def test_openvino_says_that_it_has_no_float16(tmp_path: Path) -> None:
    entries, left_out = peers.prepare(SOFTMAX, {"float16": SOFTMAX / MODEL_FILE}, ("openvino",), tmp_path)
    assert (entries, left_out) == ([], ["OpenVINO (float16) is left out: it would calculate in float32"])


def test_a_provider_that_the_machine_lacks_is_told_before_anything_is_measured() -> None:
    with pytest.raises(ProviderError):
        benchmark([SOFTMAX], providers=("cpu", "directml"))


def test_metrics_go_to_the_run_that_made_the_export_or_a_note_says_why_not(store: Path, tmp_path: Path) -> None:
    told = benchmark([SOFTMAX], **QUICK, log=True).exports[0].notes
    assert len(told) == 1
    assert told[0].startswith("digits/softmax isn't logged: ")

    digits = load_data(make_plan("softmax", "digits"))
    run = tracking.start_run(make_plan("softmax", "digits"), digits, {})
    tracking.finish(run, "FINISHED")
    export = shutil.copytree(SOFTMAX, tmp_path / "softmax")
    manifest = json.loads((export / MANIFEST_FILE).read_text(encoding="utf-8"))
    manifest["metadata"]["run_id"] = run  # its own is in its maker's store
    model = onnx.load(export / MODEL_FILE)
    onnx.helper.set_model_props(
        model, {**{p.key: p.value for p in model.metadata_props}, "zoo.run_id": json.dumps(run)}
    )
    (export / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
    entry = describe_file(export, export / MODEL_FILE)
    manifest["files"] = [each for each in manifest["files"] if each["path"] != MODEL_FILE] + [entry._asdict()]
    (export / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    result = benchmark([export], **QUICK, log=True, plot=tmp_path / "speeds.png")
    (timing, *_) = result.exports[0].entries[0].timings
    assert result.exports[0].notes == (f"digits/softmax is logged to run {run}",)
    kept = tracking.load_run(run).metrics
    assert kept["benchmark/cpu-float32/batch-1/median"] == pytest.approx(timing.median)
    folder = tracking.fetch_folder(run, "benchmark", tmp_path)
    assert {file.name for file in folder.iterdir()} == {"benchmark.json", "benchmark.png"}
