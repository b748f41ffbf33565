"""The forest plot of a study: each effect at its place, beside what was claimed, and readable on a phone."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from pipelines.plotting.forest import KINDS, LEFT, RIGHT, Forest, Row
from pipelines.plotting.svg import SIZE, WIDTH

NAMESPACE = "{http://www.w3.org/2000/svg}"
ROWS = (
    Row("large", 50, 48, 52, 20, None, "as claimed", ("+50", "+48 to +52", "at least 20")),
    Row("small", 0.4, -0.2, 1.0, 0.5, None, "undecided", ("+0.4", "-0.2 to +1.0", "at least 0.5")),
    Row("within", 0.0, -0.1, 0.1, -1, 1, "as claimed", ("+0.0", "-0.1 to +0.1", "from -1 to 1")),
    Row("<b>&", -8, -12, -4, None, -20, "contradicts the claim", ("-8", "-12 to -4", "at most -20")),
)


@pytest.fixture(scope="module")
def drawn():
    return ElementTree.fromstring(Forest("effects", "points", ROWS).svg())


def test_effects_stand_in_order_of_size_on_both_sides_of_zero(drawn):
    places = [float(x) for x in re.findall(r'(?:cx|points)="(-?[\d.]+)', Forest("", "points", ROWS).svg())]
    large, small, within, negative = places[:4]
    assert LEFT < negative < within < small < large < WIDTH - RIGHT
    ticks = [text.text for text in drawn.iter(f"{NAMESPACE}text") if text.get("class") == "quiet"]
    assert ticks[0] == "0" and {tick[0] for tick in ticks[1:]} == {"+", "-"}


def test_the_gray_field_is_what_is_claimed(drawn):
    fields = [(float(r.get("x")), float(r.get("x")) + float(r.get("width"))) for r in drawn.iter(f"{NAMESPACE}rect")]
    lines = re.findall(r'd="M([\d.]+) [\d.]+H([\d.]+)"', Forest("", "points", ROWS).svg())
    for row, (left, right), ends in zip(ROWS, fields, lines, strict=True):
        low, high = map(float, ends)
        assert low < high
        inside, outside = left <= low and high <= right, high < left or low > right
        assert (inside, outside) == {
            "as claimed": (True, False),
            "undecided": (False, False),
            "contradicts the claim": (False, True),
        }[row.kind]


def test_names_are_text_whatever_they_are(drawn):
    texts = [text.text for text in drawn.iter(f"{NAMESPACE}text")]
    assert [row.name for row in ROWS] == [text for text in texts if text in {row.name for row in ROWS}]
    assert drawn.find(f".//{NAMESPACE}b") is None


def test_the_same_as_a_table():
    head, *body = Forest("effects", "points", ROWS).rows()
    assert head == ["", "points", "95% interval", "claimed", "result"]
    assert body == [[row.name, *row.texts, row.kind] for row in ROWS]
    assert {row[-1] for row in body} == set(KINDS)


def test_letters_have_eleven_pixels_on_a_phone():
    assert SIZE * (390 - 2 * 16) / WIDTH >= 11, "a page of 390 pixels has margins of 16"
