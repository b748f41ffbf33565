"""Every picture that the project draws, in one quiet style. The only importer of Matplotlib.

Each function writes a PNG, whole or not at all, and returns its alternative text. Same numbers, same bytes.
"""

from pipelines.figures.answers import confusion, reliability
from pipelines.figures.costs import costs
from pipelines.figures.data import CLASSES_DRAWN, class_counts, contact_sheet, picture_sizes
from pipelines.figures.few import few_pictures
from pipelines.figures.models import comparison
from pipelines.figures.speeds import speeds
from pipelines.figures.style import FAMILY_COLOURS, FAMILY_MARKERS
from pipelines.figures.tiles import augmented, first_layer, mistakes
from pipelines.figures.training import curves

__all__ = [
    "CLASSES_DRAWN",
    "FAMILY_COLOURS",
    "FAMILY_MARKERS",
    "augmented",
    "class_counts",
    "comparison",
    "confusion",
    "contact_sheet",
    "costs",
    "curves",
    "few_pictures",
    "first_layer",
    "mistakes",
    "picture_sizes",
    "reliability",
    "speeds",
]
