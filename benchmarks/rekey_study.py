"""Give the results of exports/study the keys by which code is compared today, without training any of them again.

    python benchmarks/rekey_study.py rekey    # in the repository's folder

Each key on record is found again by the text of `core.provenance.code` and `key_of` as they were at commit BEFORE, for
the same model, images, recipe and measure, and then made by today's.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.provenance.machine import versions
from pipelines.core.provenance.weights import teacher_digest
from pipelines.study.experiment import experiments
from pipelines.study.lab import LIBRARIES, Bench, Lab, _code, _without_modules, key_of
from pipelines.study.record import Record
from zoo.models import build_architecture
from zoo.models.backend import start_keras

BEFORE = "3ef72e2"
FOLDER = Path("exports/study")


def digest_before() -> Any:
    for name in ("syntax", "code"):
        place = f"{BEFORE}:pipelines/core/provenance/{name}.py"
        text = subprocess.run(["git", "show", place], capture_output=True, text=True, check=True).stdout
        module = types.ModuleType(f"before_{name}")
        sys.modules[module.__name__] = module
        text = text.replace("pipelines.core.provenance.syntax", "before_syntax")
        exec(compile(text, name, "exec"), module.__dict__)
    return sys.modules["before_code"].code_digest


def rekey() -> None:
    digest = digest_before()
    training = digest(Bench.fit)
    keys: dict[str, str] = {}

    class Clerk(Lab):
        def train(self, arms: Any) -> Any:
            for name, arm in arms.items():
                for seed in self.seeds:
                    start_keras().utils.set_random_seed(seed)
                    data, recipe = arm.data(seed), arm.recipe(seed)
                    size = (data.height, data.width, data.channels)
                    model = build_architecture(arm.architecture, "study", *size, data.classes)
                    decisive = {
                        "model": _without_modules(json.loads(model.to_json())),
                        "data": data.digest,
                        "recipe": recipe.to_json(),
                        "teacher": teacher_digest(recipe),
                        "measure": digest(arm.measure),
                        "training": training,
                        "versions": {name: versions().get(name) for name in LIBRARIES},
                    }
                    was = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
                    assert self.record.knows(name, seed, was), f"{self.name}, {name}, {seed} has another key"
                    keys[was] = key_of(model, data, recipe, arm.measure)
            return Lab.train(replace(self, replay=True), arms)

        def observe(self, name: str, look: Any) -> Any:
            assert self.record.has_seen(name, digest(look)), f"{self.name}, {name} has another key"
            keys[digest(look)] = _code(look)
            return np.array(self.record.numbers(name))

    for each in experiments():
        record = Record(FOLDER / f"{each.name}.json")
        each.run(Clerk(each.name, record.seeds, record.quick, record))
        print(each.name, len(keys), flush=True)
    for path in FOLDER.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r'"key": "([0-9a-f]{64})"', lambda found: f'"key": "{keys[found[1]]}"', text)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    rekey()
