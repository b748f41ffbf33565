"""A diagram is the model: all its parameters, the shapes that Keras gives, and where a step takes its input from."""

from __future__ import annotations

import pytest

from pipelines.exporting.architecture import steps, summarize
from zoo.models import build, definitions, layers
from zoo.models.families.conv import conv_unit, pooling_head


@pytest.mark.parametrize("name", [m.name for m in definitions()])
def test_each_model_of_the_zoo_fits_on_a_page_with_all_its_parameters(name):
    model = build(name, 28, 28, 1, 10)
    found = steps(model)
    assert sum(step.parameters for step in found) == model.count_params()
    assert (found[-1].address, found[-1].does, found[-1].shape) == ("probabilities", "softmax", (10,))
    lines = summarize(model).splitlines()
    assert lines[0].split() == ["images", "28×28×1"]
    assert lines[-1].split() == ["total", f"{model.count_params():,}"]
    assert max(map(len, lines)) <= 120
    assert len(lines) <= 60


def test_layers_of_one_address_are_one_line():
    lines = [" ".join(line.split()) for line in summarize(build("conv-small", 28, 28, 1, 10)).splitlines()]
    assert "block2_unit1 conv 3×3 /2, batch norm, relu 14×14×48 14,016" in lines
    assert "head global average pool, dense 10 10 490" in lines


def test_lenet_reads_as_in_its_figure():
    found = {step.address: (step.does, step.shape, step.parameters) for step in steps(build("lenet5", 28, 28, 1, 10))}
    assert found["c1"] == ("conv 5×5, relu", (28, 28, 6), 156)
    assert found["s2"] == ("max pool 2×2 /2", (14, 14, 6), 0)
    assert found["c5"] == ("dense 120, relu", (120,), 48_120)


def test_a_branch_says_where_it_comes_from_and_a_sum_what_it_adds(registered):
    @registered("branching", family="conv")
    def branching(images, classes):
        """A residual block with a shortcut, and one without."""
        x = conv_unit(images, 4, name="stem")
        y = conv_unit(x, 8, stride=2, name="block1_unit1")
        x = layers.Conv2D(8, 1, strides=2, name="block1_shortcut_conv")(x)
        x = layers.Add(name="block1_add")([x, y])
        y = layers.DepthwiseConv2D(7, padding="same", activation="gelu", name="block2_depthwise")(x)
        return pooling_head(layers.Add(name="block2_add")([x, y]), classes)

    found = {step.address: step.does for step in steps(build("branching", 8, 8, 1, 10))}
    assert found["block1_unit1"] == "conv 3×3 /2, batch norm, relu"
    assert found["block1_shortcut"] == "from stem: conv 1×1 /2"
    assert found["block1"] == "add shortcut + unit1"
    assert found["block2"] == "depthwise conv 7×7, gelu, add block1"


def test_a_layer_of_an_unknown_kind_is_named_by_it(registered):
    @registered("noisy", family="dense")
    def noisy(images, classes):
        """Noise before the answer."""
        return layers.Dense(classes, name="head_dense")(
            layers.GaussianNoise(0.1, name="noise")(layers.Flatten()(images))
        )

    assert "GaussianNoise" in {step.does for step in steps(build("noisy", 8, 8, 1, 10))}
