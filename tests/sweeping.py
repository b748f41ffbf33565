"""Workers of a sweep that train nothing, as processes of their own: what is tried is the storage that they share."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import processes

from pipelines.core.provenance.plan import make_plan
from pipelines.search import trials
from pipelines.search.definition import Definition
from pipelines.search.space import parse_dimension, suggest
from pipelines.search.storage import import_optuna, opened
from pipelines.search.sweep import _study
from pipelines.search.worker import MOST, Worker

SPACE = (parse_dimension("learning_rate=1e-4..1e-1:log"), parse_dimension("optimizer=adamw,muon"))
NAME = "at-once"


class Quick(Worker):
    """One whose trials take no time."""

    def _try(self, trial):
        values = suggest(SPACE, trial)
        time.sleep(0.05)
        return self._note(trial, {"accuracy": 1 - abs(values["learning_rate"] - 0.01)}, 1, "")


def work(url: str, most: int) -> None:
    """Take part as soon as all others are there."""
    definition = Definition(
        (make_plan("softmax", "digits"),), (SPACE,), "", "", (), {}, "tpe", "median", ("accuracy",), ()
    )
    Path(f"ready-{time.monotonic_ns()}").touch()
    processes.until(lambda: Path("go").exists(), 600)
    with opened(url) as storage:
        study = _study(NAME, storage, definition)
        study.set_user_attr(MOST, most)
        Quick(study, NAME, definition, "", lambda: "").work()


def work_at_once(folder: Path, url: str, workers: int, most: int) -> None:
    """So many processes on a storage that doesn't exist yet, none of which fails; and what they leave."""
    started = [processes.start(folder, work, url=url, most=most) for _ in range(workers)]
    processes.until(lambda: len(list(folder.glob("ready-*"))) == workers, 600, every=0.2)
    (folder / "go").touch()
    for each in started:
        assert processes.end(each, 600) == 0, (folder / "told.txt").read_text()[-3000:]
    with opened(url) as storage:
        study = import_optuna().load_study(study_name=NAME, storage=storage)
        found = trials.read_trials(study, ["softmax"])
        owners = [each.user_attrs[trials.PROCESS]["process.pid"] for each in study.get_trials() if each.params]
    assert [each.state for each in found] == ["finished"] * most, "so many, and none twice"
    assert len({tuple(each.values.items()) for each in found}) == most
    assert len(set(owners)) > 1, "several had a part in it"
    print(f"{len(set(owners))} of {workers} workers had trials", file=sys.stderr)
