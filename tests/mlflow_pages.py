"""MLflow's UI in a real Chromium, on a store that `zoo run` made: each page shows what a person looks for there.

Who imports these tests has two fixtures beside those of chromium.py: `place`, whose working folder and store
`make_runs` has filled, and `ui`.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from pipelines import tracking
from pipelines.maintenance.runs import runs
from pipelines.publishing.promote import promote
from pipelines.run import run
from pipelines.training.train import train

pytestmark = [
    pytest.mark.apps,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

PATIENCE = 90_000  # milliseconds for a page: the server answers slowly where the machine has other things to do
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"  # the name of a class
# What MLflow's own pages complain about: a server without users, and a page that is laid out again while it is.
THEIRS = re.compile(r"mlflow/users/current|ResizeObserver loop")


class Ui(NamedTuple):
    """Where MLflow's UI is. results: the page of the results of digits. user, password: of who looks at it."""

    address: str
    results: str
    user: str = ""
    password: str = ""


def make_runs():
    """Two models taken the whole way, one of them by two seeds, and one of images of hostile names."""
    run(["softmax"], "digits", settings={"epochs": 8}, seeds=2)
    run(["conv-tiny"], "digits", settings={"epochs": 40})
    assert promote("digits/conv-tiny").refusal == ""
    drawn = np.random.default_rng(0)
    for name in (HOSTILE, "plain"):
        folder = Path("my images") / name
        folder.mkdir(parents=True)
        for k in range(12):
            Image.fromarray(drawn.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{k}.png")
    train("softmax", "my images", settings={"epochs": 1})


class Visit:
    """One page of a browser, that notes what it complains about and what it fetches."""

    def __init__(self, browser, ui):
        self.address, self.complaints, self.requests = ui.address, [], []
        login = {"username": ui.user, "password": ui.password} if ui.user else None
        context = browser.new_context(viewport={"width": 1500, "height": 1000}, http_credentials=login)
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        # The assistant, which opens by itself on the first visit, would take a quarter of the page.
        self.page.add_init_script(
            "if (location.host) localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
        )
        self.page.on("console", self.hear)
        self.page.on("pageerror", lambda error: self.note(str(error)))
        self.page.on("dialog", lambda dialog: self.note(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def hear(self, told):
        if told.type == "error":
            self.note(f"{told.text} {told.location.get('url')}")

    def note(self, complaint):
        if not THEIRS.search(complaint):
            self.complaints.append(complaint)

    def __call__(self, where):
        """Open a page of the UI by what stands behind its address; leave the one before wholly."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}/{where}")
        return self.page

    def sees(self, text, *, exact=False):
        self.page.get_by_text(text, exact=exact).first.wait_for()


@pytest.fixture
def visit(browser, ui):
    """Opens pages of the UI. In the end: no complaint of ours, and nothing fetched from anywhere else."""
    visit = Visit(browser, ui)
    yield visit
    visit.page.context.close()
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith((f"{ui.address}/", "data:", "blob:"))] == []


@pytest.fixture
def best(place):
    """The run with the highest accuracy, as `zoo runs` has it."""
    return runs(sort="test_accuracy", most=1).runs[0]


def of(run, page=""):
    return f"#/experiments/{experiment(run)}/runs/{run}{page}"


def experiment(run):
    with tracking.open_client() as client:
        return client.get_run(run).info.experiment_id


# --- the list ------------------------------------------------------------------------------------------------------


def test_the_list_of_runs_is_a_table_of_results_best_first(ui, visit, best):
    page = visit(ui.results)
    visit.sees(best.name, exact=True)
    names = page.locator(".ag-cell[col-id='attributes.`Run Name`']").all_inner_texts()
    listed = sorted((run for run in runs().runs if run.data_set == "digits"), key=lambda run: -run.test_accuracy)
    assert best.name in names[0]
    assert [run.name for run in listed] == [name for name in map(last_line, names) if "seeds" not in name]
    for column, expected in {
        "tags.`family`": "conv",
        "metrics.`test_accuracy`": best.test_accuracy,
        "metrics.`parameters`": best.parameters,
        "metrics.`multiply_accumulates`": best.multiply_accumulates,
        "metrics.`latency`": best.latency,
        "metrics.`export_size`": best.export_size,
    }.items():
        shown = page.locator(f'.ag-row[row-id="{best.run}"] .ag-cell[col-id="{column}"]').inner_text()
        # `zoo ui` rounds, a server of MLflow's own doesn't.
        assert shown == expected if isinstance(expected, str) else float(shown) == pytest.approx(expected, rel=1e-3)


def last_line(text):
    return text.splitlines()[-1]


def test_runs_of_several_seeds_lie_below_one_run(visit, place):
    with tracking.open_client() as client:
        experiments = [each.experiment_id for each in client.search_experiments()]
        (parent,) = client.search_runs(experiments, "tags.seeds_of LIKE '%'")
    visit(of(parent.info.run_id))
    visit.sees("2 training runs that differ only in the seed")
    visit.sees("Child runs")
    visit.sees("softmax epochs=8 seed=2", exact=True)


def test_two_runs_are_compared(visit, best):
    other = next(run for run in runs(model="softmax").runs if run.data_set == "digits")
    both, where = json.dumps([best.run, other.run]), json.dumps([experiment(best.run)])
    visit(f"#/compare-runs?runs={both}&experiments={where}")
    for name in (best.name, other.name, "Parallel Coordinates Plot"):
        visit.sees(name)


# --- a run ---------------------------------------------------------------------------------------------------------


def test_a_run_says_what_came_out_and_shows_it(visit, best):
    page = visit(of(best.run))
    visit.sees(f"{best.test_accuracy:.2%}")
    page.get_by_text("Show more").first.click()
    visit.sees(f"{best.parameters:,} parameters, {best.multiply_accumulates:,} multiply-accumulates")
    visit.sees(f"mlflow models serve -m runs:/{best.run}/onnx")
    images = page.locator("[data-testid=note-editor-preview-content] img")
    assert images.count() == 2
    for image in images.all():
        image.evaluate("image => image.decode()")  # fails for what isn't an image
        assert 0 < image.evaluate("image => image.naturalWidth") <= 560
    visit.sees("About this run")  # beside it: a wider image would push that from the page
    assert page.get_by_text("About this run").bounding_box()["x"] < 1400
    visit.sees("digits-train")
    visit.sees("Logged models")


def test_a_run_has_its_curves_by_epoch(visit, best):
    history = tracking.load_run(best.run).history
    page = visit(of(best.run, "/model-metrics"))
    page.get_by_placeholder("Search metric charts").fill("^validation_accuracy")
    visit.sees("validation_accuracy", exact=True)
    expected = [list(history["epoch"]), pytest.approx(history["validation_accuracy"])]
    until = time.monotonic() + PATIENCE / 1000
    while expected not in (drawn := lines(page)) and time.monotonic() < until:
        time.sleep(0.5)
    assert expected in drawn


def lines(page):
    """[x, y] of each line that Plotly drew."""
    return page.evaluate(
        "[...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => plot.data)"
        ".filter(line => line.x?.length > 1 && line.mode?.includes('lines')).map(line => [[...line.x], [...line.y]])"
    )


def test_a_run_has_what_the_machine_did(visit, best):
    visit(of(best.run, "/system-metrics"))
    visit.sees("cpu_utilization_percentage", exact=True)
    visit.sees("process_memory_usage_megabytes", exact=True)


@pytest.mark.parametrize("path", ["evaluation/confusion.png", "evaluation/curves.png", "augmentation.png"])
def test_images_show_among_the_artifacts(visit, best, path):
    page = visit(of(best.run, f"/artifacts/{path}"))
    image = page.locator("img[src^='blob:']").first
    image.wait_for(state="attached")  # MLflow has it twice, once hidden, for its full screen
    image.evaluate("image => image.decode()")
    assert image.evaluate("image => image.naturalWidth") > 300


# --- models --------------------------------------------------------------------------------------------------------


def test_models_are_ready_and_have_the_metrics_of_the_test_data(visit, best):
    page = visit(f"#/experiments/{experiment(best.run)}/models")
    visit.sees("Ready", exact=True)
    assert "Registering" not in page.inner_text("body")
    with tracking.open_client() as client:
        found = client.search_logged_models([experiment(best.run)], f"source_run_id = '{best.run}' AND name = 'onnx'")
    visit(f"#/experiments/{experiment(best.run)}/models/{found[0].model_id}")
    visit.sees("test_accuracy", exact=True)
    visit.sees("digits-test")


def test_the_champion_is_named_and_its_gates_are_told(visit):
    page = visit("#/models/digits")
    visit.sees("@ champion", exact=True)
    page = visit("#/models/digits/versions/1")
    visit.sees("parity", exact=True)
    assert "conv-tiny" in page.inner_text("body")


# --- names that others chose ---------------------------------------------------------------------------------------


def test_the_name_of_a_class_stays_text(visit, place):
    (run,) = (run for run in runs().runs if run.data_set == "my images")
    page = visit(f"#/experiments/{experiment(run.run)}/runs")
    visit.sees("Table of results")
    assert HOSTILE in page.inner_text("body")
    visit(of(run.run))
    visit.sees("; not evaluated on the test set yet")
    assert page.title() != "owned"
