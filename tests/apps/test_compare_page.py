"""The page of `zoo compare --html` in a real Chromium, opened from its file, with names that try everything."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from pipelines import tracking
from pipelines.core.provenance.machine import versions
from pipelines.evaluation.comparison.compare import compare
from pipelines.evaluation.evaluate import evaluate
from pipelines.exporting.export import export
from pipelines.training.train import train

pytestmark = [pytest.mark.apps, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

DATA_SET = "<svg onload=alert(1)>"
CLASSES = ("<img src=x onerror=alert(1)>", "'\"><script>alert(1)<!--", "&lt;b&gt; ]]>{{7*7}}")
VERSION = "\u202e</style></td><script>alert(1)</script>"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """The page about two runs with exports and one without; nothing in it has a decent name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder = tmp_path_factory.mktemp("compare")
        patch.chdir(folder)
        random = np.random.default_rng(5)
        for place, label in enumerate(CLASSES):
            (folder / DATA_SET / label).mkdir(parents=True)
            for k in range(40):  # as bright as their class, nearly
                pixels = random.normal(60 + 50 * place, 90, (8, 8)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / DATA_SET / label / f'"><script>alert({k})<.png')
        runs = [
            train(model, str(folder / DATA_SET), settings={"epochs": 100}).run for model in ("softmax", "mlp-small")
        ]
        for run in runs:
            evaluate(run)
            export(run)
        runs.append(train("softmax", str(folder / DATA_SET), settings={"epochs": 100, "seed": 2}).run)
        tracking.log_tags(runs[2], {"family": VERSION, "commit": VERSION})
        with tracking.open_client() as client:
            client.log_dict(runs[2], {**versions(), VERSION: VERSION, "keras": VERSION}, "versions.json")
        yield compare(runs, page=folder / "<page>.html")


@pytest.fixture
def visit(browser, comparison):
    """Opens the page, and fails where it complained, asked something or fetched anything."""
    complaints, requests, contexts = [], [], []

    def open_page(**settings):
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(comparison.page.as_uri())
        return page

    yield open_page
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {comparison.page.as_uri()}
    for context in contexts:
        context.close()


def shown(page, selector):
    """Those that have a size, and are in no hidden part."""
    return [each for each in page.locator(selector).all() if each.is_visible()]


def test_whatever_things_are_called_nothing_runs_and_all_is_shown_as_it_is(visit, comparison):
    page = visit(viewport={"width": 1280, "height": 900})
    assert page.locator("script, iframe, object, embed, link[rel=stylesheet], [onload], [onerror]").count() == 0
    assert all(each.get_attribute("src").startswith("data:image/png;") for each in page.locator("img").all())
    text = page.inner_text("body")
    assert DATA_SET in page.title()
    assert CLASSES[0] in text
    assert CLASSES[1] in text
    assert "\\u202e" in text, "what would turn the line around is spelled out"
    assert "\u202e" not in text
    assert text.count(VERSION[1:]) >= 3
    told = page.locator(".shot img").first.get_attribute("alt")
    assert '"><script>alert(' in told


def test_fronts_and_curves_are_seen_and_chosen(visit, comparison):
    page = visit(viewport={"width": 1280, "height": 900})
    (front,) = shown(page, ".fronts .pane svg")
    assert front.bounding_box()["height"] > 300
    assert front.locator("circle, polygon").count() == len(comparison.rows) == 2
    assert "parameters" in front.get_attribute("aria-label")
    page.get_by_role("radio", name="file, bytes").check()
    (front,) = shown(page, ".fronts .pane svg")
    assert "file, bytes" in front.get_attribute("aria-label")

    (curves,) = shown(page, ".curves .pane svg")
    assert curves.get_attribute("aria-label") == "validation accuracy by epochs"
    assert [name.is_visible() for name in curves.locator(".line > text").all()] == [True] * 3
    assert all(int(path.bounding_box()["width"]) > 100 for path in curves.locator(".line > path:first-child").all())
    page.get_by_role("radio", name="training loss").check()
    page.get_by_role("radio", name="by seconds").check()
    (curves,) = shown(page, ".curves .pane svg")
    assert curves.get_attribute("aria-label") == "training loss by seconds"
    page.locator(".curves fieldset input").nth(1).uncheck()
    assert [name.is_visible() for name in curves.locator(".line > text").all()] == [True, False, True]


def test_metrics_are_those_of_the_comparison(visit, comparison):
    page = visit(viewport={"width": 1280, "height": 900})
    (pair,) = comparison.pairs
    heading = page.get_by_role("heading", name=f"{pair.test.only_first} images that only").first
    assert heading.is_visible()
    assert page.locator("details .shots").first.locator("img").count() == min(12, pair.test.only_first)
    numbers = json.loads(page.evaluate("JSON.stringify([...document.images].map(i => i.naturalWidth))"))
    assert set(numbers) == {8}, "each image is a whole PNG of the test set"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(visit, scheme):
    page = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    ink, paper = page.evaluate("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
    assert (
        sum(map(int, ink[4:-1].split(","))) < 200 if scheme == "light" else sum(map(int, paper[4:-1].split(","))) < 200
    )


def test_on_paper_are_all_fronts_and_all_pairs(visit):
    page = visit(viewport={"width": 794, "height": 1123})
    page.emulate_media(media="print")
    assert len(shown(page, ".fronts .pane svg")) == 4
    assert len(shown(page, ".curves .pane svg")) == 1
    assert shown(page, "input") == []
    assert all(each.is_visible() for each in page.locator("details:not(.numbers) h3").all())
