"""A recipe: how a model is trained, as one frozen dataclass; each field states its range and the reason for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import Annotated, Any, get_type_hints

from zoo.contract import OLD_NAMES, renamed
from zoo.errors import RecipeError, unknown

logger = logging.getLogger("zoo.recipe")


@dataclass(frozen=True)
class Allowed:
    """Why a field is there, and which values it may have: one of the choices, or a number in the range.

    later: whether runs are older than the field, which at its default changes nothing of what they did.
    """

    reason: str
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    later: bool = False

    def __contains__(self, value: Any) -> bool:
        return (
            (not self.choices or value in self.choices)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.at_least is not None:
            low = f"from {self.at_least:,}" if self.below or self.at_most else f"{self.at_least:,} or more"
            high = f" to below {self.below:,}" if self.below else f" to {self.at_most:,}" if self.at_most else ""
            return low + high
        if self.above is None:
            return "any text"
        return f"above {self.above:,} and " + (f"below {self.below:,}" if self.below else f"at most {self.at_most:,}")


@dataclass(frozen=True)
class Field:
    """A field of a recipe, as `zoo describe MODEL --recipe` lists it. allowed: its values, in words."""

    name: str
    value: int | float | str
    type: str
    default: int | float | str
    allowed: str
    reason: str


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what weights come out of a model and a data set. A model states only what differs."""

    epochs: Annotated[int, Allowed("Number of passes over the training images.", at_least=1)] = 20
    least_updates: Annotated[
        int,
        Allowed(
            "Minimum number of optimizer steps. A small data set gets more epochs; otherwise, a folder of 500 images "
            "would get 80 steps.",
            at_least=0,
        ),
    ] = 2000
    batch_size: Annotated[
        int,
        Allowed(
            "Images per step. 128 keeps two cores busy; larger batches need more epochs for the same accuracy.",
            at_least=1,
        ),
    ] = 128
    optimizer: Annotated[
        str,
        Allowed(
            "adamw tolerates a poor learning rate, which SGD doesn't, and few people tune theirs. muon updates a "
            "matrix equally in all directions: at the same learning rates, conv models learn more per epoch.",
            choices=("adamw", "muon"),
        ),
    ] = "adamw"
    learning_rate: Annotated[float, Allowed("The peak of the learning rate.", above=0, below=100)] = 2e-3
    warmup: Annotated[
        float,
        Allowed(
            "Fraction of all updates in which the learning rate rises from 0 to its peak; then it falls to 0 along a "
            "cosine.",
            at_least=0,
            below=1,
        ),
    ] = 0.1
    weight_decay: Annotated[
        float,
        Allowed(
            "Decoupled weight decay (Loshchilov & Hutter 2019), on kernels only: biases and norms have none.",
            at_least=0,
            below=100,
        ),
    ] = 0.02
    label_smoothing: Annotated[
        float,
        Allowed(
            "Fraction of the target that is spread over all classes (Szegedy et al. 2016); above 0, probabilities are "
            "less extreme.",
            at_least=0,
            below=1,
        ),
    ] = 0.0
    images: Annotated[
        str,
        Allowed(
            "Which images to train on. all: the validation images as well, for a recipe whose epochs were chosen with "
            "them; the weights of the last epoch are kept, not the best. most: like all, but half of the validation "
            "images of each class are held out to calibrate probabilities.",
            choices=("train", "all", "most"),
        ),
    ] = "train"
    patience: Annotated[
        int,
        Allowed(
            "Early stopping: the number of validations without improvement after which training ends with the best "
            "weights; 0 trains to the last epoch. There is one validation per epoch or, with few images, per several "
            "epochs. With pretrained features (--from), it counts only while all layers train.",
            at_least=0,
            later=True,
        ),
    ] = 0
    average: Annotated[
        str,
        Allowed(
            "Averaged weights, with batch norm statistics recomputed on training images. ema: a moving average "
            "over about a twentieth of all updates; last: the mean over the last quarter. The average and the current "
            "weights are both validated, and the better are kept; with images=all, it is always the average.",
            choices=("none", "ema", "last"),
            later=True,
        ),
    ] = "none"
    balance: Annotated[
        str,
        Allowed(
            "none: each image once per epoch. classes: equally many images of each class, redrawn every epoch, so "
            "that a rare class counts as much as a common one: for uses in which all classes matter equally.",
            choices=("none", "classes"),
        ),
    ] = "none"
    normalize: Annotated[
        str,
        Allowed(
            "image: the model, and its exported file, bring each image to the same mean and standard deviation, so "
            "that a change of contrast or brightness affects few predictions. none: pixels are scaled to 0..1.",
            choices=("none", "image"),
            later=True,
        ),
    ] = "none"
    augmentation: Annotated[
        str,
        Allowed(
            "mirror: half of the images, if labels allow it. light: mirror, and shifts by up to 1/14 of the side. "
            "strong: light, and erased patches. photo: crops of at least 35% of the image, and other brightness, "
            "contrast, and color. randaugment: such crops, and two of twelve operations (Cubuk et al. 2020).",
            choices=("none", "mirror", "light", "strong", "photo", "randaugment"),
        ),
    ] = "light"
    mirrored: Annotated[
        str,
        Allowed(
            "Whether a mirrored image keeps its label. auto: known data sets define it; for a folder of images, no.",
            choices=("auto", "yes", "no"),
        ),
    ] = "auto"
    rotation: Annotated[
        float,
        Allowed(
            "Maximum rotation in degrees, in either direction: 180 for images without a top. Pixels of the edge "
            "fill the uncovered corners.",
            at_least=0,
            at_most=180,
            later=True,
        ),
    ] = 0.0
    scale: Annotated[
        float,
        Allowed(
            "Maximum change of scale: 0.2 enlarges or shrinks each image by a factor of up to 1.2.",
            at_least=0,
            at_most=1,
            later=True,
        ),
    ] = 0.0
    degrade: Annotated[
        float,
        Allowed(
            "Fraction of the images whose brightness and contrast change and that, at random, get noise or blur, as "
            "from a poorer camera. It works with any augmentation.",
            at_least=0,
            at_most=1,
            later=True,
        ),
    ] = 0.0
    mixup: Annotated[
        float,
        Allowed(
            "Largest weight of another image, and of its target, in the blend of the two (Zhang et al. 2018, drawn "
            "uniformly).",
            at_least=0,
            below=1,
        ),
    ] = 0.0
    cutmix: Annotated[
        float,
        Allowed(
            "Fraction of the images into which a rectangle of another image is pasted, with its target in proportion "
            "(Yun et al. 2019). The others get mixup, if it is set.",
            at_least=0,
            at_most=1,
            later=True,
        ),
    ] = 0.0
    teacher: Annotated[
        str,
        Allowed(
            "Distillation: an export whose probabilities, for exactly the images in each batch, are learned along "
            "with the labels (Hinton et al. 2015; Beyer et al. 2022). A folder, or a name such as "
            "fashion-mnist/conv-small; empty for none."
        ),
    ] = ""
    teacher_share: Annotated[
        float,
        Allowed(
            "Fraction of the target that comes from the teacher; the label provides the rest.",
            above=0,
            at_most=1,
        ),
    ] = 0.9
    # With 5 and 20 images of each of five classes of clothes, other shares and rates were as good: 88.7 to 88.8 %.
    frozen: Annotated[
        float,
        Allowed(
            "Fraction of the epochs in which pretrained features (--from) stay frozen while the new layers train: "
            "before these have learned, their gradients would damage the features.",
            at_least=0,
            at_most=1,
        ),
    ] = 0.2
    views: Annotated[
        int,
        Allowed(
            "For pretrained features: the number of versions of each image, itself and augmented ones, whose features "
            "are computed once. The head trains on these in seconds, with the weight decay that does best on the "
            "validation images; then all layers are fine-tuned for the given epochs, except for the statistics of "
            "norms. With frozen=1 there are no such epochs. 0: use `frozen` instead.",
            at_least=0,
            below=1000,
            later=True,
        ),
    ] = 0
    fine_rate: Annotated[
        float,
        Allowed(
            "Factor for the learning rate during fine-tuning, when all layers train: good weights need small steps.",
            above=0,
            at_most=1,
        ),
    ] = 0.5
    precision: Annotated[
        str,
        Allowed(
            "auto: mixed_bfloat16 if the processor supports it natively, otherwise float32. With it, full "
            "convolutions and large dense layers took 20% less time, small ones about as long, and depthwise "
            "convolutions twice as long.",
            choices=("auto", "float32", "mixed_bfloat16"),
        ),
    ] = "auto"
    seed: Annotated[
        int,
        Allowed(
            "For initial weights, image order, augmentation, and dropout: the same seed, machine, and number of "
            "threads give the same weights.",
            at_least=0,
            below=2**32,  # as NumPy takes it
        ),
    ] = 1

    def __post_init__(self) -> None:
        for name, allowed in _allowed().items():
            if getattr(self, name) not in allowed:
                raise RecipeError(f"{name} must be {allowed}, received {getattr(self, name)!r}")
        if self.patience and self.images != "train":
            raise RecipeError(
                f"patience={self.patience} ends a training by its validation images, which images={self.images} learns "
                "from, too: set patience=0 or images=train"
            )

    @property
    def changes_images(self) -> bool:
        """Whether images are learned otherwise than they are."""
        return any(getattr(self, name) != value for name, value in LEARNED_AS_THEY_ARE.items())

    def described(self) -> tuple[Field, ...]:
        """Each field with its value, type, default, range and reason."""
        return tuple(
            Field(
                name=field.name,
                value=getattr(self, field.name),
                type=_KINDS[type(getattr(Recipe, field.name))].removeprefix("a "),
                default=getattr(Recipe, field.name),
                allowed=str(_allowed()[field.name]),
                reason=_allowed()[field.name].reason,
            )
            for field in fields(self)
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)

    def decisive(self) -> dict[str, Any]:
        """The fields as digests take them: one that came later counts where it isn't what it is by default."""
        allowed, usual = _allowed(), asdict(Recipe())
        return {name: value for name, value in asdict(self).items() if not allowed[name].later or value != usual[name]}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Recipe:
        """The recipe of a decoded JSON object; RecipeError for an unknown field or a value that it can't have."""
        return cls().with_values(renamed(found))

    def with_values(self, values: Mapping[str, Any]) -> Recipe:
        """A copy with some fields changed; text is read as the field's type, as `--set epochs=3` gives it.

        A name that a field had before is logged as a warning, an unknown one or a wrong value is a RecipeError.
        """
        types = {f.name: type(getattr(self, f.name)) for f in fields(self)}
        changed: dict[str, Any] = {}
        for given, value in values.items():
            name = OLD_NAMES.get(given, given)
            if name not in types:
                raise RecipeError(unknown("recipe field", given, types))
            if name != given:
                _report_old_name(given)
            try:
                changed[name] = _read(value, types[name])
            except (TypeError, ValueError, OverflowError):
                raise RecipeError(f"{name} must be {_KINDS[types[name]]}, received {value!r}") from None
        return replace(self, **changed)


# So images are learned without augmentation, and the rows of a table always.
LEARNED_AS_THEY_ARE: Mapping[str, Any] = {
    "augmentation": "none",
    "rotation": 0,
    "scale": 0,
    "degrade": 0,
    "mixup": 0,
    "cutmix": 0,
}
OF_ROWS: Mapping[str, Any] = {**LEARNED_AS_THEY_ARE, "normalize": "none"}  # a table's columns are scaled one by one


@cache
def _allowed() -> Mapping[str, Allowed]:
    """What is written beside the type of each field."""
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(Recipe, include_extras=True).items()}


@cache
def _report_old_name(name: str) -> None:
    logger.warning("the recipe field %s is called %s now: the old name is deprecated", name, OLD_NAMES[name])


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
