"""What the plans of a sweep leave to search, and that their teachers stay the same files. No training."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.core.provenance.plan import Origin, Plan, make_plan
from pipelines.search.definition import Definition, _space, as_begun, as_here, check_same, define, parse_definition
from pipelines.search.idle import idle_fields
from pipelines.search.space import parse_dimension
from pipelines.training.planning.choosing import plan_for
from zoo.errors import ExportError, RecipeError, SweepError

ROOT = Path(__file__).parents[1]


def defined(**changes) -> Definition:
    request = {"models": ["softmax"], "data": "digits", "search": ["default"], "settings": None, "source": None}
    request |= {"sampler": "tpe", "pruner": "median", "objectives": ["accuracy"], "where": [], "reading": {}}
    return define(**{**request, **changes})


# --- fields that have no part ----------------------------------------------------------------------------------------


def pretrained(**settings) -> Plan:
    """One that starts from features alone, as those of ImageNet are, which nobody reads here."""
    return make_plan("conv-tiny", "digits", settings=settings, source=Origin("imagenet/x", "imagenet/x", "0" * 64))


HEAD_ALONE = {"frozen": 1, "views": 4}
OF_EPOCHS = "epochs least_updates batch_size weight_decay patience average mixup cutmix teacher teacher_share fine_rate"


@pytest.mark.parametrize(
    ("settings", "search", "idle"),
    [
        ({"frozen": 0.2, "teacher": "x"}, [], ""),
        ({"frozen": 0.2}, [], "teacher_share"),
        ({"frozen": 0.2}, ["teacher=,x"], ""),
        ({"frozen": 1, "teacher": "x"}, [], "fine_rate"),
        ({"frozen": 0.2, "views": 4, "teacher": "x"}, [], "frozen"),
        ({"views": 4, "teacher": "x"}, ["frozen=0.0..1.0"], "frozen"),
        ({"views": 4, "teacher": "x"}, ["frozen=0,1"], ""),
        ({"frozen": 0.2, "teacher": "x"}, ["views=0,4"], ""),
        (HEAD_ALONE, [], f"frozen {OF_EPOCHS}"),
        ({"frozen": 1}, ["views=1..8"], f"frozen {OF_EPOCHS}"),
        ({"frozen": 1, "teacher": "x"}, ["views=0..8"], "fine_rate"),
        ({"frozen": 1, "views": 1}, [], f"frozen {OF_EPOCHS} augmentation mirrored rotation scale degrade"),
    ],
)
def test_what_has_no_part_in_a_training_from_features_is_known(settings, search, idle):
    assert set(idle_fields(pretrained(**settings), [parse_dimension(each) for each in search])) == set(idle.split())


@pytest.mark.parametrize(
    ("settings", "search", "left"),
    [
        ({}, ["default"], ["learning_rate", "weight_decay", "fine_rate", "augmentation"]),
        (HEAD_ALONE, ["default"], ["learning_rate", "augmentation"]),
        (HEAD_ALONE, ["default", "label_smoothing=0..0.2"], ["label_smoothing", "learning_rate", "augmentation"]),
        ({"frozen": 1, "views": 1}, ["default"], ["learning_rate"]),
    ],
)
def test_of_the_default_space_what_has_no_part_is_left_out(settings, search, left):
    assert [each.field for each in _space(pretrained(**settings), search, {})] == left


def test_a_space_of_which_nothing_has_a_part_is_refused():
    settings = {"frozen": 1, "views": 1, "learning_rate": 0.01}
    with pytest.raises(RecipeError, match="there is nothing to search for conv-tiny: name a field with --search"):
        _space(pretrained(**settings), ["default"], settings)


@pytest.mark.parametrize(
    ("settings", "search", "sentence"),
    [
        (HEAD_ALONE, "weight_decay=0.01,0.1", "of which the head alone is trained: set frozen below 1"),
        ({"frozen": 1, "views": 1}, "augmentation=none,light", "whose head learns from each image as it is: set views"),
        ({"frozen": 1}, "fine_rate=0.1..1", "whose pretrained layers stay frozen: set frozen below 1"),
        ({"views": 4}, "frozen=0.1..0.5", "which learns from views: set views=0, or give choices for frozen of which"),
        ({}, "teacher_share=0.5..1", "which has no teacher: add --set teacher=EXPORT"),
    ],
)
def test_a_named_field_that_has_no_part_is_refused(settings, search, sentence):
    with pytest.raises(SweepError) as caught:
        _space(pretrained(**settings), ["default", search], {})
    assert str(caught.value).startswith(f"{search.partition('=')[0]} has no effect on conv-tiny, {sentence}")


@pytest.mark.parametrize(
    "search", ["augmentation=none,light", "mixup=0..0.4", "normalize=none,image", "mirrored=yes,no"]
)
def test_the_rows_of_a_table_are_not_searched_as_images_are(search, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("width,kind\n" + "".join(f"{k},{'ab'[k % 2]}\n" for k in range(40)), encoding="utf-8")
    of_table = {"models": ["mlp-small"], "data": str(table), "reading": {"label": "kind"}}
    with pytest.raises(SweepError, match="has no effect on mlp-small, which learns the rows of a table as they are"):
        defined(**of_table, search=[search])
    (found,) = defined(**of_table, search=["default"]).spaces
    assert [each.field for each in found] == ["learning_rate", "weight_decay", "label_smoothing"]


@pytest.mark.slow  # it loads TensorFlow
def test_where_no_layer_is_new_nothing_stays_frozen_and_all_has_a_part(monkeypatch):
    """Of the same classes: whatever the recipe says of views, all layers learn for all epochs."""
    monkeypatch.setenv("ZOO_EXPORTS", str(ROOT / "exports"))
    plan = plan_for("conv-tiny", "digits", settings=HEAD_ALONE, source="digits/conv-tiny")
    assert not {"weight_decay", "fine_rate", "epochs"} & idle_fields(plan, ()).keys()


def test_a_sweep_that_was_begun_with_such_fields_goes_on_with_them():
    here = defined(search=["learning_rate=1e-3..1:log"])
    (own,) = here.spaces
    before = replace(here, spaces=((*own, parse_dimension("teacher_share=0.5..0.9")),))
    assert as_begun(before, here) == before
    check_same("first", before, as_begun(before, here))
    other = replace(here, spaces=((*own, parse_dimension("warmup=0..0.3")),))
    with pytest.raises(SweepError, match="sweep 'first' searches"):
        check_same("first", other, as_begun(other, here))


# --- teachers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def teachers(tmp_path, monkeypatch) -> Path:
    """A folder of exports, of which two may be teachers."""
    monkeypatch.setenv("ZOO_EXPORTS", str(tmp_path))
    for model in ("softmax", "mlp-small"):
        shutil.copytree(ROOT / "exports/digits" / model, tmp_path / "digits" / model)
    return tmp_path / "digits"


DISTILLED = [{"settings": {"teacher": "digits/softmax"}}, {"search": ["teacher=,digits/softmax"]}]


@pytest.mark.parametrize("changes", DISTILLED)
def test_a_sweep_whose_teacher_is_another_file_by_now_is_not_gone_on_with(teachers, changes):
    kept = parse_definition(defined(**changes).to_json())
    check_same("first", kept, defined(**changes))
    shutil.copy(teachers / "mlp-small/model.onnx", teachers / "softmax/model.onnx")
    for here in (defined(**changes), as_here(kept, None)):
        with pytest.raises(SweepError) as caught:
            check_same("first", kept, here)
        then, now = kept.teachers["digits/softmax"], here.teachers["digits/softmax"]
        assert str(caught.value) == (
            "sweep 'first' was started with another file of its teacher digits/softmax "
            f"(SHA-256 {then[:12]}, here {now[:12]}): restore it, or start another sweep"
        )


def test_a_sweep_that_is_older_than_the_record_of_teachers_goes_on(teachers):
    here = defined(**DISTILLED[0])
    found = json.loads(here.to_json())
    del found["teachers"]
    kept = parse_definition(json.dumps(found))
    shutil.copy(teachers / "mlp-small/model.onnx", teachers / "softmax/model.onnx")
    check_same("first", kept, here)
    check_same("first", kept, as_here(kept, None))


def test_a_teacher_that_is_not_there_is_missed_before_anything_is_trained(teachers):
    with pytest.raises(ExportError, match=r"digits/softmaks.* did you mean digits/softmax"):
        defined(search=["teacher=,digits/softmaks"])
