"""Exports side by side: metrics from their manifests, latency by the clock."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace

import numpy as np
import onnx
import pytest
from keras_answers import answers_of_keras
from PIL import Image

import zoo
from pipelines.cli import main
from pipelines.cli.commands.compare import comparison_table
from pipelines.core.metrics.intervals import wilson_interval
from pipelines.core.metrics.paired import holm
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.core.support.to_json import to_json
from pipelines.evaluation.comparison.compare import compare
from pipelines.evaluation.latency import WARM_UP, measure_latencies
from pipelines.evaluation.predictions import clean_metrics
from pipelines.evaluation.unknown import evaluate_unknown
from pipelines.exporting.export import write_export
from zoo.contract import MANIFEST_FILE, MODEL_FILE, Metadata, describe_file, read_manifest
from zoo.errors import DataError, ExportError
from zoo.models import build

RELIABILITY = {
    "test_mass_calibration_error": 0.0312,
    "test_uncalibrated_mass_calibration_error": 0.0521,
    "test_mean_set_95": 1.234,
    "test_robust_unseen": 0.713,
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory, metadata_of):
    """Real exports of models with new weights."""
    folder = tmp_path_factory.mktemp("exports")
    for name in ("softmax", "lenet5"):
        data_set = load_data(make_plan(name, "digits"))
        model = build(name, 8, 8, 1, 10)
        metadata = metadata_of(name, model, data_set)
        answers = answers_of_keras(model, data_set.test.inputs)
        metrics = clean_metrics(data_set.test, (answers["logits"], answers["probabilities"]))
        if name == "lenet5":
            metrics |= {"test_accuracy_seed_1": 0.10, "test_accuracy_seed_2": 0.14}
        else:
            metadata = replace(metadata, recipe={"images": "train"})  # some are held out: it says what is familiar
        write_export(folder / "digits" / name, model, data_set, metadata, metrics)
    listed = folder / "digits" / "softmax" / MANIFEST_FILE
    manifest = json.loads(listed.read_text(encoding="utf-8"))
    manifest["metrics"] |= RELIABILITY  # numbers that are no others': nothing here was calibrated
    listed.write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def compared(exports):
    return compare(
        [exports / "digits" / "lenet5", exports / "digits" / "softmax"], plot=exports / "digits" / "comparison.png"
    )


def test_rows_say_what_the_manifests_say_in_the_order_asked_for(compared, exports):
    assert [(row.name, row.family) for row in compared.rows] == [
        ("digits/lenet5", "hybrid"),
        ("digits/softmax", "dense"),
    ]
    for row in compared.rows:
        manifest = read_manifest(exports / row.name)
        assert row.parameters == manifest.metrics["parameters"]
        assert row.accuracy == manifest.metadata.test_accuracy
        assert (row.low, row.high) == wilson_interval(round(359 * row.accuracy), 359)
        assert row.size == (exports / row.name / MODEL_FILE).stat().st_size
        assert row.parity == manifest.metadata.parity["largest_difference"] <= 1e-5


def test_a_row_has_the_spread_over_seeds_where_several_were_trained(compared):
    lenet5, softmax = compared.rows
    assert (lenet5.spread.seeds, softmax.spread) == ((1, 2), None)
    assert lenet5.spread.mean == pytest.approx(0.12)
    assert lenet5.spread.deviation == pytest.approx(0.02 * 2**0.5)
    assert "12.00% ± 2.83 (2)" in comparison_table(compared).rows[0]
    assert json.loads(to_json(compared))["rows"][0]["spread"]["mean"] == pytest.approx(0.12)


def test_what_is_known_of_how_far_to_rely_on_answers_has_a_column_and_nothing_else_has(compared, exports):
    table = comparison_table(compared)
    names = [">calibration error", ">uncalibrated", ">labels at 95%", ">robust (unseen)"]
    assert list(table.columns[-len(names) :]) == names and ">robust (seen)" not in table.columns
    assert [row[-len(names) :] for row in table.rows] == [("", "", "", ""), ("3.12%", "5.21%", "1.23", "71.3%")]
    assert sum(line.startswith(("calibration error: ", "labels at 95%: ")) for line in table.caption) == 2
    narrow = table.without(*table.dispensable)
    assert narrow.columns[-1] == ">over seeds" and "left out" in narrow.caption[-1]
    found = json.loads(to_json(compared))["rows"][1]["reliability"]
    assert (found["mean_set"], found["robust_seen"], found["auroc"]) == (1.234, None, None)
    without = comparison_table(compare([exports / "digits" / "lenet5"]))
    assert without.columns[-1] == ">over seeds" and without.dispensable == ()


def test_the_page_has_a_table_of_how_far_to_rely_on_answers_where_that_is_known(exports, tmp_path):
    names = [exports / "digits" / name for name in ("lenet5", "softmax")]
    text = compare(names, page=tmp_path / "page.html").page.read_text(encoding="utf-8")
    section = text.split("<h2>Reliability</h2>")[1].split("</section>")[0]
    assert '<th class="number">uncalibrated</th>' in section and "robust (seen)" not in section
    assert '<td>softmax</td><td class="number">3.12%</td><td class="number">5.21%</td>' in section
    text = compare(names[:1], page=tmp_path / "page.html").page.read_text(encoding="utf-8")
    assert "Reliability" not in text


def test_a_folder_of_other_things_says_how_well_exports_tell_them_from_their_own(exports, tmp_path, capsys):
    (tmp_path / "noise").mkdir()
    for k, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "noise" / f"{k}.png")
    names = [exports / "digits" / name for name in ("lenet5", "softmax")]
    found = compare(names, unknown=tmp_path / "noise", page=tmp_path / "page.html")
    expected = evaluate_unknown(names[1], tmp_path / "noise").auroc
    assert [row.reliability.auroc for row in found.rows] == [None, expected] and 0 < expected < 1
    assert "digits/lenet5 doesn't say how familiar an image is: it has no AUROC" in found.notes
    assert f'<td class="number">{expected:.3f}</td>' in found.page.read_text(encoding="utf-8")
    assert main(["compare", str(names[1]), "--unknown", str(tmp_path / "noise")]) == 0
    assert f"{expected:.3f}" in capsys.readouterr().out
    with pytest.raises(ExportError, match="none of these exports has familiarity; leave --unknown out"):
        compare(names[:1], unknown=tmp_path / "noise")
    with pytest.raises(DataError, match="holds no images"):
        compare(names, unknown=tmp_path / "nowhere")


def test_what_lies_beside_exports_is_no_model(compared, exports):
    (exports / "digits" / "accuracy.png").write_bytes(b"a chart")
    named = sorted((exports / "digits").iterdir())  # as a shell's exports/digits/* names them
    assert {"comparison.png", "accuracy.png"} < {path.name for path in named}
    assert [row.name for row in compare(named).rows] == ["digits/lenet5", "digits/softmax"]
    with pytest.raises(ExportError, match="is a file, expected an export's folder"):
        compare([exports / "digits" / "comparison.png"])


def test_the_comparison_is_drawn(compared, exports):
    assert compared.plot == exports / "digits" / "comparison.png"
    with Image.open(compared.plot) as image:
        image.load()
    assert compare([exports / "digits" / "softmax"]).plot is None


def test_two_exports_are_compared_on_the_same_images(compared, exports):
    test = load_data(make_plan("softmax", "digits")).test
    right = {
        name: zoo.load(exports / name).probabilities(test.inputs).argmax(axis=1) == test.labels
        for name in ("digits/lenet5", "digits/softmax")
    }
    (pair,) = compared.pairs
    assert {pair.better, pair.other} == set(right)
    better, other = right[pair.better], right[pair.other]
    assert better.sum() >= other.sum()
    assert pair.test.images == 359
    assert pair.test.only_first == (better & ~other).sum()
    assert pair.test.only_second == (other & ~better).sum()
    assert pair.test.difference == pytest.approx(better.mean() - other.mean())
    assert compared.notes == ()
    assert json.loads(to_json(compared))["pairs"][0]["test"]["p"] == pair.test.p


def test_the_best_is_compared_with_each_of_the_others(exports, capsys):
    folders = [exports / "digits" / name for name in ("softmax", "lenet5", "softmax")]
    pairs = compare(folders).pairs
    assert len(pairs) == 2
    assert len({pair.better for pair in pairs}) == 1
    assert [pair.adjusted_p for pair in pairs] == holm([pair.test.p for pair in pairs])
    assert main(["compare", *map(str, folders)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for pair in pairs:
        assert f"{pair.test.only_first:,} to {pair.test.only_second:,} 359" in shown


def changed(folder, to, **metadata):
    """A copy of an export whose manifest and file name another data set."""
    copy = shutil.copytree(folder, to)
    manifest = json.loads((copy / MANIFEST_FILE).read_text(encoding="utf-8"))
    manifest["metadata"].update(metadata)
    model = onnx.load(copy / MODEL_FILE)
    onnx.helper.set_model_props(model, Metadata.from_json(manifest["metadata"], "").to_properties())
    onnx.save(model, copy / MODEL_FILE)
    entry = describe_file(copy, copy / MODEL_FILE)
    manifest["files"] = [entry._asdict() if file["path"] == MODEL_FILE else file for file in manifest["files"]]
    (copy / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    return copy


def test_exports_of_other_images_are_not_paired(exports, tmp_path):
    other = changed(exports / "digits" / "softmax", tmp_path / "other", data_set="mine", data_digest="ab")
    found = compare([exports / "digits" / "lenet5", other])
    assert found.pairs == ()
    assert found.notes[1] == "mine/softmax is paired with none: no other was tested on the same images"
    assert compare([other]).notes == ()


def test_images_that_cannot_be_had_are_told(exports, tmp_path):
    mine = [changed(exports / "digits" / "softmax", tmp_path / name, data_set="mine") for name in "ab"]
    found = compare(mine)
    (note,) = found.notes
    assert (found.pairs, len(found.rows)) == ((), 2)
    assert note == "the exports of mine aren't paired: it isn't a known data set, name its folder with --data"
    assert len(compare(mine, data="digits").pairs) == 1
    assert "did you mean digits" in compare(mine, data="digit").notes[0]


def test_images_that_have_changed_are_told(exports, tmp_path):
    stale = [changed(exports / "digits" / "softmax", tmp_path / name, data_digest="ab" * 32) for name in "ab"]
    (note,) = compare(stale).notes
    assert "the images of digits aren't those that digits/softmax was made with" in note


def test_the_larger_model_takes_longer(compared):
    lenet5, softmax = compared.rows
    assert 0 < softmax.latency < lenet5.latency, "they are timed by turns, whatever else the machine does"


def test_latency_is_the_clocks(exports):
    classifier = zoo.load(exports / "digits" / "lenet5", threads=1)
    calls = []

    class Slow:
        metadata = classifier.metadata

        def probabilities(self, images):
            calls.append(images)
            time.sleep(0.004)
            return classifier.probabilities(images)

    began = time.perf_counter()
    (latency,) = measure_latencies([Slow()], seconds=0.3)  # milliseconds
    took = 1000 * (time.perf_counter() - began)
    assert 4 < latency < 2 * took / (len(calls) - WARM_UP), "half of the calls took as long as the median, or longer"


def test_exports_are_found_by_name(exports, monkeypatch):
    monkeypatch.setenv("ZOO_EXPORTS", str(exports))
    assert compare(["digits/softmax"]).rows[0].name == "digits/softmax"
    with pytest.raises(ExportError, match="did you mean digits/softmax"):
        compare(["digits/sofmax"])
    with pytest.raises(ExportError, match="there are digits/"):  # the data set's name alone makes nothing similar
        compare(["digits/x"])


def test_a_file_alone_has_nothing_to_compare(exports):
    with pytest.raises(ExportError, match=r"model\.onnx is a file, expected an export's folder"):
        compare([exports / "digits" / "softmax" / MODEL_FILE])


def test_an_export_without_metrics_is_told(exports, tmp_path):
    folder = shutil.copytree(exports / "digits" / "softmax", tmp_path / "softmax")
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    del manifest["metrics"]["test_accuracy_low"]
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ExportError, match="lacks the metric 'test_accuracy_low'"):
        compare([folder])


def test_an_image_that_cannot_be_written_is_told(exports, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ExportError, match=r"comparison\.png can't be written"):
        compare([exports / "digits" / "softmax"], plot=tmp_path / "taken" / "comparison.png")
