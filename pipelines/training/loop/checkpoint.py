"""The state of a training after a pass, in one file that appears whole or not at all. Arrays and JSON, no pickle."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.support.atomic import atomic_file
from pipelines.core.support.durable import make_folder
from zoo.errors import TrackingError

FOLDER = Path("mlruns") / "checkpoints"
FILE = "state.npz"


@dataclass(frozen=True)
class Best:
    """The best weights so far. epoch: passes seen when they were.

    accuracy and loss: on the validation images; None where there are none. averaged: whether they are an average.
    """

    epoch: int
    accuracy: float | None
    loss: float | None
    weights: tuple[NDArray[Any], ...]
    averaged: bool = False

    def is_better_than(self, other: Best | None) -> bool:
        """By accuracy, then by loss: a few hundred images often tie. Not a number is never better.

        Without a validation, by being later.
        """
        if other is None or self.accuracy is None or self.loss is None or other.accuracy is None or other.loss is None:
            return True
        return (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


@dataclass(frozen=True)
class Average:
    """The average of the weights since a stage's beginning. count: of those that it was made of; 0 where there is none.

    weights: in Keras' order, statistics of norms among them.
    """

    count: int = 0
    weights: tuple[NDArray[Any], ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """All that decides how a training goes on.

    epoch: passes seen. precision: that the layers compute in, chosen when the run began. variables: of the model, its
    random generators among them, then of the optimizer. stopped: why it ends here, before its last epoch; "" where it
    goes on.
    """

    epoch: int
    precision: str
    variables: tuple[NDArray[Any], ...]
    best: Best | None
    stopped: str = ""
    average: Average = Average()


def save(checkpoint: Checkpoint, run_id: str) -> None:
    """Write a run's checkpoint in place of the one before. Raises TrackingError where it can't be written."""
    folder = FOLDER / run_id
    best = checkpoint.best
    known: dict[str, Any] = {
        "epoch": checkpoint.epoch,
        "precision": checkpoint.precision,
        "stopped": checkpoint.stopped,
        "averaged": checkpoint.average.count,
    }
    if best is not None:
        known["best"] = {name: value for name, value in vars(best).items() if name != "weights"}
    arrays = {
        **_named("variable", checkpoint.variables),
        **_named("best", best.weights if best else ()),
        **_named("average", checkpoint.average.weights),
        "known": np.frombuffer(json.dumps(known).encode(), np.uint8),
    }
    try:
        make_folder(folder)
        with atomic_file(folder / FILE) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise TrackingError(f"the checkpoint {folder / FILE} can't be written ({error.strerror})") from None


def load(run_id: str) -> Checkpoint:
    """A run's checkpoint. Raises TrackingError where there is none, or it is damaged."""
    path = FOLDER / run_id / FILE
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            known = json.loads(found["known"].tobytes())
            best = known.get("best")
            return Checkpoint(
                epoch=int(known["epoch"]),
                precision=str(known["precision"]),
                variables=_in_order("variable", found),
                best=Best(weights=_in_order("best", found), **best) if best else None,
                # Those of older versions say nothing of the rest.
                stopped=str(known.get("stopped", "")),
                average=Average(int(known.get("averaged", 0)), _in_order("average", found)),
            )
    except FileNotFoundError:
        raise TrackingError(
            f"run {run_id} left no checkpoint in {path.parent.absolute()}: "
            "resume it in the folder in which it was started, or train again"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise TrackingError(f"the checkpoint {path} is damaged ({error}): train again") from None


def exists(run_id: str) -> bool:
    """Whether a run can be gone on with from this folder."""
    return (FOLDER / run_id / FILE).is_file()


def delete(run_id: str) -> None:
    """Remove what a finished run no longer needs."""
    shutil.rmtree(FOLDER / run_id, ignore_errors=True)


def _named(kind: str, arrays: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{kind}_{index:04}": array for index, array in enumerate(arrays)}


def _in_order(kind: str, found: Any) -> tuple[NDArray[Any], ...]:
    return tuple(found[name] for name in sorted(found.files) if name.startswith(kind + "_"))
