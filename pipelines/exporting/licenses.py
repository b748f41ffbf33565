"""The licenses of an export: of its weights, and of the data that they were trained on."""

from __future__ import annotations

from zoo.checked import is_name
from zoo.contract import Metadata
from zoo.data.registry import terms_of
from zoo.errors import DataError
from zoo.models import definition
from zoo.models.registry import Published

NOT_STATED = "not stated"
OF_ONES_OWN = "not stated (custom data)"
PUBLISHED = "imagenet/"  # how the names of published weights begin, as a source


LONGEST = 500  # letters of a license: a manifest takes 1,000, with what is known of the features


def check_licenses(data_set: str, of_weights: str, stated: str) -> None:
    """Raise DataError for a text that no manifest takes, and for a license of data whose own license is known."""
    for option, text in (("license", of_weights), ("data-license", stated)):
        if len(text) > LONGEST or not is_name(text):
            what = f"{len(text):,} letters" if len(text) > LONGEST else "letters that can't be printed"
            raise DataError(f"--{option} has {what}, expected the name of a license: keep its text in a file")
    if stated and (known := terms_of(data_set).license):
        raise DataError(f"{data_set} is a known data set, its license is {known}: leave out --data-license")


def pretrained_sentence(metadata: Metadata) -> str:
    """What the features were trained on before, and by whom; "" where they weren't."""
    source = _source_of(metadata)
    if published := _published_as(source):
        return f"Its features were pretrained on ImageNet by {published.by}."
    return f"Its features were initialized with those of {source}." if source else ""


def _source_of(metadata: Metadata) -> str:
    return str(metadata.source.get("name", ""))


def _published_as(source: str) -> Published | None:
    """What is known of weights that others published; None of any other source."""
    return definition(source.removeprefix(PUBLISHED)).published if source.startswith(PUBLISHED) else None


def licenses_of(metadata: Metadata, stated: str = "", of_data: str = "") -> dict[str, str]:
    """What a manifest says of them. stated, of_data: the licenses of the weights and the data, by who trained them."""
    terms = terms_of(metadata.data_set)
    source, weights = _source_of(metadata), stated or NOT_STATED
    if source.startswith(PUBLISHED):
        published = _published_as(source)
        known = f"{published.license}, trained on ImageNet by {published.by}" if published else NOT_STATED
        weights += f"; features initialized with the weights {source}: {known}"
    elif source:
        weights += f"; features initialized with {source}: see its card"
    return {
        "weights": weights,
        "data": terms.license or of_data or OF_ONES_OWN,
        "data_source": terms.source or OF_ONES_OWN,
    }
