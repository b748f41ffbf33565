"""`zoo describe MODEL`: the ledger of a model at one picture size."""

from __future__ import annotations

from zoo.models.ledger import Ledger, ledger


def describe(model: str, *, size: tuple[int, int] = (28, 28), channels: int = 1, classes: int = 10) -> Ledger:
    """Build the model, untrained, and write its ledger. size: height and width in pixels.

    Raises ModelError for an unknown model, or a size that it can't be built for.
    """
    return ledger(model, *size, channels, classes)
