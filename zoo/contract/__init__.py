"""The promise of an export: the names, types and metadata that `export` writes and `runtime` reads.

Standard library only: whatever runs an exported file can import this and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.contract.manifest import (
    ExportedFile,
    Manifest,
    check_content,
    check_file,
    describe_file,
    read_manifest,
    sha256,
)
from zoo.contract.metadata import Input, Metadata, differences
from zoo.contract.names import (
    ACTIVATION_MAP,
    CARD_FILE,
    CONTRACT,
    CONTRACTS,
    FAMILIARITY,
    FEATURES,
    FLOAT16,
    FLOAT32,
    INPUT,
    INT8,
    IR_VERSION,
    LARGEST_SIDE,
    LOGITS,
    MANIFEST_FILE,
    MODEL_FILE,
    MODEL_FILES,
    OLD_NAMES,
    OPSET,
    PARITY_TOLERANCE,
    PLOTS_FOLDER,
    PREFIX,
    PROBABILITIES,
    RESIZINGS,
    SAMPLES_FILE,
    SAMPLES_FOLDER,
    WHITE,
    renamed,
)

if TYPE_CHECKING:
    from zoo.contract.columns import Column

__all__ = [
    "ACTIVATION_MAP",
    "CARD_FILE",
    "CONTRACT",
    "CONTRACTS",
    "FAMILIARITY",
    "FEATURES",
    "FLOAT16",
    "FLOAT32",
    "INPUT",
    "INT8",
    "IR_VERSION",
    "LARGEST_SIDE",
    "LOGITS",
    "MANIFEST_FILE",
    "MODEL_FILE",
    "MODEL_FILES",
    "OLD_NAMES",
    "OPSET",
    "PARITY_TOLERANCE",
    "PLOTS_FOLDER",
    "PREFIX",
    "PROBABILITIES",
    "RESIZINGS",
    "SAMPLES_FILE",
    "SAMPLES_FOLDER",
    "WHITE",
    "Column",
    "ExportedFile",
    "Input",
    "Manifest",
    "Metadata",
    "check_content",
    "check_file",
    "describe_file",
    "differences",
    "read_manifest",
    "renamed",
    "sha256",
]


def __getattr__(name: str) -> Any:
    """`Column`, at its first use: files of images have none."""
    if name != "Column":
        raise AttributeError(f"module 'zoo.contract' has no attribute {name!r}")
    from zoo.contract.columns import Column

    return Column
