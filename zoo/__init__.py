"""Classifier Zoo: dense, convolutional, and hybrid image classifiers, and the runtime for their exported files.

    import zoo

    classifier = zoo.load("exports/digits/lenet5")
    print(classifier.predict("three.png").label)

Everything that an app needs is here: `load`, the classes of its results (`Classifier`, `Prediction`, `Explanation`),
and the errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.errors import (
    DataError,
    ExportError,
    ImageError,
    InputError,
    MissingExtraError,
    ModelError,
    ParallelError,
    PromotionError,
    ProviderError,
    QueryError,
    RecipeError,
    ReproductionError,
    StudyError,
    SweepError,
    TrackingError,
    VerificationError,
    ZooError,
)

if TYPE_CHECKING:
    from zoo.runtime import Classifier, Explanation, Prediction, load

__all__ = [
    "Classifier",
    "DataError",
    "Explanation",
    "ExportError",
    "ImageError",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "ParallelError",
    "Prediction",
    "PromotionError",
    "ProviderError",
    "QueryError",
    "RecipeError",
    "ReproductionError",
    "StudyError",
    "SweepError",
    "TrackingError",
    "VerificationError",
    "ZooError",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    """The version and the runtime, at their first use: NumPy alone takes 0.1 s, and `zoo list` needn't wait for it."""
    if name == "PictureError":
        from zoo.errors import picture_error

        return picture_error()
    if name == "__version__":
        from importlib.metadata import version  # of the package that is installed; pyproject.toml states it

        return version("classifier-zoo")
    if name not in {"Classifier", "Explanation", "Prediction", "load"}:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    from zoo import runtime

    found = globals()[name] = getattr(runtime, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
