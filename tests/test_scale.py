"""What docs/scale.md computes is what `benchmarks/scale.py` computes, and what it concludes follows. No training."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import scale

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "scale.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", scale.TABLES)
def test_each_table_of_the_page_is_computed_again(name):
    assert f"\n{scale.TABLES[name]()}\n" in PAGE


def test_what_was_measured_is_on_the_page_that_it_comes_from():
    bulk, data, training = ((DOCS / f"{page}.md").read_text(encoding="utf-8") for page in ("bulk", "data", "training"))
    small, large, check = scale.WORK.values()
    assert f"| {small} µs |" in bulk
    assert f"| {large} µs |" in bulk
    assert f"| {1e6 / check:.0f} (0.37) |" in data
    assert f"`{scale.OF}` trains on {scale.RATE:,} images per second" in training


def cells(table: str, model: str) -> list[str]:
    (row,) = (line for line in scale.TABLES[table]().splitlines() if line.startswith(f"| {model} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def share(table: str, model: str, column: int) -> int:
    return int(cells(table, model)[column].removesuffix("%"))


def test_the_conclusions_on_one_training_follow_from_the_tables():
    names = [each.name for each in scale.shipped()]
    dense = [each.name for each in scale.shipped() if each.family == "dense" and each.name != "mlp-mixer-tiny"]
    assert all(share("Efficiency", name, column) < 10 for name in dense for column in (2, 5)), "they send more"
    on_gpu = {name: share("Efficiency", name, 5) for name in names}
    assert max(on_gpu.values()) < 80
    assert max(on_gpu, key=on_gpu.get) == "wide-resnet-small"
    assert f"{scale.multiply_accumulates('wide-resnet-small') / 1e6:.0f} million multiply-accumulates" in PAGE
    assert f"gains at most {2 * share('Efficiency', 'conv-small', 2) / 100:.1f} times" in PAGE
    assert cells("Efficiency", "conv-small")[-1] == "0.59 s"
    assert (224 / 28) ** 2 == 64


def test_workers_with_equal_trials_wait_only_for_what_does_not_divide():
    one = scale.LENGTHS["equal"]
    assert scale.idle_share(one, 10, 20) == 0
    assert scale.idle_share(one, 10, 21) == pytest.approx(1 - 21 / 30)
    assert scale.idle_share(one, 10, 1) == pytest.approx(0.9)


def test_pruning_saves_as_much_as_the_page_says():
    chance, length = random.Random(0), scale.LENGTHS["two of three pruned"]
    mean = sum(length(chance) for _ in range(100_000)) / 100_000
    assert mean == pytest.approx(1 / 3 + 2 / 3 * 0.35, abs=0.005)
    assert f"{1 - mean:.0%}" in PAGE
