"""Fields of a recipe that have no part in the trainings of a sweep: trials that differ in them alone are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.core.provenance.plan import Plan, load_data
from pipelines.search.space import Choices, Dimension
from pipelines.training.loop.stages import OF_A_SOURCE
from pipelines.training.transfer.transfer import IMAGENET, make_transfer
from zoo.recipe import LEARNED_AS_THEY_ARE, OF_ROWS

# Where the head alone learns, it does so as long as it ever does, from labels, and with decays of its own, as there are
# validation images in each sweep: see `learn_head`.
_OF_EPOCHS = (
    "epochs",
    "least_updates",
    "batch_size",
    "weight_decay",
    "patience",
    "average",
    "mixup",
    "cutmix",
    "teacher",
    "teacher_share",
    "fine_rate",
)


def idle_fields(plan: Plan, space: Sequence[Dimension]) -> Mapping[str, str]:
    """Those that change nothing in any trial of a plan, or fail each, with the end of a sentence that says why.

    space: what is searched, by which trials differ. Raises RecipeError where the plan's source has nothing to transfer.
    """
    views, frozen, teachers = (_values(plan, space, name) for name in ("views", "frozen", "teacher"))
    found: dict[str, str] = {}
    if load_data(plan).columns:
        found |= dict.fromkeys((*OF_ROWS, "mirrored"), "which learns the rows of a table as they are: leave it out")
    if not any(teachers):
        found["teacher_share"] = "which has no teacher: add --set teacher=EXPORT"
    if plan.source is None:
        return found | dict.fromkeys(OF_A_SOURCE, "which is trained from scratch: add --from")
    if all(views) and not any(isinstance(each, Choices) and each.field == "frozen" and 1 in each for each in space):
        found["frozen"] = "which learns from views: set views=0, or give choices for frozen of which one is 1"
    if all(share == 1 for share in frozen) and _has_new_layers(plan):
        found["fine_rate"] = "whose pretrained layers stay frozen: set frozen below 1"
        if all(views):
            found |= dict.fromkeys(_OF_EPOCHS, "of which the head alone is trained: set frozen below 1")
        if all(count == 1 for count in views):  # `view_batches` leaves the first one as it is
            for name in {*LEARNED_AS_THEY_ARE, "mirrored"} - found.keys():
                found[name] = "whose head learns from each image as it is: set views above 1"
    return found


def _values(plan: Plan, space: Sequence[Dimension], name: str) -> tuple[Any, ...]:
    """What a field is in the trials: of a range its ends, which will do to ask whether it is above 0, or always 1."""
    for each in space:
        if each.field == name:
            return each.values if isinstance(each, Choices) else (each.low, each.high)
    return (getattr(plan.recipe, name),)


def _has_new_layers(plan: Plan) -> bool:
    """Whether there is a head to train: without one nothing stays frozen, whatever the recipe says."""
    if plan.source is not None and plan.source.name.startswith(f"{IMAGENET}/"):  # these are features alone
        return True
    transfer = make_transfer(plan, load_data(plan))
    return transfer is None or transfer.has_new
