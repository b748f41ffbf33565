"""What a sweep adds over its trainings, and what its storage takes for each trial.

    PYTHONPATH=. python benchmarks/sweep_overhead.py trainings [conv-small --data fashion-mnist --trials 8 --epochs 3]
    PYTHONPATH=. python benchmarks/sweep_overhead.py storage [--trials 200] [--url postgresql+psycopg://…]

trainings: a real sweep in a folder of its own, with --seeds 1. What isn't in a training is the sweep's: Optuna and its
import, the storage, what is asked after each epoch, plots, and files. Both are taken in the same process at the same
time, so that what else the machine does hits them alike; the share of processor time depends on it least.

storage: trials that train nothing, of three fields and ten reports each. Processor time of this process for each trial,
by fifties of trials, since the sampler looks at all that came before.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from pipelines.core.provenance.plan import make_plan
from pipelines.search import result, worker
from pipelines.search.definition import Definition
from pipelines.search.space import parse_dimension, suggest
from pipelines.search.storage import opened
from pipelines.search.sweep import _study, sweep

SPACE = ("learning_rate=1e-4..1e-1:log", "weight_decay=0.0..0.1", "optimizer=adamw,muon")
BLOCK = 50  # trials that a row is about


def main() -> None:
    parser = argparse.ArgumentParser(description="A sweep's overhead over its trainings.")
    parser.add_argument("what", choices=("trainings", "storage"))
    parser.add_argument("models", nargs="*", default=["conv-small"], metavar="MODEL")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--url")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        url = options.url or f"sqlite:///{temporary}/sweeps.db"
        if options.what == "trainings":
            rows = [trainings(options.models, options.data, options.trials or 8, options.epochs, url)]
        else:
            rows = storage(options.trials or 200, url)
        os.chdir("/")
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(*(f"{name} {value}" for name, value in row.items()), sep="  ")


class Clock:
    """Seconds by the clock, and of the processor, that functions took."""

    def __init__(self) -> None:
        self.seconds = self.processor = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, measured."""

        def measured(*values: Any, **named: Any) -> Any:
            began, worked = time.perf_counter(), processor_seconds()
            try:
                return function(*values, **named)
            finally:
                self.seconds += time.perf_counter() - began
                self.processor += processor_seconds() - worked

        return measured


def processor_seconds() -> float:
    """Of all threads of this process, and of processes that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def trainings(models: list[str], data: str, most: int, epochs: int, url: str) -> dict[str, Any]:
    """The share of the trainings' time that the sweep adds."""
    in_all, trained, asked = Clock(), Clock(), Clock()
    worker.train = trained.around(worker.train)  # type: ignore[attr-defined]
    result.evaluated = trained.around(result.evaluated)  # type: ignore[attr-defined]
    worker._Follower.__call__ = asked.around(worker._Follower.__call__)  # type: ignore[method-assign]
    swept = in_all.around(sweep)(
        models,
        data,
        search=SPACE,
        settings={"epochs": epochs, "least_updates": 0},
        trials=most,
        seeds=1,
        pruner="none",
        storage=url,
    )
    added = in_all.seconds - trained.seconds + asked.seconds
    worked = in_all.processor - trained.processor + asked.processor
    return {
        "trials": swept.counts["finished"],
        "trainings_s": round(trained.seconds - asked.seconds, 1),
        "added_s": round(added, 2),
        "added": f"{added / (trained.seconds - asked.seconds):.2%}",
        "added_processor": f"{worked / (trained.processor - asked.processor):.2%}",
        "added_processor_ms_a_trial": round(1000 * worked / most),
    }


def storage(most: int, url: str) -> list[dict[str, Any]]:
    """A row for each fifty trials: processor milliseconds, and milliseconds by the clock, of one."""
    space = tuple(map(parse_dimension, SPACE))
    plan = make_plan("softmax", "digits")
    how: Any = ("tpe", "median", ("accuracy",), ())
    definition = Definition((plan,), (space,), "", "", (), {}, *how)
    rows = []
    with opened(url) as database:
        study = _study("overhead", database, definition)
        quick = Quick(study, "overhead", definition, "", lambda: "")
        for done in range(BLOCK, most + 1, BLOCK):
            study.set_user_attr(worker.MOST, done)
            clock = Clock()
            clock.around(quick.work)()
            rows.append(
                {
                    "trials": f"{done - BLOCK + 1} to {done}",
                    "processor_ms": round(1000 * clock.processor / BLOCK, 1),
                    "clock_ms": round(1000 * clock.seconds / BLOCK, 1),
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


class Quick(worker.Worker):
    """A worker that trains nothing."""

    def _try(self, trial: Any) -> float | tuple[float, ...]:
        values = suggest(self.definition.spaces[0], trial)
        accuracy = 1 - abs(values["learning_rate"] - 0.01)
        for part in range(1, worker.PARTS + 1):
            trial.report(accuracy, part)
            trial.should_prune()
        return self._note(trial, {"accuracy": accuracy}, 1, "")


if __name__ == "__main__":
    main()
