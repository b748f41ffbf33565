"""Where the trainings of an experiment are done, once each: what was measured before is looked up."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import tracking
from pipelines.core.provenance.code import code_digest
from pipelines.core.provenance.machine import commit, describe_machine, versions
from pipelines.core.provenance.weights import teacher_digest
from pipelines.core.support.progress import progress
from pipelines.core.support.to_json import digest_of
from pipelines.study.finding import Sample
from pipelines.study.keep import keep
from pipelines.study.record import Measured, Observed, Record
from pipelines.training.loop.distillation import teacher_of
from pipelines.training.loop.fused_norms import with_fused_norms
from pipelines.training.loop.learner import enter
from pipelines.training.loop.stages import Schedule, Stage, make_schedule
from zoo.contract import LOGITS, MANIFEST_FILE
from zoo.data import DataSet, Split
from zoo.data.batches import Teacher, training_batches
from zoo.data.pixels import in_chunks
from zoo.errors import StudyError
from zoo.models import build_architecture
from zoo.models.backend import start_keras
from zoo.models.ledger import read_ledger
from zoo.models.registry import Architecture
from zoo.recipe import Recipe

BATCH = 64  # training images in a batch, unless an arm sets another size
EVALUATED = 1024  # images in a batch of an evaluation
# For experiments whose result would depend on how Muon treats matrices. Chosen as Muon's rate was (see
# `Arm.recipe`), of 2, 4, 8 and 16e-3: no arm of weight-sharing with 2,000 images is 1.3 points better at another.
ADAMW: Mapping[str, Any] = {"optimizer": "adamw", "learning_rate": 8e-3}
LIBRARIES = ("tensorflow", "keras", "numpy")  # whose versions change the weights

Metrics = Mapping[str, float]
Measure = Callable[[Any, DataSet], Metrics]  # the trained keras.Model and what it learned from -> metrics by name


def accuracy(model: Any, split: Split) -> float:
    """The share of a split's images that a `keras.Model` classifies correctly, 0..1."""
    logits = np.concatenate([model.predict_on_batch(inputs)[LOGITS] for inputs in in_chunks(split.inputs, EVALUATED)])
    return float(np.mean(logits.argmax(1) == split.labels))


def accuracy_and_cost(model: Any, data_set: DataSet) -> Metrics:
    """What is measured unless an experiment asks for more.

    "accuracy" on the whole test set, in percent; "multiply_accumulates" for one image.
    """
    cost = sum(entry.multiply_accumulates for entry in read_ledger(model))
    return {"accuracy": 100 * accuracy(model, data_set.test), "multiply_accumulates": float(cost)}


@dataclass(frozen=True)
class Arm:
    """One of the conditions that are compared: a model, its training data, its updates, and what is measured.

    data: seed -> data set; which images are drawn is part of the variance. updates: optimizer steps, at least.
    settings: fields of the recipe that differ. measure: of functions, numbers and text alone, see
    `core.provenance.code`.
    family: of a model that `zoo study --models` keeps as an export; "" for the others.
    """

    architecture: Architecture
    data: Callable[[int], DataSet]
    updates: int
    settings: Mapping[str, Any] | None = None
    measure: Measure = accuracy_and_cost
    family: str = ""

    def recipe(self, seed: int) -> Recipe:
        """The same for all arms but for `settings`: a fixed number of updates with Muon, no augmentation.

        Batch size and learning rate were chosen on held-out images of Fashion-MNIST's training set: of 128 and 64 and
        of 2, 4, 8 and 16e-3 they are the best for a dense model and, within 0.1 %, for a conv model.
        """
        usual = Recipe(
            augmentation="none",
            epochs=1,
            least_updates=self.updates,
            batch_size=BATCH,
            optimizer="muon",
            learning_rate=8e-3,
            precision="float32",
            seed=seed,
        )
        return usual.with_values(self.settings or {})


