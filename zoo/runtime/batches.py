"""Images of many sizes, in batches of one size each: the file resizes them itself where its Resize can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ImageError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zoo.images import Pixels

# Pixel values that wait or run at once, at most: ten color photographs of 12 megapixels, or many small images.
# An image that is larger runs alone.
MOST_VALUES = 384 * 2**20


def batches_of_one_size(
    images: Iterable[Any], read: Callable[[Any], Pixels], batch_size: int
) -> Iterator[tuple[list[int], Pixels]]:
    """Read images one by one, and give (their places, images [N, H, W, C] uint8) as soon as N = batch_size fit.

    read: to pixels [H, W, C], such as `Classifier.read`. Raises ImageError or InputError, as it does, with the
    image's place in front.
    """
    waiting: dict[tuple[int, ...], list[tuple[int, Pixels]]] = {}
    values = 0
    for place, image in enumerate(images):
        try:
            pixels = read(image)
        except (ImageError, InputError) as error:
            raise type(error)(f"images[{place}]: {error}") from None
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
