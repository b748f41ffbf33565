"""Studies: verdicts that follow from effects, trainings that are done once, and a report that is drawn from data."""

from __future__ import annotations

import json
import re
import runpy
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import zoo
from pipelines import tracking
from pipelines.charts import Chart, Series
from pipelines.cli import main
from pipelines.demo import demo
from pipelines.study import experiments, study
from pipelines.study.experiment import Effect, Finding, Judgement, Verdict, _experiments, experiment
from pipelines.study.lab import Arm, Lab
from pipelines.study.models import dense, unshared
from pipelines.study.pictures import changed, moved, pictures, scrambled, with_wrong_labels
from pipelines.study.record import Record
from zoo.errors import StudyError
from zoo.models import build_diagram
from zoo.models.backend import start_keras


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store and a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def planted(request):
    """An experiment from outside of the package: two dense models, the second with as many neurons as is asked for."""
    trained = []

    def plant(neurons):
        @experiment(
            "planted",
            claim="The second <b>knows</b> as much.",
            refuted_if="It falls by 5 points & more.",
            held_equal="All but the neurons.",
            beware="It is planted.",
        )
        def run(lab):
            """Two dense models learn the digits."""

            def measured(model, data_set):
                trained.append(model)
                right = model.predict_on_batch(data_set.test.inputs)["logits"].argmax(1) == data_set.test.labels
                return {"accuracy": 100 * float(right.mean())}

            arms = {
                name: Arm(
                    dense(count), lambda seed: pictures("digits", 500, seed), 120, measure=measured, family="dense"
                )
                for name, count in (("first", 32), ("second", neurons))
            }
            results = lab.train(arms)
            return Finding(
                (Effect("second against first", results["second"] - results["first"], "points", least=-5),),
                Chart("Accuracy", "model", "%", [Series("all", (0, 1), [results["first"], results["second"]])]),
            )

        return trained

    yield plant
    _experiments.pop("planted", None)


def effect(low, high, **bounds):
    return Effect("x", np.array([low, high]), "points", exact=False, **bounds)


def test_an_effect_is_judged_by_its_whole_interval():
    around_two = {"sample": np.array([1.9, 2.0, 2.1]), "unit": "points", "name": "x"}
    assert Effect(**around_two, least=1).judgement is Judgement.AS_CLAIMED
    assert Effect(**around_two, least=3).judgement is Judgement.AGAINST
    assert Effect(**around_two, least=2).judgement is Judgement.OPEN
    assert Effect(**around_two, least=-1, most=1).judgement is Judgement.AGAINST
    assert Effect("x", np.array([7.0]), "points", least=1).judgement is Judgement.OPEN, "one seed has no spread"
    assert Effect("x", np.array([0.0]), "layers", most=0, exact=True).judgement is Judgement.AS_CLAIMED


def test_a_verdict_follows_from_the_effects_and_the_first_is_its_heart():
    chart = Chart("", "", "", ())
    right, wrong, open_ = effect(3, 3.1, least=1), effect(3, 3.1, most=1), effect(-9, 9, least=1)
    assert Finding((right, right), chart).verdict is Verdict.HOLDS
    assert Finding((right, wrong), chart).verdict is Verdict.LIMITS
    assert Finding((wrong, right), chart).verdict is Verdict.REFUTED
    assert Finding((open_, right), chart).verdict is Verdict.OPEN


def test_the_same_model_twice_shows_no_effect_and_a_handicap_is_found(store, planted):
    planted(32)
    (same,) = study(["planted"], quick=True)
    assert same.effects[0].mean == 0
    assert same.verdict is Verdict.HOLDS
    _experiments.pop("planted")
    planted(1)  # one neuron between the pixels and ten classes
    (handicapped,) = study(["planted"], quick=True)
    assert handicapped.effects[0].mean < -20
    assert handicapped.verdict is Verdict.REFUTED


def test_what_was_trained_is_not_trained_again(store, planted, monkeypatch):
    trained = planted(16)
    study(["planted"], quick=True, seeds=2)
    assert len(trained) == 4
    study(["planted"], quick=True, seeds=3)
    assert len(trained) == 6, "the third seed alone"
    results = store / "mlruns/study/planted.json"
    before = results.read_bytes()
    monkeypatch.setattr("pipelines.study.record.commit", lambda: "a later one")
    study(["planted"], quick=True, seeds=3)
    assert results.read_bytes() == before, "it is still told by which commit they were measured"
    results.unlink()
    study(["planted"], quick=True, seeds=3)
    assert len(trained) == 6, "found in the store"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store / 'another.db'}")
    study(["planted"], quick=True, seeds=3)
    assert len(trained) == 6, "found in the results"


