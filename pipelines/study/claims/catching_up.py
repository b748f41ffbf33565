"""Whether a dense model catches up: with data, depth and augmentation, or with a conv teacher."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.images import subset
from pipelines.study.lab import Arm, Lab
from pipelines.study.models import CONV, dense

TEACHER = "fashion-mnist/conv-small"  # the shipped one, which has learned from all 60,000 training images


@experiment(
    "catching-up",
    claim="More images, more layers and augmentation bring a dense model closer to a conv model, but not up to it.",
    refuted_if="The best dense model is as good as the conv model that learned from as many images, within half a "
    "point; it is a limit if it isn't 1 point closer than one of one layer with few images, or if more images, "
    "more layers with few or with many images, or augmentation with many bring it no closer.",
    held_equal="Updates (a little more with many images, as passes are whole) and optimizer; the conv model has a "
    "seventh of the largest dense model's parameters, and learns mirrored images.",
    beware="The best dense model is chosen by the test images, which is in its favor. A few passes over all "
    "images leave little for augmentation to do, and mirrored images are all that it is here. With vastly more "
    "images and work, dense models do catch up (Tolstikhin et al. 2021).",
)
def catching_up(lab: Lab) -> Finding:
    """Dense models of one and of three hidden layers of 256, the latter also on mirrored images, learn from few and
    from many images of Fashion-MNIST, against a conv model of 50 thousand parameters on mirrored ones.
    """
    few, many = lab.choose((2_000, 60_000), (500, 6_000))
    updates = lab.choose(2_400, 90)
    plain: Mapping[str, Any] = {"augmentation": "none"}
    units = lab.choose(256, 128)
    models = {
        "dense, 1 layer": (dense(units), plain),
        "dense, 3 layers": (dense(units, units, units), plain),
        "dense, 3 layers, mirrored": (dense(units, units, units), {"augmentation": "mirror"}),
        "conv": (CONV[lab.size], {"augmentation": "mirror"}),
    }
    results = lab.train(
        {
            f"{name}; {count} images": Arm(architecture, partial(subset, "fashion-mnist", count), updates, settings)
            for name, (architecture, settings) in models.items()
            for count in (few, many)
        }
    )

    def with_most(name: str) -> Sample:
        return results[f"{name}; {many} images"]

    behind_at_first = results[f"conv; {few} images"] - results[f"dense, 1 layer; {few} images"]
    best = np.max([with_most(name) for name in models if name != "conv"], axis=0)
    behind = with_most("conv") - best
    return Finding(
        effects=(
            Effect("conv against the best dense model, most images", behind, "points", least=0.5),
            Effect(
                "closer by all of it: the best dense model, most images, against 1 layer and few",
                behind_at_first - behind,
                "points",
                least=1,
            ),
            Effect(
                "closer by more images",
                behind_at_first - (with_most("conv") - with_most("dense, 1 layer")),
                "points",
                least=0,
            ),
            *(
                Effect(
                    f"closer by more layers, {count:,} images",
                    results[f"dense, 3 layers; {count} images"] - results[f"dense, 1 layer; {count} images"],
                    "points",
                    least=0,
                )
                for count in (few, many)
            ),
            Effect(
                "closer by augmentation, most images",
                with_most("dense, 3 layers, mirrored") - with_most("dense, 3 layers"),
                "points",
                least=0,
            ),
        ),
        chart=Chart(
            "Accuracy with few and with many images",
            "training images",
            "test accuracy, %",
            [
                Series(
                    name,
                    (0, 1),
                    [results[f"{name}; {count} images"] for count in (few, many)],
                    name.partition(",")[0],
                    min(place, 2) if name != "conv" else 0,
                )
                for place, name in enumerate(models)
            ],
            names=(f"{few:,}", f"{many:,}"),
        ),
    )


@experiment(
    "conv-teacher",
    claim="A conv teacher passes on to a dense student part of what it knows about images.",
    refuted_if="With 10,000 images and taught by a conv model, the dense model is ahead of the untaught one by less "
    "than half a point; it is a limit if it is with 1,000.",
    held_equal="The student, its training images, updates and optimizer. The teacher has seen more images.",
    beware="The teacher has learned from all training images, the student from some: what it passes on is partly "
    "what it knows of the others. A dense teacher's answers, which are as soft, might help as much. The student stays "
    "what it is: it doesn't know moved images. Five seeds had left it undecided; it was then given ten.",
)
def conv_teacher_passes_on(lab: Lab) -> Finding:
    """A dense model learns labels alone, and labels beside the probabilities of the shipped conv-small (Hinton et al.
    2015), on mirrored images.
    """
    counts = lab.choose((1_000, 10_000), (1_000,))
    updates = lab.choose(1_200, 200)
    results = lab.train(
        {
            f"{how}; {count} images": Arm(
                dense(128, 64),
                partial(subset, "fashion-mnist", count),
                updates,
                {"augmentation": "mirror", "teacher": TEACHER if how == "taught" else ""},
            )
            for how in ("untaught", "taught")
            for count in counts
        }
    )
    return Finding(
        effects=tuple(
            Effect(
                f"taught against untaught, {count:,} images",
                results[f"taught; {count} images"] - results[f"untaught; {count} images"],
                "points",
                least=0.5,
            )
            for count in reversed(counts)
        ),
        chart=Chart(
            "Accuracy of a dense model, untaught and taught by a conv model",
            "training images",
            "test accuracy, %",
            [
                Series(how, range(len(counts)), [results[f"{how}; {count} images"] for count in counts], "dense", dash)
                for dash, how in enumerate(("untaught", "taught"))
            ],
            names=[f"{count:,}" for count in counts],
        ),
    )
