"""The documentation site: strict, whole, with a search that finds what people ask for, and nothing from elsewhere."""

from __future__ import annotations

import json
import re
from types import ModuleType

import pytest
from environments import ROOT, build_site

import pipelines
import zoo
from zoo.data import data_sets


def public() -> set[str]:
    """Where each public name of the two packages is defined."""
    places = set()
    for package in (zoo, pipelines):
        for name in package.__all__:
            found = getattr(package, name)
            if isinstance(found, ModuleType):  # pipelines.run, pipelines.study
                found = getattr(found, name)
            if not name.startswith("__"):
                assert found.__doc__, f"{package.__name__}.{name} has no docstring"
                places.add(f"{found.__module__}.{found.__name__}")
    return places


def test_every_public_name_is_in_the_reference_once():
    listed = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.M)
    assert sorted(listed) == sorted(public())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build_site(tmp_path_factory.mktemp("site"))


def test_pages_load_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = re.findall(
            r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"?(https?:[^\s\">]+)", page.read_text("utf-8")
        )
        assert [each for each in loaded if "canonical" not in each] == [], page.name


def test_a_plot_of_the_repository_is_on_its_page(site):
    page = (site / "study.html").read_text(encoding="utf-8")
    (plot,) = re.findall(r'<img [^>]*src="([^"]+)"', page)
    assert (site / plot).read_bytes() == (ROOT / plot).read_bytes()


def test_each_parameter_has_a_paragraph_in_the_reference(site):
    page = (site / "api.html").read_text(encoding="utf-8")
    paragraphs = set(re.findall(r"<p><code>([\w, ]+)</code>: ", page))
    assert {"path_or_name", "provider", "threads", "precision", "coverage", "max_latency", "workers"} <= paragraphs


def test_the_overview_which_mentions_everything_is_found_last(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    (overview,) = [each for each in index if each["location"] == "index.html"]
    assert overview["boost"] < 1


def test_the_page_of_data_sets_has_each_that_is_registered(site):
    page = (site / "data.html").read_text(encoding="utf-8")
    assert [name for name in data_sets() if f"<td><code>{name}</code></td>" not in page] == []


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("early stopping", "training.html#early-stopping"),
        ("confusion matrix", "mlflow.html#confusion-matrix"),
        ("CUDA", "providers.html"),
        ("mlflow models serve", "serving.html#serve"),
        ("without Docker", "serving.html#without-docker"),
        ("quantization", "apps.html#quantization"),
        ("unknown class", "reliability.html#unknown-classes"),
        ("data augmentation", "augmentation.html"),
        ("receptive field", "models.html#receptive-field"),
        ("top-5", "apps.html#top-5-predictions"),
        ("zoo quantize", "commands.html#zoo-quantize"),
    ],
)
def test_what_people_look_for_is_in_the_search(site, words, place):
    """In a section of its own, whose title ranks it above pages that only mention it."""
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    text = re.compile(words.replace(" ", r"\s+"), re.I)
    assert place in {each["location"] for each in index if text.search(f"{each['title']} {each['text']}")}
