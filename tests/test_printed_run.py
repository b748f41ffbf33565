"""The command that the page of exports prints for a model makes it again, whatever its data were read by."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.core.support.markdown import plain
from pipelines.publishing.catalog import read_shipped
from pipelines.publishing.command import run_command
from zoo.contract import CARD_FILE, MANIFEST_FILE, read_manifest

SHIPPED = Path(__file__).parent.parent / "exports" / "digits" / "softmax"


def printed(exports):
    (export,) = read_shipped(exports)
    return shlex.split(run_command(export))[1:]


@pytest.mark.slow
def test_the_command_that_is_printed_makes_the_same_run(store, capsys):
    """Slow: a whole run, and the printed command after it."""
    random = np.random.default_rng(1)
    (store / "path/to/pics/deep").mkdir(parents=True)
    with (store / "path/to/toys.csv").open("w", encoding="utf-8", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(("picture", "which one", "child"))
        for k in range(40):
            image = random.integers(0, 120, (9, 12), np.uint8)
            image[:, 6 * (k % 2) :][:, :6] += 90
            Image.fromarray(image).save(store / f"path/to/pics/deep/{k}.png")
            rows.writerow((f"deep/{k}.png", ("a b", "c")[k % 2], k // 2))
    data = ["--data", "path/to/toys.csv", "--label", "which one", "--images", "path/to/pics", "--groups", "child"]
    options = ["--size", "8x8", "--resize", "pad", "--name", "my toys", "--set", "epochs=2"]
    command = ["run", "softmax", *data, *options]
    assert main([*command, "--license", "MIT", "--data-license", "CC-BY-4.0 by us"]) == 0
    manifest = read_manifest(store / "exports/my toys/softmax")
    assert manifest.licenses["weights"] == "MIT"
    assert manifest.licenses["data"] == "CC-BY-4.0 by us"
    card = (store / "exports/my toys/softmax" / CARD_FILE).read_text(encoding="utf-8")
    assert f"| license of the data | {plain('CC-BY-4.0 by us')} |" in card
    assert str(store) not in card + manifest.to_json()
    capsys.readouterr()
    assert main(printed(Path("exports"))) == 0
    assert "already trained" in capsys.readouterr().err
    assert read_manifest(store / "exports/my toys/softmax").metadata.run_id == manifest.metadata.run_id


def test_a_license_of_known_data_is_not_stated_otherwise(store, capsys):
    assert main(["run", "softmax", "--data", "digits", "--data-license", "MIT"]) == 1
    assert "digits is a known data set, its license is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        ({}, ["--data", "digits"]),
        ({"data": "path/to/a b"}, ["--data", "path/to/a b"]),
        ({"size": "9x9"}, ["--data", "digits", "--size", "9x9"]),
        ({"follow-links": ""}, ["--data", "digits", "--follow-links"]),
        ({"exports": "/etc", "again": ""}, ["--data", "digits"]),  # no options of the data
    ],
)
def test_what_a_manifest_says_of_the_reading_is_in_the_command(tmp_path, reading, expected):
    folder = shutil.copytree(SHIPPED, tmp_path / "digits" / "softmax")
    found = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    (folder / MANIFEST_FILE).write_text(json.dumps({**found, "reading": reading}), encoding="utf-8")
    assert printed(tmp_path)[: 2 + len(expected)] == ["run", "softmax", *expected]
