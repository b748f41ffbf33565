"""Exports of one data set, compared image by image: each file is run over the whole test set."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.paired import PairedTest, holm, paired_test
from pipelines.core.provenance.plan import load_data
from pipelines.core.provenance.reading import Located, find_data_set
from pipelines.core.support.progress import progress
from pipelines.evaluation.comparison.candidates import Candidate, run_of
from pipelines.evaluation.predictions import answers_of
from zoo.data import DataSet
from zoo.errors import TrackingError, ZooError
from zoo.runtime import load


@dataclass(frozen=True)
class Pair:
    """Two exports on the same test images.

    better, other: their names. test: with the better one as the first. adjusted_p: its p, given how many exports the
    better one was tested against (Holm 1979).
    """

    better: str
    other: str
    test: PairedTest
    adjusted_p: float


@dataclass(frozen=True, eq=False)
class Answered:
    """An export's answer to each of N test images: the likeliest class, [N] int64, and its probability, [N]."""

    answer: NDArray[np.int64]
    confidence: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Tested:
    """Exports that ran on the same test images. answers: by their names. pairs: the best with each."""

    data_set: DataSet
    answers: dict[str, Answered]
    pairs: tuple[Pair, ...]

    def correct(self, name: str) -> NDArray[np.bool_]:
        """[N]: whether an export's likeliest class is the image's."""
        correct: NDArray[np.bool_] = self.answers[name].answer == self.data_set.test.labels
        return correct


def pair_up(
    candidates: Sequence[Candidate], data: str | Located | DataSet | None = None
) -> tuple[tuple[Tested, ...], tuple[str, ...]]:
    """The best export of each data set with each of the others, and a sentence for each export that isn't paired.

    candidates: with an export each. data: the data set with the test images, as `verify` takes it; by default the one
    of a run among them, or the known one that an export names. Images that aren't there, or aren't those of the
    export, are a sentence, too. Raises ExportError for a file that can't be run.
    """
    by_images: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_images.setdefault(candidate.exported()[1].metadata.data_digest, []).append(candidate)
    tested: list[Tested] = []
    notes: list[str] = []
    for group in by_images.values():
        if len(group) == 1:
            if len(candidates) > 1:
                notes.append(f"{group[0].name} is paired with none: no other was tested on the same images")
            continue
        name = group[0].name.rpartition("/")[0]
        try:
            data_set = _data_set(group, data)
        except ZooError as error:
            notes.append(f"the exports of {name} aren't paired: {error}")
            continue
        if data_set is None:
            notes.append(f"the exports of {name} aren't paired: it isn't a known data set, name its folder with --data")
        else:
            tested.append(_paired(group, data_set))
    return tuple(tested), tuple(notes)


def _data_set(group: Sequence[Candidate], data: str | Located | DataSet | None) -> DataSet | None:
    """The images that all of a group were tested on. A run knows where they lie, an export their name alone."""
    run = next((each.run for each in group if each.run), None)
    if data is None and run is None:  # a known data set may lie where its run alone knows
        with suppress(TrackingError):
            made = filter(None, map(run_of, group))
            run = next((each for each in made if each.plan.data_folder and Path(each.plan.data_folder).is_dir()), None)
    if data is not None or run is None:
        found = find_data_set(group[0].exported()[1].metadata, data)
        if found is not None:
            return found
        run = next(filter(None, map(run_of, group)), None)  # of exports of somebody's own images
    return load_data(run.plan, digest=run.data_digest) if run is not None else None


def _paired(group: Sequence[Candidate], data_set: DataSet) -> Tested:
    answers: dict[str, Answered] = {}
    with progress("running each export on the test images") as advance:
        for done, candidate in enumerate(group):
            classifier = load(candidate.exported()[0], provider="cpu")
            _, probabilities = answers_of(classifier, data_set.test.inputs)
            answers[candidate.name] = Answered(probabilities.argmax(axis=1), probabilities.max(axis=1))
            advance(done + 1, len(group), candidate.name)
    tested = Tested(data_set, answers, ())
    correct = {name: tested.correct(name) for name in answers}
    best = max(correct, key=lambda name: correct[name].sum())  # of equals the first that was named
    others = [name for name in correct if name != best]
    found = [paired_test(correct[best], correct[name]) for name in others]
    adjusted = holm([paired.p for paired in found])
    pairs = (Pair(best, name, paired, p) for name, paired, p in zip(others, found, adjusted, strict=True))
    return Tested(data_set, answers, tuple(pairs))
