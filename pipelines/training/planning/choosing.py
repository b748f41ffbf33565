"""`auto`: which model, image size and recipe a data set gets whose user names none. The rules, all of them.

1. The rows of a table: mlp-small.
2. Gray images of at most 40x40 pixels, such as digits and letters: conv-small, from new weights. Features of
   photographs know nothing of so few pixels, and a small conv model learns them in minutes.
3. All others: efficientnet-lite0, from its ImageNet weights, on images of 128x128 pixels where they are no larger
   themselves, else of 224x224. The fewer images there are to learn from, the more views its head gets of each. Only
   where there are 50 and more of a class, the features are trained on as well: of fewer, they would learn the images
   by heart. Those of a test split that the data have themselves don't count.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from pipelines.core.provenance.plan import DataOptions, Origin, Plan, make_plan
from pipelines.core.support.progress import progress
from pipelines.training.transfer.pretrained import published_file
from pipelines.training.transfer.transfer import IMAGENET, find_source
from zoo.data.folders.overview import Overview
from zoo.data.registry import holds_values, look
from zoo.errors import MissingExtraError, ModelError, RecipeError
from zoo.models import definition
from zoo.models.registry import AUTO

SCRATCH = "scratch"  # as a source: new weights, also of a model whose features others have trained

logger = logging.getLogger("zoo.training")

TABLE, SMALL, PRETRAINED = "mlp-small", "conv-small", "efficientnet-lite0"
SMALL_SIDE = 40  # pixels
SIDES = (128, 224)  # pixels: of images that are no larger, and of all others
VIEWS = 16_000  # of all images: so many features take five minutes on two cores at 224x224
MOST_VIEWS = 16  # of an image
ENOUGH = 50  # images of a class, to train features on


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why: what `train` takes.

    seen: what was found in the data. because: the reason. source, size: None for none, and for the data's own.
    """

    model: str
    seen: str
    because: str
    source: str | None = None
    size: tuple[int, int] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Two lines for the terminal."""
        start = f" from {self.source}" if self.source else ""
        size = f", images of {self.size[0]}x{self.size[1]}" if self.size else ""
        settings = "".join(f", {name}={value}" for name, value in self.settings.items())
        return f"{self.seen}: {self.model}{start}{size}{settings}\nbecause {self.because}"


def choose(data: str, **reading: Unpack[DataOptions]) -> Choice:
    """What the rules say of some data, read as `train` reads it. A size that the user names is taken.

    Raises DataError where it can't be read, MissingExtraError where the weights that should be taken aren't installed.
    """
    label = reading.get("label")
    folder, images = (Path(given) if given else None for given in (reading.get("data_folder"), reading.get("images")))
    if holds_values(data, label, images):
        return Choice(TABLE, "a table of values", "its rows have no neighbors that a convolution could look at")
    with progress(f"looking at {Path(data).name}") as advance:
        seen = look(
            data,
            folder=folder,
            groups=reading.get("groups"),
            label=label,
            images=images,
            follow_links=reading.get("follow_links", False),
            on_progress=lambda done, in_all: advance(done, in_all, f"{done:,} of {in_all:,}"),
        )
    return choose_for(seen, size=reading.get("size"))


def choose_for(seen: Overview, size: tuple[int, int] | None = None) -> Choice:
    """What the rules say of images. size: (height, width) that the user wants."""
    side = max(seen.height, seen.width)
    if not seen.colored and side <= SMALL_SIDE:
        return Choice(SMALL, str(seen), "a small conv model learns small gray images in minutes, and best")
    try:
        published_file(PRETRAINED)
    except MissingExtraError as error:
        raise ModelError(f"{seen} are for {PRETRAINED}, but {error}; or name a model, such as {SMALL}") from None
    side = SIDES[0] if side <= SIDES[0] else SIDES[1]
    views = max(1, min(MOST_VIEWS, VIEWS // seen.learned))
    each = math.floor(seen.learned / seen.classes)
    settings: dict[str, Any] = {"views": views}
    because = f"each class has about {each:,} images to learn from: pretrained features need no more, and "
    if each < ENOUGH:
        settings["frozen"] = 1
        because += f"with fewer than {ENOUGH} the head alone is trained"
    else:
        because += "there are enough to fine-tune them"
    return Choice(PRETRAINED, str(seen), because, IMAGENET, size or (side, side), settings)


def _published(model: str) -> Origin:
    """The source of a model that starts from published weights unasked. ModelError where these can't be had."""
    try:
        found = find_source(IMAGENET, model)
    except (ModelError, MissingExtraError) as error:
        raise ModelError(f"{error}; or start from new weights with --from {SCRATCH}") from None
    logger.info("%s starts from weights trained on ImageNet; --from %s starts from new weights", model, SCRATCH)
    return found


def plan_for(
    model: str,
    data: str,
    *,
    settings: Mapping[str, Any] | None = None,
    source: str | None = None,
    **reading: Unpack[DataOptions],
) -> Plan:
    """The plan of a model, or of what is chosen where it is `auto`, which is logged to `zoo.training`.

    What the user states stays as stated: settings, source and size. A model whose features others have trained starts
    from these, unless its source is `scratch`. Raises what `choose`, `find_source` and `make_plan` do.
    """
    if model == AUTO:
        choice = choose(data, **reading)
        if choice.source and source == SCRATCH:
            raise RecipeError(
                f"{AUTO} chooses {choice.model} for its pretrained features: name the one that begins --from {SCRATCH}"
            )
        model, source, settings = choice.model, source or choice.source, {**choice.settings, **(settings or {})}
        carried = replace(choice, source=source, settings={name: settings[name] for name in choice.settings})
        for line in str(carried).splitlines():
            logger.info("%s: %s", AUTO, line)
        if choice.size:
            reading["size"] = choice.size
    if source is None and definition(model).published is not None:
        origin: Origin | None = _published(model)
    else:
        origin = find_source(source, model) if source not in (None, SCRATCH) else None
    return make_plan(model, data, settings=settings, source=origin, **reading)
