"""`zoo reproduce RUN`: train again what a run says that it trained, and see whether the same weights come out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines import tracking
from pipelines.core.metrics.paired import PairedTest, paired_test
from pipelines.core.provenance.environment import CODE, Difference, differences, environment, unknown
from pipelines.core.provenance.machine import choose_precision
from pipelines.core.provenance.plan import Plan, load_data
from pipelines.core.provenance.weights import weights_sha256
from pipelines.evaluation.predictions import BATCH
from pipelines.tracking import TRAINED_ON, TrackedRun
from pipelines.training.fingerprint import code_of, fingerprints, is_code_of
from pipelines.training.train import WEIGHTS_TAG, train
from zoo.contract import PROBABILITIES
from zoo.data import Split
from zoo.data.pixels import in_chunks
from zoo.errors import DataError, TrackingError

logger = logging.getLogger("zoo.training")

OF_TAG, OUTCOME_TAG = "reproduces", "reproduction"  # of the new run: the first one's id, and what came out


@dataclass(frozen=True)
class Reproduction:
    """A run that was trained again.

    run: the first one. again: the new one, which has a tag that names the first. differences: between the environment
    of then and of now. unknown: what the first run never wrote down about its own. weights_sha256: of the first, then
    of the new one. Where they differ, test: the new model against the first one on the same test images; None where
    the first is no longer in the store. accuracy: of the new one, 0..1; logged_accuracy: of the first, as logged.
    """

    run: str
    again: str
    model: str
    data: str
    differences: tuple[Difference, ...]
    unknown: tuple[str, ...]
    weights_sha256: tuple[str, str]
    test: PairedTest | None = None
    accuracy: float | None = None
    logged_accuracy: float | None = None

    @property
    def same(self) -> bool:
        """Whether the weights are the same, bit for bit."""
        return self.weights_sha256[0] == self.weights_sha256[1]

    def __str__(self) -> str:
        """What came out, in a sentence or two."""
        if self.same:
            return "the weights are the same, bit for bit"
        outcome = f"the weights differ; {self._accuracies()}"
        if self.differences:
            return f"{outcome}: the environment differs"
        if self.unknown:
            return f"{outcome}: what is known of the environment is the same"
        return f"{outcome}, although the environment is the same"

    def _accuracies(self) -> str:
        if self.test is not None:
            points, low, high = (100 * share for share in (self.test.difference, self.test.low, self.test.high))
            return (
                f"test accuracy changed by {points:+.2f} points (95% interval {low:+.2f} to {high:+.2f}; of "
                f"{self.test.images:,} images the new one alone gets {self.test.only_first:,} right, the first "
                f"alone {self.test.only_second:,})"
            )
        logged = "unknown" if self.logged_accuracy is None else f"{self.logged_accuracy:.2%}"
        return f"test accuracy was {logged}, and is {self.accuracy:.2%}; the first model is gone, nothing can be paired"


def reproduce(run: str) -> Reproduction:
    """Train a run's plan again, as a new run of the same experiment, and compare the weights.

    run: its id, or the beginning of it. Before training, each difference in the environment is a warning of the logger
    `zoo.training`.
    Raises TrackingError for a run that doesn't exist, isn't finished, or has no weights, or whose teacher is another
    file now, DataError if its images have changed or are gone, and what `train` raises.
    """
    first = tracking.load_run(run)
    if first.tags.get(tracking.ENDED_BY) == tracking.OBSERVER:
        raise TrackingError(
            f"run {first.run_id} was ended early by its observer ({first.tags[tracking.ENDED_EARLY]}): it can't be "
            "reproduced from its plan, which doesn't record that"
        )
    if on := first.tags.get(TRAINED_ON):
        raise TrackingError(
            f"run {first.run_id} was trained on {on}, and `zoo reproduce` trains on one, which differs by rounding: "
            "train its plan.json again with `zoo train --plan`"
        )
    if first.status != "FINISHED":
        raise TrackingError(
            f"run {first.run_id} is {first.status}, it has no result to reproduce; to continue it: "
            f"{tracking.resumed_by(first.run_id, first.tags)}"
        )
    try:
        data_set = load_data(first.plan, digest=first.data_digest)
    except DataError as error:
        raise DataError(f"run {first.run_id[:8]} can't be reproduced: {error}") from None
    before = first.tags.get(WEIGHTS_TAG) or weights_sha256(tracking.load_keras_model(first.run_id))

    then = tracking.environment_of(first)
    code = then[CODE] if is_code_of(then.get(CODE, ""), first.plan) else code_of(first.plan)
    found, silent = differences(then, environment(code)), unknown(then)
    for difference in found:
        logger.warning("%s", difference)
    if silent:
        logger.warning("the run is older than this comparison, it has no record of its %s", ", ".join(silent))
    if first.plan.recipe.teacher and not (found or silent) and first.fingerprint not in fingerprints(first.plan):
        raise TrackingError(  # by data, code and libraries it would be the same run
            f"run {first.run_id[:8]} can't be reproduced: its teacher {first.plan.recipe.teacher} is another file now"
        )
    if first.plan.recipe.teacher and (found or silent):
        logger.warning("whether the teacher %s is the same file as then isn't known", first.plan.recipe.teacher)
    try:
        trained = train(plan=_as_then(first), tags={OF_TAG: first.run_id})
    except KeyboardInterrupt:  # what `zoo train --resume` ends, nobody would compare
        raise KeyboardInterrupt("interrupted; the same command starts over") from None
    if trained.unsent:
        raise TrackingError(
            f"run {trained.run[:8]} was trained, and waits for the store: `zoo sync` sends it; the weights are the "
            f"same if its tag {WEIGHTS_TAG} is {before}"
        )

    after = tracking.load_run(trained.run)
    result = Reproduction(
        run=first.run_id,
        again=trained.run,
        model=first.plan.model,
        data=data_set.name,
        differences=found,
        unknown=silent,
        weights_sha256=(before, after.tags[WEIGHTS_TAG]),
    )
    if not result.same:
        result = _tested(result, first, after, data_set.test)
    tracking.log_tags(trained.run, {OUTCOME_TAG: str(result)})
    return result


def _as_then(run: TrackedRun) -> Plan:
    """The run's plan, in the arithmetic that "auto" meant on its machine."""
    precision, then = run.plan.recipe.precision, run.facts.get("arithmetic")
    if then is None or choose_precision(precision) == then:
        return run.plan
    logger.warning("precision %s was %s then, and would be another here: it is trained in %s", precision, then, then)
    return replace(run.plan, recipe=run.plan.recipe.with_values({"precision": then}))


def _tested(result: Reproduction, first: TrackedRun, new: TrackedRun, test: Split) -> Reproduction:
    """The same, with what the other weights come to on the test images."""
    right = _right(new, test)
    result = replace(result, accuracy=float(right.mean()), logged_accuracy=first.metrics.get("test_accuracy"))
    try:
        return replace(result, test=paired_test(right, _right(first, test)))
    except TrackingError:  # the first one's model was cleared away
        return result


def _right(run: TrackedRun, test: Split) -> NDArray[np.bool_]:
    """[N]: whether a run's Keras model is right on each of the test images."""
    model = tracking.load_keras_model(run.run_id)
    answers = [np.asarray(model.predict_on_batch(some)[PROBABILITIES]) for some in in_chunks(test.inputs, BATCH)]
    right: NDArray[np.bool_] = np.concatenate(answers).argmax(axis=1) == test.labels
    return right
