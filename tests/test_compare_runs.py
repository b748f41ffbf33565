"""Comparing runs: those that have an export, those that don't, whole experiments, and the page that shows it all."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html import unescape
from pathlib import Path

import pytest
from PIL import Image

from pipelines import tracking
from pipelines.cli import main
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.evaluation.comparison.compare import PAGE_FILE, compare
from pipelines.evaluation.comparison.details import Model
from pipelines.evaluation.comparison.page import _classes
from pipelines.evaluation.evaluate import evaluate
from pipelines.exporting.export import export
from pipelines.plotting.svg import Front, Point
from pipelines.training.train import train
from zoo.contract import read_manifest
from zoo.errors import ExportError, TrackingError

SETTINGS = {"epochs": 20}


@pytest.fixture(scope="module")
def folder(shared_store):
    return shared_store


@pytest.fixture(scope="module")
def own(folder):
    """Images of one's own: a run knows where they lie, an export only what they are called."""
    digits = load_data(make_plan("softmax", "digits")).train
    for k in range(300):
        file = folder / "own" / f"class {digits.labels[k]}" / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.inputs[k, ..., 0]).save(file)
    return str(folder / "own")


@pytest.fixture(scope="module")
def exported(folder, own):
    """Two runs of one model that went the whole way, the later one with a higher rate."""
    runs = [train("softmax", own, settings={**SETTINGS, "learning_rate": rate}).run for rate in (0.002, 0.02)]
    for place, run in enumerate(runs):
        evaluate(run)
        export(run, exports=folder / f"exports{place}")
    return runs


@pytest.fixture(scope="module")
def alone(own, exported):
    """A run of another model that was trained, and no more."""
    return train("mlp-small", own, settings=SETTINGS).run


@pytest.fixture(scope="module")
def bare(own):
    """A finished run of the first model: the later of the exported ones with another seed."""
    return train("softmax", own, settings={**SETTINGS, "learning_rate": 0.02, "seed": 4}).run


@pytest.fixture(scope="module")
def page(folder, exported, alone):
    """The page about all three."""
    compare([*exported, alone], page=folder / "page.html")
    return (folder / "page.html").read_text(encoding="utf-8")


def test_a_run_that_was_exported_is_compared_as_its_export_is(exported, folder):
    found = compare([exported[0], folder / "exports0/own/softmax", exported[1]])
    first, as_export, second = found.rows
    assert [row.name for row in found.rows] == [
        f"own/softmax ({exported[0][:8]})",
        f"own/softmax ({exported[0][:8]}) #2",
        f"own/softmax ({exported[1][:8]})",
    ]
    for name in ("parameters", "accuracy", "low", "high", "size", "parity"):
        assert getattr(first, name) == getattr(as_export, name)
    assert first.accuracy != second.accuracy
    assert {(pair.better, pair.other) for pair in found.pairs} == {
        (second.name, first.name),
        (second.name, as_export.name),
    }, "the higher rate learns more in few epochs"
    assert found.unexported == ()
    assert found.notes == ()


def test_exports_of_ones_own_images_are_paired_by_the_run_that_knows_where_they_lie(exported, folder, tmp_path):
    mine = [folder / f"exports{place}/own/softmax" for place in (0, 1)]
    found = compare(mine)
    assert (len(found.pairs), found.notes) == (1, ())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # where there is no store
        (note,) = compare(mine).notes
    assert note == "the exports of own aren't paired: it isn't a known data set, name its folder with --data"