def test_an_arm_that_an_experiment_no_longer_has_leaves_its_results(store, planted):
    planted(16)
    study(["planted"], quick=True, seeds=3)
    path = store / "mlruns/study/planted.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"arm": "first"', '"arm": "former"'), encoding="utf-8")
    study(["planted"], quick=True, seeds=2)
    assert sorted(Record(path).trainings) == [("first", 1), ("first", 2), *(("second", seed) for seed in (1, 2, 3))]


def test_a_claim_from_outside_is_one_function(store, capsys):
    text = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = re.search(r"`my_claims.py`:\n\n```python\n(.*?)```", text, re.DOTALL)
    (store / "my_claims.py").write_text(block[1], encoding="utf-8")
    try:
        runpy.run_path("my_claims.py")
    finally:
        _experiments.pop("wider-is-better", None)
    assert re.match(r"holds .*report\.html", capsys.readouterr().out)
    assert "A dense model of more neurons" in (store / "mlruns/study/report.html").read_text(encoding="utf-8")


def test_another_seed_changes_the_figures_within_their_interval(store, planted):
    planted(24)
    (each,) = experiments(["planted"])

    def effect(*seeds):
        finding = each.run(Lab("planted", seeds, True, Record(store / "planted.json"), tracking.start_study("x", {})))
        return finding.effects[0]

    first, other = effect(1, 2, 3), effect(1, 2, 4)
    low, high = first.interval
    assert low < other.mean < high
    assert first.mean != other.mean


def test_the_models_are_kept_as_exports_on_request(store, planted):
    planted(16)
    study(["planted"], quick=True, seeds=2)
    assert not (store / "mlruns/study/models").exists()
    study(["planted"], quick=True, seeds=2, models=True)
    record = Record(store / "mlruns/study/planted.json")
    for arm in ("first", "second"):
        classifier = zoo.load(store / "mlruns/study/models" / f"planted-{arm}", provider="cpu")
        assert 100 * classifier.metadata.test_accuracy == pytest.approx(record.figures(arm, 1)["accuracy"])
    page = demo([store / "mlruns/study/models" / f"planted-{arm}" for arm in ("first", "second")], store / "demo.html")
    assert page.exports == ("digits/planted-first", "digits/planted-second")


