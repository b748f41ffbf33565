"""The colors of all that is drawn: plots, charts in SVG, and pages. A family has the same ones everywhere.

Okabe & Ito's palette, which color-blind people distinguish. Nothing is imported here, so that anybody can import it.
"""

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GRAY, OLIVE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7A7A7A",
    "#B8A900",
)
SERIES_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GRAY, OLIVE)  # of lines that are of no family

FAMILY_COLORS = {"dense": VERMILION, "conv": BLUE, "hybrid": GREEN}
FAMILY_MARKERS = {"dense": "square", "conv": "circle", "hybrid": "diamond"}  # for those who print in gray

CORRECT, WRONG = BLUE, VERMILION
NEGATIVE, NEUTRAL, POSITIVE = BLUE, "#F7F7F7", VERMILION  # of a weight: it lowers the output, does nothing, raises it

# Of text and what surrounds it, on white paper and on a dark screen.
INK, QUIET, RULE, PAPER, TINT = "#1B1F24", "#6B7280", "#E5E7EB", "#FFFFFF", "#F7F8FA"
DARK_INK, DARK_QUIET, DARK_RULE, DARK_PAPER, DARK_TINT = "#E6E8EB", "#9AA3AF", "#374151", "#14171B", "#1D2126"

# Of a judgement in words: dark enough to be read on paper, light enough on a dark screen.
GOOD, FAIR, BAD = "#00795A", "#9A6700", "#C0392B"
DARK_GOOD, DARK_FAIR, DARK_BAD = "#3ECF9E", "#F0B429", "#FF8A7A"


def rgb(color: str) -> tuple[int, int, int]:
    """Its red, green and blue, 0 to 255 each."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def shade(color: str, step: int) -> str:
    """A color itself (0), or lighter (1) or darker (2), to distinguish things of one color."""
    target, share = ((0, 0.0), (255, 0.45), (0, 0.35))[step]
    return "#" + "".join(f"{round(part + share * (target - part)):02X}" for part in rgb(color))