class Results:
    """What a group of arms measured: `results["conv"]` is its accuracy for each seed, `["conv", "loss"]` another.

    Raises StudyError for a metric that wasn't measured.
    """

    def __init__(self, metrics: Mapping[str, Sequence[Metrics]], record: Record) -> None:
        self._metrics, self._record = metrics, record

    def __getitem__(self, arm: str | tuple[str, str]) -> Sample:
        name, metric = (arm, "accuracy") if isinstance(arm, str) else arm
        for metrics in self._metrics[name]:
            if metric not in metrics:
                raise StudyError(
                    f"{self._record.path} has no {metric!r} of {name!r}, expected it next to {', '.join(metrics)}: run "
                    f"`{self._record.command}`"
                )
        return np.array([metrics[metric] for metrics in self._metrics[name]], np.float64)


@dataclass(frozen=True)
class Lab:
    """An experiment's trainings.

    seeds: 1, 2, 3, … quick: few images and updates, to see the direction. record: what was measured before, and where
    new results go. parent: the MLflow run that new trainings are children of. replay: nothing is trained, what the
    record doesn't contain is an error. models: the folder for exports of the arms that name a family, with their first
    seed; None to keep none.
    """

    name: str
    seeds: tuple[int, ...]
    quick: bool
    record: Record
    parent: str | None = None
    replay: bool = False
    models: Path | None = None

    def choose(self, full: Any, quick: Any) -> Any:
        """The one for the full study, or the one that is quick."""
        return quick if self.quick else full

    @property
    def usual(self) -> tuple[int, int]:
        """Training images and updates, unless an experiment says why others: equal arms are then trained once."""
        return (3_000, 180) if self.quick else (10_000, 600)

    @property
    def size(self) -> str:
        """How many parameters, by a name of `models.CONV`, unless an experiment says why others."""
        return "14 k" if self.quick else "50 k"

    def train(self, arms: Mapping[str, Arm]) -> Results:
        """Train each arm with each seed, unless that was done before, and give what was measured.

        Raises StudyError where a replay finds no such result.
        """
        if not self.replay:
            with progress(self.name) as advance:
                done, trained, in_all = 0, 0, len(arms) * len(self.seeds)
                for name, arm in arms.items():
                    bench = Bench()
                    for seed in self.seeds:
                        trained += self._train_once(name, arm, seed, bench)
                        done += 1
                        # By those that had to be trained: the others take no time, and say nothing of what is to go.
                        to_train = in_all - (done - trained)
                        advance(trained, to_train, f"{done} of {in_all} training runs: {name}, seed {seed}")
        metrics = {name: [self.record.metrics(name, seed) for seed in self.seeds] for name in arms}
        return Results(metrics, self.record)

    def observe(self, name: str, look: Callable[[], Sequence[float]]) -> Sample:
        """Numbers that need no training: counted, or timed in several rounds. Measured once, then read from the record.

        look: of functions, numbers and text alone, as `Arm.measure`. StudyError where a replay finds no such numbers.
        """
        if not self.replay:
            key = _code(look)
            if not self.record.has_seen(name, key):
                numbers = [float(value) for value in look()]
                self.record.observe(name, Observed(key, numbers, str(describe_machine()), commit()))
        return np.array(self.record.numbers(name), np.float64)

    def _train_once(self, name: str, arm: Arm, seed: int, bench: Bench) -> bool:
        """Whether it had to be trained."""
        data_set, recipe = arm.data(seed), arm.recipe(seed)
        keras = start_keras()
        keras.utils.set_random_seed(seed)
        size = (data_set.height, data_set.width, data_set.channels)
        model = build_architecture(arm.architecture, "study", *size, data_set.classes, normalize=recipe.normalize)
        key = key_of(model, data_set, recipe, arm.measure)
        known_here = self.record.knows(name, seed, key)
        export = self._export(name, arm, seed, anew=not known_here)
        if export is None and known_here:
            return False
        known = tracking.find_training(key) if export is None else None
        begin = time.monotonic()
        parameters = int(model.count_params())
        metrics = known or {
            **bench.fit(model, data_set, recipe, arm.measure, teacher_of(recipe, data_set)),
            "parameters": parameters,
        }
        seconds = time.monotonic() - begin
        try:
            if known is None and self.parent:
                tracking.log_training(self.parent, f"{name}, seed {seed}", key, recipe.to_json(), metrics)
        finally:  # a store that fails costs no training
            measured = Measured(key, dict(metrics), seconds, recipe.to_json(), data_set.digest, commit())
            self.record.add(name, seed, measured)
        if export is not None:
            keep(export, arm.family, bench.model, data_set, recipe, accuracy(bench.model, data_set.test))
        return known is None

    def _export(self, name: str, arm: Arm, seed: int, *, anew: bool) -> Path | None:
        """Where the training's model is to be kept, if it is to be and isn't yet, or not that of this training."""
        if self.models is None or not arm.family or seed != self.seeds[0]:
            return None
        folder = self.models / re.sub(r"[^a-z0-9]+", "-", f"{self.name}-{name}".lower()).strip("-")
        return None if (folder / MANIFEST_FILE).is_file() and not anew else folder