def test_each_training_is_a_child_of_the_study_in_the_store(store, planted):
    planted(16)
    study(["planted"], quick=True, seeds=2)
    with tracking.open_client() as client:
        runs = client.search_runs([client.get_experiment_by_name("study/planted").experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "planted"]
    children = [run for run in runs if run is not parent]
    assert sorted(run.info.run_name for run in children) == [
        f"{a}, seed {s}" for a in ("first", "second") for s in (1, 2)
    ]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert all(run.info.status == "FINISHED" for run in runs)
    assert all(run.data.metrics["parameters"] > 0 and run.data.params["optimizer"] == "muon" for run in children)


def test_the_report_is_drawn_from_the_results_alone(store, planted, capsys):
    trained = planted(32)
    assert main(["study", "planted", "--quick", "--seeds", "2"]) == 0
    page, text = (store / f"mlruns/study/{name}" for name in ("report.html", "README.md"))
    first = page.read_text(encoding="utf-8")
    assert "The second &lt;b&gt;knows&lt;/b&gt; as much." in first
    assert "<b>" not in first
    assert "falls by 5 points &amp; more" in first
    assert "seeds 1, 2" in first
    assert r"\<b\>" in text.read_text(encoding="utf-8")
    page.unlink()
    count = len(trained)
    capsys.readouterr()
    assert main(["study", "--report", "--folder", "mlruns/study", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "holds"
    assert len(trained) == count
    assert page.read_text(encoding="utf-8").count("<svg") == first.count("<svg") == 1


def test_a_quick_study_says_what_the_full_one_found(store, planted, capsys):
    planted(32)
    study(["planted"], seeds=2)
    capsys.readouterr()
    assert main(["study", "planted", "--quick", "--seeds", "2"]) == 0
    assert "holds (in full: holds)" in " ".join(capsys.readouterr().out.split())
    for file in ("report.html", "README.md"):
        assert "in full" in (store / "mlruns/study" / file).read_text(encoding="utf-8")
        assert "<th>in full" not in (store / "exports/study" / file).read_text(encoding="utf-8")


def test_what_an_older_version_measured_stops_no_other_experiment(store, planted, capsys):
    Record(store / "mlruns/study/tables.json").finished((1, 2), quick=True)  # without the trainings of today
    planted(32)
    assert main(["study", "planted", "--quick", "--seeds", "2"]) == 0
    told = capsys.readouterr()
    assert "the full study what is true" in told.err
    assert "left out of the report: mlruns/study/tables.json holds no training" in told.err
    assert "planted" in told.out
    assert main(["study", "--report", "--folder", "mlruns/study"]) == 1, "asked for all, it says what is missing"
    assert "tables.json holds no training" in capsys.readouterr().err


def test_bad_wishes_are_told_in_a_sentence(store, planted, capsys):
    assert main(["study", "translatoin"]) == 1
    assert "no experiment is called 'translatoin': did you mean translation?" in capsys.readouterr().err
    assert main(["study", "translation", "--seeds", "1"]) == 1
    assert "needs 2 seeds or more" in capsys.readouterr().err
    assert main(["study", "--report"]) == 1
    assert "exports/study holds no results: run `zoo study` first" in capsys.readouterr().err
    (store / "planted.json").write_text('{"made": 3}')
    with pytest.raises(StudyError, match="holds no results"):
        Record(store / "planted.json")


def test_every_experiment_says_what_would_refute_it():
    for each in experiments():
        assert each.method and each.claim and each.held_equal and each.beware
        assert each.refuted_if.endswith(".")


# --- pictures and models -------------------------------------------------------------------------------------------


def test_pixels_change_places_within_their_blocks_alone():
    images = np.arange(2 * 28 * 28, dtype=np.int64).astype(np.uint8).reshape(2, 28, 28, 1)
    assert np.array_equal(scrambled(images, 1), images)
    for block in (2, 4, 7, 14, 28):
        found = scrambled(images, block)
        assert not np.array_equal(found, images)
        for row in range(0, 28, block):
            for column in range(0, 28, block):
                part = (slice(None), slice(row, row + block), slice(column, column + block))
                assert np.array_equal(np.sort(found[part], axis=None), np.sort(images[part], axis=None))
    flat = scrambled(np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1), 2).ravel()
    assert np.array_equal(scrambled(flat.reshape(1, 2, 2, 1), 1).ravel(), flat)


def test_a_picture_moves_and_black_comes_in():
    image = np.array([[1, 2], [3, 4]], np.uint8).reshape(1, 2, 2, 1)
    assert moved(image, 1, 0).ravel().tolist() == [0, 0, 1, 2]
    assert moved(image, 0, -1).ravel().tolist() == [2, 0, 4, 0]
    assert np.array_equal(moved(image, 0, 0), image)
    assert not moved(image, 5, 0).any()


def test_pictures_are_drawn_by_the_seed_as_many_of_each_class():
    one, again, other = pictures("digits", 200, 1), pictures("digits", 200, 1), pictures("digits", 200, 2)
    assert np.bincount(one.train.labels).tolist() == [20] * 10
    assert one.digest == again.digest != other.digest
    assert one.test.labels.tolist() == other.test.labels.tolist()
    with pytest.raises(StudyError, match="ask for fewer"):
        pictures("digits", 5_000, 1)
    darker = changed(one, lambda images: images // 2)
    assert darker.train.inputs.max() < one.train.inputs.max()
    wrong = with_wrong_labels(one, 0.3, seed=1)
    assert (wrong.train.labels != one.train.labels).mean() == 0.3
    assert np.array_equal(wrong.test.labels, one.test.labels)


def test_unshared_filters_are_a_convolution_where_all_positions_have_the_same():
    keras = start_keras()
    local = build_diagram(unshared(3, strides=(2,)), "study", 9, 9, 1, 4)
    layer = next(each for each in local.layers if each.name == "local1")
    kernel = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    layer.set_weights([np.broadcast_to(kernel, layer.weight.shape)])
    images = np.random.default_rng(1).random((2, 9, 9, 1), np.float32)
    expected = keras.ops.conv(images, kernel.reshape(3, 3, 1, 3), strides=2, padding="same")
    assert np.allclose(layer(images), expected, atol=1e-5)
    assert layer.count_params() == 5 * 5 * 9 * 3


# --- charts --------------------------------------------------------------------------------------------------------


def test_a_chart_shows_each_point_as_drawing_and_as_text():
    lines = [
        Series("a < b", (1, 10, 100), [[1, 2], [3, 5], [8, 8]], "conv"),
        Series("c", (1, 100), [[2], [9]], "dense"),
    ]
    chart = Chart("A & B", "pictures", "%", lines, log_x=True)
    drawing = ElementTree.fromstring(chart.svg())  # well-formed, whatever the names hold
    told = [title.text for title in drawing.iter("{http://www.w3.org/2000/svg}title")]
    assert told == [
        "a < b, 1: 1.5 (95 %: -4.85 to 7.85)",
        "a < b, 10: 4 (95 %: -8.71 to 16.7)",
        "a < b, 100: 8",
        "c, 1: 2",
        "c, 100: 9",
    ]
    assert len(chart.rows()) == 6
    assert drawing.get("aria-label") == "A & B"


def test_an_interval_of_a_chart_goes_no_further_than_its_values_can():
    line = Series("always right but once", (1,), [[100, 100, 100, 46]])
    assert Chart("", "", "%", [line], most=100).rows()[1][-1].endswith(" to 100")
    assert Chart("", "", "%", [line]).rows()[1][-1].endswith(" to 129.5")


def test_lines_of_one_family_have_one_colour_and_others_their_own():
    names = (("a", "kernels"), ("b", "conv"), ("c", "kernels"), ("d", ""), ("e", ""))
    drawing = Chart("", "", "", [Series(name, (0, 1), [[1], [2]], family) for name, family in names]).svg()
    colours = re.findall(r'fill="none" stroke="(#\w+)"', drawing)
    assert colours[0] == colours[2]
    assert len(set(colours)) == 4


def test_places_that_are_nearly_the_same_are_not_written_over_each_other():
    lines = [Series("dense", (4000, 49600), [[1], [2]]), Series("conv", (4130, 50100), [[1], [2]])]
    drawing = ElementTree.fromstring(Chart("", "", "", lines, log_x=True).svg())
    texts = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text in ("4k", "4.13k", "49.6k", "50.1k")] == ["4k", "49.6k"]


def test_a_legend_has_room_for_longer_names_two_in_a_line():
    names = ["conv, kernels of 3, 5 and 7; as they are", "conv, kernels of 3, 5 and 7; of many sizes"]
    drawing = Chart("", "", "", [Series(name, (0, 1), [[1], [2]]) for name in names]).svg()
    assert all(f">{name}</text>" in drawing for name in names)


# --- the study in the repository -----------------------------------------------------------------------------------


def test_the_report_in_the_repository_follows_from_its_data(store):
    kept = Path(__file__).parent.parent / "exports" / "study"
    for record in kept.glob("*.json"):
        shutil.copy(record, store)
    study(report=True, folder=store)
    for file in ("README.md", "report.html"):
        again, before = ((folder / file).read_text(encoding="utf-8") for folder in (store, kept))
        assert again == before, "the words, the criteria or the data have changed: `zoo study --report`"


def test_the_readme_quotes_the_report_as_it_is():
    root = Path(__file__).parent.parent
    report = (root / "exports" / "study" / "README.md").read_text(encoding="utf-8")
    lines = (root / "README.md").read_text(encoding="utf-8").splitlines()
    quoted = [line for line in lines if line.startswith("| [") and "(exports/study/README.md#" in line]
    assert len(quoted) >= 4
    assert [line for line in quoted if line.replace("exports/study/README.md#", "#") not in report] == []
    (told,) = (line for line in lines if "claims that courses make" in line)
    count, tally = told.removesuffix(" Among them:").split(" claims that courses make: ")
    assert f"\n{count} claims that courses make" in report
    assert f"\n{tally.removesuffix('.')}\n" in report
