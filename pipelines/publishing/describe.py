"""`zoo describe MODEL`: the ledger of a model at one image size, or for the rows of a table."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.provenance.reading import read_data
from zoo.data.tables.reading import scales
from zoo.models import build_for_table, definition
from zoo.models.ledger import Ledger, ledger, read_ledger
from zoo.recipe import Field


def describe(
    model: str,
    *,
    size: tuple[int, int] = (28, 28),
    channels: int = 1,
    classes: int = 10,
    data: str | None = None,
    label: str | None = None,
    images: Path | None = None,
    follow_links: bool = False,
) -> Ledger:
    """Build the model, untrained, and describe it layer by layer. size: height and width in pixels.

    data, label, images, follow_links: as in `train`; then the data set determines the size, channels, and classes, or
    the columns of the table.
    Raises ModelError for an unknown model, or one that can't be built for the images or the table; DataError if the
    data can't be read.
    """
    family = definition(model).family  # before anything is read: a mistyped name is reported at once
    if data is None:
        return ledger(model, *size, channels, classes)
    data_set = read_data(data, label=label, images=str(images) if images else None, follow_links=follow_links)
    if not data_set.columns:
        return ledger(model, data_set.height, data_set.width, data_set.channels, data_set.classes)
    entries = read_ledger(build_for_table(model, scales(data_set), data_set.classes))
    return Ledger(model, family, (len(data_set.columns),), data_set.classes, entries)


def describe_recipe(model: str) -> tuple[Field, ...]:
    """List each field of the model's recipe: value, type, default, range, reason. ModelError for an unknown model."""
    return definition(model).recipe.described()
