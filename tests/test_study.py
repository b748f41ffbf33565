"""Studies: verdicts that follow from effects, trainings that are done once, and a report that is drawn from data."""

from __future__ import annotations

import json
import linecache
import re
import runpy
import shutil
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from keras_answers import answers_of_keras
from rich.console import Console

import zoo
from pipelines import tracking
from pipelines.cli import main
from pipelines.cli.commands.study import study_table
from pipelines.cli.console import aligned, show
from pipelines.core.metrics.intervals import mean_interval
from pipelines.core.provenance.code import code_digest
from pipelines.core.provenance.machine import versions
from pipelines.core.support.locks import FileLock
from pipelines.plotting.svg import Chart, Series
from pipelines.publishing.demo import demo
from pipelines.study import Studied, _found, claims, experiments, lab, study
from pipelines.study.claims.counting import EXAMPLES, _layers_that_differ
from pipelines.study.experiment import _experiments, experiment
from pipelines.study.finding import Effect, Finding, Judgement, Verdict
from pipelines.study.images import changed, scrambled, shifted, subset, with_wrong_labels
from pipelines.study.lab import LIBRARIES, Arm, Lab, Results, key_of
from pipelines.study.models import CONV, DENSE, HYBRID, dense, unshared
from pipelines.study.record import Measured, Observed, Record
from zoo.data.known.fashion_mnist import DEBIAN_FOLDER
from zoo.errors import StudyError, TrackingError
from zoo.models import build_architecture
from zoo.models.backend import start_keras
from zoo.models.ledger import read_ledger

NEEDS_FASHION_MNIST = pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="dataset-fashion-mnist is not installed")


def right_on_test(model, data_set):
    """The accuracy of a model, measured without the package's own way to it."""
    right = answers_of_keras(model, data_set.test.inputs)["logits"].argmax(1) == data_set.test.labels
    return {"accuracy": 100 * float(right.mean())}


def before(function, look):
    """The same function, to which something happens first."""

    def looked_at(*given):
        look(*given)
        return function(*given)

    return looked_at


@contextmanager
def planting():
    """An experiment from outside of the package: two dense models, the second with as many neurons as is asked for.

    by: 0 for the same images of the digits, else the second one's are drawn by other seeds. Gives a list of the
    trainings that were done.
    """
    trained = []

    def plant(neurons, measure=right_on_test, by=0):
        @experiment(
            "planted",
            claim="The second <b>knows</b> as much.",
            refuted_if="It falls by 5 points & more.",
            held_equal="All but the neurons.",
            beware="It is planted.",
        )
        def run(lab):
            """Two dense models learn the digits."""

            def drawn(later, seed):
                return subset("digits", 500, later + seed)

            arms = {
                name: Arm(dense(count), partial(drawn, later), 120, measure=measure, family="dense")
                for name, count, later in (("first", 32, 0), ("second", neurons, by))
            }
            results = lab.train(arms)
            return Finding(
                (Effect("second against first", results["second"] - results["first"], "points", least=-5),),
                Chart("Accuracy", "model", "%", [Series("all", (0, 1), [results["first"], results["second"]])]),
            )

        return trained

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab, "make_schedule", before(lab.make_schedule, lambda *given: trained.append(given)))
        yield plant
    _experiments.pop("planted", None)


@pytest.fixture
def planted():
    with planting() as plant:
        yield plant


@pytest.fixture(scope="module")
def three_seeds(tmp_path_factory, working_in):
    """The mlruns/ of a quick study of 16 neurons against 32, with three seeds."""
    with working_in(tmp_path_factory.mktemp("three seeds")) as folder, planting() as plant:
        trained = plant(16)
        study(["planted"], quick=True)
        assert len(trained) == 6
    return folder / "mlruns"


@pytest.fixture
def studied(store, three_seeds):
    """A working folder in which that was studied before."""
    shutil.copytree(three_seeds, store / "mlruns", dirs_exist_ok=True)
    return store


def effect(low, high, **bounds):
    return Effect("x", np.array([low, high]), "points", exact=False, **bounds)


def test_an_effect_is_judged_by_its_whole_interval():
    around_two = {"sample": np.array([1.9, 2.0, 2.1]), "unit": "points", "name": "x"}
    assert Effect(**around_two, least=1).judgement is Judgement.AS_CLAIMED
    assert Effect(**around_two, least=3).judgement is Judgement.CONTRADICTS
    assert Effect(**around_two, least=2).judgement is Judgement.OPEN
    assert Effect(**around_two, least=-1, most=1).judgement is Judgement.CONTRADICTS
    assert Effect("x", np.array([7.0]), "points", least=1).judgement is Judgement.OPEN, "one seed has no spread"
    assert Effect("x", np.array([0.0]), "layers", most=0, exact=True).judgement is Judgement.AS_CLAIMED


