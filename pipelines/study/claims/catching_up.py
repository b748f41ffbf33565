"""Whether a dense model catches up: with data, depth and augmentation, or with a conv teacher."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.images import pictures
from pipelines.study.lab import Arm, Lab
from pipelines.study.models import CONV, dense

TEACHER = "fashion-mnist/conv-small"  # the shipped one, which has learned from all 60,000 training pictures


@experiment(
    "catching-up",
    claim="More pictures, more layers and augmentation bring a dense model closer to a conv model, but not up to it.",
    refuted_if="The best dense model is as good as the conv model that learned from as many pictures, within half a "
    "point; it is a limit if it isn't 1 point closer than one of one layer with few pictures, or if more pictures, "
    "more layers with few or with many pictures, or augmentation with many bring it no closer.",
    held_equal="Updates (a little more with many pictures, as passes are whole) and optimiser; the conv model has a "
    "seventh of the largest dense model's parameters, and learns mirrored pictures.",
    beware="The best dense model is chosen by the test pictures, which is in its favour. A few passes over all "
    "pictures leave little for augmentation to do, and mirrored pictures are all that it is here. With vastly more "
    "pictures and work, dense models do catch up (Tolstikhin et al. 2021).",
)
def catching_up(lab: Lab) -> Finding:
    """Dense models of one and of three hidden layers of 256, the latter also on mirrored pictures, learn from few and
    from many pictures of Fashion-MNIST, against a conv model of 50 thousand parameters on mirrored ones.
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
            Effect(
                "closer by all of it: the best dense model, most pictures, against 1 layer and few",
                behind_at_first - behind,
                "points",
                least=1,
            ),
            Effect(
                "closer by more pictures",
                behind_at_first - (with_most("conv") - with_most("dense, 1 layer")),
                "points",
                least=0,
            ),
            *(
                Effect(
                    f"closer by more layers, {count:,} pictures",
                    results[f"dense, 3 layers; {count} pictures"] - results[f"dense, 1 layer; {count} pictures"],
                    "points",
                    least=0,
                )
                for count in (few, many)
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


@experiment(
    "conv-teacher",
    claim="A conv teacher passes on to a dense student part of what it knows about pictures.",
    refuted_if="With 10,000 pictures and taught by a conv model, the dense model is ahead of the untaught one by less "
    "than half a point; it is a limit if it is with 1,000.",
    held_equal="The student, its training pictures, updates and optimiser. The teacher has seen more pictures.",
    beware="The teacher has learned from all training pictures, the student from some: what it passes on is partly "
    "what it knows of the others. A dense teacher's answers, which are as soft, might help as much. The student stays "
    "what it is: it doesn't know moved pictures. Five seeds had left it undecided; it was then given ten.",
)
def conv_teacher_passes_on(lab: Lab) -> Finding:
    """A dense model learns labels alone, and labels beside the probabilities of the shipped conv-small (Hinton et al.
    2015), on mirrored pictures.
    """
    counts = lab.choose((1_000, 10_000), (1_000,))
    updates = lab.choose(1_200, 200)
    results = lab.train(
        {
            f"{how}; {count} pictures": Arm(
                dense(128, 64),
                partial(pictures, "fashion-mnist", count),
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
