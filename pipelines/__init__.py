"""What is done with models and data. Every command is also a function, with the same name and the same options.

    import pipelines

    trained = pipelines.train("lenet5", "digits", settings={"epochs": 20})
    print(pipelines.evaluate(trained.run).accuracy)

Each returns a frozen dataclass, or a tuple of them, and raises a `zoo.ZooError` where it can't. Two functions have the
name of what they are in, and are imported from there: `from pipelines.run import run`, `from pipelines.study import
study`. A module is imported at the first use of its function. What `__all__` doesn't name may change at any time.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# function -> the module that it is in; tests/public_surface.txt has their signatures
_FUNCTIONS = {
    "benchmark": "inference.benchmark",
    "claims": "study",  # zoo study --list
    "compare": "evaluation.comparison.compare",
    "data_check": "datasets.check",
    "data_list": "datasets.known",
    "demo": "publishing.demo",
    "demote": "publishing.promote",
    "describe": "publishing.describe",
    "describe_recipe": "publishing.describe",  # zoo describe --recipe
    "evaluate": "evaluation.evaluate",
    "export": "exporting.export",
    "gallery": "publishing.gallery",
    "gc": "maintenance.gc",
    "list_models": "publishing.list_models",
    "placement": "inference.placement",
    "predict": "inference.predict",
    "predict_all": "inference.bulk.predict_all",  # zoo predict --out
    "promote": "publishing.promote",
    "quantize": "exporting.quantization.quantize",
    "reproduce": "training.reproduce",
    "runs": "maintenance.runs",
    "stale": "maintenance.stale",  # zoo runs --stale
    "sweep": "search.sweep",
    "sync": "maintenance.sync",
    "train": "training.train",
    "triton": "publishing.triton",  # zoo export --layout triton
    "ui": "maintenance.ui",
    "verify": "exporting.verify",
    "verify_all": "publishing.verify_all",  # zoo verify --all
}
_MODULES = ("run", "study")

__all__ = [*_FUNCTIONS, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"pipelines.{name}")
    if name not in _FUNCTIONS:
        raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"pipelines.{_FUNCTIONS[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