class Bench:
    """Where one arm is trained with one seed after the other.

    What TensorFlow compiled for the first is used again for the others: it takes as long as a short training.
    """

    def __init__(self) -> None:
        self.model: Any = None
        self._fused: Any = None
        self._learner: Any = None

    def fit(
        self, model: Any, data_set: DataSet, recipe: Recipe, measure: Measure, teacher: Teacher | None = None
    ) -> dict[str, float]:
        """Train a `keras.Model` as `build_architecture` makes it, on all of the training images, and measure it.

        All models that one bench is given are of the same layers; only their weights differ, which stay as they are.
        """
        schedule: Schedule = make_schedule(recipe, data_set)
        if self._learner is None:
            self.model = model
            self._fused = with_fused_norms(model)
            self._learner = start_keras().Model(self._fused.input, self._fused.get_layer(LOGITS).output)
            enter(self._learner, recipe, schedule, Stage(0, schedule.epochs, recipe.learning_rate))
        else:
            self._fused.set_weights(model.get_weights())
            for moment in self._learner.optimizer.variables:
                moment.assign(np.zeros(moment.shape))
        self._learner.fit(
            training_batches(
                data_set.train,
                data_set.classes,
                recipe,
                mirrored=data_set.mirrored,
                first_epoch=0,
                epochs=schedule.epochs,
                teacher=teacher,
            ),
            epochs=schedule.epochs // schedule.validation_interval,
            steps_per_epoch=schedule.steps * schedule.validation_interval,
            verbose=0,
            shuffle=False,
        )
        self.model.set_weights(self._fused.get_weights())
        return {name: float(value) for name, value in measure(self.model, data_set).items()}


def key_of(model: Any, data_set: DataSet, recipe: Recipe, measure: Measure) -> str:
    """Of all that decides what is measured: SHA-256, in hex. The same for a model that is written in another way.

    But for the machine: another number of threads changes the order of sums, and so the results, as another seed does.
    Raises StudyError for a measure of which nobody can tell whether it is the same next time.
    """
    decisive = {
        "model": _without_modules(json.loads(model.to_json())),
        "data": data_set.digest,
        "recipe": recipe.decisive(),
        "teacher": teacher_digest(recipe),
        "measure": _code(measure),
        "training": _code(Bench.fit, *_own_layers(model)),
        "versions": {name: versions().get(name) for name in LIBRARIES},
    }
    return digest_of(decisive)


def _own_layers(model: Any) -> list[type]:
    """The classes of a model's layers that aren't Keras': of those, the configuration isn't all."""
    kinds = {type(layer) for layer in model._flatten_layers(include_self=False)}
    return sorted((kind for kind in kinds if not kind.__module__.startswith("keras.")), key=lambda kind: kind.__name__)


def _code(*things: Any) -> str:
    try:
        return code_digest(*things)
    except ValueError as error:
        raise StudyError(str(error)) from None


def _without_modules(config: Any) -> Any:
    """A Keras config without the names of modules: a layer of ours is the same wherever it stands."""
    if isinstance(config, Mapping):
        return {name: _without_modules(value) for name, value in config.items() if name != "module"}
    return [_without_modules(each) for each in config] if isinstance(config, list) else config
