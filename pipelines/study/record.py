"""The results of an experiment, in a file that the report is drawn from and that is whole at any time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.core.provenance.machine import versions
from pipelines.core.support.atomic import atomic_file
from zoo.contract import renamed
from zoo.errors import StudyError

HUGE = 1e30  # no metric is as large


@dataclass(frozen=True)
class Measured:
    """One training. key: of all that decides it. metrics: by name. seconds: it took. recipe; data: the digest.

    commit: of the code that did it.
    """

    key: str
    metrics: Mapping[str, float]
    seconds: float
    recipe: Mapping[str, Any]
    data: str
    commit: str

    def __post_init__(self) -> None:
        """Raises ValueError for what no training measures."""
        _need(self.key, self.data, self.commit, kind=str)
        _need(self.metrics, self.recipe, kind=dict)
        _need_numbers(self.seconds, *self.metrics.values())
        if self.seconds < 0:
            raise ValueError(f"expected seconds, received {self.seconds}")


@dataclass(frozen=True)
class Observed:
    """Numbers that needed no training. key: of the code that counted or timed them. machine: in one line.

    commit: of all of the code.
    """

    key: str
    numbers: list[float]
    machine: str
    commit: str

    def __post_init__(self) -> None:
        """Raises ValueError for what can't be observed."""
        _need(self.key, self.machine, self.commit, kind=str)
        _need(self.numbers, kind=list)
        _need_numbers(*self.numbers)


class Record:
    """The results of one experiment in one file of JSON.

    trainings: (arm, seed) -> what was measured. observed: by name. versions: of the libraries, of the newest of either.
    seeds, quick: of the last time that it was run to its end, when what it didn't ask for was dropped; no seeds where
    it never was. whole: whether all is of that time; not while other trainings take the place of those.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trainings: dict[tuple[str, int], Measured] = {}
        self.observed: dict[str, Observed] = {}
        self.versions: dict[str, str] = {}
        self.seeds: tuple[int, ...] = ()
        self.quick, self.whole = False, True
        self._asked: set[str] = set()  # names of arms and of observations
        if path.is_file():
            self._read()

    def knows(self, arm: str, seed: int, key: str) -> bool:
        """Whether that very training is in it."""
        found = self.trainings.get((arm, seed))
        return found is not None and found.key == key

    def has_seen(self, name: str, key: str) -> bool:
        """Whether that very observation is in it."""
        return name in self.observed and self.observed[name].key == key

    def metrics(self, arm: str, seed: int) -> Mapping[str, float]:
        """What a training measured. StudyError where it isn't in it."""
        found = self.trainings.get((arm, seed))
        if found is None:
            raise self._lacks(f"training {arm!r} with seed {seed}")
        self._asked.add(arm)
        return found.metrics

    def numbers(self, name: str) -> list[float]:
        """What was observed under that name. StudyError where nothing was."""
        if name not in self.observed:
            raise self._lacks(f"{name!r}")
        self._asked.add(name)
        return self.observed[name].numbers

    def add(self, arm: str, seed: int, measured: Measured) -> None:
        """Put a training in, and save."""
        before = self.trainings.get((arm, seed))
        self.whole = self.whole and (before is None or before.key == measured.key)
        self.trainings[arm, seed] = measured
        self._save_new()

    def observe(self, name: str, observed: Observed) -> None:
        """Put numbers in, and save."""
        self.whole = self.whole and (name not in self.observed or self.observed[name].key == observed.key)
        self.observed[name] = observed
        self._save_new()

    def finished(self, seeds: tuple[int, ...], *, quick: bool) -> None:
        """The experiment came to its end with these seeds. What it no longer asks for is dropped."""
        self.seeds, self.quick, self.whole = seeds, quick, True
        self.observed = {name: found for name, found in self.observed.items() if name in self._asked}
        self.trainings = {at: measured for at, measured in self.trainings.items() if at[0] in self._asked}
        self._save()

    @property
    def command(self) -> str:
        """What fills it."""
        return f"zoo study {self.path.stem}{' --quick' if self.quick else ''} --folder {self.path.parent}"

    def _lacks(self, what: str) -> StudyError:
        return StudyError(f"{self.path} holds no {what}: run `{self.command}`")

    def _save_new(self) -> None:
        self.versions = versions()
        self._save()

    def _save(self) -> None:
        """Write the file, whole or not at all."""
        found = {
            "versions": self.versions,
            "seeds": self.seeds,
            "quick": self.quick,
            **({} if self.whole else {"whole": False}),
            "observed": {name: asdict(observed) for name, observed in self.observed.items()},
            "trainings": [
                {"arm": arm, "seed": seed, **asdict(measured)} for (arm, seed), measured in self.trainings.items()
            ],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.path) as partial:
            partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    def _read(self) -> None:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            self.versions, self.quick = found["versions"], found["quick"]
            self.seeds, self.whole = tuple(found["seeds"]), found.get("whole", True)
            self.observed = {name: Observed(**each) for name, each in found["observed"].items()}
            for each in found["trainings"]:
                at = each.pop("arm"), each.pop("seed")
                _need(at[0], kind=str)
                self.trainings[at] = _measured(each)
            _need(self.versions, kind=dict)
            _need(self.quick, self.whole, kind=bool)
            _need(*self.seeds, *(seed for _, seed in self.trainings), kind=int)
            if self.seeds != tuple(range(1, len(self.seeds) + 1)) or len(self.seeds) == 1:
                raise ValueError(f"expected seeds from 1 on, two or more, received {self.seeds}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StudyError(
                f"{self.path} holds no results ({error!r}): remove it, and they will be created again"
            ) from None


def _measured(stored: dict[str, Any]) -> Measured:
    """A training as it was stored, also under earlier names: "figures", and "pictures" in the recipe."""
    if "figures" in stored:
        stored["metrics"] = stored.pop("figures")
    _need(stored["recipe"], kind=dict)
    return Measured(**{**stored, "recipe": renamed(stored["recipe"])})


def _need(*values: object, kind: type) -> None:
    for value in values:
        if type(value) is not kind:
            raise ValueError(f"expected a {kind.__name__}, received {value!r}")


def _need_numbers(*values: object) -> None:
    for value in values:
        if not (type(value) in (int, float) and abs(value) < HUGE):  # type: ignore[arg-type]
            raise ValueError(f"expected a number, received {value!r}")
