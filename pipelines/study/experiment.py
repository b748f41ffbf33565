"""An experiment: a claim, the criterion that would refute it, and the function that measures and returns a finding.

@experiment(
    "locality",
    claim="...",
    refuted_if="...",
    held_equal="...",
    beware="...",
)
def locality(lab: Lab) -> Finding:
    ...
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.study.finding import Finding
from zoo.errors import StudyError, unknown

if TYPE_CHECKING:
    from pipelines.study.lab import Lab

SEEDS, QUICK_SEEDS = 5, 3  # of the full study, which takes no fewer, and of the quick one


@dataclass(frozen=True)
class Experiment:
    """A claim and the function that tests it.

    claim: one sentence. refuted_if: the criterion, written before the experiment was run. held_equal: the controlled
    variables. beware: what a reader should not conclude. The function's docstring is the method.
    """

    name: str
    claim: str
    refuted_if: str
    held_equal: str
    beware: str
    run: Callable[[Lab], Finding]

    @property
    def method(self) -> str:
        """The docstring of the function, as one paragraph."""
        return " ".join((self.run.__doc__ or "").split())


_experiments: dict[str, Experiment] = {}


def experiment(
    name: str, *, claim: str, refuted_if: str, held_equal: str, beware: str
) -> Callable[[Callable[[Lab], Finding]], Callable[[Lab], Finding]]:
    """Register a function as an experiment. name: of a to z, 0 to 9 and -, as files and links have it.

    Raises StudyError for another name, and for one that is taken.
    """

    def register(run: Callable[[Lab], Finding]) -> Callable[[Lab], Finding]:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
            raise StudyError(f"an experiment is called {name!r}, expected a name of a to z, 0 to 9 and -")
        if name in _experiments:
            raise StudyError(f"two experiments are called {name!r}: give one of them another name")
        _experiments[name] = Experiment(name, claim, refuted_if, held_equal, beware, run)
        return run

    return register


def experiments(names: Sequence[str] = ()) -> tuple[Experiment, ...]:
    """Those of the names, or all, in the order of registration. StudyError for a name that nobody registered."""
    for name in names:
        if name not in _experiments:
            raise StudyError(unknown("experiment", name, _experiments))
    return tuple(found for found in _experiments.values() if not names or found.name in names)
