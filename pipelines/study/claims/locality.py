"""Locality and weight sharing: the inductive biases of a conv layer, and what each is worth."""

from __future__ import annotations

from functools import partial

from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.images import changed, scrambled, subset
from pipelines.study.lab import ADAMW, Arm, Lab
from pipelines.study.models import CONV, DENSE, conv, dense, hybrid, unshared
from zoo.data import DataSet

STRIDES = (2, 1, 2, 1)  # unshared filters on large feature maps would have millions of weights


def scrambled_images(count: int, block: int, seed: int) -> DataSet:
    """Fashion-MNIST with `count` training images, its pixels permuted within blocks."""
    return changed(subset("fashion-mnist", count, seed), lambda images: scrambled(images, block))


@experiment(
    "locality",
    claim="A conv layer relies on local structure: neighboring pixels are correlated. Applying one fixed permutation "
    "to the pixels of all images costs a conv model its advantage and leaves the accuracy of a dense model unchanged.",
    refuted_if="The full permutation costs the conv model less than 2 points. The claim holds in part if the dense "
    "model's accuracy changes by 1 point or more, or if the conv model is still ahead of the dense model.",
    held_equal="Training images, order of batches, updates, optimizer, and parameter count (within 10%).",
    beware="Both models are trained on the permuted images: no trained model survives a permutation of its inputs. A "
    "conv model of another depth may lose more or less. All seeds share one permutation.",
)
def locality(lab: Lab) -> Finding:
    """The pixels of Fashion-MNIST are permuted within blocks of 1 (unchanged), 2, 4, 7, 14 and 28 pixels a side, by one
    fixed permutation, in training and test images alike. A dense and a conv model are trained on each.
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

    def change(name: str) -> Sample:
        return results[f"{name}, blocks of 28"] - results[f"{name}, blocks of 1"]

    return Finding(
        main="a fixed permutation of the pixels {raises|lowers} the accuracy of conv by {} points",
        effects=(
            Effect("conv, permuted minus original pixels", change("conv"), "points", most=-2),
            Effect("dense, permuted minus original pixels", change("dense"), "points", least=-1, most=1),
            Effect(
                "conv minus dense, both on permuted pixels",
                results["conv, blocks of 28"] - results["dense, blocks of 28"],
                "points",
                most=0,
            ),
        ),
        chart=Chart(
            "Test accuracy on pixels permuted within blocks",
            "side of the blocks, pixels (1: unchanged)",
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
    claim="Weight sharing lets a conv layer learn from few images what a locally connected layer, whose filters aren't "
    "shared between positions, must learn separately at each position.",
    refuted_if="With the fewest images, shared filters are ahead of unshared ones by less than 2 points. The claim "
    "holds in part if they aren't ahead with the most images, if they are ahead of a dense model of similar parameter "
    "count by less than 2 points, or of unshared filters by less than 2 points when global average pooling follows "
    "both.",
    held_equal="Shapes of all layers and feature maps, and so multiply-accumulates; training images, updates (rounded "
    "up to whole epochs), optimizer. Unshared filters have more parameters by definition.",
    beware="Global average pooling discards positions, which costs shared filters alone: unshared ones encode them. "
    "The images of this data set are centered: where objects lie anywhere, unshared filters are at a disadvantage. "
    "Another learning rate shifts a point or two from one to the other.",
)
def weight_sharing(lab: Lab) -> Finding:
    """The same four layers with shared and with unshared filters (conv and locally connected layers), under a dense
    layer on all positions and under global average pooling; and a dense model. All are trained with AdamW, since Muon
    would treat the filters of all positions as one matrix.
    """
    counts = lab.choose((300, 2_000, 10_000), (300, 2_000))
    _, updates = lab.usual
    filters, units = lab.choose(((16, 16, 24, 32), 35), ((6, 6, 8, 12), 10))
    models = {
        "shared": (hybrid(*filters, strides=STRIDES, units=()), "conv", 0),
        "unshared": (unshared(*filters, strides=STRIDES, pooled=False), "unshared", 0),
        "shared, pooled": (conv(*filters, strides=STRIDES), "conv", 1),
        "unshared, pooled": (unshared(*filters, strides=STRIDES), "unshared", 1),
        "dense": (dense(units), "dense", 0),
    }
    results = lab.train(
        {
            f"{name}, {count} images": Arm(architecture, partial(subset, "fashion-mnist", count), updates, ADAMW)
            for name, (architecture, _, _) in models.items()
            for count in counts
        }
    )

    def lead(count: int, other: str, which: str = "shared") -> Sample:
        return results[f"{which}, {count} images"] - results[f"{other}, {count} images"]

    few, many = counts[0], counts[-1]
    return Finding(
        main=f"with {few:,} images, shared filters are {{}} points {{more|less}} accurate than unshared filters",
        effects=(
            Effect(f"shared minus unshared filters, {few:,} images", lead(few, "unshared"), "points", least=2),
            Effect(f"shared minus unshared filters, {many:,} images", lead(many, "unshared"), "points", least=0),
            Effect(f"shared filters minus dense, {few:,} images", lead(few, "dense"), "points", least=2),
            Effect(
                f"shared minus unshared filters, global average pooling, {few:,} images",
                lead(few, "unshared, pooled", "shared, pooled"),
                "points",
                least=2,
            ),
        ),
        chart=Chart(
            "Test accuracy vs. training images",
            "training images",
            "test accuracy, %",
            [
                Series(name, counts, [results[f"{name}, {count} images"] for count in counts], family, dash)
                for name, (_, family, dash) in models.items()
            ],
            log_x=True,
        ),
    )
