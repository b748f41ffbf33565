"""How well shipped models tell their own images from others, by several methods, and what familiarity costs them.

    PYTHONPATH=. python benchmarks/familiarity.py [exports/fashion-mnist/conv-small ...] [--count 400] [--cost] [--json]

Every method looks at training images alone, and is measured on test images beside ten kinds of foreign ones
(benchmarks/foreign.py): AUROC, and the share of foreign images that look as familiar as 95 % of the test images.
familiarity: what `zoo export` puts into a file. The others are of the same file: the largest probability (Hendrycks &
Gimpel 2017), the largest logit (Hendrycks et al. 2022), energy (Liu et al. 2020); of the same features, as they are:
the Mahalanobis distance by class (Lee et al. 2018), the 5th nearest of 5,000 neighbors by angle (Sun et al. 2022), and
ViM (Wang et al. 2022). Shipped files whose recipe learned from all images have none held out: the distribution is that
of their validation images, which moves the threshold, not the AUROC.

--cost: the file with familiarity over the same one without: its size, and processor time on one thread at batch 1, 64.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import thread_time_ns
from typing import Any

import numpy as np
import onnx
import onnxruntime
from foreign import foreign_images
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import NearestNeighbors

from pipelines.evaluation.unknown import auroc
from pipelines.exporting.familiarity.features import features_of
from pipelines.exporting.familiarity.output import LEARNED, drawn, give_familiarity
from zoo.contract import FAMILIARITY, INPUT, LOGITS, MANIFEST_FILE, MODEL_FILE, PROBABILITIES, Metadata
from zoo.data import DataSet, load

BATCH = 250
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]  # features [N, D], logits [N, K] -> [N], greater: more familiar


def main() -> None:
    parser = argparse.ArgumentParser(description="Familiarity beside other methods, and its cost.")
    shipped = sorted(path.parent for path in Path("exports").glob(f"*/*/{MANIFEST_FILE}"))
    parser.add_argument("exports", nargs="*", type=Path, help="default: all in exports/")
    parser.add_argument("--count", type=int, default=400, help="foreign images of each kind")
    parser.add_argument("--cost", action="store_true", help="measure size and time, too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for folder in options.exports or shipped:
        found = measure(folder, options.count)
        if options.cost:
            found["cost"] = cost(folder)
        print(json.dumps(found) if options.json else table(found), flush=True)


def measure(folder: Path, count: int) -> dict[str, Any]:
    model, metadata, data_set = opened(folder)
    bare = type(model)()
    bare.CopyFrom(model)
    give_familiarity(model, metadata, data_set)
    test = np.asarray(data_set.test.inputs[:2000])
    sets = {"test": test, **foreign_images(data_set.name, test, count)}
    learned = drawn(data_set.train, LEARNED)
    features = {name: of(bare, metadata, images) for name, images in sets.items()}
    answers = {name: run(model, images) for name, images in sets.items()}  # familiarity, logits
    methods = fitted(of(bare, metadata, learned.inputs), run(model, np.asarray(learned.inputs))[1], learned.labels)
    rows = {"familiarity": {name: answers[name][0] for name in sets}}
    for method, score in methods.items():
        rows[method] = {name: score(features[name], answers[name][1]) for name in sets}
    measured = {
        method: {
            name: [
                round(auroc(scores["test"], scores[name]), 4),
                round(float((scores[name] >= np.quantile(scores["test"], 0.05)).mean()), 4),
            ]
            for name in sets
            if name != "test"
        }
        for method, scores in rows.items()
    }
    return {"export": f"{data_set.name}/{folder.name}", "methods": measured}


def opened(folder: Path) -> tuple[onnx.ModelProto, Metadata, DataSet]:
    model = onnx.load(folder / MODEL_FILE)
    metadata = Metadata.from_properties({p.key: p.value for p in model.metadata_props}, str(folder))
    for part in (model.graph.output, model.graph.node, model.graph.initializer, model.graph.value_info):
        kept = [each for each in part if not each.name.startswith(FAMILIARITY)]  # as if it had none yet
        del part[:]
        part.extend(kept)
    return model, replace(metadata, recipe={**metadata.recipe, "images": "train"}), load(metadata.data_set)


def of(model: onnx.ModelProto, metadata: Metadata, images: np.ndarray) -> np.ndarray:
    batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
    return features_of(model, metadata, batches)[0].astype(np.float64)


def run(model: onnx.ModelProto, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    familiarity, logits = zip(*(session.run([FAMILIARITY, LOGITS], {INPUT: some}) for some in batches), strict=True)
    return np.concatenate(familiarity), np.concatenate(logits).astype(np.float64)


def fitted(features: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> dict[str, Score]:
    """The other methods, of learned images."""
    center, spread = features.mean(axis=0), features.std(axis=0) + 1e-3 * features.std()
    scaled = (features - center) / spread
    means = np.stack([scaled[labels == k].mean(axis=0) for k in np.unique(labels)])
    place = np.searchsorted(np.unique(labels), labels)
    variances, axes = np.linalg.eigh(ledoit_wolf(scaled - means[place], assume_centered=True)[0])
    white = axes / np.sqrt(variances)

    def mahalanobis(x: np.ndarray, _: np.ndarray) -> np.ndarray:
        whitened, by_class = (x - center) / spread @ white, means @ white
        squares = (whitened**2).sum(axis=1)[:, None] - 2 * whitened @ by_class.T + (by_class**2).sum(axis=1)
        nearest: np.ndarray = squares.min(axis=1)
        return -nearest

    neighbors = NearestNeighbors(n_neighbors=5).fit(unit(features[:5000]))
    rest = np.linalg.eigh(np.cov((features - center).T))[1][:, : features.shape[1] // 2]  # the lesser half
    alpha = logits.max(axis=1).mean() / np.linalg.norm((features - center) @ rest, axis=1).mean()
    return {
        "largest probability": lambda _, z: z.max(axis=1) - energy(z),
        "largest logit": lambda _, z: z.max(axis=1),
        "energy": lambda _, z: energy(z),
        "Mahalanobis": mahalanobis,
        "nearest neighbors": lambda x, _: -neighbors.kneighbors(unit(x))[0][:, -1],
        "ViM": lambda x, z: energy(z) - alpha * np.linalg.norm((x - center) @ rest, axis=1),
    }


def energy(logits: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.logaddexp.reduce(logits, axis=1)
    return found


def unit(features: np.ndarray) -> np.ndarray:
    found: np.ndarray = features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-9)
    return found


def cost(folder: Path) -> dict[str, float]:
    """Ratios of size and of processor time, the medians over turns."""
    model, metadata, data_set = opened(folder)
    before = model.SerializeToString()
    give_familiarity(model, metadata, data_set)
    after = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # which is the one that calls, and whose time is counted
    sessions = [
        onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]) for file in (before, after)
    ]
    ratios = {"size": round(len(after) / len(before), 3)}
    for batch, calls, turns in ((1, 20, 100), (64, 1, 30)):
        images = np.asarray(data_set.test.inputs[:batch])
        times = [[time_of(session, images, calls) for session in sessions] for _ in range(turns)]
        ratios[f"time at batch {batch}"] = round(median(second / first for first, second in times), 3)
        ratios[f"microseconds at batch {batch}"] = round(median(first for first, _ in times), 1)
    return ratios


def time_of(session: onnxruntime.InferenceSession, images: np.ndarray, calls: int) -> float:
    start = thread_time_ns()
    for _ in range(calls):
        session.run([PROBABILITIES], {INPUT: images})
    return (thread_time_ns() - start) / calls / 1000


def table(found: dict[str, Any]) -> str:
    methods = found["methods"]
    names = list(next(iter(methods.values())))
    lines = [f"{found['export']:30}" + "".join(f"{name[:14]:>15}" for name in names) + f"{'least':>8}"]
    for method, by_set in methods.items():
        cells = "".join(f"{by_set[name][0]:9.3f}{by_set[name][1]:6.1%}" for name in names)
        lines.append(f"  {method:28}{cells}{min(area for area, _ in by_set.values()):8.3f}")
    if "cost" in found:
        lines.append("  with familiarity over without: " + ", ".join(f"{k} {v:g}" for k, v in found["cost"].items()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
