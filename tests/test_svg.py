"""Numbers in drawings: different texts where they differ, in units that can be read."""

from __future__ import annotations

import re

import pytest

from pipelines.plotting.svg import Chart, Front, Point, Series


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00123, "0.00123"),
        (9.87, "9.87"),
        (64, "64"),
        (98.96, "98.96"),
        (-12.5, "-12.5"),
        (999.6, "1k"),
        (1234, "1.23k"),
        (999_700, "1M"),
        (12_345_678, "12.3M"),
    ],
)
def test_a_number_is_short_and_keeps_what_a_percentage_needs(value: float, text: str) -> None:
    _, row = Chart("", "x", "y", [Series("line", [1], [[value]])]).rows()
    assert row[2] == text


@pytest.mark.parametrize(
    "values",
    [(98.96, 99.02, 99.06, 99.11), (99.94, 99.95), (0.001, 0.0012), (0, 1), (-3, 40), (150_000, 2_000_000), (5, 5)],
)
def test_no_two_ticks_of_an_axis_look_alike(values: tuple[float, ...]) -> None:
    chart = Chart("", "x", "y", [Series("line", range(len(values)), [[v] for v in values])], names=["a"] * len(values))
    front = Front("", "x", "y", [Point("", 10 * (k + 1), v, v, v) for k, v in enumerate(values)])
    for drawing in (chart, front):
        ticks = re.findall(r'text-anchor="end">([^<]*)</text>', drawing.svg())
        assert len(ticks) >= 3
        assert len(set(ticks)) == len(ticks)


def test_ticks_have_the_decimals_that_their_step_needs() -> None:
    chart = Chart("", "x", "y", [Series("line", [0, 1], [[98.5], [99.5]])])
    ticks = re.findall(r'text-anchor="end">([^<]*)</text>', chart.svg())
    assert ticks == ["98.6", "98.8", "99.0", "99.2", "99.4"]
