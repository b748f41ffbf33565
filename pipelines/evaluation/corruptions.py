"""Images as the world hands them over: noisy, blurred, in fog, turned. A model that only knows clean ones fails here.

After the common corruptions of Hendrycks & Dietterich (2019): thirteen kinds, at five strengths each. The strengths are
those of their suite for images of 32 pixels (CIFAR-10-C) where it has the kind; brightness, which there is only added,
here goes both ways, and pixelation lies between theirs for 32 and for 224 pixels; shift, rotation and scale are beside
it. Same images, same corruption, same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation import spoiling
from zoo.data.pixels import Images, in_chunks
from zoo.images import Pixels
from zoo.recipe import Recipe

SEED = 2019
STRENGTHS = 5
# Images that each corruption of the suite is measured on, at most, others each time: 65 times all of a large test set
# would take longer than many a training. Of 10,000, by calculation for 80 %: one accuracy is then within 1.6 points of
# what all of them give, in 19 cases of 20, and the mean of the 65 within 0.2.
MOST_IMAGES = 2000
MOST_VALUES = 2**24  # in those images: 111 of 224x224 pixels in color, for whose networks each is work
VALUES = 2**22  # at a time: a whole test set as float32 can be gigabytes
FIRST_BATCH = 1000  # images at a time of FIRST_SUITE, whose draws depend on it


@dataclass(frozen=True)
class Corruption:
    """One way to spoil an image. amount: what it does, in words. severity: 1 (mild) to 5 (strong); of FIRST_SUITE to 2.

    batch: images at a time; 0 for as many as make VALUES.
    """

    kind: str
    severity: int
    amount: str
    spoil: spoiling.Spoil
    batch: int = 0

    def __call__(self, images: Pixels) -> Pixels:
        """[N, H, W, C] uint8 -> the same, spoiled. What an image gets depends on its place, so that all differ."""
        return np.concatenate([*self.batches(images)])

    def batches(self, images: Images) -> Iterator[Pixels]:
        """The same, some of them at a time."""
        random = np.random.default_rng(SEED)
        for some in in_chunks(images, self.batch or max(1, min(FIRST_BATCH, VALUES // prod(images.shape[1:])))):
            values = self.spoil(some.astype(np.float32), random)
            yield np.clip(np.rint(values), 0, 255).astype(np.uint8)

    def chosen(self, images: Images) -> NDArray[np.int64]:
        """The places of the images that it is measured on, out of all of a test set."""
        most = min(MOST_IMAGES, max(1, MOST_VALUES // prod(images.shape[1:])))
        if self.batch or len(images) <= most:
            return np.arange(len(images))
        random = np.random.default_rng([SEED, *f"{self.kind} {self.severity}".encode()])
        return np.sort(random.choice(len(images), most, replace=False))


@dataclass(frozen=True)
class Kind:
    """Five strengths of one corruption.

    amount: in words, with {} for what differs. imitated_by: fields of a recipe and their values whose augmentation does
    the same to training images, more or less of it; no values: all but the default.
    """

    name: str
    group: str
    amount: str
    make: Callable[[Any], spoiling.Spoil]
    strengths: tuple[Any, ...]
    imitated_by: Mapping[str, Sequence[str]]

    def corruptions(self) -> tuple[Corruption, ...]:
        """From mild to strong."""
        return tuple(
            Corruption(self.name, severity, self.amount.format(strength), self.make(strength))
            for severity, strength in enumerate(self.strengths, start=1)
        )

    def is_seen(self, recipe: Mapping[str, Any]) -> bool:
        """Whether a model of this recipe has learned from images that were spoiled alike."""
        usual = Recipe().to_json()
        found = {name: recipe.get(name, usual[name]) for name in self.imitated_by}
        return any(
            found[name] in values if values else found[name] != usual[name] for name, values in self.imitated_by.items()
        )


def as_learned(recipe: Mapping[str, Any], *, head_alone: bool) -> Mapping[str, Any]:
    """A recipe as it says which images were learned from: a head alone, of one view, sees none that is augmented."""
    if not head_alone or recipe.get("views") != 1:
        return recipe
    return {**recipe, "augmentation": "none", "rotation": 0.0, "scale": 0.0, "degrade": 0.0}


_CROPS = ("photo", "randaugment")
_LIGHT: Mapping[str, Sequence[str]] = {"degrade": (), "augmentation": _CROPS}

KINDS: tuple[Kind, ...] = (
    Kind(
        "Gaussian noise",
        "noise",
        "deviation {:.0%} of the range",
        spoiling.noise,
        (0.04, 0.06, 0.08, 0.09, 0.1),
        {"degrade": ()},
    ),
    Kind(
        "shot noise",
        "noise",
        "{} photons for white",
        spoiling.shot_noise,
        (500, 250, 100, 75, 50),
        {"degrade": ()},  # of another size at each brightness, but noise at each pixel all the same
    ),
    Kind("impulse noise", "noise", "{:.0%} black or white", spoiling.impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), {}),
    Kind(
        "Gaussian blur",
        "blur",
        "deviation {} pixels of 28",
        spoiling.blur,
        (0.5, 0.75, 1.0, 1.25, 1.5),
        {"degrade": ()},
    ),
    Kind("motion blur", "blur", "along {} pixels of 28", spoiling.motion_blur, (2, 3, 4, 5, 6), {}),
    Kind("fog", "weather", "haze of {:.0%} of the range", spoiling.fog, (0.2, 0.5, 0.75, 1.0, 1.5), {}),
    Kind(
        "brightness",
        "digital",
        "{:.0%} of the range, up or down",
        spoiling.brightness,
        (0.05, 0.1, 0.15, 0.2, 0.3),
        _LIGHT,
    ),
    Kind("contrast", "digital", "{:.0%} of it left", spoiling.contrast, (0.75, 0.5, 0.4, 0.3, 0.15), _LIGHT),
    Kind("JPEG", "digital", "quality {}", spoiling.jpeg, (80, 65, 58, 50, 40), {}),
    Kind("pixelation", "digital", "{:.0%} of the side's pixels", spoiling.pixelation, (0.9, 0.75, 0.6, 0.45, 0.3), {}),
    Kind(
        "shift",
        "geometry",
        "{} pixels of 28, both ways",
        spoiling.shift,
        (1, 2, 3, 4, 5),
        {"augmentation": ("light", "strong", *_CROPS)},
    ),
    Kind(
        "rotation",
        "geometry",
        "{}° to either side",
        spoiling.rotation,
        (5, 10, 15, 20, 30),
        {"rotation": (), "augmentation": ("randaugment",)},
    ),
    Kind(
        "scale",
        "geometry",
        "{} times as large or as small",
        spoiling.scale,
        (1.05, 1.1, 1.2, 1.3, 1.4),
        {"scale": (), "augmentation": _CROPS},
    ),
)
SUITE: tuple[Corruption, ...] = tuple(corruption for kind in KINDS for corruption in kind.corruptions())

# What exports were measured on before there was the suite: the whole test set, eight times. They are verified on it.
FIRST_SUITE: tuple[Corruption, ...] = (
    Corruption("noise", 1, "Gaussian, deviation 5% of the range", spoiling.noise(0.05), FIRST_BATCH),
    Corruption("noise", 2, "Gaussian, deviation 10% of the range", spoiling.noise(0.1), FIRST_BATCH),
    Corruption("blur", 1, "Gaussian, deviation 0.75 pixels of 28", spoiling.blur(0.75), FIRST_BATCH),
    Corruption("blur", 2, "Gaussian, deviation 1.5 pixels of 28", spoiling.blur(1.5), FIRST_BATCH),
    Corruption("shift", 1, "2 pixels of 28, both ways", spoiling.shift(2), FIRST_BATCH),
    Corruption("shift", 2, "4 pixels of 28, both ways", spoiling.shift(4), FIRST_BATCH),
    Corruption("contrast", 1, "three quarters of it left", spoiling.contrast(0.75), FIRST_BATCH),
    Corruption("contrast", 2, "half of it left", spoiling.contrast(0.5), FIRST_BATCH),
)
