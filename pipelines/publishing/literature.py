"""What others have published, and what we aim at: the anchors that a gallery is measured by. Typed in here alone."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.models.registry import Family


@dataclass(frozen=True)
class Published:
    """A result that somebody reported.

    parameters: None where they weren't published, 0 for people. accuracy: on the test set, 0..1. source: as Markdown.
    """

    name: str
    parameters: int | None
    accuracy: float
    source: str


@dataclass(frozen=True)
class Target:
    """What the best model of a family should reach with at most so many parameters.

    published: the name of the result to be ahead of, None where there is none at this size. least, stretch: test
    accuracies, 0..1.
    """

    family: Family
    parameters: int
    published: str | None
    least: float
    stretch: float


# The table of submitted results, which its keepers "haven't yet tested".
_README = "[README of Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist#benchmark)"

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "fashion-mnist": (
        Published("people", 0, 0.835, f"{_README}: 1,000 test images, labeled by three people each"),
        # 784*256+256 + 256*128+128 + 128*64+64 + 64*10+10
        Published("MLP 256-128-64", 242_762, 0.900, f"{_README}, @lianghong; parameters counted by us"),
        Published("2 conv", 100_000, 0.925, f"{_README}, @hardmaru: below 100 k parameters"),
        Published("3 conv + 2 FC, dropout", None, 0.926, f"{_README}, @umbertogriffo"),
        Published("2 conv + 3 FC", 1_800_000, 0.932, f"{_README}, @Xfan1025"),
        Published("VGG16", 26_000_000, 0.935, f"{_README}, @QuantumLiu"),
        Published("ResNet18", 11_200_000, 0.949, f"{_README}, @kefth; parameters counted by us for one channel"),
        Published("MobileNet", None, 0.950, f"{_README}, @bojone"),
        Published("DenseNet-BC", 768_000, 0.954, f"{_README}, @ajbrock"),
        Published(
            "WRN-28-10 + random erasing",
            36_500_000,
            0.963,
            f"{_README}, @zhunzhong07; [Zhong et al. 2017](https://arxiv.org/abs/1708.04896)",
        ),
        Published("WRN-40-4", 8_900_000, 0.967, f"{_README}, @ajbrock"),
    )
}

TARGETS: dict[str, tuple[Target, ...]] = {
    "fashion-mnist": (
        Target("dense", 1_000_000, "MLP 256-128-64", 0.910, 0.918),
        Target("conv", 10_000, None, 0.910, 0.925),
        Target("conv", 100_000, "2 conv", 0.945, 0.950),
        Target("conv", 800_000, "DenseNet-BC", 0.954, 0.960),
        Target("hybrid", 100_000, None, 0.935, 0.945),
        Target("hybrid", 1_800_000, "2 conv + 3 FC", 0.950, 0.956),
    )
}
