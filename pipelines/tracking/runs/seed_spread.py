"""Trainings that differ in their seed alone, as children of one run that holds mean and spread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pipelines.core.metrics.seed_spread import spread_of
from pipelines.tracking.describing import NOTE, shown
from pipelines.tracking.store import import_mlflow, open_client

COSTS = ("parameters", "multiply_accumulates")  # the same for each seed


def log_seeds(runs: Sequence[str]) -> str:
    """Put evaluated runs below one run; the first gives it its name. Returns its id, the same when called again.

    The parent isn't a training: it has no plan, and `zoo runs` doesn't list it. Its test_accuracy is the mean.
    """
    from mlflow.entities import Metric, Param, RunTag

    with open_client() as client:
        children = [client.get_run(run) for run in runs]
        first = children[0]
        accuracies = {int(each.data.params["seed"]): each.data.metrics["test_accuracy"] for each in children}
        spread = spread_of(dict(sorted(accuracies.items())))
        metrics = {"seeds": float(len(runs)), **{name: first.data.metrics.get(name) for name in COSTS}}
        if spread is not None:
            metrics |= {"test_accuracy": spread.mean, "test_accuracy_deviation": spread.deviation}
        name = f"{first.info.run_name}, {len(runs)} seeds"
        tags = {name: first.data.tags[name] for name in ("model", "family", "data_set")}
        tags |= {"mlflow.source.name": "zoo run", "mlflow.source.type": "LOCAL", NOTE: _describe(children, spread)}
        parent = _parent(client, first, name)
        ended = max(each.info.end_time for each in children)
        now = int(time.time() * 1000)  # of several values of a metric the latest counts, also of fewer seeds
        client.log_batch(
            parent,
            metrics=[Metric(key, value, now, 0) for key, value in metrics.items() if value is not None],
            params=[Param(key, value) for key, value in first.data.params.items() if key != "seed"],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        client.update_run(parent, name=name)
        client.set_terminated(parent, "FINISHED", ended)
        for each in children:
            above = each.data.tags.get("mlflow.parentRunId", parent)
            if above == parent or not _holds_seeds(client, above):  # else it is one of other seeds
                client.set_tag(each.info.run_id, "mlflow.parentRunId", parent)
    return parent


def _parent(client: Any, first: Any, name: str) -> str:
    """The id of the run above the first one, made where there is none."""
    key = first.info.run_id
    found = client.search_runs([first.info.experiment_id], f"tags.seeds_of = '{key}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    made = client.create_run(first.info.experiment_id, first.info.start_time, {"seeds_of": key}, name)
    return str(made.info.run_id)


def _holds_seeds(client: Any, run: str) -> bool:
    """Whether a run that is still there is one above seeds."""
    try:
        found = client.get_run(run)
    except import_mlflow().MlflowException:  # deleted, and removed by `zoo gc`
        return False
    return found.info.lifecycle_stage == "active" and "seeds_of" in found.data.tags


def _describe(children: Sequence[Any], spread: Any) -> str:
    lines = [
        f"| {each.data.params['seed']} | [{shown(each.info.run_name)}](#/experiments/{each.info.experiment_id}/runs/"
        f"{each.info.run_id}) | {each.data.metrics['test_accuracy']:.2%} |"
        for each in children
    ]
    text = f"Test accuracy **{spread}**: mean and standard deviation" if spread else "One seed"
    text += f" over {len(children)} training runs that differ only in the seed."
    return "\n".join([text, "", "| seed | run | |", "|---:|---|---:|", *lines])
