"""Pictures of many sizes, in batches of one size each: the file resizes them itself where its Resize can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from zoo.errors import InputError, PictureError
from zoo.images import Pixels

# Pixel values that wait or run at once, at most: ten colour photographs of 12 megapixels, or many small pictures.
# A picture that is larger runs alone.
MOST_VALUES = 384 * 2**20


def batches_of_one_size(
    pictures: Iterable[Any], read: Callable[[Any], Pixels], batch_size: int
) -> Iterator[tuple[list[int], Pixels]]:
    """Read pictures one by one, and give (their places, images [N, H, W, C] uint8) as soon as N = batch_size fit.

    read: to pixels [H, W, C], such as `Classifier.read`. Raises PictureError or InputError, as it does, with the
    picture's place in front.
    """
    waiting: dict[tuple[int, ...], list[tuple[int, Pixels]]] = {}
    values = 0
    for place, picture in enumerate(pictures):
        try:
            pixels = read(picture)
        except (PictureError, InputError) as error:
            raise type(error)(f"pictures[{place}]: {error}") from None
        if values + pixels.size > MOST_VALUES:
            yield from _stacked(waiting)
            values = 0
        group = waiting.setdefault(pixels.shape, [])
        group.append((place, pixels))
        values += pixels.size
        if len(group) == batch_size:
            values -= pixels.size * batch_size
            yield from _stacked({pixels.shape: waiting.pop(pixels.shape)})
    yield from _stacked(waiting)


def _stacked(
    waiting: dict[tuple[int, ...], list[tuple[int, Pixels]]],
) -> Iterator[tuple[list[int], Pixels]]:
    while waiting:
        _, group = waiting.popitem()
        yield [place for place, _ in group], np.stack([pixels for _, pixels in group])