def test_a_verdict_follows_from_the_effects_and_the_first_is_the_main_effect():
    chart = Chart("", "", "", ())
    right, wrong, open_ = effect(3, 3.1, least=1), effect(3, 3.1, most=1), effect(-9, 9, least=1)
    assert Finding((right, right), chart).verdict is Verdict.HOLDS
    assert Finding((right, wrong, open_), chart).verdict is Verdict.PART
    assert Finding((right, open_), chart).verdict is Verdict.LIMITS
    assert Finding((wrong, right), chart).verdict is Verdict.REFUTED
    assert Finding((open_, right), chart).verdict is Verdict.OPEN


@pytest.mark.slow  # 18 trainings; the verdicts that follow from effects are tested above
def test_the_same_model_twice_shows_no_effect_and_a_handicap_is_found(studied, planted):
    planted(32, by=100)  # or the second would be the first, looked up
    (same,) = study(["planted"], quick=True, seeds=6)
    low, high = mean_interval(same.effects[0].sample, confidence=0.999)  # whatever the machine's chance
    assert low < 0 < high
    assert same.effects[0].mean != 0
    assert same.verdict is Verdict.HOLDS
    _experiments.pop("planted")
    planted(1)  # one neuron between the pixels and ten classes
    (handicapped,) = study(["planted"], quick=True)
    assert handicapped.effects[0].mean < -20
    assert handicapped.verdict is Verdict.REFUTED


def test_what_was_trained_is_not_trained_again(studied, planted, empty_database, monkeypatch):
    trained = planted(16)
    study(["planted"], quick=True, seeds=4)
    assert len(trained) == 2, "the fourth seed alone"
    results = studied / "mlruns/study/planted.json"
    before = results.read_bytes()
    monkeypatch.setattr("pipelines.study.lab.commit", lambda: "a later one")
    study(["planted"], quick=True, seeds=4)
    assert results.read_bytes() == before, "it is still told by which commit they were measured"
    results.unlink()
    study(["planted"], quick=True, seeds=4)
    assert len(trained) == 2, "found in the store"
    shutil.copy(empty_database, studied / "another.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{studied / 'another.db'}")
    study(["planted"], quick=True, seeds=4)
    assert len(trained) == 2, "found in the results"


def test_an_arm_that_an_experiment_no_longer_has_leaves_its_results(studied, planted):
    planted(16)
    path = studied / "mlruns/study/planted.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"arm": "first"', '"arm": "former"'), encoding="utf-8")
    study(["planted"], quick=True)
    assert sorted(Record(path).trainings) == [(arm, seed) for arm in ("first", "second") for seed in (1, 2, 3)]


@pytest.mark.parametrize(
    ("sample", "unit", "main", "statement"),
    [
        ([38.1, 38.3], "points", "conv loses {} points {less|more} than dense", "38.2 points less than dense"),
        ([-38.1, -38.3], "points", "conv loses {} points {less|more} than dense", "38.2 points more than dense"),
        ([-38.1, -38.3], "points", "conv loses {} points {less|more} than dense", "(95% interval 36.9 to 39.5)"),
        ([-0.1, 0.02], "points", "conv is {} points {more|less} accurate", "0.04 points less accurate"),
        ([-0.1, 0.02], "points", "conv is {} points {more|less} accurate", "(95% interval -0.72 to 0.80)"),
        (
            [0.5, 0.5],
            "×",
            "conv needs {} times the updates",
            "conv needs 0.5 times the updates (the same for every seed)",
        ),
        ([48, 48], "%", "", "what is measured: 48% (no spread)"),
    ],
)
def test_a_main_effect_reads_as_in_a_paper(sample, unit, main, statement):
    effect = Effect("what is measured", np.array(sample), unit, least=0)
    assert statement in Finding((effect,), Chart("", "", "", []), main=main).statement


def test_a_finding_that_nothing_could_refute_is_refused():
    with pytest.raises(StudyError, match="has no bound: give it least, most or both"):
        Effect("x", np.array([1.0, 2.0]), "points")
    with pytest.raises(StudyError, match="expected one or more"):
        Finding((), Chart("", "", "", ()))


