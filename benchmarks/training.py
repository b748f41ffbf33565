"""How fast a model learns: our training against Keras' own `fit` and against PyTorch, and what our pipeline costs.

    PYTHONPATH=. python benchmarks/training.py --torch-python ../torch/bin/python [--model resnet20] [--rounds 5]
        [--accuracy] [--json]
    PYTHONPATH=. python benchmarks/training.py --time-to 94 --model conv-mlp-small --set epochs=20 --set images=all

PyTorch is no part of this project: it lives in an environment of its own (`pip install torch numpy`), whose interpreter
--torch-python names; it has conv-small, mlp-large, resnet20, and separable-small, as it comes, in bfloat16, and with
torch.compile. The same model, images, batch size, optimizer and schedule for all, without augmentation, which the
others would have to write first. Each trains in its own process, in turns of so many steps; neither the first turn nor
the first steps of one are counted. A ratio is the median over rounds of the other's time divided by ours, with the
least and the most; "at best" is that of the shortest times: what a machine with nothing else to do would show. Then our
pipeline against a bare `fit` with the same settings, in turns of an epoch each (but for its first steps), both with the
recipe's augmentation and with validation. --accuracy trains each anew for a few epochs and asks the validation images:
a speed that costs accuracy is none.

--time-to trains by a recipe, whole, with all that the pipeline does, and tells how long that took if the test set,
asked once at the end, says that the model has the accuracy; also when the validation images first said so. The test
images choose nothing: neither the epoch to stop at nor the recipe.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from turns import Entry

from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.evaluation.evaluate import evaluate
from pipelines.training.loop.stages import schedule_for
from pipelines.training.train import train
from zoo.recipe import parse_settings

OURS = "ours, bare fit"
KERAS = {
    "Keras' fit, defaults": "keras",
    "Keras' fit, without XLA": "keras without XLA",
    "Keras' fit, bfloat16": "keras in bfloat16",
    OURS: "bare",
}
TORCH = {  # precision, and whether torch.compile makes one program of the model
    "PyTorch, float32": ("float32", False),
    "PyTorch, bfloat16": ("bfloat16", False),
    "PyTorch, compiled, float32": ("float32", True),
    "PyTorch, compiled, bfloat16": ("bfloat16", True),
}
TORCH_MODELS = ("conv-small", "mlp-large", "resnet20", "separable-small")  # that training_torch.py has

# What all can do: the same rule, labels as they are, images as they are, and some kept apart to be asked about.
PLAIN = {
    "optimizer": "adamw",
    "augmentation": "none",
    "degrade": 0,
    "mixup": 0,
    "cutmix": 0,
    "normalize": "none",
    "label_smoothing": 0,
    "teacher": "",
    "images": "train",
}
# A teacher takes the same time in a bare fit and in the pipeline.
OWN = {"teacher": "", "images": "train"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Images a second in training: ours, Keras' fit, PyTorch.")
    parser.add_argument("--model", default="conv-small")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of the model's recipe")
    parser.add_argument("--torch-python", type=Path, metavar="PATH", help="an interpreter that has torch and NumPy")
    parser.add_argument("--random", action="store_true", help="noise of Fashion-MNIST's shape: for speeds alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=117, help="in a turn, rounded to whole calls (default: 117)")
    parser.add_argument("--speed", action="store_true", help="only: the others, not what our pipeline costs")
    parser.add_argument("--accuracy", action="store_true", help="also train each and ask the validation images")
    parser.add_argument("--epochs", type=int, default=3, help="of the trainings for --accuracy (default: 3)")
    parser.add_argument("--time-to", type=float, metavar="PERCENT", help="only: time to this test accuracy")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.random and (options.accuracy or options.time_to):
        parser.error("noise can't be learned: no --random with --accuracy or --time-to")

    recipe = parse_settings(options.set)
    with tempfile.TemporaryDirectory() as folder:
        if options.time_to:
            result = time_to(options.time_to / 100, options.model, recipe, Path(folder))
            print(json.dumps(result, indent=1) if options.json else told(result))
            return
        data = "random-pixels" if options.random else "fashion-mnist"
        bench = Bench(options.model, data, recipe, options.rounds, options.torch_python, Path(folder))
        result = {**about(options.model, data), "speed": bench.speed(options.steps)}
        if not options.speed:
            result["pipeline"] = bench.pipeline()
        if options.accuracy:
            result["accuracy"] = bench.accuracy(options.epochs, result["speed"])
    print(json.dumps(result, indent=1) if options.json else table(result))


def about(model: str, data: str) -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in ("tensorflow", "keras")}
    # Threads that wait for each other lose much to a third program, PyTorch's most: beside two trainings its steps took
    # 2.5 times as long as with OMP_WAIT_POLICY=PASSIVE in the environment, which reaches it from here.
    load = os.getloadavg()[0]
    if load > (os.cpu_count() or 1) / 4:
        print(f"this machine is busy (load {load:.1f}): the ratios will be wrong", file=sys.stderr)
    return {"model": model, "data": data, "cores": os.cpu_count(), "load": load, **versions}


class Bench:
    """The three comparisons of one model on one data set."""

    def __init__(
        self, model: str, data: str, recipe: Mapping[str, Any], rounds: int, python: Path | None, folder: Path
    ) -> None:
        """python: with torch, or None for this one where it has it. folder: a temporary one."""
        self.model, self.data, self.recipe, self.rounds, self.folder = model, data, recipe, rounds, folder
        if python is None and find_spec("torch"):
            python = Path(sys.executable)
        self.torch = python if model in TORCH_MODELS else None

    def speed(self, steps: int) -> dict[str, Any]:
        """Seconds of each turn of each entry, and ratios to ours."""
        names = [*KERAS, *(TORCH if self.torch else ())]
        seconds: dict[str, list[float]] = {name: [] for name in names}
        entries, found = self._start(names, turns=self.rounds + 1, steps=steps)
        for _ in range(self.rounds):
            for name, entry in entries.items():
                seconds[name].append(entry.go()["seconds"])
        for entry in entries.values():
            entry.end()
        images = found["steps"] * found["batch_size"]
        rows = {
            name: {
                "images_per_second": images / float(np.median(times)),
                "images_per_second_at_best": images / min(times),
                **({} if name == OURS else ratios(times, seconds[OURS])),
            }
            for name, times in seconds.items()
        }
        return {**found, "rounds": self.rounds, "rows": rows}

    def pipeline(self) -> dict[str, Any]:
        """What our pipeline adds to an epoch of a bare fit, in shares of the bare one's time."""
        plan = make_plan(self.model, self.data, settings=self.recipe)
        bare, whole = (
            Entry(sys.executable, "training_keras.py", self._keras(name, turns=self.rounds + 1, steps=None, common=OWN))
            for name in ("bare with validation", "pipeline")
        )
        epochs = [(bare.go()["seconds"], whole.go()) for _ in range(self.rounds)]
        once = whole.answer()
        for entry in (bare, whole):
            entry.end()
        alone = np.array([seconds for seconds, _ in epochs])
        whole_seconds = np.array([epoch["seconds"] for _, epoch in epochs])
        added = whole_seconds / alone - 1
        inside = np.array([epoch["inside"] for _, epoch in epochs])
        return {
            "augmentation": plan.recipe.augmentation,
            "seconds_of_bare_epoch": float(np.median(alone)),
            "added": float(np.median(added)),
            "least": float(added.min()),
            "most": float(added.max()),
            "added_at_best": float(whole_seconds.min() / alone.min() - 1),
            "in_its_callbacks": float(np.median(inside / alone)),
            "in_its_callbacks_at_best": float(inside.min() / alone.min()),
            "seconds_before": once["opening"],
            "seconds_after": once["closing"],
            "epochs_of_recipe": plan.recipe.epochs,
        }

    def accuracy(self, epochs: int, speed: Mapping[str, Any]) -> dict[str, Any]:
        """Validation accuracy of Keras' defaults, of ours, and of the faster PyTorch, after so many epochs of each."""
        asked = (name for name in TORCH if name in speed["rows"])
        faster = sorted(asked, key=lambda name: float(speed["rows"][name]["images_per_second"]))[-1:]
        rows = {}
        for name in ("Keras' fit, defaults", *faster, OURS):
            entries, _ = self._start([name], turns=epochs, steps=None)
            (entry,) = entries.values()
            seconds = entry.first["seconds"] + sum(entry.go()["seconds"] for _ in range(epochs - 1))
            rows[name] = {"validation_accuracy": entry.answer()["accuracy"], "seconds": seconds}
            entry.end()
        return {"epochs": epochs, "rows": rows}

    def _start(self, names: Sequence[str], *, turns: int, steps: int | None) -> tuple[dict[str, Entry], dict[str, Any]]:
        """Entries by name, warmed one after the other, and what they have in common.

        steps: of a turn, about; None for an epoch, and an accuracy after the last.
        """
        settings: Any = {"turns": turns, "steps": steps, "common": PLAIN, "asked": steps is None}
        entries = {}
        for name in names:
            if name in TORCH:
                python, script, found = str(self.torch), "training_torch.py", self._torch(*TORCH[name], **settings)
            else:
                python, script, found = sys.executable, "training_keras.py", self._keras(KERAS[name], **settings)
            entries[name] = Entry(python, script, found)
        return entries, {"steps": found["steps"] - found["warming"], "batch_size": found["batch_size"]}

    def _keras(
        self, entry: str, *, turns: int, steps: int | None, common: Mapping[str, Any], asked: bool = False
    ) -> dict[str, Any]:
        """What an entry has to know. steps: on the clock of a turn, about; None for an epoch.

        asked: for an accuracy after the last turn; then the clock never rests.
        """
        recipe = {**self.recipe, **common, "epochs": turns}
        plan = make_plan(self.model, self.data, settings=recipe)
        schedule = schedule_for(plan.recipe, self._images())
        warming = 0 if asked else schedule.call
        calls = max(1, round(steps / schedule.call)) if steps else (schedule.steps - warming) // schedule.call
        return {
            "entry": entry,
            "model": self.model,
            "data": self.data,
            "recipe": recipe,
            "turns": turns,
            "steps": warming + calls * schedule.call,
            "warming": warming,
            "batch_size": plan.recipe.batch_size,
            "updates": schedule.updates,
            "accuracy": asked,
            "folder": str(self.folder),
        }

    def _torch(self, precision: str, compiled: bool, **settings: Any) -> dict[str, Any]:
        ours = self._keras("", **settings)
        recipe = asdict(make_plan(self.model, self.data, settings=ours["recipe"]).recipe)
        return {**recipe, **ours, "precision": precision, "compiled": compiled, "data": str(self._arrays())}

    def _arrays(self) -> Path:
        """The images in a file that NumPy alone can read."""
        path = self.folder / "data.npz"
        if not path.exists():
            data = self._images()
            arrays = {
                f"{name}_{kind}": getattr(getattr(data, name), kind)
                for name in ("train", "validation")
                for kind in ("inputs", "labels")
            }
            np.savez(path, allow_pickle=False, **arrays)
        return path

    def _images(self) -> Any:
        import training_keras  # noqa: F401 (it registers random-pixels)

        return load_data(make_plan(self.model, self.data))


