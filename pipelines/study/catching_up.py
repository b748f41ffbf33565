"""Whether a dense model catches up: with data, depth and augmentation, or with a conv teacher."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.charts import Chart, Series
from pipelines.study.experiment import Effect, Finding, Sample, experiment
from pipelines.study.lab import Arm, Lab
from pipelines.study.models import CONV, dense
from pipelines.study.pictures import pictures
from zoo.data.batches import Teacher
from zoo.pictures import Pixels
from zoo.runtime import load as load_export

TEACHER = "fashion-mnist/conv-small"


@experiment(
    "catching-up",
    claim="More pictures, more layers and augmentation bring a dense model closer to a conv model, but not up to it.",
    refuted_if="The best dense model is as good as the conv model that learned from as many pictures, within half a "
    "point; it is a limit if the three don't bring it 1 point closer in all, or any of them no closer.",
    held_equal="Updates (2,418 with few pictures, 2,811 with many: whole passes) and optimiser; the conv model has a "
    "seventh of the largest dense model's parameters, and learns mirrored and moved pictures.",
    beware="The best dense model is chosen by the test pictures, which is in its favour. Three passes over 60,000 "
    "pictures leave little for augmentation to do. With vastly more pictures and work, dense models do catch up "
    "(Tolstikhin et al. 2021).",
)
def catching_up(lab: Lab) -> Finding:
    """Dense models of one and of three hidden layers of 256, the latter also on mirrored and moved pictures, learn from
    few and from many pictures of Fashion-MNIST, against a conv model of 50 thousand parameters.
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
            f"{name}; {count} pictures": Arm(diagram, partial(pictures, "fashion-mnist", count), updates, settings)
            for name, (diagram, settings) in models.items()
            for count in (few, many)
        }
    )

    def with_most(name: str) -> Sample:
        return results[f"{name}; {many} pictures"]

    behind_at_first = results[f"conv; {few} pictures"] - results[f"dense, 1 layer; {few} pictures"]
    best = np.max([with_most(name) for name in models if name != "conv"], axis=0)
    behind = with_most("conv") - best
    return Finding(
        effects=(
            Effect("conv against the best dense model, most pictures", behind, "points", least=0.5),
            Effect("closer by all three, the best dense model", behind_at_first - behind, "points", least=1),
            Effect(
                "closer by more pictures",
                behind_at_first - (with_most("conv") - with_most("dense, 1 layer")),
                "points",
                least=0,
            ),
            Effect(
                "closer by more layers, most pictures",
                with_most("dense, 3 layers") - with_most("dense, 1 layer"),
                "points",
                least=0,
            ),
            Effect(
                "closer by augmentation, most pictures",
                with_most("dense, 3 layers, mirrored") - with_most("dense, 3 layers"),
                "points",
                least=0,
            ),
        ),
        chart=Chart(
            "Accuracy with few and with many pictures",
            "training pictures",
            "test accuracy, %",
            [
                Series(
                    name,
                    (0, 1),
                    [results[f"{name}; {count} pictures"] for count in (few, many)],
                    name.partition(",")[0],
                    min(place, 2) if name != "conv" else 0,
                )
                for place, name in enumerate(models)
            ],
            names=(f"{few:,}", f"{many:,}"),
        ),
    )


def conv_teacher(seed: int) -> Teacher:  # noqa: ARG001 (an arm hands it over)
    """The shipped conv-small, which has learned from all 60,000 training pictures."""
    classifier = load_export(TEACHER, provider="cpu")

    def answer(images: Pixels) -> NDArray[np.float32]:
        return classifier.probabilities(images)

    return answer


@experiment(
    "conv-teacher",
    claim="A conv teacher passes on to a dense student part of what it knows about pictures.",
    refuted_if="With 10,000 pictures and taught by a conv model, the dense model is ahead of the untaught one by less "
    "than half a point; it is a limit if it is with 1,000.",
    held_equal="The student, its training pictures, updates and optimiser. The teacher has seen more pictures.",
    beware="The teacher has learned from all training pictures, the student from some: what it passes on is partly "
    "what it knows of the others. A dense teacher's answers, which are as soft, might help as much. The student stays "
    "what it is: it doesn't know moved pictures.",
)
def conv_teacher_passes_on(lab: Lab) -> Finding:
    """A dense model learns labels alone, and labels beside the probabilities of the shipped conv-small (Hinton et al.
    2015), on mirrored and moved pictures.
    """
    counts = lab.choose((1_000, 10_000), (1_000,))
    updates = lab.choose(1_200, 200)
    results = lab.train(
        {
            f"{how}; {count} pictures": Arm(
                dense(128, 64),
                partial(pictures, "fashion-mnist", count),
                updates,
                {"augmentation": "mirror"},
                teacher=conv_teacher if how == "taught" else None,
            )
            for how in ("untaught", "taught")
            for count in counts
        }
    )
    return Finding(
        effects=tuple(
            Effect(
                f"taught against untaught, {count:,} pictures",
                results[f"taught; {count} pictures"] - results[f"untaught; {count} pictures"],
                "points",
                least=0.5,
            )
            for count in reversed(counts)
        ),
        chart=Chart(
            "Accuracy of a dense model, untaught and taught by a conv model",
            "training pictures",
            "test accuracy, %",
            [
                Series(
                    how, range(len(counts)), [results[f"{how}; {count} pictures"] for count in counts], "dense", dash
                )
                for dash, how in enumerate(("untaught", "taught"))
            ],
            names=[f"{count:,}" for count in counts],
        ),
    )
