"""`zoo data list`: the known data sets, under which license each is, and whether it is here already."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.data import data_sets
from zoo.data.registry import terms_of
from zoo.data.sources.download import place_of
from zoo.errors import DataError


@dataclass(frozen=True)
class KnownDataSet:
    """A data set that has a name. source: where its authors publish it. reference: the paper. download: bytes, 0 of one
    that comes with a package. place: the folder that it lies in; empty where it isn't here yet, or a package brings it.
    """

    name: str
    summary: str
    license: str
    source: str
    reference: str
    download: int
    place: str


def data_list() -> tuple[KnownDataSet, ...]:
    """List the known data sets by name, with their licenses. Nothing is downloaded."""
    return tuple(_known(name, summary) for name, summary in data_sets().items())


def _known(name: str, summary: str) -> KnownDataSet:
    terms = terms_of(name)
    try:
        place = place_of(terms.files) if terms.files else None
    except DataError:  # some of its files are there alone, which whoever loads it is told
        place = None
    size = terms.files.size if terms.files else 0
    return KnownDataSet(name, summary, terms.license, terms.source, terms.reference, size, str(place or ""))
