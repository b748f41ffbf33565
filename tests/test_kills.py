"""Every command that writes may be killed at any moment: nothing is lost or half there, and it can be repeated."""

from __future__ import annotations

import shutil
from pathlib import Path

import kills
import pytest

from pipelines.cli.parser import make_parser
from pipelines.cli.registry import commands
from pipelines.evaluation.evaluate import evaluate
from pipelines.exporting.export import export
from pipelines.training.train import train

SHIPPED = Path(__file__).parent.parent / "exports" / "digits"


@pytest.fixture(scope="module")
def work(shared_store):
    """A folder with shipped exports and a run that was exported, and that run."""
    for name in ("softmax", "conv-tiny"):
        shutil.copytree(SHIPPED / name, shared_store / "exports/digits" / name)
    for label in ("one", "two"):
        shutil.copytree(SHIPPED / "softmax" / "samples", shared_store / "images" / label)
    run = train(kills.MODEL, "digits", settings={"epochs": 24, "precision": "float32"}).run
    evaluate(run)
    export(run)
    return shared_store, run


# Commands that write nothing, and those whose writing is a part of another's, or is killed by another test.
OTHERS = {"list", "data list", "describe", "verify", "placement", "runs", "ui"} | {
    "train": "test_interrupted",
    "reproduce": "as train",
    "sync": "test_outbox",
    "demote": "as promote",
    "benchmark": "a plot alone, as compare",
    "study": "its record is one file, by atomic_file",
    "sweep": "test_sweep",
}.keys()


def test_the_commands_that_are_killed_or_not_are_those_that_there_are():
    """Who adds a command that writes adds it to kills.py, too (CONTRIBUTING.md); one that only reads needs no line."""
    make_parser()
    assert OTHERS | {name.partition("/")[0] for name in kills.COMMANDS} <= {each.name for each in commands()}


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_two_hundred_commands_killed_at_random_moments_lose_nothing(work):
    """Each kill is looked at, and the command repeated, which takes some seconds: half an hour."""
    folder, run = work
    names = list(kills.COMMANDS)
    faster = kills.killed_at_random(folder, run, names, kills=204, seed=22)
    assert faster < 100, "they were to be killed"
