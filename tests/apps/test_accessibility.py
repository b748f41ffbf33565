"""Every page that we make, by axe-core in a real Chromium: on a phone and on a desktop, light and dark.

Left out: exports/README.md and the cards, which GitHub renders, and MLflow's own pages.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from chromium import launch
from demo_page import hosted, settled
from environments import ROOT, build_site
from PIL import Image

from pipelines.datasets.check import data_check
from pipelines.evaluation.comparison.compare import compare
from pipelines.evaluation.evaluate import evaluate
from pipelines.publishing.demo import demo
from pipelines.study import study
from pipelines.training.train import train

pytestmark = [pytest.mark.apps, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

WIDTHS = (390, 1440)
SCHEMES = ("light", "dark")
SMALLEST = 11  # pixels of a letter in a chart
PAGES = ("study", "images", "runs", "exports", "demo")

VIOLATIONS = """axe.run().then(({violations}) => violations.map(({id, nodes}) =>
    [id, nodes.length, nodes[0].html.slice(0, 200), nodes[0].failureSummary.slice(0, 300)]))"""
LETTERS = """[...document.querySelectorAll("svg text")].filter((text) => text.checkVisibility()).map((text) => {
    const {a, b} = text.getScreenCTM()  // b: of one that stands upright
    return [text.textContent, parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b)]
})"""


def images(folder: Path) -> Path:
    """Two classes, with a duplicate and a broken file, for which the page has a part each."""
    for number in range(24):
        place = folder / ("dark", "light")[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((16, 16), 20 + number).point(lambda value, k=number: value // 2 + 127 * (k % 2)).save(place)
    shutil.copy(folder / "dark" / "0.png", folder / "dark" / "again.png")
    (folder / "light" / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def made(shared_store: Path) -> dict[str, Path]:
    """Each kind of page, by its name in PAGES; from shipped results and exports, and two short trainings."""
    pages = {name: shared_store / f"{name}.html" for name in PAGES}
    shutil.copytree(ROOT / "exports", shared_store / "exports")
    study(report=True, folder=shared_store / "exports" / "study")
    pages["study"] = shared_store / "exports" / "study" / "report.html"
    data_check(images(shared_store / "pixels"), page=pages["images"])
    trained = [train(model, "digits", settings={"epochs": 2}).run for model in ("softmax", "mlp-small")]
    for run in trained:
        evaluate(run)
    compare(trained, page=pages["runs"])
    compare(["digits/mlp-small", "digits/conv-small"], page=pages["exports"])
    demo([f"fashion-mnist/{name}" for name in ("mlp-small", "conv-small", "conv-mlp-small")], pages["demo"])
    return pages


@pytest.fixture(scope="module")
def axe(installed_example) -> str:
    return (installed_example("web") / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def quiet_browser(playwright):
    browser = launch(playwright)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def found(quiet_browser, axe):
    """(violations, letters of charts that are too small, background, width) of a page as a reader has it."""

    def look(address: str, width: int, scheme: str):
        settings = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
        context = quiet_browser.new_context(**settings, bypass_csp=True)  # or the page forbids axe's script
        try:
            page = context.new_page()
            page.goto(address)
            page.wait_for_load_state("networkidle")
            if address.endswith("demo.html"):  # which hides its parts until its models are ready
                settled(page)
            page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
            page.evaluate(axe)
            small = [text for text, size in page.evaluate(LETTERS) if round(size, 1) < SMALLEST]
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            return page.evaluate(VIOLATIONS), small, background, page.evaluate("document.body.scrollWidth")
        finally:
            context.close()

    return look


@pytest.mark.timeout(1800)  # the first one makes all pages
@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_violation_letters_that_can_be_read_and_dark_colors(made, found, name):
    backgrounds = set()
    for width in WIDTHS:
        for scheme in SCHEMES:
            violations, small, background, needed = found(made[name].as_uri(), width, scheme)
            assert violations == [], (width, scheme)
            assert small == [], (width, scheme)
            assert needed <= width
            backgrounds.add(background)
    assert len(backgrounds) == len(SCHEMES)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.mark.timeout(1800)  # forty pages, four times
def test_no_page_of_the_documentation_has_a_violation(site, found):
    pages = sorted(site.glob("*.html"))
    assert len(pages) > 20
    wrong = {}
    with hosted(site) as port:  # the page for addresses that aren't there loads its parts from the root of a host
        for page in pages:
            for width in WIDTHS:
                for scheme in SCHEMES:
                    violations, _, _, needed = found(f"http://127.0.0.1:{port}/{page.name}", width, scheme)
                    if violations or needed > width:
                        wrong[page.name, width, scheme] = (violations, needed)
    assert wrong == {}
