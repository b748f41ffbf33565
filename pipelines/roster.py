"""`zoo list`: all models, with the figures of the exports in a folder. Neither Keras nor MLflow is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zoo.contract import MANIFEST_FILE, Manifest, read_manifest
from zoo.models import definitions


@dataclass(frozen=True)
class ListedModel:
    """A registered model, and what each of its exports says of itself, by data set."""

    name: str
    family: str
    summary: str
    exports: dict[str, Manifest]


def list_models(exports: Path = Path("exports")) -> tuple[ListedModel, ...]:
    """All registered models, dense before conv before hybrid. Raises ExportError for a damaged manifest."""
    manifests = [read_manifest(path.parent) for path in sorted(exports.glob(f"*/*/{MANIFEST_FILE}"))]
    return tuple(
        ListedModel(
            name=model.name,
            family=model.family,
            summary=model.summary,
            exports={m.metadata.data_set: m for m in manifests if m.metadata.model == model.name},
        )
        for model in definitions()
    )