@pytest.mark.slow  # two more trainings; that a seed decides is in test_train
def test_another_seed_changes_the_metrics_within_their_interval(studied, planted):
    planted(16)
    (each,) = experiments(["planted"])

    def effect(*seeds):
        finding = each.run(
            Lab("planted", seeds, True, Record(studied / "mlruns/study/planted.json"), tracking.start_study("x", {}))
        )
        return finding.effects[0]

    first, other = effect(1, 2, 3), effect(1, 2, 4)
    low, high = first.interval
    assert low < other.mean < high
    assert first.mean != other.mean


@pytest.mark.slow  # two trainings with their exports
def test_the_models_are_kept_as_exports_on_request(studied, planted):
    planted(16)
    models = studied / "mlruns/study/models"
    assert not models.exists()
    study(["planted"], quick=True, models=True)
    record = Record(studied / "mlruns/study/planted.json")
    for arm in ("first", "second"):
        classifier = zoo.load(models / f"planted-{arm}", provider="cpu")
        assert 100 * classifier.metadata.test_accuracy == pytest.approx(record.metrics(arm, 1)["accuracy"])
    page = demo([models / f"planted-{arm}" for arm in ("first", "second")], studied / "demo.html")
    assert page.exports == ("digits/planted-first", "digits/planted-second")


