"""Locality and shared weights: what a conv layer assumes of an image, and what it has from it."""

from __future__ import annotations

from functools import partial

from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.images import changed, scrambled, subset
from pipelines.study.lab import ADAMW, Arm, Lab
from pipelines.study.models import CONV, DENSE, conv, dense, hybrid, unshared
from zoo.data import DataSet

STRIDES = (2, 1, 2, 1)  # where filters aren't shared, large maps have millions of weights


def scrambled_images(count: int, block: int, seed: int) -> DataSet:
    """So many training images of Fashion-MNIST, scrambled within blocks."""
    return changed(subset("fashion-mnist", count, seed), lambda images: scrambled(images, block))


@experiment(
    "locality",
    claim="A conv layer lives off neighboring pixels that belong together. Put the pixels of all images into one "
    "other order, and a conv model loses what it was ahead; a dense model doesn't notice.",
    refuted_if="The conv model loses less than 2 points by a full scramble; it is a limit if the dense model changes "
    "by 1 point or more, or if the conv model is still ahead of the dense one.",
    held_equal="Training images, order of batches, updates, optimizer; the two models have as many parameters.",
    beware="Both models learn the scrambled images: it isn't shown that a trained model survives a scramble, which "
    "neither does. A conv model of another depth may lose more or less. All seeds have the same scramble.",
)
def locality(lab: Lab) -> Finding:
    """Fashion-MNIST with its pixels in a fixed other order within blocks of 1 (as they are), 2, 4, 7, 14 and 28 pixels
    a side, in training and test alike; a dense and a conv model learn each anew, with each seed.
    """
    blocks = lab.choose((1, 2, 4, 7, 14, 28), (1, 7, 28))
    count, updates = lab.usual
    models = {"dense": DENSE[lab.size], "conv": CONV[lab.size]}
    arms = {
        f"{name}, blocks of {block}": Arm(
            architecture,
            partial(scrambled_images, count, block),
            updates,
        )
        for name, architecture in models.items()
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
            "side of the scrambled blocks, pixels (1: none)",
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
    claim="Sharing a filter over all positions lets a conv layer learn from few images what filters of each "
    "position's own would have to learn everywhere anew.",
    refuted_if="With the fewest images, shared filters are ahead of unshared ones by less than 2 points; it is a "
    "limit if they aren't ahead with the most, if they aren't ahead by 2 points of a dense model of about as many "
    "parameters, or of unshared ones where an average over positions follows both.",
    held_equal="Shapes of all layers and features, and so multiply-accumulates; training images, updates (to a whole "
    "number of passes), optimizer. Unshared filters have more parameters by their nature.",
    beware="The average takes from shared filters, and from them alone, where in the image they found something. The "
    "images of this set are centerd: where things lie anywhere, unshared filters have a harder time. Another rate of "
    "the optimizer moves a point or two from one to the other.",
)
def weight_sharing(lab: Lab) -> Finding:
    """The same four layers with filters that are shared, and with filters of each position's own (locally connected),
    under a layer of logits that sees all positions, and under an average over positions; and a dense model. All learn
    by AdamW, as Muon would take the filters of all positions for one matrix.
    """
    counts = lab.choose((300, 2_000, 10_000), (300, 2_000))
    _, updates = lab.usual
    filters, units = lab.choose(((16, 16, 24, 32), 35), ((6, 6, 8, 12), 10))
    models = {
        "shared": (hybrid(*filters, strides=STRIDES, units=()), "conv", 0),
        "unshared": (unshared(*filters, strides=STRIDES, averaged=False), "unshared", 0),
        "shared, averaged": (conv(*filters, strides=STRIDES), "conv", 1),
        "unshared, averaged": (unshared(*filters, strides=STRIDES), "unshared", 1),
        "dense": (dense(units), "dense", 0),
    }
    results = lab.train(
        {
            f"{name}, {count} images": Arm(architecture, partial(subset, "fashion-mnist", count), updates, ADAMW)
            for name, (architecture, _, _) in models.items()
            for count in counts
        }
    )

    def ahead(count: int, of: str, which: str = "shared") -> Sample:
        return results[f"{which}, {count} images"] - results[f"{of}, {count} images"]

    few, many = counts[0], counts[-1]
    return Finding(
        effects=(
            Effect(f"shared against unshared filters, {few:,} images", ahead(few, "unshared"), "points", least=2),
            Effect(f"shared against unshared filters, {many:,} images", ahead(many, "unshared"), "points", least=0),
            Effect(f"shared filters against dense, {few:,} images", ahead(few, "dense"), "points", least=2),
            Effect(
                f"shared against unshared filters, averaged, {few:,} images",
                ahead(few, "unshared, averaged", "shared, averaged"),
                "points",
                least=2,
            ),
        ),
        chart=Chart(
            "Accuracy against training images",
            "training images",
            "test accuracy, %",
            [
                Series(name, counts, [results[f"{name}, {count} images"] for count in counts], family, dash)
                for name, (_, family, dash) in models.items()
            ],
            log_x=True,
        ),
    )
