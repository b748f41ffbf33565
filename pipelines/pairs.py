"""Exports of one data set, compared picture by picture: each file is run over the whole test set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.answers import answers_of
from pipelines.pictures import find_test_set
from pipelines.progress import progress
from pipelines.statistics import PairedTest, holm, paired_test
from zoo.contract import Metadata, read_manifest
from zoo.data import DataSet, Split
from zoo.errors import ZooError
from zoo.runtime import load


@dataclass(frozen=True)
class Pair:
    """Two exports on the same test pictures.

    better, other: DATA SET/MODEL. test: with the better one as the first. adjusted_p: its p, given how many exports the
    better one was tested against (Holm 1979).
    """

    better: str
    other: str
    test: PairedTest
    adjusted_p: float


def pair_up(folders: Sequence[Path], data: str | DataSet | None = None) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """The best export of each data set with each of the others, and a sentence for each export that isn't paired.

    folders: of exports. data: the data set with the test pictures, as `verify` takes it; by default the known one that
    an export names. Pictures that aren't there, or aren't those of the export, are a sentence, too. Raises ExportError
    for a file that can't be run.
    """
    by_pictures: dict[str, list[Path]] = {}
    for folder in folders:
        by_pictures.setdefault(read_manifest(folder).metadata.data_digest, []).append(folder)
    pairs: list[Pair] = []
    notes: list[str] = []
    for group in by_pictures.values():
        metadata = read_manifest(group[0]).metadata
        if len(group) == 1:
            if len(folders) > 1:
                notes.append(f"{_name(metadata)} is paired with none: no other was tested on the same pictures")
            continue
        try:
            test = find_test_set(metadata, data)
        except ZooError as error:
            notes.append(f"the exports of {metadata.data_set} aren't paired: {error}")
            continue
        if test is None:
            notes.append(
                f"the exports of {metadata.data_set} aren't paired: it is no known data set, name its folder by --data"
            )
        else:
            pairs += _paired(group, test)
    return tuple(pairs), tuple(notes)


def _paired(folders: Sequence[Path], test: Split) -> Iterable[Pair]:
    names, right = [], []  # of each export, and [N] whether its likeliest class is the picture's
    with progress("asking each export about the test pictures") as advance:
        for done, folder in enumerate(folders):
            classifier = load(folder, provider="cpu")
            names.append(_name(classifier.metadata))
            _, probabilities = answers_of(classifier, test.inputs)
            right.append(probabilities.argmax(axis=1) == test.labels)
            advance(done + 1, len(folders), names[-1])
    best = max(range(len(folders)), key=lambda k: right[k].sum())  # of equals the first that was named
    others = [k for k in range(len(folders)) if k != best]
    found = [paired_test(right[best], right[k]) for k in others]
    for k, paired, p in zip(others, found, holm([paired.p for paired in found]), strict=True):
        yield Pair(names[best], names[k], paired, p)


def _name(metadata: Metadata) -> str:
    return f"{metadata.data_set}/{metadata.model}"
