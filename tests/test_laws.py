"""What holds for whatever comes: round trips, splits, intervals, resizing. The same examples are drawn each time."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pipelines.core.metrics.classification import confusion_matrix
from pipelines.core.metrics.intervals import mean_interval, newcombe_interval, wilson_interval
from pipelines.core.metrics.paired import holm, mcnemar, paired_test
from pipelines.core.provenance.plan import Origin, Plan, parse_plan
from pipelines.core.support.to_json import to_json
from zoo.checked import is_name
from zoo.contract import (
    MANIFEST_FILE,
    MODEL_FILES,
    RESIZINGS,
    WHITE,
    Column,
    ExportedFile,
    Manifest,
    Metadata,
    read_manifest,
)
from zoo.data.dataset import Split
from zoo.data.splits import draw, draw_splits
from zoo.images import matching_parts, resize
from zoo.recipe import Recipe, _allowed

law = settings(derandomize=True, deadline=None, max_examples=40)


@pytest.fixture(scope="module", autouse=True)
def without_constants_of_ours():
    """Hypothesis would parse each of our modules that is loaded, for values to try: a minute in a new clone."""
    with pytest.MonkeyPatch.context() as patch:
        of_modules = "hypothesis.internal.conjecture.providers.is_local_module_file"
        patch.setattr(of_modules, lambda path: False, raising=False)  # where a newer version has no such thing
        yield


# --- what is written and read again ----------------------------------------------------------------------------------

WORDS = st.text(st.characters(exclude_categories=("C",)), max_size=12)  # what can be printed
HEX = st.text("0123456789abcdef", min_size=8, max_size=8)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
SHARES = st.floats(0, 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def values_of(name):
    """What a field of a recipe may have, as the field says it itself."""
    allowed, kind = _allowed()[name], type(getattr(Recipe, name))
    if kind is str:
        return st.sampled_from(allowed.choices) if allowed.choices else st.text(max_size=12)
    if kind is int:
        return st.integers(int(allowed.at_least), int(allowed.below or 10_000) - 1)
    least, most = (allowed.above, allowed.at_least), (allowed.below, allowed.at_most)
    return st.floats(
        max(each for each in least if each is not None),
        min(each for each in most if each is not None),
        exclude_min=allowed.above is not None,
        exclude_max=allowed.below is not None,
    )


FIELDS = st.fixed_dictionaries({field.name: values_of(field.name) for field in fields(Recipe)})
RECIPES = FIELDS.map(lambda found: found | ({"patience": 0} if found["images"] != "train" else {})).map(
    lambda found: Recipe(**found)
)
PLANS = (
    st.fixed_dictionaries(
        {
            "model": WORDS,
            "data": st.text(),
            "data_folder": st.none() | st.text(),
            "size": st.none() | st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
            "recipe": RECIPES,
            "resizing": st.sampled_from(RESIZINGS),
            "groups": st.none() | WORDS,
            "on_bad": WORDS,
            "label": st.none() | WORDS,
            "source": st.none() | st.builds(Origin, WORDS, WORDS, HEX),
            "images": st.none() | st.text(),
            "follow_links": st.booleans(),
            "name": st.none() | st.from_regex("[a-z][a-z -]{0,20}[a-z]", fullmatch=True),
        }
    )
    .map(lambda found: found | ({"groups": None} if found["recipe"].images == "most" else {}))  # refused together
    .map(lambda found: Plan(**found))
)
LISTS = st.lists(WORDS, min_size=1, max_size=4, unique=True).map(tuple)
COLUMNS = st.lists(
    st.builds(Column, WORDS.filter(bool), st.none() | LISTS), min_size=1, max_size=3, unique_by=lambda each: each.name
).map(tuple)
OF_ANY = {
    **dict.fromkeys(("model", "family", "data_set", "commit", "groups"), WORDS),
    **dict.fromkeys(("data_digest", "run_id", "weights_sha256"), HEX),
    "labels": LISTS,
    "recipe": RECIPES.filter(lambda recipe: is_name(recipe.teacher)).map(Recipe.to_json),
    "test_accuracy": SHARES,
    "parity": st.dictionaries(WORDS, SHARES, max_size=2),
    "versions": st.dictionaries(WORDS, WORDS, max_size=2),
    "source": st.just({}) | st.fixed_dictionaries({"name": WORDS, "weights_sha256": HEX}),
}
SIDES = st.integers(1, 4096)
OF_IMAGES = {
    "height": SIDES,
    "width": SIDES,
    "channels": st.sampled_from((1, 3)),
    "resizing": st.sampled_from(RESIZINGS),
    "white": st.integers(1, WHITE),
}
OF_TABLES = {**dict.fromkeys(("height", "width", "channels"), st.just(0)), "columns": COLUMNS, "label_column": WORDS}
OF_PRECISIONS = {
    "precision": st.sampled_from([precision for precision in MODEL_FILES if precision != "float32"]),
    "quantization": st.dictionaries(WORDS, st.floats(-1e15, 1e15) | WORDS, max_size=2),
}
METADATA = st.one_of(
    st.builds(Metadata, **OF_ANY, **kind, **precision)
    for kind in (OF_IMAGES, OF_TABLES)
    for precision in ({}, OF_PRECISIONS)
)
PATHS = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?\.(onnx|json|png)", fullmatch=True)
MANIFESTS = st.builds(
    Manifest,
    metadata=METADATA,
    metrics=st.dictionaries(st.from_regex("loss_[a-z]{1,8}", fullmatch=True), st.floats(-1e15, 1e15), max_size=3),
    files=st.lists(
        st.builds(ExportedFile, PATHS, st.integers(0, 2**40), DIGESTS), max_size=3, unique_by=lambda f: f.path
    ).map(tuple),
    map_size=st.none() | st.tuples(SIDES, SIDES),
    licenses=st.dictionaries(WORDS, WORDS, max_size=3),
)


@law
@given(RECIPES)
def test_a_recipe_is_read_as_it_was_written(recipe):
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert Recipe().with_values({name: str(value) for name, value in asdict(recipe).items()}) == recipe, "as --set does"


@law
@given(PLANS)
def test_a_plan_is_read_as_it_was_written(plan):
    assert parse_plan(plan.to_json(), "here") == plan


@law
@given(METADATA)
def test_metadata_are_read_from_a_file_as_they_were_written(metadata):
    properties = metadata.to_properties()
    assert Metadata.from_properties(properties, "here") == metadata
    assert list(Metadata.from_properties(properties, "here").to_properties().items()) == list(properties.items())


@law
@given(MANIFESTS)
def test_a_manifest_is_read_as_it_was_written(manifest):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        assert read_manifest(Path(folder)) == manifest


@law
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | NUMBERS | st.text(st.characters()),  # lone surrogates, too
        lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_result_is_json_and_text(result):
    def plain(value):
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value

    text = to_json(result)
    assert text.encode("utf-8")
    if "\\ud" not in text:  # an escape of what is no text can't be told from one of text
        assert json.loads(text) == plain(result)


# --- splits ----------------------------------------------------------------------------------------------------------

LABELS = arrays(np.int64, st.integers(1, 120), elements=st.integers(0, 4))


def of_classes(labels):
    return np.bincount(labels, minlength=5)


@law
@given(LABELS, st.floats(0.01, 0.5))
def test_each_class_gives_its_share_and_nothing_is_lost(labels, share):
    stay, drawn = draw(labels, share)
    assert sorted([*stay, *drawn]) == list(range(len(labels)))
    there = of_classes(labels)
    expected = [max(1, round(images * share)) if images else 0 for images in there.tolist()]
    np.testing.assert_array_equal(of_classes(labels[drawn]), expected)
    np.testing.assert_array_equal(draw(labels, share)[1], drawn)


@law
@given(LABELS, st.floats(0.01, 0.5), st.data())
def test_what_belongs_together_is_never_parted(labels, share, data):
    units = data.draw(arrays(np.int64, len(labels), elements=st.integers(0, 20)))
    stay, drawn = draw(labels, share, units)
    assert sorted([*stay, *drawn]) == list(range(len(labels)))
    assert not set(units[stay]) & set(units[drawn])
    given_ = of_classes(labels[drawn])
    assert ((given_ > 0) == (of_classes(labels) > 0)).all(), "each class gives something"


@law
@given(LABELS)
def test_train_validation_and_test_share_no_image_and_leave_none_out(labels):
    names = tuple(map(str, range(len(labels))))
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    splits = draw_splits(Split(images, labels, names))
    assert sorted(name for split in splits for name in split.names) == sorted(names)
    for split in splits:
        np.testing.assert_array_equal(split.labels, labels[[int(name) for name in split.names]])


# --- intervals and tests ---------------------------------------------------------------------------------------------

TALLIES = st.tuples(st.integers(0, 400), st.integers(0, 400))
PAIRS = st.tuples(*[st.integers(0, 200)] * 4).filter(sum)  # both, only first, only second, neither
CLOSE = 1e-9


@law
@given(TALLIES.filter(sum), st.integers(2, 9))
def test_the_interval_of_a_share_contains_it_mirrors_it_and_shrinks(tally, times):
    correct, n = tally[0], sum(tally)
    low, high = wilson_interval(correct, n)
    assert 0 <= low <= correct / n + CLOSE
    assert correct / n - CLOSE <= high <= 1
    assert wilson_interval(n - correct, n) == pytest.approx((1 - high, 1 - low), abs=CLOSE)
    tighter = wilson_interval(times * correct, times * n)
    assert tighter[1] - tighter[0] < high - low
    surer = wilson_interval(correct, n, confidence=0.99)
    assert surer[0] <= low < high <= surer[1]


@law
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9), st.floats(-1e3, 1e3))
def test_the_interval_of_a_mean_contains_it_moves_with_it_and_shrinks(values, shift):
    low, high = mean_interval(values)
    assert low <= np.mean(values) <= high
    assert mean_interval([-value for value in values]) == pytest.approx((-high, -low), abs=CLOSE)
    assert mean_interval([value + shift for value in values]) == pytest.approx((low + shift, high + shift), abs=1e-6)
    tighter = mean_interval(values * 3)
    assert tighter[1] - tighter[0] <= high - low + CLOSE


@law
@given(PAIRS, st.integers(2, 9))
def test_the_interval_of_a_difference_contains_it_turns_with_it_and_shrinks(pair, times):
    both, first, second, neither = pair
    low, high = newcombe_interval(*pair)
    assert low - CLOSE <= (first - second) / sum(pair) <= high + CLOSE
    assert newcombe_interval(both, second, first, neither) == pytest.approx((-high, -low), abs=CLOSE)
    tighter = newcombe_interval(*(times * count for count in pair))
    assert tighter[1] - tighter[0] < high - low


@law
@given(TALLIES)
def test_mcnemars_test_takes_no_side_and_is_surer_the_more_one_sided_it_is(tally):
    first, second = tally
    p = mcnemar(first, second)
    assert 0 <= p <= 1
    assert mcnemar(second, first) == p
    assert mcnemar(first, first) == 1
    if 0 < first <= second:
        assert mcnemar(first - 1, second + 1) <= p


@law
@given(arrays(np.bool_, st.tuples(st.just(2), st.integers(1, 60))))
def test_two_models_that_change_places_change_the_sign(correct):
    one, other = paired_test(*correct), paired_test(*correct[::-1])
    assert (one.p, one.difference, one.only_first) == (other.p, -other.difference, other.only_second)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=CLOSE)


@law
@given(st.lists(SHARES, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_adjusted_p_are_no_smaller_in_the_same_order_and_whatever_the_order(p, random):
    adjusted = holm(p)
    assert all(one <= other <= 1 for one, other in zip(p, adjusted, strict=True))
    order = sorted(range(len(p)), key=p.__getitem__)
    assert [adjusted[k] for k in order] == sorted(adjusted)
    random.shuffle(order)
    assert holm([p[k] for k in order]) == pytest.approx([adjusted[k] for k in order])


@law
@given(arrays(np.int64, st.tuples(st.just(2), st.integers(1, 60)), elements=st.integers(0, 4)))
def test_a_confusion_matrix_holds_each_image_once(pair):
    truth, answer = pair
    found = confusion_matrix(truth, answer, 5)
    np.testing.assert_array_equal(found.sum(axis=1), of_classes(truth))
    np.testing.assert_array_equal(found.sum(axis=0), of_classes(answer))
    np.testing.assert_array_equal(confusion_matrix(answer, truth, 5), found.T)


# --- resizing --------------------------------------------------------------------------------------------------------

SHORT = st.integers(1, 24)
IMAGES = arrays(np.uint8, st.tuples(SHORT, SHORT, st.sampled_from((1, 3))))
HOW = st.sampled_from(RESIZINGS)


@law
@given(IMAGES, SHORT, SHORT)
def test_stretching_is_pillows(image, height, width):
    pillow = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    expected = np.asarray(pillow.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, -1)
    np.testing.assert_array_equal(resize(image, height, width), expected)


@law
@given(IMAGES, SHORT, SHORT, HOW)
def test_channels_are_resized_apart_and_stay_between_their_extremes(image, height, width, how):
    resized = resize(image, height, width, how)
    assert resized.shape == (height, width, image.shape[2])
    for channel in range(image.shape[2]):
        np.testing.assert_array_equal(resize(image[..., [channel]], height, width, how)[..., 0], resized[..., channel])
    _, place = matching_parts(*image.shape[:2], height, width, how)
    assert image.min() <= resized[place].min() <= resized[place].max() <= image.max()
    resized = resized.copy()
    resized[place] = 0
    assert not resized.any(), "margins are black"


@law
@given(SHORT, SHORT, SHORT, SHORT, HOW)
def test_a_crop_or_a_pad_is_whole_in_one_of_the_two_and_in_the_middle(rows, columns, height, width, how):
    seen, place = matching_parts(rows, columns, height, width, how)
    for part, whole in ((seen, (rows, columns)), (place, (height, width))):
        for side, length in zip(part, whole, strict=True):
            assert 0 <= side.start < side.stop <= length
            assert abs(side.start - (length - side.stop)) <= 1
    is_whole = [seen == (slice(0, rows), slice(0, columns)), place == (slice(0, height), slice(0, width))]
    assert is_whole[0] if how != "crop" else is_whole[1]
    assert resize(image := np.zeros((rows, columns, 1), np.uint8), rows, columns, how) is image
