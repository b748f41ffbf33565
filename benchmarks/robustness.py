"""What a setting of the recipe gives on corrupted images: a short training, and the accuracy on each kind.

    PYTHONPATH=. python benchmarks/robustness.py conv-tiny --epochs 3 --set normalize=image --set degrade=0.5

Trains in float32 on the training images of Fashion-MNIST, keeps the last weights, and prints a line of JSON.
"""

from __future__ import annotations

import argparse
import json
from statistics import fmean

import numpy as np

from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.evaluation import corruptions
from pipelines.evaluation.predictions import ask_all
from pipelines.evaluation.robustness import measure_corrupted, robust_metrics
from pipelines.training.loop.learner import build_for, make_learner
from pipelines.training.loop.stages import make_stages, schedule_for
from zoo.contract import LOGITS, PROBABILITIES
from zoo.data.batches import training_batches
from zoo.data.pixels import in_chunks
from zoo.recipe import parse_settings

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
parser.add_argument("--images", type=int, default=corruptions.MOST_IMAGES, help="test images for each corruption")
options = parser.parse_args()
corruptions.MOST_IMAGES = options.images

usual = {"epochs": options.epochs, "seed": options.seed, "precision": "float32"}
plan = make_plan(options.model, "fashion-mnist", settings={**usual, **parse_settings(options.set)})
data_set = load_data(plan)
schedule = schedule_for(plan.recipe, data_set)
learner = make_learner(plan, data_set, schedule, make_stages(plan.recipe, schedule, {}, (), new=True)[0], "float32")
batches = training_batches(
    data_set.train,
    data_set.classes,
    plan.recipe,
    mirrored=data_set.mirrored,
    first_epoch=0,
    epochs=options.epochs,
)
learner.fit(batches, steps_per_epoch=schedule.steps, epochs=options.epochs, verbose=0)
model = build_for(plan, data_set)
model.set_weights(learner.get_weights())


def ask(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = model.predict_on_batch(images)
    return np.asarray(found[LOGITS]), np.asarray(found[PROBABILITIES])


answer = ask_all(ask, in_chunks(data_set.test.inputs, 1000))[1].argmax(axis=1)
corrupted = measure_corrupted(data_set.test, ask, plan.recipe.to_json())
kinds: dict[str, list[float]] = {each.kind: [] for each in corrupted}
for each in corrupted:
    kinds[each.kind].append(each.accuracy)
found = {
    "model": options.model,
    "settings": options.set,
    "test_accuracy": float(np.mean(answer == data_set.test.labels)),
    **robust_metrics(corrupted),
    "kinds": {kind: round(fmean(accuracies), 4) for kind, accuracies in kinds.items()},
}
print(json.dumps(found))
