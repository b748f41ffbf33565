"""What an experiment has measured, as a file that the report is drawn from, whole at any time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.machine import commit, versions
from pipelines.whole import in_place_of
from zoo.errors import StudyError


@dataclass(frozen=True)
class Measured:
    """One training. key: of all that decides it. figures: by name. seconds: it took. recipe; data: the digest."""

    key: str
    figures: Mapping[str, float]
    seconds: float
    recipe: Mapping[str, Any]
    data: str


class Record:
    """The results of one experiment in one file of JSON.

    trainings: (arm, seed) -> what was measured. observed: name -> numbers that needed no training. made: commit and
    versions of the newest of either. seeds, quick: of the last time that it was run to its end, when what it didn't ask
    for was dropped; no seeds where it never was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trainings: dict[tuple[str, int], Measured] = {}
        self.observed: dict[str, list[float]] = {}
        self.made: dict[str, Any] = {}
        self.seeds: tuple[int, ...] = ()
        self.quick = False
        self._asked: set[str] = set()  # names of arms and of observations
        if path.is_file():
            self._read()

    def knows(self, arm: str, seed: int, key: str) -> bool:
        """Whether that very training is in it."""
        found = self.trainings.get((arm, seed))
        return found is not None and found.key == key

    def figures(self, arm: str, seed: int) -> Mapping[str, float]:
        """What a training measured. StudyError where it isn't in it."""
        found = self.trainings.get((arm, seed))
        if found is None:
            raise StudyError(
                f"{self.path} holds no training {arm!r} with seed {seed}: run `zoo study` without --report"
            )
        self._asked.add(arm)
        return found.figures

    def numbers(self, name: str) -> list[float]:
        """What was observed under that name, which must be in `observed`."""
        self._asked.add(name)
        return self.observed[name]

    def add(self, arm: str, seed: int, measured: Measured) -> None:
        """Put a training in, and save."""
        self.trainings[arm, seed] = measured
        self._save_new()

    def observe(self, name: str, numbers: list[float]) -> None:
        """Put numbers in, and save."""
        self.observed[name] = numbers
        self._save_new()

    def finished(self, seeds: tuple[int, ...], *, quick: bool) -> None:
        """The experiment came to its end with these seeds. What it no longer asks for is dropped."""
        self.seeds, self.quick = seeds, quick
        self.observed = {name: numbers for name, numbers in self.observed.items() if name in self._asked}
        self.trainings = {at: measured for at, measured in self.trainings.items() if at[0] in self._asked}
        self._save()

    def _save_new(self) -> None:
        self.made = {"commit": commit(), "versions": versions()}
        self._save()

    def _save(self) -> None:
        """Write the file, whole or not at all."""
        found = {
            "made": self.made,
            "seeds": self.seeds,
            "quick": self.quick,
            "observed": self.observed,
            "trainings": [
                {"arm": arm, "seed": seed, **asdict(measured)} for (arm, seed), measured in self.trainings.items()
            ],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with in_place_of(self.path) as partial:
            partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    def _read(self) -> None:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            self.made, self.quick = found["made"], bool(found["quick"])
            self.seeds = tuple(int(seed) for seed in found["seeds"])
            self.observed = {name: [float(v) for v in values] for name, values in found["observed"].items()}
            for each in found["trainings"]:
                arm, seed = str(each.pop("arm")), int(each.pop("seed"))
                self.trainings[arm, seed] = Measured(**each)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StudyError(f"{self.path} holds no results ({error!r}): remove it, and they are made anew") from None