def ratios(others: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    each = np.array(others) / np.array(ours)
    return {
        "ratio": float(np.median(each)),
        "least": float(each.min()),
        "most": float(each.max()),
        "ratio_at_best": min(others) / min(ours),
    }


def time_to(mark: float, model: str, recipe: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train by the recipe to its end, then ask the test set. mark: 0..1."""
    os.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # a run of a benchmark is nobody's record
    machine = about(model, "fashion-mnist")  # before the training makes the machine busy itself
    trained = train(model, "fashion-mnist", settings=recipe)
    run = tracking.load_run(trained.run)
    accuracy = evaluate(trained.run).accuracy
    # A recipe that learns from the validation images has none to ask.
    asked = run.history.get("validation_accuracy", ())
    looks = zip(run.history["epoch"], accumulate(run.history["seconds"]), asked, strict=False)
    passed = next(({"epoch": int(epoch), "seconds": at} for epoch, at, found in looks if found >= mark), None)
    return {
        **machine,
        "recipe": run.plan.recipe.to_json(),
        "mark": mark,
        "reached": accuracy >= mark,
        "test_accuracy": accuracy,
        "validation_accuracy": trained.validation_accuracy,
        "seconds": trained.seconds,
        "epochs": trained.epochs,
        "validation_passed": passed,
    }


# --- for people ------------------------------------------------------------------------------------------------------


def table(result: Mapping[str, Any]) -> str:
    speed = result["speed"]
    lines = [
        f"{result['model']} on {result['data']}, {result['cores']} cores, no augmentation: "
        f"{speed['rounds']} rounds of {speed['steps']} steps of {speed['batch_size']} images",
        f"{'':28}{'images/s':>12}{'at best':>10}{'ours is':>12}{'least':>8}{'most':>8}{'at best':>9}",
    ]
    for name, row in speed["rows"].items():
        line = f"{name:28}{row['images_per_second']:12,.0f}{row['images_per_second_at_best']:10,.0f}"
        if "ratio" in row:
            line += f"{row['ratio']:11.2f}x{row['least']:8.2f}{row['most']:8.2f}{row['ratio_at_best']:9.2f}"
        lines.append(line)
    if not set(TORCH) & set(speed["rows"]):
        lines.append(
            f"PyTorch wasn't asked: it has {', '.join(TORCH_MODELS)}, and needs --torch-python with an interpreter of "
            "an environment in which you did `pip install torch numpy`"
        )
    if "pipeline" in result:
        lines += ["", *lines_of(result["pipeline"])]
    if "accuracy" in result:
        lines += ["", f"validation accuracy after {result['accuracy']['epochs']} epochs from the start"]
        for name, row in result["accuracy"]["rows"].items():
            lines.append(f"{name:26}{row['validation_accuracy']:12.2%}{row['seconds']:10,.0f} s")
    return "\n".join(lines)


def lines_of(pipeline: Mapping[str, Any]) -> list[str]:
    before, after, epochs = (pipeline[name] for name in ("seconds_before", "seconds_after", "epochs_of_recipe"))
    share = (before + after) / (pipeline["seconds_of_bare_epoch"] * epochs)
    return [
        f"the pipeline adds {pipeline['added']:+.1%} ({pipeline['least']:+.1%} to {pipeline['most']:+.1%}, at best "
        f"{pipeline['added_at_best']:+.1%}) to an epoch of {pipeline['seconds_of_bare_epoch']:.1f} s, both with "
        f"augmentation {pipeline['augmentation']!r} and validation",
        f"in its callbacks it spends {pipeline['in_its_callbacks']:.2%} of that (at best "
        f"{pipeline['in_its_callbacks_at_best']:.2%})",
        f"and {before + after:.1f} s once in a training (opening the run {before:.1f}, keeping the model {after:.1f}): "
        f"{share:.1%} of the recipe's {epochs} epochs",
    ]


def told(result: Mapping[str, Any]) -> str:
    recipe = ", ".join(f"{name} {value}" for name, value in result["recipe"].items())
    passed, validation = result["validation_passed"], result["validation_accuracy"]
    when = f"after {passed['seconds']:,.0f} s, in epoch {passed['epoch']}" if passed else "never"
    along = "the validation images were learned from, too"
    if validation is not None:
        along = f"validation accuracy reached {result['mark']:.2%} {when}, and was {validation:.2%} in the end"
    verdict = "" if result["reached"] else f", below {result['mark']:.2%}: no time to report"
    return (
        f"{result['model']} on {result['cores']} cores: {result['test_accuracy']:.2%} of all test images, asked once "
        f"after {result['seconds']:,.0f} s of training ({result['epochs']} epochs, start and records included)"
        f"{verdict}\n{along}\nrecipe: {recipe}"
    )


if __name__ == "__main__":
    main()
