"""One palette: a family has the same color in plots, in charts as SVG, on pages and in the console."""

from __future__ import annotations

import re
from typing import get_args

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from pipelines.cli import console
from pipelines.evaluation.comparison.details import Model
from pipelines.evaluation.comparison.page import cost_fronts, learning_curves
from pipelines.evaluation.comparison.plots import comparison
from pipelines.evaluation.comparison.rows import Row
from pipelines.plotting.html import render
from pipelines.plotting.palette import FAMILY_COLORS, FAMILY_MARKERS, NEGATIVE, POSITIVE, rgb
from pipelines.plotting.points import family_keys
from pipelines.plotting.svg import Chart, Front, Point, Series
from zoo.models.registry import Family
from zoo.runtime.explanation import AGAINST, FOR

FAMILIES = get_args(Family)


def colors_of(svg):
    """Of all lines and markers in a chart, without those of its style."""
    return set(re.findall(r'(?:stroke|fill)="(#[0-9A-Fa-f]{6})"', svg))


def model(family, k=0):
    history = {"epoch": (1, 2), "seconds": (1, 1), "validation_accuracy": (0.8, 0.9), "validation_loss": (2.0, 1.0)}
    metrics = {"accuracy": 0.9, "low": 0.8, "high": 0.95, "parameters": 1000 + k}
    return Model(f"{family}-{k}", family, f"{k}", True, metrics, history)


def test_every_family_has_a_color_and_a_marker_of_its_own():
    for looks in (FAMILY_COLORS, FAMILY_MARKERS):
        assert tuple(looks) == FAMILIES
        assert len(set(looks.values())) == len(looks)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_its_color_wherever_it_is_drawn(family, tmp_path):
    color, others = FAMILY_COLORS[family], {FAMILY_COLORS[other] for other in FAMILIES if other != family}
    chart = Chart("", "x", "y", [Series("a", (1, 2), [[1], [2]], family), Series("b", (1, 2), [[1], [2]])])
    for svg in (
        chart.svg(),
        Front("", "x", "y", [Point("a", 1, 2, 1, 3, family)]).svg(),
        *(chart.svg() for _, chart in learning_curves([model(family)]).panes),
        *(chart.svg() for _, chart in cost_fronts([model(family)]).panes),
    ):
        assert color in colors_of(svg)
        assert not others & colors_of(svg)
    (key,) = family_keys([family])
    assert to_hex(key.get_color()).upper() == color
    comparison(tmp_path / "plot.png", [Row("a/b", family, 1000, 0.9, 0.8, 0.95, 1000, 0.1, 0.0)])
    pixels = np.asarray(Image.open(tmp_path / "plot.png").convert("RGB")).reshape(-1, 3)
    counts = {each: int((pixels == rgb(FAMILY_COLORS[each])).all(axis=1).sum()) for each in FAMILIES}
    assert counts[family] > 100
    assert sum(counts.values()) == counts[family]
    assert f"--{family}: {color};" in render("plotting/page.css.j2")
    assert console.family(family).style == color


def test_lines_of_one_family_share_its_color_and_are_told_apart():
    models = [model("hybrid", k) for k in range(3)]
    (_, chart), *_ = learning_curves(models).panes
    assert colors_of(chart.svg()) == {FAMILY_COLORS["hybrid"]}
    assert len({line.dash for line in chart.series}) == 3
    (_, chart), *_ = learning_curves([model("hybrid", k) for k in range(9)]).panes
    assert len({(line.dash, line.shade) for line in chart.series}) == 9


def test_what_a_weight_does_has_the_same_colors_in_explanations_and_in_plots():
    assert (rgb(POSITIVE), rgb(NEGATIVE)) == (FOR, AGAINST)
