"""`zoo predict --out`: resident memory from ten thousand images to a million, and throughput against a plain loop.

    PYTHONPATH=. python benchmarks/bulk.py memory exports/digits/softmax [--images 10000 100000 1000000]
        [--processes 2] [--kills 3] [--plot docs/bulk-memory.png] [--json]
    PYTHONPATH=. python benchmarks/bulk.py speed exports/digits/softmax exports/fashion-mnist/conv-small
        [--images 4000] [--side 0 224] [--processes 1 2] [--rounds 3] [--json]

memory: the command on tar shards of the export's samples, each shard ten thousand of them and linked as often as it
takes; the resident memory of its process and of those that it starts, every half second, as Linux counts it. With
--kills the largest job is killed so often on its way, and started again. Each row has to be there once, in order.

speed: files in a folder, answered by `for file in files: zoo.load(...).predict(file)`, then by the command's function
with so many processes, in turns within one run. Images a second with all that it takes, the start of processes among
it, and the ratio to the plain loop; beside them the work of the processors, whose ratio hardly depends on what else the
machine does. Medians of the rounds. --side: the samples as they are (0), or as JPEGs of so many pixels a side.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

import zoo
from pipelines.inference.bulk.predict_all import predict_all

PER_SHARD = 10_000
EVERY = 0.5  # seconds between two looks at the memory


def main() -> None:
    parser = argparse.ArgumentParser(description="Many images: memory, and throughput against a plain loop.")
    parser.add_argument("what", choices=("memory", "speed"))
    parser.add_argument("exports", nargs="+", type=Path, metavar="EXPORT")
    parser.add_argument("--images", type=int, nargs="+")
    parser.add_argument("--processes", type=int, nargs="+")
    parser.add_argument("--side", type=int, nargs="+", default=[0, 224])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.what == "memory":
            sizes, (processes, *_) = options.images or [10_000, 100_000, 1_000_000], options.processes or [2]
            export, kills = options.exports[0].resolve(), {max(sizes): options.kills}
            rows = [memory(export, folder, images, processes, kills.get(images, 0)) for images in sizes]
            if options.plot:
                from bulk_plot import bulk_memory  # not in the processes that are started, which import this file

                bulk_memory(
                    options.plot, *([row[k] for row in rows] for k in ("images", "most_mb", "most_mb_of_workers"))
                )
        else:
            rows = [
                row
                for export in options.exports
                for side in options.side
                for row in speed(export, folder, side, (options.images or [4000])[0], options)
            ]
    print(f"load of {os.cpu_count()} cores: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(*(f"{name} {value}" for name, value in row.items() if name != "samples"), sep="  ")


# --- memory ----------------------------------------------------------------------------------------------------------


def memory(export: Path, folder: Path, images: int, processes: int, kills: int) -> dict[str, Any]:
    """samples: (images answered, MB of the process, MB of all that it started)."""
    shards = folder / f"shards-{images}"
    shards.mkdir()
    shard = folder / "shard.tar"
    if not shard.exists():
        samples = sorted((export / "samples").glob("*.png"))
        with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT) as archive:
            for k in range(PER_SHARD):
                archive.add(samples[k % len(samples)], f"{k:06d}.png")
    for number in range(images // PER_SHARD):
        os.link(shard, shards / f"part-{number:04d}.tar")
    out = folder / f"answers-{images}.jsonl"
    words = ["predict", str(export), f"{shards}/part-*.tar", "--out", str(out), "--processes", str(processes)]
    began = time.monotonic()
    samples_seen: list[tuple[int, float, float]] = []
    for kill in range(kills):
        process = started(words)
        watch(process, out, samples_seen, images * (kill + 1) // (kills + 1))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    process = started(words)
    watch(process, out, samples_seen, images + 1)
    seconds = time.monotonic() - began
    assert process.wait() == 0
    with out.open() as lines:
        names = (f"{shards}/part-{k // PER_SHARD:04d}.tar/{k % PER_SHARD:06d}.png" for k in range(images))
        assert all(json.loads(line)["path"] == name for line, name in zip(lines, names, strict=True))
    found = {
        "images": images,
        "kills": kills,
        "seconds": round(seconds, 1),
        "images_per_second": round(images / seconds),
        "most_mb": round(max(own for _, own, _ in samples_seen), 1),
        "most_mb_of_workers": round(max(others for _, _, others in samples_seen), 1),
    }
    print(found, file=sys.stderr, flush=True)
    return {**found, "samples": samples_seen}


def started(words: Sequence[str]) -> psutil.Popen:
    return psutil.Popen([sys.executable, "-m", "pipelines.cli", *words], stderr=subprocess.DEVNULL)


def watch(process: psutil.Popen, out: Path, samples_seen: list[tuple[int, float, float]], until: int) -> None:
    """Look at the memory until so many images are answered, or the process has ended."""
    while process.poll() is None and (done := answered(out)) < until:
        with suppress(psutil.Error):
            own, others = process.memory_info().rss, [child.memory_info().rss for child in process.children()]
            samples_seen.append((done, own / 1e6, sum(others) / 1e6))
        time.sleep(EVERY)


def answered(out: Path) -> int:
    try:
        return int(json.loads(out.with_name(f"{out.name}.job.json").read_text())["images"])
    except FileNotFoundError:
        return 0


# --- speed -----------------------------------------------------------------------------------------------------------


def speed(export: Path, folder: Path, side: int, images: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each way; ratio: its images a second over those of the plain loop."""
    data = folder / f"{export.parent.name}-{export.name}-{side}"
    files = write_images(export, data, side, images)

    def plain() -> None:
        classifier = zoo.load(export)
        answers = [classifier.predict(file) for file in files]
        (folder / "plain.jsonl").write_text("".join(f"{json.dumps([a.label, a.probability])}\n" for a in answers))

    def bulk(processes: int) -> None:
        out = folder / "answers.jsonl"
        for path in folder.glob("answers.jsonl*"):
            path.unlink()
        assert predict_all(export, [data], out, processes=processes).images == images

    ways: dict[str, Callable[[], None]] = {"plain loop": plain}
    ways |= {f"{n} processes": partial(bulk, n) for n in options.processes or [1, os.cpu_count() or 1]}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    work: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            began, worked = time.perf_counter(), processor_seconds()
            way()
            seconds[name].append(time.perf_counter() - began)
            work[name].append(processor_seconds() - worked)
    shutil.rmtree(data)
    return [
        {
            "export": f"{export.parent.name}/{export.name}",
            "side": side or "as they are",
            "way": name,
            "images_per_second": round(images / statistics.median(took)),
            "ratio": round(ratio(seconds["plain loop"], took), 2),
            "processor_us_per_image": round(1e6 * statistics.median(work[name]) / images),
            "ratio_of_work": round(ratio(work["plain loop"], work[name]), 2),
        }
        for name, took in seconds.items()
    ]


def ratio(plain: Sequence[float], other: Sequence[float]) -> float:
    """The median over the rounds."""
    return statistics.median(a / b for a, b in zip(plain, other, strict=True))


def processor_seconds() -> float:
    """Of this process, and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def write_images(export: Path, data: Path, side: int, images: int) -> Sequence[Path]:
    data.mkdir()
    made = []
    for k, sample in enumerate(sorted((export / "samples").glob("*.png"))):
        made.append(sample)
        if side:
            made[-1] = data / f".{k}.jpg"
            with Image.open(sample) as image:
                image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC).save(made[-1], quality=90)
    files = [data / f"{k:06d}{made[k % len(made)].suffix}" for k in range(images)]
    for k, file in enumerate(files):
        shutil.copy(made[k % len(made)], file)
    return files


if __name__ == "__main__":
    main()