def test_a_run_without_an_export_is_compared_by_what_it_logged(exported, alone, capsys):
    assert main(["compare", exported[0], alone, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (bare,) = told["unexported"]
    assert (bare["name"], bare["run"], bare["status"], bare["family"]) == (
        "own/mlp-small",
        alone,
        "FINISHED",
        "dense",
    )
    assert bare["parameters"] == tracking.load_run(alone).metrics["parameters"] == 50826
    assert bare["validation_accuracy"] == tracking.load_run(alone).metrics["best_validation_accuracy"]
    assert bare["accuracy"] is None
    (note,) = told["notes"]
    assert f"`zoo evaluate {alone[:8]}` and `zoo export {alone[:8]}` add them" in note
    assert main(["compare", exported[0], alone]) == 0
    shown = capsys.readouterr().out
    assert "50,826" in shown
    assert note in shown
    with pytest.raises(ExportError, match="none of the runs was exported"):
        compare([alone], Path("image.png"))


def test_an_experiment_means_the_latest_tested_run_of_each_model(exported, alone, bare):
    assert Path("own").is_dir(), "it lies beside, and is no export"
    found = compare(["own"])
    assert [row.name for row in found.rows] == ["own/softmax"]
    assert found.rows[0].accuracy == tracking.load_run(exported[1]).metrics["test_accuracy"], "the latest tested one"
    assert [run.run for run in found.unexported] == [alone], "for want of a tested one"
    evaluate(bare)
    (row,) = compare(["own"]).rows
    assert row.accuracy == found.rows[0].accuracy, "of two seeds, the exported one"


def test_an_experiment_may_be_called_like_a_run(exported):
    with tracking.open_client() as client:
        number = client.create_experiment("cafe")
        before = tracking.load_run(exported[0])
        run = client.create_run(number, tags=before.tags).info.run_id
        client.log_text(run, before.plan.to_json(), "plan.json")
        client.log_dict(run, {}, "versions.json")
        client.set_terminated(run, "FINISHED")
    assert [each.run for each in compare(["cafe"]).unexported] == [run]


def test_what_is_none_of_them_is_told(folder, exported):
    with pytest.raises(ExportError, match="nonsense can't be loaded"):
        compare(["nonsense"])
    with pytest.raises(TrackingError, match="begins with '0000'"):
        compare(["0000"])


# --- the page ------------------------------------------------------------------------------------------------------


def test_the_page_has_no_script_and_allows_none(page):
    assert "<script" not in page
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in page
    assert "unsafe" not in page
    assert " style=" not in page, "the policy would forbid it"


def test_the_page_shows_fronts_curves_images_and_every_figure(page, exported, alone):
    assert page.count("<svg xmlns") == 4 + 4 * 2, "accuracy against four costs, four curves by epochs and seconds"
    for name in ("parameters", "multiply-accumulates", "latency of one image, µs", "file, bytes"):
        assert f"> {name}</label>" in page
    found = tracking.load_run(exported[1]).metrics
    assert f"{found['test_accuracy']:.2%}" in page
    assert f'<td class="number">{found["test_mass_calibration_error"]:.2%}</td>' in page
    assert f'<td class="number">{found["test_robust_unseen"]:.1%}</td>' in page
    images = re.findall(r'"data:image/png;base64,([^"]*)"', page)
    assert len(images) == page.count("data:image/png") > 0
    assert all(base64.b64decode(image, validate=True).endswith(b"IEND\xaeB`\x82") for image in images)
    (pair,) = compare(exported).pairs
    assert f"{100 * pair.test.low:.2f} to {100 * pair.test.high:.2f}" in page
    assert f"{pair.test.only_first:,} images that only" in page
    assert f"zoo export {alone[:8]}" in page


def test_recalls_on_different_test_images_stand_in_different_tables():
    models = [
        Model("digits", "conv", "", True, {}, classes={"0": (36, 1.0), "1": (36, 0.9)}),
        Model("mnist", "conv", "", True, {}, classes={"0": (980, 0.99), "1": (1135, 0.8)}),
        Model("digits, too", "dense", "", True, {}, classes={"1": (36, 0.7), "0": (36, 1.0)}),
        Model("unknown", "dense", "", True, {}),
    ]
    digits, mnist = _classes(models)
    assert list(digits.models) == ["digits", "digits, too"]
    assert digits.rows == [("1", 36, [0.9, 0.7], 0.9), ("0", 36, [1.0, 1.0], 1.0)]
    assert (list(mnist.models), [row[1] for row in mnist.rows]) == (["mnist"], [980, 1135])


def test_the_page_shows_the_fields_of_recipes_that_differ_alone(page):
    recipes = page.split("<h2>Recipes</h2>")[1].split("</section>")[0]
    assert "<td>learning_rate</td><td>0.002</td><td>0.02</td>" in recipes
    assert "batch_size" not in recipes
    assert "seed" not in recipes
    environments = page.split("<h2>Environments</h2>")[1].split("</section>")[0]
    assert "tensorflow" not in environments


def test_an_evaluated_run_without_an_export_still_tells_its_classes(bare, tmp_path):
    evaluation = evaluate(bare)
    page = compare([bare], page=tmp_path / "page.html").page.read_text(encoding="utf-8")
    classes = page.split("<h2>Recall by class</h2>")[1].split("</section>")[0]
    for row in evaluation.classes:
        assert f'<td class="number"><strong>{row.recall:.1%}</strong></td>' in classes


def test_an_export_whose_run_the_store_does_not_know_says_so(exported, folder, tmp_path, monkeypatch):
    moved = [shutil.copytree(folder / f"exports{k}/own/softmax", tmp_path / str(k)) for k in (0, 1)]
    monkeypatch.chdir(tmp_path)  # where no store is
    page = compare(moved, page=tmp_path / "page.html").page.read_text(encoding="utf-8")
    assert "no learning curves for these exports: their runs aren't in the store" in unescape(page)
    recipe = read_manifest(moved[1]).metadata.recipe
    assert f"<td>{recipe['learning_rate']}</td>" in page
    assert not (tmp_path / "mlruns").exists(), "who only looks leaves nothing behind"


def test_the_page_is_logged_to_a_run_when_asked(exported, alone, tmp_path, capsys):
    assert main(["compare", *exported, "--log-to", alone[:12], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["logged"] == alone
    with tracking.open_client() as client:
        text = Path(client.download_artifacts(alone, PAGE_FILE, str(tmp_path))).read_text(encoding="utf-8")
    assert text.endswith("</body>\n</html>\n")
    assert main(["compare", *exported, "--log-to", "0000"]) == 1
    assert "begins with '0000'" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_told(exported, tmp_path):
    with pytest.raises(ExportError, match=r"page\.html can't be written \(No such file or directory\): .*--html"):
        compare(exported, page=tmp_path / "nowhere" / "page.html")


def test_on_the_front_are_those_that_no_other_beats_in_both():
    def point(name, x, y):
        return Point(name, x, y, y - 1, y + 1)

    points = [point("small", 1, 80), point("good", 5, 90), point("poor", 6, 85), point("equal", 5, 90)]
    points += [point("same for more", 7, 90), point("best", 50, 95)]
    front = Front("", "parameters", "accuracy", points)
    assert [p.name for p in front.best()] == ["small", "good", "equal", "best"]
    assert [row[-1] for row in front.rows()[1:]] == ["yes", "yes", "yes", "", "", "yes"]
    assert front.svg().count("<title>") == len(points)
