"""Where runs and exports of a data set are filed: under its name, which other data may have, too."""

from __future__ import annotations

from pathlib import Path

from pipelines import tracking
from pipelines.core.provenance.plan import Plan, load_data
from zoo.data import data_sets
from zoo.errors import DataError


def check_name_is_free(plan: Plan) -> None:
    """Raise DataError where the name of a folder stands for other data already, unless the plan states that name."""
    if plan.name is not None or plan.data in data_sets():
        return
    data_set = load_data(plan)
    other = tracking.trained_elsewhere(data_set.name, data_set.digest, plan.data)
    if other is not None:
        suggested = f"{Path(plan.data).parent.name}-{data_set.name}"
        raise DataError(
            f"there are runs of {data_set.name!r} that learned other {data_set.kind}, those of {other}: keep those of "
            f"{plan.data} apart by a name of their own, such as --name {suggested}; or, if they belong together, say "
            f"so with --name {data_set.name}"
        )
