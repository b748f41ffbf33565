"""Models by name: `definition("lenet5")`, `definitions()`, and `build(name, height, width, channels, classes)`."""

from zoo.models import conv, dense, hybrid  # noqa: F401  (registers their models)
from zoo.models.build import build
from zoo.models.registry import ModelDefinition, definition, definitions, model

__all__ = ["ModelDefinition", "build", "definition", "definitions", "model"]
