"""What a run was trained in, as its training wrote it down."""

from __future__ import annotations

import json

from pipelines.core.provenance.environment import CODE, COMMIT, MACHINE, Environment
from pipelines.tracking.runs.reading import TrackedRun, read_text
from pipelines.tracking.store import open_client
from zoo.errors import TrackingError


def environment_of(run: TrackedRun) -> Environment:
    """A run's environment, under the names of `core.provenance.environment`; what it never logged isn't in it."""
    found = {COMMIT: run.commit} | {name: run.facts[name] for name in MACHINE if name in run.facts}
    if CODE in run.tags:
        found[CODE] = run.tags[CODE]
    try:
        with open_client() as client:
            versions = json.loads(read_text(client, run.run_id, "versions.json"))
        return {**{str(name): str(version) for name, version in versions.items()}, **found}
    except (ValueError, AttributeError) as error:
        raise TrackingError(f"the versions.json of run {run.run_id} is damaged ({error}): restore it") from None
