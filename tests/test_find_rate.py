"""The learning rate range test: where a loss falls, what is suggested, and that nothing else happens."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.cli import arguments
from pipelines.cli.commands.train import rate_summary
from pipelines.cli.parser import make_parser
from pipelines.core.provenance.plan import Origin
from pipelines.training.loop.stages import Schedule
from pipelines.training.planning.find_rate import (
    HIGHEST,
    LOWEST,
    STEPS,
    _share_of_rate,
    find_rate,
    lowest_at,
    smoothed,
)
from pipelines.training.transfer.transfer import Transfer
from zoo.errors import RecipeError
from zoo.recipe import Recipe

EXPORTS = Path(__file__).parents[1] / "exports"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rates")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = {"precision": "float32", "batch_size": 64, "optimizer": "adamw", "augmentation": "none"}
        yield find_rate("softmax", "digits", settings=settings, plot=folder / "rate.png")


def test_rates_rise_evenly_until_the_loss_diverges(found):
    assert found.rates[0] == LOWEST
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(HIGHEST / LOWEST) / (STEPS - 1), rtol=1e-6)
    assert len(found.losses) == len(found.rates) <= STEPS
    assert found.losses[0] > 2, "of ten classes, guessed: ln 10"


def test_a_tenth_of_the_rate_of_the_lowest_loss_is_suggested(found):
    assert found.lowest == found.rates[int(np.argmin(found.losses))]
    assert found.rate == pytest.approx(found.lowest / 10, rel=0.05)
    assert 1e-4 < found.rate < 1


def test_it_leaves_a_plot_and_no_run(found):
    with Image.open(found.plot) as image:
        assert image.width > 500
    assert [path.name for path in found.plot.parent.iterdir()] == [found.plot.name]


@pytest.mark.parametrize(
    "asked",
    [
        "zoo train softmax --data digits",
        "zoo train softmax --data 'my images' --size 32x24 --set seed=2 --set warmup=0 --follow-links --patience 3",
        "zoo train softmax --data digits --from digits/softmax --resize crop",
    ],
)
def test_the_command_that_goes_on_is_the_one_that_asked(found, asked):
    options = make_parser().parse_args([*shlex.split(asked)[1:], "--find-rate", "--plot", "a.png"])
    words = arguments.given_to("zoo train", options, without=("find_rate", "plot", "json"))
    command = rate_summary(found, words).partition("next: ")[2]
    again = make_parser().parse_args(shlex.split(command)[1:])
    expected = {
        **vars(options),
        "find_rate": False,
        "plot": None,
        "set": [*options.set, f"learning_rate={found.rate:g}"],
    }
    ignored = {"command", "error"}
    assert {k: v for k, v in vars(again).items() if k not in ignored} == {
        k: v for k, v in expected.items() if k not in ignored
    }


def test_a_smoothed_loss_begins_at_the_loss_and_follows_it():
    assert smoothed([3.0]).tolist() == pytest.approx([3.0])
    np.testing.assert_allclose(smoothed([2.0] * 50), 2.0)
    assert smoothed([1.0] * 50 + [2.0] * 20)[-1] == pytest.approx(1.64, abs=0.05)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [([2, 1, 0.5, 4], 2), ([2, 1.99, 2, 3], None), ([2, 1, np.nan], 1), ([2, np.nan], None), ([2], None)],
)
def test_where_no_rate_helps_there_is_nothing_to_suggest(losses, expected):
    assert lowest_at(np.array(losses, float)) == expected


def test_what_cannot_learn_is_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="no recipe field is called 'rate'"):
        find_rate("softmax", "digits", settings={"rate": 1})
    assert not list(tmp_path.iterdir())


def test_what_all_layers_bear_is_told_as_the_rate_that_the_recipe_takes(tmp_path, monkeypatch):
    """Where layers are transferred, all of them learn at `fine_rate` times the recipe's rate."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZOO_EXPORTS", str(EXPORTS))
    found = find_rate("softmax", "digits", source="digits/softmax", settings={"fine_rate": 0.01})
    assert found.rate == pytest.approx(found.lowest / 10 / 0.01, rel=0.05)
    assert "a tenth of the rate with the lowest loss, divided by fine_rate=0.01" in rate_summary(found, ["zoo"])


PARTLY = Transfer(Origin("", "", ""), {"dense": ()}, (), of=2, parameters=1, channels=(1, 1))  # one layer is new
STAGES = {  # fields of the recipe, for layers that are transferred and new ones -> share of its rate to begin with
    "frozen first, then all": ({"frozen": 0.5}, 1),
    "all from the beginning": ({"frozen": 0}, 0.01),
    "the new ones alone": ({"frozen": 1}, 1),
    "the head from views, then all": ({"views": 1}, 0.01),
}


@pytest.mark.parametrize("case", STAGES)
def test_the_suggestion_is_for_the_stage_that_comes_first(case):
    settings, share = STAGES[case]
    recipe = Recipe().with_values({"fine_rate": 0.01, **settings})
    assert _share_of_rate(recipe, Schedule(10, 20, 1, 10), PARTLY) == pytest.approx(share)


def test_where_only_a_head_learns_there_is_no_rate_to_find():
    recipe = Recipe().with_values({"frozen": 1, "views": 1})
    with pytest.raises(RecipeError, match="only the head learns, and this test trains all layers: leave out --find-ra"):
        _share_of_rate(recipe, Schedule(10, 20, 1, 10), PARTLY)


@pytest.mark.parametrize("beside", ["--time 20m", "--plan plan.json", "--resume abc"])
def test_what_does_not_go_with_it_is_refused(beside, capsys):
    from pipelines.cli import main

    with pytest.raises(SystemExit) as exit_:
        main(["train", "softmax", "--data", "digits", "--find-rate", *beside.split()])
    assert exit_.value.code == 2
    assert "--find-rate requires a model and --data" in capsys.readouterr().err