def test_each_training_is_a_child_of_the_study_in_the_store(studied):
    with tracking.open_client() as client:
        runs = client.search_runs([client.get_experiment_by_name("study/planted").experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "planted"]
    children = [run for run in runs if run is not parent]
    assert sorted(run.info.run_name for run in children) == [
        f"{a}, seed {s}" for a in ("first", "second") for s in (1, 2, 3)
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
    assert "seeds 1 to 2" in first
    assert "1 claim, tested" in first
    assert "zoo study planted --quick --seeds 2" in first
    assert r"\<b\>" in text.read_text(encoding="utf-8")
    page.unlink()
    count = len(trained)
    capsys.readouterr()
    assert main(["study", "--report", "--folder", "mlruns/study", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "holds"
    assert len(trained) == count
    assert page.read_text(encoding="utf-8").count("<svg") == first.count("<svg") == 1


@pytest.mark.slow  # seven trainings; a report of a full study is in test_the_report_is_drawn
def test_a_quick_study_says_what_the_full_one_found(store, planted, capsys):
    planted(32)  # the second model is the first again, and looked up
    study(["planted"])
    assert claims(["planted"])[0].verdict is Verdict.HOLDS
    capsys.readouterr()
    assert main(["study", "planted", "--quick", "--seeds", "2"]) == 0
    assert "holds (in full: holds)" in " ".join(capsys.readouterr().out.split())
    for file in ("report.html", "README.md"):
        assert "in full" in (store / "mlruns/study" / file).read_text(encoding="utf-8")
        assert "<th>in full" not in (store / "exports/study" / file).read_text(encoding="utf-8")


def test_what_an_older_version_measured_stops_no_other_experiment(studied, planted, capsys):
    Record(studied / "mlruns/study/tables.json").finished((1, 2), quick=True)  # without the trainings of today
    planted(16)
    assert main(["study", "planted", "--quick"]) == 0
    told = capsys.readouterr()
    assert "for results, see the full study" in told.err
    assert "left out of the report: mlruns/study/tables.json holds no training" in told.err
    assert "planted" in told.out
    assert main(["study", "--report", "--folder", "mlruns/study"]) == 1, "asked for all, it says what is missing"
    assert "tables.json holds no training" in capsys.readouterr().err


def test_bad_wishes_are_told_in_a_sentence(store, planted, capsys):
    assert main(["study", "translatoin"]) == 1
    assert "no experiment is called 'translatoin': did you mean translation?" in capsys.readouterr().err
    assert main(["study", "translation", "--seeds", "1", "--quick"]) == 1
    assert "needs 2 seeds or more, received 1: one has no spread" in capsys.readouterr().err
    assert main(["study", "translation", "--seeds", "3"]) == 1
    assert "needs 5 seeds or more, received 3" in capsys.readouterr().err
    assert main(["study", "--report"]) == 1
    assert "exports/study holds no results: run `zoo study` first" in capsys.readouterr().err
    with pytest.raises(StudyError, match="expected a name of a to z"):
        experiment("../elsewhere", claim="", refuted_if="", held_equal="", beware="")(lambda lab: None)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ('"accuracy": 9', '"accuracy": "9'),
        ('"accuracy": 9', '"accuracy": NaN, "other": 9'),
        ('"accuracy": 9', f'"accuracy": {10**400}, "other": 9'),
        ('"seconds": 1.5', '"seconds": -1.5'),
        ('"seeds": [\n  1,\n  2', '"seeds": [\n  1,\n  1'),
        ('"seed": 1,', '"seed": 1.5,'),
        ('"quick": true', '"quick": "yes"'),
        ('"versions": {', '"versions": 3, "x": {'),
        ('"arm": "first"', '"arm": ["first"]'),
        ("{", "[" * 100_000),
    ],
)
def test_results_that_were_tampered_with_are_refused(store, planted, capsys, was, now):
    path = store / "planted.json"
    record = Record(path)
    for seed in (1, 2):
        record.add("first", seed, Measured("key", {"accuracy": 91.5}, 1.5, {}, "digest", "commit"))
    record.metrics("first", 1)
    record.finished((1, 2), quick=True)
    text = path.read_text(encoding="utf-8")
    assert was in text
    path.write_text(text.replace(was, now), encoding="utf-8")
    planted(16)
    assert main(["study", "planted", "--report", "--folder", "."]) == 1
    told = capsys.readouterr().err
    assert "planted.json holds no results" in told
    assert len(told) < 1_000


def test_a_study_that_is_run_anew_and_interrupted_gives_no_verdict_from_both(store, planted, caplog):
    planted(16)
    path = store / "planted.json"
    record = Record(path)
    for arm in ("first", "second"):
        for seed in (1, 2):
            record.add(arm, seed, Measured("then", {"accuracy": 91.5}, 1.5, {}, "digest", "commit"))
        record.metrics(arm, 1)
    record.finished((1, 2), quick=True)
    record.add("first", 1, Measured("then", {"accuracy": 91.5}, 1.5, {}, "digest", "commit"))
    assert Record(path).whole, "the same"
    record.add("first", 1, Measured("now", {"accuracy": 90.5}, 1.5, {}, "digest", "commit"))
    again = Record(path)
    assert (again.whole, again.seeds) == (False, (1, 2))
    assert _found(store, []) == []
    assert "planted.json, whose new trainings aren't complete: run `zoo study planted --quick" in caplog.text
    again.finished((1, 2), quick=True)
    assert Record(path).whole
    assert '"whole"' not in path.read_text(encoding="utf-8")


def test_results_under_earlier_names_are_read_and_saved_under_those_of_today(store):
    path = store / "planted.json"
    record = Record(path)
    measured = Measured("key", {"accuracy": 91.5}, 1.5, {"images": "train", "epochs": 3}, "digest", "commit")
    record.add("first", 1, measured)
    today = path.read_text(encoding="utf-8")
    earlier = today.replace('"metrics"', '"figures"').replace('"images"', '"pictures"')
    assert earlier != today
    path.write_text(earlier, encoding="utf-8")
    again = Record(path)
    assert again.trainings == {("first", 1): measured}
    again.add("first", 1, measured)
    assert path.read_text(encoding="utf-8") == today


def test_numbers_that_nobody_counted_are_told(store, capsys):
    """An observation that is shorter than what its experiment asks for."""
    record = Record(store / "formulas.json")
    for name in (*EXAMPLES, "layers that differ, and all layers"):
        record.observe(name, Observed("key", [], "machine", "commit"))
        record.numbers(name)
    record.finished((1, 2), quick=False)
    assert main(["study", "formulas", "--report", "--folder", "."]) == 1
    assert "formulas.json can't be drawn (IndexError" in capsys.readouterr().err


def test_results_that_lack_a_figure_are_told(studied, planted, capsys):
    planted(16)
    path = studied / "mlruns/study/planted.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"accuracy"', '"former"'), encoding="utf-8")
    assert main(["study", "planted", "--report", "--folder", "mlruns/study"]) == 1
    told = capsys.readouterr().err
    assert "has no 'accuracy' of 'second', expected it next to former" in told
    assert "run `zoo study planted --quick --folder mlruns/study`" in told


def test_what_was_measured_is_not_lost_to_a_smaller_study(studied, planted, capsys):
    planted(16)
    assert main(["study", "planted", "--quick", "--seeds", "2"]) == 0
    assert "keeps the 3 seeds that it has" in capsys.readouterr().err
    assert Record(studied / "mlruns/study/planted.json").seeds == (1, 2, 3)
    assert main(["study", "planted", "--folder", "mlruns/study"]) == 1
    assert "holds results of the quick study, which those of a full one would replace" in capsys.readouterr().err
    with FileLock(studied / "mlruns/study/.planted.lock"):
        assert main(["study", "planted", "--quick"]) == 1
    assert "runs planted in mlruns/study: wait for it" in capsys.readouterr().err


def test_a_report_of_what_was_not_run_says_so(studied, planted, capsys):
    planted(16)
    assert main(["study", "tables", "--report", "--folder", "mlruns/study"]) == 1
    assert "holds no results of tables: run `zoo study tables --folder mlruns/study` first" in capsys.readouterr().err
    assert main(["study", "--list", "tabels"]) == 1
    assert "did you mean tables" in capsys.readouterr().err
    shutil.copytree(studied / "mlruns/study", studied / "full")
    record = Record(studied / "full/planted.json")
    record.quick = False
    record._save()
    assert main(["study", "--report", "--quick", "--folder", "full"]) == 1
    assert "holds results of the full study: leave out --quick" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["study", "--report", "--seeds", "7"])
    assert "--report trains nothing: leave out --seeds" in capsys.readouterr().err


def test_the_experiments_can_be_listed_and_no_column_is_left_out_of_a_narrow_terminal(store, monkeypatch, capsys):
    monkeypatch.setattr("pipelines.cli.console._console", lambda width=None: Console(width=width or 60))
    with pytest.raises(SystemExit):
        main(["study", "--list", "--quick"])
    assert main(["study", "--list"]) == 0
    told = capsys.readouterr().out
    assert all(each.name in told for each in experiments())
    assert main(["study", "--list", "--json"]) == 0
    assert {each["verdict"] for each in json.loads(capsys.readouterr().out)} == {None}
    shown = study_table((Studied("x", "claim", Verdict.HOLDS, (effect(3, 3.1, least=1),), Path("report.html")),))
    show(None, False, lambda _: shown)
    told = capsys.readouterr().out
    assert all(column in told for column in ("experiment", "95% interval", "claimed", "result"))


@pytest.mark.parametrize(
    ("ends", "unit", "bounds", "mean", "interval"),
    [
        # The interval reaches 12.7 times as far as the two values are from their mean.
        ((2.55, 2.61), "points", {"least": 1}, "+2.58", "+2.20 to +2.96"),
        ((-25.2, -24.2), "points", {"most": -5}, "-24.7", "-31.1 to -18.3"),
        ((-0.4, 1.6), "points", {"least": 2}, "+1", "-12 to +13"),
        ((-0.376, -0.3209), "points", {"least": 0}, "-0.348", "-0.699 to +0.002"),
        ((0.0683, 0.0687), "(cosine)", {"most": 0.1}, "0.0685", "0.0660 to 0.0710"),
        ((8.35, 8.41), "×", {"most": 1}, "8.38", "8.00 to 8.76"),
        ((100.0, 100.0), "%", {"least": 80}, "100", "no spread"),
    ],
)
def test_a_number_has_the_decimals_that_its_interval_deserves(ends, unit, bounds, mean, interval):
    """In the terminal, in the report and in its sentences."""
    measured = Effect("y", np.array(ends), unit, **bounds)
    shown = Studied("x", "claim", Verdict.HOLDS, (measured,), Path("report.html"))
    ((*_, found, between, named, claimed, _),) = study_table((shown,)).rows
    assert (found.strip(), between.strip(), named) == (mean, interval, unit.strip("()"))
    assert measured.measured.split(f"{unit} (" if unit == "%" else f" {unit} (") == [mean, f"{interval})"]
    assert measured.prediction.startswith(claimed)
    sentence = Finding((measured,), Chart("", "", "", []), main="it is {}").statement
    assert sentence.startswith(f"it is {mean.removeprefix('+')} (")


def test_no_end_is_rounded_onto_a_bound_or_zero():
    """As it stands in the table, an end is on the side of each bound that the verdict is about."""
    for low in np.linspace(-0.012, 0.012, 49):
        if found := Effect("x", np.array([low + 0.31, low + 0.3156]), "points", least=low + 0.31 - 0.033):
            for end in found.interval:
                for mark in (0.0, found.least):
                    assert np.sign(round(end, found.decimals) - mark) == np.sign(end - mark)


def test_numbers_are_below_each_other_by_their_points():
    assert aligned(["+2.58", "-24.7", "100", ""]) == [" +2.58", "-24.7 ", "100   ", "      "]
    assert aligned(["3", "12"]) == [" 3", "12"]
    assert aligned([]) == []


def test_an_interrupted_study_goes_on(store, planted, monkeypatch, capsys):
    trained = planted(16)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        third = before(lab.make_schedule, lambda *_: len(trained) == 2 and stop())
        context.setattr(lab, "make_schedule", third)
        assert main(["study", "planted", "--quick", "--seeds", "2"]) == 130
    assert "the same command continues from there" in capsys.readouterr().err
    assert len(Record(store / "mlruns/study/planted.json").trainings) == 2
    assert main(["study", "planted", "--folder", "mlruns/study"]) == 1
    assert "holds results of the quick study" in capsys.readouterr().err
    assert main(["study", "planted", "--quick", "--seeds", "2"]) == 0
    assert len(trained) == 4, "those before were kept"
    with tracking.open_client() as client:
        runs = client.search_runs([client.get_experiment_by_name("study/planted").experiment_id])
    assert sorted(run.info.status for run in runs if run.info.run_name == "planted") == ["FINISHED", "KILLED"]


@pytest.mark.slow  # four trainings
def test_a_store_that_fails_costs_no_training(store, planted, monkeypatch, capsys):
    trained = planted(16)

    def fail(*_):
        raise TrackingError("the store is away")

    with monkeypatch.context() as context:
        context.setattr(tracking, "log_training", fail)
        assert main(["study", "planted", "--quick", "--seeds", "2"]) == 1
    assert "the store is away" in capsys.readouterr().err
    assert len(trained) == len(Record(store / "mlruns/study/planted.json").trainings) == 1
    study(["planted"], quick=True, seeds=2)
    assert len(trained) == 4


def twice_as_right(model, data_set):
    """Another measure of the same model."""
    return {"accuracy": 2 * helped(model, data_set, FACTOR)}


def four_times_as_right(model, data_set):
    """And another."""
    return {"accuracy": 2 * helped(model, data_set, LARGER)}


def helped(model, data_set, factor):
    """What it uses."""
    return right_on_test(model, data_set)["accuracy"] / factor


FACTOR, LARGER = 2, 4


@pytest.mark.slow  # four trainings
def test_another_measure_or_what_it_uses_is_another_training(store, planted):
    trained = planted(32, twice_as_right)  # the second model is the first again, and looked up
    study(["planted"], quick=True, seeds=2)
    study(["planted"], quick=True, seeds=2)
    assert len(trained) == 2
    _experiments.pop("planted")
    trained = planted(32, four_times_as_right)
    study(["planted"], quick=True, seeds=2)
    assert len(trained) == 4
    assert code_digest(twice_as_right) == code_digest(twice_as_right) != code_digest(right_on_test)
    assert code_digest(partial(scrambled, block=2)) != code_digest(partial(scrambled, block=4))
    assert code_digest(dense(3)) == code_digest(dense(3)) != code_digest(dense(4))
    for unknowable in (partial(helped, object()), lambda: 3):
        with pytest.raises(ValueError, match="nobody can tell whether it is the same next time"):
            code_digest(unknowable)


def test_comments_and_docstrings_are_no_part_of_what_is_measured(tmp_path):
    def written(text):
        path = tmp_path / "measure.py"
        path.write_text(text, encoding="utf-8")
        found = code_digest(runpy.run_path(str(path))["measure"])
        linecache.clearcache()
        return found

    plain = written("def measure(model):\n    return {'accuracy': 3.0}\n")
    assert written("def measure(model):\n    'What.'\n    return {  # why\n        'accuracy': 3.0\n    }\n") == plain
    assert written("def measure(model):\n    return {'accuracy': 4.0}\n") != plain


def test_every_experiment_says_what_would_refute_it():
    for each in experiments():
        assert each.method and each.claim and each.held_equal and each.beware
        assert each.refuted_if.endswith(".")


@NEEDS_FASHION_MNIST
def test_every_quick_experiment_comes_to_a_finding(store):
    """With metrics that are made up, as trainings take minutes, of the names that its measures do give."""
    names = {}  # the code of a measure -> of its metrics

    class Guess(Lab):
        def train(self, arms):
            random = np.random.default_rng(0)
            return Results({name: self.guesses(arm, random) for name, arm in arms.items()}, record)

        def guesses(self, arm, random):
            measure = code_digest(arm.measure)
            if measure not in names:
                data_set = arm.data(1)
                few = replace(data_set, **{part: data_set_part(data_set, part) for part in ("train", "test")})
                size = (few.height, few.width, few.channels)
                model = build_architecture(arm.architecture, "study", *size, few.classes)
                names[measure] = (*arm.measure(model, few), "parameters")
            return [{name: 50 + random.random() for name in names[measure]} for _ in self.seeds]

        def observe(self, name, look):
            return np.random.default_rng(0).random(990) + 1

    def data_set_part(data_set, part):
        return getattr(data_set, part).take(np.arange(100))

    for each in experiments():
        record = Record(store / f"{each.name}.json")
        finding = each.run(Guess(each.name, (1, 2, 3), True, record))
        assert finding.main and not set("{}|") & set(finding.statement), finding.statement
        for drawing in (finding.chart, *finding.more):
            ElementTree.fromstring(drawing.svg())
            assert len(drawing.rows()) > 1
    every = {name: 1.0 for each in names.values() for name in each}
    parent = tracking.start_study("names", {})
    tracking.log_training(parent, "all", "key", {}, every)  # or MLflow refuses the first training of that experiment
    assert tracking.find_training("key") == every


# --- images and models -------------------------------------------------------------------------------------------


def test_pixels_are_permuted_within_their_blocks_alone():
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


def test_an_image_is_shifted_on_black():
    image = np.array([[1, 2], [3, 4]], np.uint8).reshape(1, 2, 2, 1)
    assert shifted(image, 1, 0).ravel().tolist() == [0, 0, 1, 2]
    assert shifted(image, 0, -1).ravel().tolist() == [2, 0, 4, 0]
    assert np.array_equal(shifted(image, 0, 0), image)
    assert not shifted(image, 5, 0).any()


def test_images_are_drawn_by_the_seed_as_many_of_each_class():
    one, again, other = subset("digits", 200, 1), subset("digits", 200, 1), subset("digits", 200, 2)
    assert np.bincount(one.train.labels).tolist() == [20] * 10
    assert one.digest == again.digest != other.digest
    assert one.test.labels.tolist() == other.test.labels.tolist()
    with pytest.raises(StudyError, match="ask for fewer"):
        subset("digits", 5_000, 1)
    darker = changed(one, lambda images: images // 2)
    assert darker.train.inputs.max() < one.train.inputs.max()
    wrong = with_wrong_labels(one, 0.3, seed=1)
    assert (wrong.train.labels != one.train.labels).mean() == 0.3
    assert np.array_equal(wrong.test.labels, one.test.labels)


def test_unshared_filters_are_a_convolution_where_all_positions_have_the_same():
    keras = start_keras()
    local = build_architecture(unshared(3, strides=(2,)), "study", 9, 9, 1, 4)
    layer = next(each for each in local.layers if each.name == "local1")
    kernel = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    layer.set_weights([np.broadcast_to(kernel, layer.weight.shape)])
    images = np.random.default_rng(1).random((2, 9, 9, 1), np.float32)
    expected = keras.ops.conv(images, kernel.reshape(3, 3, 1, 3), strides=2, padding="same")
    assert np.allclose(layer(images), expected, atol=1e-5)
    assert layer.count_params() == 5 * 5 * 9 * 3
    entry = next(each for each in read_ledger(local) if each.name == "local1")
    assert (entry.formula, entry.multiply_accumulates) == ("5×5×9×3", 5 * 5 * 9 * 3)


def test_models_of_one_size_have_about_as_many_parameters():
    counts = {
        size: [build_architecture(kind[size], "study", 28, 28, 1, 10).count_params() for kind in (DENSE, CONV, HYBRID)]
        for size in DENSE
    }
    assert {size: round(found[1], -3 if found[1] > 5_000 else -2) for size, found in counts.items()} == {
        "4 k": 4_100,
        "14 k": 14_000,
        "50 k": 50_000,
    }
    for found in counts.values():
        assert max(found) / min(found) < 1.125, "within an eighth"
        assert max(found[:2]) / min(found[:2]) < 1.1, "dense and conv within a tenth"


# --- charts --------------------------------------------------------------------------------------------------------


def test_a_chart_shows_each_point_as_drawing_and_as_text():
    lines = [
        Series("a < b", (1, 10, 100), [[1, 2], [3, 5], [8, 8]], "conv"),
        Series("c", (1, 100), [[2], [9]], "dense"),
    ]
    chart = Chart("A & B", "images", "%", lines, log_x=True)
    drawing = ElementTree.fromstring(chart.svg())  # well-formed, whatever the names hold
    told = [title.text for title in drawing.iter("{http://www.w3.org/2000/svg}title")]
    assert told == [
        "a < b, 1: 1.5 (95%: -4.85 to 7.85)",
        "a < b, 10: 4 (95%: -8.71 to 16.71)",
        "a < b, 100: 8",
        "c, 1: 2",
        "c, 100: 9",
    ]
    assert len(chart.rows()) == 6
    assert drawing.get("aria-label") == "A & B"


def test_an_interval_of_a_chart_goes_no_further_than_its_values_can():
    line = Series("always right but once", (1,), [[100, 100, 100, 46]])
    assert Chart("", "", "%", [line], most=100).rows()[1][-1].endswith(" to 100")
    assert Chart("", "", "%", [line]).rows()[1][-1].endswith(" to 129.46")


def test_lines_of_one_family_have_one_color_and_others_their_own():
    names = (("a", "kernels"), ("b", "conv"), ("c", "kernels"), ("d", ""), ("e", ""))
    drawing = Chart("", "", "", [Series(name, (0, 1), [[1], [2]], family) for name, family in names]).svg()
    colors = re.findall(r'fill="none" stroke="(#\w+)"', drawing)
    assert colors[0] == colors[2]
    assert len(set(colors)) == 4


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
    drawings = sorted(drawing.name for drawing in kept.glob("*.svg"))
    assert drawings == sorted(drawing.name for drawing in store.glob("*.svg"))
    for file in ("README.md", "report.html", *drawings):
        again, before = ((folder / file).read_text(encoding="utf-8") for folder in (store, kept))
        assert again == before, "the words, the criteria or the data have changed: `zoo study --report`"


@NEEDS_FASHION_MNIST
def test_what_the_repository_has_measured_is_not_trained_again():
    """Of each arm its first seed: the others differ by the seed alone."""
    root = Path(__file__).parent.parent
    unknown, made = [], {}

    def once(make, *given):
        """What arms share is made for the first of them: by the same code, of the same arguments."""
        try:
            key = code_digest(make, given)
        except ValueError:
            return make(*given)
        return made.get(key) or made.setdefault(key, make(*given))

    class Clerk(Lab):
        def train(self, arms):
            for name, arm in arms.items():
                seed = self.seeds[0]
                data_set, recipe = once(arm.data, seed), arm.recipe(seed)
                size = (data_set.height, data_set.width, data_set.channels)
                make = partial(build_architecture, normalize=recipe.normalize)
                model = once(make, arm.architecture, "study", *size, data_set.classes)
                if not self.record.knows(name, seed, key_of(model, data_set, recipe, arm.measure)):
                    unknown.append(f"{self.name}: {name}")
            return Lab.train(replace(self, replay=True), arms)

        def observe(self, name, look):
            counts_the_zoo = isinstance(look, partial) and look.func is _layers_that_differ  # anew with each new model
            if not counts_the_zoo and not self.record.has_seen(name, code_digest(look)):
                unknown.append(f"{self.name}: {name}")
            return np.array(self.record.numbers(name))

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)  # where the teacher is
        for each in experiments():
            record = Record(root / "exports" / "study" / f"{each.name}.json")
            if not record.seeds:
                continue  # nobody has run it in full yet
            if any(record.versions[library] != versions()[library] for library in LIBRARIES):
                pytest.skip("measured with other versions")
            each.run(Clerk(each.name, record.seeds, False, record))
    assert unknown == []


def test_the_docs_quote_the_report_as_it_is():
    root = Path(__file__).parent.parent
    report = (root / "exports" / "study" / "README.md").read_text(encoding="utf-8")
    lines = (root / "docs" / "study.md").read_text(encoding="utf-8").splitlines()
    quoted = [line for line in lines if line.startswith("| [") and "(../exports/study/README.md#" in line]
    assert len(quoted) >= 4
    assert [line for line in quoted if line.replace("../exports/study/README.md#", "#") not in report] == []
    (told,) = (line for line in lines if "claims that courses make" in line)
    count, tally = told.removesuffix(" Among them:").split(" claims that courses make: ")
    assert f"\n{count} claims, tested" in report
    assert f"\n{tally.removesuffix('.')}\n" in report


def test_the_code_of_a_layer_of_ones_own_is_in_the_key(monkeypatch):
    """Its configuration isn't all of it."""
    data_set = subset("digits", 100, 1)
    model = build_architecture(unshared(4), "study", 8, 8, 1, 10)
    recipe = Arm(unshared(4), lambda _: data_set, 10).recipe(1)
    key = lab.key_of(model, data_set, recipe, right_on_test)
    assert lab.key_of(model, data_set, recipe, right_on_test) == key
    monkeypatch.setattr(lab, "_own_layers", lambda _: [])
    assert lab.key_of(model, data_set, recipe, right_on_test) != key
