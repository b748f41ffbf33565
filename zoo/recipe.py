"""A recipe: how a model is trained, as one frozen dataclass with a reason behind each default."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from zoo.contract import renamed
from zoo.errors import RecipeError, unknown

AUGMENTATIONS = ("none", "mirror", "light", "strong")
PRECISIONS = ("auto", "float32", "mixed_bfloat16")
IMAGES = ("train", "all")
OPTIMIZERS = ("adamw", "muon")
BALANCES = ("none", "classes")
MIRRORINGS = ("auto", "yes", "no")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what weights come out of a model and a data set. A model states only what differs."""

    # Passes over the training images.
    epochs: int = 20
    # Steps of the optimizer that a training takes at least: a small data set gets more epochs, or a folder
    # of 500 images would be trained on in 80 steps.
    least_updates: int = 2000
    # Images a step. 128 keeps two cores busy; larger ones need more epochs for the same accuracy.
    batch_size: int = 128
    # adamw forgives a poor rate, which SGD doesn't, and nobody tunes for their own folder. muon moves a matrix in all
    # of its directions alike: nets of convolutions learn more in the same epochs, at the same rates.
    optimizer: str = "adamw"
    # The peak of its rate.
    learning_rate: float = 2e-3
    # Share of all updates in which the rate climbs from 0 to its peak; then it falls to 0 along a cosine.
    warmup: float = 0.1
    # Decoupled weight decay (Loshchilov & Hutter 2019), on kernels alone: biases and norms are left free.
    weight_decay: float = 0.02
    # Share of the target that is spread over all classes (Szegedy et al. 2016); above 0, probabilities stay modest.
    label_smoothing: float = 0.0
    # train; all: the validation images too, for a recipe whose epochs were found with them. The weights that are kept
    # are then those of the last epoch, not those of the best.
    images: str = "train"
    # none: each image once an epoch; classes: as many images of each class, drawn anew each time, so that a rare
    # class counts as much as a common one. For tests, or uses, that are about classes rather than images.
    balance: str = "none"
    # none; mirror: every other image, where labels allow it; light: mirror, and shifts by up to 1/14 of the side;
    # strong: light, and erased patches.
    augmentation: str = "light"
    # Whether a mirrored image keeps its label. auto: as the data set knows, which for a folder of images is no.
    mirrored: str = "auto"
    # Largest share of another image, and of its target, that is blended into each (Zhang et al. 2018, drawn evenly).
    mixup: float = 0.0
    # An export that the model is distilled from: its probabilities, for the very images that the model is given, are
    # learned beside the labels (Hinton et al. 2015; Beyer et al. 2022). A folder, or a name such as
    # fashion-mnist/conv-small; "" for none.
    teacher: str = ""
    # Share of the target that comes from the teacher; the label has the rest.
    teacher_share: float = 0.9
    # Of a training that starts from another model's features (--from): share of the epochs in which they stay as they
    # are, while what is new learns from them. Before it has, its gradients would spoil them. With 5 images of each of
    # five classes of clothes (four draws) and with 20 (two), from features of five others, 0.2 and a rate of 0.5 gave
    # 88.8 % of the validation images in the mean, 0.5 and 0.5 gave 88.7 %, 0.2 and 0.2 gave 88.8 %.
    frozen: float = 0.2
    # Factor of the learning rate in the epochs after that, in which everything learns: what is good needs small steps.
    fine_rate: float = 0.5
    # auto: mixed_bfloat16 where the processor multiplies it itself, else float32. Full convolutions took a fifth less
    # time in it, the small matrices of dense models a tenth to two fifths more, depthwise convolutions twice as long.
    precision: str = "auto"
    # Of initial weights, order of images, augmentation and dropout: same seed, machine and number of threads, same
    # weights.
    seed: int = 1

    def __post_init__(self) -> None:
        def need(holds: bool, name: str, what: str) -> None:
            if not holds:
                raise RecipeError(f"{name} must be {what}, received {getattr(self, name)!r}")

        for name in ("epochs", "batch_size"):
            need(getattr(self, name) >= 1, name, "1 or more")
        need(self.least_updates >= 0, "least_updates", "0 or more")
        need(0 <= self.seed < 2**32, "seed", "from 0 to below 2**32, as NumPy takes it")
        for name in ("weight_decay", "warmup", "label_smoothing", "mixup"):
            need(0 <= getattr(self, name) < 1, name, "from 0 to below 1")
        need(0 <= self.frozen <= 1, "frozen", "from 0 to 1")
        need(0 < self.fine_rate <= 1, "fine_rate", "above 0 and at most 1")
        need(0 < self.teacher_share <= 1, "teacher_share", "above 0 and at most 1")
        need(0 < self.learning_rate < 100, "learning_rate", "above 0 and below 100")
        need(self.augmentation in AUGMENTATIONS, "augmentation", f"one of {', '.join(AUGMENTATIONS)}")
        need(self.optimizer in OPTIMIZERS, "optimizer", f"one of {', '.join(OPTIMIZERS)}")
        need(self.images in IMAGES, "images", f"one of {', '.join(IMAGES)}")
        need(self.mirrored in MIRRORINGS, "mirrored", f"one of {', '.join(MIRRORINGS)}")
        need(self.balance in BALANCES, "balance", f"one of {', '.join(BALANCES)}")
        need(self.precision in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}")

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Recipe:
        """The recipe of a decoded JSON object; RecipeError for an unknown field or a value that it can't have."""
        return cls().with_values(renamed(found))

    def with_values(self, values: Mapping[str, Any]) -> Recipe:
        """A copy with some fields changed; text is read as the field's type, as `--set epochs=3` gives it."""
        types = {f.name: type(getattr(self, f.name)) for f in fields(self)}
        changed: dict[str, Any] = {}
        for name, value in values.items():
            if name not in types:
                raise RecipeError(unknown("recipe field", name, types))
            try:
                changed[name] = _read(value, types[name])
            except (TypeError, ValueError, OverflowError):
                raise RecipeError(f"{name} must be {_KINDS[types[name]]}, received {value!r}") from None
        return replace(self, **changed)


_KINDS = {int: "a whole number", float: "a number", str: "text"}


def _read(value: Any, kind: type) -> Any:
    read = kind(value)
    if not isinstance(value, str) and read != value:  # int(1.5) would drop the half without a word
        raise ValueError
    return read


def parse_settings(settings: Iterable[str]) -> dict[str, str]:
    """`["epochs=3", "seed=2"]` as a dictionary; RecipeError for one that isn't field=value."""
    parsed: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise RecipeError(f"--set takes field=value, received {json.dumps(setting)}")
        parsed[name.strip()] = value.strip()
    return parsed
