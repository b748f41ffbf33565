"""Models by name: `definition("lenet5")`, `definitions()`, and `build(name, height, width, channels, classes)`."""

from zoo.discovery import import_modules
from zoo.models.build import build, build_architecture, build_for_table, check_takes_tables
from zoo.models.registry import ModelDefinition, definition, definitions, model, pretrained_definitions

__all__ = [
    "ModelDefinition",
    "build",
    "build_architecture",
    "build_for_table",
    "check_takes_tables",
    "definition",
    "definitions",
    "model",
    "pretrained_definitions",
]

import_modules("zoo.models.families")  # each registers its models
