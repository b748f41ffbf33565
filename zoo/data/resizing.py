"""A known data set at another size: in memory, or where that is too small in a file."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from zoo.data.dataset import DataSet
from zoo.data.pixels import PixelFile
from zoo.data.storing import PIXELS_FILE, bytes_in_memory, check_whole, stored
from zoo.images import resize


def at_size(data_set: DataSet, height: int, width: int, resizing: str) -> DataSet:
    """As `DataSet.resized`, with images that would take more than ZOO_MEMORY in a file. DataError as of `stored`."""
    splits = (data_set.train, data_set.validation, data_set.test)
    shape = (sum(map(len, splits)), height, width, data_set.channels)
    if (data_set.height, data_set.width) == (height, width) or math.prod(shape) <= bytes_in_memory():
        return data_set.resized(height, width, resizing)

    def write(folder: Path) -> None:
        with (folder / PIXELS_FILE).open("wb") as file:
            for split in splits:
                for image in split.inputs:
                    file.write(np.ascontiguousarray(resize(image, height, width, resizing)).data)

    import PIL

    key = hashlib.sha256(repr((data_set.digest, shape, resizing, PIL.__version__)).encode()).hexdigest()
    with stored(key, data_set.name, shape[0], (height, width), write) as kept:
        check_whole(kept, math.prod(shape))
        pixels = PixelFile(kept / PIXELS_FILE, shape)
    ends = np.cumsum([0, *map(len, splits)]).tolist()
    train, validation, test = (
        replace(split, inputs=pixels.take(np.arange(begin, begin + len(split))))
        for split, begin in zip(splits, ends[:-1], strict=True)
    )
    return replace(data_set, train=train, validation=validation, test=test, resizing=resizing)
