"""What reading and augmenting cost a training: its steps as they went, against the same steps on a batch that is ready.

Measured so, it counts where the processor is shared by both, as well as where a GPU waits. How long the loop waits for
its stream isn't that: TensorFlow asks for batches ahead of the steps that learn from them.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from pipelines.training.loop.stages import Schedule
from zoo.models.backend import start_keras

COMPARED = 20  # calls of Keras', the last of the training
FEWEST, MOST = 2, 6  # calls that are measured
SHARE, SECONDS = 0.02, 0.5  # of the training's time, or this long, the measuring may take


@dataclass
class Calls:
    """How long the calls of a training took, validations and checkpoints between them left out."""

    last: deque[float] = field(default_factory=lambda: deque(maxlen=COMPARED))
    seconds: float = 0.0
    _since: float | None = None  # not of the first one, in which TensorFlow compiles

    def ended(self) -> None:
        """A call has ended just now."""
        now = monotonic()
        if self._since is not None:
            self.last.append(now - self._since)
            self.seconds += now - self._since
        self._since = now

    def goes_on(self) -> None:
        """Something else has ended just now, and the next call begins."""
        self._since = monotonic()


@dataclass(frozen=True)
class Feeding:
    """step: seconds that a step of the training took. ready: that one takes on a batch that is ready."""

    step: float
    ready: float
    kind: str  # images or rows

    @property
    def share(self) -> float:
        """Of the training's time that reading and augmenting cost, 0..1."""
        return max(0.0, 1 - self.ready / self.step)

    def __str__(self) -> str:
        """One line for the terminal."""
        return (
            f"reading and augmenting the {self.kind} cost {self.share:.0%} of the training's time: "
            f"{self.step * 1e3:.3g} ms a step, {self.ready * 1e3:.3g} ms on {self.kind} that are ready"
        )


def feeding_of(learner: Any, calls: Calls, schedule: Schedule, stream: Any, kind: str) -> Feeding | None:
    """What the batches of a training cost it; None where it was too short to say.

    learner: a compiled Keras model that has been trained, and goes on to learn: what it is to be kept for was kept.
    stream: a tf.data.Dataset of its batches, of which the first is taken.
    """
    if not calls.last:
        return None
    took = statistics.median(calls.last)
    wanted = min(MOST, int(max(SECONDS, SHARE * calls.seconds) / took))
    if wanted < FEWEST:
        return None
    measured = Calls()

    def after_call(step: int, logs: object) -> None:  # noqa: ARG001 (Keras names it)
        measured.ended()
        learner.stop_training = len(measured.last) >= wanted

    def after_epoch(epoch: int, logs: object) -> None:  # noqa: ARG001
        measured.goes_on()

    import tensorflow as tf

    with tf.device("CPU:0"):
        ready = tf.data.Dataset.from_tensors(next(iter(stream))).repeat()
    learner.fit(
        ready,
        epochs=wanted + 1,  # as the training had them, with as much around each; the first call isn't measured
        steps_per_epoch=schedule.steps * schedule.validation_interval,
        callbacks=[start_keras().callbacks.LambdaCallback(on_train_batch_end=after_call, on_epoch_end=after_epoch)],
        verbose=0,
        shuffle=False,
    )
    return Feeding(took / schedule.call, statistics.median(measured.last) / schedule.call, kind)
