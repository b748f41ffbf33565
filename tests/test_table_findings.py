"""What the check of a table finds is said before a training and in the card, and where one class has far more rows than
another, balanced accuracy and macro F1 stand beside accuracy: as for images."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.cli import main
from pipelines.core.provenance.reading import read_data
from zoo.contract import read_manifest

FINDINGS = (
    "column 'country' is 'Peru' in every row: it carries no information, remove it",
    "column 'height' has no value in 1 row of 330: the median is used",
    "class 'yes' has 10.0 times the rows of 'no': add some, or sample classes equally with --set balance=classes",
)


@pytest.mark.slow  # a whole run
def test_what_is_found_in_a_table_is_said_before_a_training_and_in_the_card(store, capsys, monkeypatch):
    random = np.random.default_rng(3)
    rows = [("no" if k % 11 == 0 else "yes", random.normal(2 * (k % 11 == 0))) for k in range(330)]
    lines = [f"{value:.4f},Peru,{label}" for label, value in rows]
    (store / "people.csv").write_text("\n".join(["height,country,label", *lines[:-1], ",Peru,yes"]), encoding="utf-8")
    monkeypatch.setenv("COLUMNS", "200")
    read_data.cache_clear()
    assert main(["run", "softmax", "--data", "people.csv", "--label", "label", "--set", "epochs=1"]) == 0
    out, err = capsys.readouterr()
    card = (store / "exports/people/softmax/README.md").read_text(encoding="utf-8")
    for finding in FINDINGS:
        assert err.count(f"zoo: warning: people: {finding}") == 1
        assert err.index(finding) < err.index("training on people")
        assert f"- {finding}" in card.partition("## The data")[2].replace("\\", "")
    metrics = read_manifest(store / "exports/people/softmax").metrics
    shown = [f"{metrics[name]:.2%}" for name in ("test_balanced_accuracy", "test_macro_f1")]
    (line,) = (line for line in out.splitlines() if "softmax" in line and "kB" in line)
    assert line.split()[-4:-2] == shown, "before calibration error and size of sets"
    assert f"| balanced accuracy | {shown[0]} |" in card
    assert f"| macro F1 | {shown[1]} |" in card
    assert main(["verify", "exports/people/softmax", "--data", "people.csv"]) == 0
