"""The goals for accuracy and speed, each with where it stands now: measured by one command a row, and kept.

    PYTHONPATH=. python benchmarks/goals.py [--only memory,list] [--torch-python PATH] [--results FOLDER]

A row that the folder of results (benchmarks/results) holds isn't measured again: an interrupted run goes on, and who
wants a row anew removes its file. --only measures some rows alone; the table shows all that were ever measured. A row
of an accuracy is read from the exports, which hold it. The table is Markdown, with the date of each measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from pipelines.core.provenance.machine import describe_machine
from pipelines.publishing.catalog import read_shipped

FASHION = Path("exports/fashion-mnist")
PYTHON = sys.executable


@dataclass(frozen=True)
class Row:
    """A goal. command: prints what was measured as JSON, or nothing where `now` reads files. now: of that, in words."""

    what: str
    goal: str
    command: tuple[str, ...]
    now: Callable[[Any], str]


def accuracy(family: str, most: int, *, taught: bool = True) -> Callable[[Any], str]:
    """The best shipped model of a family with at most so many parameters; with its seeds where there are several."""

    def now(_: Any) -> str:
        fitting = [
            each
            for each in read_shipped(FASHION.parent)
            if each.data_set == FASHION.name
            and each.family == family
            and (each.parameters or most + 1) <= most
            and (taught or not each.teacher)
        ]
        best = max(fitting, key=lambda each: each.accuracy)
        seeds = f", seeds {best.spread}" if best.spread else ""
        return f"{best.accuracy:.2%} ({best.model}{seeds})"

    return now


def means(folder: Path, against: str, families: tuple[str, ...], batch: int | None = None) -> Callable[[Any], str]:
    """The geometric mean, and the lowest cell, of what benchmarks/inference.py has kept."""

    def now(_: Any) -> str:
        rows = [row for file in sorted(folder.glob("*.json")) for row in json.loads(file.read_text(encoding="utf-8"))]
        found = []
        for family in families:
            ratios = [
                row["ratio"]
                for row in rows
                if (row["family"], row["against"]) == (family, against) and batch in (None, row["batch"])
            ]
            mean = float(np.exp(np.mean(np.log(ratios))))
            found.append(f"{family} {mean:.2f} (lowest {min(ratios):.2f})")
        return ", ".join(found)

    return now


def trained(found: Mapping[str, Any]) -> str:
    """What the fastest PyTorch took of ours."""
    rows = {name: row for name, row in found["speed"]["rows"].items() if "torch" in name.lower() and "ratio" in row}
    if not rows:
        return "PyTorch wasn't measured: it needs --torch-python"
    name = min(rows, key=lambda each: rows[each]["ratio"])
    return f"{rows[name]['ratio']:.2f} against {name}"


def first_epoch(found: Mapping[str, Any]) -> str:
    rates = found["throughput"]
    kinds = {"first_epoch": "clock", "by_processor": "processor"}
    ours = next(name for name in rates if name.startswith("ours"))
    return ", ".join(f"{rates[ours][key] / rates['keras'][key]:.2f} by the {kind}" for key, kind in kinds.items())


def memory(found: Mapping[str, Any]) -> str:
    peaks = [each["peak"] / 2**20 for each in found["memory"]]
    return f"{' / '.join(f'{peak:,.0f}' for peak in peaks)} MiB ({max(peaks) / min(peaks) - 1:+.0%})"


def rows(options: argparse.Namespace) -> dict[str, Row]:
    """All of them, by a short name."""
    speeds = options.results / "inference"
    inference = (PYTHON, "benchmarks/inference.py", "--results", str(speeds))
    torch = ("--torch-python", str(options.torch_python)) if options.torch_python else ()
    learning = {
        f"training-{model}": Row(
            f"training {model} against the best PyTorch",
            "≥ 1.5",
            (PYTHON, "benchmarks/training.py", "--model", model, *torch, "--speed", "--rounds", "3", "--json"),
            trained,
        )
        for model in ("conv-small", "mlp-large", "separable-small", "resnet20")
    }
    folder = (PYTHON, "benchmarks/data.py", "--images", "--json")
    many = (PYTHON, "benchmarks/data.py", "--rounds", "0", "--json")
    best = "float32 against best of these"
    return {
        "conv-800k": Row("conv, 800,000 parameters", "95.8 %", (), accuracy("conv", 800_000)),
        "conv-100k": Row("conv, 100,000, no teacher", "94.6 %", (), accuracy("conv", 100_000, taught=False)),
        "conv-10k": Row("conv, 10,000", "92.8 %", (), accuracy("conv", 10_000)),
        "dense-1m": Row("dense, 1,000,000", "91.8 %", (), accuracy("dense", 1_000_000)),
        "hybrid-100k": Row("hybrid, 100,000", "94.6 %", (), accuracy("hybrid", 100_000)),
        "hybrid-1.8m": Row("hybrid, 1,800,000", "95.8 %", (), accuracy("hybrid", 1_800_000)),
        "float32": Row("float32 against the best peer", "≥ 1.0", inference, means(speeds, best, ("conv", "hybrid"))),
        "dense": Row(
            "dense float32 against LiteRT", "≥ 1.0", inference, means(speeds, "float32 against LiteRT", ("dense",))
        ),
        "dense-one": Row(
            "the same, one image", "≥ 0.8", inference, means(speeds, "float32 against LiteRT", ("dense",), batch=1)
        ),
        "int8": Row(
            "int8 conv against OpenVINO", "≥ 1.0", inference, means(speeds, "int8 against OpenVINO", ("conv",))
        ),
        **learning,
        "array": Row(
            "first answer, of an array and of a file, in times of bare onnxruntime's",
            "≤ 1.1",
            (PYTHON, "benchmarks/cold_start.py", "--json"),
            lambda found: ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in found["ratio"].items()),
        ),
        "folder": Row("first epoch against `image_dataset_from_directory`", "≥ 1.0", folder, first_epoch),
        "memory": Row("memory, 10,000 / 100,000 / 1,000,000 images", "within 5 %", many, memory),
        "list": Row(
            "`zoo list`, `zoo --help`",
            "≤ 0.15 s",
            (PYTHON, "benchmarks/goals.py", "--commands"),
            lambda found: " / ".join(f"{seconds:.2f} s" for seconds in found.values()),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Goals, and where each stands.")
    parser.add_argument("--only", default="", help="names of rows, with commas")
    parser.add_argument("--torch-python", type=Path, metavar="PATH", help="as of benchmarks/training.py")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--commands", action="store_true", help="only: the seconds of two commands, as JSON")
    options = parser.parse_args()
    if options.commands:
        print(json.dumps({name: seconds_of(name) for name in ("list", "--help")}))
        return
    every = rows(options)
    wanted = options.only.split(",") if options.only else list(every)
    if unknown := set(wanted) - set(every):
        raise SystemExit(f"no row is called {', '.join(sorted(unknown))}: there are {', '.join(every)}")
    for name in wanted:
        measure(every[name], options.results / f"{name}.json")
    print(f"{describe_machine()}\n\n| | goal | now | measured |\n|---|---|---|---|")
    for name, row in every.items():
        kept = options.results / f"{name}.json"
        found = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {"now": "", "date": ""}
        print(f"| {row.what} | {row.goal} | {found['now']} | {found['date']} |")


def measure(row: Row, kept: Path) -> None:
    """By the row's command, unless it was before. What is read from files is read each time."""
    if kept.is_file() and row.command:
        return
    printed = ""
    if row.command:
        print(" ".join(row.command), file=sys.stderr, flush=True)
        paths = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            row.command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "PYTHONPATH": paths}
        )
        printed = done.stdout
    found = json.loads(printed) if printed.startswith("{") else None
    kept.parent.mkdir(parents=True, exist_ok=True)
    date = datetime.now(UTC).date().isoformat()
    kept.write_text(json.dumps({"now": row.now(found), "date": date, "found": found}, indent=1), encoding="utf-8")


def seconds_of(command: str, rounds: int = 15) -> float:
    """The median of `zoo COMMAND`, a whole process, from bytecode that the first one, which isn't counted, leaves."""
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = bytecode
        seconds = []
        for _ in range(rounds + 1):
            begin = perf_counter()
            subprocess.run(
                [PYTHON, "-m", "pipelines.cli", command], check=True, stdout=subprocess.DEVNULL, env=environment
            )
            seconds.append(perf_counter() - begin)
    return float(np.median(seconds[1:]))


if __name__ == "__main__":
    main()
