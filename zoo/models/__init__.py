"""Models by name: `definition("lenet5")`, `definitions()`, and `build(name, height, width, channels, classes)`."""

from zoo.models import backbones, conv, dense, hybrid  # noqa: F401  (registers their models)
from zoo.models.build import build, build_diagram, build_for_table, check_takes_tables
from zoo.models.registry import ModelDefinition, definition, definitions, model, pretrained

__all__ = [
    "ModelDefinition",
    "build",
    "build_diagram",
    "build_for_table",
    "check_takes_tables",
    "definition",
    "definitions",
    "model",
    "pretrained",
]
