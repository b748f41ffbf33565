"""The whole roster against other libraries, and int8 against float32: ratios by cell, and their means by family.

    PYTHONPATH=. python benchmarks/inference.py [--exports exports/fashion-mnist] [--batch 1,8,64,256] [--provider cpu]
        [--seconds 0.5] [--results FOLDER] [--markdown] [--plot docs/inference-roof.png]

It measures as `zoo benchmark` does, with the same function: in turns, each entry in a process of its own, with the
number of threads that it likes best. A ratio is the other's time divided by ours, the median over rounds, with the
lowest and the highest round behind it: above 1, the file that we ship is faster. Where int8 files lie beside an export,
ours is compared with our float32, and with OpenVINO on the same file. The files of tf2onnx and LiteRT don't compute
familiarity: "bare" is ours without it, compared with these, too. With --results each export is written down as it is
measured, and one that is there already isn't measured again: an interrupted run goes on. --plot draws how near each
comes to the speed of a matrix product.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.provenance.machine import describe_machine, versions, versions_of
from pipelines.inference import peers as others
from pipelines.inference.benchmark import benchmark
from pipelines.inference.harness import ratio
from zoo.contract import FLOAT32, INT8, MANIFEST_FILE, MODEL_FILES, read_manifest

PEERS = ("bare", "tf2onnx", "openvino", "litert")
FAMILIES = ("dense", "conv", "hybrid")
BARE = others.PEERS["bare"].name
BEST = "best of these"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description="Ratios of exports to other libraries.")
    parser.add_argument("--exports", type=Path, nargs="+", default=[Path("exports/fashion-mnist")])
    parser.add_argument("--batch", default="1,8,64,256")
    parser.add_argument("--provider", default="cpu", help="several, such as cpu,openvino: the faster one counts")
    parser.add_argument("--threads", default="", help="numbers to try (default: 1, 2, 4 and so on, and all cores)")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each cell")
    parser.add_argument("--results", type=Path, help="a folder that keeps what was measured")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()

    rows: list[Row] = []
    for folder in sorted({path.parent for root in options.exports for path in root.rglob(MANIFEST_FILE)}):
        kept = options.results / f"{folder.parent.name}-{folder.name}.json" if options.results else None
        if kept and kept.is_file():
            rows += json.loads(kept.read_text(encoding="utf-8"))
            continue
        measured = measure(folder, options)
        rows += measured
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(measured, indent=1), encoding="utf-8")
        if not options.markdown:
            print_cells(measured)
    print_means(rows, options.markdown)
    if options.plot:
        from inference_plot import roof  # not in the processes that are started, which import this file

        roof(options.plot, rows, 64 if 64 in numbers(options.batch) else max(numbers(options.batch)))
    print(
        f"\n{describe_machine()}; "
        + ", ".join(f"{k} {v}" for k, v in (versions() | versions_of(others.PACKAGES)).items())
    )


def measure(folder: Path, options: argparse.Namespace) -> list[Row]:
    """The ratios of one export, a row for each batch size and comparison."""
    manifest = read_manifest(folder)
    (found,) = benchmark(
        [folder],
        providers=options.provider.split(","),
        precisions=[each for each in (FLOAT32, INT8) if each in manifest.precisions],
        batches=numbers(options.batch),
        threads=numbers(options.threads),
        seconds=options.seconds,
        peers=PEERS,
    ).exports
    for note in found.notes:
        print(note)
    rows = []
    for batch in numbers(options.batch):
        ours = {
            precision: min(same, key=lambda timing: timing.median)
            for precision in MODEL_FILES
            if (same := [e.at(batch) for e in found.entries if e.provider and e.precision == precision])
        }
        peers = {(each.name, each.precision): each.at(batch) for each in found.entries if not each.provider}
        bare = peers.pop((BARE, FLOAT32), None)
        floats = {name: timing for (name, precision), timing in peers.items() if precision == FLOAT32}
        if floats:
            floats[BEST] = min(floats.values(), key=lambda timing: ratio(ours[FLOAT32], timing).ratio)
        pairs = [(f"float32 against {name}", ours[FLOAT32], timing) for name, timing in floats.items()]
        if bare:
            alike = [each for each in floats if each not in (BEST, "OpenVINO")]  # which runs the whole file
            pairs += [(f"bare against {name}", bare, floats[name]) for name in alike]
            pairs.append(("float32 against bare", ours[FLOAT32], bare))
        if INT8 in ours:
            pairs += [(f"int8 against {name}", ours[INT8], of) for (name, kind), of in peers.items() if kind == INT8]
            pairs.append(("int8 against our float32", ours[INT8], ours[FLOAT32]))
        for against, own, other in pairs:
            found_ratio = ratio(own, other)
            rows.append(
                {
                    "export": found.name,
                    "family": found.family,
                    "batch": batch,
                    "against": against,
                    "ms": own.median,
                    "other_ms": other.median,
                    "threads": [own.threads, other.threads],
                    "ratio": found_ratio.ratio,
                    "low": found_ratio.low,
                    "high": found_ratio.high,
                    "share": own.share,
                }
            )
    return rows


def print_cells(rows: list[Row]) -> None:
    for row in rows:
        print(
            f"{row['family']:7}{row['export']:34}{row['batch']:5}  {row['against']:32}{row['ms']:10.4f} ms"
            f"{row['other_ms']:10.4f} ms{row['ratio']:8.2f}  ({row['low']:.2f} .. {row['high']:.2f})",
            flush=True,
        )


def print_means(rows: list[Row], markdown: bool) -> None:
    """By comparison and family the geometric mean at each batch size and over all; in Markdown the cells, too."""
    batches = sorted({row["batch"] for row in rows})
    table = []
    for against in dict.fromkeys(row["against"] for row in rows):
        of_these = [row for row in rows if row["against"] == against]
        if markdown:
            by_export: dict[str, dict[int, float]] = defaultdict(dict)
            for row in of_these:
                by_export[row["export"]][row["batch"]] = row["ratio"]
            table += [[against, export, *(f"{by[b]:.2f}" for b in batches), ""] for export, by in by_export.items()]
        for family in FAMILIES:
            of_family = [row for row in of_these if row["family"] == family]
            if of_family:
                means = [geometric_mean([row for row in of_family if row["batch"] == batch]) for batch in batches]
                cells = [f"{mean:.2f}" for mean in (*means, geometric_mean(of_family))]
                table.append([against, f"**{family}**" if markdown else family, *cells])
    head = ["ratio", "export or family", *(f"batch {batch}" for batch in batches), "all"]
    if markdown:
        print("| " + " | ".join(head) + " |\n| --- | --- |" + " ---: |" * (len(batches) + 1))
        print("\n".join("| " + " | ".join(cells) + " |" for cells in table))
        return
    print(f"\nGeometric means\n{head[0]:32}{head[1]:18}" + "".join(f"{name:>11}" for name in head[2:]))
    for first, second, *cells in table:
        print(f"{first:32}{second:18}" + "".join(f"{cell:>11}" for cell in cells))


def geometric_mean(rows: list[Row]) -> float:
    return float(np.exp(np.mean([np.log(row["ratio"]) for row in rows])))


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


if __name__ == "__main__":
    main()
