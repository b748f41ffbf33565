"""What `classifier.probabilities` and `classifier.predict` take above bare `session.run`, for one image as an array.

    PYTHONPATH=. python benchmarks/overhead.py exports/fashion-mnist/softmax exports/fashion-mnist/conv-small [--json]

All three call the same session, in turns; microseconds, the median of each, and of ours less the bare call's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np

import zoo
from pipelines.core.metrics.turns import seconds_in_turns
from zoo.contract import INPUT, PROBABILITIES

BARE, WARMING = "session.run", 200


def main() -> None:
    parser = argparse.ArgumentParser(description="Our API over bare onnxruntime, one image as an array.")
    parser.add_argument("exports", nargs="+", metavar="EXPORT")
    parser.add_argument("--turns", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {export: microseconds(zoo.load(export, "cpu", threads=1), options.turns) for export in options.exports}
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for export, medians in found.items():
        bare = medians[BARE]
        added = "".join(f"  {name} +{time - bare:5.1f} us" for name, time in medians.items() if name != BARE)
        print(f"{export:40} {BARE} {bare:7.1f} us{added}")


def microseconds(classifier: zoo.Classifier, turns: int) -> dict[str, float]:
    """The median time of each way to ask, in microseconds."""
    shape = (1, classifier.height, classifier.width, classifier.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image, session = images[0], classifier.session
    ways: dict[str, Callable[[], Any]] = {
        BARE: lambda: session.run([PROBABILITIES], {INPUT: images})[0],
        "probabilities": lambda: classifier.probabilities(images),
        "predict": lambda: classifier.predict(image),
    }
    medians = np.median(seconds_in_turns(list(ways.values()), turns, warm_up=WARMING), axis=(0, 2))
    return dict(zip(ways, (1e6 * medians).tolist(), strict=True))


if __name__ == "__main__":
    main()
