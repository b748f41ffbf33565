"""What a sweep may search, and recipes as files. No training."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image

from pipelines.cli.arguments import chosen_settings
from pipelines.cli.parser import make_parser
from pipelines.core.provenance.plan import make_plan
from pipelines.core.provenance.recipe_file import read_recipe, write_recipe
from pipelines.core.support.conditions import parse_number
from pipelines.search import plots
from pipelines.search.definition import Definition, check_same, define, parse_definition
from pipelines.search.objective import OBJECTIVES
from pipelines.search.result import MOST_CONFIRMED, pareto, spread_out
from pipelines.search.space import Choices, Range, holds, parse_dimension, parse_search, suggest
from pipelines.search.storage import import_optuna, opened
from pipelines.search.sweep import _study, _until, sweep
from pipelines.search.trials import Trial, importances
from pipelines.search.worker import Worker
from zoo.errors import MissingExtraError, QueryError, RecipeError, SweepError, ZooError
from zoo.recipe import Recipe

# --- spaces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("learning_rate=1e-4..1e-2:log", Range("learning_rate", 1e-4, 1e-2, log=True)),
        (" warmup = 0..0.3 ", Range("warmup", 0.0, 0.3)),
        ("epochs=5..20", Range("epochs", 5, 20)),
        ("batch_size=32..256:log", Range("batch_size", 32, 256, log=True)),
        ("augmentation=none,light,strong", Choices("augmentation", ("none", "light", "strong"))),
        ("patience=0, 3, 5", Choices("patience", (0, 3, 5))),
        ("mixup=0,0.2", Choices("mixup", (0.0, 0.2))),
        ("teacher=,../exports/digits/lenet5", Choices("teacher", ("", "../exports/digits/lenet5"))),
    ],
)
def test_a_space_is_read_as_the_type_of_its_field_and_written_so_that_it_reads_the_same(text, dimension):
    assert parse_dimension(text) == dimension == parse_dimension(str(dimension))
    assert {type(value) for value in getattr(dimension, "values", ())} <= {type(getattr(Recipe(), dimension.field))}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("learning_rat=1e-4..1e-2", "no recipe field is called 'learning_rat': did you mean learning_rate?"),
        ("learning_rate=1e-2..1e-4", "is inverted: write learning_rate=1e-4..1e-2"),
        ("learning_rate=1e-2..0.01:log", "is empty: state one value with --set learning_rate=0.01"),
        ("learning_rate=0..1", "learning_rate must be above 0 and below 100, received 0.0"),
        ("learning_rate=1..1000", "received 1000.0"),
        ("learning_rate=a..1", "learning_rate must be a number, received 'a'"),
        ("learning_rate=nan..1", "learning_rate must be above 0"),
        ("learning_rate=1e-4..", "learning_rate must be a number, received ''"),
        ("learning_rate=1e-4..1e-2:exp", "ends in 'exp', expected :log or nothing"),
        ("weight_decay=0..1:log", "can't be searched by factors from 0.0"),
        ("epochs=1.5..3", "epochs must be a whole number, received '1.5'"),
        ("epochs=0..3", "epochs must be 1 or more, received 0"),
        ("augmentation=none,lite", "augmentation must be one of none, mirror"),
        ("augmentation=none..strong", "augmentation must be one of none, mirror"),
        ("augmentation=light", "leaves nothing to search: state one value with --set augmentation=light"),
        ("augmentation=none,light,none", "names a value twice"),
        ("seed=1..50", "seed is not searched: the best of many seeds is luck"),
        ("images=train,all", "images is not searched: trials are judged by validation images"),
        ("learning_rate", "--search takes a field with a range"),
        ("learning_rate=", "--search takes a field with a range"),
        ("=1..2", "--search takes a field with a range"),
        ("", "--search takes a field with a range"),
    ],
)
def test_what_can_not_be_searched_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(RecipeError) as caught:
        parse_dimension(text)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("family", ["dense", "conv", "hybrid"])
@pytest.mark.parametrize(("table", "pretrained"), [(False, False), (True, False), (False, True)])
def test_each_kind_of_model_has_a_default_space(family, table, pretrained):
    found = parse_search(["default"], family=family, table=table, pretrained=pretrained)
    assert {"learning_rate", "weight_decay"} < {each.field for each in found}
    assert ("fine_rate" in {each.field for each in found}) is pretrained
    own = parse_search(["default", "weight_decay=0.1,0.2"], family=family, table=table, pretrained=pretrained)
    assert {each.field for each in own} == {each.field for each in found}
    assert Choices("weight_decay", (0.1, 0.2)) in own


def test_a_field_is_searched_once():
    with pytest.raises(RecipeError, match="names epochs twice"):
        parse_search(["epochs=1..3", "epochs=2,4"], family="conv", table=False, pretrained=False)


def test_optuna_suggests_what_a_space_holds():
    space = [parse_dimension(each) for each in ("epochs=2..9:log", "warmup=0..0.3", "optimizer=adamw,muon")]
    study = import_optuna().create_study()
    for _ in range(20):
        values = suggest(space, study.ask())
        assert holds(space, Recipe().with_values(values))
        assert [type(value) for value in values.values()] == [int, float, str]
    assert not holds(space, Recipe(epochs=10, warmup=0.1))


# --- what a sweep is -------------------------------------------------------------------------------------------------

SEARCH = ["learning_rate=1e-3..1:log", "augmentation=none,light"]


def defined(**changes) -> Definition:
    request = {"models": ["softmax"], "data": "digits", "search": SEARCH, "settings": None, "source": None}
    request |= {"sampler": "tpe", "pruner": "median", "objectives": ["accuracy"], "where": [], "reading": {}}
    return define(**{**request, **changes})


def test_a_sweep_is_read_from_the_storage_as_it_was_written_there():
    here = defined(objectives=["accuracy", "parameters"], pruner="none", where=["parameters<100k"])
    again = parse_definition(here.to_json())
    assert again == here
    check_same("first", again, here)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"models": ["mlp-small"]}, "is one of softmax, not mlp-small"),
        ({"search": SEARCH[:1]}, "searches learning_rate=0.001..1.0:log, augmentation=none,light, not learning_rate="),
        ({"settings": {"epochs": 3}}, "was started with other recipes"),
        ({"reading": {"size": (4, 4)}}, "was started with other images or rows"),
        ({"sampler": "random"}, "uses accuracy, sampler tpe, pruner median, not accuracy, sampler random"),
        (
            {"where": ["parameters<1k"]},
            "uses accuracy, sampler tpe, pruner median, not accuracy where parameters<1k",
        ),
    ],
)
def test_another_sweep_is_not_gone_on_with_under_the_same_name(changes, sentence):
    with pytest.raises(SweepError) as caught:
        check_same("first", defined(), defined(**changes))
    assert f"sweep 'first' {sentence}" in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"code": ("f" * 64,)}, "the code that trains has changed since sweep 'first' was started"),
        ({"versions": {"keras": "3.99"}}, "was started with keras 3.99"),
        ({"data_digest": "0" * 64}, "was started with other images or rows (digest 000000000000"),
    ],
)
def test_a_worker_that_would_train_something_else_is_refused(changed, sentence):
    with pytest.raises(SweepError) as caught:
        check_same("first", replace(defined(), **changed), defined())
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"settings": {"learning_rate": 0.1}}, "learning_rate is stated by --set and searched by --search"),
        (
            {"settings": {"images": "all"}},
            "images=all leaves softmax no images to compare trials on: --set images=train",
        ),
        ({"search": ["frozen=0..1"]}, "frozen has no effect on softmax, which is trained from scratch"),
        ({"models": ["softmax", "softmax"]}, "a model is named twice"),
        ({"models": ["softmaks"]}, "did you mean softmax?"),
        ({"sampler": "tpee"}, "no sampler is called 'tpee': did you mean tpe?"),
        ({"pruner": "mediann"}, "no pruner is called 'mediann': did you mean median?"),
        ({"objectives": ["acuracy"]}, "no objective is called 'acuracy': did you mean accuracy?"),
        ({"objectives": ["accuracy", "size"]}, "trials are pruned by their accuracy alone"),
        ({"objectives": ["latency"]}, "trials are pruned by their accuracy alone: leave out --pruner median, or"),
        ({"objectives": ["size", "size"]}, "once at most"),
        ({"where": ["sise<1MB"]}, "no objective is called 'sise': did you mean size?"),
        ({"where": ["size<small"]}, "expected a number such as 100000"),
        ({"where": ["size"]}, "a condition is a field"),
    ],
)
def test_a_sweep_that_can_not_be_is_refused_before_anything_is_trained(changes, sentence):
    with pytest.raises(ZooError) as caught:
        defined(**changes)
    assert sentence in str(caught.value)


def test_who_searches_the_epochs_gets_them():
    plan = defined(search=["epochs=2..5"]).plan_of("softmax", {"epochs": 3})
    assert (plan.recipe.epochs, plan.recipe.least_updates) == (3, 0)
    assert plan == make_plan("softmax", "digits", settings={"epochs": 3})


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"plans": []}', "nan", "[" * 100_000, '{"plans": ["{}"], "spaces": [[]]}']
)
def test_what_somebody_else_wrote_into_the_storage_is_no_sweep(text):
    with pytest.raises(SweepError, match="the storage holds no sweep that can be read here"):
        parse_definition(text)


# --- the storage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://localhost", "expected sqlite:///FILE, or for several machines postgresql://"),
        ("sqlite://", "expected sqlite:///FILE"),
        ("sqlite:///:memory:", "expected sqlite:///FILE"),
        ("sweeps.db", "expected sqlite:///FILE"),
        ("sqlite:///{folder}/none.txt/sweeps.db", "can't be used: unable to open database file"),
        ("sqlite:///{folder}/none.txt", "can't be used: file is not a database"),
        ("postgresql+nothing://u:secret@127.0.0.1:1/sweeps", "the storage postgresql+nothing://127.0.0.1:1/sweeps"),
    ],
)
def test_a_storage_that_can_not_be_used_is_a_sentence_without_a_password(url, sentence, tmp_path):
    (tmp_path / "none.txt").write_text("no database " * 100)
    with pytest.raises(SweepError) as caught, opened(url.format(folder=tmp_path)):
        raise AssertionError("it was opened")
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_storage_of_another_version_says_what_to_do(tmp_path):
    url = f"sqlite:///{tmp_path}/sweeps.db"
    with opened(url):
        pass
    with closing(sqlite3.connect(tmp_path / "sweeps.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'v9.9.9.a'")
        database.execute("UPDATE version_info SET schema_version = 99")
    with pytest.raises(SweepError, match="was written by another version of Optuna"), opened(url):
        pass


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"models": ["softmax"]}, "a sweep needs models and --data, or --join NAME"),
        ({"models": ["softmax"], "data": "digits"}, "a sweep needs an end: give --trials N, --time TIME, or both"),
        ({"models": ["softmax"], "data": "digits", "trials": 0}, "--trials must be above 0, received 0"),
        ({"models": ["softmax"], "data": "digits", "trials": 1, "seeds": 0}, "--seeds must be above 0, received 0"),
        ({"join": "first", "time": 0.0}, "--time must be above 0, received 0.0"),
        ({"join": "first", "trials": 3}, "a sweep is joined with its own options"),
        ({"join": "first", "size": (4, 4)}, "a sweep is joined with its own options"),
        ({"join": "first", "sampler": "random"}, "a sweep is joined with its own options"),
        ({"join": "first"}, "no sweep is called 'first' there: there are none yet"),
        ({"models": ["softmax"], "data": "digits", "trials": 1, "sweep_name": "../x"}, "can't be called '../x'"),
    ],
)
def test_a_request_that_lacks_something_says_what(request_, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SweepError) as caught:
        sweep(**request_)
    assert sentence in str(caught.value)


def test_who_stops_for_the_time_says_how_long_it_was(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("pipelines.search.sweep.clock", SimpleNamespace(monotonic=lambda: now[0]))
    over, never = _until(3600), _until(None)
    assert over() == never() == ""
    now[0] += 3601
    assert (over(), never()) == ("the time limit of 1h is up", "")


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"optuna is not installed: pip install '.*\[sweep\]'"):
        import_optuna.__wrapped__()


# --- objectives ------------------------------------------------------------------------------------------------------


def judged(number: int, accuracy: float, size: float) -> Trial:
    measured = {"accuracy": accuracy, "size": size}
    return Trial(number, "softmax", {}, "finished", accuracy, measured, 1, 1.0, "", "", None)


def test_the_front_is_what_no_other_beats():
    found = [judged(*each) for each in ((0, 0.9, 100), (1, 0.8, 50), (2, 0.8, 60), (3, 0.95, 300), (4, 0.9, 100))]
    assert [each.number for each in pareto(found, ["accuracy", "size"])] == [0, 1, 3]
    assert [each.number for each in pareto(found, ["accuracy"])] == [3]
    assert [each.number for each in pareto([], ["accuracy"])] == []
    assert set(OBJECTIVES) >= {"accuracy", "parameters", "size", "latency"}


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # rather than by a sweep, which has one
def test_the_sampler_hears_which_trials_do_not_fulfill_a_condition(tmp_path):
    where = ("size<100",)
    definition = Definition(
        (make_plan("softmax", "digits"),), ((parse_dimension("epochs=2..9"),),), "", "", (), {}, "tpe", "none",
        ("accuracy", "size"), where,
    )  # fmt: skip
    with opened(f"sqlite:///{tmp_path}/sweeps.db") as storage:
        study = _study("costed", storage, definition)
        worker = Worker(study, "costed", definition, "", lambda: "")
        for size in (50, 150):
            trial = study.ask()
            study.tell(trial, worker._note(trial, {"accuracy": 0.9, "size": size}, 1, ""))
        assert [list(each.constraints.values()) for each in study.get_trials()] == [[0.0], [1.0]]


def test_of_a_long_front_the_ends_and_some_between_them_are_trained_again():
    def again(count: int) -> list[int]:
        front = [judged(number, 1 - number / 100, 1000 - number) for number in range(count)]
        return [each.number for each in spread_out(front[::-1], ["accuracy", "size"])]

    assert MOST_CONFIRMED == 5
    assert [again(count) for count in (1, 2, 5)] == [[0], [0, 1], [0, 1, 2, 3, 4]]
    assert again(7) == [0, 2, 3, 4, 6]
    assert again(41) == [0, 10, 20, 30, 40]


def test_a_sweep_is_drawn_with_words_for_who_does_not_see_it(tmp_path):
    space = [parse_dimension(each) for each in ("learning_rate=1e-4..1e-1:log", "optimizer=adamw,muon", "epochs=2..9")]
    study = import_optuna().create_study(direction="maximize", sampler=import_optuna().samplers.RandomSampler(seed=1))
    found = []
    for number in range(12):
        asked = study.ask()
        values = suggest(space, asked)
        accuracy = 0.9 + values["epochs"] / 100
        study.tell(asked, accuracy)
        found.append(replace(judged(number, accuracy, 1000 * values["epochs"]), values=values))
    shares = importances(study)
    assert max(shares, key=shares.get) == "epochs"
    assert sum(shares.values()) == pytest.approx(1)
    texts = [
        plots.history(tmp_path / "history.png", found),
        plots.importance(tmp_path / "importance.png", shares),
        plots.parallel(tmp_path / "parallel.png", found, [*space, parse_dimension("mixup=0..0.5")]),  # of another model
        plots.front(
            tmp_path / "front.png", found, [each.number for each in pareto(found, ["accuracy"])], "size", "accuracy"
        ),
    ]
    best = max(each.accuracy for each in found)
    assert f"the best came to {best:.2%}" in texts[0]
    assert texts[1].startswith("epochs: ")
    assert "epochs=" in texts[2]
    assert f"accuracy {best:g}" in texts[3]
    for each in tmp_path.glob("*.png"):
        with Image.open(each) as image:
            assert len(image.convert("RGB").getcolors(1_000_000)) > 20, "something is drawn"
    assert importances(import_optuna().create_study()) == {}, "of no trials nothing is known"


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_what_matters_is_what_makes_trials_good_and_not_what_makes_them_bad(direction):
    study = import_optuna().create_study(direction=direction, sampler=import_optuna().samplers.RandomSampler(seed=1))
    sign = 1 if direction == "maximize" else -1
    for number in range(100):
        asked = study.ask()
        rate, broken = (
            asked.suggest_float("rate", 0, 1),
            asked.suggest_categorical("broken", (False, True)) and number % 2,
        )
        study.tell(asked, sign * (0.1 if broken else 0.5 + rate))
    shares = importances(study)
    assert shares["rate"] > shares["broken"], "the best have a high rate; all of the worst are broken"
    alike = import_optuna().create_study(sampler=import_optuna().samplers.RandomSampler(seed=1))
    for _ in range(10):
        asked = alike.ask()
        asked.suggest_float("rate", 0, 1)
        alike.tell(asked, 1.0)
    assert importances(alike) == {}


@pytest.mark.parametrize(("text", "number"), [("1MB", 1e6), ("500kB", 5e5), ("1.5 M", 1.5e6), ("93%", 0.93), ("7", 7)])
def test_sizes_in_conditions_may_be_written_in_bytes(text, number):
    assert parse_number(text, "size<…") == number
    for wrong in ("1XB", "B", "1%%"):
        with pytest.raises(QueryError):
            parse_number(wrong, "size<…")


# --- documentation ---------------------------------------------------------------------------------------------------


def test_what_the_page_says_to_start_workers_with_is_read_by_those_who_read_it():
    page = (Path(__file__).parents[1] / "docs" / "sweep.md").read_text(encoding="utf-8")
    (script,) = (block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "#SBATCH" in block)
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False).stderr == ""
    (job,) = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    for line in (script.splitlines()[-1], container["command"][-1]):
        assert make_parser().parse_args(shlex.split(line)[1:]).join == "photos"


@pytest.mark.parametrize(
    ("entry", "given", "expected"),
    [
        (
            "main",
            {"model": "conv-small", "data": "my photos"},
            {"models": ["conv-small"], "data": "my photos", "seeds": 1},
        ),
        (
            "sweep",
            {"model": "conv-small", "data": "digits", "search": "learning_rate=1e-4..1e-2:log"},
            {"models": ["conv-small"], "search": ["learning_rate=1e-4..1e-2:log"], "trials": 40, "seeds": 3},
        ),
        ("join", {"sweep": "photos", "storage": "sqlite:///x.db"}, {"join": "photos", "storage": "sqlite:///x.db"}),
    ],
)
def test_mlflow_reads_the_project_and_its_commands_are_ours(entry, given, expected, tmp_path):
    from mlflow.projects._project_spec import load_project

    project = load_project(str(Path(__file__).parents[1]))
    command = project.get_entry_point(entry).compute_command(given, str(tmp_path))
    options = make_parser().parse_args(shlex.split(command)[1:])
    assert {name: getattr(options, name) for name in expected} == expected


# --- recipes as files ------------------------------------------------------------------------------------------------


def test_a_recipe_is_read_as_it_was_written(tmp_path):
    recipe = Recipe(epochs=7, learning_rate=0.123456789, augmentation="strong")
    write_recipe(recipe, tmp_path / "best.json")
    assert Recipe(**read_recipe(tmp_path / "best.json")) == recipe
    (tmp_path / "part.json").write_text('{"epochs": 3, "warmup": 0}')
    assert read_recipe(tmp_path / "part.json") == {"epochs": 3, "warmup": 0.0}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "doesn't exist"),
        ("", "can't be read as JSON"),
        ("{", "can't be read as JSON"),
        ('{"epochs": NaN}', "can't be read as JSON"),
        ("[" * 100_000, "can't be read as JSON"),
        ("[]", "holds no recipe"),
        ("{}", "holds no recipe"),
        ('{"epoch": 3}', "no recipe field is called 'epoch': did you mean epochs?"),
        ('{"epochs": 0}', "epochs must be 1 or more, received 0"),
        ('{"epochs": [3]}', "epochs must be a whole number"),
        ('{"augmentation": {"a": 1}}', "augmentation must be text"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_by_its_name(text, sentence, tmp_path):
    file = tmp_path / "best.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        read_recipe(file)
    assert str(caught.value).startswith(str(file))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("words", "epochs", "least_updates", "patience"),
    [
        ([], 40, 2000, 0),
        (["--set", "epochs=5"], 5, 0, 0),  # who names the epochs gets them
        (["--set", "least_updates=9"], 40, 9, 0),
        (["--patience", "3"], 40, 2000, 3),
    ],
)
def test_options_beside_a_recipe_file_mean_what_they_do_without_it(tmp_path, words, epochs, least_updates, patience):
    recipe = Recipe(epochs=40, least_updates=2000, learning_rate=0.5)
    file = tmp_path / "best.json"
    write_recipe(recipe, file)
    options = make_parser().parse_args(["train", "softmax", "--data", "digits", "--recipe-file", str(file), *words])
    found = make_plan("softmax", "digits", settings=chosen_settings(options)).recipe
    assert (found.epochs, found.least_updates, found.patience) == (epochs, least_updates, patience)
    assert found.learning_rate == 0.5


def test_a_time_beside_a_recipe_file_decides_the_epochs(tmp_path):
    file = tmp_path / "best.json"
    write_recipe(Recipe(epochs=40), file)
    options = make_parser().parse_args(
        ["train", "softmax", "--data", "digits", "--recipe-file", str(file), "--time", "20m"]
    )
    assert not {"epochs", "least_updates"} & chosen_settings(options).keys()


def test_train_takes_a_recipe_file_and_set_changes_it(tmp_path):
    file = tmp_path / "best.json"
    file.write_text(json.dumps({"epochs": 7, "warmup": 0.2}))
    words = ["train", "softmax", "--data", "digits", "--recipe-file", str(file), "--set", "epochs=2"]
    assert chosen_settings(make_parser().parse_args(words)) == {"epochs": "2", "warmup": 0.2}
    words[words.index("--recipe-file")] = "--recipe"  # the beginning of an option will do
    assert chosen_settings(make_parser().parse_args(words)) == {"epochs": "2", "warmup": 0.2}
