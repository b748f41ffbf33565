"""Trainings on several devices of one processor, in processes of their own, since TensorFlow chooses them once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def divide_processor(parts: int) -> None:
    """Let TensorFlow take the processor for several. Nothing of it may have been used before."""
    import tensorflow as tf

    several = [tf.config.LogicalDeviceConfiguration()] * parts
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], several)


def train_on(parts: int, devices: int | None, request: Mapping[str, Any], interrupted_in: int = 0) -> None:
    """Train in this folder; the id of the run goes to run.txt. interrupted_in: the epoch in which Ctrl-C is pressed."""
    from pathlib import Path

    from pipelines.training.train import train

    divide_processor(parts)

    def observer(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == interrupted_in:
            raise KeyboardInterrupt

    try:
        trained = train(**request, devices=devices, observer=observer)
    except KeyboardInterrupt as interrupt:
        Path("interrupted.txt").write_text(str(interrupt), encoding="utf-8")
    else:
        Path("run.txt").write_text(trained.run, encoding="utf-8")


def hear_the_chief(where: str, index: int, texts: Sequence[str]) -> None:
    """As a worker, or the chief: all texts, one after the other, to heard.json in this folder."""
    import json
    from pathlib import Path

    from pipelines.training.parallel.team import team_of
    from pipelines.training.parallel.workers import cluster_of

    with team_of(None, cluster_of(where, index)) as team:
        heard = [team.from_chief(text if team.is_chief else "") for text in texts]
        team.part()
    Path("heard.json").write_text(json.dumps(heard), encoding="utf-8")


def compare_gradients(model: str, devices: int) -> None:
    """How far the gradient of a first step differs, by weight, on several devices and of images in another order.

    Relative to the largest of an array; to gradients.json in this folder.
    """
    import json
    from pathlib import Path

    import keras
    import numpy as np
    import tensorflow as tf

    from pipelines.core.provenance.plan import make_plan
    from pipelines.training.parallel.layers import piece_of, whole_batch
    from pipelines.training.parallel.team import team_of
    from pipelines.training.preparing import prepare
    from zoo.data.batches import training_batches

    divide_processor(devices)
    plan = make_plan(model, "digits", settings={"epochs": 1, "batch_size": 250, "precision": "float32"})
    plain = prepare(plan, "float32", None)
    learned = plain.learned
    stream = training_batches(learned.train, 10, plan.recipe, mirrored=learned.mirrored, first_epoch=0, epochs=1)
    images, targets = next(iter(stream))

    def gradient(learner: Any, images: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = learner(images, training=True)
            loss = tf.reduce_sum(keras.losses.categorical_crossentropy(targets, logits, from_logits=True)) / 250
        return tape.gradient(loss, [weight.value for weight in learner.trainable_weights])

    with team_of(devices, None) as team:
        learner = prepare(plan, "float32", team).learner
        whole_batch(learner, 250)

        def part() -> Any:
            context = tf.distribute.get_replica_context()
            begin, end = piece_of(250, devices, context.replica_id_in_sync_group)
            own = gradient(learner, images[begin:end], targets[begin:end])
            return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

        together = [team.strategy.experimental_local_results(each)[0] for each in team.strategy.run(part)]
    one = gradient(plain.learner, images, targets)
    order = np.random.default_rng(0).permutation(250)
    another = gradient(plain.learner, tf.gather(images, order), tf.gather(targets, order))

    def apart(some: Any, others: Any) -> float:
        return float(np.abs(np.asarray(some) - np.asarray(others)).max() / np.abs(np.asarray(some)).max())

    names = [weight.path for weight in plain.learner.trainable_weights]
    found = {
        name: {"devices": apart(a, b), "order": apart(a, c)}
        for name, a, b, c in zip(names, one, together, another, strict=True)
    }
    Path("gradients.json").write_text(json.dumps(found), encoding="utf-8")
