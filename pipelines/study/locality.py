"""Locality and shared weights: what a conv layer assumes of a picture, and what it has from it."""

from __future__ import annotations

from functools import partial

from pipelines.charts import Chart, Series
from pipelines.study.experiment import Effect, Finding, Sample, experiment
from pipelines.study.lab import Arm, Lab
from pipelines.study.models import CONV, DENSE, conv, dense, unshared
from pipelines.study.pictures import changed, pictures, scrambled
from zoo.data import DataSet

STRIDES = (2, 1, 2, 1)  # where filters aren't shared, large maps have millions of weights


def scrambled_pictures(count: int, block: int, seed: int) -> DataSet:
    """So many training pictures of Fashion-MNIST, scrambled within blocks."""
    return changed(pictures("fashion-mnist", count, seed), lambda images: scrambled(images, block))


@experiment(
    "locality",
    claim="A conv layer lives off neighbouring pixels that belong together. Put the pixels of all pictures into one "
    "other order, and a conv model loses what it was ahead; a dense model doesn't notice.",
    refuted_if="The conv model loses less than 2 points by a full scramble; it is a limit if the dense model changes "
    "by 1 point or more, or if the conv model is still ahead of the dense one.",
    held_equal="Training pictures, order of batches, updates, optimiser; the two models have as many parameters.",
    beware="Both models learn the scrambled pictures: it isn't shown that a trained model survives a scramble, which "
    "neither does. A conv model of another depth may lose more or less.",
)
def locality(lab: Lab) -> Finding:
    """Fashion-MNIST with its pixels in a fixed other order within blocks of 1 (as they are), 2, 4, 7, 14 and 28 pixels
    a side, in training and test alike; a dense and a conv model learn each anew, with each seed.
    """
    blocks = lab.choose((1, 2, 4, 7, 14, 28), (1, 7, 28))
    count, updates = lab.usual
    models = {"dense": DENSE["50 k"], "conv": CONV["50 k"]}
    arms = {
        f"{name}, blocks of {block}": Arm(
            diagram,
            partial(scrambled_pictures, count, block),
            updates,
        )
        for name, diagram in models.items()
        for block in blocks
    }
    results = lab.train(arms)

    def lost(name: str) -> Sample:
        return results[f"{name}, blocks of 28"] - results[f"{name}, blocks of 1"]

    return Finding(
        effects=(
            Effect("conv model, scrambled against not", lost("conv"), "points", most=-2),
            Effect("dense model, scrambled against not", lost("dense"), "points", least=-1, most=1),
            Effect(
                "conv against dense model, both scrambled",
                results["conv, blocks of 28"] - results["dense, blocks of 28"],
                "points",
                most=0,
            ),
        ),
        chart=Chart(
            "Accuracy after the pixels were scrambled within blocks",
            "side of the blocks within which pixels change places (1: none, 28: anywhere)",
            "test accuracy, %",
            [
                Series(name, range(len(blocks)), [results[f"{name}, blocks of {block}"] for block in blocks], name)
                for name in models
            ],
            names=[str(block) for block in blocks],
        ),
    )


@experiment(
    "weight-sharing",
    claim="Sharing a filter over all positions lets a conv layer learn from few pictures what filters of each "
    "position's own would have to learn everywhere anew.",
    refuted_if="With the fewest pictures, shared filters are ahead of unshared ones by less than 2 points; it is a "
    "limit if they are not ahead with the most, or not ahead of a dense model of as many parameters.",
    held_equal="Shapes of all layers and features, training pictures, updates, optimiser. Unshared filters have more "
    "parameters by their nature, the dense model as many as the shared ones.",
    beware="The pictures of this set are centred: where things lie anywhere, unshared filters have a harder time.",
)
def weight_sharing(lab: Lab) -> Finding:
    """The same conv model with filters that are shared, and with filters of each position's own (locally connected),
    and a dense model with the parameters of the former, on ever more pictures of Fashion-MNIST.
    """
    counts = lab.choose((300, 1_000, 3_000, 10_000, 30_000), (300, 3_000))
    _, updates = lab.usual
    models = {
        "shared": conv(16, 16, 24, 32, strides=STRIDES),
        "unshared": unshared(16, 16, 24, 32, strides=STRIDES),
        "dense": dense(18),
    }
    families = {"shared": "conv", "unshared": "", "dense": "dense"}
    results = lab.train(
        {
            f"{name}, {count} pictures": Arm(
                diagram,
                partial(pictures, "fashion-mnist", count),
                updates,
            )
            for name, diagram in models.items()
            for count in counts
        }
    )

    def ahead(other: str, count: int) -> Sample:
        return results[f"shared, {count} pictures"] - results[f"{other}, {count} pictures"]

    few, many = counts[0], counts[-1]
    return Finding(
        effects=(
            Effect(f"shared against unshared filters, {few:,} pictures", ahead("unshared", few), "points", least=2),
            Effect(f"shared against unshared filters, {many:,} pictures", ahead("unshared", many), "points", least=0),
            Effect(f"shared filters against dense, {few:,} pictures", ahead("dense", few), "points", least=2),
        ),
        chart=Chart(
            "Accuracy against training pictures",
            "training pictures",
            "test accuracy, %",
            [
                Series(name, counts, [results[f"{name}, {count} pictures"] for count in counts], families[name])
                for name in models
            ],
            log_x=True,
        ),
    )
