"""`zoo data check` on many files: peak memory, and the work of the processors for an image.

    PYTHONPATH=. python benchmarks/check.py [--images 20000 40000] [--side 12] [--processes 1 2] [--json]

Different PNGs of noise, in ten classes; of a hundred one equals another, and one is another, lightened. The command
runs as a process of its own, whose resident memory is looked at several times a second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

CLASSES, EVERY = 10, 0.2  # seconds between two looks at the memory


def main() -> None:
    parser = argparse.ArgumentParser(description="The check of a folder: memory and work by the number of images.")
    parser.add_argument("--images", type=int, nargs="+", default=[20_000, 40_000])
    parser.add_argument("--side", type=int, default=12)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        rows = []
        for images in sorted(options.images):
            write_images(Path(temporary), images, options.side)
            for processes in options.processes:
                rows.append(check(Path(temporary), images, processes))
                print(rows[-1], file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))


def write_images(folder: Path, images: int, side: int) -> None:
    """Those that aren't there yet."""
    for k in range(images):
        file = folder / f"class {k % CLASSES}" / f"{k}.png"
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            number = k - k % 100 if k % 100 in (10, 20) else k  # of the same class
            pixels = np.random.default_rng(number).integers(0, 200, (side, side), dtype=np.uint8)
            Image.fromarray(pixels + np.uint8(20 * (k % 100 == 20))).save(file)


def check(folder: Path, images: int, processes: int) -> dict[str, Any]:
    """One command, and what it took, the work of its processes among it."""
    began = time.monotonic()
    words = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "data",
        "check",
        str(folder),
        "--json",
        "--processes",
        str(processes),
    ]
    out = tempfile.TemporaryFile()  # noqa: SIM115 (not a pipe, which nobody would empty)
    process = psutil.Popen(words, stdout=out, stderr=subprocess.DEVNULL)
    most_own = most_of_others = 0
    while not_ended(process):
        try:
            most_own = max(most_own, process.memory_info().rss)
            most_of_others = max(most_of_others, sum(each.memory_info().rss for each in process.children()))
        except psutil.Error:
            pass
        time.sleep(EVERY)
    out.seek(0)
    report = json.load(out)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0
    return {
        "images": images,
        "processes": processes,
        "readable": report["readable"],
        **report["surplus"],
        "seconds": round(time.monotonic() - began, 1),
        "most_mb": round(most_own / 1e6, 1),
        "most_mb_of_others": round(most_of_others / 1e6, 1),
        "processor_s": round(used.ru_utime + used.ru_stime, 2),
        "processor_us_per_image": round(1e6 * (used.ru_utime + used.ru_stime) / images),
    }


def not_ended(process: psutil.Popen) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    main()
