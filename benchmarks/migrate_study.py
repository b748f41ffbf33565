"""Give the trainings of exports/study the keys and the names of today's code, without training any of them again.

In two steps, each in the repository's folder:

    python migrate_study.py dump old.json                    # at commit 683047b: what each key on record is made of
    python migrate_study.py migrate old.json renames.json    # today

The first step finds each key on record again, by the code that measured it. The second builds each training again by
today's code, and gives it today's key where all that decides it is the same: the model's configuration and the digests
of its images, recipe and teacher. How it trains and measures is today another text of the same meaning, which is proven
on a sample of trainings that are done again (see the commit's message).
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path("exports/study")


def without_modules(config: Any) -> Any:
    if isinstance(config, dict):
        return {name: without_modules(value) for name, value in config.items() if name != "module"}
    return [without_modules(each) for each in config] if isinstance(config, list) else config


def model_digest(model: Any) -> str:
    config = without_modules(json.loads(model.to_json()))
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def dump(path: Path) -> None:
    from pipelines.study.experiment import experiments
    from pipelines.study.identity import digest_of
    from pipelines.study.lab import Lab, key_of
    from pipelines.study.record import Record
    from pipelines.teacher import teacher_digest
    from zoo.models import build_diagram
    from zoo.models.backend import start_keras

    found: dict[str, Any] = {}

    class Clerk(Lab):
        def train(self, arms: Any) -> Any:
            for name, arm in arms.items():
                for seed in self.seeds:
                    start_keras().utils.set_random_seed(seed)
                    data, recipe = arm.data(seed), arm.recipe(seed)
                    model = build_diagram(arm.diagram, "study", data.height, data.width, data.channels, data.classes)
                    key = key_of(model, data, recipe, arm.measure)
                    assert self.record.knows(name, seed, key), f"{self.name}, {name}, {seed} has another key"
                    found[self.name]["trainings"].append(
                        {
                            "arm": name,
                            "seed": seed,
                            "key": key,
                            "data": data.digest,
                            "recipe": recipe.to_json(),
                            "teacher": teacher_digest(recipe),
                            "model": model_digest(model),
                        }
                    )
            return Lab.train(replace(self, replay=True), arms)

        def observe(self, name: str, look: Any) -> Any:
            assert self.record.has_seen(name, digest_of(look)), f"{self.name}, {name} has another key"
            found[self.name]["observed"].append({"name": name, "key": digest_of(look)})
            return np.array(self.record.numbers(name))

    for each in experiments():
        record = Record(FOLDER / f"{each.name}.json")
        found[each.name] = {"trainings": [], "observed": []}
        each.run(Clerk(each.name, record.seeds, record.quick, record))
    path.write_text(json.dumps({"experiments": found}), encoding="utf-8")


def migrate(old: Path, renames: Path) -> None:
    from pipelines.core.provenance.weights import teacher_digest
    from pipelines.study.experiment import experiments
    from pipelines.study.lab import Lab, _code, key_of
    from pipelines.study.record import Record
    from zoo.contract import renamed
    from zoo.models import build_architecture
    from zoo.models.backend import start_keras

    names = json.loads(renames.read_text(encoding="utf-8"))
    known = json.loads(old.read_text(encoding="utf-8"))["experiments"]
    for before, entries in known.items():
        name = names["experiments"].get(before, before)
        path = FOLDER / f"{before}.json"
        stored = json.loads(path.read_text(encoding="utf-8"))
        arms, metrics, seen = (names[kind].get(before, {}) for kind in ("arms", "figures", "observed"))
        for each in stored["trainings"]:
            each["arm"] = arms.get(each["arm"], each["arm"])
            values = each.pop("figures") if "figures" in each else each.pop("metrics")
            each["metrics"] = {metrics.get(metric, metric): value for metric, value in values.items()}
            each["recipe"] = renamed(each["recipe"])
        stored["observed"] = {seen.get(title, title): value for title, value in stored["observed"].items()}
        path.unlink()
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")

        trainings = {(arms.get(t["arm"], t["arm"]), t["seed"]): t for t in entries["trainings"]}
        observed = {seen.get(o["name"], o["name"]): o for o in entries["observed"]}
        record = Record(path)
        (experiment,) = experiments([name])

        class Clerk(Lab):
            def train(self, arms: Any) -> Any:
                for title, arm in arms.items():
                    for seed in self.seeds:
                        start_keras().utils.set_random_seed(seed)
                        data, recipe = arm.data(seed), arm.recipe(seed)
                        size = (data.height, data.width, data.channels)
                        model = build_architecture(arm.architecture, "study", *size, data.classes)
                        was, now = trainings.pop((title, seed)), self.record.trainings[title, seed]
                        same = (was["key"], was["data"], renamed(was["recipe"]), was["teacher"], was["model"]) == (
                            now.key,
                            data.digest,
                            recipe.to_json(),
                            teacher_digest(recipe),
                            model_digest(model),
                        )
                        assert same, f"{self.name}, {title}, seed {seed} is another training"
                        key = key_of(model, data, recipe, arm.measure)
                        self.record.trainings[title, seed] = replace(now, key=key, recipe=recipe.to_json())
                return Lab.train(replace(self, replay=True), arms)

            def observe(self, title: str, look: Any) -> Any:
                was, now = observed.pop(title), self.record.observed[title]
                assert was["key"] == now.key, f"{self.name}, {title} is another observation"
                self.record.observed[title] = replace(now, key=_code(look))
                return np.array(self.record.numbers(title))

        experiment.run(Clerk(name, record.seeds, record.quick, record))
        assert not trainings and not observed, f"{name} doesn't ask for {[*trainings, *observed]}"
        record.finished(record.seeds, quick=record.quick)
        print(name, len(record.trainings), "trainings,", len(record.observed), "observations", flush=True)


if __name__ == "__main__":
    dump(Path(sys.argv[2])) if sys.argv[1] == "dump" else migrate(*map(Path, sys.argv[2:]))
