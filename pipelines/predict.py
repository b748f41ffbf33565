"""`zoo predict EXPORT PICTURE…`: classify pictures. Runs where nothing but the app's part is installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.runtime import load


@dataclass(frozen=True)
class PredictedPicture:
    """One picture and its answer. probability: 0..1, of `label`; ranking: all labels with theirs, likeliest first."""

    picture: Path
    label: str
    probability: float
    ranking: tuple[tuple[str, float], ...]


def predict(
    export: str | os.PathLike[str],
    pictures: Sequence[str | os.PathLike[str]],
    *,
    provider: str = "auto",
    threads: int | None = None,
) -> list[PredictedPicture]:
    """The answer for each of the picture files, in their order. export, provider, threads: as `zoo.load` takes them.

    Raises what `zoo.load` raises, and PictureError for the first file that can't be read.
    """
    predictions = load(export, provider, threads).predict_batch(pictures)
    return [
        PredictedPicture(Path(picture), found.label, found.probability, found.ranking)
        for picture, found in zip(pictures, predictions, strict=True)
    ]
